//! Evens out connections. The kernel gives new connections to whoever asks first, and an ALB keeps
//! what it has, so an uneven start stays uneven: a process that holds too many is told to let some
//! go, and their peers connect anew. Pure; time and counts come in, orders go out.

use std::collections::BTreeMap;
use std::time::Duration;

use groundcrew_core::time::Moment;
use groundcrew_core::types::{Generation, ProcessId, TierName};

/// Connections of all processes below which unevenness costs nothing.
const CONNECTIONS_MIN: u64 = 8;
/// How long after an order the next one waits: what was let go has to come back somewhere and be
/// reported (within 50 ms of the change), or the same surplus would be shed twice.
pub const HOLD_OFF: Duration = Duration::from_millis(200);
/// How long the hold-off may grow when orders do not help: peers that do not come back, or always
/// to the same process.
pub const HOLD_OFF_MAX: Duration = Duration::from_secs(30);

const _: () = assert!(HOLD_OFF.as_millis() < HOLD_OFF_MAX.as_millis());

/// How many connections each process should let go, given the counts of all processes of one
/// generation that accept. Only those count that hold more than 1.1 times the mean and more than
/// one above it.
#[must_use]
pub fn shed(counts: &[(ProcessId, u32)]) -> Vec<(ProcessId, u32)> {
    let processes = u64::try_from(counts.len()).unwrap_or(u64::MAX);
    let total: u64 = counts.iter().map(|(_, count)| u64::from(*count)).sum();
    if processes < 2 || total < CONNECTIONS_MIN {
        return Vec::new();
    }
    // In whole numbers: count > 1.1 * total / processes, count > total / processes + 1.
    let surplus = |count: u32| {
        let scaled = u64::from(count) * processes;
        let over = scaled * 10 > total * 11 && scaled > total + processes;
        over.then(|| u32::try_from(u64::from(count) - total.div_ceil(processes)).unwrap_or(0))
    };
    counts
        .iter()
        .filter_map(|(id, count)| Some((id.clone(), surplus(*count).filter(|&over| over > 0)?)))
        .collect()
}

/// When one generation of one tier may be told again.
#[derive(Debug)]
struct Pause {
    generation: Generation,
    until: Moment,
    length: Duration,
    /// The greatest surplus the last order was given for.
    surplus: u32,
}

/// Tells when to shed, so that it converges and does not flap.
#[derive(Debug, Default)]
pub struct Balancer(BTreeMap<TierName, Pause>);

impl Balancer {
    /// Looks at the counts of the processes of `tier` that accept, all of one `generation`. Called
    /// whenever one of them has changed.
    pub fn orders(
        &mut self,
        tier: &TierName,
        generation: Generation,
        now: Moment,
        counts: &[(ProcessId, u32)],
    ) -> Vec<(ProcessId, u32)> {
        let paused = self.0.get(tier).filter(|pause| pause.generation == generation);
        if paused.is_some_and(|pause| now < pause.until) {
            return Vec::new();
        }
        let orders = shed(counts);
        let Some(surplus) = orders.iter().map(|(_, count)| *count).max() else {
            // Even again: the next surplus is a new one.
            self.0.remove(tier);
            return orders;
        };
        // What was let go may come back unevenly; an order that left nearly all of it has not
        // helped.
        let length = match paused {
            Some(pause) if u64::from(surplus) * 10 > u64::from(pause.surplus) * 9 => {
                (pause.length * 2).min(HOLD_OFF_MAX)
            }
            _ => HOLD_OFF,
        };
        let until = now.plus(length);
        self.0.insert(tier.clone(), Pause { generation, until, length, surplus });
        orders
    }

    /// Forgets a tier.
    pub fn remove(&mut self, tier: &TierName) {
        self.0.remove(tier);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(counts: &[u32]) -> Vec<(ProcessId, u32)> {
        let ids = (1..).map(|n| format!("web.1.{n}").parse().unwrap());
        ids.zip(counts.iter().copied()).collect()
    }

    fn check(before: &[u32], expected: &[u32]) {
        let orders: BTreeMap<ProcessId, u32> = shed(&counts(before)).into_iter().collect();
        let all = counts(before);
        let got: Vec<u32> =
            all.iter().map(|(id, _)| orders.get(id).copied().unwrap_or(0)).collect();
        assert_eq!(got, expected, "{before:?}");
    }

    #[test]
    fn only_a_real_surplus_is_shed() {
        check(&[], &[]);
        check(&[64], &[0]);
        check(&[7, 0], &[0, 0]);
        check(&[8, 0], &[4, 0]);
        check(&[33, 31], &[0, 0]);
        check(&[36, 28], &[4, 0]);
        check(&[35, 29], &[0, 0]);
        check(&[3, 3, 2], &[0, 0, 0]);
        check(&[4, 2, 2], &[1, 0, 0]);
        check(&[100, 100, 40, 0], &[40, 40, 0, 0]);
        check(&[u32::MAX, 0], &[u32::MAX / 2, 0]);
    }

    #[test]
    fn what_was_shed_is_given_time_to_come_back() {
        let mut balancer = Balancer::default();
        let tier: TierName = "web".parse().unwrap();
        let mut at = |ms, before: &[u32]| {
            balancer.orders(&tier, Generation(1), Moment(ms), &counts(before)).len()
        };
        assert_eq!(at(0, &[48, 16]), 1);
        assert_eq!(at(100, &[48, 16]), 0, "the counts are from before the order");
        assert_eq!(at(200, &[36, 28]), 1, "a small surplus is left");
        assert_eq!(at(399, &[36, 28]), 0);
        assert_eq!(at(400, &[32, 32]), 0);
        assert_eq!(at(401, &[48, 16]), 1, "a new surplus is not held off");
    }

    #[test]
    fn orders_that_do_not_help_become_rare() {
        let mut balancer = Balancer::default();
        let tier: TierName = "web".parse().unwrap();
        let told = (0..600_000).step_by(50).filter(|&ms| {
            !balancer.orders(&tier, Generation(1), Moment(ms), &counts(&[60, 4])).is_empty()
        });
        let told: Vec<u64> = told.collect();
        assert!((20..32).contains(&told.len()), "{told:?}");
        let next = balancer.orders(&tier, Generation(2), Moment(600_000), &counts(&[60, 4]));
        assert_eq!(next.len(), 1, "another generation is not held off");
    }

    #[test]
    fn converges_when_the_kernel_is_uneven() {
        // Whatever is let go comes back 3 to 1 in favour of the first of two processes.
        let mut balancer = Balancer::default();
        let tier: TierName = "web".parse().unwrap();
        let mut held = [56_u32, 8];
        for step in 0..80 {
            let orders = balancer.orders(&tier, Generation(1), Moment(step * 50), &counts(&held));
            for (id, count) in orders {
                let from = usize::from(id.ordinal - 1);
                let back = [count * 3 / 4, count - count * 3 / 4];
                held[from] -= count;
                held = [held[0] + back[0], held[1] + back[1]];
            }
            if step == 20 {
                assert!(held[0] <= 40, "1.25 times the share after a second: {held:?}");
            }
        }
        assert_eq!(held[0] + held[1], 64);
        assert!(held[0] <= 36, "{held:?}");
    }
}
