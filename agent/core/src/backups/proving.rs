//! Proof of one slot's backup at one level: by one host, once, with the result written down.
//!
//! At L3 an instance is restored, and it always goes again: it has a name that follows from the
//! slot, so whoever takes over finds it; a tag says until when it may live; and every host deletes
//! what is older (`reaping`). The record is written when the instance is gone.

use std::time::Duration;

use super::backup::{InUse, TAG_IN_USE, reason};
use super::call::{
    Answer, Asking, Call, CallError, CallErrorKind, Effect, Make, Put, Ready, Ticket,
};
use super::database::{Gate, Target, gate};
use super::lease::Lease;
use super::limits::{PROVE_WITHIN, SCRATCH_TTL};
use super::proof::{EMPTY, Level, Scratch, inspect};
use super::record::{Outcome, Record, RecordKey};
use super::slot::scratch_id;
use super::taking::seconds;
use super::turn::Turn;
use crate::status::{EventLevel, Topic};
use crate::time::{Moment, ms};

/// Tries of one host before a level is given up for this slot.
const TRIES_MAX: u32 = 8;
/// How old the reading of the record may be when the work is begun.
const READ_FRESH: Duration = Duration::from_secs(30);
/// Looks before something that L0 finds counts: RDS may show it late.
const LOOKS_MAX: u32 = 4;

/// One proof.
#[derive(Debug, Clone)]
pub(super) struct Proving {
    key: RecordKey,
    level: Level,
    /// The backup.
    id: String,
    target: Target,
    copies: Vec<String>,
    lease: Lease,
    asking: Asking,
    stage: Stage,
    /// Work that is stopped when the lease is lost.
    work: Option<Ticket>,
    began: Moment,
    /// When it was read last that there is no record.
    read: Option<Moment>,
    tries: u32,
}

#[derive(Debug, Clone)]
enum Stage {
    /// Is there a record?
    Read,
    /// L0: look at everything.
    Inspect,
    /// Get the lease.
    Lease,
    /// L3: what is restored already? With the result, once there is one.
    Survey(Option<Outcome>),
    /// L3: the snapshot must stay.
    Mark,
    /// L3: restore it.
    Restore,
    /// The proof itself.
    Prove,
    /// L3: the instance goes.
    Destroy(Outcome),
    /// Write down how it ended.
    Write(Outcome),
    /// It has.
    Ended(Box<Record>),
}

impl Proving {
    pub(super) fn new(
        turn: &Turn<'_>,
        key: RecordKey,
        level: Level,
        backup: (String, Target),
        copies: Vec<String>,
        begin: Moment,
    ) -> Self {
        let (id, target) = backup;
        Self {
            lease: Lease::new(key.lease_path(&turn.job.name)),
            key,
            level,
            id,
            target,
            copies,
            asking: Asking::from(begin),
            stage: Stage::Read,
            work: None,
            began: begin,
            read: None,
            tries: 0,
        }
    }

    pub(super) fn ended(&self) -> Option<&Record> {
        if let Stage::Ended(record) = &self.stage { Some(record) } else { None }
    }

    /// Whether the shell works for it.
    pub(super) fn is_working(&self) -> bool {
        self.work.is_some()
    }

    /// Whether it holds its lease, or tries to.
    fn is_leased(&self) -> bool {
        match &self.stage {
            Stage::Read | Stage::Inspect | Stage::Ended(_) => false,
            Stage::Write(_) => self.level != Level::L0,
            Stage::Lease
            | Stage::Survey(_)
            | Stage::Mark
            | Stage::Restore
            | Stage::Prove
            | Stage::Destroy(_) => true,
        }
    }

