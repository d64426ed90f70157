//! A dashboard for CloudWatch: each line is a search, so that tiers and releases show up as they
//! come. The structure is that of "Dashboard Body Structure and Syntax" of its API reference.

use serde_json::{Value, json};

use super::panels::ROWS;
use super::{Panel, Place, Series};

/// Columns of a dashboard.
const WIDTH: usize = 24;
/// Of a plot: three stand side by side.
const PANEL: (usize, usize) = (8, 6);
const PERIOD_S: u32 = 60;

/// The body of a dashboard.
#[must_use]
pub fn dashboard(place: Place<'_>) -> Value {
    let mut widgets = Vec::new();
    let mut y = 0;
    for row in ROWS {
        widgets.push(json!({
            "type": "text", "x": 0, "y": y, "width": WIDTH, "height": 1,
            "properties": { "markdown": format!("## {}", row.title), "background": "transparent" },
        }));
        y += 1;
        let has_any = |panel: &&Panel| panel.series.iter().any(Series::is_sent);
        let panels: Vec<&Panel> = row.panels.iter().filter(has_any).collect();
        for (index, panel) in panels.iter().enumerate() {
            let (width, height) = PANEL;
            let per_line = WIDTH / width;
            widgets.push(json!({
                "type": "metric",
                "x": index % per_line * width,
                "y": y + index / per_line * height,
                "width": width,
                "height": height,
                "properties": properties(panel, place),
            }));
        }
        y += panels.len().div_ceil(WIDTH / PANEL.0) * PANEL.1;
    }
    json!({ "start": "-PT3H", "periodOverride": "inherit", "widgets": widgets })
}

fn properties(panel: &Panel, place: Place<'_>) -> Value {
    let metrics: Vec<Value> = (panel.series.iter().filter(|series| series.is_sent()).enumerate())
        .map(|(index, series)| {
            let label = format!("{} ${{LABEL}}", series.stat.cloudwatch());
            // One search of several keeps CloudWatch's own labels apart by the statistic.
            let expression = search(series, place);
            json!([{ "expression": expression, "id": format!("e{index}"), "label": label }])
        })
        .collect();
    json!({
        "title": panel.title,
        "view": "timeSeries",
        "region": place.region,
        "period": PERIOD_S,
        "metrics": metrics,
        "yAxis": { "left": { "min": 0 } },
    })
}

fn search(series: &Series, Place { namespace, environment, .. }: Place<'_>) -> String {
    let dimensions: Vec<&str> = series.dimensions().iter().map(|label| label.name()).collect();
    let schema = [vec![namespace, "environment"], dimensions].concat().join(",");
    let mut terms = vec![
        format!("MetricName=\"{}\"", series.metric.name),
        format!("environment=\"{environment}\""),
    ];
    terms.extend(series.only.map(|(label, value)| format!("{}=\"{value}\"", label.name())));
    let statistic = series.stat.cloudwatch();
    format!("SEARCH('{{{schema}}} {}', '{statistic}', {PERIOD_S})", terms.join(" "))
}
