//! What wakes a person, and what can wait for the morning: one list for CloudWatch and Prometheus.

use groundcrew_core::metrics::{Label, Metric, catalog};
use serde_json::{Value, json};

use super::{Place, Series, Stat};

const TIER: &[Label] = &[Label::Tier];
const PIPELINE: &[Label] = &[Label::Pipeline];
const BACKUP: &[Label] = &[Label::Backup];
const PERIOD_S: u32 = 60;

/// How soon somebody has to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Now: users notice.
    Page,
    /// In the morning.
    Ticket,
}

impl Severity {
    /// The word in tags and labels.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Ticket => "ticket",
        }
    }
}

/// What no data means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Silence {
    /// Nothing happened.
    Fine,
    /// Nobody measures any more.
    Bad,
}

/// What an alarm looks at.
#[derive(Debug, Clone, Copy)]
pub(super) enum Measure {
    /// A series.
    One(Series),
    /// The first as a share of the second.
    Share(Series, Series),
}

/// One alarm; one for each value of the labels that its series is told apart by.
#[derive(Debug)]
pub struct Alarm {
    /// Its name, behind that of the environment.
    pub id: &'static str,
    /// What is wrong, in a sentence.
    pub summary: &'static str,
    /// What to do about it, in a sentence.
    pub action: &'static str,
    /// How soon.
    pub severity: Severity,
    pub(super) measure: Measure,
    /// Above it (or below) for so many of the last minutes.
    pub(super) threshold: f64,
    pub(super) below: bool,
    pub(super) minutes: (u32, u32),
    pub(super) silence: Silence,
}

const fn tier(metric: &'static Metric, stat: Stat) -> Series {
    Series { metric, by: TIER, only: None, stat }
}

const fn pipeline(metric: &'static Metric, stat: Stat) -> Series {
    Series { metric, by: PIPELINE, only: None, stat }
}

const fn backup(metric: &'static Metric, stat: Stat) -> Series {
    Series { metric, by: BACKUP, only: None, stat }
}

const fn whole(metric: &'static Metric, stat: Stat) -> Series {
    Series { metric, by: &[], only: None, stat }
}

