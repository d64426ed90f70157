//! The list of metrics, for people.

use groundcrew_core::metrics::{Kind, Label, Metric};

use super::Style;
use super::table::{Align, Cell, table};
use crate::metrics::boards::prometheus_name;

/// One line a metric; in the last column the series that CloudWatch has of it, beside the
/// environment.
pub fn render(metrics: &[&'static Metric], style: Style) -> String {
    let names = |labels: &[Label]| -> String {
        labels.iter().map(|label| label.name()).collect::<Vec<_>>().join(",")
    };
    let rows: Vec<[Cell; 4]> = (metrics.iter())
        .map(|metric| {
            let kind = match metric.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            let sets = metric.cloudwatch.iter().map(|set| match *set {
                [] => "whole".to_owned(),
                set => format!("by {}", names(set)),
            });
            let sent = sets.collect::<Vec<_>>().join("; ");
            let sent = if sent.is_empty() { "-".to_owned() } else { sent };
            [prometheus_name(metric).into(), kind.into(), names(metric.labels).into(), sent.into()]
        })
        .collect();
    let columns = [
        ("METRIC", Align::Left),
        ("KIND", Align::Left),
        ("LABELS", Align::Left),
        ("CLOUDWATCH", Align::Left),
    ];
    table(columns, &rows, style)
}
