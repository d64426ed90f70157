//! What RDS shows: all pages of it, or an error. A list that ended early would look like databases
//! and snapshots that are gone.

use aws_sdk_rds::types::{DbCluster, DbClusterSnapshot, DbInstance, DbSnapshot, Tag as WireTag};
use groundcrew_core::backups::backup::Tag;
use groundcrew_core::backups::call::CallErrorKind;
use groundcrew_core::backups::database::Target;
use groundcrew_core::backups::limits::TAGS_MAX;

use super::{Cluster, Endpoint, Instance, Placement, Rds, Snapshot};
use crate::aws::call_failure::{CallFailure, failure};

/// Things on one page: RDS's maximum.
const PAGE_SIZE: i32 = 100;
/// What one list may hold. RDS allows 100 snapshots and 40 instances, unless its quotas are raised.
const SHOWN_MAX: usize = 10_000;

/// Takes all pages of a list.
macro_rules! all_pages {
    ($request:expr, $action:literal, $field:ident, $into:path) => {{
        let mut pages = $request.into_paginator().page_size(PAGE_SIZE).send();
        let mut all = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| failure($action, &error))?;
            all.extend(page.$field.unwrap_or_default().into_iter().map($into));
            if all.len() > SHOWN_MAX {
                let text = format!("{} shows more than {SHOWN_MAX}", $action);
                return Err(CallFailure::own(CallErrorKind::Refused, text));
            }
        }
        Ok(all)
    }};
}

impl Rds {
    /// The instance of this identifier.
    pub async fn describe_instance(&self, id: &str) -> Result<Option<Instance>, CallFailure> {
        let answer = self.client.describe_db_instances().db_instance_identifier(id).send().await;
        match answer {
            Ok(answer) => Ok(named(answer.db_instances, instance, |one| &one.id, id)),
            Err(error) => absent(failure("rds:DescribeDBInstances", &error), "DBInstanceNotFound"),
        }
    }

    /// All instances of the region.
    pub async fn describe_instances(&self) -> Result<Vec<Instance>, CallFailure> {
        let request = self.client.describe_db_instances();
        all_pages!(request, "rds:DescribeDBInstances", db_instances, instance)
    }

    /// The cluster of this identifier.
    pub async fn describe_cluster(&self, id: &str) -> Result<Option<Cluster>, CallFailure> {
        let answer = self.client.describe_db_clusters().db_cluster_identifier(id).send().await;
        match answer {
            Ok(answer) => Ok(named(answer.db_clusters, cluster, |one| &one.id, id)),
            Err(error) => absent(failure("rds:DescribeDBClusters", &error), "DBClusterNotFound"),
        }
    }

    /// All clusters of the region.
    pub async fn describe_clusters(&self) -> Result<Vec<Cluster>, CallFailure> {
        let request = self.client.describe_db_clusters();
        all_pages!(request, "rds:DescribeDBClusters", db_clusters, cluster)
    }

    /// The snapshot of this identifier.
    pub async fn describe_snapshot(
        &self,
        id: &str,
        target: &Target,
    ) -> Result<Option<Snapshot>, CallFailure> {
        match target {
            Target::Instance => {
                let request = self.client.describe_db_snapshots().db_snapshot_identifier(id);
                match request.send().await {
                    Ok(answer) => Ok(named(answer.db_snapshots, snapshot, |one| &one.id, id)),
                    Err(error) => {
                        absent(failure("rds:DescribeDBSnapshots", &error), "DBSnapshotNotFound")
                    }
                }
            }
            Target::Cluster(_) => {
                let request = self.client.describe_db_cluster_snapshots();
                let answer = request.db_cluster_snapshot_identifier(id).send().await;
                let missing = "DBClusterSnapshotNotFound";
                match answer {
                    Ok(answer) => {
                        let found = answer.db_cluster_snapshots;
                        Ok(named(found, cluster_snapshot, |one| &one.id, id))
                    }
                    Err(error) => {
                        absent(failure("rds:DescribeDBClusterSnapshots", &error), missing)
                    }
                }
            }
        }
    }

