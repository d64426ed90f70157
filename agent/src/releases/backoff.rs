//! Pauses between attempts: exponential, with full jitter, so that a fleet does not return in step.

use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};

/// The pause before attempt `attempt` (counts from 1): random, up to `first` doubled each time, at
/// most `max`.
#[must_use]
pub fn pause(attempt: u32, first: Duration, max: Duration) -> Duration {
    let ceiling = first.saturating_mul(1_u32 << attempt.saturating_sub(1).min(20)).min(max);
    let mut bytes = [0; 2];
    // Without randomness the pause is the longest one, which is always a correct one.
    let share = match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => u32::from(u16::from_le_bytes(bytes)),
        Err(_) => u32::from(u16::MAX),
    };
    ceiling.mul_f64(f64::from(share) / f64::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_and_stays_below_its_ceiling() {
        let (first, max) = (Duration::from_millis(100), Duration::from_secs(5));
        for attempt in 1..40 {
            let ceiling = first.saturating_mul(1 << (attempt - 1).min(20)).min(max);
            assert!(pause(attempt, first, max) <= ceiling);
        }
    }
}
