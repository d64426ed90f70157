//! Backups: every decision of theirs, and nothing that does any of it. One [`job::Job`] for each
//! `[[backup]]` of the host's file, on every host of the fleet alike; there is no leader.
//!
//! # What the shell does
//!
//! It owns one [`job::Job`] a job, feeds it [`call::Event`]s, carries out its [`call::Effect`]s and
//! comes back at [`job::Job::next_wake`]. Each [`call::Call`] says what it must do and which answer
//! it owes; [`call`] says what holds for all of them. Calls of one job are independent of each
//! other and may run side by side. Nothing of a job is written to the host's disk: whoever dies
//! leaves no more behind than a fleet that finds it by looking.
//!
//! ```text
//! PREFIX/runs/JOB/SLOT.json               what became of a slot            If-None-Match: *
//! PREFIX/copies/JOB/SLOT/REGION.json      what became of its copy          If-None-Match: *
//! PREFIX/retention/JOB/SLOT/PLACE.json    what may be deleted after it     If-None-Match: *
//! PREFIX/verify/JOB/SLOT/LEVEL.json       whether a level is proved        If-None-Match: *
//! PREFIX/leases/JOB/...                   who does the long work           If-None-Match, If-Match
//! PREFIX/dumps/JOB/SLOT/EPOCH-TICKET.dump data; not there without ...      If-None-Match: *
//! PREFIX/dumps/JOB/SLOT/manifest.json     ... its manifest, written last   If-None-Match: *
//! PREFIX/dumps/JOB/SLOT/marks.json        pins, readers, its deletion      If-None-Match, If-Match
//! ```
//!
//! # Why exactly one
//!
//! A [`slot::Slot`] is a nominal time, so all hosts compute the same one. Its snapshot's identifier
//! follows from it, and RDS takes an identifier once; its record is written once. An answer that is
//! lost, late or `AlreadyExists` leads to a look, never to another identifier. The record outlives
//! the snapshot, so that what was deleted is not made again. What is decided from a look is done
//! within [`limits::ROUND_WITHIN`] of it, or looked at again: for that, the shell's own timeout of
//! a call must be shorter than [`limits::CALL_WITHIN`], and the SDK's retries must be off for
//! `Snapshot`, `Copy`, `Restore`, `Write` and `Lease`.
//!
//! # What is judged by which clock
//!
//! Pauses and leases by [`crate::time::Moment`], which never jumps; slots by the wall clock, which
//! begins nothing while it is further from AWS's than [`limits::CLOCK_REFUSE`]; the age of a lease
//! by the server's `Date` alone.

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub mod backup;
pub mod call;
pub mod civil;
pub mod database;
mod dumping;
pub mod job;
pub mod lease;
pub mod limits;
pub mod proof;
mod proving;
mod reaping;
pub mod record;
pub mod retention;
pub mod schedule;
pub mod settings;
pub mod slot;
pub mod status;
mod sweeping;
mod taking;
mod turn;
pub mod zone;

use proof::{DumpRules, Level};
use retention::Policy;
use schedule::Schedule;
use slot::JobName;
use zone::Zone;

/// `[[backup]]`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobSettings {
    /// Its name. No other job of the fleet has it.
    pub name: JobName,
    /// How the backup is made.
    pub kind: Kind,
    /// The database: RDS's identifier, or what dumps connect to, without secrets.
    pub database: String,
    /// When it is due.
    pub schedule: Schedule,
    /// Where the schedule's clock hangs.
    pub zone: Zone,
    /// How long a missed slot may still be run; less than the time between two slots.
    pub catch_up: Duration,
    /// Over how long the fleet's instances spread.
    pub spread: Duration,
    /// How old the newest backup may be; `None`: two periods and [`JobSettings::catch_up`].
    pub stale_after: Option<Duration>,
    /// What is kept where the database is, or in the bucket.
    pub retention: Policy,
    /// Copies to other regions; snapshots only.
    pub copies: Vec<CopySettings>,
    /// What is proved. Levels that do not apply to the kind are not proved.
    pub levels: Vec<Level>,
    /// Those of [`JobSettings::levels`] that this host leaves to others: it has not what it takes.
    pub elsewhere: Vec<Level>,
    /// Whether L0 wants backups to be encrypted.
    pub encrypted: bool,
    /// How long an instance that is restored for L3 may take until it is available.
    pub restore_within: Duration,
    /// What a dump has to be.
    pub dump: DumpRules,
    /// This instance.
    pub instance: String,
    /// This life of its agent: no other life, of this or another instance, has the same.
    pub run: String,
}

/// How a backup is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A snapshot of an RDS instance or cluster.
    RdsSnapshot,
    /// `pg_dump`.
    PgDump,
    /// `mysqldump`.
    MysqlDump,
}

/// `[[backup.copy]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopySettings {
    /// The region.
    pub region: String,
    /// What is kept there.
    pub retention: Policy,
    /// How long after its slot a copy may still be begun.
    pub within: Duration,
    /// Copies into the region under way at once.
    pub in_flight_max: usize,
}

impl JobSettings {
    /// How old the newest backup may be before the job counts as broken.
    #[must_use]
    pub fn stale_after(&self, now_s: i64) -> Duration {
        let usual = || {
            let slot = self.schedule.next(&self.zone, now_s);
            let before = slot.and_then(|slot| self.schedule.before(&self.zone, slot));
            let period_s = slot.zip(before).map_or(0, |(slot, before)| slot.at_s - before.at_s);
            let period = Duration::from_secs(u64::try_from(period_s).unwrap_or(0));
            period * 2 + self.catch_up
        };
        self.stale_after.unwrap_or_else(usual)
    }

    /// What is kept in a place.
    #[must_use]
    pub fn policy(&self, place: &record::Place) -> Option<&Policy> {
        match place {
            record::Place::Home => Some(&self.retention),
            record::Place::Region(region) => {
                self.copies.iter().find(|copy| copy.region == *region).map(|copy| &copy.retention)
            }
        }
    }
}
