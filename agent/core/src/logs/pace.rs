//! When a stream's pending lines are sent: soon when little is said, in full batches when much is.

use std::time::Duration;

use super::limits::BATCH_BYTES_MAX;
use crate::time::{Moment, ms};

/// How long a line waits for company at least, unless there is a full batch.
pub const WAIT_MIN: Duration = Duration::from_millis(200);
/// How long it waits at most.
pub const WAIT_MAX: Duration = Duration::from_secs(5);
/// As much is worth a request at once. A little less than a batch: some of it is the events' own
/// overhead.
pub const WORTH_BYTES: u64 = BATCH_BYTES_MAX as u64 / 8 * 7;

/// The pace of one stream. A request costs the same whatever is in it, so a stream that says little
/// all the time is sent less often, and one that was silent is sent at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    wait: Duration,
    sent: Option<Moment>,
    /// Bytes a second, as seen between the last two requests.
    rate: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { wait: WAIT_MIN, sent: None, rate: 0 }
    }
}

impl Pace {
    /// When what has been pending since `since` is due.
    #[must_use]
    pub fn due(&self, since: Moment, pending_bytes: u64) -> Moment {
        if pending_bytes >= WORTH_BYTES {
            return since;
        }
        // What did not fit into the last batch waits for company too.
        let since = self.sent.map_or(since, |sent| since.max(sent));
        let missing = WORTH_BYTES - pending_bytes;
        // Looked at when a batch should have come together, not only when the wait is over.
        let full = match missing.saturating_mul(1000).checked_div(self.rate) {
            Some(after_ms) => Duration::from_millis(after_ms),
            None => WAIT_MAX,
        };
        since.plus(self.wait.min(full.max(WAIT_MIN)))
    }

    /// A request with `bytes` of lines was made up.
    pub fn sent(&mut self, now: Moment, bytes: u64) {
        let pause = self.sent.map(|before| now.since(before));
        self.sent = Some(now);
        let Some(pause) = pause.filter(|pause| *pause < 2 * WAIT_MAX) else {
            self.wait = WAIT_MIN;
            self.rate = 0;
            return;
        };
        self.rate = bytes.saturating_mul(1000) / ms(pause).max(1);
        if bytes < WORTH_BYTES {
            self.wait = (self.wait * 2).min(WAIT_MAX);
        }
    }
}

const _: () = assert!(WAIT_MIN.as_millis() < WAIT_MAX.as_millis());

#[cfg(test)]
mod tests {
    use super::*;

    /// A source that writes `rate` bytes a second for a minute: requests and the longest wait.
    fn minute(rate: u64) -> (u64, Duration) {
        let mut pace = Pace::default();
        let (mut requests, mut longest) = (0, Duration::ZERO);
        let mut since = Moment(0);
        while since < Moment(60_000) {
            let mut now = pace.due(since, 0);
            // As a shipper does: look at what there is, wait again when it is not due.
            loop {
                let pending = rate * ms(now.since(since)) / 1000;
                let due = pace.due(since, pending);
                if due <= now {
                    break;
                }
                now = due;
            }
            longest = longest.max(now.since(since));
            pace.sent(now, rate * ms(now.since(since)) / 1000);
            requests += 1;
            since = now;
        }
        (requests, longest)
    }

    #[test]
    fn a_trickle_is_twelve_requests_a_minute_and_a_stream_is_full_ones() {
        let (requests, longest) = minute(100);
        assert!((12..=18).contains(&requests), "{requests}");
        assert_eq!(longest, WAIT_MAX);
        let (requests, longest) = minute(1_000_000);
        assert!((60..=130).contains(&requests), "{requests}");
        assert!(longest < Duration::from_secs(1), "{longest:?}");
        let (_, longest) = minute(20_000_000);
        assert_eq!(longest, WAIT_MIN, "nothing is looked at more often");
    }

    #[test]
    fn who_breaks_a_silence_is_heard_at_once() {
        let mut pace = Pace::default();
        for at in 0..20 {
            pace.sent(Moment(at * 1000), 100);
        }
        assert_eq!(pace.due(Moment(20_000), 100), Moment(25_000));
        pace.sent(Moment(60_000), 100);
        assert_eq!(pace.due(Moment(61_000), 100), Moment(61_200));
        assert_eq!(pace.due(Moment(61_000), WORTH_BYTES), Moment(61_000));
    }
}
