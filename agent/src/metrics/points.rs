//! What the status and the counters say, as points of the list of metrics.

use std::sync::Arc;

use groundcrew_core::metrics::catalog::{self, ALL};
use groundcrew_core::metrics::{Metric, Point, Value};
use groundcrew_core::status::{PipelineStatus, ProcessStatus, State, StatusDocument, TierStatus};

use super::totals::Totals;

/// By the index of [`super::Answered::by_class`].
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
const STATES: [State; 5] =
    [State::Starting, State::Serving, State::Degraded, State::Draining, State::Stopped];
const NONE: [&str; 0] = [];

/// What the status says.
#[must_use]
pub fn of_status(status: &StatusDocument, ready: bool) -> Vec<Point> {
    let mut points = vec![Point::new(&catalog::READY, NONE, one_if(ready))];
    let states = STATES
        .map(|state| Point::new(&catalog::STATE, [state.word()], one_if(status.state == state)));
    points.extend(states);
    points.extend(releases(status));
    let disk = [("releases", status.disk.releases_bytes), ("logs", status.disk.logs_bytes)];
    points.extend(disk.map(|(kind, bytes)| Point::new(&catalog::DISK_USAGE, [kind], bytes as f64)));
    points.extend(status.tiers.iter().flat_map(tier));
    points.extend(status.pipelines.iter().flat_map(pipeline));
    points
}

/// What was answered.
#[must_use]
pub fn of_requests(totals: &Totals) -> Vec<Point> {
    let mut points = Vec::new();
    for (tier, release, answered) in totals.iter() {
        for (class, count) in CLASSES.iter().zip(answered.by_class) {
            let labels = [tier.as_str(), release.as_str(), class];
            points.push(Point::new(&catalog::REQUESTS, labels, count as f64));
        }
        let labels = [tier.as_str(), release.as_str()];
        let latency = Value::Histogram(Arc::clone(&answered.latency));
        points.push(Point::with(&catalog::REQUEST_DURATION, labels, latency));
    }
    points
}

/// What became of the application's own metrics in its logs.
#[must_use]
pub fn of_emf(cut: u64) -> Point {
    Point::new(&catalog::EMF_CUT, NONE, cut as f64)
}

fn one_if(is: bool) -> f64 {
    f64::from(u8::from(is))
}

fn releases(status: &StatusDocument) -> impl Iterator<Item = Point> {
    let roles = [
        ("current", status.release.as_ref().map(|release| &release.version)),
        ("previous", status.previous.as_ref().map(|release| &release.version)),
        ("desired", status.desired.as_ref().map(|release| &release.version)),
        ("rejected", status.rejected.as_ref().map(|release| &release.version)),
    ];
    let known = roles.into_iter().filter_map(|(role, version)| Some((role, version?)));
    known.map(|(role, version)| Point::new(&catalog::RELEASE, [role, version.as_str()], 1.0))
}

fn tier(tier: &TierStatus) -> Vec<Point> {
    let gauges: [(&'static Metric, f64); 6] = [
        (&catalog::ACTIVE_REQUESTS, tier.in_flight as f64),
        (&catalog::OPEN_CONNECTIONS, tier.connections as f64),
        (&catalog::WEBSOCKETS, tier.websockets as f64),
        (&catalog::PROCESSES_READY, f64::from(tier.ready)),
        (&catalog::PROCESSES_WANTED, f64::from(tier.wanted)),
        (&catalog::TIER_RESTARTS, f64::from(tier.restarts)),
    ];
    let name = tier.name.as_str();
    let mut points: Vec<Point> =
        gauges.into_iter().map(|(metric, value)| Point::new(metric, [name], value)).collect();
    points.extend(tier.processes.iter().flat_map(|one| process(name, one)));
    points
}

fn process(tier: &str, process: &ProcessStatus) -> impl Iterator<Item = Point> {
    let gauges: [(&'static Metric, Option<f64>); 4] = [
        (&catalog::PROCESS_MEMORY, process.rss_bytes.map(|bytes| bytes as f64)),
        (&catalog::PROCESS_CPU, process.cpu_percent.map(|percent| f64::from(percent) / 100.0)),
        (&catalog::EVENTLOOP_DELAY_P99, process.loop_lag_us.map(|us| us as f64 / 1e6)),
        (&catalog::PROCESS_RESTARTS, Some(f64::from(process.restarts))),
    ];
    let (tier, id) = (tier.to_owned(), process.id.to_string());
    let known = gauges.into_iter().filter_map(|(metric, value)| Some((metric, value?)));
    known.map(move |(metric, value)| Point::new(metric, [tier.clone(), id.clone()], value))
}

fn pipeline(pipeline: &PipelineStatus) -> impl Iterator<Item = Point> {
    let values: [(&'static Metric, f64); 5] = [
        (&catalog::PIPELINE_SENT, pipeline.sent as f64),
        (&catalog::PIPELINE_DROPPED, pipeline.dropped as f64),
        (&catalog::PIPELINE_REJECTED, pipeline.rejected as f64),
        (&catalog::PIPELINE_BACKLOG, pipeline.backlog_bytes as f64),
        (&catalog::PIPELINE_OLDEST, pipeline.oldest_ms.unwrap_or(0) as f64 / 1000.0),
    ];
    let name = pipeline.name.clone();
    values.into_iter().map(move |(metric, value)| Point::new(metric, [name.clone()], value))
}

/// Where a metric is in the list: points are shown in its order.
#[must_use]
pub fn rank(metric: &'static Metric) -> usize {
    ALL.iter().position(|known| std::ptr::eq(*known, metric)).unwrap_or(ALL.len())
}
