//! Counters of others, such as the kernel's, as counters that begin with the agent and never go
//! back, whatever comes, goes and starts anew. Pure.

use std::collections::BTreeMap;

/// Counters of one group that are remembered.
pub const COUNTERS_MAX: usize = 1024;

/// What it means that a counter is lower than it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backwards {
    /// What counts was replaced by another that began at zero, or it went over its largest number.
    Restarted,
    /// Whoever counts is not exact, and makes up for it later.
    Inexact,
}

#[derive(Debug, Clone, Copy)]
struct Count {
    raw: u64,
    total: u64,
    round: u64,
}

/// Counters that are always looked at together.
#[derive(Debug, Clone)]
pub struct Counters<K> {
    backwards: Backwards,
    round: u64,
    known: BTreeMap<K, Count>,
    refused: u64,
}

impl<K: Ord> Counters<K> {
    /// None yet.
    #[must_use]
    pub fn new(backwards: Backwards) -> Self {
        Self { backwards, round: 0, known: BTreeMap::new(), refused: 0 }
    }

    /// Begins a look. What is not seen until the next one is gone, and counts from zero when it
    /// comes back.
    pub fn begin(&mut self) {
        self.round += 1;
    }

    /// What a counter has come to since the first look. What was there then counts from there,
    /// what came later from zero. `None`: there is no room for another counter.
    pub fn see(&mut self, key: K, raw: u64) -> Option<u64> {
        let round = self.round;
        if let Some(count) = self.known.get_mut(&key) {
            // Seen in the look before, or twice in this one.
            let there = count.round + 1 >= round;
            let more = match (there, raw.checked_sub(count.raw), self.backwards) {
                (true, Some(more), _) => more,
                (true, None, Backwards::Inexact) => 0,
                (true, None, Backwards::Restarted) | (false, ..) => raw,
            };
            // What is inexact has to pass its old value again before it counts.
            count.raw = match self.backwards {
                Backwards::Inexact if there => count.raw.max(raw),
                Backwards::Inexact | Backwards::Restarted => raw,
            };
            count.total = count.total.saturating_add(more);
            count.round = round;
            return Some(count.total);
        }
        if self.known.len() >= COUNTERS_MAX {
            self.known.retain(|_, count| count.round + 1 >= round);
        }
        if self.known.len() >= COUNTERS_MAX {
            self.refused = self.refused.saturating_add(1);
            return None;
        }
        let total = if round <= 1 { 0 } else { raw };
        self.known.insert(key, Count { raw, total, round });
        Some(total)
    }

    /// Another does what the counter is of, from zero on.
    pub fn restarted(&mut self, key: &K) {
        if let Some(count) = self.known.get_mut(key) {
            count.raw = 0;
        }
    }

    /// Forgets a counter for good.
    pub fn forget(&mut self, key: &K) {
        self.known.remove(key);
    }

    /// How often there was no room.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is seen of one counter, look by look (`None`: it is not there), and its totals.
    #[track_caller]
    fn check(backwards: Backwards, looks: &[Option<u64>], totals: &[u64]) {
        let mut counters = Counters::new(backwards);
        let mut found = Vec::new();
        for look in looks {
            counters.begin();
            found.extend(look.and_then(|raw| counters.see("x", raw)));
        }
        assert_eq!(found, totals, "{looks:?}");
    }

    #[test]
    fn what_was_there_counts_from_there_and_what_comes_from_zero() {
        use Backwards::{Inexact, Restarted};
        check(Restarted, &[Some(100), Some(100), Some(107)], &[0, 0, 7]);
        check(Restarted, &[None, Some(100), Some(107)], &[100, 107]);
        // A disk that is taken out and put in again, with more and with less.
        check(Restarted, &[Some(5), None, Some(9), Some(10)], &[0, 9, 10]);
        check(Restarted, &[Some(5), Some(3), Some(4)], &[0, 3, 4]);
        // 32 bits of milliseconds are 49 days.
        let wrapped = [Some(u64::from(u32::MAX) - 1), Some(2)];
        check(Restarted, &wrapped, &[0, 2]);
        // The time that CPUs wait for a disk goes back a little, and catches up.
        check(Inexact, &[Some(100), Some(98), Some(99), Some(103)], &[0, 0, 0, 3]);
    }

    #[test]
    fn a_process_that_is_started_again_goes_on_counting() {
        let mut counters = Counters::new(Backwards::Restarted);
        counters.begin();
        assert_eq!(counters.see("web.1.1", 50), Some(0));
        counters.begin();
        counters.restarted(&"web.1.1");
        assert_eq!(counters.see("web.1.1", 80), Some(80));
        counters.forget(&"web.1.1");
        assert_eq!(counters.see("web.1.1", 90), Some(90));
    }

    #[test]
    fn there_is_room_for_so_many_and_those_that_are_gone_make_way() {
        let mut counters = Counters::new(Backwards::Restarted);
        counters.begin();
        assert!((0..COUNTERS_MAX).all(|key| counters.see(key, 1).is_some()));
        assert_eq!(counters.see(COUNTERS_MAX, 1), None);
        assert_eq!(counters.refused(), 1);
        counters.begin();
        counters.begin();
        assert_eq!(counters.see(COUNTERS_MAX, 1), Some(1));
        assert_eq!(counters.known.len(), 1);
    }

    proptest! {
        #[test]
        fn totals_never_go_back(
            looks in prop::collection::vec(prop::option::of(any::<u64>()), 1..40), inexact: bool,
        ) {
            let backwards = if inexact { Backwards::Inexact } else { Backwards::Restarted };
            let mut counters = Counters::new(backwards);
            let mut before = 0;
            for raw in looks {
                counters.begin();
                let Some(total) = raw.and_then(|raw| counters.see((), raw)) else { continue };
                prop_assert!(total >= before);
                before = total;
            }
        }
    }
}
