//! What tiers have answered since the agent began, by release: counters that only grow, also when
//! processes end and others take their place.

use std::collections::BTreeMap;
use std::sync::Arc;

use groundcrew_core::metrics::histogram::Histogram;
use groundcrew_core::types::{TierName, Version};

/// Releases of a tier that are remembered: older ones do not answer any more.
const RELEASES_MAX: usize = 8;

/// Answers of a process, or sums of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answered {
    /// By class of status: 1xx to 5xx.
    pub by_class: [u64; 5],
    /// By latency, in seconds.
    pub latency: Arc<Histogram>,
}

impl Answered {
    fn add(&mut self, other: &Self) {
        for (sum, more) in self.by_class.iter_mut().zip(&other.by_class) {
            *sum = sum.saturating_add(*more);
        }
        Arc::make_mut(&mut self.latency).merge(&other.latency);
    }
}

/// The counters.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// By tier, then by release, the newest last.
    answered: BTreeMap<TierName, Vec<(Version, Answered)>>,
    /// Durations of garbage collections, by tier and kind.
    collected: BTreeMap<(TierName, &'static str), Arc<Histogram>>,
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

    /// Counts collections of one kind in a process of a tier.
    pub fn count_collections(&mut self, tier: &TierName, kind: &'static str, more: &Histogram) {
        let sum = self.collected.entry((tier.clone(), kind)).or_default();
        Arc::make_mut(sum).merge(more);
    }

    /// The collections that were counted, by tier and kind.
    pub fn collections(&self) -> impl Iterator<Item = (&TierName, &'static str, &Arc<Histogram>)> {
        self.collected.iter().map(|((tier, kind), sum)| (tier, *kind, sum))
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
        let mut latency = Histogram::default();
        latency.record_many(0.001, 4);
        let answered = Answered { by_class: [0, 3, 0, 0, 1], latency: Arc::new(latency) };
        for release in 1..=9 {
            let version: Version = format!("v{release}").parse().unwrap();
            totals.count(&tier, &version, &answered);
            totals.count(&tier, &version, &answered);
        }
        let all: Vec<_> = totals.iter().collect();
        assert_eq!(all.len(), RELEASES_MAX);
        assert_eq!(all[0].1.to_string(), "v2");
        assert_eq!(all[0].2.by_class, [0, 6, 0, 0, 2]);
        assert_eq!(all[0].2.latency.count(), 8);
    }
}
