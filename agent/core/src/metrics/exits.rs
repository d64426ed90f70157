//! How processes of each tier ended, counted. Pure.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{Point, catalog};
use crate::types::{Exit, TierName};

/// Pairs of a tier and a reason that are told apart: 20 tiers with more reasons than tiers have.
const PAIRS_MAX: usize = 256;

/// The counters, since the agent began.
#[derive(Debug, Clone, Default)]
pub struct Exits {
    counts: BTreeMap<(TierName, Cow<'static, str>), u64>,
    refused: u64,
}

impl Exits {
    /// Counts how a process of a tier ended.
    pub fn count(&mut self, tier: &TierName, exit: &Exit) {
        let key = (tier.clone(), reason(exit));
        if self.counts.len() >= PAIRS_MAX && !self.counts.contains_key(&key) {
            self.refused = self.refused.saturating_add(1);
            return;
        }
        let count = self.counts.entry(key).or_default();
        *count = count.saturating_add(1);
    }

    /// How many were not counted because there was no room for another pair.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// What was counted.
    pub fn points(&self) -> impl Iterator<Item = Point> {
        self.counts.iter().map(|((tier, reason), &count)| {
            Point::new(&catalog::PROCESS_EXITS, [tier.as_str(), reason], count as f64)
        })
    }
}

/// An exit in a word: `success`, `error`, a signal's name, `memory_limit`, `unknown`.
fn reason(exit: &Exit) -> Cow<'static, str> {
    match exit {
        Exit::Code(0) => "success".into(),
        Exit::Code(_) => "error".into(),
        Exit::Signal(name) => name.clone().into(),
        Exit::MemoryLimit(_) => "memory_limit".into(),
        Exit::Unknown => "unknown".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Value;

    #[test]
    fn exits_are_counted_by_reason_and_there_is_room_for_so_many() {
        let mut exits = Exits::default();
        let tier: TierName = "web".parse().unwrap();
        for exit in [
            Exit::Code(0),
            Exit::Code(1),
            Exit::Code(139),
            Exit::Signal("SIGSEGV".to_owned()),
            Exit::MemoryLimit(Some(1)),
            Exit::Unknown,
        ] {
            exits.count(&tier, &exit);
        }
        let found = exits.points().map(|point| (point.labels[1].1.clone(), point.value));
        let found: Vec<_> = found.collect();
        let expected = [
            ("SIGSEGV", 1.0),
            ("error", 2.0),
            ("memory_limit", 1.0),
            ("success", 1.0),
            ("unknown", 1.0),
        ];
        let expected = expected.map(|(reason, count)| (reason.to_owned(), Value::Number(count)));
        assert_eq!(found, expected);
        for number in 0..2 * PAIRS_MAX {
            exits.count(&tier, &Exit::Signal(format!("signal {number}")));
        }
        assert_eq!(exits.points().count(), PAIRS_MAX);
        assert_eq!(exits.refused(), (PAIRS_MAX + 5) as u64);
        exits.count(&tier, &Exit::Code(0));
        assert!(exits.points().any(|point| point.value == Value::Number(2.0)));
    }
}
