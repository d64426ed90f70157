//! Snapshots at RDS: carries out the calls of the core, each with one change at most. What is
//! deleted is looked at first: it has to be groundcrew's, and this job's.

use std::sync::Arc;

use futures_util::future::try_join_all;
use groundcrew_core::backups::backup::{Backup, BackupState, Marks, Tag};
use groundcrew_core::backups::call::{CallError, Make};
use groundcrew_core::backups::database::{Database, Target};
use groundcrew_core::backups::limits::{BACKUPS_MAX, COPIES_MAX};
use groundcrew_core::backups::proof::Inspection;
use groundcrew_core::backups::record::Place;
use groundcrew_core::backups::settings::BackupSettings;
use tokio::sync::OnceCell;

use super::calls::{refused, within};
use crate::aws::call_failure::CallFailure;
use crate::aws::rds::{Rds, Snapshot};

mod made;
mod restoring;
mod scratch;

pub use restoring::Restored;

/// How all identifiers of groundcrew's snapshots begin.
const PREFIX: &str = "gc-";
/// RDS's own key in every region.
const RDS_KEY: &str = "alias/aws/rds";

/// The snapshots of one job. Nobody is asked anything until something is.
#[derive(Debug)]
pub struct Snapshots {
    settings: Arc<BackupSettings>,
    home: OnceCell<Rds>,
}

impl Snapshots {
    /// With credentials, region and endpoint from the environment and the instance's metadata.
    #[must_use]
    pub fn connect(settings: Arc<BackupSettings>) -> Self {
        Self { settings, home: OnceCell::new() }
    }

    /// The job's database, as RDS keeps it; `None`: there is none of that name.
    pub async fn database(&self) -> Result<Option<Database>, CallError> {
        let name = &self.settings.job.database;
        let asking = async {
            let rds = self.home().await?;
            let cluster = match rds.describe_instance(name).await? {
                Some(instance) => match instance.cluster {
                    Some(cluster) => cluster,
                    None => {
                        let (status, resource) = (instance.status, instance.resource);
                        let target = Target::Instance;
                        return Ok(Some(Database { target, status, resource }));
                    }
                },
                None => name.clone(),
            };
            let cluster = rds.describe_cluster(&cluster).await?;
            Ok::<_, CallFailure>(cluster.map(|cluster| Database {
                target: Target::Cluster(cluster.id),
                status: cluster.status,
                resource: cluster.resource,
            }))
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
        Ok(ours(all, database, self.settings.job.name.as_str()))
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
            may_delete(&found, self.settings.job.name.as_str())?;
            made::gone(rds.delete_snapshot(id, target).await)
        };
        within(&format!("deleting snapshot {id}"), deleting).await
    }

    /// Sets tags of a snapshot at home.
    pub async fn mark(&self, id: &str, target: &Target, tags: &[Tag]) -> Result<(), CallError> {
        let marking = async {
            let rds = self.home().await?;
            let found = rds.describe_snapshot(id, target).await?;
            let found = found.ok_or_else(|| refused(format!("there is no snapshot {id}")))?;
            Ok::<_, CallError>(rds.add_tags(&found.arn, tags).await?)
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
                Ok::<_, CallError>((region.clone(), copy.map(backup)))
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

/// Those of a database whose tags name a job, newest first, as many as are looked at.
fn ours(all: Vec<Snapshot>, database: &str, job: &str) -> Vec<Backup> {
    let of_database = |one: &Snapshot| one.database.eq_ignore_ascii_case(database);
    let all = all.into_iter().filter(of_database).map(backup);
    let of_job = |one: &Backup| one.marks.as_ref().is_some_and(|marks| marks.job == job);
    let mut ours: Vec<_> = all.filter(of_job).collect();
    ours.sort_by_key(|one| std::cmp::Reverse(one.marks.as_ref().map(|marks| marks.at_s)));
    ours.truncate(BACKUPS_MAX);
    ours
}

/// Refuses what is not this job's, and what a person holds.
fn may_delete(found: &Snapshot, job: &str) -> Result<(), CallError> {
    let id = &found.id;
    let Some(marks) = Marks::of(&found.tags).filter(|_| id.starts_with(PREFIX)) else {
        return Err(refused(format!("snapshot {id} is not groundcrew's")));
    };
    if marks.job != job {
        return Err(refused(format!("snapshot {id} is of job {:?}", marks.job)));
    }
    match marks.hold {
        Some(hold) => Err(refused(format!("snapshot {id} is held: {hold}"))),
        None => Ok(()),
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

#[cfg(test)]
mod tests {
    use groundcrew_core::backups::backup::{TAG_HOLD, tags};
    use groundcrew_core::backups::call::CallErrorKind;
    use groundcrew_core::backups::civil::DateTime;
    use groundcrew_core::backups::slot::Slot;

    use super::*;

    fn shown(id: &str, database: &str, job: &str, day: &str) -> Snapshot {
        let nominal: DateTime = format!("{day}T00:20").parse().unwrap();
        let slot = Slot { nominal, at_s: nominal.seconds(), daily: true };
        Snapshot {
            id: id.into(),
            arn: format!("arn:aws:rds:us-east-1:1:snapshot:{id}"),
            status: "available".into(),
            database: database.into(),
            resource: "db-A".into(),
            engine: "postgres".into(),
            encrypted: true,
            key: None,
            created_s: Some(1),
            bytes: None,
            tags: tags(&job.parse().unwrap(), slot, 0, "i-1", false),
        }
    }

    #[test]
    fn a_list_holds_what_is_of_this_job_and_this_database() {
        let bare = Snapshot { tags: Vec::new(), ..shown("gc-e", "shop", "a", "2026-11-20") };
        let all = vec![
            shown("gc-a", "shop", "nightly", "2026-11-19"),
            shown("gc-b", "SHOP", "nightly", "2026-11-21"),
            shown("gc-c", "staging", "nightly", "2026-11-20"),
            shown("gc-d", "shop", "hourly", "2026-11-20"),
            bare,
        ];
        let found: Vec<_> = ours(all, "shop", "nightly").into_iter().map(|one| one.id).collect();
        assert_eq!(found, ["gc-b", "gc-a"]);
    }

    #[test]
    fn only_this_jobs_snapshots_are_deleted() {
        let good = || shown("gc-a", "shop", "nightly", "2026-11-19");
        let check = |snapshot: Snapshot, expected: Option<&str>| {
            let error = may_delete(&snapshot, "nightly").err();
            assert_eq!(error.as_ref().map(|error| error.text.as_str()), expected);
            assert!(error.is_none_or(|error| error.kind == CallErrorKind::Refused));
        };
        check(good(), None);
        let mut held = good();
        held.tags.push((TAG_HOLD.into(), "audit".into()));
        check(held, Some("snapshot gc-a is held: audit"));
        let bare = Snapshot { tags: Vec::new(), ..good() };
        check(bare, Some("snapshot gc-a is not groundcrew's"));
        let named = Snapshot { id: "before-upgrade".into(), ..good() };
        check(named, Some("snapshot before-upgrade is not groundcrew's"));
        let other = shown("gc-a", "shop", "hourly", "2026-11-19");
        check(other, Some("snapshot gc-a is of job \"hourly\""));
    }
}
