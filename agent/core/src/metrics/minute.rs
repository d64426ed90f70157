//! Adds samples up to what goes out for a minute.
//!
//! A counter becomes what it grew by, a histogram the values that came, and a gauge the
//! distribution of its samples: of six a minute, so that the sum over the hosts, divided by six, is
//! what there was on average in that minute, and the count, divided by six, how many there were.
//! What happened is counted once, whatever the clock does.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::series::{Datum, Series, Spread};
use super::{About, Kind, Point, Value};
use crate::time::{Moment, Now, Wall};

/// What is sent is of this long a time.
pub const MINUTE_MS: i64 = 60_000;
/// A minute of the wall clock that does not end, because somebody holds the clock, ends by the boot
/// clock.
const MINUTE_LONGEST_MS: u64 = 120_000;
/// Minutes that are remembered as measured, newest first: those that a clock that is put back
/// could repeat without being visibly wrong.
const MEASURED_MAX: usize = 240;
/// Points of one sample, and counters that are remembered.
pub const POINTS_MAX: usize = 20_000;
/// Series of one minute.
pub const SERIES_ALL_MAX: usize = 3_000;
/// A series or a counter that was not seen for so long is forgotten.
const FORGET_AFTER_MS: u64 = 3_600_000;
/// The dimension that every series has.
pub const ENVIRONMENT: &str = "environment";
/// The dimension of the series of single instances.
pub const INSTANCE: &str = "instance";

/// Whose metrics they are, and what tells them apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// The environment, which all series have as a dimension.
    pub environment: String,
    /// Where every series is also sent with the instance as a dimension.
    pub instance: Option<String>,
    /// Tags of the application's metrics that are dimensions.
    pub dimensions: Vec<String>,
    /// Series of the application's metrics.
    pub series_max: usize,
}

/// What goes out for a minute.
#[derive(Debug, Clone, PartialEq)]
pub struct Minute {
    /// When it began.
    pub at: Wall,
    /// What was measured.
    pub data: Vec<Datum>,
}

/// What tells a point from every other.
type Identity = (String, Vec<(Cow<'static, str>, String)>);

/// Adds samples up.
#[derive(Debug)]
pub struct Aggregator {
    shape: Shape,
    /// Counters and histograms as they were seen last, and when.
    before: BTreeMap<Identity, (Value, Moment)>,
    has_begun: bool,
    open: Option<Open>,
    /// Minutes whose gauges were measured.
    measured: BTreeSet<i64>,
    /// Counters that have counted something, and series of the application, and when they were
    /// seen last.
    alive: BTreeMap<Series, Moment>,
    own: BTreeMap<Series, Moment>,
    dropped: u64,
}

/// The minute that is being measured.
#[derive(Debug)]
struct Open {
    at: i64,
    since: Moment,
    /// The clock was put back: this minute's gauges were measured before.
    is_again: bool,
    /// No sample of it was seen yet.
    is_new: bool,
    gathered: BTreeMap<Series, Gathered>,
}

#[derive(Debug)]
enum Gathered {
    Sum(f64),
    Spread(Spread),
}

/// What a point adds to the minute.
enum More {
    Sum(f64),
    Value(f64),
    Values(Vec<(f64, u64)>),
}

impl Aggregator {
    /// Has seen nothing yet.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        Self {
            shape,
            before: BTreeMap::new(),
            has_begun: false,
            open: None,
            measured: BTreeSet::new(),
            alive: BTreeMap::new(),
            own: BTreeMap::new(),
            dropped: 0,
        }
    }

    /// Adds a sample. Answers the minute before, when this one begins a new one.
    pub fn sample(&mut self, now: Now, points: &[Point]) -> Option<Minute> {
        let at = now.wall.0.div_euclid(MINUTE_MS) * MINUTE_MS;
        let over = |open: &Open| {
            open.at != at || now.at.0.saturating_sub(open.since.0) >= MINUTE_LONGEST_MS
        };
        let closed = if self.open.as_ref().is_some_and(over) { self.close(true) } else { None };
        let is_again = self.measured.contains(&at);
        let mut open = self.open.take().unwrap_or_else(|| Open {
            at,
            since: now.at,
            is_again,
            is_new: true,
            gathered: BTreeMap::new(),
        });
        let over = points.len().saturating_sub(POINTS_MAX);
        self.dropped = self.dropped.saturating_add(over as u64);
        for point in points.iter().take(POINTS_MAX) {
            self.add(&mut open, now.at, point);
        }
        open.is_new = false;
        self.open = Some(open);
        self.has_begun = true;
        self.forget(now.at);
        closed
    }

    /// Ends the minute before its time, because the agent goes.
    pub fn finish(&mut self) -> Option<Minute> {
        self.close(false)
    }

    /// Values that did not become part of a minute, since the last call.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    fn close(&mut self, is_whole: bool) -> Option<Minute> {
        let open = self.open.take()?;
        let at = Wall(open.at);
        if is_whole {
            self.measured.insert(open.at);
            while self.measured.len() > MEASURED_MAX {
                self.measured.pop_first();
            }
        }
        let mut data = Vec::new();
        for (series, gathered) in open.gathered {
            let spread = match gathered {
                // What has never happened is not paid for.
                Gathered::Sum(sum) if sum == 0.0 && !self.alive.contains_key(&series) => continue,
                Gathered::Sum(sum) => {
                    let mut spread = Spread::default();
                    if !spread.add(sum, 1) {
                        self.dropped = self.dropped.saturating_add(1);
                    }
                    spread
                }
                Gathered::Spread(spread) => spread,
            };
            data.extend(spread.data(&Arc::new(series), at));
        }
        (!data.is_empty()).then_some(Minute { at, data })
    }

    fn add(&mut self, open: &mut Open, now: Moment, point: &Point) {
        let Some(more) = self.more(now, point) else { return };
        if open.is_again && matches!(more, More::Value(_)) {
            return;
        }
        for series in self.shape.series(point) {
            let is_full = open.gathered.len() >= SERIES_ALL_MAX;
            let has_room = !is_full || open.gathered.contains_key(&series);
            if !has_room || !self.admit(now, point, &series) {
                // Each sample finds it again, and it is one series.
                self.dropped = self.dropped.saturating_add(u64::from(open.is_new));
                continue;
            }
            if matches!(&more, More::Sum(sum) if *sum != 0.0) || self.alive.contains_key(&series) {
                self.alive.insert(series.clone(), now);
            }
            let gathered = open.gathered.entry(series).or_insert_with(|| match more {
                More::Sum(_) => Gathered::Sum(0.0),
                More::Value(_) | More::Values(_) => Gathered::Spread(Spread::default()),
            });
            if !gathered.add(&more) {
                self.dropped = self.dropped.saturating_add(1);
            }
        }
    }

    /// Whether there is room for a series of the application.
    fn admit(&mut self, now: Moment, point: &Point, series: &Series) -> bool {
        if matches!(point.about, About::Listed(_)) {
            return true;
        }
        let has_room = self.own.len() < self.shape.series_max;
        let known = has_room || self.own.contains_key(series);
        if known {
            self.own.insert(series.clone(), now);
        }
        known
    }

    /// What a point says that was not said before.
    fn more(&mut self, now: Moment, point: &Point) -> Option<More> {
        let value = match (point.about.kind(), &point.value) {
            (Kind::Gauge, Value::Number(value)) => return Some(More::Value(*value)),
            // A histogram of what is now, or a number that is many values: nobody makes those.
            (Kind::Gauge, Value::Histogram(_)) | (Kind::Histogram, Value::Number(_)) => {
                self.dropped = self.dropped.saturating_add(1);
                return None;
            }
            (Kind::Counter | Kind::Histogram, value) => value,
        };
        let identity = (point.about.name().to_owned(), point.labels.clone());
        let has_room = self.before.len() < POINTS_MAX;
        let Some((before, seen)) = self.before.get_mut(&identity) else {
            if !has_room {
                self.dropped = self.dropped.saturating_add(1);
                return None;
            }
            self.before.insert(identity, (value.clone(), now));
            // Where the agent begins, counting begins. What appears later has counted from zero.
            return self.has_begun.then(|| since(value, None));
        };
        let more = since(value, Some(before));
        (*before, *seen) = (value.clone(), now);
        Some(more)
    }

    fn forget(&mut self, now: Moment) {
        let recent = |seen: &Moment| now.0.saturating_sub(seen.0) < FORGET_AFTER_MS;
        self.before.retain(|_, (_, seen)| recent(seen));
        self.alive.retain(|_, seen| recent(seen));
        self.own.retain(|_, seen| recent(seen));
    }
}

