//! What was restored for proof: found by name and tags, and deleted only when it has both. A slip
//! here would delete a database of people.

use groundcrew_core::backups::JobSettings;
use groundcrew_core::backups::backup::{
    MANAGED_BY, TAG_JOB, TAG_MANAGED_BY, TAG_RESTORED_FROM, TAG_VERIFY_TTL, Tag,
};
use groundcrew_core::backups::call::CallError;
use groundcrew_core::backups::limits::SCRATCH_MAX;
use groundcrew_core::backups::proof::Scratch;
use groundcrew_core::backups::slot::{SCRATCH_PREFIX, scratch_stem};

use super::super::calls::{refused, within};
use super::restoring::status;
use super::{Snapshots, made};
use crate::aws::call_failure::CallFailure;
use crate::aws::rds::{Cluster, Endpoint, Instance, Rds, is_aurora};

impl Snapshots {
    /// All instances and clusters that were restored for proof of this job. The instances of a
    /// cluster are told with it.
    pub async fn scratches(&self) -> Result<Vec<Scratch>, CallError> {
        let listing = async {
            let rds = self.home().await?;
            let instances = rds.describe_instances().await?;
            let clusters = rds.describe_clusters().await?;
            Ok::<_, CallFailure>(scratches(&self.settings.job, &instances, &clusters))
        };
        within("looking for what was restored for proof", listing).await
    }

    /// Where the instance or cluster that was restored for proof of this job can be reached, once
    /// it can. What was restored for another's proof says nothing of this job's backups.
    pub async fn endpoint(&self, id: &str) -> Result<Option<Endpoint>, CallError> {
        check_prefix(id)?;
        let job = &self.settings.job;
        let asking = async {
            let rds = self.home().await?;
            if let Some(cluster) = rds.describe_cluster(id).await? {
                check(&cluster.id, &cluster.tags, job)?;
                return Ok(cluster.endpoint);
            }
            let Some(instance) = rds.describe_instance(id).await? else { return Ok(None) };
            check(&instance.id, &instance.tags, job)?;
            Ok::<_, CallError>(instance.endpoint)
        };
        within(&format!("asking about {id}"), asking).await
    }

    /// Begins to delete what was restored for proof of this job, and nothing else. What is not
    /// there is deleted.
    pub async fn destroy(&self, id: &str) -> Result<(), CallError> {
        check_prefix(id)?;
        let job = &self.settings.job;
        let destroying = async {
            let rds = self.home().await?;
            match rds.describe_cluster(id).await? {
                Some(cluster) => destroy_cluster(rds, &cluster, job).await,
                None => match rds.describe_instance(id).await? {
                    Some(instance) => destroy_instance(rds, &instance, None, job).await,
                    None => Ok(()),
                },
            }
        };
        within(&format!("deleting {id}"), destroying).await
    }
}

/// Refuses what is not named as what is restored of a snapshot of the job for proof.
pub(super) fn check_name(id: &str, job: &JobSettings, snapshot: &str) -> Result<(), CallError> {
    if is_named(id, job, snapshot) {
        return Ok(());
    }
    let name = &job.name;
    Err(refused(format!("{id:?} is not named as what {name} restores of {snapshot} for proof")))
}

/// Refuses what was not restored for proof of the job.
pub(super) fn check(id: &str, tags: &[Tag], job: &JobSettings) -> Result<(), CallError> {
    if is_ours(id, tags, job) {
        return Ok(());
    }
    Err(refused(format!("{id} was not restored for proof of {}", job.name)))
}

/// Spares RDS the question about what cannot be.
fn check_prefix(id: &str) -> Result<(), CallError> {
    if id.starts_with(SCRATCH_PREFIX) {
        return Ok(());
    }
    Err(refused(format!("{id:?} is not named as what is restored for proof")))
}

/// Whether its tags say that it was restored for proof of the job, and its name says of which
/// database and of which snapshot, which the tags say, too.
fn is_ours(id: &str, tags: &[Tag], job: &JobSettings) -> bool {
    let tag = |key| tags.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
    tag(TAG_MANAGED_BY) == Some(MANAGED_BY)
        && tag(TAG_VERIFY_TTL).is_some()
        && tag(TAG_JOB) == Some(job.name.as_str())
        && tag(TAG_RESTORED_FROM).is_some_and(|snapshot| is_named(id, job, snapshot))
}

fn is_named(id: &str, job: &JobSettings, snapshot: &str) -> bool {
    let stem = scratch_stem(&job.name, &job.database, snapshot);
    id.strip_prefix(&stem).is_some_and(|slot| !slot.is_empty())
}

async fn destroy_cluster(rds: &Rds, cluster: &Cluster, job: &JobSettings) -> Result<(), CallError> {
    let id = &cluster.id;
    check(id, &cluster.tags, job)?;
    // The instances of any other cluster go with it.
    let members: &[String] = if is_aurora(&cluster.engine) { &cluster.members } else { &[] };
    for member in members {
        if let Some(instance) = rds.describe_instance(member).await? {
            destroy_instance(rds, &instance, Some(id), job).await?;
        }
    }
    if cluster.status == "deleting" {
        return Ok(());
    }
    made::gone(rds.delete_cluster(id).await)
}

