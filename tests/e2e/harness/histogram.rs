//! Latencies in buckets of 3 %: a percentile without keeping every value.

use std::time::Duration;

// Each power of two of microseconds has this many buckets.
const STEPS: usize = 32;
const POWERS: usize = 36;

/// Counts of latencies.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; STEPS * POWERS], total: 0, max: Duration::ZERO }
    }
}

impl Histogram {
    /// Adds one latency.
    pub fn record(&mut self, latency: Duration) {
        let last = self.counts.len() - 1;
        self.counts[bucket(latency).min(last)] += 1;
        self.total += 1;
        self.max = self.max.max(latency);
    }

    /// Adds all latencies of another one.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// The latency that `share` (0.5, 0.99) of all do not exceed; zero when there is none.
    pub fn quantile(&self, share: f64) -> Duration {
        #[expect(clippy::cast_sign_loss, reason = "both factors are positive")]
        let rank = ((self.total as f64) * share).ceil() as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank && *count > 0 {
                return upper_edge(index).min(self.max);
            }
        }
        self.max
    }

    /// The longest one, exact.
    pub fn max(&self) -> Duration {
        self.max
    }
}

fn bucket(latency: Duration) -> usize {
    let micros = latency.as_micros().max(1) as u64;
    let power = micros.ilog2() as usize;
    let within = micros - (1 << power);
    power * STEPS + ((within * STEPS as u64) >> power) as usize
}

fn upper_edge(index: usize) -> Duration {
    let (power, step) = (index / STEPS, index % STEPS);
    let start = 1_u64 << power;
    Duration::from_micros(start + (start * (step as u64 + 1)) / STEPS as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_within_the_width_of_a_bucket() {
        let mut half = Histogram::default();
        let mut all = Histogram::default();
        for micros in 1..=5_000 {
            half.record(Duration::from_micros(micros));
            all.record(Duration::from_micros(micros + 5_000));
        }
        all.merge(&half);
        for (share, wanted) in [(0.5, 5_000.0), (0.99, 9_900.0), (1.0, 10_000.0)] {
            let found = all.quantile(share).as_micros() as f64;
            assert!((found / wanted - 1.0).abs() < 0.04, "{share}: {found}, not {wanted}");
        }
        assert_eq!(all.max(), Duration::from_millis(10));
        assert_eq!(Histogram::default().quantile(0.99), Duration::ZERO);
    }
}
