//! Measures everything a few times a minute, for those who want to see how it changes.

use std::sync::Arc;

use groundcrew_core::metrics::Point;

use super::Agent;
use crate::clock;
pub(super) use crate::metrics::history::EVERY;

impl Agent {
    /// Measures everything once.
    pub(super) fn sample(&mut self) {
        let began = clock::precise();
        self.watch_pipelines();
        self.measure();
        let points: Arc<[Point]> = self.points().into();
        self.history.measure(clock::at(), &points);
        if let Some(cloudwatch) = &self.cloudwatch {
            cloudwatch.sample(clock::now(), points);
        }
        self.measured.sampled(began);
    }
}
