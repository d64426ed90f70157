//! The numbers of the last hour, in rings of equal length. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use groundcrew_core::limits::TIERS_MAX;
use groundcrew_core::metrics::Point;
use groundcrew_core::status::{Column, HistoryDocument, TierColumns};
use groundcrew_core::time::Moment;
use groundcrew_core::types::TierName;

use super::EVERY;
use super::seen::{Seen, SeenTier};

/// An hour.
pub const ROWS_MAX: usize = 360;
/// Looks that are closer would show the clock's tick.
const APART_MIN: Duration = Duration::from_secs(1);
/// Looks that are further apart have a gap between them: the host was suspended, or the agent.
const APART_MAX: Duration = EVERY.saturating_mul(3);
const TIER_COLUMNS: usize = 7;
const HOST_COLUMNS: usize = 3;

/// Numbers of one kind, the newest last; NaN: not known.
type Ring = VecDeque<f32>;

/// The rings.
#[derive(Debug, Default)]
pub struct Rows {
    last: u64,
    times: VecDeque<Moment>,
    host: [Ring; HOST_COLUMNS],
    tiers: BTreeMap<TierName, [Ring; TIER_COLUMNS]>,
    before: Option<(Moment, Seen)>,
    left_out: u64,
}

impl Rows {
    /// Adds what the points say.
    pub fn add(&mut self, at: Moment, points: &[Point]) {
        let apart = self.before.as_ref().map(|(before, _)| at.since(*before));
        if apart.is_some_and(|apart| apart < APART_MIN) {
            return;
        }
        let seen = Seen::of(points);
        let before = self.before.take();
        let counted = apart.filter(|apart| *apart <= APART_MAX);
        if let (Some((earlier, _)), None) = (&before, counted) {
            // A row without anything in it: lines end before the gap and begin anew behind it.
            self.push(earlier.plus(EVERY), [f32::NAN; HOST_COLUMNS], &BTreeMap::new());
        }
        let mut tiers = BTreeMap::new();
        for (name, tier) in &seen.tiers {
            let since = before.as_ref().zip(counted).map(|((_, before), apart)| {
                (before.tiers.get(name).cloned().unwrap_or_default(), apart)
            });
            tiers.insert(name, row(tier, since));
        }
        let host = [seen.cpu, seen.memory, seen.backlog].map(short);
        self.push(at, host, &tiers);
        self.before = Some((at, seen));
    }

    fn push(
        &mut self,
        at: Moment,
        host: [f32; HOST_COLUMNS],
        tiers: &BTreeMap<&TierName, [f32; TIER_COLUMNS]>,
    ) {
        self.last += 1;
        self.times.push_back(at);
        if self.times.len() > ROWS_MAX {
            self.times.pop_front();
        }
        let length = self.times.len();
        let push = |ring: &mut Ring, value| {
            ring.push_back(value);
            // A ring that is shorter belongs to a tier that was not there before.
            while ring.len() < length {
                ring.push_front(f32::NAN);
            }
            while ring.len() > length {
                ring.pop_front();
            }
        };
        for (ring, value) in self.host.iter_mut().zip(host) {
            push(ring, value);
        }
        for (name, rings) in &mut self.tiers {
            let row = tiers.get(name).copied().unwrap_or([f32::NAN; TIER_COLUMNS]);
            rings.iter_mut().zip(row).for_each(|(ring, value)| push(ring, value));
        }
        self.tiers.retain(|_, rings| rings.iter().flatten().any(|value| !value.is_nan()));
        for (name, row) in tiers {
            if self.tiers.contains_key(*name) {
                continue;
            }
            if self.tiers.len() == TIERS_MAX {
                self.left_out = self.left_out.saturating_add(1);
                continue;
            }
            let rings = row.map(|value| {
                let mut ring = Ring::new();
                push(&mut ring, value);
                ring
            });
            self.tiers.insert((*name).clone(), rings);
        }
    }

    /// Writes the rows after number `after` into the document.
    pub fn write(&self, after: u64, document: &mut HistoryDocument) {
        document.last = self.last;
        document.tiers_left_out = self.left_out;
        let length = self.times.len();
        // More than there are, also when `after` is a number that never was.
        let fresh = usize::try_from(self.last.saturating_sub(after)).unwrap_or(length);
        let skipped = length.saturating_sub(fresh);
        let column = |ring: &Ring| -> Column {
            let known = |value: &f32| (!value.is_nan()).then_some(*value);
            ring.iter().skip(skipped).map(known).collect()
        };
        document.times = self.times.iter().skip(skipped).copied().collect();
        let [cpu, memory, backlog] = self.host.each_ref().map(column);
        (document.host.cpu, document.host.memory, document.host.backlog) = (cpu, memory, backlog);
        document.tiers = (self.tiers.iter())
            .map(|(name, rings)| {
                let [requests, errors, p50, p99, in_flight, delay, memory] =
                    rings.each_ref().map(column);
                let columns = TierColumns { requests, errors, p50, p99, in_flight, delay, memory };
                (name.clone(), columns)
            })
            .collect();
    }
}

/// A tier's row, in the order of [`TierColumns`]; `since`: what was seen before, and how long ago.
fn row(tier: &SeenTier, since: Option<(SeenTier, Duration)>) -> [f32; TIER_COLUMNS] {
    let mut row = [None; TIER_COLUMNS];
    if let Some((before, apart)) = since
        && let Some((requests, errors)) = tier.answered_since(&before)
    {
        // A tier whose requests nobody counts has no rate, not a rate of nought.
        let counts = !tier.requests.is_empty();
        row[0] = counts.then(|| requests / apart.as_secs_f64());
        row[1] = counts.then(|| errors / apart.as_secs_f64());
        let latency = tier.latency_since(&before);
        row[2] = latency.quantile(500);
        row[3] = latency.quantile(990);
    }
    row[4] = tier.in_flight;
    row[5] = tier.delay;
    row[6] = tier.memory;
    row.map(short)
}

/// Four digits are more than a plot shows, and each further one costs a byte in every document.
fn short(value: Option<f64>) -> f32 {
    let Some(value) = value.filter(|value| value.is_finite()) else { return f32::NAN };
    if value == 0.0 {
        return 0.0;
    }
    let scale = 10_f64.powf(3.0 - value.abs().log10().floor());
    #[expect(clippy::cast_possible_truncation, reason = "a plot needs four digits of it")]
    let rounded = ((value * scale).round() / scale) as f32;
    if rounded.is_finite() { rounded } else { f32::NAN }
}

#[cfg(test)]
mod tests;
