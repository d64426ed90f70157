//! One snapshot of a slot, or its copy in one region: from "due" to a record, whoever dies.
//!
//! It goes in rounds: read the record, look for the snapshot, ask what stands in the way, make it.
//! Whatever goes wrong ends the round, and after a pause the next one begins with what is there
//! now. So it does not matter which host took the step before.

use std::time::Duration;

use super::backup::{self, Backup, BackupState, reason};
use super::call::{Answer, Asking, Call, CallError, Make, Put, Ready, Ticket};
use super::database::Target;
use super::limits::{
    ATTEMPTS_MAX, CLOSING_TIME, ROUND_WITHIN, WATCH_EVERY_MAX, WATCH_EVERY_MIN, WATCH_EVERY_OTHERS,
};
use super::record::{Outcome, Place, Record, RecordKey, Skip};
use super::slot::{Slot, snapshot_id};
use super::turn::Turn;
use crate::restart::jittered;
use crate::status::EventLevel;
use crate::time::Moment;

mod gating;

/// A snapshot later than this after its slot is tagged so.
const LATE_S: i64 = 3600;

/// One snapshot, or one copy.
#[derive(Debug, Clone)]
pub(super) struct Taking {
    key: RecordKey,
    from: From,
    /// Since when it could be begun, in seconds since 1970-01-01 UTC.
    since_s: i64,
    /// How long after that it may be begun.
    within: Duration,
    /// No later slot is due.
    pub(super) newest: bool,
    asking: Asking,
    stage: Stage,
    /// When this round began.
    round: Moment,
    attempt: u8,
    /// This host asked for it, so it is there, even if RDS does not show it yet.
    asked: bool,
    polls: u32,
    /// What stands in the way of making it.
    obstacle: Option<String>,
    /// Why the last call failed.
    trouble: Option<String>,
    /// People know of it.
    told: bool,
}

/// What it is made of.
#[derive(Debug, Clone)]
pub(super) enum From {
    /// The database. `force`: a person wants it, whatever else there is.
    Database { force: bool },
    /// The slot's snapshot at home.
    Snapshot { id: String, target: Target, in_flight_max: usize },
}

#[derive(Debug, Clone)]
enum Stage {
    /// Is there a record?
    Read,
    /// Is it there?
    Look,
    /// Is the source ready?
    Gate,
    /// What else is there?
    List { source: String },
    /// Make it.
    Make { source: String },
    /// Write down how it ended.
    Write(Outcome),
    /// It has.
    Ended(Box<Record>),
}

impl Taking {
    /// Begins with the slot's snapshot, at `not_before`.
    pub(super) fn of_database(slot: Slot, within: Duration, force: bool, begin: Moment) -> Self {
        let since_s = slot.at_s;
        Self::new(RecordKey::Run(slot), From::Database { force }, since_s, within, begin)
    }

    /// Begins with the copy of the snapshot `from` to a region. `since_s` is when that was there:
    /// a slot that was caught up late has its copy made late.
    pub(super) fn of_snapshot(
        key: RecordKey,
        from: From,
        since_s: i64,
        within: Duration,
        begin: Moment,
    ) -> Self {
        Self::new(key, from, since_s, within, begin)
    }

    fn new(key: RecordKey, from: From, since_s: i64, within: Duration, begin: Moment) -> Self {
        Self {
            key,
            from,
            since_s,
            within,
            newest: true,
            asking: Asking::from(begin),
            stage: Stage::Read,
            round: begin,
            attempt: 0,
            asked: false,
            polls: 0,
            obstacle: None,
            trouble: None,
            told: false,
        }
    }

    /// The record it ended with.
    pub(super) fn ended(&self) -> Option<&Record> {
        if let Stage::Ended(record) = &self.stage { Some(record) } else { None }
    }

    pub(super) fn wake(&self) -> Moment {
        self.asking.wake()
    }

