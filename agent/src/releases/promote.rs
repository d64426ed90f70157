//! Moves a channel: to a version, or back to the release before. Compare-and-swap, so that of two
//! people who move at once one wins and the other is told.

use std::time::Duration;

use groundcrew_core::limits;
use groundcrew_core::types::{Environment, ReleaseRef, Version};
use jiff::Timestamp;

use crate::aws::s3::PutIf;
use crate::procfs;

use super::backoff;
use super::channel::{
    Action, Channel, ChannelError, ChannelRead, Move, ReadManifestError, SCHEMA, Target,
    read_channel, read_manifest,
};
use super::source::{ErrorKind, Key, Source, SourceError};

/// Times a move is tried while others write the same channel.
const ATTEMPTS_MAX: u32 = 5;
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// What became of a move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moved {
    /// The channel says so now.
    Moved(Box<Channel>),
    /// It said so already; nothing was written.
    Already(Box<Channel>),
}

/// Why a channel was not moved.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// The release cannot be had.
    #[error(transparent)]
    Manifest(#[from] ReadManifestError),
    /// The channel cannot be read.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The channel cannot be written.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The channel would not be valid JSON.
    #[error("could not encode the channel of {environment}")]
    Encode {
        /// Whose channel.
        environment: Environment,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Somebody else moved it in the meantime.
    #[error(
        "{by} moved {environment} to {release} (generation {generation}) at the same time; \
         nothing was changed, look and run the command again if it is still wanted"
    )]
    Raced {
        /// Whose channel.
        environment: Environment,
        /// Who.
        by: String,
        /// Where to.
        release: ReleaseRef,
        /// The generation that move made.
        generation: u64,
    },
    /// Others wrote without pause.
    #[error("the channel of {environment} was busy {ATTEMPTS_MAX} times in a row; try again")]
    Busy {
        /// Whose channel.
        environment: Environment,
    },
    /// A rollback without anything to roll back from.
    #[error("nothing was ever promoted to {environment}")]
    NoChannel {
        /// Whose channel.
        environment: Environment,
    },
    /// A rollback without anything to roll back to.
    #[error("{environment} runs {current}, and its history names no release before it; use --to")]
    NothingBefore {
        /// Whose channel.
        environment: Environment,
        /// What it should run now.
        current: ReleaseRef,
    },
}

/// Points `environment` at `version`. `by` says who does it, as `user@host`.
pub async fn promote(
    source: &Source,
    environment: &Environment,
    version: &Version,
    by: &str,
) -> Result<Moved, MoveError> {
    let seen = see(source, environment).await?;
    let target = target_of(source, version).await?;
    swap(source, environment, seen, &target, Action::Promote, by).await
}

/// Points `environment` back: at `to`, or at the release before the current one in its history.
pub async fn rollback(
    source: &Source,
    environment: &Environment,
    to: Option<&Version>,
    by: &str,
) -> Result<Moved, MoveError> {
    let seen = see(source, environment).await?;
    let Some((channel, _)) = &seen else {
        return Err(MoveError::NoChannel { environment: environment.clone() });
    };
    let version = match (to, channel.release_before()) {
        (Some(version), _) => version,
        (None, Some(release)) => &release.version,
        (None, None) => {
            let current = channel.release.clone();
            return Err(MoveError::NothingBefore { environment: environment.clone(), current });
        }
    };
    let target = target_of(source, version).await?;
    swap(source, environment, seen, &target, Action::Rollback, by).await
}

type Seen = Option<(Box<Channel>, String)>;

async fn see(source: &Source, environment: &Environment) -> Result<Seen, MoveError> {
    match read_channel(source, environment, None).await? {
        ChannelRead::Found { channel, etag } => Ok(Some((channel, etag))),
        ChannelRead::Missing | ChannelRead::Unchanged => Ok(None),
    }
}

async fn target_of(source: &Source, version: &Version) -> Result<Target, MoveError> {
    let (manifest, manifest_digest) = read_manifest(source, version).await?;
    Ok(Target { release: manifest.release(), manifest_digest })
}

