//! What one look at the points of the list says of each tier and of the host. Pure. Points that the
//! application made are not looked at, whatever they are called.

use std::collections::BTreeMap;
use std::sync::Arc;

use groundcrew_core::metrics::histogram::Histogram;
use groundcrew_core::metrics::{About, Label, Point, Value, catalog};
use groundcrew_core::types::TierName;

/// The class of statuses that are errors of the tier.
const ERRORS: &str = "5xx";
/// The pipeline whose backlog is shown.
const LOGS: &str = "logs";
/// Share of all cores that works, when it is measured.
const SYSTEM_CPU: &str = "system.cpu.utilization";
/// Share of memory in use, when it is measured.
const SYSTEM_MEMORY: &str = "system.memory.utilization";
/// Values of the state label of these two that are not work, or not use.
const AT_REST: [&str; 7] = ["idle", "iowait", "steal", "free", "cached", "buffers", "available"];

/// What the points said.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// By tier.
    pub tiers: BTreeMap<TierName, SeenTier>,
    /// Share of all cores.
    pub cpu: Option<f64>,
    /// Share of memory.
    pub memory: Option<f64>,
    /// Bytes of logs.
    pub backlog: Option<f64>,
}

/// What the points said of a tier.
#[derive(Debug, Clone, Default)]
pub struct SeenTier {
    /// Answers since the agent began, by release and class.
    pub requests: BTreeMap<(String, String), f64>,
    /// Times to answer since the agent began, by release.
    pub latency: BTreeMap<String, Arc<Histogram>>,
    /// Requests being answered.
    pub in_flight: Option<f64>,
    /// Of the process whose event loop is the latest, in seconds.
    pub delay: Option<f64>,
    /// Bytes, of all processes.
    pub memory: Option<f64>,
}

impl Seen {
    /// Reads the points.
    #[must_use]
    pub fn of(points: &[Point]) -> Self {
        let mut seen = Self::default();
        for point in points {
            if let About::Listed(metric) = &point.about {
                seen.take(metric.name, point);
            }
        }
        seen
    }

    fn take(&mut self, name: &str, point: &Point) {
        match &point.value {
            Value::Histogram(latency) if name == catalog::REQUEST_DURATION.name => {
                let release = text(point, Label::Release);
                if let Some(tier) = self.tier(point) {
                    tier.latency.insert(release, Arc::clone(latency));
                }
            }
            Value::Histogram(_) => {}
            Value::Number(number) => self.take_number(name, point, *number),
        }
    }

    fn take_number(&mut self, name: &str, point: &Point, number: f64) {
        let add = |sum: &mut Option<f64>| *sum = Some(sum.unwrap_or(0.0) + number);
        if name == SYSTEM_CPU && !at_rest(point) {
            add(&mut self.cpu);
        } else if name == SYSTEM_MEMORY && !at_rest(point) {
            add(&mut self.memory);
        } else if name == catalog::PIPELINE_BACKLOG.name {
            if text(point, Label::Pipeline) == LOGS {
                self.backlog = Some(number);
            }
        } else if let Some(tier) = self.tier(point) {
            if name == catalog::REQUESTS.name {
                let of = (text(point, Label::Release), text(point, Label::StatusClass));
                tier.requests.insert(of, number);
            } else if name == catalog::ACTIVE_REQUESTS.name {
                tier.in_flight = Some(number);
            } else if name == catalog::EVENTLOOP_DELAY_P99.name {
                tier.delay = Some(tier.delay.unwrap_or(0.0).max(number));
            } else if name == catalog::PROCESS_MEMORY.name {
                add(&mut tier.memory);
            }
        }
    }

    fn tier(&mut self, point: &Point) -> Option<&mut SeenTier> {
        let name = text(point, Label::Tier).parse().ok()?;
        Some(self.tiers.entry(name).or_default())
    }
}

impl SeenTier {
    /// How many answers there were since `before`: all of them, and errors. `None`: a counter went
    /// back, so that nobody knows.
    #[must_use]
    pub fn answered_since(&self, before: &Self) -> Option<(f64, f64)> {
        let mut answered = (0.0, 0.0);
        for (of, now) in &self.requests {
            // A release that was not there began at nought.
            let more = now - before.requests.get(of).copied().unwrap_or(0.0);
            if more < 0.0 {
                return None;
            }
            answered.0 += more;
            if of.1 == ERRORS {
                answered.1 += more;
            }
        }
        Some(answered)
    }

    /// How long the answers since `before` took.
    #[must_use]
    pub fn latency_since(&self, before: &Self) -> Histogram {
        let mut latency = Histogram::default();
        for (release, now) in &self.latency {
            match before.latency.get(release) {
                // Nothing was counted, which is usual of a release that is only kept.
                Some(before) if Arc::ptr_eq(before, now) => {}
                Some(before) => latency.merge(&now.since(before)),
                None => latency.merge(now),
            }
        }
        latency
    }
}

fn text(point: &Point, label: Label) -> String {
    let named = point.labels.iter().find(|(name, _)| name == label.name());
    named.map(|(_, value)| value.clone()).unwrap_or_default()
}

/// Whether it is the share of what does nothing, told apart by some label.
fn at_rest(point: &Point) -> bool {
    point.labels.iter().any(|(_, value)| AT_REST.contains(&value.as_str()))
}
