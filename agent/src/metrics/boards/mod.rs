//! What people look at, and what wakes them: panels and alarms over the list of metrics, written
//! down once and rendered for CloudWatch, for Grafana and for Prometheus. Pure.

use groundcrew_core::metrics::{Kind, Label, Metric, Unit};

mod alarms;
mod cloudwatch;
mod grafana;
mod panels;
mod prometheus;

pub use alarms::{ALARMS, alarms};
pub use cloudwatch::dashboard as cloudwatch;
pub use grafana::dashboard as grafana;
pub use prometheus::rules;

/// Where the metrics are in CloudWatch.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The namespace, as `metrics.namespace` has it.
    pub namespace: &'a str,
    /// The environment: a dimension of every metric.
    pub environment: &'a str,
    /// The region.
    pub region: &'a str,
}

/// What is made of the values of a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stat {
    Sum,
    /// How many values there were: of a histogram, what was counted.
    Count,
    Average,
    Maximum,
    Minimum,
    P50,
    P90,
    P99,
}

impl Stat {
    /// As CloudWatch calls it.
    const fn cloudwatch(self) -> &'static str {
        match self {
            Self::Sum => "Sum",
            Self::Count => "SampleCount",
            Self::Average => "Average",
            Self::Maximum => "Maximum",
            Self::Minimum => "Minimum",
            Self::P50 => "p50",
            Self::P90 => "p90",
            Self::P99 => "p99",
        }
    }
}

/// One line of a panel for each combination of the labels it is told apart by.
#[derive(Debug, Clone, Copy)]
struct Series {
    metric: &'static Metric,
    by: &'static [Label],
    /// Only what has this value of a label.
    only: Option<(Label, &'static str)>,
    stat: Stat,
}

impl Series {
    /// Whether CloudWatch has it; for others it costs nothing to have more.
    fn is_sent(&self) -> bool {
        self.metric.cloudwatch.contains(&self.dimensions().as_slice())
    }

    /// The labels that CloudWatch must have as dimensions.
    fn dimensions(&self) -> Vec<Label> {
        let mut labels = self.by.to_vec();
        labels.extend(self.only.map(|(label, _)| label).filter(|label| !self.by.contains(label)));
        let listed = |set: &&&[Label]| {
            set.len() == labels.len() && set.iter().all(|label| labels.contains(label))
        };
        // In the order of the list, which is that of what is sent.
        self.metric.cloudwatch.iter().find(listed).map_or(labels.clone(), |set| set.to_vec())
    }
}

/// A plot.
#[derive(Debug)]
struct Panel {
    title: &'static str,
    series: &'static [Series],
}

/// Plots that belong together.
#[derive(Debug)]
struct Row {
    title: &'static str,
    panels: &'static [Panel],
}

/// The name of a metric for Prometheus, with the suffixes that its unit and its kind give it.
#[must_use]
pub fn prometheus_name(metric: &Metric) -> String {
    let unit = match metric.unit {
        Unit::Seconds => "_seconds",
        Unit::Bytes => "_bytes",
        Unit::Ratio => "_ratio",
        Unit::Count => "",
    };
    let kind = if metric.kind == Kind::Counter { "_total" } else { "" };
    format!("{}{unit}{kind}", metric.name.replace('.', "_"))
}

/// A query for Prometheus: of a counter and a histogram over `window`, of a gauge now.
fn promql(series: &Series, selector: &str, window: &str) -> String {
    let name = prometheus_name(series.metric);
    let mut matchers: Vec<String> =
        Some(selector.to_owned()).filter(|selector| !selector.is_empty()).into_iter().collect();
    matchers.extend(series.only.map(|(label, value)| format!("{}=\"{value}\"", label.name())));
    let labels =
        if matchers.is_empty() { String::new() } else { format!("{{{}}}", matchers.join(",")) };
    let mut by: Vec<&str> = series.by.iter().map(|label| label.name()).collect();
    let quantile = match series.stat {
        Stat::P50 => Some("0.5"),
        Stat::P90 => Some("0.9"),
        Stat::P99 => Some("0.99"),
        _ => None,
    };
    let over = |by: &[&str]| {
        if by.is_empty() { String::new() } else { format!(" by ({})", by.join(", ")) }
    };
    if series.metric.kind == Kind::Histogram {
        let Some(quantile) = quantile else {
            let by = over(&by);
            return format!("sum{by} (rate({name}_count{labels}[{window}]))");
        };
        by.insert(0, "le");
        let by = over(&by);
        let rate = format!("sum{by} (rate({name}_bucket{labels}[{window}]))");
        return format!("histogram_quantile({quantile}, {rate})");
    }
    let by = over(&by);
    if series.metric.kind == Kind::Counter {
        return format!("sum{by} (rate({name}{labels}[{window}]))");
    }
    match (series.stat, quantile) {
        (Stat::Average, _) => format!("avg{by} ({name}{labels})"),
        (Stat::Maximum, _) => format!("max{by} ({name}{labels})"),
        (Stat::Minimum, _) => format!("min{by} ({name}{labels})"),
        (_, Some(quantile)) => format!("quantile{by} ({quantile}, {name}{labels})"),
        (_, None) => format!("sum{by} ({name}{labels})"),
    }
}

#[cfg(test)]
mod tests;
