//! What a configuration costs a month, at list prices: pure arithmetic. What every instance pays
//! for is told apart from what the fleet shares: a metric without the instance among its dimensions
//! is one metric, however many hosts send it.

use std::time::Duration;

use groundcrew_core::metrics::catalog::ALL;
use groundcrew_core::metrics::settings::Prices;
use groundcrew_core::metrics::{Label, Metric};

/// Seconds of a month: of 730 hours, as AWS counts.
const MONTH_S: f64 = 730.0 * 3600.0;
/// Requests of `PutMetricData` in a month: one a minute.
const PUTS: f64 = MONTH_S / 60.0;
const GB: f64 = 1e9;
/// What an event of a log is charged beside its text (API reference of PutLogEvents).
const EVENT_BYTES: f64 = 26.0;

/// How many values a label has on a usual host; of others one.
const VALUES: [(Label, u64); 9] = [
    // 1xx hardly happens, and what has never happened is not sent.
    (Label::StatusClass, 4),
    (Label::State, 7),
    (Label::Role, 4),
    (Label::Kind, 2),
    (Label::Direction, 2),
    (Label::Pipeline, 2),
    (Label::Reason, 3),
    (Label::Stage, 4),
    (Label::Level, 2),
];

/// What a configuration asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// Metrics go to CloudWatch.
    pub sends_metrics: bool,
    /// Each series is sent a second time for the instance.
    pub per_instance: bool,
    /// Series of the application that are sent at most.
    pub series_max: usize,
    /// Tiers that the host runs.
    pub tiers: u64,
    /// Jobs of backups.
    pub backups: u64,
    /// What is shipped of the logs.
    pub logs: LogUsage,
    /// How often the channel is read from S3; `None`: it is elsewhere.
    pub poll_interval: Option<Duration>,
}

/// What is shipped of the logs to where it is paid for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LogUsage {
    /// Nothing.
    Nothing,
    /// Nobody knows.
    Unknown,
    /// What the agent ships now.
    Rate {
        /// Events a second.
        events: f64,
        /// Bytes of text of one of them.
        bytes: f64,
    },
}

/// One thing that is paid for.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// What.
    pub what: &'static str,
    /// In USD a month, for each instance.
    pub each: f64,
    /// In USD a month, for all of them together.
    pub shared: f64,
    /// Why, for people.
    pub because: String,
}

/// Everything that is paid for.
#[must_use]
pub fn estimate(usage: &Usage, prices: &Prices) -> Vec<Item> {
    let mut items = Vec::new();
    if usage.sends_metrics {
        items.extend(metrics(usage, prices));
    }
    items.extend(logs(usage.logs, prices));
    if let Some(interval) = usage.poll_interval {
        let reads = MONTH_S / interval.as_secs_f64();
        items.push(Item {
            what: "S3 GetObject",
            each: reads / 1000.0 * usd(prices.s3_get_micro_usd),
            shared: 0.0,
            because: format!("{reads:.0} requests: the channel is read every {interval:?}"),
        });
    }
    items
}

/// Together: for each instance, and shared.
#[must_use]
pub fn total(items: &[Item]) -> (f64, f64) {
    items.iter().fold((0.0, 0.0), |(each, shared), item| (each + item.each, shared + item.shared))
}

fn metrics(usage: &Usage, prices: &Prices) -> Vec<Item> {
    let price = usd(prices.metric_micro_usd);
    let series = series_of(ALL, usage.tiers, usage.backups);
    let more = series_of(ALL, usage.tiers + 1, usage.backups) - series;
    let tiers = if usage.tiers == 1 { "tier" } else { "tiers" };
    let mut items = vec![Item {
        what: "metrics",
        each: 0.0,
        shared: series as f64 * price,
        because: format!(
            "at most {series} series with {} {tiers}; {more} more with each other tier",
            usage.tiers
        ),
    }];
    if usage.per_instance {
        items.push(Item {
            what: "metrics of instances",
            each: series as f64 * price,
            shared: 0.0,
            because: format!("per_instance = true: the same {series} series of each instance"),
        });
    }
    if usage.series_max > 0 {
        let (max, all) = (usage.series_max, usage.series_max as f64 * price);
        let scope = if usage.per_instance { "for the fleet and each instance" } else { "shared" };
        items.push(Item {
            what: "metrics of the application",
            each: 0.0,
            shared: 0.0,
            because: format!("{price:.2} each, {scope}; {all:.2} with all series_max = {max}"),
        });
    }
    items.push(Item {
        what: "PutMetricData",
        each: PUTS / 1000.0 * usd(prices.put_metric_data_micro_usd),
        shared: 0.0,
        because: format!("{PUTS:.0} requests: one a minute"),
    });
    items
}

fn logs(usage: LogUsage, prices: &Prices) -> Option<Item> {
    let price = usd(prices.logs_micro_usd);
    let (gb, because) = match usage {
        LogUsage::Nothing => return None,
        LogUsage::Unknown => (0.0, format!("{price:.2} a GB; no agent is asked how much it is")),
        LogUsage::Rate { events, bytes } => {
            let gb = events * (bytes + EVENT_BYTES) * MONTH_S / GB;
            (gb, format!("{price:.2} a GB; {gb:.1} GB at the present {events:.0} events a second"))
        }
    };
    Some(Item { what: "logs", each: gb * price, shared: 0.0, because })
}

