//! A time zone, as the offsets it has had and will have. The core knows no zones by itself: the
//! shell reads one from its tz database and hands it over as data, so that a schedule means the
//! same on every host and in every test.

use super::civil::{DAY_S, DateTime};

/// Transitions of one zone: two a year for five centuries.
pub const TRANSITIONS_MAX: usize = 1024;
/// No zone has ever been further from UTC, in seconds: RFC 9636 allows 25 to 26 h.
pub const OFFSET_S_MAX: i32 = 26 * 3600;

/// A change of the offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// From when on, in seconds since 1970-01-01 UTC.
    pub at_s: i64,
    /// What the clocks are ahead of UTC from then on, in seconds.
    pub offset_s: i32,
}

/// A time zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    name: String,
    first_offset_s: i32,
    transitions: Vec<Transition>,
}

/// Offsets that are no zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ZoneError {
    /// More changes than a zone may have.
    #[error("zone {name} has {count} transitions, more than {TRANSITIONS_MAX}")]
    Many {
        /// The zone.
        name: String,
        /// How many.
        count: usize,
    },
    /// A change that is not after the one before.
    #[error("transitions of zone {name} are out of order at {at_s}")]
    Order {
        /// The zone.
        name: String,
        /// The change, in seconds since 1970-01-01 UTC.
        at_s: i64,
    },
    /// An offset that no zone has.
    #[error("zone {name} has the offset {offset_s} s, beyond {OFFSET_S_MAX} s")]
    Offset {
        /// The zone.
        name: String,
        /// The offset.
        offset_s: i32,
    },
}

/// What a time on the wall is in a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occurs {
    /// It exists; of two moments, the first. Seconds since 1970-01-01 UTC.
    At(i64),
    /// The clocks skip it.
    Gap {
        /// The first moment after the gap, in seconds since 1970-01-01 UTC.
        after_s: i64,
        /// The first time on the wall that is skipped, in seconds as of [`DateTime::seconds`].
        from_s: i64,
        /// The first one that is not skipped again.
        to_s: i64,
    },
}

impl Zone {
    /// UTC.
    #[must_use]
    pub fn utc() -> Self {
        Self { name: "UTC".to_owned(), first_offset_s: 0, transitions: Vec::new() }
    }

    /// The zone with `first_offset_s` up to the first of `transitions`, and the last one's offset
    /// for ever after: the shell hands over what is to come as far as its database says, which for
    /// rules without an end should be the year 2100.
    pub fn new(
        name: &str,
        first_offset_s: i32,
        transitions: Vec<Transition>,
    ) -> Result<Self, ZoneError> {
        let name = name.to_owned();
        if transitions.len() > TRANSITIONS_MAX {
            return Err(ZoneError::Many { name, count: transitions.len() });
        }
        if let Some(pair) = transitions.windows(2).find(|pair| pair[0].at_s >= pair[1].at_s) {
            return Err(ZoneError::Order { name, at_s: pair[1].at_s });
        }
        let mut offsets =
            transitions.iter().map(|transition| transition.offset_s).chain([first_offset_s]);
        if let Some(offset_s) = offsets.find(|offset_s| offset_s.abs() > OFFSET_S_MAX) {
            return Err(ZoneError::Offset { name, offset_s });
        }
        Ok(Self { name, first_offset_s, transitions })
    }

    /// Its name, such as `Europe/Berlin`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the clocks are ahead of UTC at a moment, in seconds.
    #[must_use]
    pub fn offset_s(&self, at_s: i64) -> i32 {
        self.offset_of(self.transitions.partition_point(|transition| transition.at_s <= at_s))
    }

    /// What the clock on the wall shows at a moment, seconds cut off.
    #[must_use]
    pub fn local(&self, at_s: i64) -> DateTime {
        DateTime::from_seconds(at_s.saturating_add(i64::from(self.offset_s(at_s))))
    }

    /// When the clock on the wall shows `local`.
    #[must_use]
    pub fn resolve(&self, local: DateTime) -> Occurs {
        let local_s = local.seconds();
        let reach = i64::from(OFFSET_S_MAX) + DAY_S;
        // Periods that end before this are over whatever their offset is.
        let mut period =
            self.transitions.partition_point(|transition| transition.at_s < local_s - reach);
        // The first period whose last local time is later: of two moments, that is the first.
        while let Some(end) = self.transitions.get(period)
            && local_s >= end.at_s + i64::from(self.offset_of(period))
        {
            period += 1;
        }
        let offset_s = i64::from(self.offset_of(period));
        let start = period.checked_sub(1).and_then(|before| self.transitions.get(before));
        match start {
            Some(start) if local_s < start.at_s + offset_s => Occurs::Gap {
                after_s: start.at_s,
                from_s: start.at_s + i64::from(self.offset_of(period - 1)),
                to_s: start.at_s + offset_s,
            },
            Some(_) | None => Occurs::At(local_s - offset_s),
        }
    }

    /// The offset of the period before the transition of this index.
    fn offset_of(&self, period: usize) -> i32 {
        let begins = period.checked_sub(1).and_then(|before| self.transitions.get(before));
        begins.map_or(self.first_offset_s, |transition| transition.offset_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clocks go from 02:00 to 03:00 at 1,000,000 s and back a million seconds later.
    fn summer() -> Zone {
        let spring = Transition { at_s: 1_000_800, offset_s: 7200 };
        let autumn = Transition { at_s: 2_000_800, offset_s: 3600 };
        Zone::new("Test/Summer", 3600, vec![spring, autumn]).unwrap()
    }

    fn wall(seconds: i64) -> DateTime {
        DateTime::from_seconds(seconds)
    }

    #[test]
    fn what_is_skipped_is_a_gap_and_what_comes_twice_is_the_first() {
        let zone = summer();
        assert_eq!(zone.resolve(wall(1_004_340)), Occurs::At(1_000_740));
        let gap = Occurs::Gap { after_s: 1_000_800, from_s: 1_004_400, to_s: 1_008_000 };
        assert_eq!(zone.resolve(wall(1_004_400)), gap);
        assert_eq!(zone.resolve(wall(1_007_940)), gap);
        assert_eq!(zone.resolve(wall(1_008_000)), Occurs::At(1_000_800));
        // Both 2,000,400 + 7200 and 2,004,000 + 3600 are this time.
        assert_eq!(zone.resolve(wall(2_007_600)), Occurs::At(2_000_400));
        assert_eq!(zone.resolve(wall(2_008_020)), Occurs::At(2_004_420));
        assert_eq!(zone.local(2_000_400), wall(2_007_600));
    }

    #[test]
    fn offsets_that_are_no_zone_are_refused() {
        let at = |at_s, offset_s| Transition { at_s, offset_s };
        for (first, transitions) in [
            (0, vec![at(5, 0), at(5, 1)]),
            (0, vec![at(5, 100_000)]),
            (-100_000, vec![]),
            (0, (0..=1024).map(|n| at(n, 0)).collect()),
        ] {
            assert!(Zone::new("x", first, transitions).is_err());
        }
    }
}
