//! What is shown and what wakes people is what is measured and sent.

use std::collections::BTreeSet;

use groundcrew_core::metrics::catalog::ALL;
use groundcrew_core::metrics::histogram::Histogram;
use groundcrew_core::metrics::{Point, Value};
use serde_json::Value as Json;

use super::panels::ROWS;
use super::*;
use crate::metrics::{Format, exposition};

const PLACE: Place<'static> =
    Place { namespace: "groundcrew", environment: "production", region: "eu-west-1" };

/// Every series of every panel and alarm.
fn series() -> Vec<Series> {
    let panels = ROWS.iter().flat_map(|row| row.panels);
    let shown = panels.flat_map(|panel| panel.series.iter().copied());
    shown.chain(ALARMS.iter().flat_map(alarms::Alarm::series)).collect()
}

#[test]
fn what_wakes_people_is_sent_and_what_is_shown_makes_sense() {
    for series in ALARMS.iter().flat_map(alarms::Alarm::series) {
        let dimensions = series.dimensions();
        assert!(series.is_sent(), "CloudWatch has no {} by {dimensions:?}", series.metric.name);
    }
    let board = cloudwatch(PLACE).to_string();
    for series in series() {
        let labels = series.by.iter().chain(series.only.as_ref().map(|(label, _)| label));
        let known = labels.clone().all(|label| series.metric.labels.contains(label));
        assert!(known, "{} is not told apart by {:?}", series.metric.name, series.by);
        let shown = board.contains(&format!("MetricName=\\\"{}\\\"", series.metric.name));
        assert!(shown || !series.is_sent(), "{} is sent and not shown", series.metric.name);
        let quantile = matches!(series.stat, Stat::P50 | Stat::P90 | Stat::P99);
        let sensible = match series.metric.kind {
            Kind::Counter => series.stat == Stat::Sum,
            Kind::Gauge => !matches!(series.stat, Stat::Sum | Stat::Count),
            Kind::Histogram => quantile || series.stat == Stat::Count,
        };
        assert!(sensible, "{:?} of {}", series.stat, series.metric.name);
    }
}

/// The names in a query: words that are neither functions nor labels.
fn names(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let prefixes: BTreeSet<_> =
        ALL.iter().filter_map(|metric| metric.name.split('.').next()).collect();
    let begins = |word: &&str| {
        word.split_once('_').is_some_and(|(first, _)| prefixes.contains(first))
            && ![Label::StatusClass.name(), Label::GcType.name()].contains(word)
    };
    words.filter(begins).map(str::to_owned).collect()
}

fn expressions(value: &Json, found: &mut Vec<String>) {
    match value {
        Json::Object(map) => {
            for (key, value) in map {
                match value {
                    Json::String(text) if key == "expr" => found.push(text.clone()),
                    value => expressions(value, found),
                }
            }
        }
        Json::Array(values) => values.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

#[test]
fn what_is_asked_of_prometheus_is_what_a_scrape_has() {
    let point = |metric: &'static Metric| {
        let value = match metric.kind {
            Kind::Histogram => Value::Histogram(std::sync::Arc::new(Histogram::default())),
            Kind::Counter | Kind::Gauge => Value::Number(1.0),
        };
        Point::with(metric, metric.labels.iter().map(|_| "x"), value)
    };
    let scraped = ALL.iter().map(|metric| point(metric)).collect();
    let scraped = exposition(scraped, Format::Text).unwrap();
    let samples: BTreeSet<&str> = (scraped.lines().filter(|line| !line.starts_with('#')))
        .filter_map(|line| line.split([' ', '{']).next())
        .collect();
    let mut asked = Vec::new();
    expressions(&grafana(), &mut asked);
    expressions(&rules(), &mut asked);
    assert!(asked.len() > 20, "{asked:?}");
    for expression in asked {
        let names = names(&expression);
        assert!(!names.is_empty(), "{expression} asks for nothing that is known");
        for name in names {
            assert!(samples.contains(name.as_str()), "{name} of {expression} in\n{scraped}");
        }
    }
}

#[test]
fn alarms_have_names_of_their_own() {
    let ids: BTreeSet<_> = ALARMS.iter().map(|alarm| alarm.id).collect();
    assert_eq!(ids.len(), ALARMS.len());
    for alarm in ALARMS {
        assert!(alarm.minutes.0 >= 1 && alarm.minutes.0 <= alarm.minutes.1, "{}", alarm.id);
        assert!(alarm.summary.ends_with('.') && alarm.action.ends_with('.'), "{}", alarm.id);
    }
}

#[test]
fn widgets_lie_beside_each_other() {
    let board = cloudwatch(PLACE);
    let widgets = board["widgets"].as_array().unwrap();
    let number = |widget: &Json, key: &str| widget[key].as_u64().unwrap();
    let mut taken = BTreeSet::new();
    for widget in widgets {
        let (x, y) = (number(widget, "x"), number(widget, "y"));
        let (width, height) = (number(widget, "width"), number(widget, "height"));
        assert!(x + width <= 24, "{widget}");
        for cell in (x..x + width).flat_map(|x| (y..y + height).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{widget} lies on another");
        }
    }
}

#[test]
fn a_search_and_a_share_read_as_cloudwatch_wants_them() {
    let board = cloudwatch(PLACE).to_string();
    let search = "SEARCH('{groundcrew,environment,tier} \
                  MetricName=\\\"http.server.request.duration\\\" \
                  environment=\\\"production\\\"', 'p99', 60)";
    assert!(board.contains(search), "{board}");
    let alarms = alarms(PLACE);
    let errors = &alarms["alarms"][0];
    assert_eq!(errors["per"], serde_json::json!(["tier"]));
    let dimensions = &errors["metric_queries"][0]["metric"]["dimensions"];
    let expected = serde_json::json!({
        "environment": "production", "tier": "<tier>", "http_response_status_class": "5xx",
    });
    assert_eq!(*dimensions, expected);
    assert_eq!(errors["metric_queries"][2]["return_data"], true);
}
