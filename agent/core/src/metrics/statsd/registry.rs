//! The series that lines add up to: bounded in number, forgotten when nobody speaks of them.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::distinct::Distinct;
use super::key::{self, Keys};
use super::line::{Bad, Line, Parsed, Type, parse};
use super::{BUCKETS_MAX, IDLE_MAX, NOTICE_EVERY, SET_INTERVAL, VALUE_MAX};
use crate::metrics::catalog;
use crate::metrics::histogram::Histogram;
use crate::metrics::{About, Kind, OwnMetric, Point, Unit, Value};
use crate::time::{Moment, ms};

/// Bytes of a bad line that are shown.
const SHOWN_BYTES_MAX: usize = 100;
/// What Prometheus puts behind names.
const SUFFIXES: [&str; 9] =
    ["_total", "_created", "_count", "_sum", "_bucket", "_info", "_seconds", "_bytes", "_ratio"];
/// The beginning of the agent's own names, those of later versions included.
const OWN_PREFIX: &str = "groundcrew_";

/// Why what was sent is not counted, though nothing is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dropped {
    /// A line would have begun one series too many.
    SeriesMax,
    /// Values that would have taken one bucket too many of their histogram.
    BucketsMax,
    /// A packet was longer than any may be: the end of it.
    Truncated,
    /// Packets for which the kernel had no room.
    Kernel,
}

impl Dropped {
    /// All of them, in their order.
    pub const ALL: [Self; 4] = [Self::SeriesMax, Self::BucketsMax, Self::Truncated, Self::Kernel];

    /// The word for it, as a label has it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::SeriesMax => "series_max",
            Self::BucketsMax => "buckets_max",
            Self::Truncated => "truncated",
            Self::Kernel => "kernel",
        }
    }
}

/// What was received, and what became of it, since the agent began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets.
    pub packets: u64,
    /// Lines that were counted.
    pub lines: u64,
    /// Lines that were not, by [`Bad`].
    pub bad: BTreeMap<Bad, u64>,
    /// What was given up, by [`Dropped`].
    pub dropped: BTreeMap<Dropped, u64>,
    /// Events of DogStatsD, which nobody here wants.
    pub events: u64,
    /// Service checks of DogStatsD, likewise.
    pub service_checks: u64,
}

/// Something that a person should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Lines are not counted.
    Bad {
        /// Why the last of them is not.
        bad: Bad,
        /// The beginning of the last of them, escaped.
        line: String,
        /// How many there were since the last notice.
        lines: u64,
    },
    /// There are as many series as there may be: new ones are not counted. Said once.
    Full {
        /// How many.
        series_max: usize,
    },
}

#[derive(Debug)]
struct Series {
    about: Arc<OwnMetric>,
    labels: Vec<(Cow<'static, str>, String)>,
    state: State,
    seen: Moment,
}

#[derive(Debug)]
enum State {
    Counter(f64),
    Gauge(f64),
    Histogram(Arc<Histogram>),
    /// Of this interval, and how many there were in the last whole one.
    Set(Distinct, Option<f64>),
}

/// A metric, and how many series it has.
#[derive(Debug)]
struct Family {
    about: Arc<OwnMetric>,
    series: usize,
    /// Told apart from gauges, which its counts are for whoever reads them.
    is_set: bool,
}

/// All series.
#[derive(Debug)]
pub struct Registry {
    series_max: usize,
    series: BTreeMap<Box<[u8]>, Series>,
    /// How many more buckets there may be, of all histograms.
    buckets_left: usize,
    /// By the name as Prometheus has it.
    families: BTreeMap<String, Family>,
    /// The names of the list, as Prometheus has them.
    reserved: BTreeSet<String>,
    counts: Counts,
    keys: Keys,
    /// When the interval of sets ends.
    turn: Option<Moment>,
    bad_lines: u64,
    notice: Option<Notice>,
    notice_from: Moment,
    is_full: bool,
}

impl Registry {
    /// With room for so many series.
    #[must_use]
    pub fn new(series_max: usize) -> Self {
        Self {
            series_max,
            series: BTreeMap::new(),
            buckets_left: BUCKETS_MAX,
            families: BTreeMap::new(),
            reserved: catalog::ALL.iter().map(|metric| as_prometheus(metric.name)).collect(),
            counts: Counts::default(),
            keys: Keys::default(),
            turn: None,
            bad_lines: 0,
            notice: None,
            notice_from: Moment(0),
            is_full: false,
        }
    }

    /// Counts what a packet says. One that was longer than what was read of it is `truncated`: its
    /// last line is not whole.
    pub fn packet(&mut self, packet: &[u8], truncated: bool, now: Moment) {
        self.counts.packets += 1;
        let mut packet = packet;
        if truncated {
            self.dropped(Dropped::Truncated, 1);
            let end = packet.iter().rposition(|byte| *byte == b'\n');
            packet = &packet[..end.unwrap_or(0)];
        }
        for line in packet.split(|byte| *byte == b'\n') {
            let line = line.trim_ascii();
            if !line.is_empty() {
                self.line(line, now);
            }
        }
    }

