//! Retention after one slot in one place. First it is written down what is to go, once for the
//! whole fleet; then whoever comes deletes that and nothing else, and only what would still go by
//! what is there then. So the cap of a pass holds however many hosts pass, and whoever dies.

use super::backup::{Backup, reason};
use super::call::{Answer, Asking, Call, CallError, CallErrorKind, Put, Ready, Ticket};
use super::database::Target;
use super::limits::{SPREAD_USUAL, SWEEP_WITHIN};
use super::record::{Outcome, Place, Record, RecordKey};
use super::retention::{Pass, Plan, Refuted, plan};
use super::turn::Turn;
use crate::restart::jittered;
use crate::status::{EventLevel, Topic};
use crate::time::Moment;

/// One pass.
#[derive(Debug, Clone)]
pub(super) struct Sweeping {
    key: RecordKey,
    place: Place,
    target: Target,
    asking: Asking,
    stage: Stage,
    /// Why the job is failing, as a clause: then nothing goes.
    failing: Option<String>,
    /// When it gives up what cannot be deleted.
    until: Moment,
    /// Of what is there, what is known to be bad.
    refuted: Refuted,
    /// What could not be deleted: a person is told at the end.
    stuck: Vec<String>,
}

#[derive(Debug, Clone)]
enum Stage {
    /// Is it written down what goes?
    Read,
    /// What is there? With what was written down.
    List(Option<Box<Record>>),
    /// What of that is bad? With what was written down, what is there, and what is read now.
    Judge(Option<Box<Record>>, Vec<Backup>, RecordKey),
    /// Write down what goes.
    Write(Outcome),
    /// What is left of it.
    Delete(Box<Record>, Vec<String>),
    /// It is over.
    Ended(Box<Record>),
}

impl Sweeping {
    pub(super) fn new(
        key: RecordKey,
        place: Place,
        target: Target,
        failing: Option<String>,
        begin: Moment,
    ) -> Self {
        let until = begin.plus(SWEEP_WITHIN);
        let (asking, stage) = (Asking::from(begin), Stage::Read);
        let (refuted, stuck) = (Refuted::default(), Vec::new());
        Self { key, place, target, asking, stage, failing, until, refuted, stuck }
    }

    pub(super) fn ended(&self) -> Option<&Record> {
        if let Stage::Ended(record) = &self.stage { Some(record) } else { None }
    }

    pub(super) fn wake(&self) -> Moment {
        self.asking.wake()
    }

    pub(super) fn takes(&mut self, ticket: Ticket) -> bool {
        self.asking.takes(ticket)
    }

    pub(super) fn go(&mut self, turn: &mut Turn<'_>) {
        match self.asking.ready(turn.now.at) {
            Ready::Not => return,
            Ready::Lost => return self.failed(turn, &CallError::lost()),
            Ready::Yes => {}
        }
        if !turn.clock_ok {
            // What is in use, and how old it is, is judged by the clock.
            return self.asking.later(turn);
        }
        let call = match &self.stage {
            Stage::Read => Call::Read(self.key.clone()),
            Stage::List(_) => Call::List { place: self.place.clone(), target: self.target.clone() },
            Stage::Judge(_, _, key) => Call::Read(key.clone()),
            Stage::Write(outcome) => Call::Write(turn.record(&self.key, outcome.clone())),
            Stage::Delete(record, left) => {
                let Some(id) = left.last() else {
                    self.stage = Stage::Ended(record.clone());
                    return self.report(turn);
                };
                let (place, target) = (self.place.clone(), self.target.clone());
                Call::Delete { place, id: id.clone(), target }
            }
            Stage::Ended(_) => return,
        };
        self.asking.send(turn, call);
    }

    pub(super) fn answered(&mut self, turn: &mut Turn<'_>, answer: Answer) {
        match answer {
            Answer::Record(Ok(record)) if matches!(self.stage, Stage::Judge(..)) => {
                self.judged(turn, record.as_deref());
            }
            Answer::Record(Ok(Some(record))) => {
                let by_us = record.by == turn.job.instance;
                self.stage = Stage::List(Some(record));
                if !by_us {
                    // Whoever wrote it is at it; this host sees to what is left.
                    self.asking.pause(turn.now.at, jittered(SPREAD_USUAL, turn.random));
                }
            }
            Answer::Record(Ok(None)) => self.stage = Stage::List(None),
            Answer::Written(Ok(Put::Written)) => {
                self.tell_refusal(turn);
                self.stage = Stage::Read;
            }
            Answer::Written(Ok(Put::Exists)) => self.stage = Stage::Read,
            Answer::Listed(Ok(backups)) => self.listed(turn, backups),
            Answer::Deleted(Ok(())) => self.deleted(),
            Answer::Record(Err(error))
            | Answer::Written(Err(error))
            | Answer::Listed(Err(error))
            | Answer::Deleted(Err(error)) => self.failed(turn, &error),
            // Not an answer to anything that was asked here.
            Answer::Database(_)
            | Answer::Seen(_)
            | Answer::Made(_)
            | Answer::Lease(_)
            | Answer::Dumped(_)
            | Answer::Committed(_)
            | Answer::Inspected(_)
            | Answer::Proved(_)
            | Answer::Marked(_)
            | Answer::Scratches(_) => {}
        }
    }

