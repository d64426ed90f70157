//! The jobs of the host's file with the ways to their backups, and how a backup is found by what a
//! person calls it.

use std::sync::Arc;

use anyhow::{anyhow, bail};
use futures_util::StreamExt;
use groundcrew_core::backups::JobSettings;
use groundcrew_core::backups::Kind;
use groundcrew_core::backups::backup::{Backup, Tag};
use groundcrew_core::backups::call::{CallError, CallErrorKind};
use groundcrew_core::backups::database::Target;
use groundcrew_core::backups::proof::{Inspection, Level};
use groundcrew_core::backups::record::{Place, Record, RecordKey};
use groundcrew_core::backups::settings::BackupSettings;
use groundcrew_core::backups::slot::Slot;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::backups::dump::Dumps;
use crate::backups::objects::Objects;
use crate::backups::snapshots::Snapshots;
use crate::config::HostConfig;
use crate::procfs;

/// Backups whose proofs are looked up: the newest.
const PROOFS_OF_MAX: usize = 60;
/// Records that are read at once.
const READS_AT_ONCE: usize = 8;

/// What makes the backups of a job.
pub(super) enum Maker {
    Snapshots(Box<Snapshots>),
    Dumps(Dumps),
}

/// A job and the ways to its backups.
pub(super) struct AtHand {
    pub(super) settings: Arc<BackupSettings>,
    pub(super) maker: Maker,
    objects: Arc<Objects>,
    /// How RDS keeps the database, once somebody has asked; `None`: nobody says.
    target: OnceCell<Option<Target>>,
}

/// A backup and how RDS keeps it.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) backup: Backup,
    pub(super) target: Target,
}

/// All jobs, or the one of this name.
pub(super) fn of(config: &HostConfig, name: Option<&str>) -> anyhow::Result<Vec<AtHand>> {
    let Some(store) = &config.backup_store else { bail!("the configuration has no backup_store") };
    let wanted =
        |backup: &&BackupSettings| name.is_none_or(|name| backup.job.name.as_str() == name);
    let jobs: Vec<_> = config
        .backups
        .iter()
        .filter(wanted)
        .map(|backup| {
            let objects = Arc::new(Objects::connect(store));
            let mut settings = backup.clone();
            // Those who look at the marks of what is read see from where.
            settings.job.instance = procfs::host_name();
            let settings = Arc::new(settings);
            let maker = match backup.job.kind {
                Kind::RdsSnapshot => {
                    Maker::Snapshots(Box::new(Snapshots::connect(Arc::clone(&settings))))
                }
                Kind::PgDump | Kind::MysqlDump => {
                    Maker::Dumps(Dumps::connect(Arc::clone(&settings), Arc::clone(&objects)))
                }
            };
            AtHand { settings, maker, objects, target: OnceCell::new() }
        })
        .collect();
    if let (Some(name), true) = (name, jobs.is_empty()) {
        let names: Vec<_> = config.backups.iter().map(|backup| backup.job.name.as_str()).collect();
        bail!("there is no backup {name}; there are {}", names.join(", "));
    }
    Ok(jobs)
}

fn of_dumps(all: Vec<Backup>) -> Vec<Found> {
    all.into_iter().map(|backup| Found { backup, target: Target::Instance }).collect()
}

/// A call's failure as an error with its cause.
pub(super) fn cause(error: CallError) -> anyhow::Error {
    let hint = match error.kind {
        CallErrorKind::Denied => "; docs/backups.md lists the rights that each command needs",
        CallErrorKind::Throttled => "; try again later",
        CallErrorKind::Unclear | CallErrorKind::Refused => "",
    };
    anyhow!("{}{hint}", error.text)
}

impl AtHand {
    pub(super) fn job(&self) -> &JobSettings {
        &self.settings.job
    }

    pub(super) fn name(&self) -> &str {
        self.settings.job.name.as_str()
    }

    /// Everywhere that it has backups.
    pub(super) fn places(&self) -> Vec<Place> {
        let regions = self.job().copies.iter().map(|copy| Place::Region(copy.region.clone()));
        std::iter::once(Place::Home).chain(regions).collect()
    }

