//! What processes report each second, added up: for `status`, for the verdict on a release under
//! trial, and for balancing. Pure; the time comes in. Every number was said by a process, so sums
//! saturate and nothing grows with what is said.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use groundcrew_core::metrics::histogram::Histogram;
use groundcrew_core::time::Moment;
use groundcrew_core::types::{ProcessId, Run};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::protocol::{Stats, StatusCounts};

/// Buckets of the histogram: the last one holds up to 64 µs * 2^(95/4), a quarter of an hour.
pub const BUCKETS: usize = 96;
/// How far back rates look.
pub const WINDOW: Duration = Duration::from_mins(1);
/// Reports of one process that are kept for the window: two a second (one each second, and one
/// whenever its connections change) with room to spare. A process that sends more is seen over a
/// shorter window, never at more cost.
const REPORTS_MAX: usize = 240;

/// How often each latency was seen. Bucket `i` holds latencies up to 64 * 2^(i/4) microseconds, so
/// a quantile is at most 19 % too high. On the wire: pairs of bucket and count.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Latency(BTreeMap<u8, u64>);

impl Latency {
    /// Counts `count` more in `bucket`; the last bucket also holds all that is slower.
    pub fn add(&mut self, bucket: usize, count: u64) {
        if count > 0 {
            let bucket = u8::try_from(bucket.min(BUCKETS - 1)).unwrap_or(u8::MAX);
            let counted = self.0.entry(bucket).or_default();
            *counted = counted.saturating_add(count);
        }
    }

    /// Adds another's.
    pub fn merge(&mut self, other: &Self) {
        for (&bucket, &count) in &other.0 {
            self.add(usize::from(bucket), count);
        }
    }

    /// The same in finer buckets, of which each of these is the topmost of ten; the sum is that of
    /// the slowest latencies.
    #[must_use]
    pub fn histogram(&self) -> Histogram {
        let mut histogram = Histogram::default();
        for (&bucket, &count) in &self.0 {
            histogram.record_many(upper_bound(bucket).as_secs_f64(), count);
        }
        histogram
    }

    /// All that was counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.values().fold(0, |sum, &count| sum.saturating_add(count))
    }

    /// The latency that `per_mille` of 1000 do not exceed; `None` when nothing was counted.
    #[must_use]
    pub fn quantile(&self, per_mille: u32) -> Option<Duration> {
        let count = u128::from(self.count());
        // The smallest rank that covers the share, at least the first.
        let rank = (count * u128::from(per_mille.min(1000))).div_ceil(1000).max(1);
        let mut seen = 0;
        self.0.iter().find_map(|(&bucket, &count)| {
            seen += u128::from(count);
            (seen >= rank).then(|| upper_bound(bucket))
        })
    }

    /// The median.
    #[must_use]
    pub fn p50(&self) -> Option<Duration> {
        self.quantile(500)
    }

    /// The 99th percentile.
    #[must_use]
    pub fn p99(&self) -> Option<Duration> {
        self.quantile(990)
    }
}

/// The slowest latency of a bucket.
#[must_use]
pub fn upper_bound(bucket: u8) -> Duration {
    let us = 64.0 * 2_f64.powf(f64::from(bucket) / 4.0);
    Duration::from_secs_f64(us / 1e6)
}

impl Serialize for Latency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.0)
    }
}

impl<'de> Deserialize<'de> for Latency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pairs = Vec::<(u64, u64)>::deserialize(deserializer)?;
        let mut latency = Self::default();
        for (bucket, count) in pairs {
            let bucket = usize::try_from(bucket).ok().filter(|&bucket| bucket < BUCKETS);
            let bucket = bucket.ok_or_else(|| D::Error::custom("a latency bucket above 95"))?;
            latency.add(bucket, count);
        }
        Ok(latency)
    }
}

/// Requests added up over time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sums {
    /// Answers by class of status.
    pub status: StatusCounts,
    /// How long they took.
    pub latency: Latency,
}

impl Sums {
    fn add(&mut self, stats: &Stats) {
        self.status.add(&stats.status);
        self.latency.merge(&stats.latency);
    }

    /// Adds another's.
    pub fn merge(&mut self, other: &Self) {
        self.status.add(&other.status);
        self.latency.merge(&other.latency);
    }
}

/// What some processes do together, over [`WINDOW`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// What they answered.
    pub sums: Sums,
    /// How much of the window they were seen for: the longest of them.
    pub seen: Duration,
    /// Requests without an answer now.
    pub in_flight: u64,
    /// Open connections now.
    pub connections: u64,
    /// Open WebSocket connections now.
    pub websockets: u64,
}

impl Summary {
    /// Answers per second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        if self.seen.is_zero() {
            return 0.0;
        }
        self.sums.status.total() as f64 / self.seen.as_secs_f64()
    }
}

#[derive(Debug)]
struct Report {
    at: Moment,
    interval: Duration,
    sums: Sums,
}

/// What is known of one run of one process.
#[derive(Debug, Default)]
struct Process {
    run: Run,
    latest: Stats,
    recent: VecDeque<Report>,
    total: Sums,
}

/// What every process reports.
#[derive(Debug, Default)]
pub struct Board(BTreeMap<ProcessId, Process>);