    /// All manual snapshots of the region: those of instances, or those of clusters.
    pub async fn describe_snapshots(&self, target: &Target) -> Result<Vec<Snapshot>, CallFailure> {
        match target {
            Target::Instance => {
                let request = self.client.describe_db_snapshots().snapshot_type("manual");
                all_pages!(request, "rds:DescribeDBSnapshots", db_snapshots, snapshot)
            }
            Target::Cluster(_) => {
                let request = self.client.describe_db_cluster_snapshots().snapshot_type("manual");
                all_pages!(
                    request,
                    "rds:DescribeDBClusterSnapshots",
                    db_cluster_snapshots,
                    cluster_snapshot
                )
            }
        }
    }
}

/// The one of the name that was asked for: RDS takes upper case for lower case.
fn named<W, T>(
    found: Option<Vec<W>>,
    read: fn(W) -> T,
    id_of: fn(&T) -> &String,
    id: &str,
) -> Option<T> {
    let mut all = found.unwrap_or_default().into_iter().map(read);
    all.find(|one| id_of(one).eq_ignore_ascii_case(id))
}

/// What is not there is no failure.
fn absent<T>(failure: CallFailure, code: &str) -> Result<Option<T>, CallFailure> {
    if failure.code == code { Ok(None) } else { Err(failure) }
}

fn instance(shown: DbInstance) -> Instance {
    let endpoint = shown.endpoint.and_then(|end| endpoint(end.address, end.port));
    let groups = shown.vpc_security_groups.unwrap_or_default();
    let parameters = shown.db_parameter_groups.unwrap_or_default();
    let placement = Placement {
        class: shown.db_instance_class,
        subnet_group: shown.db_subnet_group.and_then(|group| group.db_subnet_group_name),
        security_groups: groups
            .into_iter()
            .filter_map(|group| group.vpc_security_group_id)
            .collect(),
        parameter_group: parameters.into_iter().find_map(|group| group.db_parameter_group_name),
        multi_az: shown.multi_az.unwrap_or(false),
        iam_authentication: shown.iam_database_authentication_enabled.unwrap_or(false),
        deletion_protection: shown.deletion_protection.unwrap_or(false),
        backup_days: shown.backup_retention_period,
    };
    Instance {
        id: lower(shown.db_instance_identifier),
        status: shown.db_instance_status.unwrap_or_default(),
        resource: shown.dbi_resource_id.unwrap_or_default(),
        cluster: shown.db_cluster_identifier.filter(|cluster| !cluster.is_empty()),
        endpoint,
        tags: tags(shown.tag_list),
        placement,
    }
}

fn cluster(shown: DbCluster) -> Cluster {
    let endpoint = endpoint(shown.endpoint, shown.port);
    let groups = shown.vpc_security_groups.unwrap_or_default();
    let members = shown.db_cluster_members.unwrap_or_default();
    let placement = Placement {
        class: shown.db_cluster_instance_class,
        subnet_group: shown.db_subnet_group,
        security_groups: groups
            .into_iter()
            .filter_map(|group| group.vpc_security_group_id)
            .collect(),
        parameter_group: shown.db_cluster_parameter_group,
        multi_az: shown.multi_az.unwrap_or(false),
        iam_authentication: shown.iam_database_authentication_enabled.unwrap_or(false),
        deletion_protection: shown.deletion_protection.unwrap_or(false),
        backup_days: shown.backup_retention_period,
    };
    Cluster {
        id: lower(shown.db_cluster_identifier),
        status: shown.status.unwrap_or_default(),
        resource: shown.db_cluster_resource_id.unwrap_or_default(),
        engine: shown.engine.unwrap_or_default(),
        members: members.into_iter().filter_map(|member| member.db_instance_identifier).collect(),
        endpoint,
        tags: tags(shown.tag_list),
        placement,
    }
}

