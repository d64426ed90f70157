//! `--since`: an age or a point in time, as a person types it.

use std::str::FromStr;

use groundcrew_core::time::{Wall, ms};
use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use crate::config::units;

/// From when on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// This many milliseconds ago.
    AgeMs(u64),
    /// At this time.
    At(Wall),
}

/// What was typed is neither an age nor a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("write an age such as 10m or 1h30m, or a time in UTC such as '2026-08-20 09:14'")]
pub struct SinceError;

impl Since {
    /// The point in time, when it is `now`.
    #[must_use]
    pub fn from(self, now: Wall) -> Wall {
        match self {
            Self::AgeMs(age) => Wall(now.0.saturating_sub(i64::try_from(age).unwrap_or(i64::MAX))),
            Self::At(at) => at,
        }
    }
}

impl FromStr for Since {
    type Err = SinceError;

    fn from_str(text: &str) -> Result<Self, SinceError> {
        if let Ok(age) = units::duration(text) {
            return Ok(Self::AgeMs(ms(age)));
        }
        let utc = |time: DateTime| time.to_zoned(TimeZone::UTC).map(|time| time.timestamp());
        // In this order: a full timestamp carries its own zone, which must not be dropped.
        (text.parse::<Timestamp>())
            .or_else(|_| text.parse::<DateTime>().and_then(utc))
            .or_else(|_| text.parse::<Date>().and_then(|date| utc(date.at(0, 0, 0, 0))))
            .map(|time| Self::At(Wall(time.as_millisecond())))
            .map_err(|_| SinceError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_times() {
        let now = Wall(1_787_217_247_000); // 2026-08-20 09:14:07 UTC
        let check = |text: &str, ms: i64| {
            assert_eq!(text.parse::<Since>().unwrap().from(now), Wall(ms), "{text}");
        };
        check("10m", now.0 - 600_000);
        check("2026-08-20 09:14:07", now.0);
        check("2026-08-20 09:14", now.0 - 7000);
        check("2026-08-20T09:14:07Z", now.0);
        check("2026-08-20T11:14:07+02:00", now.0);
        check("2026-08-20", now.0 - (9 * 3600 + 14 * 60 + 7) * 1000);
        for text in ["", "yesterday", "10", "10 m", "-5m"] {
            assert_eq!(text.parse::<Since>(), Err(SinceError), "{text}");
        }
    }
}