    /// What stands in the way, for status.
    pub(super) fn obstacle(&self) -> Option<&str> {
        self.trouble.as_deref().or(self.obstacle.as_deref())
    }

    pub(super) fn takes(&mut self, ticket: Ticket) -> bool {
        self.asking.takes(ticket)
    }

    /// Does what is next, if it is time.
    pub(super) fn go(&mut self, turn: &mut Turn<'_>) {
        match self.asking.ready(turn.now.at) {
            Ready::Not => return,
            Ready::Lost => return self.failed(turn, &CallError::lost()),
            Ready::Yes => {}
        }
        let now = turn.now.at;
        let old = now.since(self.round) > ROUND_WITHIN;
        if old && matches!(self.stage, Stage::Gate | Stage::List { .. } | Stage::Make { .. }) {
            self.stage = Stage::Read;
        }
        let id = self.id(turn);
        let call = match (&self.stage, id) {
            (Stage::Ended(_), _) => return,
            (Stage::Write(outcome), _) => Call::Write(turn.record(&self.key, outcome.clone())),
            (Stage::Read, _) => {
                self.round = now;
                Call::Read(self.key.clone())
            }
            // Without the database nobody knows which API to ask.
            (Stage::Gate, _) | (_, None) => self.ask_source(),
            (Stage::Look, Some((id, target))) => Call::Look { place: self.place(), id, target },
            (Stage::List { .. }, Some((_, target))) => Call::List { place: self.place(), target },
            (Stage::Make { source }, Some((id, target))) => {
                self.make(turn, id, target, source.clone())
            }
        };
        self.asking.send(turn, call);
    }

    fn ask_source(&self) -> Call {
        match &self.from {
            From::Database { .. } => Call::Database,
            From::Snapshot { id, target, .. } => {
                Call::Look { place: Place::Home, id: id.clone(), target: target.clone() }
            }
        }
    }

    fn make(&self, turn: &Turn<'_>, id: String, target: Target, source: String) -> Call {
        let slot = self.key.slot();
        let late = turn.now_s() - slot.at_s > LATE_S;
        let tags = backup::tags(&turn.job.name, slot, self.attempt, &turn.job.run, late);
        match self.place() {
            Place::Home => Call::Snapshot { id, target, tags },
            Place::Region(region) => Call::Copy { region, id, source, target, tags },
        }
    }

    fn place(&self) -> Place {
        match &self.key {
            RecordKey::Copy(_, region) => Place::Region(region.clone()),
            RecordKey::Run(_) | RecordKey::Retention(..) | RecordKey::Proof(..) => Place::Home,
        }
    }

    /// The identifier and the API, once they are known.
    fn id(&self, turn: &Turn<'_>) -> Option<(String, Target)> {
        let target = match &self.from {
            From::Database { .. } => turn.target.clone()?,
            From::Snapshot { target, .. } => target.clone(),
        };
        let len_max = target.snapshot_id_max();
        let (job, slot) = (turn.job, self.key.slot());
        Some((snapshot_id(&job.name, &job.database, slot, self.attempt, len_max), target))
    }

    /// Takes in an answer to a call of its own.
    pub(super) fn answered(&mut self, turn: &mut Turn<'_>, answer: Answer) {
        self.trouble = None;
        match answer {
            Answer::Record(Ok(Some(record))) => self.stage = Stage::Ended(record),
            Answer::Record(Ok(None)) => self.stage = Stage::Look,
            Answer::Written(Ok(Put::Written)) => self.written(turn),
            Answer::Written(Ok(Put::Exists)) => self.stage = Stage::Read,
            Answer::Database(Ok(database)) => self.database(turn, database),
            Answer::Seen(Ok(seen)) if matches!(self.stage, Stage::Gate) => {
                self.source(turn, seen.map(|seen| *seen));
            }
            Answer::Seen(Ok(seen)) => self.seen(turn, seen.map(|seen| *seen)),
            Answer::Listed(Ok(backups)) => self.listed(turn, &backups),
            Answer::Made(Ok(made)) => self.made(turn, made),
            Answer::Record(Err(error))
            | Answer::Written(Err(error))
            | Answer::Database(Err(error))
            | Answer::Seen(Err(error))
            | Answer::Listed(Err(error))
            | Answer::Made(Err(error)) => self.failed(turn, &error),
            // Not an answer to anything that was asked here.
            Answer::Deleted(_)
            | Answer::Lease(_)
            | Answer::Dumped(_)
            | Answer::Committed(_)
            | Answer::Inspected(_)
            | Answer::Proved(_)
            | Answer::Marked(_)
            | Answer::Scratches(_) => {}
        }
    }

