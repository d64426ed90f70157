//! What was restored for proof: found by name and tags, and deleted only when it has both. A slip
//! here would delete a database of people.

use groundcrew_core::backups::backup::{MANAGED_BY, TAG_MANAGED_BY, TAG_VERIFY_TTL, Tag};
use groundcrew_core::backups::call::CallError;
use groundcrew_core::backups::limits::SCRATCH_MAX;
use groundcrew_core::backups::proof::Scratch;
use groundcrew_core::backups::slot::{JobName, SCRATCH_PREFIX};

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
            Ok::<_, CallFailure>(scratches(&self.settings.job.name, &instances, &clusters))
        };
        within("looking for what was restored for proof", listing).await
    }

    /// Where the instance or cluster that was restored for proof can be reached, once it can.
    pub async fn endpoint(&self, id: &str) -> Result<Option<Endpoint>, CallError> {
        check_name(id, &self.settings.job.name)?;
        let asking = async {
            let rds = self.home().await?;
            if let Some(cluster) = rds.describe_cluster(id).await? {
                return Ok(cluster.endpoint);
            }
            let instance = rds.describe_instance(id).await?;
            Ok::<_, CallFailure>(instance.and_then(|instance| instance.endpoint))
        };
        within(&format!("asking about {id}"), asking).await
    }

    /// Begins to delete what was restored for proof of this job, and nothing else. What is not
    /// there is deleted.
    pub async fn destroy(&self, id: &str) -> Result<(), CallError> {
        check_name(id, &self.settings.job.name)?;
        let destroying = async {
            let rds = self.home().await?;
            match rds.describe_cluster(id).await? {
                Some(cluster) => destroy_cluster(rds, &cluster, &self.settings.job.name).await,
                None => match rds.describe_instance(id).await? {
                    Some(instance) => destroy_instance(rds, &instance, None).await,
                    None => Ok(()),
                },
            }
        };
        within(&format!("deleting {id}"), destroying).await
    }
}

/// Refuses what is not named as what is restored for proof of the job.
pub(super) fn check_name(id: &str, job: &JobName) -> Result<(), CallError> {
    if id.strip_prefix(&prefix(job)).is_some_and(|slot| !slot.is_empty()) {
        return Ok(());
    }
    Err(refused(format!("{id:?} is not named as what {job} restores for proof")))
}

/// Whether it is tagged as restored for proof.
pub(super) fn is_tagged(tags: &[Tag]) -> bool {
    let managed = tags.iter().any(|(key, value)| key == TAG_MANAGED_BY && value == MANAGED_BY);
    managed && tags.iter().any(|(key, _)| key == TAG_VERIFY_TTL)
}

fn prefix(job: &JobName) -> String {
    format!("{SCRATCH_PREFIX}{job}-")
}

async fn destroy_cluster(rds: &Rds, cluster: &Cluster, job: &JobName) -> Result<(), CallError> {
    let id = &cluster.id;
    if !is_tagged(&cluster.tags) {
        return Err(refused(format!("cluster {id} was not restored for proof")));
    }
    // The instances of any other cluster go with it.
    let members: &[String] = if is_aurora(&cluster.engine) { &cluster.members } else { &[] };
    for member in members {
        check_name(member, job)?;
        if let Some(instance) = rds.describe_instance(member).await? {
            destroy_instance(rds, &instance, Some(id)).await?;
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
) -> Result<(), CallError> {
    let id = &instance.id;
    if !is_tagged(&instance.tags) || instance.cluster.as_deref() != cluster {
        return Err(refused(format!("instance {id} was not restored for proof")));
    }
    if instance.status == "deleting" {
        return Ok(());
    }
    made::gone(rds.delete_instance(id).await)
}

fn scratches(job: &JobName, instances: &[Instance], clusters: &[Cluster]) -> Vec<Scratch> {
    let prefix = prefix(job);
    let ours = |id: &str, tags: &[Tag]| id.starts_with(&prefix) && is_tagged(tags);
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

    use super::*;
    use crate::aws::rds::Placement;

    fn tags(until: &str) -> Vec<Tag> {
        [(TAG_MANAGED_BY, MANAGED_BY), (TAG_VERIFY_TTL, until)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }

    fn instance(id: &str, cluster: Option<&str>, tags: Vec<Tag>) -> Instance {
        Instance {
            id: id.into(),
            status: "creating".into(),
            resource: String::new(),
            cluster: cluster.map(str::to_owned),
            endpoint: None,
            tags,
            placement: Placement::default(),
        }
    }

    #[test]
    fn only_what_has_the_name_and_the_tags_is_found() {
        let job: JobName = "nightly".parse().unwrap();
        let until = rfc3339(1_795_314_600);
        let only_managed = vec![(TAG_MANAGED_BY.to_owned(), MANAGED_BY.to_owned())];
        let cluster = Cluster {
            id: "gc-verify-nightly-20261123".into(),
            status: "available".into(),
            resource: String::new(),
            engine: "aurora-mysql".into(),
            members: vec!["gc-verify-nightly-20261123".into()],
            endpoint: None,
            tags: tags("tomorrow"),
            placement: Placement::default(),
        };
        let instances = [
            instance("gc-verify-nightly-20261121", None, tags(&until)),
            instance("gc-verify-nightly-20261122", None, only_managed),
            instance("gc-verify-nightlyx-20261122", None, tags(&until)),
            instance("shop", None, tags(&until)),
            instance("gc-verify-nightly-20261123", Some(&cluster.id), tags(&until)),
        ];
        let found = scratches(&job, &instances, &[cluster]);
        let expected = [
            ("gc-verify-nightly-20261121", "creating", Some(1_795_314_600)),
            ("gc-verify-nightly-20261123", "creating", None),
        ];
        let found: Vec<_> =
            found.iter().map(|one| (one.id.as_str(), one.status.as_str(), one.until_s)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn names_of_others_are_refused() {
        let job: JobName = "nightly".parse().unwrap();
        assert!(check_name("gc-verify-nightly-20261121", &job).is_ok());
        for id in ["shop", "gc-verify-nightly-", "gc-verify-nightlyx-1", "gc-verify-hourly-1", ""] {
            assert!(check_name(id, &job).is_err(), "{id}");
        }
    }
}
