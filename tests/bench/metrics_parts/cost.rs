//! What a month costs, beside what amazon-cloudwatch-agent's standard configuration costs: both
//! computed from the same list prices, which `groundcrew check` prints with their date.

use std::time::Duration;

use groundcrew::metrics::cost::{LogUsage, Usage, estimate, standard_peer, total};
use groundcrew_core::metrics::settings::Prices;
use serde_json::{Value, json};

use crate::report::rounded;

/// Two tiers, one backup, two CPUs, one disk, one network device.
pub fn run(_: Duration) -> Value {
    let prices = Prices::default();
    let usage = Usage {
        sends_metrics: true,
        per_instance: false,
        series_max: 0,
        tiers: 2,
        backups: 1,
        logs: LogUsage::Nothing,
        poll_interval: Some(Duration::from_secs(10)),
    };
    let (each, shared) = total(&estimate(&usage, &prices));
    let (series, peer) = standard_peer(2, 1, 1, &prices);
    let fleet = |hosts: f64| rounded(shared + each * hosts);
    json!({
        "usd_per_instance": rounded(each),
        "usd_shared": rounded(shared),
        "usd_2_hosts": [fleet(2.0), rounded(peer * 2.0)],
        "usd_10_hosts": [fleet(10.0), rounded(peer * 10.0)],
        "usd_100_hosts": [fleet(100.0), rounded(peer * 100.0)],
        "peer": "amazon-cloudwatch-agent, standard",
        "peer_series_per_instance": series,
    })
}
