//! `groundcrew doctor`: gathers what this host, AWS and the source say, and shows what the core
//! finds. Changes nothing.

use std::process::Stdio;
use std::time::Duration;

use groundcrew_core::doctor::{
    ChannelFacts, Facts, Finding, Learned, Outcome, ReadyEndpoint, SourceFacts, TierNumbers,
    Verdict, examine,
};
use serde::Serialize;

use super::args::DoctorArgs;
use super::render;
use super::terminal::Output;
use super::{EXIT_FAILING, EXIT_OK};
use crate::config::HostConfig;
use crate::config::host_check::{LoadError, load};
use crate::control::client::ControlClient;
use crate::errors::chain;
use crate::lifecycle;
use crate::releases::channel::{ChannelError, ChannelRead, read_channel};
use crate::releases::source::{ErrorKind, Source, SourceError};

/// The unit that the agent runs in.
const UNIT: &str = "groundcrew.service";
/// There when systemd started this machine (sd_booted(3)).
const SYSTEMD: &str = "/run/systemd/system";
/// How long systemd may take to say what it thinks.
const SYSTEMD_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug, Serialize)]
struct Document<'a> {
    verdict: Verdict,
    findings: &'a [Finding],
}

pub(super) async fn run(
    args: &DoctorArgs,
    client: &ControlClient,
    out: &mut Output,
) -> anyhow::Result<u8> {
    let config = match load(&args.config) {
        Ok(loaded) => loaded.config,
        Err(LoadError::Invalid(problems)) => {
            out.print(&format!("{problems}\n"))?;
            return Ok(EXIT_FAILING);
        }
        Err(error @ LoadError::File(_)) => return Err(error.into()),
    };
    let findings = examine(&Box::pin(gather(config, client)).await);
    let verdict = findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Good);
    let text = if args.json {
        let document = Document { verdict, findings: &findings };
        format!("{:#}\n", serde_json::to_value(document)?)
    } else {
        render::doctor::render(&findings, out.style())
    };
    out.print(&text)?;
    Ok(if verdict == Verdict::Bad { EXIT_FAILING } else { EXIT_OK })
}

async fn gather(config: HostConfig, client: &ControlClient) -> Facts {
    let ready = config.http.listen.map(|address| ReadyEndpoint {
        port: address.port(),
        loopback: address.ip().is_loopback(),
    });
    let (fleet, source, tiers, stop_timeout) = tokio::join!(
        lifecycle::examine(config.lifecycle.metadata),
        source(&config),
        tiers(client),
        stop_timeout(),
    );
    let settings = config.lifecycle.settings;
    Facts { settings, ready, fleet, tiers, stop_timeout, source }
}

async fn tiers(client: &ControlClient) -> Learned<Vec<TierNumbers>> {
    match client.get::<Vec<TierNumbers>>("/v1/tiers").await {
        Ok(tiers) if tiers.is_empty() => Err("no release runs here".to_owned()),
        Ok(tiers) => Ok(tiers),
        Err(error) => Err(error.to_string()),
    }
}

async fn source(config: &HostConfig) -> SourceFacts {
    let source = Source::open(&config.source).await;
    let channel = match read_channel(&source, &config.environment, None).await {
        Ok(ChannelRead::Found { channel, .. }) => {
            ChannelFacts::Promoted(channel.release.version.to_string())
        }
        // Nothing is known of it, so it cannot be unchanged.
        Ok(ChannelRead::Missing | ChannelRead::Unchanged) => ChannelFacts::Missing,
        Err(ChannelError::Source(error)) if is_unreached(&error) => {
            ChannelFacts::Unreached(chain(&error))
        }
        Err(error) => ChannelFacts::Refused(chain(&error)),
    };
    let listing = match source.list_versions().await {
        Ok(_) => Outcome::Allowed,
        Err(error) if error.kind() == ErrorKind::Denied => Outcome::Denied(chain(&error)),
        Err(error) => Outcome::Unknown(chain(&error)),
    };
    let (place, environment) = (config.source.to_string(), config.environment.to_string());
    SourceFacts { place, environment, channel, listing }
}

