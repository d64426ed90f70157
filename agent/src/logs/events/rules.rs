//! Which events of a tier are shipped at all, where the tier says that not all are.
//!
//! It must never drop a line of the embedded metric format: the service makes metrics of those, and
//! a metric without some of its lines is wrong. What is dropped is for the caller to count.

use groundcrew_core::logs::{Level, LogRules, level};
use groundcrew_core::time::{Moment, ms};

use super::emf::is_emf;

const PPM: u32 = 1_000_000;

/// What one event costs: a thousandth comes back each millisecond for each event a second.
const EVENT_COST: u64 = 1000;

/// What one source may ship, and what it has shipped.
#[derive(Debug, Clone)]
pub struct Rules {
    sampled: Vec<(Level, u32)>,
    bucket: Option<Bucket>,
    random: u64,
}

/// As many tokens as make a second's worth of events: so much may come at once.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    rate: u64,
    tokens: u64,
    filled: Option<Moment>,
}

impl Rules {
    /// The same `seed` and events give the same decisions.
    #[must_use]
    pub fn new(rules: &LogRules, seed: u64) -> Self {
        let sampled = rules.sample_ppm.iter().map(|(level, ppm)| (*level, *ppm));
        let bucket = rules.rate_max.map(|rate| {
            let rate = u64::from(rate);
            Bucket { rate, tokens: rate * EVENT_COST, filled: None }
        });
        Self { sampled: sampled.filter(|(_, ppm)| *ppm < PPM).collect(), bucket, random: seed }
    }

    /// Whether nothing is ever dropped, so that nobody need ask.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.sampled.is_empty() && self.bucket.is_none()
    }

    /// Whether the event may be shipped. It takes its share of the rate then.
    pub fn admit(&mut self, event: &[u8], now: Moment) -> bool {
        self.is_free() || is_emf(event) || (self.is_in_sample(event) && self.is_in_rate(now))
    }

    fn is_in_sample(&mut self, event: &[u8]) -> bool {
        if self.sampled.is_empty() {
            return true;
        }
        let level = level(event);
        let share = self.sampled.iter().find(|(sampled, _)| level == Some(*sampled));
        let Some((_, ppm)) = share.copied() else { return true };
        self.draw() < ppm
    }

    /// SplitMix64, scaled to parts per million. Counting instead would drop every second line of a
    /// request that prints two.
    fn draw(&mut self) -> u32 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let scaled = (((mixed ^ (mixed >> 31)) >> 32) * u64::from(PPM)) >> 32;
        u32::try_from(scaled).unwrap_or(PPM)
    }

    fn is_in_rate(&mut self, now: Moment) -> bool {
        let Some(bucket) = &mut self.bucket else { return true };
        let elapsed_ms = bucket.filled.map_or(0, |filled| ms(now.since(filled)));
        // The clock of a moment never goes back; one that did would give nothing twice.
        bucket.filled = bucket.filled.max(Some(now));
        let earned = elapsed_ms.saturating_mul(bucket.rate);
        bucket.tokens = bucket.tokens.saturating_add(earned).min(bucket.rate * EVENT_COST);
        let left = bucket.tokens.checked_sub(EVENT_COST);
        bucket.tokens = left.unwrap_or(bucket.tokens);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &[u8] = br#"{"level":"info","msg":"x"}"#;
    const EMF: &[u8] = br#"{"a":{"_aws":1},"level":"info","b":1,"_aws":{"Timestamp":1}}"#;

    fn rules(rate_max: Option<u32>, sample: &[(Level, u32)]) -> LogRules {
        let sample_ppm = sample.iter().copied().collect();
        LogRules { rate_max, sample_ppm, ..LogRules::default() }
    }

    /// How many of `events` are admitted at each of the moments.
    fn admitted(rules: &mut Rules, event: &[u8], events: u32, moments_ms: &[u64]) -> Vec<usize> {
        let admit =
            |at_ms: &u64| (0..events).filter(|_| rules.admit(event, Moment(*at_ms))).count();
        moments_ms.iter().map(admit).collect()
    }

    #[test]
    fn a_rate_is_kept_and_a_second_of_it_may_come_at_once() {
        let check = |rate: u32, moments_ms: &[u64], expected: &[usize]| {
            let mut rules = Rules::new(&rules(Some(rate), &[]), 1);
            assert_eq!(admitted(&mut rules, INFO, 50, moments_ms), expected);
        };
        check(10, &[5000, 5000, 5100, 5150, 5200], &[10, 0, 1, 0, 1]);
        check(10, &[5000, 5500, 99_000], &[10, 5, 10]);
        check(10, &[5000, 4000, 5000, 5100], &[10, 0, 0, 1]);
        check(0, &[0, 1000], &[0, 0]);
        check(u32::MAX, &[0, u64::MAX], &[50, 50]);
    }

    #[test]
    fn a_share_of_a_level_is_kept_and_others_whole() {
        let rules = rules(None, &[(Level::Info, 100_000), (Level::Debug, 0), (Level::Warn, PPM)]);
        let share =
            |event: &[u8], seed| admitted(&mut Rules::new(&rules, seed), event, 100_000, &[0])[0];
        assert!((9_500..10_500).contains(&share(INFO, 1)), "{}", share(INFO, 1));
        assert_eq!(share(INFO, 1), share(INFO, 1));
        assert_ne!(share(INFO, 1), share(INFO, 2));
        assert_eq!(share(b"DEBUG x", 1), 0);
        for whole in [b"WARN x".as_slice(), b"ERROR x", b"no level", EMF] {
            assert_eq!(share(whole, 1), 100_000);
        }
    }

    #[test]
    fn two_lines_in_turn_are_both_sampled() {
        let mut rules = Rules::new(&rules(None, &[(Level::Info, PPM / 2)]), 7);
        let mut kept = [0; 2];
        for i in 0..10_000 {
            kept[i % 2] += u32::from(rules.admit(INFO, Moment(0)));
        }
        assert!(kept.iter().all(|kept| (2_250..2_750).contains(kept)), "{kept:?}");
    }

    #[test]
    fn metrics_are_always_admitted_and_take_nothing() {
        let mut limited = Rules::new(&rules(Some(1), &[(Level::Info, 0)]), 1);
        assert_eq!(admitted(&mut limited, EMF, 5, &[0]), [5]);
        assert_eq!(admitted(&mut limited, b"text", 5, &[0]), [1]);
    }

    #[test]
    fn what_drops_nothing_says_so() {
        let is_free = |rules: &LogRules| Rules::new(rules, 1).is_free();
        assert!(is_free(&LogRules::default()) && is_free(&rules(None, &[(Level::Info, PPM)])));
        assert!(!is_free(&rules(Some(1), &[])) && !is_free(&rules(None, &[(Level::Info, 1)])));
    }
}
