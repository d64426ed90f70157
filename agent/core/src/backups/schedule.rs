//! When a job is due: a schedule as in a crontab, or an interval. Nominal times only; what the
//! clock shows comes in as an argument.
//!
//! Five fields, minute to day of week, with `*`, numbers, ranges, lists, steps and English names.
//! As in crontab(5), a day matches if either of two restricted day fields does. The day of the
//! month may be `last`; `31` means months that have 31 days. `every 6h` counts from 1970-01-01
//! UTC, not from the last run, so that all instances agree.

use std::fmt;
use std::str::FromStr;

use super::civil::{DAY_MIN, DAY_S, Date, DateTime};
use super::limits::{SCHEDULE_DAYS_MAX, SCHEDULE_EVERY_MAX, SCHEDULE_EVERY_MIN};
use super::slot::Slot;
use super::zone::{Occurs, Zone};

/// When a job is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    text: String,
    rule: Rule,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    Cron(Cron),
    /// Minutes.
    Every(u16),
}

/// The five fields.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cron {
    /// Minutes of the day, in order.
    times: Vec<u16>,
    /// Bits of the days of a month.
    days: u64,
    /// Whether the last day of a month matches.
    last: bool,
    /// Bits of the months.
    months: u64,
    /// Bits of the days of a week, Sunday first.
    weekdays: u64,
    /// Whether the field of the days of a month begins with `*`.
    any_day: bool,
    /// Whether that of the days of a week does.
    any_weekday: bool,
}

/// A text that is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Not five fields.
    #[error(
        "has {count} fields; a schedule has five: minute, hour, day of month, month, day of week"
    )]
    Fields {
        /// How many it has.
        count: usize,
    },
    /// `@daily` and its like.
    #[error("{word} is not supported; write the five fields, such as \"20 0 * * *\"")]
    Nickname {
        /// The word.
        word: String,
    },
    /// What other schedulers know.
    #[error("{field}: {item:?} is not supported; {instead}")]
    Unsupported {
        /// The field.
        field: &'static str,
        /// What it says.
        item: String,
        /// What to write.
        instead: &'static str,
    },
    /// Neither a number nor a name of the field.
    #[error("{field}: {item:?} is not a value from {low} to {high}")]
    Value {
        /// The field.
        field: &'static str,
        /// What it says.
        item: String,
        /// The least value.
        low: u8,
        /// The greatest.
        high: u8,
    },
    /// A range that ends before it begins.
    #[error("{field}: the range {item:?} ends before it begins")]
    Range {
        /// The field.
        field: &'static str,
        /// What it says.
        item: String,
    },
    /// A step of nothing, or of something else than a range.
    #[error("{field}: {item:?} is no step; write such as */15 or 10-50/10")]
    Step {
        /// The field.
        field: &'static str,
        /// What it says.
        item: String,
    },
    /// An interval that is none.
    #[error("{item:?} is no interval; write such as \"every 6h\" or \"every 90m\"")]
    Interval {
        /// What it says.
        item: String,
    },
    /// More often than a backup can be made, or so seldom that it does not divide time.
    #[error(
        "is due every {minutes} minutes; that must be from {SCHEDULE_EVERY_MIN} to \
         {SCHEDULE_EVERY_MAX}"
    )]
    Often {
        /// The shortest time between two slots.
        minutes: u32,
    },
    /// No date matches.
    #[error("is never due: no such date exists")]
    Never,
}

struct Field {
    name: &'static str,
    low: u8,
    high: u8,
    names: &'static [&'static str],
}

const MINUTE: Field = Field { name: "minute", low: 0, high: 59, names: &[] };
const HOUR: Field = Field { name: "hour", low: 0, high: 23, names: &[] };
const DAY: Field = Field { name: "day of month", low: 1, high: 31, names: &[] };
const MONTH: Field = Field {
    name: "month",
    low: 1,
    high: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
/// 7 is Sunday, too.
const WEEKDAY: Field = Field {
    name: "day of week",
    low: 0,
    high: 7,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
};

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let text = text.trim();
        let rule = if text.starts_with("every ") { every(text)? } else { Rule::Cron(cron(text)?) };
        Ok(Self { text: text.to_owned(), rule })
    }
}

fn every(text: &str) -> Result<Rule, ScheduleError> {
    let refuse = || ScheduleError::Interval { item: short(text) };
    let span = text.trim_start_matches("every ").trim();
    let (number, unit_min) = match (span.strip_suffix('h'), span.strip_suffix('m')) {
        (Some(hours), _) => (hours, 60),
        (None, Some(minutes)) => (minutes, 1),
        (None, None) => return Err(refuse()),
    };
    let number: u16 = number.parse().map_err(|_| refuse())?;
    let minutes = u32::from(number) * unit_min;
    let fits = (u32::from(SCHEDULE_EVERY_MIN)..=u32::from(SCHEDULE_EVERY_MAX)).contains(&minutes);
    match u16::try_from(minutes) {
        Ok(minutes) if fits => Ok(Rule::Every(minutes)),
        Ok(_) | Err(_) => Err(ScheduleError::Often { minutes }),
    }
}

