//! Snapshots at RDS: carries out the calls of the core, each with one change at most. What is
//! deleted is looked at first: it has to be groundcrew's, and this job's.

use std::sync::Arc;

use futures_util::future::try_join_all;
use groundcrew_core::backups::backup::{Backup, BackupState, Marks, Tag};
use groundcrew_core::backups::call::{CallError, Make};
use groundcrew_core::backups::database::{Database, Target};
use groundcrew_core::backups::limits::COPIES_MAX;
use groundcrew_core::backups::proof::{Copied, Inspection};
use groundcrew_core::backups::record::Place;
use groundcrew_core::backups::settings::BackupSettings;
use groundcrew_core::doctor::ShownDatabase;
use tokio::sync::OnceCell;

use super::calls::{refused, within};
use crate::aws::call_failure::CallFailure;
use crate::aws::rds::{Cluster, Instance, Rds, Snapshot};
use crate::clock;

mod made;
mod ours;
mod restoring;
mod scratch;

pub use restoring::{RestoreTo, Restored};

/// RDS's own key in every region.
const RDS_KEY: &str = "alias/aws/rds";

/// The snapshots of one job. Nobody is asked anything until something is.
#[derive(Debug)]
pub struct Snapshots {
    settings: Arc<BackupSettings>,
    home: OnceCell<Rds>,
}

/// A database: what has snapshots of its own.
enum Found {
    Instance(Instance),
    Cluster(Cluster),
}

impl Snapshots {
    /// With credentials, region and endpoint from the environment and the instance's metadata.
    #[must_use]
    pub fn connect(settings: Arc<BackupSettings>) -> Self {
        Self { settings, home: OnceCell::new() }
    }

    /// The same where copies are: what is asked of it as of home is asked there.
    pub async fn at(&self, place: &Place) -> Result<Self, CallError> {
        let home = OnceCell::new_with(Some(self.place(place).await?));
        Ok(Self { settings: Arc::clone(&self.settings), home })
    }

    /// The job's database, as RDS keeps it; `None`: there is none of that name.
    pub async fn database(&self) -> Result<Option<Database>, CallError> {
        let database = self.found().await?.map(|found| match found {
            Found::Instance(one) => {
                Database { target: Target::Instance, status: one.status, resource: one.resource }
            }
            Found::Cluster(one) => {
                let (target, status) = (Target::Cluster(one.id), one.status);
                Database { target, status, resource: one.resource }
            }
        });
        Ok(database)
    }

    /// What people should know of the job's database; `None`: there is none of that name.
    pub async fn shown(&self) -> Result<Option<ShownDatabase>, CallError> {
        let shown = self.found().await?.map(|found| {
            let (target, status, engine, placement, windows) = match found {
                Found::Instance(one) => {
                    (Target::Instance, one.status, one.engine, one.placement, one.windows)
                }
                Found::Cluster(one) => {
                    let target = Target::Cluster(one.id);
                    (target, one.status, one.engine, one.placement, one.windows)
                }
            };
            ShownDatabase {
                target,
                status,
                engine,
                multi_az: placement.multi_az,
                backup_window: windows.backup,
                maintenance_window: windows.maintenance,
            }
        });
        Ok(shown)
    }

    async fn found(&self) -> Result<Option<Found>, CallError> {
        let name = &self.settings.job.database;
        let asking = async {
            let rds = self.home().await?;
            let cluster = match rds.describe_instance(name).await? {
                Some(Instance { cluster: Some(cluster), .. }) => cluster,
                Some(instance) => return Ok(Some(Found::Instance(instance))),
                None => name.clone(),
            };
            Ok::<_, CallFailure>(rds.describe_cluster(&cluster).await?.map(Found::Cluster))
        };
        within(&format!("asking about database {name}"), asking).await
    }

    /// The snapshot of an identifier; `None` only when RDS says that there is none.
    pub async fn look(
        &self,
        place: &Place,
        id: &str,
        target: &Target,
    ) -> Result<Option<Box<Backup>>, CallError> {
        let looking = async {
            let rds = self.place(place).await?;
            let found = rds.describe_snapshot(id, target).await?;
            Ok::<_, CallFailure>(found.map(|found| Box::new(backup(found))))
        };
        within(&format!("looking at snapshot {id}"), looking).await
    }

    /// All manual snapshots of the job's database whose tags name the job, newest first.
    ///
    /// The job's tag alone is not enough: two fleets of one account may have a job of the same
    /// name, and neither's retention may see what is the other's.
    pub async fn list(&self, place: &Place, target: &Target) -> Result<Vec<Backup>, CallError> {
        let listing = async {
            let rds = self.place(place).await?;
            rds.describe_snapshots(target).await
        };
        let all = within("listing snapshots", listing).await?;
        let database = match target {
            Target::Instance => &self.settings.job.database,
            Target::Cluster(cluster) => cluster,
        };
        Ok(ours::ours(all, database, self.settings.job.name.as_str()))
    }

