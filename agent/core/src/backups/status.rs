//! What a person or a script is told about backups: an interface, as `crate::status` is.

use serde::{Deserialize, Serialize};

use super::Kind;
use super::backup::BackupState;
use super::proof::Level;
use super::record::Place;
use crate::time::Wall;

/// How a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// The newest due slot has its backup, or has no need of one.
    Ok,
    /// A slot is due, and its backup is on the way.
    Running,
    /// There is no good backup as new as there should be, or one that is bad.
    Failing,
    /// Nothing is known yet.
    Unknown,
}

impl JobState {
    /// The word people read; the same as in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Running => "running",
            Self::Failing => "failing",
            Self::Unknown => "unknown",
        }
    }
}

/// A line of `status` under `JOB`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStatus {
    /// The job.
    pub name: String,
    /// How its backups are made.
    pub kind: Kind,
    /// The database.
    pub database: String,
    /// How it is.
    pub state: JobState,
    /// Why, when that needs saying.
    pub reason: Option<String>,
    /// The newest backup that is there.
    pub last_good: Option<GoodStatus>,
    /// The newest proof of any backup, of the highest level then.
    pub last_verified: Option<VerifiedStatus>,
    /// When it is due next.
    pub next: Option<Wall>,
    /// How long the newest due slot waits for its backup, in milliseconds; `None`: it does not.
    pub late_ms: Option<u64>,
    /// Copies of the newest backup.
    pub copies: Vec<CopyStatus>,
    /// How far this host's clock is ahead of AWS's, in milliseconds.
    pub clock_ahead_ms: Option<i64>,
}

/// A backup that is there, and how well that is proved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoodStatus {
    /// The backup.
    pub id: String,
    /// Its slot.
    pub slot: Wall,
    /// The highest level that was proved; `None`: none, it is only there.
    pub level: Option<Level>,
    /// Levels that were refuted: then it is not good.
    pub refuted: Vec<Level>,
}

/// A proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedStatus {
    /// The level.
    pub level: Level,
    /// When it was proved.
    pub at: Wall,
    /// The slot of the backup.
    pub slot: Wall,
    /// What it took, in milliseconds.
    pub took_ms: u64,
}

/// A copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyStatus {
    /// The region.
    pub region: String,
    /// Whether it is there; `None`: it is on the way.
    pub done: Option<bool>,
    /// How long it took, or takes, since its backup was there, in milliseconds.
    pub lag_ms: u64,
    /// What stands in the way, or why it is not there.
    pub reason: Option<String>,
}

/// A line of `backups list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupStatus {
    /// The job.
    pub job: String,
    /// The backup.
    pub id: String,
    /// Its slot.
    pub slot: Wall,
    /// Where it is.
    pub place: Place,
    /// How far it is.
    pub state: BackupState,
    /// How much it holds.
    pub bytes: Option<u64>,
    /// The highest level that was proved.
    pub level: Option<Level>,
    /// Why a person wants it kept.
    pub hold: Option<String>,
    /// Whether it stays at the next pass of retention.
    pub keep: bool,
    /// Why it stays or goes.
    pub reasons: Vec<String>,
}

impl JobStatus {
    /// Whether `status` ends with a failure because of it.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.state == JobState::Failing
    }
}
