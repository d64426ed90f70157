//! The slots around a moment. They take a walk through the schedule, so they are kept while they
//! are the same.

use std::time::Duration;

use crate::backups::JobSettings;
use crate::backups::limits::{CLOSING_TIME, SLOTS_DUE_MAX};
use crate::backups::slot::Slot;
use crate::backups::taking::seconds;

/// What the schedule says about now.
#[derive(Debug, Clone, Default)]
pub(super) struct Calendar {
    /// Slots that are looked after, newest first: those whose time is not over, and however old it
    /// is the newest, whose record says whether there is a backup.
    pub(super) due: Vec<Slot>,
    /// The next one.
    pub(super) next: Option<Slot>,
    /// How old the newest backup may be.
    pub(super) stale_after: Duration,
    /// It was made then, in seconds since 1970-01-01 UTC,
    from_s: i64,
    /// and is another from then on.
    until_s: i64,
}

impl Calendar {
    /// Turns it to `now_s`.
    pub(super) fn turn(&mut self, job: &JobSettings, now_s: i64) {
        if (self.from_s..self.until_s).contains(&now_s) {
            return;
        }
        let JobSettings { schedule, zone, .. } = job;
        let open_s = open_since_s(job, now_s);
        self.due = schedule.slots(zone, open_s, now_s, SLOTS_DUE_MAX);
        // Open slots leave the list one after the other.
        let leaves_s = self.due.last().map(|slot| now_s.saturating_add(slot.at_s - open_s));
        if self.due.is_empty() {
            self.due.extend(schedule.newest(zone, now_s));
        }
        self.next = schedule.next(zone, now_s);
        self.stale_after = job.stale_after(now_s);
        let next_s = self.next.map(|slot| slot.at_s);
        self.from_s = now_s;
        self.until_s = next_s.into_iter().chain(leaves_s).min().unwrap_or(now_s);
    }
}

/// Slots that are not after this are over.
pub(super) fn open_since_s(job: &JobSettings, now_s: i64) -> i64 {
    now_s.saturating_sub(seconds(job.catch_up + CLOSING_TIME))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backups::job::tests::{at, dumps};

    #[test]
    fn what_is_kept_is_what_a_new_look_would_say() {
        for schedule in ["20 0 * * *", "20 0 * * 0", "every 15m", "0 2 1 * *", "*/20 3 * * 1-5"] {
            let job = JobSettings { schedule: schedule.parse().unwrap(), ..dumps(&[]) };
            let mut kept = Calendar::default();
            let begin_s = at("2026-11-20T00:00") / 1000;
            // Forward in steps of all lengths, and sometimes back.
            let mut now_s = begin_s;
            for step in 0..1500_i64 {
                now_s += (step * 7919) % 1201;
                if step % 97 == 0 {
                    now_s -= 90_000;
                }
                kept.turn(&job, now_s);
                let mut new = Calendar::default();
                new.turn(&job, now_s);
                assert_eq!((&kept.due, kept.next), (&new.due, new.next), "{schedule} {now_s}");
                assert_eq!(kept.stale_after, new.stale_after, "{schedule} {now_s}");
            }
        }
    }
}
