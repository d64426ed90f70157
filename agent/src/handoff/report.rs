//! What a process reports each second, as the preload writes it. Every number was said by a
//! process: nothing here grows with what is said, and what cannot be is refused.

use std::collections::BTreeMap;

use groundcrew_core::metrics::histogram::{BUCKETS_PER_DOUBLING, Histogram, upper_bound};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// The last bucket of the preload holds what takes longer than 19 hours too (`BUCKETS` in
/// `node.cjs`).
const BUCKET_MAX: u16 = 1440;
/// Preloads of before had four buckets for each doubling, above 64 us, and said no scale.
const COARSE_BUCKET_MAX: u16 = 95;
/// A coarse bucket `i` ends at 64 us * 2^(i/4), which is where bucket `240 + 10 i` ends.
const COARSE_FIRST: i16 = 240;
const COARSE_STEP: i16 = 10;

/// What a process did. Probes are never counted.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(from = "Line")]
pub struct Stats {
    /// How long it took to do that.
    pub interval_ms: u64,
    /// Answers by class of status.
    pub status: StatusCounts,
    /// How long the answers took, in seconds.
    pub latency: Histogram,
    /// Requests without an answer now.
    pub in_flight: u64,
    /// Open connections now, WebSockets included.
    pub connections: u32,
    /// Open WebSocket connections now.
    pub websockets: u32,
    /// Median delay of the event loop, in microseconds.
    pub lag_p50_us: u64,
    /// 99th percentile of it.
    pub lag_p99_us: u64,
    /// Used heap.
    pub heap_bytes: u64,
    /// Heap that V8 has taken. Preloads of before do not say it, nor what follows.
    pub heap_total_bytes: Option<u64>,
    /// Heap that V8 may take.
    pub heap_limit_bytes: Option<u64>,
    /// Memory beside the heap that objects in it hold, buffers included.
    pub external_bytes: Option<u64>,
    /// Share of the time that the event loop was not waiting, in millionths.
    pub utilization_ppm: Option<u32>,
    /// How long the garbage collector stopped everything.
    pub gc: Gc,
}

/// Durations of collections in seconds, by kind.
pub type Gc = BTreeMap<GcKind, Histogram>;

/// A kind of collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GcKind {
    /// Of what is young.
    Minor,
    /// Of everything.
    Major,
    /// A step of one of everything.
    Incremental,
    /// Callbacks for what was collected.
    Weakcb,
    /// A kind this version does not know.
    #[serde(other)]
    Unknown,
}

impl GcKind {
    /// As OpenTelemetry has it (`v8js.gc.type`); `None` for what it does not have.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::Minor => Some("minor"),
            Self::Major => Some("major"),
            Self::Incremental => Some("incremental"),
            Self::Weakcb => Some("weakcb"),
            Self::Unknown => None,
        }
    }
}

/// The line as it is written.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Line {
    interval_ms: u64,
    status: StatusCounts,
    scale: Option<Scale>,
    latency: Pairs,
    latency_sum_us: u64,
    in_flight: u64,
    connections: u32,
    websockets: u32,
    lag_p50_us: u64,
    lag_p99_us: u64,
    heap_bytes: u64,
    heap_total_bytes: Option<u64>,
    heap_limit_bytes: Option<u64>,
    external_bytes: Option<u64>,
    utilization_ppm: Option<u32>,
    gc: BTreeMap<GcKind, Times>,
}

/// Buckets and how often each was seen.
#[derive(Default)]
struct Pairs(BTreeMap<u16, u64>);

#[derive(Deserialize, Default)]
#[serde(default)]
struct Times {
    pairs: Pairs,
    sum_us: u64,
}

/// Buckets for each doubling: there is one scale that says its name.
#[derive(Clone, Copy)]
struct Scale;

impl<'de> Deserialize<'de> for Scale {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let scale = i32::deserialize(deserializer)?;
        let known = (scale == BUCKETS_PER_DOUBLING).then_some(Self);
        known.ok_or_else(|| D::Error::custom("a scale other than 40"))
    }
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pairs = Vec::<(u16, u64)>::deserialize(deserializer)?;
        let mut counts = BTreeMap::new();
        for (bucket, count) in pairs {
            if bucket > BUCKET_MAX {
                return Err(D::Error::custom("a bucket above 1440"));
            }
            let counted: &mut u64 = counts.entry(bucket).or_default();
            *counted = counted.saturating_add(count);
        }
        Ok(Self(counts))
    }
}

impl Times {
    fn histogram(self) -> Histogram {
        let mut histogram = Histogram::default();
        for (bucket, count) in self.pairs.0 {
            histogram.add_bucket(i16::try_from(bucket).unwrap_or(i16::MAX), count);
        }
        histogram.add_sum(self.sum_us as f64 / 1e6);
        histogram
    }

    /// What a preload of before means, whose sum is not known: that of the slowest latencies.
    fn coarse(self) -> Histogram {
        let mut histogram = Histogram::default();
        for (bucket, count) in self.pairs.0 {
            let coarse = i16::try_from(bucket.min(COARSE_BUCKET_MAX)).unwrap_or(0);
            let bucket = COARSE_FIRST + COARSE_STEP * coarse;
            histogram.add_bucket(bucket, count);
            histogram.add_sum(upper_bound(bucket) * count as f64);
        }
        histogram
    }
}

