//! Measures everything a few times a minute, for those who want to see how it changes.

use super::Agent;
use crate::clock;
pub(super) use crate::metrics::history::EVERY;

impl Agent {
    /// Measures everything once.
    pub(super) fn sample(&mut self) {
        let points = self.points();
        self.history.measure(clock::at(), &points);
    }
}
