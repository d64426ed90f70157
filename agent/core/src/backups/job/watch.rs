//! Notices what no single event says: that backups have stopped coming, and that there is a good
//! one again after people were told that there is none.

use super::Job;
use crate::backups::call::Effect;
use crate::backups::limits::WAKE_WITHIN;
use crate::backups::status::JobState;
use crate::status::{EventLevel, Topic};
use crate::time::{Moment, Now};

/// What was told by this host.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch {
    /// That there is no good backup.
    failed: bool,
    /// That none has come for too long.
    stale: bool,
    /// When that is looked at next: it takes a walk through the schedule.
    next: Moment,
}

impl Job {
    /// Adds to what is told.
    pub(super) fn watch(&mut self, now: Now, out: &mut Vec<Effect>) {
        let failed = |effect: &Effect| match effect {
            Effect::Tell(told) => told.topic == Topic::BackupFailed,
            Effect::Call { .. } | Effect::Stop(_) => false,
        };
        self.watch.failed |= out.iter().any(failed);
        if now.at >= self.watch.next {
            self.watch.next = now.at.plus(WAKE_WITHIN);
            let stale = self.stale_since();
            if let Some(id) = stale.as_ref().filter(|_| !self.watch.stale) {
                let text = format!("it is failing: no backup since that of {id}");
                self.turn(now, out, |_, turn| {
                    turn.tell(EventLevel::Error, Topic::BackupFailed, &text);
                });
                self.watch.failed = true;
            }
            self.watch.stale = stale.is_some();
        }
        if self.watch.failed && self.describe().state == JobState::Ok {
            self.watch.failed = false;
            let text = "there is a good backup again";
            self.turn(now, out, |_, turn| {
                turn.tell(EventLevel::Normal, Topic::BackupRecovered, text);
            });
        }
    }

    /// The newest backup, when it is older than it may be.
    fn stale_since(&self) -> Option<String> {
        let (slot, run) = self.newest_done()?;
        let (id, _) = run.outcome.backup()?;
        let stale_ms = crate::time::ms(self.calendar.stale_after);
        (self.since_ms(slot.at_ms()) > stale_ms).then(|| id.to_owned())
    }
}