async fn swap(
    source: &Source,
    environment: &Environment,
    mut seen: Seen,
    target: &Target,
    action: Action,
    by: &str,
) -> Result<Moved, MoveError> {
    let first_generation = generation(&seen);
    for attempt in 1..=ATTEMPTS_MAX {
        if let Some((channel, _)) = &seen {
            if channel.target() == *target {
                let channel = channel.clone();
                return Ok(if moved_by_us(&channel, first_generation, by) {
                    Moved::Moved(channel)
                } else {
                    Moved::Already(channel)
                });
            }
            if channel.generation != first_generation {
                return Err(raced(environment, channel));
            }
        }
        let next =
            next(environment, seen.as_ref().map(|(channel, _)| &**channel), target, action, by);
        let bytes = serde_json::to_vec_pretty(&next).map_err(|source| {
            let environment = environment.clone();
            MoveError::Encode { environment, source }
        })?;
        let condition = match &seen {
            Some((_, etag)) => PutIf::Matches(etag),
            None => PutIf::Absent,
        };
        match source.put(&Key::channel(environment), bytes, condition).await {
            Ok(_) => return Ok(Moved::Moved(Box::new(next))),
            Err(error) if is_conflict(&error) => {
                tokio::time::sleep(backoff::pause(attempt, PAUSE_FIRST, PAUSE_MAX)).await;
                seen = see(source, environment).await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(MoveError::Busy { environment: environment.clone() })
}

/// 404 answers a write with `If-Match` when the object is gone: read again as well.
fn is_conflict(error: &SourceError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::PreconditionFailed | ErrorKind::Conflict | ErrorKind::NotFound
    )
}

fn generation(seen: &Seen) -> u64 {
    seen.as_ref().map_or(0, |(channel, _)| channel.generation)
}

/// The answer to our own write may be lost: the retry then finds the channel moved, by us.
fn moved_by_us(channel: &Channel, first_generation: u64, by: &str) -> bool {
    channel.generation == first_generation + 1
        && channel.history.first().is_some_and(|step| step.by == by)
}

fn raced(environment: &Environment, channel: &Channel) -> MoveError {
    MoveError::Raced {
        environment: environment.clone(),
        by: channel.history.first().map_or("somebody", |step| &step.by).to_owned(),
        release: channel.release.clone(),
        generation: channel.generation,
    }
}

fn next(
    environment: &Environment,
    channel: Option<&Channel>,
    target: &Target,
    action: Action,
    by: &str,
) -> Channel {
    let generation = channel.map_or(0, |channel| channel.generation) + 1;
    let at = Timestamp::from_millisecond(crate::clock::wall().0).unwrap_or_default();
    let from = channel.map(|channel| channel.release.clone());
    let to = target.release.clone();
    let mut history = vec![Move { generation, at, by: by.to_owned(), action, from, to }];
    let before = channel.map(|channel| channel.history.iter().cloned());
    history.extend(before.into_iter().flatten().take(limits::CHANNEL_HISTORY_MAX - 1));
    Channel {
        schema: SCHEMA,
        environment: environment.clone(),
        generation,
        release: target.release.clone(),
        manifest_digest: target.manifest_digest,
        history,
    }
}

/// Who runs this program: `user@host`.
#[must_use]
pub fn who() -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::effective());
    let user = match user {
        Ok(Some(user)) => user.name,
        _ => nix::unistd::Uid::effective().to_string(),
    };
    format!("{user}@{}", procfs::host_name())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tokio::task::JoinSet;

    use super::super::testing::{World, production};
    use super::*;

    async fn world_with(versions: &[&str]) -> World {
        let world = World::new().await;
        for version in versions {
            world.write("version", version.as_bytes());
            world.try_publish(version).await.unwrap();
        }
        world
    }

    async fn move_to(world: &World, version: &str) -> Result<Moved, MoveError> {
        promote(&world.source, &production(), &version.parse().unwrap(), "ada@host").await
    }

    #[tokio::test]
    async fn moves_forward_and_back_and_tells_who_when_from_and_to() {
        let world = world_with(&["v1", "v2", "v3"]).await;
        assert!(matches!(move_to(&world, "v1").await.unwrap(), Moved::Moved(_)));
        assert!(matches!(move_to(&world, "v1").await.unwrap(), Moved::Already(_)));
        move_to(&world, "v2").await.unwrap();
        move_to(&world, "v3").await.unwrap();
        let back = async |to: Option<&str>| {
            let to = to.map(|version| version.parse().unwrap());
            rollback(&world.source, &production(), to.as_ref(), "bob@host").await
        };
        back(None).await.unwrap();
        let channel = world.channel().await;
        assert_eq!((channel.generation, channel.release.version.as_str()), (4, "v2"));
        let step = &channel.history[0];
        assert_eq!((step.by.as_str(), step.action), ("bob@host", Action::Rollback));
        let from = step.from.as_ref().unwrap();
        assert_eq!((from.version.as_str(), step.to.version.as_str()), ("v3", "v2"));
        back(None).await.unwrap();
        let error = back(None).await.unwrap_err().to_string();
        assert!(error.contains("production runs v1") && error.contains("--to"), "{error}");
        back(Some("v3")).await.unwrap();
        assert_eq!(world.channel().await.release.version.as_str(), "v3");
    }

    #[tokio::test]
    async fn what_is_not_there_is_named_with_what_to_do() {
        let world = world_with(&["v1"]).await;
        let error = move_to(&world, "v9").await.unwrap_err().to_string();
        assert!(error.contains("no release v9") && error.contains("its newest are v1"), "{error}");
        let error = rollback(&world.source, &production(), None, "ada@host").await.unwrap_err();
        assert_eq!(error.to_string(), "nothing was ever promoted to production");
    }

    #[tokio::test]
    async fn the_history_is_bounded() {
        let world = world_with(&["v1", "v2"]).await;
        for round in 0..limits::CHANNEL_HISTORY_MAX + 3 {
            move_to(&world, ["v1", "v2"][round % 2]).await.unwrap();
        }
        let channel = world.channel().await;
        assert_eq!(channel.history.len(), limits::CHANNEL_HISTORY_MAX);
        assert_eq!(channel.history[0].generation, channel.generation);
    }

    #[tokio::test]
    async fn of_people_who_move_at_once_one_wins_each_generation() {
        let versions = ["v1", "v2", "v3", "v4", "v5", "v6"];
        let world = world_with(&versions).await;
        let mut races = JoinSet::new();
        for (number, version) in versions.into_iter().enumerate() {
            let (source, version) = (world.source.clone(), version.parse().unwrap());
            let by = format!("user{number}@host");
            races.spawn(async move { promote(&source, &production(), &version, &by).await });
        }
        let results = races.join_all().await;
        let mut generations = BTreeSet::new();
        for result in results {
            match result {
                Ok(Moved::Moved(channel)) => {
                    let new = generations.insert(channel.generation);
                    assert!(new, "two won generation {}", channel.generation);
                }
                Err(MoveError::Raced { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
        let channel = world.channel().await;
        assert_eq!(channel.generation, generations.len() as u64);
        assert_eq!(channel.history.len(), generations.len());
    }

    #[tokio::test]
    async fn the_loser_of_a_race_is_told_unless_both_wanted_the_same() {
        let world = world_with(&["v1", "v2"]).await;
        let (source, production) = (&world.source, production());
        let seen = see(source, &production).await.unwrap();
        let target =
            async |version: &str| target_of(source, &version.parse().unwrap()).await.unwrap();
        move_to(&world, "v1").await.unwrap();
        let (v1, v2) = (target("v1").await, target("v2").await);
        let same = swap(source, &production, seen.clone(), &v1, Action::Promote, "bob@host").await;
        assert!(matches!(same.unwrap(), Moved::Already(_)));
        let other = swap(source, &production, seen, &v2, Action::Promote, "bob@host").await;
        let error = other.unwrap_err().to_string();
        assert!(error.starts_with("ada@host moved production to v1"), "{error}");
    }
}