/// Deletes an instance of its own, or of the cluster that is being deleted.
async fn destroy_instance(
    rds: &Rds,
    instance: &Instance,
    cluster: Option<&str>,
    job: &JobSettings,
) -> Result<(), CallError> {
    let id = &instance.id;
    check(id, &instance.tags, job)?;
    if instance.cluster.as_deref() != cluster {
        return Err(refused(format!("instance {id} is of another cluster")));
    }
    if instance.status == "deleting" {
        return Ok(());
    }
    made::gone(rds.delete_instance(id).await)
}

fn scratches(job: &JobSettings, instances: &[Instance], clusters: &[Cluster]) -> Vec<Scratch> {
    let ours = |id: &str, tags: &[Tag]| is_ours(id, tags, job);
    let alone = instances
        .iter()
        .filter(|one| one.cluster.is_none() && ours(&one.id, &one.tags))
        .map(|one| scratch(&one.id, one.status.clone(), &one.tags));
    let clusters = clusters.iter().filter(|one| ours(&one.id, &one.tags)).map(|cluster| {
        let of = |one: &&Instance| one.cluster.as_deref() == Some(&cluster.id);
        let members: Vec<_> = instances.iter().filter(of).cloned().collect();
        scratch(&cluster.id, status(cluster, &members), &cluster.tags)
    });
    alone.chain(clusters).take(SCRATCH_MAX).collect()
}

fn scratch(id: &str, status: String, tags: &[Tag]) -> Scratch {
    let ttl = tags.iter().find(|(key, _)| key == TAG_VERIFY_TTL);
    let until = ttl.and_then(|(_, value)| value.parse::<jiff::Timestamp>().ok());
    let until_s = until.map(jiff::Timestamp::as_second);
    Scratch { id: id.to_owned(), status, until_s }
}

#[cfg(test)]
mod tests {
    use groundcrew_core::backups::backup::rfc3339;
    use groundcrew_core::backups::slot::scratch_id;

    use super::super::ours::tests::{job, slot};
    use super::*;
    use crate::aws::rds::{Placement, Windows};

    const SNAPSHOT: &str = "gc-nightly-shop-20261121";

    fn tags(until: &str) -> Vec<Tag> {
        let tags = [
            (TAG_MANAGED_BY, MANAGED_BY),
            (TAG_VERIFY_TTL, until),
            (TAG_JOB, "nightly"),
            (TAG_RESTORED_FROM, SNAPSHOT),
        ];
        tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
    }

    fn id(job: &JobSettings, day: &str) -> String {
        scratch_id(&job.name, &job.database, SNAPSHOT, slot(day))
    }

    fn instance(id: &str, cluster: Option<&str>, tags: Vec<Tag>) -> Instance {
        Instance {
            id: id.into(),
            status: "creating".into(),
            resource: String::new(),
            cluster: cluster.map(str::to_owned),
            endpoint: None,
            tags,
            engine: "postgres".into(),
            windows: Windows::default(),
            placement: Placement::default(),
        }
    }

    #[test]
    fn only_what_has_the_name_and_the_tags_is_found() {
        let (ours, theirs) = (job("nightly", "shop"), job("nightly", "staging"));
        let until = rfc3339(1_795_314_600);
        let of_cluster = id(&ours, "2026-11-23");
        let cluster = Cluster {
            id: of_cluster.clone(),
            status: "available".into(),
            resource: String::new(),
            engine: "aurora-mysql".into(),
            members: vec![of_cluster.clone()],
            endpoint: None,
            tags: tags("tomorrow"),
            windows: Windows::default(),
            placement: Placement::default(),
        };
        let first = id(&ours, "2026-11-21");
        let mut instances = vec![
            instance(&first, None, tags(&until)),
            instance("shop", None, tags(&until)),
            // Of a fleet of this account that has a job of the same name.
            instance(&id(&theirs, "2026-11-21"), None, tags(&until)),
            instance(&of_cluster, Some(&of_cluster), tags(&until)),
        ];
        // Tagged by half: none of them is deleted.
        for gone in [TAG_MANAGED_BY, TAG_VERIFY_TTL, TAG_JOB, TAG_RESTORED_FROM] {
            let half = tags(&until).into_iter().filter(|(key, _)| key != gone).collect();
            instances.push(instance(&id(&ours, "2026-11-22"), None, half));
        }
        let mut other_job = tags(&until);
        other_job[2].1 = "hourly".into();
        instances.push(instance(&id(&ours, "2026-11-22"), None, other_job));
        let found = scratches(&ours, &instances, &[cluster]);
        let expected =
            [(first.as_str(), "creating", Some(1_795_314_600)), (&of_cluster, "creating", None)];
        let found: Vec<_> =
            found.iter().map(|one| (one.id.as_str(), one.status.as_str(), one.until_s)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn names_of_others_are_refused() {
        let ours = job("nightly", "shop");
        let good = id(&ours, "2026-11-21");
        assert!(check_name(&good, &ours, SNAPSHOT).is_ok());
        assert!(check_name(&good, &ours, "gc-nightly-shop-20261120").is_err());
        assert!(check_name(&good, &job("nightly", "staging"), SNAPSHOT).is_err());
        assert!(check_name(&good, &job("hourly", "shop"), SNAPSHOT).is_err());
        for id in ["shop", "gc-verify-nightly-", good.trim_end_matches("20261121"), ""] {
            assert!(check_name(id, &ours, SNAPSHOT).is_err(), "{id}");
        }
        assert!(check_prefix("shop").is_err() && check_prefix(&good).is_ok());
    }
}
