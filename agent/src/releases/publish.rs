//! Puts a release into a source: pack, upload the artifact by digest, write the manifest by
//! version.

use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use camino::{Utf8Path, Utf8PathBuf};
use groundcrew_core::types::{Digest, Version};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::aws::s3::PutIf;
use crate::fsx::{self, About, FileError};

use super::channel::{ReadManifestError, read_manifest};
use super::git;
use super::manifest::{Contents, Manifest, ManifestError, RELEASE_TOML, SCHEMA};
use super::pack::{PackError, Packed, Tree, Watch};
use super::source::{ErrorKind, Key, Source, SourceError};

/// Says whether the text of a release.toml is valid, and if not, every problem it has.
pub type Validate<'a> = &'a (dyn Fn(&str) -> Result<(), String> + Sync);

/// What to publish, and as what.
#[derive(Debug, Clone)]
pub struct Publication {
    /// The directory.
    pub directory: Utf8PathBuf,
    /// What people will call it.
    pub version: Version,
    /// Threads that compress.
    pub threads: NonZero<usize>,
}

/// How far a publication is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Packing: bytes of files read, of all.
    Packing(u64, u64),
    /// Uploading: bytes sent, of all.
    Uploading(u64, u64),
}

/// What became of a publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// What was published.
    pub manifest: Manifest,
    /// Whether the artifact was sent, or was there already.
    pub uploaded: bool,
    /// Whether this very release had been published before, so that nothing was written.
    pub already: bool,
}

/// Why a release was not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The directory cannot be packed.
    #[error("could not pack {directory}")]
    Pack {
        /// Which.
        directory: Utf8PathBuf,
        /// Why.
        #[source]
        source: PackError,
    },
    /// The release would be refused by every host.
    #[error("{path} is not valid:\n{problems}")]
    ReleaseToml {
        /// Which file.
        path: Utf8PathBuf,
        /// All there is to say about it.
        problems: String,
    },
    /// A file of our own cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The manifest would be refused by every host.
    #[error("could not describe the release")]
    Manifest(#[from] ManifestError),
    /// The source failed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The release of this version cannot be compared.
    #[error("version {version} exists and cannot be compared")]
    Existing {
        /// Which.
        version: Version,
        /// Why.
        #[source]
        source: ReadManifestError,
    },
    /// The version is taken.
    #[error(
        "version {version} is already published with another content ({existing}, not {digest}); \
         versions never change: choose another"
    )]
    Taken {
        /// Which.
        version: Version,
        /// The artifact that has it.
        existing: Digest,
        /// The artifact that wanted it.
        digest: Digest,
    },
}

/// Publishes a directory. `progress` is called from several threads.
pub async fn publish(
    source: &Source,
    publication: Publication,
    validate: Validate<'_>,
    progress: Arc<dyn Fn(Progress) + Send + Sync>,
    cancel: &CancellationToken,
) -> Result<Published, PublishError> {
    check_release_toml(&publication.directory, validate)?;
    let (artifact, manifest) = pack(publication, &progress, cancel).await?;
    if already_published(source, &manifest).await? {
        return Ok(Published { manifest, uploaded: false, already: true });
    }
    let uploaded = upload(source, &artifact, &manifest, &progress, cancel).await?;
    let key = Key::manifest(&manifest.version);
    match source.put(&key, manifest.to_json()?, PutIf::Absent).await {
        Ok(_) => Ok(Published { manifest, uploaded, already: false }),
        // Somebody published the same version in between, or the answer to our own write was lost.
        Err(error) if is_taken(&error) && already_published(source, &manifest).await? => {
            Ok(Published { manifest, uploaded, already: true })
        }
        Err(error) => Err(error.into()),
    }
}

fn is_taken(error: &SourceError) -> bool {
    matches!(error.kind(), ErrorKind::PreconditionFailed | ErrorKind::Conflict)
}

fn check_release_toml(directory: &Utf8Path, validate: Validate<'_>) -> Result<(), PublishError> {
    let path = directory.join(RELEASE_TOML);
    let Some(bytes) = fsx::read_if_exists(&path)? else {
        let (directory, root) = (directory.to_owned(), directory.to_owned());
        return Err(PublishError::Pack { directory, source: PackError::NoReleaseToml { root } });
    };
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned());
    let checked = text.and_then(|text| validate(&text));
    checked.map_err(|problems| PublishError::ReleaseToml { path, problems })
}

struct Packing {
    progress: Arc<dyn Fn(Progress) + Send + Sync>,
    cancel: CancellationToken,
    // The lock keeps the calls in order, so that progress never goes back.
    done: Mutex<u64>,
    total: u64,
}

impl Watch for Packing {
    fn packed(&self, bytes: u64) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        *done += bytes;
        (self.progress)(Progress::Packing(*done, self.total));
    }

    fn cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }
}

