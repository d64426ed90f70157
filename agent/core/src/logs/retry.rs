//! When a request that failed is made again. There is no count after which it is given up: lines
//! are kept until they are accepted, too old, or too much for the disk.

use std::time::Duration;

use crate::restart::jittered;
use crate::time::Moment;

/// Why a request was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Too many requests of the account and region.
    Throttled,
    /// There is no such group or stream.
    Missing,
    /// The credentials are missing, expired or wrong.
    Credentials,
    /// The credentials do not allow it, here.
    Denied,
    /// The signature is of another time: this host's clock or the service's is wrong.
    Clock,
    /// No answer, or none that can be read: it may have been accepted.
    Network,
    /// The service failed: it may have been accepted.
    Service,
    /// Something in it is wrong: the same again will not be accepted.
    Refused,
}

impl Failure {
    /// Whether other streams would fare the same.
    #[must_use]
    pub const fn is_general(self) -> bool {
        match self {
            Self::Throttled | Self::Credentials | Self::Clock | Self::Network | Self::Service => {
                true
            }
            Self::Missing | Self::Denied | Self::Refused => false,
        }
    }

    /// Pauses: the first, and the longest.
    const fn pauses(self) -> (Duration, Duration) {
        match self {
            // The quota is one of requests a second: soon there is room again.
            Self::Throttled => (Duration::from_millis(100), Duration::from_secs(10)),
            // Thousands of hosts that begin at once must not throttle each other.
            Self::Missing => (Duration::from_secs(1), Duration::from_mins(1)),
            Self::Denied => (Duration::from_secs(2), Duration::from_mins(1)),
            Self::Credentials | Self::Clock => (Duration::from_secs(1), Duration::from_secs(30)),
            Self::Network | Self::Service => (Duration::from_millis(200), Duration::from_secs(15)),
            Self::Refused => (Duration::ZERO, Duration::ZERO),
        }
    }
}

/// Failures in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retry {
    failures: u32,
    until: Moment,
}

impl Retry {
    /// Notes a failure. `random` is any number.
    pub fn failed(&mut self, now: Moment, failure: Failure, random: u64) {
        let (first, longest) = failure.pauses();
        let pause = first.saturating_mul(1 << self.failures.min(20)).min(longest);
        self.failures = self.failures.saturating_add(1);
        let pause = if failure == Failure::Missing {
            // A whole fleet may begin in the same second.
            pause / 100 * u32::try_from(random % 100).unwrap_or(0)
        } else {
            jittered(pause, random)
        };
        self.until = now.plus(pause);
    }

    /// Notes a success.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// When the next try may be made.
    #[must_use]
    pub fn until(&self) -> Option<Moment> {
        (self.failures > 0).then_some(self.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_end_with_a_success() {
        for failure in [Failure::Throttled, Failure::Network, Failure::Credentials] {
            let mut retry = Retry::default();
            assert_eq!(retry.until(), None);
            let (_, longest) = failure.pauses();
            let mut now = Moment(0);
            for random in 0..100_u64 {
                retry.failed(now, failure, random.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                let until = retry.until().unwrap();
                assert!(until > now && until <= now.plus(longest * 2), "{failure:?} {until:?}");
                now = until;
            }
            retry.succeeded();
            assert_eq!(retry.until(), None);
        }
    }
}
