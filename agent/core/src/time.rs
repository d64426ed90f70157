//! The two clocks, as values. They come in with every event; the core never reads one.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Milliseconds since the host booted (`CLOCK_BOOTTIME`): never jumps, survives the agent, and is
/// what every deadline is written in.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Moment(pub u64);

impl Moment {
    /// The moment `after` from here; saturates instead of wrapping.
    #[must_use]
    pub fn plus(self, after: Duration) -> Self {
        Self(self.0.saturating_add(ms(after)))
    }

    /// How long ago `earlier` was; zero when it is still to come.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Milliseconds since 1970-01-01 UTC. May jump: for people and documents, never for deadlines.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Wall(pub i64);

/// When an event reached the core, by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// For deadlines.
    pub at: Moment,
    /// For people.
    pub wall: Wall,
}

/// A duration in whole milliseconds; saturates at half a billion years.
#[must_use]
pub fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A duration for people, short: `350ms`, `12s`, `4m12s`, `1d2h`. Two units at most, rounded down.
#[must_use]
pub fn text(duration: Duration) -> String {
    let all_ms = ms(duration);
    let all_s = all_ms / 1000;
    let (days, hours, minutes, seconds) =
        (all_s / 86_400, all_s / 3600 % 24, all_s / 60 % 60, all_s % 60);
    let two = |big: u64, big_unit: &str, small: u64, small_unit: &str| {
        if small == 0 {
            format!("{big}{big_unit}")
        } else {
            format!("{big}{big_unit}{small}{small_unit}")
        }
    };
    if all_ms < 1000 {
        format!("{all_ms}ms")
    } else if days > 0 {
        two(days, "d", hours, "h")
    } else if hours > 0 {
        two(hours, "h", minutes, "m")
    } else if minutes > 0 {
        two(minutes, "m", seconds, "s")
    } else if seconds < 10 && all_ms % 1000 >= 100 {
        format!("{seconds}.{}s", all_ms % 1000 / 100)
    } else {
        format!("{seconds}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_write_them() {
        for (duration_ms, expected) in [
            (0, "0ms"),
            (350, "350ms"),
            (1000, "1s"),
            (1250, "1.2s"),
            (12_345, "12s"),
            (252_000, "4m12s"),
            (3_600_000, "1h"),
            (93_600_000, "1d2h"),
        ] {
            assert_eq!(text(Duration::from_millis(duration_ms)), expected);
        }
    }

    #[test]
    fn moments_saturate() {
        assert_eq!(Moment(u64::MAX).plus(Duration::from_secs(1)), Moment(u64::MAX));
        assert_eq!(Moment(1).since(Moment(2)), Duration::ZERO);
    }
}
