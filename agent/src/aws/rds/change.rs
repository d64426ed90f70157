//! What changes something at RDS, each asked for once. Nothing is deleted here that the caller did
//! not name, and no final snapshot is made: it would count against the quota of all snapshots.

use aws_sdk_rds::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_rds::types::Tag as WireTag;
use groundcrew_core::backups::backup::Tag;
use groundcrew_core::backups::database::Target;

use super::{Rds, RestoreRequest, once};
use crate::aws::call_failure::{CallFailure, failure};

impl Rds {
    /// Makes a snapshot of an instance, or of the cluster that `target` names.
    pub async fn create_snapshot(
        &self,
        id: &str,
        instance: &str,
        target: &Target,
        tags: &[Tag],
    ) -> Result<(), CallFailure> {
        match target {
            Target::Instance => {
                let request = self.client.create_db_snapshot().db_snapshot_identifier(id);
                let request = request.db_instance_identifier(instance).set_tags(wire(tags));
                let answer = request.customize().config_override(once()).send().await;
                done("rds:CreateDBSnapshot", answer)
            }
            Target::Cluster(cluster) => {
                let request = self.client.create_db_cluster_snapshot();
                let request = request.db_cluster_snapshot_identifier(id).set_tags(wire(tags));
                let request = request.db_cluster_identifier(cluster);
                let answer = request.customize().config_override(once()).send().await;
                done("rds:CreateDBClusterSnapshot", answer)
            }
        }
    }

    /// Copies a snapshot of any region into this one. Its own tags stay behind: some may be set
    /// only by AWS, and a copy that had them would be refused.
    pub async fn copy_snapshot(
        &self,
        id: &str,
        source_arn: &str,
        target: &Target,
        key: Option<&str>,
        tags: &[Tag],
    ) -> Result<(), CallFailure> {
        let key = key.map(str::to_owned);
        match target {
            Target::Instance => {
                let request = self.client.copy_db_snapshot().target_db_snapshot_identifier(id);
                let request = request.source_db_snapshot_identifier(source_arn).copy_tags(false);
                let request = request.set_kms_key_id(key).set_tags(wire(tags));
                let answer = request.customize().config_override(once()).send().await;
                done("rds:CopyDBSnapshot", answer)
            }
            Target::Cluster(_) => {
                let request = self.client.copy_db_cluster_snapshot().copy_tags(false);
                let request = request.target_db_cluster_snapshot_identifier(id);
                let request = request.source_db_cluster_snapshot_identifier(source_arn);
                let request = request.set_kms_key_id(key).set_tags(wire(tags));
                let answer = request.customize().config_override(once()).send().await;
                done("rds:CopyDBClusterSnapshot", answer)
            }
        }
    }

    /// Deletes a snapshot.
    pub async fn delete_snapshot(&self, id: &str, target: &Target) -> Result<(), CallFailure> {
        match target {
            Target::Instance => {
                let request = self.client.delete_db_snapshot().db_snapshot_identifier(id);
                let answer = request.customize().config_override(once()).send().await;
                done("rds:DeleteDBSnapshot", answer)
            }
            Target::Cluster(_) => {
                let request = self.client.delete_db_cluster_snapshot();
                let request = request.db_cluster_snapshot_identifier(id);
                let answer = request.customize().config_override(once()).send().await;
                done("rds:DeleteDBClusterSnapshot", answer)
            }
        }
    }

    /// Sets tags of whatever has this ARN.
    pub async fn add_tags(&self, arn: &str, tags: &[Tag]) -> Result<(), CallFailure> {
        let request = self.client.add_tags_to_resource().resource_name(arn).set_tags(wire(tags));
        let answer = request.customize().config_override(once()).send().await;
        done("rds:AddTagsToResource", answer)
    }

