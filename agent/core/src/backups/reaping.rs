//! Instances that were restored for proof and that nobody cleaned up: every host looks for those
//! whose time is over, so that none outlives the host that made it for long.

use std::collections::BTreeSet;

use super::call::{Answer, Asking, Call, CallError, Ready, Ticket};
use super::limits::{REAP_EVERY, SCRATCH_MAX};
use super::proof::Scratch;
use super::turn::Turn;
use crate::restart::jittered;
use crate::status::{EventLevel, Topic};
use crate::time::Moment;

/// The looking.
#[derive(Debug, Clone)]
pub(super) struct Reaping {
    asking: Asking,
    /// What is to go.
    left: Vec<String>,
    /// Instances without a time, at the last look: the tag may only have been late.
    timeless: BTreeSet<String>,
    told: bool,
}

impl Reaping {
    pub(super) fn new(begin: Moment) -> Self {
        Self {
            asking: Asking::from(begin),
            left: Vec::new(),
            timeless: BTreeSet::new(),
            told: false,
        }
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
        let call = match self.left.last() {
            Some(id) => Call::Destroy { id: id.clone() },
            None if !turn.clock_ok => return self.asking.later(turn),
            None => Call::Scratches,
        };
        self.asking.send(turn, call);
    }

    pub(super) fn answered(&mut self, turn: &mut Turn<'_>, answer: Answer) {
        match answer {
            Answer::Scratches(Ok(all)) => self.surveyed(turn, &all),
            Answer::Deleted(Ok(())) => {
                if let Some(id) = self.left.pop() {
                    let text = format!("instance {id}, restored for proof, is deleted: overdue");
                    turn.tell(EventLevel::Warning, Topic::BackupProblem, &text);
                }
                self.pause(turn);
            }
            Answer::Scratches(Err(error)) | Answer::Deleted(Err(error)) => {
                self.failed(turn, &error);
            }
            // Not an answer to anything that was asked here.
            Answer::Record(_)
            | Answer::Written(_)
            | Answer::Database(_)
            | Answer::Seen(_)
            | Answer::Listed(_)
            | Answer::Made(_)
            | Answer::Lease(_)
            | Answer::Dumped(_)
            | Answer::Committed(_)
            | Answer::Inspected(_)
            | Answer::Proved(_)
            | Answer::Marked(_) => {}
        }
    }

    fn surveyed(&mut self, turn: &Turn<'_>, all: &[Scratch]) {
        self.asking.fine();
        self.told = false;
        if !turn.clock_ok {
            return self.asking.later(turn);
        }
        let now_s = turn.now_s();
        let living = all.iter().take(SCRATCH_MAX).filter(|scratch| scratch.status != "deleting");
        let overdue = |scratch: &&Scratch| match scratch.until_s {
            Some(until_s) => until_s < now_s,
            None => self.timeless.contains(&scratch.id),
        };
        self.left = living.filter(overdue).map(|scratch| scratch.id.clone()).collect();
        let timeless = all.iter().take(SCRATCH_MAX).filter(|scratch| scratch.until_s.is_none());
        self.timeless = timeless.map(|scratch| scratch.id.clone()).collect();
        self.pause(turn);
    }

    /// The next look is an hour away, unless something is to go.
    fn pause(&mut self, turn: &Turn<'_>) {
        if self.left.is_empty() {
            self.asking.pause(turn.now.at, jittered(REAP_EVERY, turn.random));
        }
    }

    fn failed(&mut self, turn: &mut Turn<'_>, error: &CallError) {
        if error.needs_person() && !self.told {
            self.told = true;
            let what = self.left.last().map_or("instances restored for proof", String::as_str);
            let text = format!("{what} cannot be cleaned up: {}", error.text);
            turn.tell(EventLevel::Error, Topic::BackupProblem, &text);
        }
        // Another one may go.
        if let Some(id) = self.left.pop()
            && !error.needs_person()
        {
            self.left.insert(0, id);
        }
        self.asking.failed(turn, error);
    }
}