fn cron(text: &str) -> Result<Cron, ScheduleError> {
    if text.starts_with('@') {
        return Err(ScheduleError::Nickname { word: short(text) });
    }
    let fields: Vec<_> = text.split_whitespace().collect();
    let &[minute, hour, day, month, weekday] = fields.as_slice() else {
        return Err(ScheduleError::Fields { count: fields.len() });
    };
    let (minutes, hours) = (bits(&MINUTE, minute)?, bits(&HOUR, hour)?);
    let (last, numbered): (Vec<_>, Vec<_>) = day.split(',').partition(|item| *item == "last");
    let days = if numbered.is_empty() { 0 } else { bits(&DAY, &numbered.join(","))? };
    let mut weekdays = bits(&WEEKDAY, weekday)?;
    weekdays |= weekdays >> 7 & 1;
    let times = (0..DAY_MIN).filter(|at| minutes >> (at % 60) & hours >> (at / 60) & 1 == 1);
    let cron = Cron {
        times: times.collect(),
        days,
        last: !last.is_empty(),
        months: bits(&MONTH, month)?,
        weekdays,
        any_day: day.starts_with('*'),
        any_weekday: weekday.starts_with('*'),
    };
    let closest = cron.closest_min();
    if closest < u32::from(SCHEDULE_EVERY_MIN) {
        return Err(ScheduleError::Often { minutes: closest });
    }
    // Every date of the calendar comes within these years, February 29 over a skipped one too.
    let first = Date { year: 2000, month: 1, day: 1 }.days();
    let ever = (first..first + SCHEDULE_DAYS_MAX).any(|day| cron.matches(Date::from_days(day)));
    if ever { Ok(cron) } else { Err(ScheduleError::Never) }
}

/// The values of one field as bits.
fn bits(field: &Field, text: &str) -> Result<u64, ScheduleError> {
    let mut bits = 0;
    for item in text.split(',') {
        supported(field, item)?;
        let step_error = || ScheduleError::Step { field: field.name, item: short(item) };
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (item, None),
        };
        let (low, high) = match range.split_once('-') {
            _ if range == "*" => (field.low, field.high),
            Some((low, high)) => (value(field, low)?, value(field, high)?),
            None if step.is_some() => return Err(step_error()),
            None => (value(field, range)?, value(field, range)?),
        };
        if low > high {
            return Err(ScheduleError::Range { field: field.name, item: short(item) });
        }
        let step = match step {
            Some(step) => step.parse::<u8>().map_err(|_| step_error())?,
            None => 1,
        };
        if step == 0 {
            return Err(step_error());
        }
        bits |= (low..=high).step_by(usize::from(step)).fold(0, |bits, at| bits | 1 << at);
    }
    Ok(bits)
}

/// What other schedulers write, with what to write here.
fn supported(field: &Field, item: &str) -> Result<(), ScheduleError> {
    let refuse =
        |instead| Err(ScheduleError::Unsupported { field: field.name, item: short(item), instead });
    let upper = item.to_ascii_uppercase();
    if item.contains('?') {
        refuse("write *")
    } else if item.contains('#') {
        refuse("write the days of the month that it may fall on, such as 1-7, or a day of week")
    } else if field.name == DAY.name && (upper.ends_with('W') || upper.starts_with('L')) {
        refuse("write last, or the days as numbers")
    } else if field.name == WEEKDAY.name && upper.ends_with('L') {
        refuse("write a day of week, or last as the day of the month")
    } else {
        Ok(())
    }
}

fn value(field: &Field, text: &str) -> Result<u8, ScheduleError> {
    let lower = text.to_ascii_lowercase();
    let named = field.names.iter().position(|name| *name == lower);
    let named = named.and_then(|at| u8::try_from(at).ok()).map(|at| at + field.low);
    let number = || text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?;
    named.or_else(number).filter(|value| (field.low..=field.high).contains(value)).ok_or_else(
        || ScheduleError::Value {
            field: field.name,
            item: short(text),
            low: field.low,
            high: field.high,
        },
    )
}

/// What a person wrote, cut to what a line can hold.
fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

impl Cron {
    fn matches(&self, date: Date) -> bool {
        let day = self.days >> date.day & 1 == 1 || (self.last && date.is_last_of_month());
        let weekday = self.weekdays >> date.weekday() & 1 == 1;
        let days = if self.any_day || self.any_weekday { day && weekday } else { day || weekday };
        days && self.months >> date.month & 1 == 1
    }