/// Every alarm.
pub static ALARMS: &[Alarm] = &[
    Alarm {
        id: "server-errors",
        summary: "More than 5 % of a tier's answers are server errors.",
        action: "`groundcrew status` and `groundcrew logs --tier TIER` say why.",
        severity: Severity::Page,
        measure: Measure::Share(
            Series {
                metric: &catalog::REQUESTS,
                by: TIER,
                only: Some((Label::StatusClass, "5xx")),
                stat: Stat::Sum,
            },
            tier(&catalog::REQUEST_DURATION, Stat::Count),
        ),
        threshold: 0.05,
        below: false,
        minutes: (3, 5),
        silence: Silence::Fine,
    },
    Alarm {
        id: "latency",
        summary: "One of a hundred requests of a tier takes longer than two seconds.",
        action: "Look at the event-loop delay and CPU of the tier, then at what it waits for.",
        severity: Severity::Ticket,
        measure: Measure::One(tier(&catalog::REQUEST_DURATION, Stat::P99)),
        threshold: 2.0,
        below: false,
        minutes: (10, 15),
        silence: Silence::Fine,
    },
    Alarm {
        id: "no-process-ready",
        summary: "A host has a tier without a process that is ready.",
        action: "Read `groundcrew status` on the host that is degraded.",
        severity: Severity::Page,
        measure: Measure::One(tier(&catalog::PROCESSES_READY, Stat::Minimum)),
        threshold: 1.0,
        below: true,
        minutes: (5, 5),
        silence: Silence::Fine,
    },
    Alarm {
        id: "no-host-ready",
        summary: "Most hosts are not ready, or no host says anything.",
        action: "Look at the Auto Scaling group's activity, then at `groundcrew status` on a host.",
        severity: Severity::Page,
        measure: Measure::One(Series {
            metric: &catalog::READY,
            by: &[],
            only: None,
            stat: Stat::Average,
        }),
        threshold: 0.5,
        below: true,
        minutes: (5, 5),
        silence: Silence::Bad,
    },
    Alarm {
        id: "eventloop-blocked",
        summary: "The event loop of a process of a tier is late by more than a quarter second.",
        action: "Profile the tier: something computes where it should wait.",
        severity: Severity::Ticket,
        measure: Measure::One(tier(&catalog::EVENTLOOP_DELAY_P99, Stat::Maximum)),
        threshold: 0.25,
        below: false,
        minutes: (10, 15),
        silence: Silence::Fine,
    },
    Alarm {
        id: "deployment-failed",
        summary: "A release was rejected, and hosts went back to the one before.",
        action: "`groundcrew releases` says why; mend it and promote a new version.",
        severity: Severity::Ticket,
        measure: Measure::One(Series {
            metric: &catalog::DEPLOYMENTS,
            by: &[],
            only: Some((Label::Reason, "rejected")),
            stat: Stat::Sum,
        }),
        threshold: 0.0,
        below: false,
        minutes: (1, 1),
        silence: Silence::Fine,
    },
    Alarm {
        id: "drain-incomplete",
        summary: "A host left while requests were still being answered.",
        action: "Compare the tier's bleed with the hook's timeout: `groundcrew doctor`.",
        severity: Severity::Ticket,
        measure: Measure::One(Series {
            metric: &catalog::DRAINS,
            by: &[],
            only: Some((Label::Reason, "incomplete")),
            stat: Stat::Sum,
        }),
        threshold: 0.0,
        below: false,
        minutes: (1, 1),
        silence: Silence::Fine,
    },
    Alarm {
        id: "host-cpu",
        summary: "The CPUs of the hosts are nearly always busy.",
        action: "Scale out by the group's policy, then profile.",
        severity: Severity::Ticket,
        measure: Measure::One(whole(&catalog::HOST_CPU, Stat::Average)),
        threshold: 0.9,
        below: false,
        minutes: (15, 15),
        silence: Silence::Fine,
    },
    Alarm {
        id: "host-memory",
        summary: "A host has nearly no memory left.",
        action: "Look for the process that grows; lower processes or raise the instance type.",
        severity: Severity::Ticket,
        measure: Measure::One(whole(&catalog::HOST_MEMORY_SHARE, Stat::Maximum)),
        threshold: 0.92,
        below: false,
        minutes: (5, 10),
        silence: Silence::Fine,
    },
    Alarm {
        id: "host-disk",
        summary: "A filesystem of a host is nearly full.",
        action: "`df -h` on the host; releases.keep and logs.disk_max bound what groundcrew keeps.",
        severity: Severity::Ticket,
        measure: Measure::One(whole(&catalog::FILESYSTEM_FULLEST, Stat::Maximum)),
        threshold: 0.85,
        below: false,
        minutes: (5, 5),
        silence: Silence::Fine,
    },
    Alarm {
        id: "pipeline-stuck",
        summary: "What leaves the hosts, such as logs, waits for more than a quarter of an hour.",
        action: "`groundcrew status` on the host says why; often a right is missing.",
        severity: Severity::Ticket,
        measure: Measure::One(pipeline(&catalog::PIPELINE_OLDEST, Stat::Maximum)),
        threshold: 900.0,
        below: false,
        minutes: (5, 5),
        silence: Silence::Fine,
    },
    Alarm {
        id: "pipeline-dropped",
        summary: "Something that should have left a host was given up.",
        action: "`groundcrew logs audit` on the host says what and why.",
        severity: Severity::Ticket,
        measure: Measure::One(pipeline(&catalog::PIPELINE_DROPPED, Stat::Sum)),
        threshold: 0.0,
        below: false,
        minutes: (1, 1),
        silence: Silence::Fine,
    },
    Alarm {
        id: "pipeline-refused",
        summary: "Something that left a host was refused on the other side, and kept on the host.",
        action: "`groundcrew logs audit` says why; `groundcrew logs replay` sends it again.",
        severity: Severity::Ticket,
        measure: Measure::One(pipeline(&catalog::PIPELINE_REJECTED, Stat::Sum)),
        threshold: 0.0,
        below: false,
        minutes: (1, 1),
        silence: Silence::Fine,
    },
    Alarm {
        id: "backup-stale",
        summary: "The newest backup of a job is too old, or no host says anything about it.",
        action: "`groundcrew status` says why; `groundcrew backups run JOB` makes one now.",
        severity: Severity::Page,
        // A host that has just come may not know the newest one yet.
        measure: Measure::One(backup(&catalog::BACKUP_STALENESS, Stat::Minimum)),
        threshold: 1.0,
        below: false,
        minutes: (15, 15),
        silence: Silence::Bad,
    },
    Alarm {
        id: "backup-failing",
        summary: "A backup was not made, or is bad, as all hosts see it.",
        action: "`groundcrew backups list` shows what there is, `groundcrew status` why.",
        severity: Severity::Page,
        measure: Measure::One(backup(&catalog::BACKUP_FAILING, Stat::Minimum)),
        threshold: 0.0,
        below: false,
        minutes: (5, 5),
        silence: Silence::Fine,
    },
    Alarm {
        id: "backup-unverified",
        summary: "No backup of a job was proved at a level for over 40 days.",
        action: "`groundcrew backups verify ID --level LEVEL` says why not.",
        severity: Severity::Ticket,
        measure: Measure::One(Series {
            metric: &catalog::BACKUP_VERIFIED_AGE,
            by: &[Label::Backup, Label::Level],
            only: None,
            stat: Stat::Minimum,
        }),
        // A level that is proved once a month is not late before that.
        threshold: 40.0 * 86_400.0,
        below: false,
        minutes: (15, 15),
        silence: Silence::Fine,
    },
];

