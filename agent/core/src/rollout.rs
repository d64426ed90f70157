//! One release replacing another on this host: fetch, start, probe, cutover.
//!
//! The trial that follows belongs to the release, not to the rollout: see the controller.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::limits;
use crate::restart::jittered;
use crate::time::{Moment, Now};
use crate::types::{Generation, Target};

/// Why there is a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The channel names another release.
    Release,
    /// The release that serves was found to be bad.
    Rollback,
    /// The same release anew: a person asked, the host's configuration changed, or nothing runs
    /// yet.
    Renewal,
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The release is put on disk.
    Fetching {
        /// The shell was asked and has not answered.
        asked: bool,
        /// The next try is not before this.
        not_before: Moment,
    },
    /// The generation before the one that serves has to go first.
    Queued,
    /// The new processes start and are probed.
    Starting,
    /// The new processes were told to accept.
    Cutover,
}

/// One release replacing another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollout {
    /// The release.
    pub target: Target,
    /// Why.
    pub kind: Kind,
    /// How far it has come.
    pub stage: Stage,
    /// When it began.
    pub began: Now,
    /// When it came to this stage.
    pub since: Now,
    /// The new generations.
    pub candidates: BTreeSet<Generation>,
    /// Failed fetches.
    pub fetches_failed: u32,
    /// The last failure, for status.
    pub reason: Option<String>,
}

impl Rollout {
    /// A rollout that begins with a fetch; on disk already, that costs nothing.
    #[must_use]
    pub fn new(target: Target, kind: Kind, now: Now) -> Self {
        Self {
            target,
            kind,
            stage: Stage::Fetching { asked: false, not_before: now.at },
            began: now,
            since: now,
            candidates: BTreeSet::new(),
            fetches_failed: 0,
            reason: None,
        }
    }

    /// Moves on to `stage`.
    pub fn enter(&mut self, stage: Stage, now: Now) {
        self.stage = stage;
        self.since = now;
    }

    /// The next moment at which it has something to do even without news.
    #[must_use]
    pub fn next_wake(&self) -> Option<Moment> {
        match self.stage {
            Stage::Fetching { asked: false, not_before } => Some(not_before),
            _ => None,
        }
    }
}

/// A rollout that failed and may work later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// What failed.
    pub target: Target,
    /// How often.
    pub failures: u32,
    /// Not before this.
    pub not_before: Moment,
    /// Why it failed last.
    pub reason: String,
}

/// The pause after `failures` failures in a row, at least one.
#[must_use]
pub fn retry_delay(failures: u32, jitter: u64) -> Duration {
    let factor = 1_u32 << failures.saturating_sub(1).min(16);
    let delay = limits::RETRY_DELAY_MIN.saturating_mul(factor).min(limits::RETRY_DELAY_MAX);
    jittered(delay, jitter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit() {
        let seconds: Vec<_> = (1..9).map(|n| retry_delay(n, 0).as_secs()).collect();
        assert_eq!(seconds, [5, 10, 20, 40, 80, 160, 300, 300]);
    }
}
