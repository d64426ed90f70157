//! Which release an environment should run: the document `channels/<environment>.json`, and reading
//! it.

use groundcrew_core::limits;
use groundcrew_core::types::{Digest, Environment, ReleaseRef, Version};

pub use groundcrew_core::types::Target;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::hash;
use super::manifest::{Manifest, ManifestError};
use super::source::{ErrorKind, Key, Object, Read, Source, SourceError};

/// The only version of the document there is.
pub const SCHEMA: u32 = 1;

/// Versions named to somebody who asked for one that is not there.
const KNOWN_MAX: usize = 5;

/// What a channel says. Fields unknown to this agent are left alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The environment it is for.
    pub environment: Environment,
    /// Grows by one with each move.
    pub generation: u64,
    /// What the environment should run.
    pub release: ReleaseRef,
    /// SHA-256 of the manifest's bytes.
    pub manifest_digest: Digest,
    /// The moves that led here, newest first, at most [`limits::CHANNEL_HISTORY_MAX`].
    pub history: Vec<Move>,
}

/// One move of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// The generation it made.
    pub generation: u64,
    /// When.
    pub at: Timestamp,
    /// Who: `user@host`.
    pub by: String,
    /// Forward or back.
    pub action: Action,
    /// What the environment should run before; `None` for the first move.
    pub from: Option<ReleaseRef>,
    /// What it should run since.
    pub to: ReleaseRef,
}

/// Forward or back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// To a release somebody wants.
    Promote,
    /// Back to one that ran before.
    Rollback,
}

/// Why a document is not the channel asked for.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The source failed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Not JSON, or a field is missing.
    #[error("the channel of {environment} cannot be read")]
    Json {
        /// Whose channel.
        environment: Environment,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// Written by another, probably newer, groundcrew.
    #[error("the channel of {environment} has schema {schema}, this groundcrew knows {SCHEMA}")]
    Schema {
        /// Whose channel.
        environment: Environment,
        /// Its schema.
        schema: u32,
    },
    /// A channel copied to another's place.
    #[error("the channel of {environment} says that it is {actual}'s")]
    Environment {
        /// Whose channel was asked for.
        environment: Environment,
        /// Whose it says it is.
        actual: Environment,
    },
}

/// What a conditional read of a channel found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChannelRead {
    /// The version already known.
    Unchanged,
    /// There is no channel: nothing was promoted to the environment yet.
    Missing,
    /// Another version.
    Found {
        /// What it says.
        channel: Box<Channel>,
        /// Names this version to the next read.
        etag: String,
    },
}

/// Why a manifest could not be had from a source.
#[derive(Debug, thiserror::Error)]
pub enum ReadManifestError {
    /// The source failed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// There is no such release.
    #[error("{source_url} has no release {version}{}", listed(known))]
    Missing {
        /// The release asked for.
        version: Version,
        /// Where.
        source_url: String,
        /// The newest ones it has.
        known: Vec<Version>,
    },
    /// It is no manifest, or one that breaks a rule.
    #[error("release {version} cannot be used")]
    Invalid {
        /// The release asked for.
        version: Version,
        /// What is wrong with it.
        #[source]
        source: ManifestError,
    },
    /// The manifest of another version, or not the one a channel named.
    #[error("the manifest of {version} {why}")]
    Mismatch {
        /// The release asked for.
        version: Version,
        /// Why, as a clause.
        why: String,
    },
}

fn listed(known: &[Version]) -> String {
    let names: Vec<&str> = known.iter().map(Version::as_str).collect();
    if names.is_empty() { String::new() } else { format!("; its newest are {}", names.join(", ")) }
}

impl Channel {
    /// What to fetch.
    #[must_use]
    pub fn target(&self) -> Target {
        Target { release: self.release.clone(), manifest_digest: self.manifest_digest }
    }

    /// Reads and checks a document.
    pub fn parse(environment: &Environment, bytes: &[u8]) -> Result<Self, ChannelError> {
        #[derive(Deserialize)]
        struct OnlySchema {
            schema: u32,
        }
        let json = |source| ChannelError::Json { environment: environment.clone(), source };
        let OnlySchema { schema } = serde_json::from_slice(bytes).map_err(json)?;
        if schema != SCHEMA {
            return Err(ChannelError::Schema { environment: environment.clone(), schema });
        }
        let channel: Self = serde_json::from_slice(bytes).map_err(json)?;
        if channel.environment != *environment {
            let (environment, actual) = (environment.clone(), channel.environment);
            return Err(ChannelError::Environment { environment, actual });
        }
        Ok(channel)
    }

    /// The release that ran before the current one: a rollback is undone by going further back, not
    /// by returning to what was rolled back.
    #[must_use]
    pub fn release_before(&self) -> Option<&ReleaseRef> {
        let mut line: Vec<&ReleaseRef> = Vec::new();
        for step in self.history.iter().rev() {
            if line.is_empty() {
                line.extend(step.from.as_ref());
            }
            let known = line.iter().position(|release| **release == step.to);
            match (step.action, known) {
                (Action::Rollback, Some(at)) => line.truncate(at + 1),
                _ => line.push(&step.to),
            }
        }
        line.into_iter().rev().find(|release| **release != self.release)
    }
}

/// Reads a channel unless it still is the version `etag`.
pub async fn read_channel(
    source: &Source,
    environment: &Environment,
    etag: Option<&str>,
) -> Result<ChannelRead, ChannelError> {
    let key = Key::channel(environment);
    match source.get_if_changed(&key, etag, limits::CHANNEL_BYTES_MAX).await? {
        Read::Unchanged => Ok(ChannelRead::Unchanged),
        Read::Missing => Ok(ChannelRead::Missing),
        Read::Found(Object { bytes, etag }) => {
            let channel = Box::new(Channel::parse(environment, &bytes)?);
            Ok(ChannelRead::Found { channel, etag })
        }
    }
}

