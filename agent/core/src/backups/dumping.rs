//! One dump of a slot: by the one host that has the lease, committed only if it ended well.

use std::time::Duration;

use super::backup::{self, Backup, reason};
use super::call::{
    Answer, Asking, Call, CallError, CallErrorKind, Effect, Put, Ready, Ticket, back_off,
};
use super::database::Target;
use super::lease::Lease;
use super::limits::{CLOSING_TIME, COMMIT_WITHIN, DUMP_WITHIN, NOT_HERE_FOR, RETRY_MAX};
use super::proof::{DumpFacts, judge};
use super::record::{Outcome, Place, Record, RecordKey, Skip};
use super::slot::Slot;
use super::taking::seconds;
use super::turn::Turn;
use crate::restart::jittered;
use crate::status::{EventLevel, Topic};
use crate::time::Moment;

/// Dumps of one slot that one host may find to be bad before the slot has failed.
const BAD_MAX: u32 = 3;
/// Pause after the first dump that came to nothing: a database fails over within less. Doubles.
const PAUSE_MIN: Duration = RETRY_MAX;
/// How often it doubles.
const DOUBLES_MAX: u32 = 3;
/// A dump later than this after its slot counts as late.
const LATE_S: i64 = 3600;
/// How old the look for a manifest may be when a dump is begun.
const LOOK_FRESH: Duration = Duration::from_secs(30);

/// One dump.
#[derive(Debug, Clone)]
pub(super) struct Dumping {
    key: RecordKey,
    /// No later slot is due.
    pub(super) newest: bool,
    lease: Lease,
    asking: Asking,
    stage: Stage,
    /// The upload that is not committed.
    upload: Option<Ticket>,
    looked: Option<Moment>,
    /// Dumps that came to nothing here.
    tries: u32,
    /// Dumps that were made, and are bad.
    bad: u32,
    /// People know that this host cannot.
    told: bool,
    obstacle: Option<String>,
}

#[derive(Debug, Clone)]
enum Stage {
    /// Is there a record?
    Read,
    /// Is there a manifest?
    Look,
    /// Get the lease.
    Lease,
    /// Dump.
    Dump,
    /// Make it visible.
    Commit,
    /// Write down how it ended.
    Write(Outcome),
    /// It has.
    Ended(Box<Record>),
}

impl Dumping {
    pub(super) fn new(turn: &Turn<'_>, slot: Slot, begin: Moment) -> Self {
        let key = RecordKey::Run(slot);
        Self {
            lease: Lease::new(key.lease_path(&turn.job.name)),
            key,
            newest: true,
            asking: Asking::from(begin),
            stage: Stage::Read,
            upload: None,
            looked: None,
            tries: 0,
            bad: 0,
            told: false,
            obstacle: None,
        }
    }

    pub(super) fn ended(&self) -> Option<&Record> {
        if let Stage::Ended(record) = &self.stage { Some(record) } else { None }
    }

    /// Whether the shell works for it.
    pub(super) fn is_working(&self) -> bool {
        self.upload.is_some()
    }

    pub(super) fn obstacle(&self) -> Option<&str> {
        self.obstacle.as_deref()
    }

    pub(super) fn wake(&self) -> Moment {
        if matches!(self.stage, Stage::Lease) {
            self.asking.wake().max(self.lease.wake())
        } else if self.upload.is_some() {
            self.asking.wake().min(self.lease.wake())
        } else {
            self.asking.wake()
        }
    }

    pub(super) fn takes(&mut self, ticket: Ticket) -> bool {
        self.asking.takes(ticket) || self.lease.takes(ticket)
    }