fn snapshot(shown: DbSnapshot) -> Snapshot {
    // The one stays what it is when the snapshot is copied, the other is when the copy began.
    let created = shown.original_snapshot_create_time.or(shown.snapshot_create_time);
    Snapshot {
        id: lower(shown.db_snapshot_identifier),
        arn: shown.db_snapshot_arn.unwrap_or_default(),
        status: shown.status.unwrap_or_default(),
        database: lower(shown.db_instance_identifier),
        resource: shown.dbi_resource_id.unwrap_or_default(),
        engine: shown.engine.unwrap_or_default(),
        encrypted: shown.encrypted.unwrap_or(false),
        key: shown.kms_key_id,
        created_s: created.map(|at| at.secs()),
        bytes: shown.full_snapshot_size_in_bytes.and_then(|bytes| u64::try_from(bytes).ok()),
        tags: tags(shown.tag_list),
    }
}

fn cluster_snapshot(shown: DbClusterSnapshot) -> Snapshot {
    Snapshot {
        id: lower(shown.db_cluster_snapshot_identifier),
        arn: shown.db_cluster_snapshot_arn.unwrap_or_default(),
        status: shown.status.unwrap_or_default(),
        database: lower(shown.db_cluster_identifier),
        resource: shown.db_cluster_resource_id.unwrap_or_default(),
        engine: shown.engine.unwrap_or_default(),
        encrypted: shown.storage_encrypted.unwrap_or(false),
        key: shown.kms_key_id,
        created_s: shown.snapshot_create_time.map(|at| at.secs()),
        // What RDS has for clusters is what is allocated, and for Aurora that is nothing.
        bytes: None,
        tags: tags(shown.tag_list),
    }
}

fn endpoint(host: Option<String>, port: Option<i32>) -> Option<Endpoint> {
    let port = port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0)?;
    Some(Endpoint { host: host.filter(|host| !host.is_empty())?, port })
}

fn tags(shown: Option<Vec<WireTag>>) -> Vec<Tag> {
    let tags = shown.unwrap_or_default().into_iter().take(TAGS_MAX);
    tags.map(|tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default())).collect()
}

fn lower(id: Option<String>) -> String {
    id.unwrap_or_default().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_name_that_was_asked_for_counts() {
        let wire = |id: &str| DbSnapshot::builder().db_snapshot_identifier(id).build();
        let found = || Some(vec![wire("gc-other"), wire("GC-A")]);
        let found_id = named(found(), snapshot, |one| &one.id, "gc-a").map(|one| one.id);
        assert_eq!(found_id.as_deref(), Some("gc-a"));
        assert!(named(found(), snapshot, |one| &one.id, "gc").is_none());
        assert!(named(None, snapshot, |one| &one.id, "gc").is_none());
    }

    #[test]
    fn a_snapshot_without_anything_is_read() {
        let bare = snapshot(DbSnapshot::builder().build());
        assert_eq!((bare.status.as_str(), bare.bytes, bare.created_s), ("", None, None));
        assert!(!bare.encrypted && bare.tags.is_empty());
        let odd = DbSnapshot::builder().full_snapshot_size_in_bytes(-1).build();
        assert_eq!(snapshot(odd).bytes, None);
        assert_eq!(endpoint(Some("db".into()), Some(70_000)), None);
        assert_eq!(endpoint(Some(String::new()), Some(5432)), None);
    }

    #[test]
    fn what_is_missing_is_told_apart_from_what_fails() {
        let failure = |code: &str| CallFailure {
            code: code.to_owned(),
            ..CallFailure::own(CallErrorKind::Refused, "no")
        };
        assert_eq!(absent::<()>(failure("DBSnapshotNotFound"), "DBSnapshotNotFound"), Ok(None));
        assert!(absent::<()>(failure("DBInstanceNotFound"), "DBSnapshotNotFound").is_err());
    }
}