/// Reads the manifest of a version and the digest of its bytes.
pub async fn read_manifest(
    source: &Source,
    version: &Version,
) -> Result<(Manifest, Digest), ReadManifestError> {
    let bytes = read_manifest_bytes(source, version).await?;
    let digest = hash::sha256(&bytes);
    Ok((parse_manifest(version, bytes).await?, digest))
}

/// Reads the manifest a channel named.
pub async fn read_target(source: &Source, target: &Target) -> Result<Manifest, ReadManifestError> {
    let version = &target.release.version;
    let bytes = read_manifest_bytes(source, version).await?;
    let (expected, actual) = (target.manifest_digest, hash::sha256(&bytes));
    if actual != expected {
        let why = format!("has digest {actual}, the channel says {expected}");
        return Err(ReadManifestError::Mismatch { version: version.clone(), why });
    }
    let manifest = parse_manifest(version, bytes).await?;
    if manifest.digest != target.release.digest {
        let (actual, expected) = (manifest.digest, target.release.digest);
        let why = format!("describes artifact {actual}, the channel says {expected}");
        return Err(ReadManifestError::Mismatch { version: version.clone(), why });
    }
    Ok(manifest)
}

async fn read_manifest_bytes(
    source: &Source,
    version: &Version,
) -> Result<Vec<u8>, ReadManifestError> {
    match source.get(&Key::manifest(version), limits::MANIFEST_BYTES_MAX).await {
        Ok(object) => Ok(object.bytes),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let (version, source_url) = (version.clone(), source.to_string());
            // A help to the reader: whoever may not list still learns that it is missing.
            let listed = source.list_versions().await.unwrap_or_default().into_iter();
            let known = listed.take(KNOWN_MAX).map(|listed| listed.version).collect();
            Err(ReadManifestError::Missing { version, source_url, known })
        }
        Err(error) => Err(error.into()),
    }
}

async fn parse_manifest(version: &Version, bytes: Vec<u8>) -> Result<Manifest, ReadManifestError> {
    // Tens of thousands of entries take a moment; the event loop has other things to do.
    let parsed = tokio::task::spawn_blocking(move || Manifest::parse(&bytes)).await;
    let parsed = parsed.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
    let manifest = parsed.map_err(|source| {
        let version = version.clone();
        ReadManifestError::Invalid { version, source }
    })?;
    if manifest.version != *version {
        let why = format!("says that it is {}'s", manifest.version);
        return Err(ReadManifestError::Mismatch { version: version.clone(), why });
    }
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(number: u8) -> ReleaseRef {
        let version = format!("v{number}").parse().unwrap();
        ReleaseRef { version, digest: Digest::from_bytes([number; 32]) }
    }

    fn channel(moves: &[(Action, u8)]) -> Channel {
        let mut history: Vec<Move> = Vec::new();
        let mut before = None;
        for (generation, (action, number)) in (1..).zip(moves) {
            let to = release(*number);
            let (from, by) = (before.replace(to.clone()), "ada@host".to_owned());
            let at = Timestamp::UNIX_EPOCH;
            history.insert(0, Move { generation, at, by, action: *action, from, to });
        }
        Channel {
            schema: SCHEMA,
            environment: "production".parse().unwrap(),
            generation: moves.len() as u64,
            release: before.unwrap(),
            manifest_digest: Digest::from_bytes([0; 32]),
            history,
        }
    }

    #[test]
    fn rollbacks_go_further_back_each_time() {
        use Action::{Promote, Rollback};
        let check = |moves: &[(Action, u8)], before: Option<u8>| {
            let channel = channel(moves);
            assert_eq!(channel.release_before(), before.map(release).as_ref(), "{moves:?}");
        };
        check(&[(Promote, 1)], None);
        check(&[(Promote, 1), (Promote, 2)], Some(1));
        check(&[(Promote, 1), (Promote, 2), (Promote, 3), (Rollback, 2)], Some(1));
        check(&[(Promote, 1), (Promote, 2), (Promote, 3), (Rollback, 2), (Rollback, 1)], None);
        check(&[(Promote, 1), (Promote, 2), (Rollback, 1), (Promote, 3)], Some(1));
        check(&[(Promote, 1), (Promote, 2), (Promote, 1)], Some(2));
        check(&[(Promote, 1), (Rollback, 7)], Some(1));
    }

    #[test]
    fn a_history_cut_at_its_bound_still_knows_what_was_before() {
        let mut channel = channel(&[(Action::Promote, 1), (Action::Promote, 2)]);
        channel.history.truncate(1);
        assert_eq!(channel.release_before(), Some(&release(1)));
    }

    #[test]
    fn refuses_what_is_not_the_channel_asked_for() {
        let environment: Environment = "production".parse().unwrap();
        let check = |change: fn(&mut serde_json::Value), expected: &str| {
            let mut document = serde_json::to_value(channel(&[(Action::Promote, 1)])).unwrap();
            change(&mut document);
            let bytes = serde_json::to_vec(&document).unwrap();
            let error = Channel::parse(&environment, &bytes).unwrap_err();
            let text = crate::errors::chain(&error);
            assert!(text.contains(expected), "{text}");
        };
        check(|document| document["schema"] = 2.into(), "schema 2");
        check(|document| document["environment"] = "staging".into(), "staging's");
        check(|document| document["release"]["version"] = "../x".into(), "version");
        check(|document| document["generation"] = "x".into(), "cannot be read");
    }
}
