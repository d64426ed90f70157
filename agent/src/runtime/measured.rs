//! What is measured of the host, of how processes use it and end, and of the agent itself: kept
//! from one sampling to the next, and shown as points in between.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use camino::Utf8Path;
use groundcrew_core::metrics::exits::Exits;
use groundcrew_core::metrics::histogram::Histogram;
use groundcrew_core::metrics::host::Host;
use groundcrew_core::metrics::{Metric, Point, Value, catalog};
use groundcrew_core::status::StatusDocument;
use groundcrew_core::time::Moment;
use groundcrew_core::types::{Exit, Pid, TierName};

use super::Agent;
use super::usages::Usages;
use crate::clock;
use crate::metrics::{Format, HostReader};

const NONE: [&str; 0] = [];

/// Everything of it.
#[derive(Debug)]
pub(super) struct Measured {
    reader: HostReader,
    host: Host,
    exits: Exits,
    /// Of the agent.
    own: Usages<()>,
    own_pid: Option<Pid>,
    began: Moment,
    /// How long steps took.
    steps: Arc<Histogram>,
    /// How long the last sampling took.
    sampling: Option<Duration>,
    /// What was scraped last, and when that was made.
    pub scraped: BTreeMap<Format, (Moment, Bytes)>,
}

impl Measured {
    /// Nothing yet.
    pub fn new(state_dir: &Utf8Path) -> Self {
        Self {
            reader: HostReader::new(state_dir),
            host: Host::default(),
            exits: Exits::default(),
            own: Usages::default(),
            own_pid: Pid::try_from(std::process::id()).ok(),
            began: clock::at(),
            steps: Arc::default(),
            sampling: None,
            scraped: BTreeMap::new(),
        }
    }

    /// Counts how a process ended.
    pub fn ended(&mut self, tier: &TierName, exit: &Exit) {
        self.exits.count(tier, exit);
    }

    /// Counts a step of the loop, begun at this moment of the precise clock.
    pub fn step(&mut self, began: Duration) {
        let took = clock::precise().saturating_sub(began);
        Arc::make_mut(&mut self.steps).record(took.as_secs_f64());
    }

    /// A sampling is over, begun at this moment of the precise clock.
    pub fn sampled(&mut self, began: Duration) {
        self.sampling = Some(clock::precise().saturating_sub(began));
    }

    fn look(&mut self) {
        let reading = self.reader.read();
        self.host.take(clock::at(), reading);
        self.own.sample(self.own_pid.map(|pid| ((), pid)).as_slice());
    }

    fn points(&self) -> Vec<Point> {
        let mut points: Vec<_> = self.host.points().collect();
        points.extend(self.exits.points());
        points.push(Point::new(&catalog::AGENT_INFO, [env!("CARGO_PKG_VERSION")], 1.0));
        let steps = Value::Histogram(Arc::clone(&self.steps));
        points.push(Point::with(&catalog::AGENT_STEP, NONE, steps));
        let uptime = clock::at().since(self.began);
        let used = self.own.last(&());
        let values: [(&'static Metric, Option<f64>); 7] = [
            (&catalog::AGENT_UPTIME, Some(uptime.as_secs_f64())),
            (
                &catalog::AGENT_CPU_TIME,
                used.and_then(|used| used.cpu_total).map(|cpu| cpu.as_secs_f64()),
            ),
            (
                &catalog::AGENT_CPU,
                used.and_then(|used| used.cpu_percent).map(|percent| f64::from(percent) / 100.0),
            ),
            (&catalog::AGENT_MEMORY, used.map(|used| used.usage.rss_bytes as f64)),
            (&catalog::AGENT_DESCRIPTORS, used.and_then(|used| used.files).map(|n| n as f64)),
            (&catalog::AGENT_THREADS, used.map(|used| used.usage.threads as f64)),
            (&catalog::AGENT_SAMPLING, self.sampling.map(|took| took.as_secs_f64())),
        ];
        let known = values.into_iter().filter_map(|(metric, value)| Some((metric, value?)));
        points.extend(known.map(|(metric, value)| Point::new(metric, NONE, value)));
        points
    }
}

impl Agent {
    /// Looks at the host, the processes and the agent.
    pub(super) fn measure(&mut self) {
        self.measured.look();
        let living =
            self.known.keys().filter_map(|id| Some((id.clone(), self.supervisor.pid(id)?)));
        let living: Vec<_> = living.collect();
        self.usage.sample(&living);
    }

    /// What the last sampling found.
    pub(super) fn measured_points(&self, status: &StatusDocument) -> Vec<Point> {
        let mut points = self.measured.points();
        let refused =
            [("exits", self.measured.exits.refused()), ("processes", self.usage.refused())];
        for (kind, count) in refused.into_iter().filter(|&(_, count)| count > 0) {
            points.push(Point::new(&catalog::READINGS_LEFT_OUT, [kind], count as f64));
        }
        let waiting =
            self.supervised.len() + self.said.len() + self.answers.len() + self.requests.len();
        points.push(Point::new(&catalog::AGENT_WAITING, NONE, waiting as f64));
        for tier in &status.tiers {
            for process in &tier.processes {
                let used = self.usage.last(&process.id);
                let stats = self.board.latest(&process.id);
                let values: [(&'static Metric, Option<f64>); 6] = [
                    (
                        &catalog::PROCESS_CPU_TIME,
                        used.and_then(|used| used.cpu_total).map(|cpu| cpu.as_secs_f64()),
                    ),
                    (&catalog::PROCESS_VIRTUAL, used.map(|u| u.usage.virtual_bytes as f64)),
                    (
                        &catalog::PROCESS_DESCRIPTORS,
                        used.and_then(|used| used.files).map(|files| files as f64),
                    ),
                    (&catalog::PROCESS_THREADS, used.map(|used| used.usage.threads as f64)),
                    (&catalog::EVENTLOOP_DELAY_P50, stats.map(|s| s.lag_p50_us as f64 / 1e6)),
                    (&catalog::HEAP_USED, stats.map(|stats| stats.heap_bytes as f64)),
                ];
                let id = process.id.to_string();
                let known = values.into_iter().filter_map(|(metric, value)| Some((metric, value?)));
                let labelled = known
                    .map(|(metric, value)| Point::new(metric, [tier.name.as_str(), &id], value));
                points.extend(labelled);
            }
        }
        points
    }
}
