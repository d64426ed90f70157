//! Notices what no single event says: that backups have stopped coming, and that there is a good
//! one again after people were told that there is none.

use super::Job;
use crate::backups::call::Effect;
use crate::backups::limits::WAKE_WITHIN;
use crate::backups::status::{JobState, JobStatus};
use crate::status::{EventLevel, Topic};
use crate::time::{Moment, Now};

/// What people were told.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch {
    /// That there is no good backup, by this host or, as the records have it, by another; `None`:
    /// who knows what an agent before this one told, here or on a host that is gone.
    failed: Option<bool>,
    /// That none has come for too long, by this host.
    stale: bool,
    /// When that, and what the records say, is looked at next.
    next: Moment,
}

impl Job {
    /// Adds to what is told.
    pub(super) fn watch(&mut self, now: Now, out: &mut Vec<Effect>) {
        let failed = |effect: &Effect| match effect {
            Effect::Tell(told) => told.topic == Topic::BackupFailed,
            Effect::Call { .. } | Effect::Stop(_) => false,
        };
        if out.iter().any(failed) {
            self.watch.failed = Some(true);
        }
        if now.at >= self.watch.next {
            self.watch.next = now.at.plus(WAKE_WITHIN);
            let stale = self.stale_since();
            if let Some(id) = stale.as_ref().filter(|_| !self.watch.stale) {
                let text = format!("it is failing: no backup since that of {id}");
                self.turn(now, out, |_, turn| {
                    turn.tell(EventLevel::Error, Topic::BackupFailed, &text);
                });
            }
            self.watch.stale = stale.is_some();
            if self.describe().state == JobState::Failing {
                self.watch.failed = Some(true);
            }
        }
        if self.watch.failed != Some(false) {
            self.tell_good(now, out);
        }
    }

    /// Ends the alarms about backups, once all is well.
    fn tell_good(&mut self, now: Now, out: &mut Vec<Effect>) {
        let JobStatus { state, last_good, .. } = self.describe();
        let text = match (last_good, self.watch.failed) {
            _ if state != JobState::Ok => return,
            (Some(good), None) => format!("there is a good backup: {}", good.id),
            (Some(good), Some(_)) => format!("there is a good backup again: {}", good.id),
            (None, Some(_)) => "nothing is wrong any more".to_owned(),
            (None, None) => return,
        };
        self.watch.failed = Some(false);
        self.turn(now, out, |_, turn| {
            turn.tell(EventLevel::Normal, Topic::BackupRecovered, &text);
        });
    }

    /// The newest backup, when it is older than it may be.
    fn stale_since(&self) -> Option<String> {
        let (slot, run) = self.newest_done()?;
        let (id, _) = run.outcome.backup()?;
        let stale_ms = crate::time::ms(self.calendar.stale_after);
        (self.since_ms(slot.at_ms()) > stale_ms).then(|| id.to_owned())
    }
}
