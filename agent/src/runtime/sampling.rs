//! Measures everything a few times a minute, for those who want to see how it changes.

use std::time::Duration;

use super::Agent;

/// How often everything is measured. Six looks a minute find a peak of ten seconds, and cost a
/// thousandth of a core.
pub(super) const EVERY: Duration = Duration::from_secs(10);

impl Agent {
    /// Measures everything once.
    pub(super) fn sample(&mut self) {
        self.watch_pipelines();
        let points = self.points();
        tracing::trace!("{} points", points.len());
    }
}
