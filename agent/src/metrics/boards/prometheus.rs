//! The alarms as rules for Prometheus, with recording rules of what people ask for most. As JSON,
//! which every reader of YAML reads.

use groundcrew_core::metrics::{Kind, Label, catalog};
use serde_json::{Value, json};

use super::alarms::{ALARMS, Alarm, Measure, Silence};
use super::{Series, Stat, promql};

const WINDOW: &str = "5m";

/// A rules file.
#[must_use]
pub fn rules() -> Value {
    let alerts: Vec<Value> = ALARMS.iter().map(alert).collect();
    json!({ "groups": [
        { "name": "groundcrew.records", "rules": records() },
        { "name": "groundcrew.alerts", "rules": alerts },
    ] })
}

/// What is asked for often is worked out once.
fn records() -> Vec<Value> {
    let tier: &[Label] = &[Label::Tier];
    let of = |stat| Series { metric: &catalog::REQUEST_DURATION, by: tier, only: None, stat };
    let named = [
        ("groundcrew:requests:rate5m", of(Stat::Count)),
        ("groundcrew:latency:p50_5m", of(Stat::P50)),
        ("groundcrew:latency:p99_5m", of(Stat::P99)),
    ];
    let record = |(name, series): (&str, Series)| {
        let expression = promql(&series, "", WINDOW);
        json!({ "record": name, "expr": expression })
    };
    named.into_iter().map(record).collect()
}

fn alert(alarm: &Alarm) -> Value {
    let value = match alarm.measure {
        Measure::One(series) => promql(&series, "", WINDOW),
        Measure::Share(part, whole) => {
            format!("{} / {}", promql(&part, "", WINDOW), promql(&whole, "", WINDOW))
        }
    };
    let operator = if alarm.below { "<" } else { ">" };
    let mut expression = format!("{value} {operator} {}", alarm.threshold);
    if alarm.silence == Silence::Bad {
        let series = alarm.series();
        let absent = series
            .iter()
            .map(|series| format!(" or absent({})", super::prometheus_name(series.metric)));
        expression.extend(absent);
    }
    // A rate over five minutes is slow by itself.
    let counted = alarm.series().iter().any(|series| series.metric.kind != Kind::Gauge);
    let wait = if counted { alarm.minutes.0 - 1 } else { alarm.minutes.0 };
    let name: String = alarm.id.split('-').map(capitalised).collect();
    json!({
        "alert": format!("Groundcrew{name}"),
        "expr": expression,
        "for": format!("{wait}m"),
        "labels": { "severity": alarm.severity.word() },
        "annotations": { "summary": alarm.summary, "description": alarm.action },
    })
}

fn capitalised(word: &str) -> String {
    let (first, rest) = word.split_at(word.len().min(1));
    first.to_ascii_uppercase() + rest
}
