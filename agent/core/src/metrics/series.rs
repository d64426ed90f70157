//! Series as CloudWatch has them, and the values of one within a minute: few enough to be sent,
//! and near enough to those measured that percentiles survive.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Unit;
use super::histogram::{BUCKETS_PER_DOUBLING, RELATIVE_ERROR, UNIT};
use crate::time::Wall;

/// Distinct values of one datum (API reference of PutMetricData).
pub const VALUES_MAX: usize = 150;
/// Bytes of a metric's name and of a dimension's name (API reference of MetricDatum, Dimension).
const NAME_BYTES_MAX: usize = 255;
/// Bytes of a dimension's value.
const VALUE_BYTES_MAX: usize = 1024;
/// Dimensions of one series.
const DIMENSIONS_MAX: usize = 30;
/// Instead of an empty value, which is refused.
const EMPTY: &str = "none";
/// The largest magnitude that is taken is 2^360.
const EXPONENT_MAX: f64 = 360.0;
/// Bytes of a datum in CBOR beside its names and values: the keys, the timestamp, the unit.
const DATUM_BYTES: usize = 140;
/// Bytes of a dimension in CBOR beside its name and its value.
const DIMENSION_BYTES: usize = 24;
/// Bytes of a value and its count in CBOR.
const VALUE_BYTES: usize = 18;

/// A metric and what tells it apart: what is paid for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Series {
    /// The metric's name.
    pub name: String,
    /// What values count.
    pub unit: Unit,
    /// Names and values.
    pub dimensions: Vec<(String, String)>,
}

impl Series {
    /// A series whose names CloudWatch takes: what it would refuse is replaced.
    pub fn new<'a>(
        name: &str,
        unit: Unit,
        dimensions: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let dimensions = dimensions.into_iter().take(DIMENSIONS_MAX);
        let dimensions = dimensions
            .map(|(name, value)| {
                (printable(name, NAME_BYTES_MAX), printable(value, VALUE_BYTES_MAX))
            })
            .collect();
        Self { name: printable(name, NAME_BYTES_MAX), unit, dimensions }
    }

    fn bytes(&self) -> usize {
        let dimensions = self.dimensions.iter();
        let dimensions: usize =
            dimensions.map(|(name, value)| name.len() + value.len() + DIMENSION_BYTES).sum();
        DATUM_BYTES + self.name.len() + dimensions
    }
}

/// The text with what is not printable ASCII replaced. A colon may not begin it.
fn printable(text: &str, bytes_max: usize) -> String {
    let text = text.trim();
    if text.is_empty() {
        return EMPTY.to_owned();
    }
    let allowed = |c: char| c == ' ' || c.is_ascii_graphic();
    let replaced = text.chars().map(|c| if allowed(c) { c } else { '_' });
    let replaced = replaced.enumerate().map(|(at, c)| if at == 0 && c == ':' { '_' } else { c });
    replaced.take(bytes_max).collect()
}

/// Values of a series within a minute, ready to be sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Datum {
    /// Of what.
    pub series: Arc<Series>,
    /// When the minute began.
    pub at: Wall,
    /// Distinct values, ascending, at most [`VALUES_MAX`].
    pub values: Vec<f64>,
    /// How often each was seen.
    pub counts: Vec<u64>,
}

impl Datum {
    /// At least as many bytes as it takes in a request.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        (self.series.bytes() + self.values.len() * VALUE_BYTES) as u64
    }

    /// Whether it is as this module makes them: it may have been read from a file.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let dimensions = self.series.dimensions.iter().map(|(name, value)| (&**name, &**value));
        let same = Series::new(&self.series.name, self.series.unit, dimensions);
        same == *self.series
            && (1..=VALUES_MAX).contains(&self.values.len())
            && self.values.len() == self.counts.len()
            && self.values.iter().all(|value| is_sendable(*value))
    }
}

/// No other values are taken.
fn is_sendable(value: f64) -> bool {
    value.is_finite() && value.abs() <= EXPONENT_MAX.exp2()
}

/// A value that is no NaN, in its order.
#[derive(Debug, Clone, Copy)]
struct Ordered(f64);

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ordered {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ordered {}

/// Values, and how often each was seen.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Spread {
    values: BTreeMap<Ordered, u64>,
    /// There were too many, and each stands for its neighbours.
    is_coarse: bool,
}

impl Spread {
    /// Counts a value. `false`: it cannot be sent.
    pub fn add(&mut self, value: f64, count: u64) -> bool {
        if !is_sendable(value) {
            return false;
        }
        if count > 0 {
            self.put(value, count);
        }
        if self.values.len() > VALUES_MAX && !self.is_coarse {
            self.is_coarse = true;
            for (Ordered(value), count) in std::mem::take(&mut self.values) {
                self.put(value, count);
            }
        }
        true
    }

    fn put(&mut self, value: f64, count: u64) {
        let value = if self.is_coarse { coarse(value) } else { value };
        let counted = self.values.entry(Ordered(value)).or_default();
        *counted = counted.saturating_add(count);
    }