async fn pack(
    publication: Publication,
    progress: &Arc<dyn Fn(Progress) + Send + Sync>,
    cancel: &CancellationToken,
) -> Result<(tempfile::NamedTempFile, Manifest), PublishError> {
    let (progress, cancel) = (progress.clone(), cancel.clone());
    let work = move || {
        let Publication { directory, version, threads } = publication;
        let failed = |source| PublishError::Pack { directory: directory.clone(), source };
        let scratch = Utf8PathBuf::from_path_buf(std::env::temp_dir()).unwrap_or("/tmp".into());
        let mut artifact = tempfile::Builder::new()
            .prefix("groundcrew-publish-")
            .tempfile_in(&scratch)
            .about("create a file in", &scratch)?;
        let tree = Tree::walk(&directory).map_err(failed)?;
        let watch = Packing { progress, cancel, done: Mutex::new(0), total: tree.unpacked_bytes() };
        let packed = tree.pack(artifact.as_file_mut(), threads, &watch).map_err(failed)?;
        let manifest = describe(packed, version, &directory)?;
        Ok((artifact, manifest))
    };
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

fn describe(
    packed: Packed,
    version: Version,
    directory: &Utf8Path,
) -> Result<Manifest, PublishError> {
    let Packed { digest, size_bytes, unpacked_bytes, frames, files } = packed;
    Ok(Manifest::new(Contents {
        schema: SCHEMA,
        version,
        digest,
        size_bytes,
        unpacked_bytes,
        created: Timestamp::from_millisecond(crate::clock::wall().0).unwrap_or_default(),
        git: git::commit_of(directory),
        groundcrew: env!("CARGO_PKG_VERSION").to_owned(),
        frames,
        files,
    })?)
}

/// Whether this version is there with the same content; an error when it is there with another.
async fn already_published(source: &Source, manifest: &Manifest) -> Result<bool, PublishError> {
    let version = manifest.version.clone();
    match read_manifest(source, &version).await {
        Err(ReadManifestError::Missing { .. }) => Ok(false),
        Err(ReadManifestError::Source(error)) => Err(error.into()),
        Err(source) => Err(PublishError::Existing { version, source }),
        Ok((existing, _)) if existing.digest == manifest.digest => Ok(true),
        Ok((existing, _)) => {
            let (existing, digest) = (existing.digest, manifest.digest);
            Err(PublishError::Taken { version, existing, digest })
        }
    }
}

/// Sends the artifact unless it is there. Returns whether it was sent.
async fn upload(
    source: &Source,
    artifact: &tempfile::NamedTempFile,
    manifest: &Manifest,
    progress: &Arc<dyn Fn(Progress) + Send + Sync>,
    cancel: &CancellationToken,
) -> Result<bool, PublishError> {
    let key = Key::artifact(&manifest.digest);
    let size = manifest.size_bytes;
    if source.head(&key).await?.is_some_and(|head| head.size == size) {
        return Ok(false);
    }
    let path = Utf8Path::from_path(artifact.path()).ok_or_else(|| FileError {
        operation: "name",
        path: artifact.path().display().to_string().into(),
        source: std::io::ErrorKind::InvalidFilename.into(),
    })?;
    let done = AtomicU64::new(0);
    let sent = |bytes: u64| {
        let done = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        progress(Progress::Uploading(done, size));
    };
    progress(Progress::Uploading(0, size));
    source.put_file(&key, path, size, &sent, cancel).await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::super::testing::World;
    use super::*;

    #[tokio::test]
    async fn a_version_never_changes_and_an_artifact_is_sent_once() {
        let world = World::new().await;
        let first = world.try_publish("v1").await.unwrap();
        assert!(first.uploaded && !first.already);
        let again = world.try_publish("v1").await.unwrap();
        assert!(again.already && !again.uploaded);
        let other_name = world.try_publish("v2").await.unwrap();
        assert!(!other_name.uploaded && !other_name.already);
        assert_eq!(other_name.manifest.digest, first.manifest.digest);
        world.write("app.js", b"changed");
        let error = world.try_publish("v1").await.unwrap_err();
        let (text, existing) = (error.to_string(), first.manifest.digest.to_string());
        assert!(text.contains("never change") && text.contains(&existing), "{text}");
        let listed = world.source.list_versions().await.unwrap();
        let listed: Vec<_> = listed.iter().map(|listed| listed.version.as_str()).collect();
        assert_eq!(listed, ["v2", "v1"]);
    }

    #[tokio::test]
    async fn an_invalid_release_toml_is_refused_before_anything_is_read() {
        let world = World::new().await;
        let publication = Publication {
            directory: world.tree(),
            version: "v1".parse().unwrap(),
            threads: NonZero::<usize>::MIN,
        };
        let validate = |_: &str| Err("release.toml:1: no tier".to_owned());
        let cancel = CancellationToken::new();
        let progress = Arc::new(|_| ());
        let result = publish(&world.source, publication, &validate, progress, &cancel).await;
        let error = result.unwrap_err().to_string();
        assert!(error.contains("release.toml is not valid:\nrelease.toml:1: no tier"), "{error}");
        assert_eq!(world.source.list_versions().await.unwrap(), []);
    }

    #[tokio::test]
    async fn a_cancelled_publication_leaves_nothing_in_the_source() {
        let world = World::new().await;
        let publication = Publication {
            directory: world.tree(),
            version: "v1".parse().unwrap(),
            threads: NonZero::<usize>::MIN,
        };
        let cancel = CancellationToken::new();
        cancel.cancel();
        let progress = Arc::new(|_| ());
        let result = publish(&world.source, publication, &|_| Ok(()), progress, &cancel).await;
        let text = crate::errors::chain(&result.unwrap_err());
        assert!(text.contains("cancelled"), "{text}");
        assert_eq!(world.source.list_versions().await.unwrap(), []);
    }
}
