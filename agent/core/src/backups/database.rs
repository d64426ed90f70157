//! What a database's state allows. The words are those of the public table of DB instance statuses
//! (rdsdocs: accessing-monitoring), and of clusters.

use serde::{Deserialize, Serialize};

/// What a state allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// A snapshot can be made.
    Go,
    /// It passes by itself.
    Wait,
    /// Somebody stopped it: there is nothing to back up, and nobody to wake.
    Skip,
    /// It does not pass by itself.
    Page,
}

/// What a database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// How RDS keeps it, which decides on the calls.
    pub target: Target,
    /// Its status, in RDS's word.
    pub status: String,
    /// What stays the same when it is renamed, and is another when it is made anew
    /// (`DbiResourceId`, `DbClusterResourceId`).
    pub resource: String,
}

/// How RDS keeps a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// An instance of its own.
    Instance,
    /// A cluster (Aurora, Multi-AZ DB cluster) of this identifier: its instances have no
    /// snapshots of their own.
    Cluster(String),
}

impl Target {
    /// Letters that the identifier of its snapshots may have.
    #[must_use]
    pub const fn snapshot_id_max(&self) -> usize {
        match self {
            Self::Instance => super::limits::INSTANCE_SNAPSHOT_ID_MAX,
            Self::Cluster(_) => super::limits::CLUSTER_SNAPSHOT_ID_MAX,
        }
    }
}

/// What `status` allows. A word that is not known is waited for: RDS gets new ones, and the slot's
/// deadline bounds the wait.
#[must_use]
pub fn gate(status: &str) -> Gate {
    match status {
        "available" | "storage-optimization" => Gate::Go,
        "stopped" | "stopping" => Gate::Skip,
        "failed"
        | "storage-full"
        | "restore-error"
        | "insufficient-capacity"
        | "deleting"
        | "inaccessible-encryption-credentials"
        | "inaccessible-encryption-credentials-recoverable" => Gate::Page,
        other if other.starts_with("incompatible-") => Gate::Page,
        _ => Gate::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_allow_what_the_table_says() {
        let check = |gate_expected, statuses: &[&str]| {
            for status in statuses {
                assert_eq!(gate(status), gate_expected, "{status}");
            }
        };
        check(Gate::Go, &["available", "storage-optimization"]);
        let passing = [
            "backing-up",
            "modifying",
            "maintenance",
            "rebooting",
            "renaming",
            "configuring-enhanced-monitoring",
            "starting",
            "upgrading",
            "storage-config-upgrade",
            "storage-initialization",
            "resetting-master-credentials",
            "creating",
            "moving-to-vpc",
            "a-word-of-next-year",
        ];
        check(Gate::Wait, &passing);
        check(Gate::Skip, &["stopped", "stopping"]);
        let bad = [
            "failed",
            "storage-full",
            "incompatible-network",
            "incompatible-restore",
            "inaccessible-encryption-credentials",
            "inaccessible-encryption-credentials-recoverable",
            "restore-error",
            "insufficient-capacity",
            "deleting",
        ];
        check(Gate::Page, &bad);
    }
}
