//! Dates of the Gregorian calendar and times of day, without a zone. Never asks which day it is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Seconds of a day.
pub const DAY_S: i64 = 86_400;
/// Minutes of a day.
pub const DAY_MIN: u16 = 1440;

/// A day of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    /// The year.
    pub year: i32,
    /// The month, from 1.
    pub month: u8,
    /// The day of the month, from 1.
    pub day: u8,
}

/// A minute of a day, as the clock on the wall shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DateTime {
    /// The day.
    pub date: Date,
    /// Minutes since its midnight, below 1440.
    pub minute: u16,
}

/// A week by ISO 8601: it begins on Monday and belongs to the year that has its Thursday.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IsoWeek {
    /// The year it belongs to.
    pub year: i32,
    /// Its number, from 1.
    pub week: u8,
}

/// A text that is no minute of a day.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no date and time such as 2026-11-21T00:20")]
pub struct CivilError(String);

impl Date {
    /// The day so many days after 1970-01-01; far beyond any calendar it saturates.
    #[must_use]
    pub fn from_days(days: i64) -> Self {
        // Howard Hinnant's civil_from_days: years of his algorithm begin in March, so that the
        // leap day is the last one.
        let shifted = days.clamp(-1_000_000, 10_000_000) + 719_468;
        let era = shifted.div_euclid(146_097);
        let of_era = shifted.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Self { year: narrow(year), month: narrow(month), day: narrow(day) }
    }

    /// Days since 1970-01-01.
    #[must_use]
    pub fn days(self) -> i64 {
        let year = i64::from(self.year) - i64::from(self.month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let month_from_march = (i64::from(self.month) + 9) % 12;
        let of_year = (153 * month_from_march + 2) / 5 + i64::from(self.day) - 1;
        let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
        era * 146_097 + of_era - 719_468
    }

    /// The day of the week: Sunday is 0, as in a crontab.
    #[must_use]
    pub fn weekday(self) -> u8 {
        narrow((self.days() + 4).rem_euclid(7))
    }

    /// Whether it is the last day of its month.
    #[must_use]
    pub fn is_last_of_month(self) -> bool {
        Self::from_days(self.days() + 1).day == 1
    }

    /// The week it is in.
    #[must_use]
    pub fn iso_week(self) -> IsoWeek {
        let from_monday = (i64::from(self.weekday()) + 6) % 7;
        let thursday = Self::from_days(self.days() - from_monday + 3);
        let first = Self { year: thursday.year, month: 1, day: 1 };
        IsoWeek { year: thursday.year, week: narrow((thursday.days() - first.days()) / 7 + 1) }
    }
}

impl DateTime {
    /// The minute so many seconds after 1970-01-01T00:00, rounded down.
    #[must_use]
    pub fn from_seconds(seconds: i64) -> Self {
        let minute = narrow(seconds.rem_euclid(DAY_S) / 60);
        Self { date: Date::from_days(seconds.div_euclid(DAY_S)), minute }
    }

    /// Seconds since 1970-01-01T00:00 by the same clock.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.date.days() * DAY_S + i64::from(self.minute) * 60
    }
}

/// Arithmetic of the calendar has made the value small; whatever has not is a bug that shows.
fn narrow<T: TryFrom<i64> + Default>(value: i64) -> T {
    T::try_from(value).unwrap_or_default()
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl fmt::Display for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}T{:02}:{:02}", self.date, self.minute / 60, self.minute % 60)
    }
}

impl fmt::Display for IsoWeek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-W{:02}", self.year, self.week)
    }
}

impl FromStr for DateTime {
    type Err = CivilError;

    fn from_str(text: &str) -> Result<Self, CivilError> {
        let refuse = || CivilError(text.chars().take(40).collect());
        let (date, time) = text.split_once('T').ok_or_else(refuse)?;
        let numbers = |text: &str, separator| -> Option<Vec<u16>> {
            text.split(separator).map(digits).collect()
        };
        let (Some(date), Some(time)) = (numbers(date, '-'), numbers(time, ':')) else {
            return Err(refuse());
        };
        let (&[year, month, day], &[hour, minute]) = (date.as_slice(), time.as_slice()) else {
            return Err(refuse());
        };
        let small = |number: u16| u8::try_from(number).map_err(|_| refuse());
        let date = Date { year: i32::from(year), month: small(month)?, day: small(day)? };
        let exists = (1..=12).contains(&date.month) && Date::from_days(date.days()) == date;
        if !exists || hour > 23 || minute > 59 {
            return Err(refuse());
        }
        Ok(Self { date, minute: hour * 60 + minute })
    }
}

/// A number of digits only: `parse` alone would take a sign.
fn digits(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

impl Serialize for DateTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DateTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn date(year: i32, month: u8, day: u8) -> Date {
        Date { year, month, day }
    }

    #[test]
    fn weekdays_and_weeks_are_those_of_the_calendar() {
        for (day, weekday, week) in [
            (date(1970, 1, 1), 4, "1970-W01"),
            (date(2026, 11, 21), 6, "2026-W47"),
            (date(2026, 12, 31), 4, "2026-W53"),
            (date(2027, 1, 3), 0, "2026-W53"),
            (date(2027, 1, 4), 1, "2027-W01"),
            (date(2024, 12, 30), 1, "2025-W01"),
            (date(2000, 2, 29), 2, "2000-W09"),
        ] {
            assert_eq!((day.weekday(), day.iso_week().to_string().as_str()), (weekday, week));
        }
        assert!(date(2024, 2, 29).is_last_of_month() && !date(2024, 2, 28).is_last_of_month());
        assert!(date(2100, 2, 28).is_last_of_month());
    }

    #[test]
    fn texts_that_are_no_minute_are_refused() {
        let good = "2026-11-21T00:20";
        assert_eq!(good.parse::<DateTime>().unwrap().to_string(), good);
        for bad in [
            "",
            "2026-11-21",
            "2026-02-30T00:00",
            "2026-00-10T00:00",
            "2026-13-10T00:00",
            "2026-11-21T24:00",
            "2026-11-21T00:60",
            "2026-11-21T00:+1",
            "2026-11-21T00:20:00",
        ] {
            assert!(bad.parse::<DateTime>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn days_and_dates_are_the_same_thing(days in -200_000_i64..3_000_000) {
            let date = Date::from_days(days);
            prop_assert_eq!(date.days(), days);
            prop_assert!(Date::from_days(days + 1) > date);
        }

        #[test]
        fn seconds_and_minutes_are_the_same_thing(minutes in -10_000_000_i64..100_000_000) {
            let at = DateTime::from_seconds(minutes * 60);
            prop_assert_eq!(at.seconds(), minutes * 60);
            prop_assert_eq!(DateTime::from_seconds(minutes * 60 + 59), at);
        }
    }
}