    fn deleted(&mut self) {
        self.asking.fine();
        if let Stage::Delete(_, left) = &mut self.stage {
            left.pop();
        }
    }

    fn failed(&mut self, turn: &mut Turn<'_>, error: &CallError) {
        let over = self.until <= turn.now.at;
        if matches!(self.stage, Stage::Judge(..)) && error.needs_person() {
            // One that cannot be read says nothing.
            return self.judged(turn, None);
        }
        if let Stage::Delete(_, left) = &mut self.stage
            && (error.needs_person() || over)
        {
            // One that cannot be deleted does not keep the others.
            if let Some(id) = left.pop() {
                self.stuck.push(format!("{id} ({})", reason(&error.text)));
            }
            return;
        }
        if error.kind == CallErrorKind::Denied && over {
            // Without the right to look, there is nothing to go on with until the next slot.
            let outcome = Outcome::Planned { delete: Vec::new(), refused: None };
            self.stuck.push(reason(&error.text));
            self.stage = Stage::Ended(turn.record(&self.key, outcome));
            return self.report(turn);
        }
        self.asking.failed(turn, error);
    }

    fn listed(&mut self, turn: &Turn<'_>, backups: Vec<Backup>) {
        self.asking.fine();
        let Stage::List(written) = &self.stage else { return };
        if !turn.clock_ok {
            return self.asking.later(turn);
        }
        let written = written.clone();
        self.refuted = Refuted::default();
        self.weigh(turn, written, backups);
    }

    /// A proof was read.
    fn judged(&mut self, turn: &Turn<'_>, record: Option<&Record>) {
        self.asking.fine();
        match std::mem::replace(&mut self.stage, Stage::Read) {
            Stage::Judge(written, backups, key) => {
                self.refuted.answer(key, record);
                self.weigh(turn, written, backups);
            }
            other => self.stage = other,
        }
    }

    /// From what is there, and what is known of it, to what goes.
    fn weigh(&mut self, turn: &Turn<'_>, written: Option<Box<Record>>, backups: Vec<Backup>) {
        let now = self.plan(turn, &backups);
        if let Some(key) = self.refuted.question(turn.job, &backups, &now) {
            self.stage = Stage::Judge(written, backups, key);
            return;
        }
        let Some(record) = written else {
            let Plan { delete, refused, .. } = now;
            self.stage = Stage::Write(Outcome::Planned { delete, refused });
            return;
        };
        let still = |id: &&String| now.delete.contains(id);
        let mut left: Vec<String> = match &record.outcome {
            Outcome::Planned { delete, .. } => delete.iter().filter(still).cloned().collect(),
            Outcome::Done { .. }
            | Outcome::Skipped(_)
            | Outcome::Failed { .. }
            | Outcome::Abandoned { .. }
            | Outcome::Proved { .. }
            | Outcome::Refuted { .. } => Vec::new(),
        };
        // Taken from the end: the oldest goes first.
        left.reverse();
        self.stage = Stage::Delete(record, left);
    }

    fn plan(&self, turn: &Turn<'_>, backups: &[Backup]) -> Plan {
        let pass = Pass::of(turn.job, &self.place, backups, &self.refuted, turn.now_s());
        let failing = self.failing.as_deref();
        pass.map_or_else(Plan::default, |pass| plan(&Pass { failing, ..pass }))
    }

    fn tell_refusal(&self, turn: &mut Turn<'_>) {
        if let Stage::Write(Outcome::Planned { refused: Some(refused), .. }) = &self.stage {
            let next = "see backups retention --explain";
            let text = format!("retention deletes nothing in {}: {refused}; {next}", self.place);
            turn.tell(EventLevel::Error, Topic::BackupProblem, &text);
        }
    }

    fn report(&self, turn: &mut Turn<'_>) {
        if !self.stuck.is_empty() {
            let stuck = self.stuck.join(", ");
            let text = format!("retention could not delete in {}: {stuck}", self.place);
            turn.tell(EventLevel::Error, Topic::BackupProblem, &text);
        }
    }
}