impl Board {
    /// Takes a report. One of an earlier run is ignored; one of a later run starts anew.
    pub fn record(&mut self, id: &ProcessId, run: Run, at: Moment, stats: Stats) {
        let process = self.0.entry(id.clone()).or_default();
        if run < process.run {
            return;
        }
        if run > process.run {
            *process = Process { run, ..Process::default() };
        }
        process.total.add(&stats);
        let mut sums = Sums::default();
        sums.add(&stats);
        // No longer than the window, whatever the process says.
        let interval = Duration::from_millis(stats.interval_ms).min(WINDOW);
        process.recent.push_back(Report { at, interval, sums });
        if process.recent.len() > REPORTS_MAX {
            process.recent.pop_front();
        }
        while process.recent.front().is_some_and(|oldest| at.since(oldest.at) >= WINDOW) {
            process.recent.pop_front();
        }
        process.latest = stats;
    }

    /// Forgets a process.
    pub fn remove(&mut self, id: &ProcessId) {
        self.0.remove(id);
    }

    /// The last report.
    #[must_use]
    pub fn latest(&self, id: &ProcessId) -> Option<&Stats> {
        self.0.get(id).map(|process| &process.latest)
    }

    /// Everything the current run has answered. Only grows, so the difference of two looks is what
    /// happened between them.
    #[must_use]
    pub fn total(&self, id: &ProcessId) -> Option<&Sums> {
        self.0.get(id).map(|process| &process.total)
    }

    /// What the processes did in the last [`WINDOW`].
    #[must_use]
    pub fn summary<'a>(
        &self,
        ids: impl IntoIterator<Item = &'a ProcessId>,
        now: Moment,
    ) -> Summary {
        let mut summary = Summary::default();
        for process in ids.into_iter().filter_map(|id| self.0.get(id)) {
            let mut seen = Duration::ZERO;
            for report in process.recent.iter().filter(|report| now.since(report.at) < WINDOW) {
                summary.sums.merge(&report.sums);
                seen = seen.saturating_add(report.interval);
            }
            summary.seen = summary.seen.max(seen.min(WINDOW));
            let Stats { in_flight, connections, websockets, .. } = process.latest;
            summary.in_flight = summary.in_flight.saturating_add(in_flight);
            summary.connections = summary.connections.saturating_add(connections.into());
            summary.websockets = summary.websockets.saturating_add(websockets.into());
        }
        summary
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(ok: u64, bad: u64, bucket: usize) -> Stats {
        let mut stats = Stats { interval_ms: 1000, connections: 3, ..Stats::default() };
        stats.status.success = ok;
        stats.status.server_error = bad;
        stats.latency.add(bucket, ok + bad);
        stats
    }

    #[test]
    fn quantiles_are_the_upper_bounds_of_their_buckets() {
        let mut latency = Latency::default();
        assert_eq!(latency.p50(), None);
        latency.add(16, 990);
        latency.add(40, 10);
        assert_eq!(latency.p50().unwrap(), Duration::from_micros(1024));
        assert_eq!(latency.p99().unwrap(), Duration::from_micros(1024));
        latency.add(40, 1);
        assert_eq!(latency.p99().unwrap(), Duration::from_micros(65_536));
        assert_eq!(latency.quantile(0), latency.p50());
        let mut slow = Latency::default();
        slow.add(10_000, u64::MAX);
        slow.add(BUCKETS, u64::MAX);
        assert!(slow.p50().unwrap() > Duration::from_mins(14));
    }

    #[test]
    fn buckets_travel_as_pairs_and_impossible_ones_are_refused() {
        let latency: Latency = serde_json::from_str("[[17,4],[18,6],[17,1]]").unwrap();
        assert_eq!(serde_json::to_string(&latency).unwrap(), "[[17,5],[18,6]]");
        for text in ["[[96,1]]", "[[-1,1]]", "[[1]]", "[[1.5,1]]", "{}"] {
            assert!(serde_json::from_str::<Latency>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sums_look_back_one_window_and_totals_to_the_start_of_the_run() {
        let mut board = Board::default();
        let (one, two) = ("web.1.1".parse().unwrap(), "web.1.2".parse().unwrap());
        for second in 0..120_u64 {
            board.record(&one, 1, Moment(second * 1000), stats(10, 1, 4));
        }
        board.record(&two, 1, Moment(119_000), stats(5, 0, 8));
        let summary = board.summary([&one, &two], Moment(119_000));
        assert_eq!(summary.sums.status.server_error, 60);
        assert_eq!(summary.sums.status.total(), 60 * 11 + 5);
        assert_eq!((summary.seen, summary.connections), (WINDOW, 6));
        assert!((summary.per_second() - 11.08).abs() < 0.01, "{}", summary.per_second());
        assert_eq!(board.total(&one).unwrap().status.total(), 120 * 11);
        let later = board.summary([&one, &two], Moment(300_000));
        assert_eq!(later.sums, Sums::default());
    }

    #[test]
    fn a_new_run_starts_anew_and_late_news_of_the_old_one_is_ignored() {
        let mut board = Board::default();
        let id = "web.1.1".parse().unwrap();
        board.record(&id, 1, Moment(0), stats(10, 0, 4));
        board.record(&id, 2, Moment(1), stats(1, 0, 4));
        board.record(&id, 1, Moment(2), stats(10, 0, 4));
        assert_eq!(board.total(&id).unwrap().status.total(), 1);
        board.remove(&id);
        assert_eq!(board.latest(&id), None);
    }

    #[test]
    fn a_flood_of_reports_costs_no_more_than_its_bound() {
        let mut board = Board::default();
        let id: ProcessId = "web.1.1".parse().unwrap();
        for _ in 0..10 * REPORTS_MAX {
            board.record(&id, 1, Moment(0), stats(u64::MAX / 2, 0, 4));
        }
        assert_eq!(board.0[&id].recent.len(), REPORTS_MAX);
        assert_eq!(board.summary([&id], Moment(0)).sums.status.total(), u64::MAX);
    }
}
