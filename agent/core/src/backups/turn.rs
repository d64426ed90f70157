//! What a part of a job has at hand during one step. Plain borrowed data.

use super::JobSettings;
use super::call::{Effect, Ticket};
use super::database::{Database, Target};
use super::record::{Outcome, Record, RecordKey, VERSION};
use crate::status::{EventLevel, EventStatus, Subject, Topic};
use crate::time::{Moment, Now};

/// One step of a job.
pub(super) struct Turn<'a> {
    pub(super) now: Now,
    /// When this life of the job began.
    pub(super) begun: Moment,
    pub(super) job: &'a JobSettings,
    pub(super) out: &'a mut Vec<Effect>,
    pub(super) tickets: &'a mut u64,
    /// Any number.
    pub(super) random: u64,
    /// What was learned of the database last.
    pub(super) database: &'a mut Option<Database>,
    /// How RDS keeps it, as far as is known.
    pub(super) target: Option<Target>,
    /// The clock is right enough to begin something by it.
    pub(super) clock_ok: bool,
}

impl Turn<'_> {
    /// A new ticket.
    pub(super) fn ticket(&mut self) -> Ticket {
        *self.tickets += 1;
        Ticket(*self.tickets)
    }

    /// The wall clock in seconds.
    pub(super) fn now_s(&self) -> i64 {
        self.now.wall.0.div_euclid(1000)
    }

    /// Tells people that `text`, with the job's name before it.
    pub(super) fn tell(&mut self, level: EventLevel, topic: Topic, text: &str) {
        let text = format!("backup {}: {text}", self.job.name);
        let subject = Subject::backup(self.job.name.as_str());
        let told = EventStatus { topic, subject, ..EventStatus::new(self.now.wall, level, text) };
        self.out.push(Effect::Tell(told));
    }

    /// What an event of a slot's own backup is about, or of what follows from it: only the former
    /// says whether there is a backup.
    pub(super) fn topic(level: EventLevel, key: &RecordKey) -> Topic {
        match (level, key) {
            (EventLevel::Normal, RecordKey::Proof(..)) => Topic::BackupProved,
            // What was skipped is a warning, and nothing is missing.
            (EventLevel::Normal | EventLevel::Warning, _) => Topic::BackupDone,
            (EventLevel::Error, RecordKey::Run(_)) => Topic::BackupFailed,
            (
                EventLevel::Error,
                RecordKey::Copy(..)
                | RecordKey::Retention(..)
                | RecordKey::Proof(..)
                | RecordKey::Unproved(_),
            ) => Topic::BackupProblem,
        }
    }

    /// A record of this instance.
    pub(super) fn record(&self, key: &RecordKey, outcome: Outcome) -> Box<Record> {
        let (at, by) = (self.now.wall, self.job.instance.clone());
        Box::new(Record { version: VERSION, key: key.clone(), at, by, outcome })
    }
}