impl Shape {
    /// Where a point is counted.
    fn series(&self, point: &Point) -> Vec<Series> {
        let label = |name: &str| {
            let found = point.labels.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.as_str())
        };
        let sets: Vec<Vec<(&str, &str)>> = match &point.about {
            About::Listed(metric) => {
                let of = |set: &&[super::Label]| {
                    let pair = |one: &super::Label| Some((one.name(), label(one.name())?));
                    set.iter().filter_map(pair).collect()
                };
                metric.cloudwatch.iter().map(of).collect()
            }
            About::Own(_) => {
                let pair = |name: &'_ String| {
                    let (known, value) = point.labels.iter().find(|(known, _)| known == name)?;
                    Some((&**known, value.as_str()))
                };
                vec![self.dimensions.iter().filter_map(pair).collect()]
            }
        };
        let instances = [None, self.instance.as_deref()];
        let instances = &instances[..=usize::from(self.instance.is_some())];
        let mut all = Vec::with_capacity(sets.len() * instances.len());
        for (set, instance) in sets.iter().flat_map(|set| instances.iter().map(move |i| (set, i))) {
            let first = [(ENVIRONMENT, self.environment.as_str())];
            let instance = instance.map(|instance| (INSTANCE, instance));
            let dimensions = first.into_iter().chain(instance).chain(set.iter().copied());
            all.push(Series::new(point.about.name(), point.about.unit(), dimensions));
        }
        all
    }
}

impl Gathered {
    /// `false`: something of it cannot be sent.
    fn add(&mut self, more: &More) -> bool {
        match (self, more) {
            (Self::Sum(sum), More::Sum(more)) => {
                let together = *sum + more;
                if together.is_finite() {
                    *sum = together;
                }
                together.is_finite()
            }
            (Self::Spread(spread), More::Value(value)) => spread.add(*value, 1),
            (Self::Spread(spread), More::Values(values)) => {
                values.iter().all(|(value, count)| spread.add(*value, *count))
            }
            // Two metrics of one name that are of different kinds: the application's own.
            (Self::Sum(_), More::Value(_) | More::Values(_)) | (Self::Spread(_), More::Sum(_)) => {
                false
            }
        }
    }
}

/// What came since `before`. A value that went down has started anew.
fn since(value: &Value, before: Option<&Value>) -> More {
    match (value, before) {
        (Value::Number(value), Some(Value::Number(before))) if value >= before => {
            More::Sum(value - before)
        }
        (Value::Number(value), _) => More::Sum(*value),
        (Value::Histogram(value), Some(Value::Histogram(before)))
            if value.count() >= before.count() =>
        {
            More::Values(value.since(before).values().collect())
        }
        (Value::Histogram(value), _) => More::Values(value.values().collect()),
    }
}

#[cfg(test)]
mod tests;
