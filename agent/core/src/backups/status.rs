//! What a person or a script is told about backups: an interface, as `crate::status` is.

use serde::{Deserialize, Serialize};

use super::Kind;
use super::backup::{Backup, BackupState};
use super::proof::Level;
use super::record::{Outcome, Place, Record, RecordKey};
use super::retention::Plan;
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

/// The lines of `backups list` for one place, newest first: what is there, what retention says of
/// it, and what is proved. `proofs` are the records of proofs that were read; those of other slots
/// do not matter. What is not of the job, or was not in the plan, is not listed.
#[must_use]
pub fn list(
    place: &Place,
    backups: &[Backup],
    plan: &Plan,
    proofs: &[Record],
) -> Vec<BackupStatus> {
    let proved = |nominal, record: &Record| match (&record.key, &record.outcome) {
        (RecordKey::Proof(slot, level), Outcome::Proved { .. }) if slot.nominal == nominal => {
            Some(*level)
        }
        (
            RecordKey::Run(_)
            | RecordKey::Copy(..)
            | RecordKey::Retention(..)
            | RecordKey::Proof(..),
            _,
        ) => None,
    };
    let line = |verdict: &super::retention::Verdict| {
        let backup = backups.iter().find(|backup| backup.id == verdict.id)?;
        let marks = backup.marks.as_ref()?;
        // Proofs are of the backup at home: a copy is only known to be there.
        let proofs = proofs.iter().filter(|_| *place == Place::Home);
        Some(BackupStatus {
            job: marks.job.clone(),
            id: backup.id.clone(),
            slot: Wall(marks.at_s.saturating_mul(1000)),
            place: place.clone(),
            state: backup.state.clone(),
            bytes: backup.bytes,
            level: proofs.filter_map(|record| proved(marks.nominal, record)).max(),
            hold: marks.hold.clone(),
            keep: verdict.keep,
            reasons: verdict.reasons.clone(),
        })
    };
    plan.verdicts.iter().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backups::backup::{Marks, tags};
    use crate::backups::slot::Slot;

    /// What scripts rely on, as JSON. A change here breaks them.
    const DOCUMENT: &str = r#"{
        "name": "shop", "kind": "rds-snapshot", "database": "shop-db", "state": "failing",
        "reason": "gc-a is bad: L0 is refuted",
        "last_good": {"id": "gc-a", "slot": 1, "level": "L1", "refuted": ["L0"]},
        "last_verified": {"level": "L3", "at": 2, "slot": 1, "took_ms": 5},
        "next": 3, "late_ms": null,
        "copies": [{"region": "eu-west-1", "done": null, "lag_ms": 7,
                    "reason": "3 copies are under way"}],
        "clock_ahead_ms": -250
    }"#;

    #[test]
    fn the_json_has_the_names_that_scripts_rely_on() {
        let status: JobStatus = serde_json::from_str(DOCUMENT).unwrap();
        let value: serde_json::Value = serde_json::from_str(DOCUMENT).unwrap();
        assert_eq!(serde_json::to_value(&status).unwrap(), value);
        assert!(status.is_failing());
        for state in [JobState::Ok, JobState::Running, JobState::Failing, JobState::Unknown] {
            assert_eq!(serde_json::to_value(state).unwrap(), state.word());
        }
    }

    #[test]
    fn a_line_says_what_is_proved_and_why_it_stays() {
        let nominal: crate::backups::civil::DateTime = "2026-11-21T00:20".parse().unwrap();
        let slot = Slot { nominal, at_s: 1, daily: true };
        let job = "shop".parse().unwrap();
        let backup = Backup {
            id: "gc-a".into(),
            arn: String::new(),
            state: BackupState::Available,
            marks: Marks::of(&tags(&job, slot, 0, "i-1", false)),
            resource: "db-A".into(),
            created_s: None,
            bytes: Some(5),
        };
        let foreign = Backup { id: "rds:a".into(), marks: None, ..backup.clone() };
        let verdict = |id: &str| super::super::retention::Verdict {
            id: id.into(),
            keep: true,
            reasons: vec!["last 1".into()],
        };
        let verdicts = vec![verdict("gc-a"), verdict("rds:a")];
        let plan = Plan { verdicts, ..Plan::default() };
        let proof = |level, outcome| Record {
            version: 1,
            key: RecordKey::Proof(slot, level),
            at: Wall(0),
            by: "i-1".into(),
            outcome,
        };
        let proofs = [
            proof(Level::L0, Outcome::Proved { took_ms: 0 }),
            proof(Level::L3, Outcome::Refuted { findings: vec!["empty".into()] }),
        ];
        let backups = [foreign, backup];
        let lines = list(&Place::Home, &backups, &plan, &proofs);
        assert_eq!(lines.len(), 1, "only what is of the job");
        assert_eq!((lines[0].level, lines[0].keep), (Some(Level::L0), true));
        assert_eq!(lines[0].reasons, ["last 1"]);
        let copy = list(&Place::Region("eu-west-1".into()), &backups, &plan, &proofs);
        assert_eq!(copy[0].level, None, "what is proved at home says nothing of a copy");
    }
}