    /// Makes an instance of an instance's snapshot. Never reachable from the internet.
    pub async fn restore_instance(&self, what: &RestoreRequest<'_>) -> Result<(), CallFailure> {
        let request = self.client.restore_db_instance_from_db_snapshot();
        let request = request.db_instance_identifier(what.id).db_snapshot_identifier(what.snapshot);
        let placement = what.placement.clone();
        let request = request
            .set_db_instance_class(placement.class)
            .set_db_subnet_group_name(placement.subnet_group)
            .set_vpc_security_group_ids(some(placement.security_groups))
            .set_db_parameter_group_name(placement.parameter_group)
            .set_backup_retention_period(placement.backup_days)
            .multi_az(placement.multi_az)
            .publicly_accessible(false)
            .enable_iam_database_authentication(placement.iam_authentication)
            .deletion_protection(placement.deletion_protection)
            .copy_tags_to_snapshot(false)
            .set_tags(wire(what.tags));
        let answer = request.customize().config_override(once()).send().await;
        done("rds:RestoreDBInstanceFromDBSnapshot", answer)
    }

    /// Makes a cluster of a cluster's snapshot. One of Aurora has no instance yet, and gets none
    /// before it is available (API_RestoreDBClusterFromSnapshot); any other makes its own, of the
    /// class that the placement names.
    pub async fn restore_cluster(
        &self,
        what: &RestoreRequest<'_>,
        engine: &str,
    ) -> Result<(), CallFailure> {
        let request = self.client.restore_db_cluster_from_snapshot().engine(engine);
        let request = request.db_cluster_identifier(what.id).snapshot_identifier(what.snapshot);
        let placement = what.placement.clone();
        let mut request = request
            .set_db_subnet_group_name(placement.subnet_group)
            .set_vpc_security_group_ids(some(placement.security_groups))
            .set_db_cluster_parameter_group_name(placement.parameter_group)
            .enable_iam_database_authentication(placement.iam_authentication)
            .deletion_protection(placement.deletion_protection)
            .copy_tags_to_snapshot(false)
            .set_tags(wire(what.tags));
        if !is_aurora(engine) {
            request =
                request.set_db_cluster_instance_class(placement.class).publicly_accessible(false);
        }
        let answer = request.customize().config_override(once()).send().await;
        done("rds:RestoreDBClusterFromSnapshot", answer)
    }

    /// Makes an instance in a cluster of Aurora. Never reachable from the internet.
    pub async fn create_cluster_instance(
        &self,
        id: &str,
        cluster: &str,
        engine: &str,
        class: &str,
        tags: &[Tag],
    ) -> Result<(), CallFailure> {
        let request = self.client.create_db_instance().db_instance_identifier(id);
        let request = request.db_cluster_identifier(cluster).engine(engine);
        let request = request.db_instance_class(class).publicly_accessible(false);
        let request = request.set_tags(wire(tags));
        let answer = request.customize().config_override(once()).send().await;
        done("rds:CreateDBInstance", answer)
    }

    /// Deletes an instance. Its automated backups go with it, which is RDS's default; those of a
    /// cluster's instance are the cluster's.
    pub async fn delete_instance(&self, id: &str) -> Result<(), CallFailure> {
        let request = self.client.delete_db_instance().db_instance_identifier(id);
        let request = request.skip_final_snapshot(true);
        let answer = request.customize().config_override(once()).send().await;
        done("rds:DeleteDBInstance", answer)
    }

    /// Deletes a cluster, with all that is in it. Its instances have to be on their way.
    pub async fn delete_cluster(&self, id: &str) -> Result<(), CallFailure> {
        let request = self.client.delete_db_cluster().db_cluster_identifier(id);
        let request = request.skip_final_snapshot(true);
        let answer = request.customize().config_override(once()).send().await;
        done("rds:DeleteDBCluster", answer)
    }
}

/// Whether a cluster of the engine gets its instances one by one.
#[must_use]
pub fn is_aurora(engine: &str) -> bool {
    engine.starts_with("aurora")
}

fn done<T, E>(action: &str, answer: Result<T, SdkError<E>>) -> Result<(), CallFailure>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    answer.map(drop).map_err(|error| failure(action, &error))
}

fn wire(tags: &[Tag]) -> Option<Vec<WireTag>> {
    let tag = |(key, value): &Tag| WireTag::builder().key(key).value(value).build();
    some(tags.iter().map(tag).collect())
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    if list.is_empty() { None } else { Some(list) }
}
