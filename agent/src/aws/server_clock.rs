//! What time it is by AWS's clock: the `Date` of its answers, held against when they were asked
//! for.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_autoscaling::config::interceptors::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
    FinalizerInterceptorContextRef,
};
use aws_sdk_autoscaling::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_autoscaling::error::BoxError;
use groundcrew_core::doctor::skew_ms;
use groundcrew_core::time::Wall;

use crate::clock;

/// Looks at every answer of the clients that it was given to.
#[derive(Debug, Clone, Default)]
pub struct ServerClock {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Attempts under way.
    open: u32,
    /// When the first of them was sent: an answer cannot tell which of them it is for.
    sent: Wall,
    /// From the answer that took the shortest time, which proves the most: that time, and the
    /// result.
    best_ms: Option<(i64, i64)>,
}

impl ServerClock {
    /// How far this host's clock is ahead of AWS's, at least; see [`skew_ms`]. `None`: no answer
    /// said when it was written.
    #[must_use]
    pub fn ahead_ms(&self) -> Option<i64> {
        self.state().best_ms.map(|(_, ahead_ms)| ahead_ms)
    }

    /// What was seen so far does not count any more.
    pub fn forget(&self) {
        self.state().best_ms = None;
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn answered(&mut self, date: &str, now: Wall) {
        let Ok(date) = jiff::fmt::rfc2822::parse(date) else { return };
        let took_ms = now.0.saturating_sub(self.sent.0);
        let ahead_ms = skew_ms(self.sent, date.timestamp().as_second(), now);
        if self.best_ms.is_none_or(|(best_ms, _)| took_ms < best_ms) {
            self.best_ms = Some((took_ms, ahead_ms));
        }
    }
}

impl Intercept for ServerClock {
    fn name(&self) -> &'static str {
        "ServerClock"
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let mut state = self.state();
        if state.open == 0 {
            state.sent = clock::wall();
        }
        state.open += 1;
        Ok(())
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(date) = context.response().headers().get("date") {
            self.state().answered(date, clock::wall());
        }
        Ok(())
    }

    fn read_after_attempt(
        &self,
        _context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // Also after one that was never sent; then the others count as older than they are.
        let mut state = self.state();
        state.open = state.open.saturating_sub(1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quickest_answer_counts() {
        let mut state = State { sent: Wall(100_000), ..State::default() };
        state.answered("no date", Wall(100_001));
        assert_eq!(state.best_ms, None);
        let date = |seconds: u64| format!("Thu, 01 Jan 1970 00:00:{seconds:02} GMT");
        state.answered(&date(40), Wall(102_000));
        assert_eq!(state.best_ms, Some((2000, 59_001)));
        state.answered(&date(38), Wall(100_020));
        assert_eq!(state.best_ms, Some((20, 61_001)));
        state.answered(&date(40), Wall(103_000));
        assert_eq!(state.best_ms, Some((20, 61_001)));
    }
}