/// Series of a list of metrics, without the instance, at the most.
#[must_use]
pub fn series_of(list: &[&Metric], tiers: u64, backups: u64) -> u64 {
    let values = |label: &Label| match label {
        Label::Tier => tiers,
        Label::Backup => backups,
        other => VALUES.iter().find(|(known, _)| known == other).map_or(1, |(_, count)| *count),
    };
    let sets = list.iter().flat_map(|metric| metric.cloudwatch);
    sets.map(|set| set.iter().map(values).product::<u64>()).sum()
}

/// What amazon-cloudwatch-agent costs for each instance in the configuration that its wizard calls
/// standard: idle, iowait, user and system of each CPU, space and inodes of each disk, the IO time
/// of each device, memory and swap, each with the instance among its dimensions; and all of it once
/// more by instance alone (`aggregation_dimensions`). One request a minute.
#[must_use]
pub fn standard_peer(cpus: u64, disks: u64, devices: u64, prices: &Prices) -> (u64, f64) {
    const CPU: u64 = 4;
    const DISK: u64 = 2;
    const DEVICE: u64 = 1;
    const MEMORY_AND_SWAP: u64 = 2;
    let detailed = CPU * cpus + DISK * disks + DEVICE * devices + MEMORY_AND_SWAP;
    let by_instance = CPU + DISK + DEVICE + MEMORY_AND_SWAP;
    let series = detailed + by_instance;
    let puts = PUTS / 1000.0 * usd(prices.put_metric_data_micro_usd);
    (series, series as f64 * usd(prices.metric_micro_usd) + puts)
}

fn usd(micro: u64) -> f64 {
    micro as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Usage = Usage {
        sends_metrics: true,
        per_instance: false,
        series_max: 0,
        tiers: 2,
        backups: 0,
        logs: LogUsage::Nothing,
        poll_interval: Some(Duration::from_secs(10)),
    };

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 0.005, "{found} for {expected}");
    }

    #[test]
    fn an_instance_pays_for_requests_and_the_fleet_for_metrics() {
        let prices = Prices::default();
        let items = estimate(&USUAL, &prices);
        let (each, shared) = total(&items);
        // 43,800 calls to put metrics, 262,800 to read the channel.
        near(each, 0.438 + 0.105);
        near(shared, series_of(ALL, 2, 0) as f64 * 0.30);
        let nothing = Usage { sends_metrics: false, poll_interval: None, ..USUAL };
        assert_eq!(estimate(&nothing, &prices), []);
        let all = Usage { per_instance: true, series_max: 100, ..USUAL };
        let (each, _) = total(&estimate(&all, &prices));
        near(each, shared + 0.438 + 0.105);
    }

    #[test]
    fn logs_are_paid_by_their_bytes_and_each_event_is_some() {
        let prices = Prices::default();
        let rate = LogUsage::Rate { events: 100.0, bytes: 174.0 };
        let items = estimate(
            &Usage { sends_metrics: false, poll_interval: None, logs: rate, ..USUAL },
            &prices,
        );
        // 100 x 200 bytes a second are 52.56 GB.
        near(total(&items).0, 26.28);
        let unknown = Usage { logs: LogUsage::Unknown, ..USUAL };
        assert_eq!(total(&estimate(&unknown, &prices)), total(&estimate(&USUAL, &prices)));
    }

    #[test]
    fn series_are_the_products_of_their_dimensions() {
        use groundcrew_core::metrics::catalog::{
            BACKUP_AGE, BACKUP_RUNS, BACKUP_VERIFIED_AGE, DISK_USAGE, READY, REQUEST_DURATION,
            REQUESTS,
        };
        assert_eq!(series_of(&[&READY], 3, 0), 1);
        assert_eq!(series_of(&[&DISK_USAGE], 3, 0), 2);
        assert_eq!(series_of(&[&REQUESTS], 3, 0), 12);
        assert_eq!(series_of(&[&REQUEST_DURATION], 3, 0), 6);
        assert_eq!(series_of(&[&BACKUP_AGE, &BACKUP_VERIFIED_AGE, &BACKUP_RUNS], 3, 2), 12);
    }

    #[test]
    fn the_peer_costs_more_from_a_few_hosts_on() {
        let prices = Prices::default();
        let (series, peer) = standard_peer(2, 1, 1, &prices);
        assert_eq!(series, 22);
        near(peer, 7.04);
        let (each, shared) = total(&estimate(&USUAL, &prices));
        let ours = |hosts: f64| shared / hosts + each;
        assert!(ours(10.0) < peer, "{} for {peer}", ours(10.0));
        assert!(ours(100.0) < peer / 5.0, "{} for {peer}", ours(100.0));
    }

    #[test]
    fn the_table_of_the_documentation_is_computed() {
        let prices = Prices::default();
        let documented = include_str!("../../../docs/metrics.md");
        let check = |what: &str, (each, shared): (f64, f64)| {
            let of = |hosts: f64| shared + hosts * each;
            let (ten, hundred) = (of(10.0), of(100.0));
            let row = format!("| {what} | {each:.2} | {shared:.2} | {ten:.2} | {hundred:.2} |");
            assert!(documented.contains(&row), "docs/metrics.md should say\n{row}");
        };
        let ours = |usage| total(&estimate(&usage, &prices));
        check("groundcrew, 2 tiers, channel read every 10 s", ours(USUAL));
        let detailed = Usage { per_instance: true, ..USUAL };
        check("the same, `per_instance = true`", ours(detailed));
        let peer = standard_peer(2, 1, 1, &prices).1;
        check("amazon-cloudwatch-agent, standard", (peer, 0.0));
    }
}
