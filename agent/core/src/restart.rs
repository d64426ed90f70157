//! Decides when a process is started again. Pure: the supervisor does the starting.

use std::collections::VecDeque;
use std::time::Duration;

use crate::limits;
use crate::time::Moment;

/// What to do about a process that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// How long to wait before the start.
    pub delay: Duration,
    /// `restart 2 of 5 in 10m`, for status.
    pub reason: String,
    /// It keeps ending: the tier is degraded, and the restarts go on slowly.
    pub crash_loop: bool,
}

/// Remembers the recent restarts of one process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RestartTracker {
    recent: VecDeque<Moment>,
    total: u32,
}

impl RestartTracker {
    /// The process ended at `now`. `jitter` is any number; it spreads processes that end together.
    pub fn ended(&mut self, now: Moment, jitter: u64) -> Decision {
        self.forget_old(now);
        // One beyond the limit is enough to know that the limit is passed.
        if self.recent.len() > limits::RESTARTS_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        self.total = self.total.saturating_add(1);
        let count = self.recent.len();
        let window_min = limits::RESTARTS_WINDOW.as_secs() / 60;
        let crash_loop = count > limits::RESTARTS_MAX;
        let reason = if crash_loop {
            format!("crash loop: more than {} restarts in {window_min}m", limits::RESTARTS_MAX)
        } else {
            format!("restart {count} of {} in {window_min}m", limits::RESTARTS_MAX)
        };
        Decision { delay: delay_before(count, crash_loop, jitter), reason, crash_loop }
    }

    /// Whether the process is in a crash loop at `now`.
    #[must_use]
    pub fn in_crash_loop(&self, now: Moment) -> bool {
        let fresh = |at: &&Moment| now.since(**at) < limits::RESTARTS_WINDOW;
        self.recent.iter().filter(fresh).count() > limits::RESTARTS_MAX
    }

    /// Restarts since the agent started.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.total
    }

    /// When it was restarted last.
    #[must_use]
    pub fn last(&self) -> Option<Moment> {
        self.recent.back().copied()
    }

    fn forget_old(&mut self, now: Moment) {
        while self.recent.front().is_some_and(|at| now.since(*at) >= limits::RESTARTS_WINDOW) {
            self.recent.pop_front();
        }
    }
}

/// At once the first time, because most crashes are single; then twice as long each time.
fn delay_before(count: usize, crash_loop: bool, jitter: u64) -> Duration {
    if crash_loop {
        return jittered(limits::RESTART_DELAY_MAX, jitter);
    }
    let Some(doublings) = count.checked_sub(2) else { return Duration::ZERO };
    let factor = 1_u32 << doublings.min(16);
    let delay = limits::RESTART_DELAY_MIN.saturating_mul(factor).min(limits::RESTART_DELAY_MAX);
    jittered(delay, jitter)
}

/// `delay`, less up to a quarter of it.
#[must_use]
pub fn jittered(delay: Duration, jitter: u64) -> Duration {
    let permille = u32::try_from(jitter % 250).unwrap_or(0);
    delay.saturating_sub(delay / 1000 * permille)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crash_every(pause: Duration, times: usize) -> Vec<Decision> {
        let mut tracker = RestartTracker::default();
        let mut now = Moment(1_000_000);
        let crash = |_| {
            now = now.plus(pause);
            tracker.ended(now, 0)
        };
        (0..times).map(crash).collect()
    }

    #[test]
    fn the_first_restart_is_immediate_and_later_ones_wait_longer() {
        let decisions = crash_every(Duration::from_secs(1), 7);
        let delays_ms: Vec<_> = decisions.iter().map(|d| d.delay.as_millis()).collect();
        assert_eq!(delays_ms, [0, 200, 400, 800, 1600, 60_000, 60_000]);
        assert_eq!(decisions[0].reason, "restart 1 of 5 in 10m");
        assert_eq!(decisions[5].reason, "crash loop: more than 5 restarts in 10m");
        assert!(decisions[5].crash_loop && !decisions[4].crash_loop);
    }

    #[test]
    fn rare_crashes_never_make_a_loop() {
        let decisions = crash_every(Duration::from_mins(5), 50);
        assert!(decisions.iter().all(|decision| !decision.crash_loop));
    }

    #[test]
    fn a_loop_is_over_when_the_window_has_passed() {
        let mut tracker = RestartTracker::default();
        (0..10).for_each(|i| drop(tracker.ended(Moment(i * 1000), 0)));
        assert!(tracker.in_crash_loop(Moment(10_000)));
        assert!(!tracker.in_crash_loop(Moment(10_000).plus(limits::RESTARTS_WINDOW)));
    }

    #[test]
    fn jitter_only_shortens_and_at_most_by_a_quarter() {
        for jitter in [0, 1, 249, 250, u64::MAX] {
            let delay = jittered(Duration::from_secs(4), jitter);
            assert!(
                delay <= Duration::from_secs(4)
                    && delay > Duration::from_secs(3) - Duration::from_millis(1)
            );
        }
    }
}