fn is_unreached(error: &SourceError) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Throttled)
}

/// How long systemd lets the agent end; `None`: for ever.
async fn stop_timeout() -> Learned<Option<Duration>> {
    if !std::path::Path::new(SYSTEMD).exists() {
        return Err("systemd does not run here".to_owned());
    }
    #[expect(clippy::disallowed_methods, reason = "asks systemd, as a person would")]
    let mut command = tokio::process::Command::new("systemctl");
    command.args(["show", UNIT, "-p", "LoadState", "-p", "TimeoutStopUSec"]);
    command.stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(SYSTEMD_WITHIN, command.output()).await {
        Ok(Ok(output)) => said_by_systemd(&String::from_utf8_lossy(&output.stdout)),
        Ok(Err(error)) => Err(format!("systemctl cannot be run: {error}")),
        Err(_) => Err(format!("systemctl did not answer within {} s", SYSTEMD_WITHIN.as_secs())),
    }
}

/// A unit that is not there has systemd's defaults, which say nothing.
fn said_by_systemd(text: &str) -> Learned<Option<Duration>> {
    let value = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default()
    };
    match (value("LoadState"), value("TimeoutStopUSec")) {
        ("loaded", "infinity") => Ok(None),
        ("loaded", span) => time_span(span)
            .map(Some)
            .ok_or_else(|| format!("systemd's TimeoutStopUSec is not understood: {span:?}")),
        ("", _) => Err("systemctl says nothing".to_owned()),
        (state, _) => Err(format!("systemd has no {UNIT} ({state})")),
    }
}

/// A time span as systemd prints it: `5min`, `1min 30s`, `200ms` (systemd.time(7)).
fn time_span(text: &str) -> Option<Duration> {
    const UNITS: [(&str, u64); 8] = [
        ("us", 1),
        ("ms", 1000),
        ("s", 1_000_000),
        ("min", 60_000_000),
        ("h", 3_600_000_000),
        ("d", 86_400_000_000),
        ("w", 604_800_000_000),
        ("y", 31_557_600_000_000),
    ];
    let part = |part: &str| {
        let (number, unit) = part.split_at(part.find(|c: char| !c.is_ascii_digit())?);
        let (_, us) = UNITS.iter().find(|(name, _)| *name == unit)?;
        number.parse::<u64>().ok()?.checked_mul(*us)
    };
    let parts: Option<Vec<u64>> = text.split_whitespace().map(part).collect();
    let parts = parts.filter(|parts| !parts.is_empty())?;
    Some(Duration::from_micros(parts.into_iter().fold(0, u64::saturating_add)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemd_prints_is_understood() {
        let seconds = |seconds| Ok(Some(Duration::from_secs(seconds)));
        for (text, expected) in [
            ("TimeoutStopUSec=5min\nLoadState=loaded\n", seconds(300)),
            ("LoadState=loaded\nTimeoutStopUSec=1min 30s\n", seconds(90)),
            ("LoadState=loaded\nTimeoutStopUSec=infinity\n", Ok(None)),
            (
                "LoadState=not-found\nTimeoutStopUSec=1min 30s\n",
                Err("systemd has no groundcrew.service (not-found)".to_owned()),
            ),
            (
                "LoadState=loaded\nTimeoutStopUSec=soon\n",
                Err("systemd's TimeoutStopUSec is not understood: \"soon\"".to_owned()),
            ),
            ("", Err("systemctl says nothing".to_owned())),
        ] {
            assert_eq!(said_by_systemd(text), expected, "{text}");
        }
    }

    #[test]
    fn the_units_watchdog_is_the_one_that_the_core_counts_with() {
        let unit = include_str!("../../../systemd/groundcrew.service");
        let seconds = groundcrew_core::doctor::WATCHDOG.as_secs();
        assert!(unit.lines().any(|line| line == format!("WatchdogSec={seconds}s")));
    }
}
