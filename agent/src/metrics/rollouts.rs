//! Outcomes and durations of deployments and drains since the agent began: what deployment
//! frequency, change failure rate and time to restore are computed from.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use groundcrew_core::measured::{Measured, Outcome, Stage};
use groundcrew_core::metrics::histogram::Histogram;
use groundcrew_core::metrics::{Metric, Point, Value, catalog};

const NONE: [&str; 0] = [];

/// The counters.
#[derive(Debug, Clone, Default)]
pub struct Rollouts {
    deployments: BTreeMap<Outcome, u64>,
    stages: BTreeMap<Stage, Arc<Histogram>>,
    lead_time: Arc<Histogram>,
    restore: Arc<Histogram>,
    /// By whether no request was cut.
    drains: BTreeMap<bool, u64>,
    drain_duration: Arc<Histogram>,
}

impl Rollouts {
    /// Counts one more.
    pub fn count(&mut self, measured: Measured) {
        match measured {
            Measured::Deployment(outcome) => *self.deployments.entry(outcome).or_default() += 1,
            Measured::Stage(stage, took) => record(self.stages.entry(stage).or_default(), took),
            Measured::LeadTime(took) => record(&mut self.lead_time, took),
            Measured::Restore(took) => record(&mut self.restore, took),
            Measured::Drain { complete, took } => {
                *self.drains.entry(complete).or_default() += 1;
                record(&mut self.drain_duration, took);
            }
        }
    }

    /// What was counted. Counters are there from the beginning, so that the first one is seen.
    #[must_use]
    pub fn points(&self) -> Vec<Point> {
        let mut points = Vec::new();
        for outcome in Outcome::ALL {
            let count = self.deployments.get(&outcome).copied().unwrap_or(0);
            points.push(Point::new(&catalog::DEPLOYMENTS, [outcome.word()], count as f64));
        }
        for (complete, word) in [(true, "complete"), (false, "incomplete")] {
            let count = self.drains.get(&complete).copied().unwrap_or(0);
            points.push(Point::new(&catalog::DRAINS, [word], count as f64));
        }
        for stage in Stage::ALL {
            if let Some(seen) = self.stages.get(&stage) {
                let seen = Value::Histogram(Arc::clone(seen));
                points.push(Point::with(&catalog::ROLLOUT_STAGE, [stage.word()], seen));
            }
        }
        let all: [(&'static Metric, &Arc<Histogram>); 3] = [
            (&catalog::LEAD_TIME, &self.lead_time),
            (&catalog::TIME_TO_RESTORE, &self.restore),
            (&catalog::DRAIN_DURATION, &self.drain_duration),
        ];
        for (metric, seen) in all.into_iter().filter(|(_, seen)| !seen.is_empty()) {
            points.push(Point::with(metric, NONE, Value::Histogram(Arc::clone(seen))));
        }
        points
    }
}

fn record(histogram: &mut Arc<Histogram>, took: Duration) {
    // A duration is never negative, and so never refused.
    let recorded = Arc::make_mut(histogram).record(took.as_secs_f64());
    debug_assert!(recorded);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_is_there_from_the_beginning_and_durations_once_known() {
        let mut rollouts = Rollouts::default();
        assert_eq!(rollouts.points().len(), 6);
        rollouts.count(Measured::Deployment(Outcome::Settled));
        rollouts.count(Measured::Stage(Stage::Ready, Duration::from_millis(1500)));
        rollouts.count(Measured::LeadTime(Duration::from_secs(90)));
        rollouts.count(Measured::Drain { complete: false, took: Duration::from_secs(9) });
        let points = rollouts.points();
        assert_eq!(points.len(), 9);
        let settled = points.iter().find(|point| point.labels[0].1 == "settled").unwrap();
        assert_eq!(settled.value, Value::Number(1.0));
    }
}
