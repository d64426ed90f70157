//! A dashboard for Grafana over Prometheus. The data source, the environment's scrape job and the
//! tiers are variables of it.

use groundcrew_core::metrics::{Kind, Unit, catalog};
use serde_json::{Value, json};

use super::panels::ROWS;
use super::{Panel, Series, prometheus_name, promql};

/// Columns of a dashboard.
const WIDTH: usize = 24;
/// Of a plot: three stand side by side.
const PANEL: (usize, usize) = (8, 8);
/// The version of the schema of Grafana 10 and later, which older dashboards are brought to.
const SCHEMA: u32 = 39;

/// The dashboard's model, as Grafana imports and provisions it.
#[must_use]
pub fn dashboard() -> Value {
    let mut panels = Vec::new();
    let mut y = 0;
    for row in ROWS {
        panels.push(json!({
            "id": panels.len() + 1, "type": "row", "title": row.title, "collapsed": false,
            "gridPos": { "x": 0, "y": y, "w": WIDTH, "h": 1 }, "panels": [],
        }));
        y += 1;
        for (index, panel) in row.panels.iter().enumerate() {
            let (width, height) = PANEL;
            let per_line = WIDTH / width;
            let at = json!({
                "x": index % per_line * width, "y": y + index / per_line * height,
                "w": width, "h": height,
            });
            panels.push(plot(panels.len() + 1, panel, at));
        }
        y += row.panels.len().div_ceil(WIDTH / PANEL.0) * PANEL.1;
    }
    let version = prometheus_name(&catalog::RELEASE);
    json!({
        "uid": "groundcrew",
        "title": "groundcrew",
        "tags": ["groundcrew"],
        "schemaVersion": SCHEMA,
        "editable": true,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": { "from": "now-3h", "to": "now" },
        "templating": { "list": variables() },
        "annotations": { "list": [{
            "name": "Releases",
            "enable": true,
            "iconColor": "blue",
            "datasource": data_source(),
            // A release shows up as current somewhere for the first time in a while.
            "expr": format!(
                "count by (release) ({version}{{role=\"current\"}}) \
                 unless count by (release) ({version}{{role=\"current\"}} offset 2m)"
            ),
            "titleFormat": "{{release}}",
        }] },
        "panels": panels,
    })
}

fn data_source() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

fn variables() -> Value {
    let ready = prometheus_name(&catalog::READY);
    let requests = prometheus_name(&catalog::ACTIVE_REQUESTS);
    let query = |name: &str, label: &str, query: String| {
        json!({
            "name": name, "label": label, "type": "query", "datasource": data_source(),
            "query": { "query": query, "refId": name }, "refresh": 2, "sort": 1,
            "includeAll": true, "multi": true, "allValue": ".*",
            "current": { "text": "All", "value": "$__all" },
        })
    };
    json!([
        {
            "name": "datasource", "label": "Data source", "type": "datasource",
            "query": "prometheus",
        },
        query("job", "Job", format!("label_values({ready}, job)")),
        query("tier", "Tier", format!("label_values({requests}{{job=~\"$job\"}}, tier)")),
    ])
}

fn plot(id: usize, panel: &Panel, at: Value) -> Value {
    let targets: Vec<Value> =
        panel.series.iter().enumerate().map(|(index, series)| target(index, series)).collect();
    let unit = panel.series.first().map_or("short", |series| {
        match (series.metric.unit, series.metric.kind) {
            (Unit::Seconds, _) => "s",
            (Unit::Bytes, _) => "bytes",
            (Unit::Ratio, _) => "percentunit",
            (Unit::Count, Kind::Counter) => "cps",
            (Unit::Count, _) => "short",
        }
    });
    json!({
        "id": id,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.series.first().map_or("", |series| series.metric.help),
        "datasource": data_source(),
        "gridPos": at,
        "fieldConfig": {
            "defaults": { "unit": unit, "min": 0, "custom": { "fillOpacity": 5 } },
            "overrides": [],
        },
        "options": { "legend": { "displayMode": "list" }, "tooltip": { "mode": "multi" } },
        "targets": targets,
    })
}

fn target(index: usize, series: &Series) -> Value {
    let tier = series.metric.labels.contains(&groundcrew_core::metrics::Label::Tier);
    let selector = if tier { "job=~\"$job\",tier=~\"$tier\"" } else { "job=~\"$job\"" };
    let names: Vec<String> =
        series.by.iter().map(|label| format!("{{{{{}}}}}", label.name())).collect();
    let statistic = match series.metric.kind {
        Kind::Counter => "",
        Kind::Gauge | Kind::Histogram => series.stat.cloudwatch(),
    };
    let id = char::from_digit(u32::try_from(index).unwrap_or(0) + 10, 36).unwrap_or('z');
    json!({
        "refId": id.to_ascii_uppercase().to_string(),
        "datasource": data_source(),
        "expr": promql(series, selector, "$__rate_interval"),
        "legendFormat": format!("{} {statistic}", names.join(" ")).trim(),
    })
}
