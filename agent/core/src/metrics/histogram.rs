//! How often values of each size were seen, in buckets that grow with the value: what quantiles are
//! taken from, on the host or after it, is at most [`RELATIVE_ERROR`] off, and histograms of
//! processes, minutes and hosts add up without losing any of that.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Buckets for each doubling of the value.
pub const BUCKETS_PER_DOUBLING: i32 = 40;
/// How far a value may be from the one that stands for its bucket, as a share: under 0.9 %.
pub const RELATIVE_ERROR: f64 = 0.008_67;
/// The lower bound of bucket 1; bucket `i` holds values above `UNIT * 2^((i-1)/40)`, up to
/// `UNIT * 2^(i/40)`. For times in seconds a microsecond.
pub const UNIT: f64 = 1e-6;
/// Buckets of one histogram: 50 doublings, a microsecond to 35 years. What is outside of the
/// largest is counted in the nearest.
const BUCKET_MAX: i16 = 2000;
const BUCKET_MIN: i16 = -400;

/// Counts of values that are not negative.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Histogram {
    /// By bucket.
    buckets: BTreeMap<i16, u64>,
    /// Values of zero.
    #[serde(default)]
    zeros: u64,
    /// Of all values, as exactly as they were given.
    #[serde(default)]
    sum: f64,
}

/// The bucket of a value; `None`: it is zero, or not a value at all.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "within the bounds of the clamp")]
pub fn bucket_of(value: f64) -> Option<i16> {
    if !(value > 0.0 && value.is_finite()) {
        return None;
    }
    let exact = (value / UNIT).log2() * f64::from(BUCKETS_PER_DOUBLING);
    // A bound that was computed in floating point belongs to the bucket below it.
    let bucket = (exact - 1e-6).ceil();
    Some(bucket.clamp(f64::from(BUCKET_MIN), f64::from(BUCKET_MAX)) as i16)
}

/// The largest value of a bucket.
#[must_use]
pub fn upper_bound(bucket: i16) -> f64 {
    UNIT * (f64::from(bucket) / f64::from(BUCKETS_PER_DOUBLING)).exp2()
}

/// The value that stands for a bucket, as far from its lower bound as from its upper one.
#[must_use]
pub fn middle(bucket: i16) -> f64 {
    upper_bound(bucket) * (1.0 - RELATIVE_ERROR)
}

impl Histogram {
    /// Counts a value. One that is negative or no number is not counted, and `false` says so.
    pub fn record(&mut self, value: f64) -> bool {
        self.record_many(value, 1)
    }

    /// Counts a value that was seen `count` times.
    pub fn record_many(&mut self, value: f64, count: u64) -> bool {
        match bucket_of(value) {
            Some(bucket) => self.add_bucket(bucket, count),
            None if value == 0.0 => self.zeros = self.zeros.saturating_add(count),
            None => return false,
        }
        self.add_sum(value * count as f64);
        true
    }

    /// Counts `count` more in a bucket; their sum is said by [`Self::add_sum`].
    pub fn add_bucket(&mut self, bucket: i16, count: u64) {
        if count > 0 {
            let bucket = bucket.clamp(BUCKET_MIN, BUCKET_MAX);
            let counted = self.buckets.entry(bucket).or_default();
            *counted = counted.saturating_add(count);
        }
    }

    /// Adds to the sum of all values.
    pub fn add_sum(&mut self, more: f64) {
        let sum = self.sum + more;
        if sum.is_finite() {
            self.sum = sum;
        }
    }

    /// Adds another's.
    pub fn merge(&mut self, other: &Self) {
        for (&bucket, &count) in &other.buckets {
            self.add_bucket(bucket, count);
        }
        self.zeros = self.zeros.saturating_add(other.zeros);
        self.add_sum(other.sum);
    }

