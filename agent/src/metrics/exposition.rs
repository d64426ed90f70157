//! Points as text, in the format of OpenMetrics 1.0. Names are those of the list, as the Prometheus
//! exporter of OpenTelemetry writes them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use groundcrew_core::metrics::histogram::Histogram;
use groundcrew_core::metrics::{About, Kind, Point, Unit, Value};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit as PrometheusUnit};

use super::points::rank;

/// Upper bounds that are told apart of a histogram, each twice the one before: for times 1.02 ms to
/// 67 s. Bounds of the finer buckets that are kept, so that the counts are exact.
const BOUNDS: [f64; 17] = [
    0.001_024, 0.002_048, 0.004_096, 0.008_192, 0.016_384, 0.032_768, 0.065_536, 0.131_072,
    0.262_144, 0.524_288, 1.048_576, 2.097_152, 4.194_304, 8.388_608, 16.777_216, 33.554_432,
    67.108_864,
];

/// The same of what is no time, four times the one before: 0.07 to 281 million.
const WIDE_BOUNDS: [f64; 17] = [
    0.065_536,
    0.262_144,
    1.048_576,
    4.194_304,
    16.777_216,
    67.108_864,
    268.435_456,
    1_073.741_824,
    4_294.967_296,
    17_179.869_184,
    68_719.476_736,
    274_877.906_944,
    1_099_511.627_776,
    4_398_046.511_104,
    17_592_186.044_416,
    70_368_744.177_664,
    281_474_976.710_656,
];

/// Which of its two formats a scraper understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus's own, 0.0.4: the same lines.
    Text,
}

impl Format {
    /// What the `Accept` of a request likes best (RFC 9110, 12.5.1). Who likes both alike gets
    /// OpenMetrics, and who does not say gets what everything reads.
    #[must_use]
    pub fn accepted(accept: &str) -> Self {
        let liked = |media_type: &str| {
            let ranges = accept.split(',').filter_map(|range| {
                let mut parts = range.split(';').map(str::trim);
                let named = parts.next()?.eq_ignore_ascii_case(media_type);
                let quality = parts.find_map(|part| {
                    let (key, value) = part.split_once('=')?;
                    key.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse::<f32>())
                });
                named.then(|| quality.and_then(Result::ok).unwrap_or(1.0))
            });
            ranges.fold(0.0_f32, f32::max)
        };
        let open_metrics = liked("application/openmetrics-text");
        if open_metrics > 0.0 && open_metrics >= liked("text/plain") {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// For the answer's `Content-Type`.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Points as text: those of one metric together, in the order of the list, then the application's.
pub fn exposition(points: Vec<Point>, format: Format) -> Result<String, fmt::Error> {
    let mut families: BTreeMap<(usize, String), Vec<Point>> = BTreeMap::new();
    for point in points {
        let place = match &point.about {
            About::Listed(metric) => rank(metric),
            About::Own(_) => usize::MAX,
        };
        families.entry((place, name(point.about.name()))).or_default().push(point);
    }
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Families(families)));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(if format == Format::Text { as_text(&text) } else { text })
}

/// The same for who knows no OpenMetrics: units and the end are not marked, and a counter's type
/// stands with the name that its samples have.
fn as_text(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        if line.starts_with("# HELP ") {
            help = Some(line);
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let suffix = if kind == "counter" { "_total" } else { "" };
            let said = help.take().and_then(|help| help.split_once(name));
            if let Some((before, after)) = said {
                text.extend([before, name, suffix, after, "\n"]);
            }
            text.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
        } else if !line.starts_with("# UNIT ") && line != "# EOF" {
            text.extend([line, "\n"]);
        }
    }
    text
}

/// By place in the list and name.
#[derive(Debug)]
struct Families(BTreeMap<(usize, String), Vec<Point>>);

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|((_, name), points)| family(&mut encoder, name, points))
    }
}

fn family(encoder: &mut DescriptorEncoder<'_>, name: &str, points: &[Point]) -> fmt::Result {
    let Some(about) = points.first().map(|point| &point.about) else { return Ok(()) };
    let ratio = PrometheusUnit::Other("ratio".to_owned());
    let unit = match about.unit() {
        Unit::Seconds => Some(&PrometheusUnit::Seconds),
        Unit::Bytes => Some(&PrometheusUnit::Bytes),
        Unit::Ratio => Some(&ratio),
        Unit::Count => None,
    };
    let kind = match about.kind() {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
        Kind::Histogram => MetricType::Histogram,
    };
    let mut metric = encoder.encode_descriptor(name, about.help(), unit, kind)?;
    // An application may call two things by names that only differ in what is not allowed here.
    let same = points.iter().filter(|point| point.about.kind() == about.kind());
    for point in same {
        let labels: Vec<(Cow<'_, str>, &str)> =
            point.labels.iter().map(|(key, value)| (label_name(key), value.as_str())).collect();
        if labels.is_empty() {
            row(&mut metric, about, &point.value)?;
        } else {
            row(&mut metric.encode_family(&labels)?, about, &point.value)?;
        }
    }
    Ok(())
}

fn row(metric: &mut MetricEncoder<'_>, about: &About, value: &Value) -> fmt::Result {
    match value {
        Value::Number(number) if about.kind() == Kind::Counter => {
            metric.encode_counter::<NoLabelSet, _, f64>(number, None)
        }
        Value::Number(number) => metric.encode_gauge(number),
        Value::Histogram(counted) => histogram(metric, about.unit(), counted),
    }
}

fn histogram(metric: &mut MetricEncoder<'_>, unit: Unit, counted: &Histogram) -> fmt::Result {
    let bounds = if unit == Unit::Seconds { BOUNDS } else { WIDE_BOUNDS };
    let mut before = 0;
    let mut buckets = Vec::with_capacity(bounds.len() + 1);
    for bound in bounds {
        let within = counted.count_within(bound);
        buckets.push((bound, within - before));
        before = within;
    }
    buckets.push((f64::INFINITY, counted.count() - before));
    metric.encode_histogram::<NoLabelSet>(counted.sum(), counted.count(), &buckets, None)
}

/// A metric's name as Prometheus has it.
fn name(name: &str) -> String {
    let usual = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut named: String = name.chars().map(|c| if usual(c) { c } else { '_' }).collect();
    if !named.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        named.insert(0, '_');
    }
    named
}