impl Alarm {
    pub(super) fn series(&self) -> Vec<Series> {
        match self.measure {
            Measure::One(series) => vec![series],
            Measure::Share(part, whole) => vec![part, whole],
        }
    }

    /// The labels that there is one alarm each of.
    pub(super) fn by(&self) -> &'static [Label] {
        match self.measure {
            Measure::One(series) | Measure::Share(series, _) => series.by,
        }
    }
}

/// The alarms as data for `aws_cloudwatch_metric_alarm`: `per` names the dimensions of which each
/// value has an alarm of its own, and stands as `<tier>` where the value belongs.
#[must_use]
pub fn alarms(place: Place<'_>) -> Value {
    let alarms: Vec<Value> = ALARMS.iter().map(|alarm| definition(alarm, place)).collect();
    json!({ "alarms": alarms })
}

fn definition(alarm: &Alarm, place: Place<'_>) -> Value {
    let series = alarm.series();
    let queries: Vec<Value> = (series.iter().enumerate())
        .map(|(index, series)| query(index, series, series_is_result(alarm), place))
        .chain(match alarm.measure {
            Measure::One(_) => None,
            Measure::Share(..) => Some(json!({
                // Without answers there is no share, and no alarm.
                "id": "share", "expression": "IF(m1 > 0, FILL(m0, 0) / m1, 0)",
                "label": alarm.id, "return_data": true,
            })),
        })
        .collect();
    let per: Vec<&str> = alarm.by().iter().map(|label| label.name()).collect();
    json!({
        "id": alarm.id,
        "per": per,
        "severity": alarm.severity.word(),
        "description": format!("{} {}", alarm.summary, alarm.action),
        "comparison_operator":
            if alarm.below { "LessThanThreshold" } else { "GreaterThanThreshold" },
        "threshold": alarm.threshold,
        "datapoints_to_alarm": alarm.minutes.0,
        "evaluation_periods": alarm.minutes.1,
        "treat_missing_data": match alarm.silence {
            Silence::Fine => "notBreaching",
            Silence::Bad => "breaching",
        },
        "metric_queries": queries,
    })
}

fn series_is_result(alarm: &Alarm) -> bool {
    matches!(alarm.measure, Measure::One(_))
}

fn query(index: usize, series: &Series, result: bool, place: Place<'_>) -> Value {
    let mut dimensions = serde_json::Map::new();
    dimensions.insert("environment".to_owned(), place.environment.into());
    for label in series.dimensions() {
        let only = series.only.filter(|(known, _)| *known == label);
        let value = only.map_or(format!("<{}>", label.name()), |(_, value)| value.to_owned());
        dimensions.insert(label.name().to_owned(), value.into());
    }
    json!({
        "id": format!("m{index}"),
        "return_data": result,
        "metric": {
            "namespace": place.namespace,
            "metric_name": series.metric.name,
            "dimensions": dimensions,
            "period": PERIOD_S,
            "stat": series.stat.cloudwatch(),
        },
    })
}
