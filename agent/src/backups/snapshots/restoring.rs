//! What is restored of a snapshot: for proof, where nobody's way to the application leads, and for
//! people. Nothing is ever restored over something: RDS itself refuses a name that is taken.

use groundcrew_core::backups::backup::{
    MANAGED_BY, TAG_MANAGED_BY, TAG_RESTORED_FROM, TAG_VERIFY_TTL, Tag, rfc3339,
};
use groundcrew_core::backups::call::{CallError, CallErrorKind, Make};
use groundcrew_core::backups::database::Target;
use groundcrew_core::backups::proof::EMPTY;
use groundcrew_core::backups::settings::{Password, RestoreSettings};

use super::super::calls::{refused, within};
use super::{Snapshots, made, scratch};
use crate::aws::call_failure::CallFailure;
use crate::aws::rds::{Cluster, Endpoint, Instance, Placement, Rds, RestoreRequest, is_aurora};

/// What became of what was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// RDS's word, or [`EMPTY`] for a cluster that still needs an instance.
    pub status: String,
    /// Where it can be reached, once it can.
    pub endpoint: Option<Endpoint>,
}

impl Snapshots {
    /// Begins to restore a snapshot for proof, to the instance or the cluster `id`. A cluster of
    /// Aurora is restored without an instance and gets it by the same call again, once it is
    /// available.
    pub async fn restore(
        &self,
        id: &str,
        from: &str,
        target: &Target,
        until_s: i64,
    ) -> Result<Make, CallError> {
        scratch::check_name(id, &self.settings.job.name)?;
        let restore = self.settings.proof.restore.as_ref();
        let restore = restore
            .ok_or_else(|| refused("the host's file does not say where snapshots are restored"))?;
        let placement = isolated(restore, target);
        let ttl = rfc3339(until_s);
        let tags: Vec<Tag> = [(TAG_MANAGED_BY, MANAGED_BY), (TAG_VERIFY_TTL, &ttl)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        let request = RestoreRequest { id, snapshot: from, placement: &placement, tags: &tags };
        let restoring = async {
            let rds = self.home().await?;
            match target {
                Target::Instance => made::make(rds.restore_instance(&request).await),
                Target::Cluster(_) => match rds.describe_cluster(id).await? {
                    None => restore_cluster(rds, &request, target).await,
                    Some(found) if !scratch::is_tagged(&found.tags) => {
                        Err(refused(format!("cluster {id} was not restored for proof")))
                    }
                    Some(found) if is_empty(&found) => {
                        add_instance(rds, &found, &restore.class, &found.tags).await
                    }
                    Some(_) => Ok(Make::AlreadyExists),
                },
            }
        };
        within(&format!("restoring {from}"), restoring).await
    }

    /// Begins to restore a snapshot for a person, to a new instance or cluster, where and as what
    /// the job's database runs, or by RDS's defaults when that is gone.
    pub async fn restore_to(
        &self,
        id: &str,
        target: &Target,
        name: &str,
    ) -> Result<Make, CallError> {
        let restoring = async {
            let rds = self.home().await?;
            let instance = rds.describe_instance(name).await?.is_some();
            if instance || rds.describe_cluster(name).await?.is_some() {
                let text = format!("there is a database {name}, and nothing is restored over it");
                return Err(refused(text));
            }
            let placement = self.placement_of(rds, target).await?.unwrap_or_default();
            let tags = vec![(TAG_RESTORED_FROM.to_owned(), id.to_owned())];
            let (placement, tags) = (&placement, &tags);
            let request = RestoreRequest { id: name, snapshot: id, placement, tags };
            match target {
                Target::Instance => made::make(rds.restore_instance(&request).await),
                Target::Cluster(_) => restore_cluster(rds, &request, target).await,
            }
        };
        within(&format!("restoring {id} to {name}"), restoring).await
    }

    /// Where and as what the job's database runs, and what is restored for a person will; `None`:
    /// it is gone.
    pub async fn placement(&self, target: &Target) -> Result<Option<Placement>, CallError> {
        let asking = async { self.placement_of(self.home().await?, target).await };
        within("asking about the database", asking).await
    }

    /// How far the instance or cluster `name` is; `None`: it is not there.
    pub async fn restored(
        &self,
        name: &str,
        target: &Target,
    ) -> Result<Option<Restored>, CallError> {
        let asking = async {
            let rds = self.home().await?;
            match target {
                Target::Instance => {
                    let found = rds.describe_instance(name).await?;
                    Ok::<_, CallFailure>(
                        found.map(|found| Restored {
                            status: found.status,
                            endpoint: found.endpoint,
                        }),
                    )
                }
                Target::Cluster(_) => {
                    let Some(found) = rds.describe_cluster(name).await? else { return Ok(None) };
                    let members = members(rds, &found).await?;
                    let status = status(&found, &members);
                    Ok(Some(Restored { status, endpoint: found.endpoint }))
                }
            }
        };
        within(&format!("asking about {name}"), asking).await
    }

    /// Gives a cluster that a person had restored its instance, of the class that the job's
    /// cluster has. Asked for when it is [`EMPTY`], and of no other cluster.
    pub async fn add_instance(&self, name: &str, target: &Target) -> Result<Make, CallError> {
        let adding = async {
            let rds = self.home().await?;
            let Some(found) = rds.describe_cluster(name).await? else { return Ok(Make::NoSource) };
            let ours = found.tags.iter().any(|(key, _)| key == TAG_RESTORED_FROM);
            if !ours || !is_empty(&found) {
                let text = format!("cluster {name} is not one that was restored and is empty");
                return Err(refused(text));
            }
            let Target::Cluster(source) = target else {
                return Err(refused(format!("{name} is no cluster")));
            };
            let source = rds.describe_cluster(source).await?;
            let mut members = match &source {
                Some(source) => members(rds, source).await?,
                None => Vec::new(),
            };
            let class = members.pop().and_then(|member| member.placement.class);
            let class = class.ok_or_else(|| {
                refused(format!("nobody says of which class the instance of {name} is to be"))
            })?;
            add_instance(rds, &found, &class, &found.tags).await
        };
        within(&format!("adding an instance to {name}"), adding).await
    }

    async fn placement_of(
        &self,
        rds: &Rds,
        target: &Target,
    ) -> Result<Option<Placement>, CallFailure> {
        Ok(match target {
            Target::Instance => {
                let found = rds.describe_instance(&self.settings.job.database).await?;
                found.map(|found| found.placement)
            }
            Target::Cluster(cluster) => {
                rds.describe_cluster(cluster).await?.map(|found| found.placement)
            }
        })
    }
}

/// Where something runs that is there for proof: alone, small, not kept, and not reachable by what
/// the application has.
fn isolated(restore: &RestoreSettings, target: &Target) -> Placement {
    let connection = restore.connection.as_ref();
    Placement {
        class: Some(restore.class.clone()),
        subnet_group: Some(restore.subnet_group.clone()),
        security_groups: restore.security_groups.clone(),
        parameter_group: restore.parameter_group.clone(),
        multi_az: false,
        iam_authentication: connection.is_some_and(|to| to.password == Password::Iam),
        deletion_protection: false,
        // The first automated backup would keep the instance from being available.
        backup_days: (*target == Target::Instance).then_some(0),
    }
}

async fn restore_cluster(
    rds: &Rds,
    request: &RestoreRequest<'_>,
    target: &Target,
) -> Result<Make, CallError> {
    // The engine has to be said, and the snapshot says it.
    let Some(snapshot) = rds.describe_snapshot(request.snapshot, target).await? else {
        return Ok(Make::NoSource);
    };
    made::make(rds.restore_cluster(request, &snapshot.engine).await)
}

async fn add_instance(
    rds: &Rds,
    cluster: &Cluster,
    class: &str,
    tags: &[Tag],
) -> Result<Make, CallError> {
    let id = &cluster.id;
    made::make(rds.create_cluster_instance(id, id, &cluster.engine, class, tags).await)
}

/// Whether it waits for an instance that nobody but groundcrew makes.
pub(super) fn is_empty(cluster: &Cluster) -> bool {
    cluster.status == "available" && cluster.members.is_empty() && is_aurora(&cluster.engine)
}

/// How far a cluster and its instances are, in a word.
pub(super) fn status(cluster: &Cluster, members: &[Instance]) -> String {
    if is_empty(cluster) {
        return EMPTY.to_owned();
    }
    if cluster.status != "available" {
        return cluster.status.clone();
    }
    let behind = members.iter().find(|member| member.status != "available");
    behind.map_or_else(|| cluster.status.clone(), |member| member.status.clone())
}

/// The instances of a cluster: not many, so each is asked for by its name.
pub(super) async fn members(rds: &Rds, cluster: &Cluster) -> Result<Vec<Instance>, CallFailure> {
    if cluster.members.len() > MEMBERS_MAX {
        let text = format!("cluster {} shows more than {MEMBERS_MAX} instances", cluster.id);
        return Err(CallFailure::own(CallErrorKind::Refused, text));
    }
    let mut members = Vec::new();
    for id in &cluster.members {
        members.extend(rds.describe_instance(id).await?);
    }
    Ok(members)
}

/// Instances of a cluster: RDS allows a writer and 15 readers.
const MEMBERS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use groundcrew_core::backups::Kind;