    pub(super) fn wake(&self) -> Moment {
        if matches!(self.stage, Stage::Lease) {
            self.asking.wake().max(self.lease.wake())
        } else if self.is_leased() {
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
        let old = self.read.is_none_or(|at| now.since(at) > READ_FRESH);
        let tries = self.lease.may_try(now) || self.lease.held(now).is_some();
        if matches!(self.stage, Stage::Lease) && old && tries {
            // Whoever had it before may have got through since.
            self.stage = Stage::Read;
        }
        if self.is_leased() {
            self.lease.go(turn);
            if !matches!(self.stage, Stage::Lease) && self.lease.held(now).is_none() {
                self.stop(turn);
                self.asking.forget();
                self.asking.later(turn);
                self.stage = Stage::Read;
            }
        }
        match self.asking.ready(now) {
            Ready::Not => return,
            Ready::Lost => return self.failed(turn, &CallError::lost()),
            Ready::Yes => {}
        }
        let scratch = scratch_id(&turn.job.name, self.key.slot());
        let call = match &self.stage {
            Stage::Ended(_) => return,
            Stage::Read => Call::Read(self.key.clone()),
            Stage::Inspect => Call::Inspect {
                id: self.id.clone(),
                target: self.target.clone(),
                copies: self.copies.clone(),
            },
            Stage::Lease if self.lease.held(now).is_none() => return,
            Stage::Lease => {
                self.began = now;
                self.stage =
                    if self.level == Level::L3 { Stage::Survey(None) } else { Stage::Prove };
                return self.go(turn);
            }
            Stage::Survey(_) => Call::Scratches,
            // Until when it may live is written by this clock.
            Stage::Mark | Stage::Restore if !turn.clock_ok => return self.asking.later(turn),
            Stage::Mark => self.mark(turn),
            Stage::Restore => Call::Restore {
                id: scratch,
                from: self.id.clone(),
                target: self.target.clone(),
                until_s: turn.now_s().saturating_add(seconds(SCRATCH_TTL)),
            },
            Stage::Prove => {
                let by = now.plus(PROVE_WITHIN);
                let id = if self.level == Level::L3 { scratch } else { self.id.clone() };
                let call = Call::Prove { level: self.level, id, by };
                self.work = Some(self.asking.send_until(turn, call, by));
                return;
            }
            Stage::Destroy(_) => Call::Destroy { id: scratch },
            Stage::Write(outcome) => Call::Write(turn.record(&self.key, outcome.clone())),
        };
        self.asking.send(turn, call);
    }

    fn mark(&self, turn: &Turn<'_>) -> Call {
        let until_s = turn.now_s().saturating_add(seconds(SCRATCH_TTL));
        let in_use = InUse { run: turn.job.run.clone(), until_s };
        let tags = vec![(TAG_IN_USE.to_owned(), in_use.value())];
        Call::Mark { id: self.id.clone(), target: self.target.clone(), tags }
    }

    fn stop(&mut self, turn: &mut Turn<'_>) {
        if let Some(work) = self.work.take() {
            turn.out.push(Effect::Stop(work));
        }
    }

    pub(super) fn answered(&mut self, turn: &mut Turn<'_>, answer: Answer) {
        match answer {
            Answer::Record(Ok(Some(record))) => self.stage = Stage::Ended(record),
            Answer::Record(Ok(None)) => {
                self.read = Some(turn.now.at);
                self.stage = if self.level == Level::L0 { Stage::Inspect } else { Stage::Lease };
            }
            Answer::Written(Ok(put)) => self.written(turn, put),
            Answer::Lease(answer) => self.lease.answered(turn, answer),
            Answer::Inspected(Ok(inspection)) => {
                let findings = inspect(&inspection, turn.job.encrypted);
                self.tries += 1;
                if findings.is_empty() || self.tries >= LOOKS_MAX {
                    self.stage = Stage::Write(outcome(findings, 0));
                } else {
                    self.asking.later(turn);
                }
            }
            Answer::Scratches(Ok(all)) => self.surveyed(turn, &all),
            Answer::Marked(Ok(())) => self.stage = Stage::Restore,
            Answer::Made(Ok(made)) => self.restoring(turn, made),
            Answer::Proved(Ok(findings)) => {
                self.work = None;
                let outcome = outcome(findings, ms(turn.now.at.since(self.began)));
                self.stage = if self.level == Level::L3 {
                    Stage::Destroy(outcome)
                } else {
                    Stage::Write(outcome)
                };
            }
            // A deletion is begun: it is over when the instance does not show.
            Answer::Deleted(Ok(())) => {
                if let Stage::Destroy(outcome) = &self.stage {
                    self.stage = Stage::Survey(Some(outcome.clone()));
                    self.asking.later(turn);
                }
            }
            Answer::Record(Err(error))
            | Answer::Written(Err(error))
            | Answer::Inspected(Err(error))
            | Answer::Scratches(Err(error))
            | Answer::Marked(Err(error))
            | Answer::Made(Err(error))
            | Answer::Proved(Err(error))
            | Answer::Deleted(Err(error)) => self.failed(turn, &error),
            // Not an answer to anything that was asked here.
            Answer::Database(_)
            | Answer::Seen(_)
            | Answer::Listed(_)
            | Answer::Dumped(_)
            | Answer::Committed(_) => {}
        }
    }

    fn surveyed(&mut self, turn: &Turn<'_>, all: &[Scratch]) {
        let id = scratch_id(&turn.job.name, self.key.slot());
        let found = all.iter().find(|scratch| scratch.id == id);
        let Stage::Survey(outcome) = &self.stage else { return };
        let over = turn.now.at.since(self.began) > SCRATCH_TTL;
        match (found, outcome.clone()) {
            (None, Some(outcome)) => self.stage = Stage::Write(outcome),
            (Some(scratch), outcome) if scratch.status == "deleting" => {
                self.asking.later(turn);
                self.stage = Stage::Survey(outcome);
            }
            (Some(_), Some(outcome)) => self.stage = Stage::Destroy(outcome),
            (None, None) if over => self.stage = Stage::Write(too_long()),
            (Some(_), None) if over => self.stage = Stage::Destroy(too_long()),
            (None, None) => self.stage = Stage::Mark,
            (Some(scratch), None) if scratch.status == EMPTY => self.stage = Stage::Restore,
            (Some(scratch), None) => match gate(&scratch.status) {
                Gate::Go => {
                    self.asking.fine();
                    self.stage = Stage::Prove;
                }
                Gate::Wait => self.asking.later(turn),
                Gate::Skip | Gate::Page => {
                    let word = reason(&scratch.status);
                    let findings = vec![format!("the restored instance is {word}")];
                    self.stage = Stage::Destroy(Outcome::Refuted { findings });
                }
            },
        }
    }

    fn restoring(&mut self, turn: &mut Turn<'_>, made: Make) {
        match made {
            Make::Begun | Make::AlreadyExists => {
                self.asking.later(turn);
                self.stage = Stage::Survey(None);
            }
            Make::InvalidState => {
                self.unable(turn, "the snapshot cannot be restored now", false);
            }
            Make::NoSource => {
                let findings = vec!["the snapshot is gone".to_owned()];
                self.stage = Stage::Write(Outcome::Refuted { findings });
            }
            Make::Quota(words) => self.unable(turn, &words, true),
        }
    }

    fn failed(&mut self, turn: &mut Turn<'_>, error: &CallError) {
        self.stop(turn);
        let text = error.text.clone();
        self.unable(turn, &text, error.needs_person() || error.kind == CallErrorKind::Refused);
    }

    /// It could not be tried. That says nothing about the backup, so it is tried again.
    fn unable(&mut self, turn: &mut Turn<'_>, why: &str, person: bool) {
        self.tries += 1;
        let what = format!("{} of slot {}", self.level, self.key.slot());
        if self.tries == 1 && person {
            let text = format!("{what} cannot be proved: {}", reason(why));
            turn.tell(EventLevel::Error, Topic::BackupProblem, &text);
        }
        self.asking.later(turn);
        self.stage = match &self.stage {
            // What is restored has to go, whatever else fails.
            Stage::Destroy(outcome) => Stage::Survey(Some(outcome.clone())),
            Stage::Survey(Some(outcome)) => Stage::Survey(Some(outcome.clone())),
            Stage::Prove | Stage::Survey(None) if self.tries >= TRIES_MAX => {
                let outcome = Outcome::Abandoned { reason: reason(why) };
                if self.level == Level::L3 {
                    Stage::Destroy(outcome)
                } else {
                    Stage::Write(outcome)
                }
            }
            Stage::Mark | Stage::Restore | Stage::Inspect | Stage::Lease
                if self.tries >= TRIES_MAX =>
            {
                Stage::Write(Outcome::Abandoned { reason: reason(why) })
            }
            Stage::Prove => Stage::Prove,
            Stage::Survey(None) | Stage::Restore => Stage::Survey(None),
            Stage::Read
            | Stage::Inspect
            | Stage::Lease
            | Stage::Mark
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
        let what = format!("{} of slot {}", self.level, self.key.slot());
        let (level, text) = match outcome {
            Outcome::Proved { took_ms } => {
                let took = crate::time::text(Duration::from_millis(*took_ms));
                (EventLevel::Normal, format!("{what} is proved, in {took}"))
            }
            Outcome::Refuted { findings } => {
                (EventLevel::Error, format!("{what} is refuted: {}", findings.join("; ")))
            }
            Outcome::Failed { reason } | Outcome::Abandoned { reason } => {
                (EventLevel::Error, format!("{what} was not proved: {reason}"))
            }
            Outcome::Done { .. } | Outcome::Skipped(_) | Outcome::Planned { .. } => return,
        };
        turn.tell(level, Turn::topic(level, &self.key), &text);
        self.stage = Stage::Ended(turn.record(&self.key, outcome.clone()));
    }
}

fn outcome(findings: Vec<String>, took_ms: u64) -> Outcome {
    if findings.is_empty() {
        return Outcome::Proved { took_ms };
    }
    let findings = findings.iter().take(16).map(|finding| reason(finding)).collect();
    Outcome::Refuted { findings }
}

fn too_long() -> Outcome {
    Outcome::Abandoned { reason: "the restore took longer than its instance may live".to_owned() }
}
