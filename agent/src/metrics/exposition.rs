//! The metrics as text, in the format of OpenMetrics 1.0. Names follow the semantic conventions of
//! OpenTelemetry where they have one, as its Prometheus exporter writes them.

use std::fmt;

use groundcrew_core::status::{PipelineStatus, ProcessStatus, State, StatusDocument, TierStatus};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::totals::{Answered, LATENCY_BOUNDS_S, Totals};

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
const STATES: [State; 5] =
    [State::Starting, State::Serving, State::Degraded, State::Draining, State::Stopped];

/// Which of its two formats a scraper understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus's own, 0.0.4: the same lines.
    Text,
}

impl Format {
    /// What the `Accept` of a request asks for.
    #[must_use]
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Text }
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

/// Everything that is measured, as text.
pub fn exposition(
    status: StatusDocument,
    totals: Totals,
    ready: bool,
) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Host { status, totals, ready }));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Host {
    status: StatusDocument,
    totals: Totals,
    ready: bool,
}

type Labels<'a> = Vec<(&'static str, &'a str)>;

impl Collector for Host {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.host(&mut encoder)?;
        self.releases(&mut encoder)?;
        self.requests(&mut encoder)?;
        self.tiers(&mut encoder)?;
        self.processes(&mut encoder)?;
        self.pipelines(&mut encoder)
    }
}

impl Host {
    fn host(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let ready = f64::from(u8::from(self.ready));
        gauge(
            encoder,
            ("groundcrew_ready", "Whether GET /ready says so.", None),
            [(vec![], ready)],
        )?;
        let states = STATES.map(|state| {
            (vec![("state", state.word())], f64::from(u8::from(self.status.state == state)))
        });
        gauge(encoder, ("groundcrew_state", "1 for the state that the host is in.", None), states)?;
        let disk = self.status.disk;
        let bytes = [("releases", disk.releases_bytes), ("logs", disk.logs_bytes)];
        let bytes = bytes.map(|(kind, bytes)| (vec![("kind", kind)], bytes as f64));
        let about = ("groundcrew_disk_usage", "What is kept on disk.", Some(&Unit::Bytes));
        gauge(encoder, about, bytes)
    }

    fn releases(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let status = &self.status;
        let roles = [
            ("current", status.release.as_ref().map(|release| &release.version)),
            ("previous", status.previous.as_ref().map(|release| &release.version)),
            ("desired", status.desired.as_ref().map(|release| &release.version)),
            ("rejected", status.rejected.as_ref().map(|release| &release.version)),
        ];
        let known = roles.iter().filter_map(|(role, version)| Some((role, (*version)?)));
        let rows = known.map(|(role, version)| {
            let release: &str = version.as_str();
            (vec![("role", *role), ("release", release)], 1.0)
        });
        let about = ("groundcrew_release", "1 for each release and what it is to the host.", None);
        gauge(encoder, about, rows.collect::<Vec<_>>())
    }

    fn requests(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Requests that tiers answered.";
        let mut metric =
            encoder.encode_descriptor("http_server_requests", help, None, MetricType::Counter)?;
        for (tier, release, answered) in self.totals.iter() {
            for (class, count) in CLASSES.iter().zip(answered.by_class) {
                let labels = vec![
                    ("tier", tier.as_str()),
                    ("release", release.as_str()),
                    ("http_response_status_class", *class),
                ];
                let mut row = metric.encode_family(&labels)?;
                row.encode_counter::<NoLabelSet, _, f64>(&count, None)?;
            }
        }
        let help = "How long answers took. The sum is made of the upper bounds of finer buckets.";
        let name = "http_server_request_duration";
        let mut metric =
            encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for (tier, release, answered) in self.totals.iter() {
            let labels = vec![("tier", tier.as_str()), ("release", release.as_str())];
            histogram(metric.encode_family(&labels)?, answered)?;
        }
        Ok(())
    }

    fn tiers(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        type Read = fn(&TierStatus) -> u64;
        let gauges: [(&str, &str, Read); 6] = [
            ("http_server_active_requests", "Requests being answered.", |tier| tier.in_flight),
            ("http_server_open_connections", "Open connections.", |tier| tier.connections),
            ("groundcrew_tier_websockets", "Open WebSocket connections.", |tier| tier.websockets),
            ("groundcrew_tier_processes_ready", "Processes that are ready.", |tier| {
                u64::from(tier.ready)
            }),
            ("groundcrew_tier_processes_wanted", "Processes there should be.", |tier| {
                u64::from(tier.wanted)
            }),
            ("groundcrew_tier_restarts", "Restarts since the generation began.", |tier| {
                u64::from(tier.restarts)
            }),
        ];
        for (name, help, read) in gauges {
            let tiers = self.status.tiers.iter();
            let rows = tiers.map(|tier| (vec![("tier", tier.name.as_str())], read(tier) as f64));
            gauge(encoder, (name, help, None), rows.collect::<Vec<_>>())?;
        }
        Ok(())
    }