    pub(super) fn go(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.at;
        let old = self.looked.is_none_or(|at| now.since(at) > LOOK_FRESH);
        let tries = self.lease.may_try(now) || self.lease.held(now).is_some();
        if matches!(self.stage, Stage::Lease) && old && tries {
            // Whoever had it before may have got through since the last look.
            self.stage = Stage::Read;
        }
        if matches!(self.stage, Stage::Lease) || self.upload.is_some() {
            self.lease.go(turn);
        }
        if self.upload.is_some() && self.lease.held(now).is_none() {
            // Somebody else may be at it: what this host made is not needed.
            self.discard(turn);
            self.again(turn, "the lease is lost");
        }
        match self.asking.ready(now) {
            Ready::Not => return,
            Ready::Lost => return self.failed(turn, &CallError::lost()),
            Ready::Yes => {}
        }
        let slot = self.key.slot();
        let call = match (&self.stage, self.lease.held(now), self.upload) {
            (Stage::Ended(_), _, _) | (Stage::Lease, None, _) => return,
            (Stage::Read, _, _) => Call::Read(self.key.clone()),
            (Stage::Look, _, _) => {
                let (place, target) = (Place::Home, Target::Instance);
                Call::Look { place, id: slot.to_string(), target }
            }
            (Stage::Write(outcome), _, _) => Call::Write(turn.record(&self.key, outcome.clone())),
            (Stage::Lease, Some(_), _) => {
                self.stage = Stage::Dump;
                return self.go(turn);
            }
            (Stage::Dump, Some(epoch), None) => {
                let by = now.plus(DUMP_WITHIN);
                let ticket = self.asking.send_until(turn, Call::Dump { slot, epoch, by }, by);
                self.upload = Some(ticket);
                return;
            }
            (Stage::Commit, Some(_), Some(dump)) => {
                let late = turn.now_s() - slot.at_s > LATE_S;
                let job = turn.job;
                let tags = backup::tags(&job.name, slot, 0, &job.run, late);
                let call = Call::Commit { slot, dump, tags };
                self.asking.send_until(turn, call, now.plus(COMMIT_WITHIN));
                return;
            }
            (Stage::Dump | Stage::Commit, _, _) => return self.again(turn, "the lease is lost"),
        };
        self.asking.send(turn, call);
    }

    /// A new round after a pause.
    fn again(&mut self, turn: &Turn<'_>, why: &str) {
        self.asking.forget();
        self.asking.pause(turn.now.at, jittered(back_off(self.tries), turn.random));
        self.obstacle = Some(reason(why));
        self.stage = Stage::Read;
    }

    fn discard(&mut self, turn: &mut Turn<'_>) {
        if let Some(upload) = self.upload.take() {
            turn.out.push(Effect::Stop(upload));
        }
    }

    pub(super) fn answered(&mut self, turn: &mut Turn<'_>, answer: Answer) {
        match answer {
            Answer::Record(Ok(Some(record))) => {
                self.discard(turn);
                self.stage = Stage::Ended(record);
            }
            Answer::Record(Ok(None)) => self.stage = Stage::Look,
            Answer::Written(Ok(put)) => self.written(turn, put),
            Answer::Seen(Ok(seen)) => self.seen(turn, seen.map(|seen| *seen)),
            Answer::Lease(answer) => self.lease.answered(turn, answer),
            Answer::Dumped(Ok(facts)) => self.dumped(turn, &facts),
            Answer::Committed(Ok(_)) => {
                self.upload = None;
                self.stage = Stage::Look;
            }
            Answer::Record(Err(error))
            | Answer::Written(Err(error))
            | Answer::Seen(Err(error))
            | Answer::Dumped(Err(error))
            | Answer::Committed(Err(error)) => self.failed(turn, &error),
            // Not an answer to anything that was asked here.
            Answer::Database(_)
            | Answer::Listed(_)
            | Answer::Made(_)
            | Answer::Deleted(_)
            | Answer::Inspected(_)
            | Answer::Proved(_)
            | Answer::Marked(_)
            | Answer::Scratches(_) => {}
        }
    }

    fn seen(&mut self, turn: &mut Turn<'_>, seen: Option<Backup>) {
        self.asking.fine();
        self.looked = Some(turn.now.at);
        if let Some(Backup { bytes, .. }) = seen {
            self.discard(turn);
            let (id, target) = (self.key.slot().to_string(), Target::Instance);
            let late = turn.now_s() - self.key.slot().at_s > LATE_S;
            self.stage = Stage::Write(Outcome::Done { id, target, late, bytes });
            return;
        }
        if self.upload.is_some() && !self.is_over(turn, turn.job.catch_up + CLOSING_TIME) {
            // It was not committed for sure: once more.
            self.stage = Stage::Commit;
            return;
        }
        self.discard(turn);
        if !turn.clock_ok || turn.now_s() < self.key.slot().at_s {
            // By a wrong clock nothing is too late either, and nothing due.
            return self.again(turn, "this host's clock is wrong");
        }
        if self.is_over(turn, turn.job.catch_up) || !self.newest {
            self.stage = Stage::Write(match &self.obstacle {
                Some(reason) => Outcome::Abandoned { reason: reason.clone() },
                None => Outcome::Skipped(Skip::Missed),
            });
        } else {
            self.stage = Stage::Lease;
        }
    }

