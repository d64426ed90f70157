//! What tiers have answered since the agent began, by release: counters that only grow, also when
//! processes end and others take their place.

use std::collections::BTreeMap;

use groundcrew_core::types::{TierName, Version};

/// Upper bounds of the latencies that are told apart, in seconds: 1.02 ms to 67 s, each twice the
/// one before. They are among those that processes report (64 µs times powers of two).
pub const LATENCY_BOUNDS_S: [f64; 17] = [
    0.001_024, 0.002_048, 0.004_096, 0.008_192, 0.016_384, 0.032_768, 0.065_536, 0.131_072,
    0.262_144, 0.524_288, 1.048_576, 2.097_152, 4.194_304, 8.388_608, 16.777_216, 33.554_432,
    67.108_864,
];
/// Releases of a tier that are remembered: older ones do not answer any more.
const RELEASES_MAX: usize = 8;

/// Answers of a process, or sums of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answered {
    /// By class of status: 1xx to 5xx.
    pub by_class: [u64; 5],
    /// By latency: up to each of [`LATENCY_BOUNDS_S`] and above the bound before; the last holds
    /// what is slower than all.
    pub by_latency: [u64; LATENCY_BOUNDS_S.len() + 1],
    /// Seconds of all together, as far as the latencies are known.
    pub seconds: f64,
}

impl Answered {
    /// Counts `count` answers that took `seconds` each at most.
    pub fn add_latency(&mut self, seconds: f64, count: u64) {
        // What comes from 64 µs and powers of two in floating point may be off in the last place.
        let within = |bound: &f64| seconds <= bound * 1.000_001;
        let bucket = LATENCY_BOUNDS_S.iter().position(within).unwrap_or(LATENCY_BOUNDS_S.len());
        self.by_latency[bucket] = self.by_latency[bucket].saturating_add(count);
        self.seconds += seconds * count as f64;
    }

    fn add(&mut self, other: &Self) {
        let pairs = self.by_class.iter_mut().zip(&other.by_class);
        for (sum, more) in pairs.chain(self.by_latency.iter_mut().zip(&other.by_latency)) {
            *sum = sum.saturating_add(*more);
        }
        self.seconds += other.seconds;
    }
}

/// The counters.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// By tier, then by release, the newest last.
    answered: BTreeMap<TierName, Vec<(Version, Answered)>>,
}

impl Totals {
    /// Counts what a process of a release answered.
    pub fn count(&mut self, tier: &TierName, release: &Version, answered: &Answered) {
        let releases = self.answered.entry(tier.clone()).or_default();
        if let Some((_, sum)) = releases.iter_mut().find(|(known, _)| known == release) {
            sum.add(answered);
            return;
        }
        if releases.len() == RELEASES_MAX {
            releases.remove(0);
        }
        releases.push((release.clone(), answered.clone()));
    }

    /// What was counted.
    pub fn iter(&self) -> impl Iterator<Item = (&TierName, &Version, &Answered)> {
        self.answered.iter().flat_map(|(tier, releases)| {
            releases.iter().map(move |(release, answered)| (tier, release, answered))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_grow_by_release_and_old_releases_go() {
        let mut totals = Totals::default();
        let tier: TierName = "web".parse().unwrap();
        let mut answered = Answered { by_class: [0, 3, 0, 0, 1], ..Answered::default() };
        answered.add_latency(0.001_024, 3);
        answered.add_latency(100.0, 1);
        for release in 1..=9 {
            let version: Version = format!("v{release}").parse().unwrap();
            totals.count(&tier, &version, &answered);
            totals.count(&tier, &version, &answered);
        }
        let all: Vec<_> = totals.iter().collect();
        assert_eq!(all.len(), RELEASES_MAX);
        assert_eq!(all[0].1.to_string(), "v2");
        assert_eq!(all[0].2.by_class, [0, 6, 0, 0, 2]);
        assert_eq!((all[0].2.by_latency[0], all[0].2.by_latency[17]), (6, 2));
    }

    #[test]
    fn a_latency_is_counted_at_its_bound() {
        for (at, bound) in LATENCY_BOUNDS_S.iter().enumerate() {
            let mut answered = Answered::default();
            answered.add_latency(64e-6 * 2_f64.powi(i32::try_from(at).unwrap() + 4), 1);
            assert_eq!(answered.by_latency[at], 1, "{bound}");
        }
    }
}
