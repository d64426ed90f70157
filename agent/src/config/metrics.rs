//! What the host's file says about metrics: `[metrics]`.

use groundcrew_core::metrics::minute::{ENVIRONMENT, INSTANCE};
use groundcrew_core::metrics::settings::{Destination, MetricsSettings, Prices};

use super::fields;
use super::problem::shown;
use super::reader::{Node, Read};
use super::statsd::{self, StatsdConfig};

/// The keys of `[metrics]`.
const METRICS: &[&str] =
    &["namespace", "per_instance", "dimensions", "series_max", "to", "prices", "statsd"];
const TO: &[&str] = &["kind"];
const PRICES: &[&str] = &["metric", "put_metric_data", "logs", "s3_get"];

/// Series of the application that one host sends: a minute of them fits into one request.
const SERIES_MAX_MAX: usize = 800;
/// Tags that become dimensions: the service takes 30 together with those of the agent.
const DIMENSIONS_MAX: usize = 10;
/// Bytes of a namespace (API reference of PutMetricData).
const NAMESPACE_BYTES_MAX: usize = 255;
/// What AWS keeps for its own services.
const NAMESPACE_RESERVED: &str = "AWS/";
/// Bytes of a dimension's name (API reference of Dimension).
const DIMENSION_BYTES_MAX: usize = 255;
/// No price is higher, in USD.
const PRICE_MAX_USD: u64 = 1000;

/// Every key of `[metrics]`, with its path.
pub(super) fn keys() -> impl Iterator<Item = String> {
    let tables = ["to", "prices", "statsd"];
    fields::below("metrics", METRICS)
        .filter(move |key| !tables.iter().any(|table| key.ends_with(&format!(".{table}"))))
        .chain(fields::below("metrics.to", TO))
        .chain(fields::below("metrics.prices", PRICES))
        .chain(statsd::keys())
}

/// What `[metrics]` says.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    /// What is sent, and where to.
    pub(super) settings: MetricsSettings,
    /// Where applications send what they measure; `None`: nowhere.
    pub(super) statsd: Option<StatsdConfig>,
}

/// `[metrics]` of the host's file.
pub(super) fn metrics(node: &Node<'_, '_>) -> Read<Metrics> {
    let section = node.section(METRICS)?;
    let usual = MetricsSettings::default();
    let namespace = section.or("namespace", usual.namespace, namespace);
    let per_instance = section.or("per_instance", usual.per_instance, Node::boolean);
    let dimensions = section.or("dimensions", usual.dimensions, dimensions);
    let series_max =
        section.or("series_max", usual.series_max, |node| node.number(0..=SERIES_MAX_MAX));
    let to = section.or("to", usual.to, to);
    let prices = section.or("prices", usual.prices, prices);
    let statsd = section.optional("statsd", statsd::statsd);
    let settings = MetricsSettings {
        to: to?,
        namespace: namespace?,
        per_instance: per_instance?,
        dimensions: dimensions?,
        series_max: series_max?,
        prices: prices?,
    };
    Ok(Metrics { settings, statsd: statsd? })
}

fn to(node: &Node<'_, '_>) -> Read<Destination> {
    let section = node.section(TO)?;
    let words = [("cloudwatch", Destination::CloudWatch), ("none", Destination::Nowhere)];
    section
        .required("kind", "say where to, such as kind = \"cloudwatch\"")
        .and_then(|node| fields::one_of(&node, &words))
}

fn namespace(node: &Node<'_, '_>) -> Read<String> {
    let text = node.as_text().ok_or_else(|| node.wanted("a name such as \"groundcrew\""))?;
    let usual = |c: char| c.is_ascii_alphanumeric() || ".-_/#: ".contains(c);
    let blank = text.trim().is_empty() || text.starts_with(':');
    if blank || text.len() > NAMESPACE_BYTES_MAX || !text.chars().all(usual) {
        let message = format!("{} is not the name of a namespace", shown(text));
        return Err(node.refuse(message, "letters, digits and .-_/#: make one, up to 255"));
    }
    if text.starts_with(NAMESPACE_RESERVED) {
        let message = format!("{} belongs to AWS's own services", shown(text));
        return Err(node.refuse(message, "name it after the product, such as \"shop\""));
    }
    Ok(text.to_owned())
}

fn dimensions(node: &Node<'_, '_>) -> Read<Vec<String>> {
    let items = node.items("an array of tags, such as [\"route\"]")?;
    if items.len() > DIMENSIONS_MAX {
        let message = format!("{} are more than {DIMENSIONS_MAX}", items.len());
        return Err(node.refuse(message, "every value of each of them is a metric to be paid for"));
    }
    let mut names: Vec<String> = Vec::new();
    let mut refused = None;
    for item in items {
        match dimension(&item, &names) {
            Ok(name) => names.push(name),
            Err(reported) => refused = Some(reported),
        }
    }
    refused.map_or(Ok(names), Err)
}

fn dimension(item: &Node<'_, '_>, before: &[String]) -> Read<String> {
    let text = item.as_text().ok_or_else(|| item.wanted("the name of a tag"))?;
    let usual = |c: char| c.is_ascii_graphic();
    if text.is_empty()
        || text.len() > DIMENSION_BYTES_MAX
        || text.starts_with(':')
        || !text.chars().all(usual)
    {
        let message = format!("{} cannot be a dimension", shown(text));
        return Err(item.refuse(message, "printable ASCII without spaces can"));
    }
    if [ENVIRONMENT, INSTANCE].contains(&text) {
        return Err(item.refuse(format!("{text} is a dimension of the agent's own"), "remove it"));
    }
    if before.iter().any(|known| known == text) {
        return Err(item.refuse(format!("{} is named twice", shown(text)), ""));
    }
    Ok(text.to_owned())
}

fn prices(node: &Node<'_, '_>) -> Read<Prices> {
    let section = node.section(PRICES)?;
    let usual = Prices::default();
    let metric = section.or("metric", usual.metric_micro_usd, price);
    let put = section.or("put_metric_data", usual.put_metric_data_micro_usd, price);
    let logs = section.or("logs", usual.logs_micro_usd, price);
    let get = section.or("s3_get", usual.s3_get_micro_usd, price);
    Ok(Prices {
        metric_micro_usd: metric?,
        put_metric_data_micro_usd: put?,
        logs_micro_usd: logs?,
        s3_get_micro_usd: get?,
    })
}

/// USD with up to six decimals, in millionths.
fn price(node: &Node<'_, '_>) -> Read<u64> {
    let wanted = || node.wanted("a price in USD, such as 0.30");
    let text = node.as_text_or_number().ok_or_else(wanted)?;
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 6 {
        return Err(wanted());
    }
    let micro = format!("{whole}{part:0<6}").parse().ok();
    micro
        .filter(|price| *price <= PRICE_MAX_USD * 1_000_000)
        .ok_or_else(|| node.refuse(format!("{text} USD is more than {PRICE_MAX_USD} USD"), ""))
}