    /// Ends the interval of sets when it is over, and forgets what nobody speaks of. To be called
    /// before [`packet`](Self::packet) and [`points`](Self::points), however often.
    pub fn turn(&mut self, now: Moment) {
        let due = *self.turn.get_or_insert_with(|| now.plus(SET_INTERVAL));
        if now < due {
            return;
        }
        let late_ms = ms(now.since(due));
        let whole = late_ms / ms(SET_INTERVAL);
        self.turn = Some(Moment(due.0 + (whole + 1) * ms(SET_INTERVAL)));
        for series in self.series.values_mut() {
            if let State::Set(distinct, last) = &mut series.state {
                let count = distinct.take();
                // What was seen in an interval before the last one is of no interest any more.
                *last = Some(if whole == 0 { count } else { 0.0 });
            }
        }
        let (families, buckets_left) = (&mut self.families, &mut self.buckets_left);
        self.series.retain(|_, series| {
            let stays = now.since(series.seen) < IDLE_MAX;
            if !stays {
                *buckets_left += series.state.width();
                let name = as_prometheus(&series.about.name);
                if let Some(family) = families.get_mut(&name) {
                    family.series = family.series.saturating_sub(1);
                }
            }
            stays
        });
        self.families.retain(|_, family| family.series > 0);
    }

    /// How many packets the kernel has dropped up to now.
    pub fn set_dropped_by_kernel(&mut self, packets: u64) {
        self.counts.dropped.insert(Dropped::Kernel, packets);
    }

    /// What a person should know now.
    pub fn take_notice(&mut self) -> Option<Notice> {
        self.notice.take()
    }

    /// What was received.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// How many series there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Everything that was counted, and how the counting itself goes.
    #[must_use]
    pub fn points(&self) -> Vec<Point> {
        let mut points = self.own_points();
        points.extend(self.series.values().filter_map(Series::point));
        points
    }

    fn own_points(&self) -> Vec<Point> {
        const NONE: [&str; 0] = [];
        let count = |count: u64| count as f64;
        let counts = &self.counts;
        let mut points = vec![
            Point::new(&catalog::STATSD_PACKETS, NONE, count(counts.packets)),
            Point::new(&catalog::STATSD_LINES, NONE, count(counts.lines)),
            Point::new(&catalog::STATSD_SERIES, NONE, self.series.len() as f64),
            Point::new(&catalog::STATSD_IGNORED, ["event"], count(counts.events)),
            Point::new(&catalog::STATSD_IGNORED, ["service_check"], count(counts.service_checks)),
        ];
        points.extend(Bad::ALL.map(|bad| {
            let lines = counts.bad.get(&bad).copied().unwrap_or(0);
            Point::new(&catalog::STATSD_BAD, [bad.word()], count(lines))
        }));
        points.extend(Dropped::ALL.map(|dropped| {
            let lines = counts.dropped.get(&dropped).copied().unwrap_or(0);
            Point::new(&catalog::STATSD_DROPPED, [dropped.word()], count(lines))
        }));
        points
    }

    fn line(&mut self, line: &[u8], now: Moment) {
        match parse(line) {
            Ok(Parsed::Metric(metric)) => match self.metric(&metric, now) {
                Ok(true) => self.counts.lines += 1,
                Ok(false) => self.full(),
                Err(bad) => self.bad(bad, line, now),
            },
            Ok(Parsed::Event) => self.counts.events += 1,
            Ok(Parsed::ServiceCheck) => self.counts.service_checks += 1,
            Err(bad) => self.bad(bad, line, now),
        }
    }

    /// `false`: there is no room for another series.
    fn metric(&mut self, line: &Line<'_>, now: Moment) -> Result<bool, Bad> {
        let key = self.keys.of(line)?;
        if let Some(series) = self.series.get_mut(key) {
            let lost = series.add(line, now, &mut self.buckets_left);
            self.dropped(Dropped::BucketsMax, lost);
            return Ok(true);
        }
        let (name, labels) = key::parts(key);
        let named = as_prometheus(&name);
        if is_reserved(&named, &self.reserved) {
            return Err(Bad::Reserved);
        }
        let (kind, unit) = meaning(line.kind);
        let family = self.families.get_mut(&named);
        if let Some(family) = &family {
            let about = &family.about;
            if (about.name.as_str(), about.kind, about.unit) != (&name, kind, unit)
                || family.is_set != (line.kind == Type::Set)
            {
                return Err(Bad::Conflict);
            }
        }
        if self.series.len() >= self.series_max {
            return Ok(false);
        }
        let about = match family {
            Some(family) => {
                family.series += 1;
                Arc::clone(&family.about)
            }
            None => {
                let about = Arc::new(OwnMetric { name, kind, unit });
                let is_set = line.kind == Type::Set;
                let family = Family { about: Arc::clone(&about), series: 1, is_set };
                self.families.insert(named, family);
                about
            }
        };
        let mut series = Series { about, labels, state: State::new(line.kind), seen: now };
        let lost = series.add(line, now, &mut self.buckets_left);
        self.series.insert(key.into(), series);
        self.dropped(Dropped::BucketsMax, lost);
        Ok(true)
    }

