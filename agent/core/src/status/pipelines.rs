//! What leaves the host all the time, such as its logs: how much, and whether it arrives.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::{Wall, ms};

/// A pipeline that says why it waits, and whose oldest line waits longer, needs a person: what
/// passes by itself (throttling, a restart, credentials that are renewed) has passed by then.
pub const STUCK_AFTER: Duration = Duration::from_mins(15);

/// One way out of the host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PipelineStatus {
    /// Such as `logs`.
    pub name: String,
    /// Events accepted by the other side in a second.
    pub sent_per_second: u64,
    /// Events accepted since the agent started.
    pub sent: u64,
    /// Bytes of them.
    #[serde(default)]
    pub sent_bytes: u64,
    /// Bytes on disk that are not accepted yet.
    pub backlog_bytes: u64,
    /// How long ago the oldest of them was written; `None`: there are none.
    pub oldest_ms: Option<u64>,
    /// When the other side last accepted something.
    pub last_ok: Option<Wall>,
    /// Events given up on purpose since the agent started: by a tier's own rules, or for room.
    pub dropped: u64,
    /// Events that the other side refused since the agent started; they are kept.
    pub rejected: u64,
    /// Why it does not get on; `None`: it does.
    pub reason: Option<String>,
}

impl PipelineStatus {
    /// Whether a person is needed.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        self.reason.is_some() && self.oldest_ms.is_some_and(|oldest| oldest > ms(STUCK_AFTER))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_old_and_has_a_reason_is_stuck() {
        let stuck = |oldest_ms, reason: Option<&str>| {
            let reason = reason.map(str::to_owned);
            PipelineStatus { oldest_ms, reason, ..PipelineStatus::default() }.is_stuck()
        };
        assert!(stuck(Some(900_001), Some("throttled")));
        assert!(!stuck(Some(900_000), Some("throttled")));
        assert!(!stuck(Some(900_001), None), "it gets on, and catches up");
        assert!(!stuck(None, Some("throttled")));
    }
}