    /// All its backups in a place.
    pub(super) async fn list(&self, place: &Place) -> Result<Vec<Found>, CallError> {
        let mut all = Vec::new();
        match &self.maker {
            Maker::Dumps(dumps) => {
                all.extend(of_dumps(dumps.list().await?));
            }
            Maker::Snapshots(snapshots) => match self.target(snapshots).await {
                Some(target) => {
                    let found = |backup| Found { backup, target: target.clone() };
                    all.extend(snapshots.list(place, target).await?.into_iter().map(found));
                }
                None => all.extend(self.list_named(place).await?),
            },
        }
        Ok(all)
    }

    /// The same by the names that the job gives, without a word from the database's region.
    pub(super) async fn list_named(&self, place: &Place) -> Result<Vec<Found>, CallError> {
        match &self.maker {
            Maker::Dumps(dumps) => Ok(of_dumps(dumps.list().await?)),
            Maker::Snapshots(snapshots) => {
                let all = snapshots.list_named(place).await?;
                Ok(all.into_iter().map(|(backup, target)| Found { backup, target }).collect())
            }
        }
    }

    /// How RDS keeps the database. When it is gone, or its region is, nobody knows.
    async fn target(&self, snapshots: &Snapshots) -> Option<&Target> {
        let asking = async {
            let database = snapshots.database().await.ok().flatten();
            database.map(|database| database.target)
        };
        self.target.get_or_init(|| asking).await.as_ref()
    }

    pub(super) async fn delete(&self, place: &Place, found: &Found) -> Result<(), CallError> {
        let id = &found.backup.id;
        match &self.maker {
            Maker::Snapshots(snapshots) => snapshots.delete(place, id, &found.target).await,
            Maker::Dumps(dumps) => dumps.delete(id).await,
        }
    }

    pub(super) async fn mark(
        &self,
        place: &Place,
        found: &Found,
        tags: &[Tag],
    ) -> Result<(), CallError> {
        let id = &found.backup.id;
        match &self.maker {
            Maker::Snapshots(snapshots) => {
                snapshots.at(place).await?.mark(id, &found.target, tags).await
            }
            Maker::Dumps(dumps) => dumps.mark(id, tags).await,
        }
    }

    pub(super) async fn inspect(
        &self,
        place: &Place,
        found: &Found,
    ) -> Result<Box<Inspection>, CallError> {
        let id = &found.backup.id;
        match &self.maker {
            Maker::Snapshots(snapshots) => {
                snapshots.at(place).await?.inspect(id, &found.target, &[]).await
            }
            Maker::Dumps(dumps) => dumps.inspect(id).await,
        }
    }

    /// What the fleet remembers of something.
    pub(super) async fn read(&self, key: &RecordKey) -> Result<Option<Box<Record>>, CallError> {
        self.objects.read(&self.job().name, key).await
    }

    /// What is wrong with a dump at L1 or L2; `None`: backups of this kind are not proved so.
    pub(super) async fn prove(
        &self,
        level: Level,
        found: &Found,
        progress: &(dyn Fn(u64, u64) + Sync),
        stop: &CancellationToken,
    ) -> Result<Option<Vec<String>>, CallError> {
        match &self.maker {
            Maker::Dumps(dumps) if level.applies_to(self.job().kind) => {
                dumps.prove(level, &found.backup.id, progress, stop).await.map(Some)
            }
            Maker::Snapshots(_) | Maker::Dumps(_) => Ok(None),
        }
    }

    /// The proofs of the newest of these backups. One that cannot be read is not known.
    pub(super) async fn proofs(&self, found: &[Found]) -> Vec<Record> {
        let kind = self.job().kind;
        let mut slots: Vec<_> = found.iter().filter_map(|one| self.slot(&one.backup)).collect();
        slots.sort_by_key(|slot| std::cmp::Reverse(slot.at_s));
        slots.truncate(PROOFS_OF_MAX);
        let levels = move || Level::ALL.into_iter().filter(move |level| level.applies_to(kind));
        let keys: Vec<_> = slots
            .into_iter()
            .flat_map(|slot| levels().map(move |level| RecordKey::Proof(slot, level)))
            .collect();
        let reads =
            futures_util::stream::iter(keys).map(|key| async move { self.read(&key).await });
        let read: Vec<_> = reads.buffer_unordered(READS_AT_ONCE).collect().await;
        read.into_iter().filter_map(|record| record.ok().flatten().map(|record| *record)).collect()
    }

    /// The slot of a backup.
    pub(super) fn slot(&self, backup: &Backup) -> Option<Slot> {
        backup.slot(&self.job().name)
    }
}
