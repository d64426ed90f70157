//! `groundcrew check`: everything that is wrong with a configuration file, at once, and what it
//! costs.

use std::collections::BTreeSet;
use std::time::Duration;

use groundcrew_core::logs::Destination as LogDestination;
use groundcrew_core::metrics::settings::{Destination, Prices};
use groundcrew_core::status::StatusDocument;

use super::args::ConfigArgs;
use super::terminal::Output;
use super::{EXIT_FAILING, EXIT_OK, render};
use crate::config::host_check::{LoadError, Loaded, load};
use crate::config::{HostConfig, SourceUrl};
use crate::control::client::ControlClient;
use crate::metrics::cost::{LogUsage, Usage, estimate};
use crate::runtime;

/// How long an agent may take to say how much it ships; without one, nobody knows.
const STATUS_WITHIN: Duration = Duration::from_secs(1);

pub(super) async fn run(
    args: &ConfigArgs,
    client: &ControlClient,
    out: &mut Output,
) -> anyhow::Result<u8> {
    let Loaded { config, warnings } = match load(&args.config) {
        Ok(loaded) => loaded,
        // The problems are what was asked for: data, not messages.
        Err(LoadError::Invalid(problems)) => {
            out.print(&format!("{problems}\n"))?;
            return Ok(EXIT_FAILING);
        }
        Err(error @ LoadError::File(_)) => return Err(error.into()),
    };
    runtime::check_ledger(&config.state_dir)?;
    for warning in &warnings {
        out.print(&format!("{warning}\n"))?;
    }
    let tiers = match &config.tiers {
        None => "all tiers".to_owned(),
        Some(tiers) => {
            let names: Vec<_> = tiers.iter().map(ToString::to_string).collect();
            format!("tiers {}", names.join(", "))
        }
    };
    let (environment, source) = (&config.environment, &config.source);
    out.print(&format!("ok: {environment} from {source}, {tiers}, in {}\n", config.state_dir))?;
    let prices = &config.metrics.prices;
    let items = estimate(&usage(&config, client).await, prices);
    out.print(&render::cost::render(&items, *prices != Prices::default(), out.style()))?;
    Ok(EXIT_OK)
}

/// What the file asks for that is paid for.
async fn usage(config: &HostConfig, client: &ControlClient) -> Usage {
    let tiers = config.tiers.as_ref().map_or(config.overrides.len(), BTreeSet::len);
    let logs = match config.logs.to {
        LogDestination::CloudWatch => logs(client).await,
        LogDestination::Stdout | LogDestination::File(_) | LogDestination::Nowhere => {
            LogUsage::Nothing
        }
    };
    let polls = matches!(config.source, SourceUrl::S3 { .. });
    Usage {
        sends_metrics: config.metrics.to == Destination::CloudWatch,
        per_instance: config.metrics.per_instance,
        series_max: config.metrics.series_max,
        tiers: tiers.max(1) as u64,
        backups: config.backups.len() as u64,
        logs,
        poll_interval: polls.then_some(config.poll_interval),
    }
}

/// What the agent of this host ships.
async fn logs(client: &ControlClient) -> LogUsage {
    let asked = client.get::<StatusDocument>("/v1/status");
    let answered = tokio::time::timeout(STATUS_WITHIN, asked).await;
    // An agent that does not run, or that may not be asked, ships an unknown amount.
    let Ok(Ok(status)) = answered else { return LogUsage::Unknown };
    let shipped = status.pipelines.into_iter().find(|pipeline| pipeline.name == "logs");
    match shipped {
        Some(logs) if logs.sent > 0 => LogUsage::Rate {
            events: logs.sent_per_second as f64,
            bytes: logs.sent_bytes as f64 / logs.sent as f64,
        },
        _ => LogUsage::Unknown,
    }
}
