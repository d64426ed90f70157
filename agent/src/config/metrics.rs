//! `[metrics]` of the host's file: what is measured, and where applications send what they measure.

use super::reader::{Node, Read};
use super::statsd::{self, StatsdConfig};

/// The keys of `[metrics]`.
const KEYS: &[&str] = &["statsd"];

/// What the host's file says about it, checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MetricsConfig {
    /// Where applications send what they measure; `None`: nowhere.
    pub statsd: Option<StatsdConfig>,
}

/// Every key, with its path.
pub(super) fn keys() -> impl Iterator<Item = String> {
    statsd::keys()
}

/// `[metrics]` of the host's file.
pub(super) fn metrics(node: &Node<'_, '_>) -> Read<MetricsConfig> {
    let section = node.section(KEYS)?;
    Ok(MetricsConfig { statsd: section.optional("statsd", statsd::statsd)? })
}