impl From<Line> for Stats {
    fn from(line: Line) -> Self {
        let latency = Times { pairs: line.latency, sum_us: line.latency_sum_us };
        let gc = line.gc.into_iter().map(|(kind, times)| (kind, times.histogram()));
        Self {
            interval_ms: line.interval_ms,
            status: line.status,
            latency: match line.scale {
                Some(Scale) => latency.histogram(),
                None => latency.coarse(),
            },
            in_flight: line.in_flight,
            connections: line.connections,
            websockets: line.websockets,
            lag_p50_us: line.lag_p50_us,
            lag_p99_us: line.lag_p99_us,
            heap_bytes: line.heap_bytes,
            heap_total_bytes: line.heap_total_bytes,
            heap_limit_bytes: line.heap_limit_bytes,
            external_bytes: line.external_bytes,
            utilization_ppm: line.utilization_ppm,
            gc: gc.filter(|(kind, times)| kind.name().is_some() && !times.is_empty()).collect(),
        }
    }
}

/// Answers by class of status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct StatusCounts {
    /// 100 to 199.
    #[serde(rename = "1xx")]
    pub informational: u64,
    /// 200 to 299.
    #[serde(rename = "2xx")]
    pub success: u64,
    /// 300 to 399.
    #[serde(rename = "3xx")]
    pub redirect: u64,
    /// 400 to 499.
    #[serde(rename = "4xx")]
    pub client_error: u64,
    /// 500 to 599.
    #[serde(rename = "5xx")]
    pub server_error: u64,
}

impl StatusCounts {
    /// All answers.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Self { informational, success, redirect, client_error, server_error } = *self;
        [informational, success, redirect, client_error, server_error]
            .into_iter()
            .fold(0, u64::saturating_add)
    }

    /// Adds another's; saturates, because a process may say anything.
    pub fn add(&mut self, other: &Self) {
        let add = |to: &mut u64, more: u64| *to = to.saturating_add(more);
        add(&mut self.informational, other.informational);
        add(&mut self.success, other.success);
        add(&mut self.redirect, other.redirect);
        add(&mut self.client_error, other.client_error);
        add(&mut self.server_error, other.server_error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Stats {
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_line_of_this_preload() {
        let stats = parse(
            r#"{"interval_ms":1000,"status":{"2xx":9,"5xx":1},"scale":40,
                "latency":[[400,9],[480,1],[0,1],[400,1]],"latency_sum_us":14336,"in_flight":2,
                "heap_bytes":1,"heap_total_bytes":2,"heap_limit_bytes":3,"external_bytes":4,
                "utilization_ppm":250000,"gc":{"minor":{"pairs":[[360,2]],"sum_us":1000},
                "major":{"pairs":[],"sum_us":0},"scavenge2":{"pairs":[[1,1]],"sum_us":1}}}"#,
        );
        assert_eq!((stats.latency.count(), stats.status.total()), (12, 10));
        assert!((stats.latency.sum() - 0.014_336).abs() < 1e-12);
        assert_eq!(stats.latency.count_within(upper_bound(400)), 11);
        assert_eq!(stats.heap_limit_bytes, Some(3));
        assert_eq!(stats.utilization_ppm, Some(250_000));
        assert_eq!(stats.gc.keys().collect::<Vec<_>>(), [&GcKind::Minor]);
        let minor = &stats.gc[&GcKind::Minor];
        assert!(minor.count() == 2 && (minor.sum() - 0.001).abs() < 1e-12);
    }

    #[test]
    fn a_line_of_a_preload_before_has_exact_bounds() {
        // 64 us * 2^(16/4) is 1024 us, and 95 is 64 us * 2^(95/4).
        let stats = parse(r#"{"latency":[[16,4],[95,1]]}"#);
        let bounds: Vec<_> = stats.latency.buckets().collect();
        assert!((bounds[0].0 - 0.001_024).abs() < 1e-12 && bounds[0].1 == 4, "{bounds:?}");
        let last = 64e-6 * 2_f64.powf(95.0 / 4.0);
        assert!((bounds[1].0 / last - 1.0).abs() < 1e-9, "{bounds:?}");
        assert!((stats.latency.sum() - (4.0 * 0.001_024 + last)).abs() < 1e-6);
        assert_eq!((stats.heap_total_bytes, stats.utilization_ppm), (None, None));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for text in [
            r#"{"scale":4}"#,
            r#"{"scale":"40"}"#,
            r#"{"scale":40,"latency":[[1441,1]]}"#,
            r#"{"latency":[[-1,1]]}"#,
            r#"{"latency":[[1]]}"#,
            r#"{"latency":[[1.5,1]]}"#,
            r#"{"latency":{}}"#,
            r#"{"latency_sum_us":-1}"#,
            r#"{"utilization_ppm":-1}"#,
            r#"{"gc":{"minor":{"pairs":[[2000,1]]}}}"#,
        ] {
            assert!(serde_json::from_str::<Stats>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_without_measure_stay_bounded() {
        let huge = u64::MAX;
        let pairs: Vec<_> = (0..=BUCKET_MAX).map(|bucket| format!("[{bucket},{huge}]")).collect();
        let line = format!(
            r#"{{"scale":40,"latency":[{}],"latency_sum_us":{huge},"heap_bytes":{huge}}}"#,
            pairs.join(",")
        );
        let mut stats = parse(&line);
        stats.status.success = huge;
        let more = stats.clone();
        stats.status.add(&more.status);
        stats.latency.merge(&more.latency);
        assert_eq!((stats.latency.count(), stats.status.total()), (huge, huge));
        assert!(stats.latency.quantile(1000).is_some_and(f64::is_finite));
    }
}