    use super::*;

    fn cluster(status: &str, engine: &str, members: &[&str]) -> Cluster {
        Cluster {
            id: "gc-verify-a-20261121".into(),
            status: status.into(),
            resource: "cluster-A".into(),
            engine: engine.into(),
            members: members.iter().map(|id| (*id).to_owned()).collect(),
            endpoint: None,
            tags: Vec::new(),
            placement: Placement::default(),
        }
    }

    fn instance(status: &str) -> Instance {
        Instance {
            id: "a".into(),
            status: status.into(),
            resource: String::new(),
            cluster: None,
            endpoint: None,
            tags: Vec::new(),
            placement: Placement::default(),
        }
    }

    #[test]
    fn a_cluster_is_as_far_as_what_is_furthest_behind() {
        let check = |cluster: Cluster, members: &[&str], expected| {
            let members: Vec<_> = members.iter().map(|status| instance(status)).collect();
            assert_eq!(status(&cluster, &members), expected);
        };
        let aurora = "aurora-postgresql";
        check(cluster("creating", aurora, &[]), &[], "creating");
        check(cluster("available", aurora, &[]), &[], EMPTY);
        check(cluster("available", aurora, &["a"]), &["creating"], "creating");
        check(cluster("available", aurora, &["a"]), &["available"], "available");
        check(cluster("available", aurora, &["a", "b"]), &["available", "deleting"], "deleting");
        check(cluster("deleting", aurora, &[]), &[], "deleting");
        // A Multi-AZ DB cluster makes its own.
        check(cluster("available", "postgres", &[]), &[], "available");
    }

    #[test]
    fn what_is_restored_for_proof_is_isolated() {
        let restore = RestoreSettings {
            subnet_group: "proof".into(),
            security_groups: vec!["sg-proof".into()],
            class: "db.t4g.medium".into(),
            parameter_group: None,
            connection: None,
            database: "shop".into(),
            speaks: Kind::PgDump,
            within: Duration::from_hours(3),
        };
        let placement = isolated(&restore, &Target::Instance);
        assert_eq!(placement.subnet_group.as_deref(), Some("proof"));
        assert_eq!(placement.security_groups, ["sg-proof"]);
        assert_eq!(placement.backup_days, Some(0));
        assert!(!placement.multi_az && !placement.deletion_protection);
        let placement = isolated(&restore, &Target::Cluster("shop".into()));
        assert_eq!(placement.backup_days, None);
    }
}
