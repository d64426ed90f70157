//! What follows when a level cannot be tried: another host may be able to, and this one later.

use super::{Proving, Stage};
use crate::backups::backup::reason;
use crate::backups::call::CallError;
use crate::backups::limits::{LEFT_TO_OTHERS, NOT_HERE_FOR, RETRY_MAX, RETRY_PERSON};
use crate::backups::proof::Level;
use crate::backups::record::Outcome;
use crate::backups::turn::Turn;
use crate::restart::jittered;
use crate::status::{EventLevel, Topic};

/// Tries of one host before a restored instance is given up for this slot: it costs money.
const TRIES_MAX: u32 = 8;
/// How often the pause after a try that came to nothing doubles.
const DOUBLES_MAX: u32 = 4;

/// Why something could not be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unable {
    /// It passes.
    Now,
    /// It is the same for all hosts, until a person acts.
    Yet,
    /// This host may not, or has not the means.
    Here,
}

impl Proving {
    pub(super) fn failed(&mut self, turn: &mut Turn<'_>, error: &CallError) {
        self.stop(turn);
        let unable = if error.needs_person() { Unable::Here } else { Unable::Now };
        self.unable(turn, &error.text.clone(), unable);
    }

    /// It could not be tried. That says nothing about the backup, so it is tried again, by others
    /// if they can.
    pub(super) fn unable(&mut self, turn: &mut Turn<'_>, why: &str, unable: Unable) {
        self.tries += u32::from(self.stage.is_a_try());
        self.obstacle = Some(reason(why));
        if !self.told && unable != Unable::Now {
            self.told = true;
            let what = format!("{} of slot {}", self.level, self.key.slot());
            let text = format!("{what} cannot be proved here: {}", reason(why));
            turn.tell(EventLevel::Warning, Topic::BackupProblem, &text);
        }
        let restored = matches!(self.stage, Stage::Prove | Stage::Survey(None));
        let last = self.level == Level::L3 && self.tries >= TRIES_MAX;
        self.asking.later(turn);
        self.stage = match &self.stage {
            // What is restored has to go, whatever else fails.
            Stage::Destroy(outcome) | Stage::Survey(Some(outcome)) => {
                Stage::Survey(Some(outcome.clone()))
            }
            // What was proved is not proved again because it could not be written down.
            Stage::Write(outcome) => {
                if unable == Unable::Here {
                    self.asking.pause(turn.now.at, jittered(RETRY_PERSON, turn.random));
                }
                Stage::Write(outcome.clone())
            }
            Stage::Prove | Stage::Survey(None) if last => {
                Stage::Destroy(Outcome::Abandoned { reason: reason(why) })
            }
            Stage::Mark | Stage::Restore if last => {
                Stage::Write(Outcome::Abandoned { reason: reason(why) })
            }
            Stage::Prove
            | Stage::Survey(None)
            | Stage::Mark
            | Stage::Restore
            | Stage::Inspect
            | Stage::Lease
            | Stage::Read
            | Stage::ReadUnproved
            | Stage::Ended(_) => {
                self.leave(turn, unable, restored);
                Stage::Read
            }
        };
    }

    /// Others may try, and this host later.
    fn leave(&mut self, turn: &mut Turn<'_>, unable: Unable, long: bool) {
        let doubles = self.tries.saturating_sub(1).min(DOUBLES_MAX);
        let now = turn.now.at;
        match unable {
            Unable::Here => {
                self.elsewhere = Some(now.plus(jittered(NOT_HERE_FOR, turn.random)));
                self.asking.pause(now, jittered(LEFT_TO_OTHERS, turn.random));
            }
            Unable::Yet => self.asking.pause(now, jittered(RETRY_PERSON, turn.random)),
            Unable::Now if long => {
                let pause = RETRY_MAX.saturating_mul(1 << doubles);
                self.asking.pause(now, jittered(pause, turn.random));
            }
            // The usual pause.
            Unable::Now => return,
        }
        self.lease.release(turn);
    }
}