fn label_name(key: &str) -> Cow<'_, str> {
    let usual = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let begins = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if begins && key.chars().all(usual) {
        return Cow::Borrowed(key);
    }
    Cow::Owned(name(key).replace(':', "_"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use groundcrew_core::status::StatusDocument;

    use super::*;
    use crate::metrics::{Answered, Totals, of_requests, of_status};

    #[test]
    fn a_scraper_gets_what_it_understands() {
        let check = |accept, expected| assert_eq!(Format::accepted(accept), expected, "{accept}");
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;q=0.3";
        check(prometheus, Format::OpenMetrics);
        check("text/plain, Application/OpenMetrics-Text", Format::OpenMetrics);
        check("text/plain;q=0.9, application/openmetrics-text; q=0.2", Format::Text);
        check("application/openmetrics-text;q=0", Format::Text);
        check("application/openmetrics-text;q=x", Format::OpenMetrics);
        check("*/*", Format::Text);
        check("", Format::Text);
    }

    #[test]
    fn requests_are_counted_by_class_and_latency() {
        let mut totals = Totals::default();
        let mut latency = Histogram::default();
        latency.record_many(0.001, 2);
        latency.record_many(2.0, 1);
        let answered = Answered { by_class: [0, 2, 0, 0, 1], latency: Arc::new(latency) };
        totals.count(&"web".parse().unwrap(), &"v1".parse().unwrap(), &answered);
        let mut points = of_status(&status(), true);
        points.extend(of_requests(&totals));
        let text = exposition(points.clone(), Format::OpenMetrics).unwrap();
        let of = "{tier=\"web\",release=\"v1\"";
        for line in [
            "# TYPE http_server_requests counter".to_owned(),
            format!("http_server_requests_total{of},http_response_status_class=\"5xx\"}} 1.0"),
            "# UNIT http_server_request_duration_seconds seconds".to_owned(),
            format!("http_server_request_duration_seconds_count{of}}} 3"),
            "groundcrew_ready 1.0".to_owned(),
            "groundcrew_state{state=\"serving\"} 1.0".to_owned(),
            "groundcrew_state{state=\"degraded\"} 0.0".to_owned(),
            "groundcrew_pipeline_sent_total{pipeline=\"logs\"} 7.0".to_owned(),
        ] {
            assert!(text.lines().any(|known| known == line), "no {line} in\n{text}");
        }
        let last = text.lines().find(|line| line.contains("le=\"+Inf\""));
        assert!(last.is_some_and(|line| line.ends_with(" 3")), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
        let text = exposition(points, Format::Text).unwrap();
        let counter = "# HELP http_server_requests_total Requests that tiers answered.\n\
                       # TYPE http_server_requests_total counter\n";
        assert!(text.contains(counter), "{text}");
        assert!(!text.contains("# UNIT") && !text.contains("# EOF"), "{text}");
    }

    #[test]
    fn what_the_application_sends_is_told_apart_by_name_and_unit() {
        let mut registry = groundcrew_core::metrics::statsd::Registry::new(10);
        let packet = b"page.views:3|c|#http.route:/\"x\"\ncheckout:250|ms\ncart:2000|h";
        registry.packet(packet, false, groundcrew_core::time::Moment(1));
        let text = exposition(registry.points(), Format::OpenMetrics).unwrap();
        for line in [
            "page_views_total{http_route=\"/\\\"x\\\"\"} 3.0",
            "checkout_seconds_bucket{le=\"0.131072\"} 0",
            "checkout_seconds_bucket{le=\"0.262144\"} 1",
            "checkout_seconds_sum 0.25",
            "cart_bucket{le=\"1073.741824\"} 0",
            "cart_bucket{le=\"4294.967296\"} 1",
            "groundcrew_statsd_lines_total 3.0",
        ] {
            assert!(text.lines().any(|known| known == line), "no {line} in\n{text}");
        }
    }

    fn status() -> StatusDocument {
        serde_json::from_value(serde_json::json!({
            "state": "serving", "since": 1, "now": 2,
            "host": {"instance_id": null, "name": "web-1"},
            "environment": "production", "source": "s3://acme-releases/shop",
            "release": null, "previous": null, "desired": null, "rejected": null, "rollout": null,
            "reason": null, "next": null, "tiers": [],
            "disk": {"releases_bytes": 1, "logs_bytes": 2},
            "source_status": {"last_ok": 1, "error": null},
            "pipelines": [{
                "name": "logs", "sent_per_second": 1, "sent": 7, "backlog_bytes": 3,
                "oldest_ms": 1500, "last_ok": null, "dropped": 0, "rejected": 0, "reason": null
            }],
            "events": []
        }))
        .unwrap()
    }
}