    /// What came since `earlier`, which is this one at another time.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let more = |(&bucket, &count): (&i16, &u64)| {
            let before = earlier.buckets.get(&bucket).copied().unwrap_or(0);
            (count > before).then(|| (bucket, count - before))
        };
        Self {
            buckets: self.buckets.iter().filter_map(more).collect(),
            zeros: self.zeros.saturating_sub(earlier.zeros),
            sum: (self.sum - earlier.sum).max(0.0),
        }
    }

    /// How many buckets it has: what it costs.
    #[must_use]
    pub fn width(&self) -> usize {
        self.buckets.len()
    }

    /// Whether counting this value takes another bucket.
    #[must_use]
    pub fn widens(&self, value: f64) -> bool {
        bucket_of(value).is_some_and(|bucket| !self.buckets.contains_key(&bucket))
    }

    /// How many values were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.values().fold(self.zeros, |sum, &count| sum.saturating_add(count))
    }

    /// All values together.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.zeros == 0 && self.buckets.is_empty()
    }

    /// The largest value of each bucket, ascending, and how often it was seen.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let zeros = (self.zeros > 0).then_some((0.0, self.zeros));
        zeros
            .into_iter()
            .chain(self.buckets.iter().map(|(&bucket, &count)| (upper_bound(bucket), count)))
    }

    /// The values that stand for the buckets, ascending, each at most [`RELATIVE_ERROR`] from those
    /// that were counted, and how often.
    pub fn values(&self) -> impl Iterator<Item = (f64, u64)> {
        let zeros = (self.zeros > 0).then_some((0.0, self.zeros));
        zeros
            .into_iter()
            .chain(self.buckets.iter().map(|(&bucket, &count)| (middle(bucket), count)))
    }

    /// How many values do not exceed `bound`, which is best that of a bucket.
    #[must_use]
    pub fn count_within(&self, bound: f64) -> u64 {
        let within = self.buckets().take_while(|(upper, _)| *upper <= bound * (1.0 + 1e-9));
        within.fold(0, |sum, (_, count)| sum.saturating_add(count))
    }

    /// The value that `per_mille` of 1000 do not exceed; `None` when nothing was counted.
    #[must_use]
    pub fn quantile(&self, per_mille: u32) -> Option<f64> {
        let count = u128::from(self.count());
        // The smallest rank that covers the share, at least the first.
        let rank = (count * u128::from(per_mille.min(1000))).div_ceil(1000).max(1);
        let mut seen = 0;
        self.values().find_map(|(value, count)| {
            seen += u128::from(count);
            (seen >= rank).then_some(value)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[f64]) -> Histogram {
        let mut histogram = Histogram::default();
        for value in values {
            assert!(histogram.record(*value), "{value}");
        }
        histogram
    }

    fn exact_quantile(values: &[f64], per_mille: usize) -> f64 {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted[(sorted.len() * per_mille).div_ceil(1000).max(1) - 1]
    }

    proptest! {
        #[test]
        fn quantiles_are_within_the_error(
            values in prop::collection::vec(1e-6..1e4_f64, 1..300), per_mille in 0..=1000_usize,
        ) {
            let found = of(&values).quantile(u32::try_from(per_mille).unwrap()).unwrap();
            let exact = exact_quantile(&values, per_mille);
            prop_assert!((found / exact - 1.0).abs() < 0.01, "{found} for {exact}");
        }

        #[test]
        fn merging_is_counting_together(
            one in prop::collection::vec(0.0..1e4_f64, 0..50),
            two in prop::collection::vec(0.0..1e4_f64, 0..50),
        ) {
            let mut merged = of(&one);
            merged.merge(&of(&two));
            let all: Vec<f64> = one.iter().chain(&two).copied().collect();
            let together = of(&all);
            prop_assert_eq!(&merged.buckets, &together.buckets);
            prop_assert_eq!(merged.count(), all.len() as u64);
            prop_assert!((merged.sum() - all.iter().sum::<f64>()).abs() < 1e-6);
            let later = merged.since(&of(&one));
            prop_assert_eq!(&later.buckets, &of(&two).buckets);
        }
    }

    #[test]
    fn a_bound_belongs_to_its_bucket_and_doublings_are_whole() {
        for bucket in [BUCKET_MIN, 0, 1, 240, 399, 400, BUCKET_MAX] {
            assert_eq!(bucket_of(upper_bound(bucket)), Some(bucket));
        }
        assert!((upper_bound(400) - 0.001_024).abs() < 1e-12);
        let histogram = of(&[0.0, 0.001_024, 0.001_025]);
        assert_eq!((histogram.count_within(0.001_024), histogram.count()), (2, 3));
    }

    #[test]
    fn what_is_no_value_is_refused_and_what_is_huge_is_bounded() {
        let mut histogram = Histogram::default();
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0] {
            assert!(!histogram.record(value), "{value}");
        }
        assert!(histogram.is_empty() && histogram.quantile(500).is_none());
        assert!(histogram.record(f64::MAX) && histogram.record(f64::MIN_POSITIVE));
        assert!(histogram.record_many(1.0, u64::MAX));
        assert!(histogram.record(f64::MAX));
        assert_eq!(histogram.count(), u64::MAX);
        assert!(histogram.sum().is_finite());
    }
}
