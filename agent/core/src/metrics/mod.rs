//! What is measured: the one list of metrics, the points that are gathered of them, and histograms.
//! Pure; the shell measures, and sends.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub mod catalog;
pub mod counters;
pub mod exits;
pub mod histogram;
pub mod host;
pub mod minute;
pub mod outbox;
pub mod series;
pub mod settings;
pub mod statsd;

use histogram::Histogram;

/// How the values of a metric add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Only grows while the agent lives; its difference is what happened.
    Counter,
    /// What is now.
    Gauge,
    /// Many values, by size.
    Histogram,
}

/// What a value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Seconds, also parts of them.
    Seconds,
    /// Bytes.
    Bytes,
    /// A share: 0 to 1, or more of what can be there more than once, such as cores.
    Ratio,
    /// Things; or nothing at all.
    Count,
}

/// What tells the points of a metric apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Label {
    /// A tier.
    Tier,
    /// A release's version.
    Release,
    /// A process, such as `web.17.1`.
    Process,
    /// `2xx`.
    StatusClass,
    /// A word for what something is doing, such as `user` of CPU time or `serving` of a host.
    State,
    /// What a release is to the host.
    Role,
    /// Which kind of a few.
    Kind,
    /// A disk or a network interface.
    Device,
    /// `read`, `write`, `receive`, `transmit`.
    Direction,
    /// Where a filesystem is mounted.
    Mountpoint,
    /// A way out of the host, such as `logs`.
    Pipeline,
    /// How something ended, or why.
    Reason,
    /// A part of a rollout or of a drain.
    Stage,
    /// A job of backups.
    Backup,
    /// How well a backup is proved, such as `L1`.
    Level,
    /// A region of AWS.
    Region,
    /// Which kind of garbage collection.
    GcType,
    /// Of the agent.
    Version,
}

impl Label {
    /// The name, as scrapers and CloudWatch see it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tier => "tier",
            Self::Release => "release",
            Self::Process => "process",
            Self::StatusClass => "http_response_status_class",
            Self::State => "state",
            Self::Role => "role",
            Self::Kind => "kind",
            Self::Device => "device",
            Self::Direction => "direction",
            Self::Mountpoint => "mountpoint",
            Self::Pipeline => "pipeline",
            Self::Reason => "reason",
            Self::Stage => "stage",
            Self::Backup => "backup",
            Self::Level => "level",
            Self::Region => "region",
            Self::GcType => "v8js_gc_type",
            Self::Version => "version",
        }
    }
}

/// A metric of the list in [`catalog`].
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// As the semantic conventions of OpenTelemetry have it, where they have one.
    pub name: &'static str,
    /// How values add up.
    pub kind: Kind,
    /// What they count.
    pub unit: Unit,
    /// What tells its points apart.
    pub labels: &'static [Label],
    /// Which of the labels CloudWatch gets as dimensions, beside the environment; what is told
    /// apart by the others is added up. One series for each set, each paid for; none: it is not
    /// sent.
    pub cloudwatch: &'static [&'static [Label]],
    /// A sentence for people.
    pub help: &'static str,
}

/// A metric that the application made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnMetric {
    /// As the application named it.
    pub name: String,
    /// How values add up.
    pub kind: Kind,
    /// What they count.
    pub unit: Unit,
}

/// What a point is of.
#[derive(Debug, Clone)]
pub enum About {
    /// A metric of the list.
    Listed(&'static Metric),
    /// One of the application's.
    Own(Arc<OwnMetric>),
}

impl About {
    /// The metric's name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Listed(metric) => metric.name,
            Self::Own(metric) => &metric.name,
        }
    }

    /// How its values add up.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Listed(metric) => metric.kind,
            Self::Own(metric) => metric.kind,
        }
    }

    /// What they count.
    #[must_use]
    pub fn unit(&self) -> Unit {
        match self {
            Self::Listed(metric) => metric.unit,
            Self::Own(metric) => metric.unit,
        }
    }

    /// A sentence for people.
    #[must_use]
    pub fn help(&self) -> &'static str {
        match self {
            Self::Listed(metric) => metric.help,
            Self::Own(_) => "Sent by the application.",
        }
    }
}

/// What was measured.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Of a counter, since the agent began; or of a gauge, now.
    Number(f64),
    /// Since the agent began. Shared: histograms are kept by who counts, and read by many.
    Histogram(Arc<Histogram>),
}

/// One measurement: a metric, what tells it apart, and a value.
#[derive(Debug, Clone)]
pub struct Point {
    /// Of what.
    pub about: About,
    /// Names and values, in the order of the metric's labels.
    pub labels: Vec<(Cow<'static, str>, String)>,
    /// What was measured.
    pub value: Value,
}

impl Point {
    /// A point of a listed metric; `labels` are the values of its labels, in their order.
    #[must_use]
    pub fn new(
        metric: &'static Metric,
        labels: impl IntoIterator<Item = impl Into<String>>,
        value: f64,
    ) -> Self {
        Self::with(metric, labels, Value::Number(value))
    }

    /// The same, with a histogram or a number.
    #[must_use]
    pub fn with(
        metric: &'static Metric,
        labels: impl IntoIterator<Item = impl Into<String>>,
        value: Value,
    ) -> Self {
        let names = metric.labels.iter().map(|label| Cow::Borrowed(label.name()));
        let labels: Vec<_> = names.zip(labels.into_iter().map(Into::into)).collect();
        debug_assert_eq!(labels.len(), metric.labels.len(), "{}", metric.name);
        Self { about: About::Listed(metric), labels, value }
    }
}