    fn failed(&mut self, turn: &mut Turn<'_>, error: &CallError) {
        let made = matches!(self.stage, Stage::Make { .. });
        if made && error.kind == super::call::CallErrorKind::Refused {
            return self.end(Outcome::Failed { reason: reason(&error.text) });
        }
        if error.needs_person() {
            self.person(turn, &error.text.clone());
        }
        let text = reason(&error.text);
        if matches!(self.stage, Stage::Gate | Stage::List { .. } | Stage::Make { .. }) {
            self.obstacle = Some(text.clone());
        }
        self.trouble = Some(text);
        self.asking.failed(turn, error);
        self.stage = Stage::Read;
    }

    /// Tells people once that somebody has to act.
    fn person(&mut self, turn: &mut Turn<'_>, text: &str) {
        if !self.told {
            self.told = true;
            let what = self.what();
            let text = format!("{what} cannot go on: {}", reason(text));
            let topic = Turn::topic(EventLevel::Error, &self.key);
            turn.tell(EventLevel::Error, topic, &text);
        }
    }

    fn what(&self) -> String {
        match &self.key {
            RecordKey::Copy(slot, region) => format!("the copy of slot {slot} to {region}"),
            RecordKey::Run(slot) | RecordKey::Retention(slot, _) | RecordKey::Proof(slot, _) => {
                format!("slot {slot}")
            }
        }
    }

    fn end(&mut self, outcome: Outcome) {
        self.stage = Stage::Write(outcome);
    }

    /// The next round comes after a pause that grows.
    fn wait(&mut self, turn: &Turn<'_>, obstacle: String) {
        self.obstacle = Some(obstacle);
        self.asking.later(turn);
        self.stage = Stage::Read;
    }

    fn seen(&mut self, turn: &mut Turn<'_>, seen: Option<Backup>) {
        self.asking.fine();
        let Some(seen) = seen else { return self.absent(turn) };
        let ours = seen.marks.as_ref().is_some_and(|marks| marks.job == turn.job.name.as_str());
        match seen.state {
            BackupState::Available | BackupState::Failed(_) if !ours => {
                let reason = format!("there is a snapshot {} that is not of this job", seen.id);
                self.end(Outcome::Failed { reason });
            }
            BackupState::Available => {
                let Some((id, target)) = self.id(turn) else { return };
                let late = turn.now_s() - self.key.slot().at_s > LATE_S;
                self.end(Outcome::Done { id, target, late, bytes: None });
            }
            BackupState::Failed(word) if self.attempt + 1 >= ATTEMPTS_MAX => {
                let reason = format!("{ATTEMPTS_MAX} snapshots in a row: {}", reason(&word));
                self.end(Outcome::Failed { reason });
            }
            BackupState::Failed(word) => {
                self.obstacle = Some(format!("snapshot {} is {}", seen.id, reason(&word)));
                self.attempt += 1;
                self.asked = false;
                self.polls = 0;
                self.stage = Stage::Look;
            }
            BackupState::Underway | BackupState::Deleting => self.watch(turn, &seen.id),
        }
    }