    fn full(&mut self) {
        self.dropped(Dropped::SeriesMax, 1);
        if !std::mem::replace(&mut self.is_full, true) {
            self.notice = Some(Notice::Full { series_max: self.series_max });
        }
    }

    fn dropped(&mut self, dropped: Dropped, times: u64) {
        if times > 0 {
            *self.counts.dropped.entry(dropped).or_default() += times;
        }
    }

    fn bad(&mut self, bad: Bad, line: &[u8], now: Moment) {
        *self.counts.bad.entry(bad).or_default() += 1;
        self.bad_lines += 1;
        if now < self.notice_from || self.notice.is_some() {
            return;
        }
        let line = line[..line.len().min(SHOWN_BYTES_MAX)].escape_ascii().to_string();
        let lines = std::mem::take(&mut self.bad_lines);
        self.notice = Some(Notice::Bad { bad, line, lines });
        self.notice_from = now.plus(NOTICE_EVERY);
    }
}

impl State {
    fn new(kind: Type) -> Self {
        match kind {
            Type::Counter => Self::Counter(0.0),
            Type::Gauge => Self::Gauge(0.0),
            Type::Timer | Type::Histogram => Self::Histogram(Arc::default()),
            Type::Set => Self::Set(Distinct::default(), None),
        }
    }

    /// Buckets that it has.
    fn width(&self) -> usize {
        if let Self::Histogram(histogram) = self { histogram.width() } else { 0 }
    }
}

impl Series {
    /// How many values had no room in the buckets that are left for all.
    fn add(&mut self, line: &Line<'_>, now: Moment, buckets_left: &mut usize) -> u64 {
        self.seen = now;
        let mut lost = 0;
        match &mut self.state {
            State::Counter(sum) => {
                *sum += line.numbers().sum::<f64>() / line.rate;
            }
            State::Gauge(value) => {
                for (step, is_relative) in line.steps() {
                    let from = if is_relative { *value } else { 0.0 };
                    *value = (from + step).clamp(-VALUE_MAX, VALUE_MAX);
                }
            }
            State::Histogram(histogram) => {
                let histogram = Arc::make_mut(histogram);
                let scale = if line.kind == Type::Timer { 1e-3 } else { 1.0 };
                let times = times(line.rate);
                for value in line.numbers().map(|value| value * scale) {
                    if *buckets_left == 0 && histogram.widens(value) {
                        lost += 1;
                        continue;
                    }
                    let before = histogram.width();
                    histogram.record_many(value, times);
                    *buckets_left -= histogram.width() - before;
                }
            }
            State::Set(distinct, _) => distinct.insert(line.values),
        }
        lost
    }

    /// `None`: a set whose first interval is not over.
    fn point(&self) -> Option<Point> {
        let value = match &self.state {
            State::Counter(value) | State::Gauge(value) => Value::Number(*value),
            State::Histogram(histogram) => Value::Histogram(Arc::clone(histogram)),
            State::Set(_, last) => Value::Number((*last)?),
        };
        let about = About::Own(Arc::clone(&self.about));
        Some(Point { about, labels: self.labels.clone(), value })
    }
}

/// How many values one stands for.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "within 1 and a million: the parser refuses other rates"
)]
fn times(rate: f64) -> u64 {
    (1.0 / rate).round() as u64
}

const fn meaning(kind: Type) -> (Kind, Unit) {
    match kind {
        Type::Counter => (Kind::Counter, Unit::Count),
        Type::Gauge | Type::Set => (Kind::Gauge, Unit::Count),
        Type::Timer => (Kind::Histogram, Unit::Seconds),
        Type::Histogram => (Kind::Histogram, Unit::Count),
    }
}

/// A name with what Prometheus takes in names.
fn as_prometheus(name: &str) -> String {
    let usual = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let named: String = name.chars().map(usual).collect();
    if named.starts_with(|c: char| c.is_ascii_digit()) { format!("_{named}") } else { named }
}

/// Whether a name is the agent's, or would be once Prometheus has put something behind either.
fn is_reserved(named: &str, reserved: &BTreeSet<String>) -> bool {
    let mut rest = named;
    loop {
        if reserved.contains(rest) || rest.starts_with(OWN_PREFIX) {
            return true;
        }
        match SUFFIXES.iter().find_map(|suffix| rest.strip_suffix(suffix)) {
            Some(shorter) => rest = shorter,
            None => return false,
        }
    }
}