    fn processes(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        type Read = fn(&ProcessStatus) -> Option<f64>;
        let (bytes, seconds) = (Unit::Bytes, Unit::Seconds);
        let gauges: [(&str, &str, Option<&Unit>, Read); 4] = [
            ("process_memory_usage", "Resident memory.", Some(&bytes), |process| {
                process.rss_bytes.map(|bytes| bytes as f64)
            }),
            ("process_cpu_utilization_ratio", "Share of one core.", None, |process| {
                process.cpu_percent.map(|percent| f64::from(percent) / 100.0)
            }),
            ("nodejs_eventloop_delay_p99", "Delay of the event loop.", Some(&seconds), |process| {
                process.loop_lag_us.map(|us| us as f64 / 1e6)
            }),
            ("groundcrew_process_restarts", "Restarts of the process.", None, |process| {
                Some(f64::from(process.restarts))
            }),
        ];
        let processes = || {
            let tiers = self.status.tiers.iter();
            tiers.flat_map(|tier| tier.processes.iter().map(move |process| (tier, process)))
        };
        let names: Vec<String> = processes().map(|(_, process)| process.id.to_string()).collect();
        for (name, help, unit, read) in gauges {
            let rows = processes().zip(&names).filter_map(|((tier, process), id)| {
                let labels = vec![("tier", tier.name.as_str()), ("process", id.as_str())];
                Some((labels, read(process)?))
            });
            gauge(encoder, (name, help, unit), rows.collect::<Vec<_>>())?;
        }
        Ok(())
    }

    fn pipelines(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        type Read = fn(&PipelineStatus) -> u64;
        let pipelines = || self.status.pipelines.iter();
        let sums: [(&str, &str, Read); 3] = [
            ("groundcrew_pipeline_sent", "Events that were accepted.", |pipeline| pipeline.sent),
            ("groundcrew_pipeline_dropped", "Events that were given up.", |pipeline| {
                pipeline.dropped
            }),
            ("groundcrew_pipeline_rejected", "Events that were refused.", |pipeline| {
                pipeline.rejected
            }),
        ];
        for (name, help, read) in sums {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for pipeline in pipelines() {
                let labels = vec![("pipeline", pipeline.name.as_str())];
                let mut row = metric.encode_family(&labels)?;
                row.encode_counter::<NoLabelSet, _, f64>(&read(pipeline), None)?;
            }
        }
        let backlog = pipelines().map(|pipeline| {
            (vec![("pipeline", pipeline.name.as_str())], pipeline.backlog_bytes as f64)
        });
        let about = ("groundcrew_pipeline_backlog", "What waits.", Some(&Unit::Bytes));
        gauge(encoder, about, backlog.collect::<Vec<_>>())?;
        let oldest = pipelines().map(|pipeline| {
            let seconds = pipeline.oldest_ms.unwrap_or(0) as f64 / 1000.0;
            (vec![("pipeline", pipeline.name.as_str())], seconds)
        });
        let help = "How long the oldest of it waits.";
        let about = ("groundcrew_pipeline_oldest", help, Some(&Unit::Seconds));
        gauge(encoder, about, oldest.collect::<Vec<_>>())
    }
}

/// A family of gauges.
fn gauge<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, unit): (&str, &str, Option<&Unit>),
    rows: impl IntoIterator<Item = (Labels<'a>, f64)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
    for (labels, value) in rows {
        if labels.is_empty() {
            metric.encode_gauge(&value)?;
        } else {
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
    }
    Ok(())
}

fn histogram(mut metric: MetricEncoder<'_>, answered: &Answered) -> fmt::Result {
    let bounds = LATENCY_BOUNDS_S.into_iter().chain([f64::INFINITY]);
    let buckets: Vec<(f64, u64)> = bounds.zip(answered.by_latency).collect();
    let count = answered.by_latency.iter().fold(0, |sum: u64, more| sum.saturating_add(*more));
    metric.encode_histogram::<NoLabelSet>(answered.seconds, count, &buckets, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scraper_gets_what_it_understands() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;q=0.3";
        assert_eq!(Format::accepted(prometheus), Format::OpenMetrics);
        assert_eq!(Format::accepted("*/*"), Format::Text);
        assert_eq!(Format::accepted(""), Format::Text);
    }

    #[test]
    fn requests_are_counted_by_class_and_latency() {
        let mut totals = Totals::default();
        let mut answered = Answered { by_class: [0, 2, 0, 0, 1], ..Answered::default() };
        answered.add_latency(0.001, 2);
        answered.add_latency(2.0, 1);
        totals.count(&"web".parse().unwrap(), &"v1".parse().unwrap(), &answered);
        let text = exposition(status(), totals, true).unwrap();
        let of = "{tier=\"web\",release=\"v1\"";
        for line in [
            "# TYPE http_server_requests counter".to_owned(),
            format!("http_server_requests_total{of},http_response_status_class=\"5xx\"}} 1"),
            "# UNIT http_server_request_duration_seconds seconds".to_owned(),
            format!("http_server_request_duration_seconds_count{of}}} 3"),
            "groundcrew_ready 1.0".to_owned(),
            "groundcrew_state{state=\"serving\"} 1.0".to_owned(),
            "groundcrew_state{state=\"degraded\"} 0.0".to_owned(),
            "groundcrew_pipeline_sent_total{pipeline=\"logs\"} 7".to_owned(),
        ] {
            assert!(text.lines().any(|known| known == line), "no {line} in\n{text}");
        }
        let last = text.lines().find(|line| line.contains("le=\"+Inf\""));
        assert!(last.is_some_and(|line| line.ends_with(" 3")), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
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