    /// All snapshots of the job in a place, by the names that the job gives them and by its tags,
    /// newest first, each with how RDS keeps it. For when nobody says what RDS calls the database:
    /// its region is lost, or it is.
    pub async fn list_named(&self, place: &Place) -> Result<Vec<(Backup, Target)>, CallError> {
        let mut all = Vec::new();
        for target in [Target::Instance, Target::Cluster(String::new())] {
            let listing = async {
                let rds = self.place(place).await?;
                rds.describe_snapshots(&target).await
            };
            let found = within("listing snapshots", listing).await?;
            all.extend(ours::named(found, &target, &self.settings.job));
        }
        Ok(all)
    }

    /// Begins a snapshot.
    pub async fn snapshot(
        &self,
        id: &str,
        target: &Target,
        tags: &[Tag],
    ) -> Result<Make, CallError> {
        let making = async {
            let rds = self.home().await?;
            let database = &self.settings.job.database;
            Ok::<_, CallFailure>(rds.create_snapshot(id, database, target, tags).await)
        };
        made::make(within(&format!("making snapshot {id}"), making).await?)
    }

    /// Begins a copy into `region`. A source that is encrypted is copied under the job's key of
    /// that region, or under RDS's own: keys do not leave their region. One that is not gets a key
    /// only when the host's file names one.
    pub async fn copy(
        &self,
        region: &str,
        id: &str,
        source: &str,
        target: &Target,
        tags: &[Tag],
    ) -> Result<Make, CallError> {
        let copying = async {
            let home = self.home().await?;
            let name = source.rsplit(':').next().unwrap_or_default();
            let Some(found) = home.describe_snapshot(name, target).await? else {
                return Ok(None);
            };
            let named = self.settings.copy_keys.get(region).map(String::as_str);
            let key = named.or(found.encrypted.then_some(RDS_KEY));
            let there = home.in_region(region);
            Ok::<_, CallFailure>(Some(there.copy_snapshot(id, source, target, key, tags).await))
        };
        match within(&format!("copying {id} to {region}"), copying).await? {
            Some(answer) => made::make(answer),
            None => Ok(Make::NoSource),
        }
    }

    /// Deletes a snapshot of this job. What is not there is deleted.
    pub async fn delete(&self, place: &Place, id: &str, target: &Target) -> Result<(), CallError> {
        let deleting = async {
            let rds = self.place(place).await?;
            let Some(found) = rds.describe_snapshot(id, target).await? else { return Ok(()) };
            let now_s = clock::wall().0.div_euclid(1000);
            ours::may_delete(&found, self.settings.job.name.as_str(), now_s)?;
            made::gone(rds.delete_snapshot(id, target).await)
        };
        within(&format!("deleting snapshot {id}"), deleting).await
    }

    /// Sets tags of a snapshot at home. Who works with it for longer than is to be written now
    /// keeps it.
    pub async fn mark(&self, id: &str, target: &Target, tags: &[Tag]) -> Result<(), CallError> {
        let marking = async {
            let rds = self.home().await?;
            let found = rds.describe_snapshot(id, target).await?;
            let found = found.ok_or_else(|| refused(format!("there is no snapshot {id}")))?;
            let tags = ours::news(&found, tags);
            if tags.is_empty() {
                return Ok(());
            }
            Ok::<_, CallError>(rds.add_tags(&found.arn, &tags).await?)
        };
        within(&format!("marking snapshot {id}"), marking).await
    }

    /// What L0 asks about a snapshot and its copies.
    pub async fn inspect(
        &self,
        id: &str,
        target: &Target,
        copies: &[String],
    ) -> Result<Box<Inspection>, CallError> {
        let inspecting = async {
            let rds = self.home().await?;
            let found = rds.describe_snapshot(id, target).await?;
            let key = found.as_ref().filter(|found| found.encrypted);
            let key_state = match key.and_then(|found| found.key.as_deref()) {
                Some(key) => Some(rds.kms().describe_key(key).await?),
                None => None,
            };
            let copies = copies.iter().take(COPIES_MAX).map(|region| async move {
                let copy = rds.in_region(region).describe_snapshot(id, target).await?;
                let copied = |found: Snapshot| {
                    let encrypted = found.encrypted;
                    Copied { backup: backup(found), encrypted }
                };
                Ok::<_, CallError>((region.clone(), copy.map(copied)))
            });
            let copies = try_join_all(copies).await?;
            let encrypted = found.as_ref().is_some_and(|found| found.encrypted);
            let backup = found.map(backup);
            Ok::<_, CallError>(Box::new(Inspection { backup, encrypted, key_state, copies }))
        };
        within(&format!("inspecting snapshot {id}"), inspecting).await
    }

    /// RDS where the database is.
    async fn home(&self) -> Result<&Rds, CallFailure> {
        self.home.get_or_try_init(Rds::connect).await
    }

    async fn place(&self, place: &Place) -> Result<Rds, CallFailure> {
        let home = self.home().await?;
        Ok(match place {
            Place::Home => home.clone(),
            Place::Region(region) => home.in_region(region),
        })
    }
}

/// A snapshot as the core knows it.
fn backup(shown: Snapshot) -> Backup {
    Backup {
        state: BackupState::of(&shown.status),
        marks: Marks::of(&shown.tags),
        id: shown.id,
        arn: shown.arn,
        resource: shown.resource,
        created_s: shown.created_s,
        bytes: shown.bytes,
    }
}
