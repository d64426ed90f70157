//! What processes report each second, added up over the last minute: for `status`, for the verdict
//! on a release under trial, and for balancing. Pure; the time comes in. Every number was said by a
//! process, so sums saturate and nothing grows with what is said.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use groundcrew_core::metrics::histogram::Histogram;
use groundcrew_core::time::{Moment, ms};
use groundcrew_core::types::{ProcessId, Run};

use super::protocol::{Gc, Stats, StatusCounts};

/// How far back rates look.
pub const WINDOW: Duration = Duration::from_mins(1);
/// Reports are added up by such steps of the clock, so that a process costs the same however often
/// it reports.
const SLOT: Duration = Duration::from_secs(5);
const SLOTS: u64 = WINDOW.as_secs() / SLOT.as_secs();

const _: () = assert!(SLOTS * SLOT.as_secs() == WINDOW.as_secs());

/// Requests added up over time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sums {
    /// Answers by class of status.
    pub status: StatusCounts,
    /// How long they took, in seconds.
    pub latency: Histogram,
}

impl Sums {
    fn merge(&mut self, other: &Self) {
        self.status.add(&other.status);
        self.latency.merge(&other.latency);
    }
}

/// What some processes do together, over [`WINDOW`].
#[derive(Debug, Clone, PartialEq, Default)]
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

/// The reports of one step of the clock.
#[derive(Debug)]
struct Slot {
    /// Which step.
    number: u64,
    interval: Duration,
    sums: Sums,
}

/// What is known of one run of one process.
#[derive(Debug, Default)]
struct Process {
    run: Run,
    /// Without its histograms.
    latest: Stats,
    recent: VecDeque<Slot>,
}

/// What every process reports.
#[derive(Debug, Default)]
pub struct Board(BTreeMap<ProcessId, Process>);

fn slot_of(at: Moment) -> u64 {
    at.0 / ms(SLOT)
}

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
        let number = slot_of(at);
        while process.recent.front().is_some_and(|oldest| oldest.number + SLOTS <= number) {
            process.recent.pop_front();
        }
        // No longer than the window, whatever the process says.
        let interval = Duration::from_millis(stats.interval_ms).min(WINDOW);
        let Stats { status, latency, .. } = stats;
        let sums = Sums { status, latency };
        match process.recent.back_mut().filter(|newest| newest.number == number) {
            Some(newest) => {
                newest.interval = (newest.interval + interval).min(WINDOW);
                newest.sums.merge(&sums);
            }
            None => process.recent.push_back(Slot { number, interval, sums }),
        }
        process.latest = Stats { latency: Histogram::default(), gc: Gc::new(), ..stats };
    }

    /// Forgets a process.
    pub fn remove(&mut self, id: &ProcessId) {
        self.0.remove(id);
    }

    /// The last report, without its histograms.
    #[must_use]
    pub fn latest(&self, id: &ProcessId) -> Option<&Stats> {
        self.0.get(id).map(|process| &process.latest)
    }

    /// What the processes did in the last [`WINDOW`], whose beginning is that of a step.
    #[must_use]
    pub fn summary<'a>(
        &self,
        ids: impl IntoIterator<Item = &'a ProcessId>,
        now: Moment,
    ) -> Summary {
        let mut summary = Summary::default();
        let number = slot_of(now);
        for process in ids.into_iter().filter_map(|id| self.0.get(id)) {
            let mut seen = Duration::ZERO;
            for slot in process.recent.iter().filter(|slot| slot.number + SLOTS > number) {
                summary.sums.merge(&slot.sums);
                seen = seen.saturating_add(slot.interval);
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

    fn stats(ok: u64, bad: u64, seconds: f64) -> Stats {
        let mut stats = Stats { interval_ms: 1000, connections: 3, ..Stats::default() };
        stats.status.success = ok;
        stats.status.server_error = bad;
        stats.latency.record_many(seconds, ok.saturating_add(bad));
        stats
    }

    #[test]
    fn sums_look_back_one_window() {
        let mut board = Board::default();
        let (one, two) = ("web.1.1".parse().unwrap(), "web.1.2".parse().unwrap());
        for second in 0..120_u64 {
            let seconds = if second < 60 { 1.0 } else { 0.001 };
            board.record(&one, 1, Moment(second * 1000), stats(10, 1, seconds));
        }
        board.record(&two, 1, Moment(119_000), stats(5, 0, 0.002));
        let summary = board.summary([&one, &two], Moment(119_000));
        assert_eq!(summary.sums.status.server_error, 60);
        assert_eq!(summary.sums.status.total(), 60 * 11 + 5);
        assert_eq!((summary.seen, summary.connections), (WINDOW, 6));
        assert!((summary.per_second() - 11.08).abs() < 0.01, "{}", summary.per_second());
        let slowest = summary.sums.latency.quantile(1000).unwrap();
        assert!((slowest / 0.002 - 1.0).abs() < 0.01, "{slowest}: the slow minute is over");
        let later = board.summary([&one, &two], Moment(300_000));
        assert_eq!(later.sums, Sums::default());
    }

    #[test]
    fn a_new_run_starts_anew_and_late_news_of_the_old_one_is_ignored() {
        let mut board = Board::default();
        let id = "web.1.1".parse().unwrap();
        board.record(&id, 1, Moment(0), stats(10, 0, 0.1));
        board.record(&id, 2, Moment(1), stats(1, 0, 0.1));
        board.record(&id, 1, Moment(2), stats(10, 0, 0.1));
        assert_eq!(board.summary([&id], Moment(2)).sums.status.total(), 1);
        board.remove(&id);
        assert_eq!(board.latest(&id), None);
    }

    #[test]
    fn a_flood_of_reports_costs_no_more_than_its_bound() {
        let mut board = Board::default();
        let id: ProcessId = "web.1.1".parse().unwrap();
        for at_ms in (0..600_000).step_by(100) {
            let report = Stats { interval_ms: u64::MAX, ..stats(u64::MAX / 2, 0, 0.1) };
            board.record(&id, 1, Moment(at_ms), report);
            assert!(board.0[&id].recent.len() <= usize::try_from(SLOTS).unwrap());
        }
        let summary = board.summary([&id], Moment(600_000));
        assert_eq!((summary.sums.status.total(), summary.seen), (u64::MAX, WINDOW));
        assert!(board.latest(&id).unwrap().latency.is_empty());
    }
}