    /// The least time between two slots, over midnight too.
    fn closest_min(&self) -> u32 {
        let next = self.times.iter().skip(1).copied().map(u32::from);
        let first = self.times.first().map(|first| u32::from(*first) + u32::from(DAY_MIN));
        let pairs = self.times.iter().zip(next.chain(first));
        pairs.map(|(at, next)| next - u32::from(*at)).min().unwrap_or(u32::from(DAY_MIN))
    }
}

impl Schedule {
    /// Whether it is due once a day at most, so that a date is enough to name a slot.
    #[must_use]
    pub fn is_daily(&self) -> bool {
        match &self.rule {
            Rule::Cron(cron) => cron.times.len() == 1,
            Rule::Every(minutes) => *minutes >= DAY_MIN,
        }
    }

    /// The slots after `after_s` and not after `until_s`, newest first, `max` at most. Seconds
    /// since 1970-01-01 UTC.
    #[must_use]
    pub fn slots(&self, zone: &Zone, after_s: i64, until_s: i64, max: usize) -> Vec<Slot> {
        let fits = |slot: &Slot| after_s < slot.at_s && slot.at_s <= until_s;
        match &self.rule {
            Rule::Every(minutes) => {
                let every_s = i64::from(*minutes) * 60;
                let newest = until_s.div_euclid(every_s);
                let slots = (0..).map(|back| self.interval_slot(newest - back, every_s));
                slots.take_while(fits).take(max).collect()
            }
            Rule::Cron(cron) => {
                // A slot that falls into a gap is due on the next day at the latest.
                let newest = zone.local(until_s).date.days() + 1;
                let oldest = (zone.local(after_s).date.days() - 2)
                    .max(newest.saturating_sub(SCHEDULE_DAYS_MAX));
                let days = (oldest..=newest).rev().map(Date::from_days);
                let slots = days.filter(|date| cron.matches(*date)).flat_map(|date| {
                    cron.times.iter().rev().filter_map(move |at| self.slot(zone, date, *at))
                });
                slots.filter(fits).take(max).collect()
            }
        }
    }

    /// The first slot after a moment.
    #[must_use]
    pub fn next(&self, zone: &Zone, after_s: i64) -> Option<Slot> {
        match &self.rule {
            Rule::Every(minutes) => {
                let every_s = i64::from(*minutes) * 60;
                Some(self.interval_slot(after_s.div_euclid(every_s) + 1, every_s))
            }
            Rule::Cron(cron) => {
                let first = zone.local(after_s).date.days() - 2;
                let days = (first..first + SCHEDULE_DAYS_MAX).map(Date::from_days);
                let mut slots = days.filter(|date| cron.matches(*date)).flat_map(|date| {
                    cron.times.iter().filter_map(move |at| self.slot(zone, date, *at))
                });
                slots.find(|slot| slot.at_s > after_s)
            }
        }
    }

    /// The newest slot that is not after a moment; `None`: there is none within reach.
    #[must_use]
    pub fn newest(&self, zone: &Zone, until_s: i64) -> Option<Slot> {
        let after_s = until_s.saturating_sub(SCHEDULE_DAYS_MAX * DAY_S);
        self.slots(zone, after_s, until_s, 1).first().copied()
    }

    /// The newest slot before `slot`; `None`: there is none within reach.
    #[must_use]
    pub fn before(&self, zone: &Zone, slot: Slot) -> Option<Slot> {
        let after_s = slot.at_s.saturating_sub(SCHEDULE_DAYS_MAX * DAY_S);
        let slots = self.slots(zone, after_s, slot.at_s, 64);
        slots.into_iter().find(|other| other.nominal < slot.nominal)
    }

    fn interval_slot(&self, number: i64, every_s: i64) -> Slot {
        let at_s = number.saturating_mul(every_s);
        Slot { nominal: DateTime::from_seconds(at_s), at_s, daily: self.is_daily() }
    }

    /// `None`: the zone has no such date at all.
    fn slot(&self, zone: &Zone, date: Date, minute: u16) -> Option<Slot> {
        let nominal = DateTime { date, minute };
        let at_s = match zone.resolve(nominal) {
            Occurs::At(at_s) => at_s,
            // Who crosses the date line skips a day, and there is no night to back up.
            Occurs::Gap { from_s, to_s, .. }
                if from_s <= date.days() * DAY_S && (date.days() + 1) * DAY_S <= to_s =>
            {
                return None;
            }
            Occurs::Gap { after_s, .. } => after_s,
        };
        Some(Slot { nominal, at_s, daily: self.is_daily() })
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

#[cfg(test)]
mod tests;
