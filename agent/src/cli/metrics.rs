//! `groundcrew metrics`: the list of metrics, and what is made of it. Asks nobody.

use groundcrew_core::metrics::{Kind, Label, Metric, catalog};
use serde_json::json;

use super::EXIT_OK;
use super::args::{MetricsArgs, MetricsCommand, PlaceArgs};
use super::render;
use super::terminal::Output;
use crate::metrics::boards::{self, Place};

pub(super) fn run(args: &MetricsArgs, out: &mut Output) -> anyhow::Result<u8> {
    let document = match &args.command {
        MetricsCommand::List(list) if !list.json => {
            out.print(&render::metrics::render(catalog::ALL, out.style()))?;
            return Ok(EXIT_OK);
        }
        MetricsCommand::List(_) => catalog::ALL.iter().copied().map(described).collect(),
        MetricsCommand::Cloudwatch(place) => boards::cloudwatch(place_of(place)),
        MetricsCommand::Alarms(place) => boards::alarms(place_of(place)),
        MetricsCommand::Grafana => boards::grafana(),
        MetricsCommand::Rules => boards::rules(),
    };
    out.print(&format!("{document:#}\n"))?;
    Ok(EXIT_OK)
}

fn place_of(place: &PlaceArgs) -> Place<'_> {
    let PlaceArgs { environment, region, namespace } = place;
    Place { namespace, environment, region }
}

fn described(metric: &Metric) -> serde_json::Value {
    let names = |labels: &[Label]| labels.iter().map(|label| label.name()).collect::<Vec<_>>();
    json!({
        "name": metric.name,
        "prometheus": boards::prometheus_name(metric),
        "kind": match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        },
        "labels": names(metric.labels),
        "cloudwatch": metric.cloudwatch.iter().map(|set| names(set)).collect::<Vec<_>>(),
        "help": metric.help,
    })
}
