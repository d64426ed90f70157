//! What the shipper counts, for `status`.

use std::time::Duration;

use groundcrew_core::time::{Moment, Wall, ms};

/// What is counted, since the agent's start.
#[derive(Debug, Clone, Default)]
pub struct Shipped {
    /// Events and bytes of lines that were accepted.
    pub sent_events: u64,
    /// Bytes of them.
    pub sent_bytes: u64,
    /// Bytes that were not accepted yet.
    pub backlog_bytes: u64,
    /// Since when the oldest of them waits.
    pub oldest: Option<Moment>,
    /// When something was last accepted.
    pub last_ok: Option<Wall>,
    /// Events that rules left out.
    pub dropped: u64,
    /// Pieces of lines of the embedded metric format that were too long for one event: no metrics
    /// are made of them.
    pub emf_cut: u64,
    /// Events that the service does not take.
    pub rejected: u64,
    /// Why nothing is accepted.
    pub reason: Option<String>,
    /// Two moments, at least [`SAMPLE_EVERY`] apart, and events sent by then.
    samples: [(Moment, u64); 2],
}

/// Between two samples of the rate.
const SAMPLE_EVERY: Duration = Duration::from_secs(5);

impl Shipped {
    pub(super) fn observe(&mut self, now: Moment) {
        if now.since(self.samples[1].0) >= SAMPLE_EVERY {
            self.samples = [self.samples[1], (now, self.sent_events)];
        }
    }

    /// Events a second, lately; 0 when nothing was looked at for `recent`.
    #[must_use]
    pub fn rate(&self, now: Moment, recent: Duration) -> u64 {
        let [(_, _), (at, sent)] = self.samples;
        let (since, before) =
            if now.since(at) < SAMPLE_EVERY / 5 { self.samples[0] } else { (at, sent) };
        let passed = ms(now.since(since));
        if passed == 0 || now.since(at) > 2 * recent {
            return 0;
        }
        self.sent_events.saturating_sub(before) * 1000 / passed
    }
}
