//! What the fleet remembers: one object per question, written once (`If-None-Match: *`) and never
//! changed. Instances come and go; the bucket is the memory they share.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::database::Target;
use super::proof::Level;
use super::slot::{JobName, Slot};
use crate::time::Wall;

/// The version that is written.
pub const VERSION: u32 = 1;

/// Where backups are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// The region of the database; of dumps, the bucket.
    Home,
    /// Another region.
    Region(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Home => f.pad("home"),
            Self::Region(region) => f.pad(region),
        }
    }
}

/// What a record answers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordKey {
    /// What became of a slot.
    Run(Slot),
    /// What became of a slot's copy.
    Copy(Slot, String),
    /// What was to be deleted after a slot.
    Retention(Slot, Place),
    /// Whether a slot's backup was proved at a level.
    Proof(Slot, Level),
}

impl RecordKey {
    /// The slot it is about.
    #[must_use]
    pub const fn slot(&self) -> Slot {
        match self {
            Self::Run(slot)
            | Self::Copy(slot, _)
            | Self::Retention(slot, _)
            | Self::Proof(slot, _) => *slot,
        }
    }

    /// The object's key below the prefix of backups. Job, slot and level are letters, digits and
    /// hyphens; the region is checked by the reader of the host's file.
    #[must_use]
    pub fn path(&self, job: &JobName) -> String {
        match self {
            Self::Run(slot) => format!("runs/{job}/{slot}.json"),
            Self::Copy(slot, region) => format!("copies/{job}/{slot}/{region}.json"),
            Self::Retention(slot, place) => format!("retention/{job}/{slot}/{place}.json"),
            Self::Proof(slot, level) => {
                format!("verify/{job}/{}/{level}.json", turn(*slot, *level))
            }
        }
    }

    /// The key of the lease for the work that ends with this record.
    #[must_use]
    pub fn lease_path(&self, job: &JobName) -> String {
        match self {
            Self::Run(slot) => format!("leases/{job}/{slot}"),
            Self::Copy(slot, region) => format!("leases/{job}/{slot}-copy-{region}"),
            Self::Retention(slot, place) => format!("leases/{job}/{slot}-retention-{place}"),
            Self::Proof(slot, level) => {
                format!("leases/{job}/{}-verify-{level}", turn(*slot, *level))
            }
        }
    }
}

/// What one proof is for: each slot, or at L3, each month. A restore by RDS takes an hour and costs
/// an instance.
fn turn(slot: Slot, level: Level) -> String {
    match level {
        Level::L0 | Level::L1 | Level::L2 => slot.to_string(),
        Level::L3 => slot.to_string().chars().take("202611".len()).collect(),
    }
}

/// What was found out, or decided. The whole object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// [`VERSION`]. Another one is an error of the reader, not an absent record.
    pub version: u32,
    /// What it is about.
    pub key: RecordKey,
    /// When it was written, by the writer's clock: for people.
    pub at: Wall,
    /// The instance that wrote it.
    pub by: String,
    /// How it ended.
    pub outcome: Outcome,
}

/// How something ended, for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// There is a backup.
    Done {
        /// Its identifier.
        id: String,
        /// How RDS keeps the database.
        target: Target,
        /// It was made more than an hour after its slot.
        late: bool,
        /// What a dump counted; `None` of a snapshot.
        bytes: Option<u64>,
    },
    /// There is none, and that is all right.
    Skipped(Skip),
    /// There is none: it was tried and cannot be.
    Failed {
        /// Why, as a clause.
        reason: String,
    },
    /// There is none: time ran out.
    Abandoned {
        /// What stood in the way, as a clause.
        reason: String,
    },
    /// What retention is to delete after this slot, and nothing else.
    Planned {
        /// Identifiers.
        delete: Vec<String>,
        /// Why nothing is deleted although something would go.
        refused: Option<String>,
    },
    /// The level is proved.
    Proved {
        /// What it took, in milliseconds: of L2 and L3, how long a restore takes.
        took_ms: u64,
    },
    /// The backup is bad at this level.
    Refuted {
        /// What is wrong, as clauses.
        findings: Vec<String>,
    },
}

/// Why a slot has no backup of its own, and needs none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Skip {
    /// It was not run in time, and a later one is due.
    Missed,
    /// There is a backup less than half a period away: the schedule or the zone was changed.
    Recent(String),
    /// The database is stopped.
    Stopped,
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missed => f.write_str("missed, and a backup is of now"),
            Self::Recent(id) => write!(f, "{id} is less than half a period away"),
            Self::Stopped => f.write_str("the database is stopped"),
        }
    }
}

impl Outcome {
    /// The backup, if there is one.
    #[must_use]
    pub fn backup(&self) -> Option<(&str, &Target)> {
        match self {
            Self::Done { id, target, .. } => Some((id, target)),
            Self::Skipped(_)
            | Self::Failed { .. }
            | Self::Abandoned { .. }
            | Self::Planned { .. }
            | Self::Proved { .. }
            | Self::Refuted { .. } => None,
        }
    }

    /// Whether a backup that was wanted is not there, or is bad.
    #[must_use]
    pub const fn is_bad(&self) -> bool {
        match self {
            Self::Failed { .. } | Self::Abandoned { .. } | Self::Refuted { .. } => true,
            Self::Done { .. } | Self::Skipped(_) | Self::Planned { .. } | Self::Proved { .. } => {
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_is_what_later_versions_have_to_read() {
        let nominal: super::super::civil::DateTime = "2026-11-21T00:20".parse().unwrap();
        let slot = Slot { nominal, at_s: nominal.seconds(), daily: true };
        let key = RecordKey::Copy(slot, "eu-west-1".into());
        let target = Target::Cluster("shop".into());
        let outcome = Outcome::Done { id: "gc-a".into(), target, late: false, bytes: None };
        let record = Record { version: VERSION, key, at: Wall(5), by: "i-1".into(), outcome };
        let json = r#"{"version":1,"key":{"copy":[{"nominal":"2026-11-21T00:20",
            "at_s":1795220400,"daily":true},"eu-west-1"]},"at":5,"by":"i-1",
            "outcome":{"done":{"id":"gc-a","target":{"cluster":"shop"},"late":false,
            "bytes":null}}}"#;
        let value: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_value(&record).unwrap(), value);
        assert_eq!(serde_json::from_value::<Record>(value).unwrap(), record);
        let job = "shop".parse().unwrap();
        assert_eq!(record.key.path(&job), "copies/shop/20261121/eu-west-1.json");
        assert_eq!(record.key.lease_path(&job), "leases/shop/20261121-copy-eu-west-1");
    }
}