    /// It is being made: nothing else is done until it is there, however long that takes.
    fn watch(&mut self, turn: &Turn<'_>, id: &str) {
        if turn.clock_ok && self.is_closed(turn) {
            let reason = format!("{id} was still being made");
            return self.end(Outcome::Abandoned { reason });
        }
        let doubled = WATCH_EVERY_MIN.saturating_mul(1 << self.polls.min(8)).min(WATCH_EVERY_MAX);
        let pause = if self.asked { doubled } else { WATCH_EVERY_OTHERS };
        self.polls = self.polls.saturating_add(1);
        self.obstacle = Some(format!("{id} is being made"));
        self.asking.pause(turn.now.at, jittered(pause, turn.random));
        self.stage = Stage::Read;
    }

    fn absent(&mut self, turn: &mut Turn<'_>) {
        if self.asked && !self.is_closed(turn) {
            // RDS took it, and what it shows is behind.
            return self.wait(turn, "RDS does not show the snapshot yet".to_owned());
        }
        if !turn.clock_ok || turn.now_s() < self.key.slot().at_s {
            // By a wrong clock nothing is too late either, and nothing due.
            return self.wait(turn, "this host's clock is wrong".to_owned());
        }
        let over = self.is_over(turn);
        if over || !self.newest {
            let next = if over { "" } else { ", and a later slot is due" };
            let outcome = match &self.obstacle {
                Some(why) => Outcome::Abandoned { reason: format!("{why}{next}") },
                None => Outcome::Skipped(Skip::Missed),
            };
            return self.end(outcome);
        }
        self.stage = Stage::Gate;
    }

    /// It is too late to begin.
    fn is_over(&self, turn: &Turn<'_>) -> bool {
        turn.now_s() > self.since_s.saturating_add(seconds(self.within))
    }

    /// It is too late to wait for what was begun.
    fn is_closed(&self, turn: &Turn<'_>) -> bool {
        let closing = seconds(self.within.saturating_add(CLOSING_TIME));
        turn.now_s() > self.since_s.saturating_add(closing)
    }

    fn made(&mut self, turn: &mut Turn<'_>, made: Make) {
        match made {
            Make::Begun | Make::AlreadyExists => {
                self.asked = true;
                self.asking.fine();
                self.polls = 0;
                self.asking.pause(turn.now.at, super::limits::RETRY_MIN);
                self.stage = Stage::Read;
            }
            Make::InvalidState => self.wait(turn, "the source is busy".to_owned()),
            Make::NoSource => self.wait(turn, "the source does not show".to_owned()),
            Make::Quota(words) => match &self.from {
                // Nothing is deleted to make room: what may go, goes by its rules.
                From::Database { .. } => {
                    self.person(turn, &words);
                    self.end(Outcome::Failed { reason: reason(&words) });
                }
                // The same code is that of copies in progress, which end.
                From::Snapshot { .. } => self.wait(turn, reason(&words)),
            },
        }
    }

    /// This host wrote the record, so it is the one that tells.
    fn written(&mut self, turn: &mut Turn<'_>) {
        let Stage::Write(outcome) = &self.stage else { return };
        let what = self.what();
        let (level, text) = match outcome {
            Outcome::Done { id, late, .. } => {
                let late = if *late { ", late" } else { "" };
                (EventLevel::Normal, format!("{what} is done{late}: {id} is available"))
            }
            Outcome::Skipped(skip) => (EventLevel::Warning, format!("{what} is skipped: {skip}")),
            Outcome::Failed { reason } => {
                (EventLevel::Error, format!("{what} has failed: {reason}"))
            }
            Outcome::Abandoned { reason } => {
                (EventLevel::Error, format!("{what} is abandoned: {reason}"))
            }
            Outcome::Planned { .. } | Outcome::Proved { .. } | Outcome::Refuted { .. } => return,
        };
        turn.tell(level, Turn::topic(level, &self.key), &text);
        self.stage = Stage::Ended(turn.record(&self.key, outcome.clone()));
    }
}

/// A duration in whole seconds.
pub(super) fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