    /// In as many data as are needed.
    #[must_use]
    pub fn data(self, series: &Arc<Series>, at: Wall) -> Vec<Datum> {
        let all: Vec<_> = self.values.into_iter().collect();
        let datum = |part: &[(Ordered, u64)]| Datum {
            series: Arc::clone(series),
            at,
            values: part.iter().map(|(Ordered(value), _)| *value).collect(),
            counts: part.iter().map(|(_, count)| *count).collect(),
        };
        all.chunks(VALUES_MAX).map(datum).collect()
    }
}

/// The value that stands for those near it, at most [`RELATIVE_ERROR`] away. The grid is that of
/// the histograms, whose values stay as they are.
fn coarse(value: f64) -> f64 {
    if value == 0.0 {
        return 0.0;
    }
    let per_doubling = f64::from(BUCKETS_PER_DOUBLING);
    let bucket = ((value.abs() / UNIT).log2() * per_doubling - 1e-6).ceil();
    let middle = UNIT * (bucket / per_doubling).exp2() * (1.0 - RELATIVE_ERROR);
    // The smallest numbers have no neighbours.
    if is_sendable(middle) { middle.copysign(value) } else { value }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::histogram::Histogram;
    use super::*;

    /// The value that `per_mille` of 1000 do not exceed, as a reader of all the data sees it.
    fn quantile(values: impl IntoIterator<Item = (f64, u64)>, per_mille: u64) -> f64 {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by(|one, other| one.0.total_cmp(&other.0));
        let count: u64 = values.iter().map(|(_, count)| count).sum();
        let rank = (count * per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        let reached = |(_, count): &&(f64, u64)| {
            seen += count;
            seen >= rank
        };
        values.iter().find(reached).unwrap().0
    }

    fn sent(data: &[Datum]) -> Vec<(f64, u64)> {
        let pairs = |datum: &Datum| datum.values.clone().into_iter().zip(datum.counts.clone());
        data.iter().flat_map(pairs).collect()
    }

    fn data(spread: Spread) -> Vec<Datum> {
        let series = Arc::new(Series::new("a", Unit::Count, [("environment", "test")]));
        let data = spread.data(&series, Wall(60_000));
        assert!(data.iter().all(Datum::is_valid), "{data:#?}");
        data
    }

    proptest! {
        #[test]
        fn percentiles_survive(
            hosts in prop::collection::vec(prop::collection::vec(1e-6..1e4_f64, 1..400), 1..4),
            per_mille in 0..=1000_u64,
        ) {
            // Each host's histogram goes through the values of its own data.
            let all = hosts.iter().flatten().map(|value| (*value, 1));
            let mut received = Vec::new();
            for values in &hosts {
                let mut histogram = Histogram::default();
                let mut spread = Spread::default();
                for value in values {
                    assert!(histogram.record(*value));
                }
                for (value, count) in histogram.values() {
                    assert!(spread.add(value, count));
                }
                received.extend(sent(&data(spread)));
            }
            let (exact, found) = (quantile(all, per_mille), quantile(received, per_mille));
            prop_assert!((found / exact - 1.0).abs() < 0.01, "{found} for {exact}");
        }

        #[test]
        fn gauges_are_exact_or_near(
            values in prop::collection::vec(-1e12..1e12_f64, 1..400), per_mille in 0..=1000_u64,
        ) {
            let mut spread = Spread::default();
            for value in &values {
                assert!(spread.add(*value, 1));
            }
            let received = sent(&data(spread));
            let all = values.iter().map(|value| (*value, 1));
            let (exact, found) = (quantile(all, per_mille), quantile(received.clone(), per_mille));
            let bound = if values.len() > VALUES_MAX { exact.abs() * 0.01 } else { 0.0 };
            prop_assert!((found - exact).abs() <= bound, "{found} for {exact}");
            let count: u64 = received.iter().map(|(_, count)| count).sum();
            prop_assert_eq!(count, values.len() as u64);
        }

        #[test]
        fn names_are_taken_whatever_they_are(name in ".{0,300}", value in ".{0,1200}") {
            let series = Series::new(&name, Unit::Count, [(&*name, &*value)]);
            let allowed =
                |text: &str| text.chars().all(|c| c == ' ' || c.is_ascii_graphic());
            prop_assert!(allowed(&series.name) && allowed(&series.dimensions[0].1));
            prop_assert!((1..=255).contains(&series.name.len()));
            prop_assert!((1..=1024).contains(&series.dimensions[0].1.len()));
        }
    }

    #[test]
    fn what_is_no_value_is_refused_and_what_is_extreme_is_not_changed_much() {
        let mut spread = Spread::default();
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX] {
            assert!(!spread.add(value, 1), "{value}");
        }
        for value in [0.0, f64::MIN_POSITIVE, 360_f64.exp2(), -5.0] {
            let near = coarse(value);
            assert!((near - value).abs() <= value.abs() * 0.01, "{near} for {value}");
        }
    }

    #[test]
    fn bytes_are_those_of_the_request_at_least() {
        let mut spread = Spread::default();
        for value in 0..10 {
            assert!(spread.add(f64::from(value), 1));
        }
        let datum = &data(spread)[0];
        // JSON is longer than CBOR in everything but numbers, which are nine bytes each there.
        let keys = "MetricNameDimensionsNameValueTimestampUnitCountValuesCountsenvironmenttesta";
        assert!(datum.bytes() > (keys.len() + 30 + 20 * 9) as u64);
    }
}