    /// Whether the slot is longer ago than `within`, by a clock that is right.
    fn is_over(&self, turn: &Turn<'_>, within: Duration) -> bool {
        turn.clock_ok && turn.now_s() > self.key.slot().at_s.saturating_add(seconds(within))
    }

    fn dumped(&mut self, turn: &mut Turn<'_>, facts: &DumpFacts) {
        let findings = judge(facts, &turn.job.dump);
        if findings.is_empty() {
            self.stage = Stage::Commit;
        } else {
            self.bad(turn, &findings.join("; "));
        }
    }

    /// The dump was made, and must not be committed.
    fn bad(&mut self, turn: &mut Turn<'_>, why: &str) {
        self.discard(turn);
        self.bad += 1;
        let slot = self.key.slot();
        if self.bad >= BAD_MAX {
            self.stage = Stage::Write(Outcome::Failed { reason: reason(why) });
            return;
        }
        let text = format!("slot {slot}: dump {} of {BAD_MAX}: {why}", self.bad);
        turn.tell(EventLevel::Warning, Topic::BackupProblem, &text);
        self.leave(turn, why, Duration::ZERO);
    }

    /// It could not be made here. Nothing follows for the slot but that another host, or this one
    /// later, tries again until its time is over.
    fn unable(&mut self, turn: &mut Turn<'_>, error: &CallError) {
        self.discard(turn);
        if !self.told {
            self.told = true;
            let slot = self.key.slot();
            let text = format!("slot {slot} cannot be dumped here: {}", reason(&error.text));
            turn.tell(EventLevel::Warning, Topic::BackupProblem, &text);
        }
        let least = if error.needs_person() { NOT_HERE_FOR } else { Duration::ZERO };
        self.leave(turn, &error.text.clone(), least);
    }

    /// Others may try, and this host later.
    fn leave(&mut self, turn: &mut Turn<'_>, why: &str, least: Duration) {
        self.lease.release(turn);
        self.again(turn, why);
        let pause = PAUSE_MIN.saturating_mul(1 << self.tries.min(DOUBLES_MAX)).max(least);
        self.tries = self.tries.saturating_add(1);
        self.asking.pause(turn.now.at, jittered(pause, turn.random));
    }

    fn failed(&mut self, turn: &mut Turn<'_>, error: &CallError) {
        match (&self.stage, error.kind) {
            (Stage::Dump, _) | (Stage::Commit, CallErrorKind::Denied) => {
                return self.unable(turn, error);
            }
            (Stage::Commit, CallErrorKind::Refused) => {
                return self.bad(turn, &error.text.clone());
            }
            _ => {}
        }
        self.obstacle = Some(reason(&error.text));
        self.asking.failed(turn, error);
        self.stage = match &self.stage {
            Stage::Commit => Stage::Look,
            Stage::Read
            | Stage::Look
            | Stage::Lease
            | Stage::Dump
            | Stage::Write(_)
            | Stage::Ended(_) => Stage::Read,
        };
    }

    fn written(&mut self, turn: &mut Turn<'_>, put: Put) {
        let Stage::Write(outcome) = &self.stage else { return };
        if put == Put::Exists {
            self.stage = Stage::Read;
            return;
        }
        let slot = self.key.slot();
        let (level, text) = match outcome {
            Outcome::Done { .. } => (EventLevel::Normal, format!("slot {slot} is dumped")),
            Outcome::Skipped(skip) => {
                (EventLevel::Warning, format!("slot {slot} is skipped: {skip}"))
            }
            Outcome::Failed { reason } | Outcome::Abandoned { reason } => {
                (EventLevel::Error, format!("slot {slot} has no dump: {reason}"))
            }
            Outcome::Planned { .. } | Outcome::Proved { .. } | Outcome::Refuted { .. } => return,
        };
        turn.tell(level, Turn::topic(level, &self.key), &text);
        self.stage = Stage::Ended(turn.record(&self.key, outcome.clone()));
    }
}
