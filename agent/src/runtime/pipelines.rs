//! What comes in from the applications and leaves the host all the time: how the logs and StatsD
//! are opened, and what `status` says about them.

use std::sync::Arc;
use std::time::Duration;

use groundcrew_core::event::{Event, ShipOutcome};
use groundcrew_core::limits;
use groundcrew_core::metrics::minute::Shape;
use groundcrew_core::metrics::settings::Destination;
use groundcrew_core::status::PipelineStatus;
use groundcrew_core::time::{Moment, ms};
use tokio_util::sync::CancellationToken;

use super::Agent;
use crate::clock;
use crate::config::HostConfig;
use crate::errors::chain;
use crate::fsx;
use crate::lifecycle::Lifecycle;
use crate::logs::{Host, LogError, LogFiles, Logs};
use crate::metrics::cloudwatch::{Sender as MetricsSender, Settings as MetricsSettings};
use crate::metrics::statsd::{self, Statsd, StatsdError};
use crate::releases::source::{Key, Source};
use crate::traces::Traces;

/// Words in the name of a variable that say that its value is a secret.
const SECRET_WORDS: [&str; 9] =
    ["SECRET", "TOKEN", "PASSWORD", "PASSWD", "PASSPHRASE", "KEY", "CREDENTIAL", "DSN", "AUTH"];
/// A request that is not answered for so long is of the past.
const RATE_FOR: Duration = Duration::from_secs(10);

/// Opens the logs as the host's file says.
pub(super) fn open_logs(
    config: &HostConfig,
    files: &LogFiles,
    lifecycle: &Lifecycle,
    cancel: &CancellationToken,
) -> Result<Logs, LogError> {
    let environment = config.environment.to_string();
    let name = super::host().name;
    let instance = lifecycle.instance_within(limits::SIGHT_WITHIN);
    let host = async move {
        // Off EC2, or when the metadata does not answer, the host's name has to do.
        Host { environment, instance: instance.await.unwrap_or(name) }
    };
    let settings = Arc::new(config.logs.clone());
    Logs::start_shipping(files.clone(), settings, host, secrets(config), cancel)
}

/// Opens the way to CloudWatch's metrics, where the host's file asks for it.
pub(super) fn open_cloudwatch(
    config: &HostConfig,
    lifecycle: &Lifecycle,
    cancel: &CancellationToken,
) -> Option<MetricsSender> {
    let metrics = &config.metrics;
    if metrics.to == Destination::Nowhere {
        return None;
    }
    let settings = MetricsSettings {
        namespace: metrics.namespace.clone(),
        shape: Shape {
            environment: config.environment.to_string(),
            instance: None,
            dimensions: metrics.dimensions.clone(),
            series_max: metrics.series_max,
        },
        directory: config.state_dir.join("metrics"),
        seed: crate::random::seed(),
    };
    let is_wanted = metrics.per_instance;
    let (name, instance) = (super::host().name, lifecycle.instance_within(limits::SIGHT_WITHIN));
    let instance = async move {
        // Off EC2, or when the metadata does not answer, the host's name has to do.
        if is_wanted { Some(instance.await.unwrap_or(name)) } else { None }
    };
    Some(MetricsSender::start(settings, instance, cancel.child_token()))
}

/// Listens for what applications measure, where the host's file says so.
pub(super) fn open_statsd(config: &HostConfig) -> Result<Option<Statsd>, StatsdError> {
    let Some(wanted) = &config.statsd else { return Ok(None) };
    let settings = statsd::Settings {
        listen: wanted.listen,
        socket: wanted.socket.as_ref().map(|socket| socket.path(&config.run_dir)),
        series_max: usize::try_from(wanted.series_max).unwrap_or(usize::MAX),
    };
    Statsd::start(settings).map(Some)
}

/// The values that this agent gives to processes and that their names call secret.
pub(super) fn secrets(config: &HostConfig) -> Vec<String> {
    let variables = config.overrides.values().flat_map(|over| &over.env);
    let mut secrets = Vec::new();
    for (name, value) in variables {
        let name = name.to_ascii_uppercase();
        if SECRET_WORDS.iter().any(|word| name.contains(word)) {
            secrets.push(value.clone());
        } else if let Some(password) = password_of(value) {
            secrets.push(password.to_owned());
        }
    }
    secrets
}

/// The password in a URL such as `postgres://user:password@host/db`.
fn password_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (user, _) = authority.rsplit_once('@')?;
    user.split_once(':').map(|(_, password)| password)
}

/// The share of the time for shipping that is kept for putting what is left elsewhere.
const KEEPING_SHARE: u32 = 3;
/// No more than that.
const KEEPING_MAX: Duration = Duration::from_secs(15);
/// How long the last minute of metrics may take, beside the logs. It is one request.
const METRICS_WITHIN: Duration = Duration::from_secs(5);

impl Agent {
    /// Ships what is there, and says how that went. With `keep`, what could not be shipped is put
    /// where the releases are. The last minute of metrics goes too.
    pub(super) fn ship_logs(&mut self, since: Moment, by: Moment, keep: bool) {
        self.sample();
        let metrics = self
            .cloudwatch
            .as_ref()
            .map(|cloudwatch| cloudwatch.flush(by.min(clock::at().plus(METRICS_WITHIN))));
        let (logs, events) = (Arc::clone(&self.logs), self.events.clone());
        let (source, cancel) = (Arc::clone(&self.source), self.cancel.clone());
        let instance = self.lifecycle.instance_id().unwrap_or_else(|| self.host.name.clone());
        self.tasks.spawn(async move {
            let metrics = async {
                if let Some(flushed) = metrics
                    && let Err(reason) = flushed.await
                {
                    tracing::warn!("metrics were not all sent, and stay on this host: {reason}");
                }
            };
            let logs = async {
                let all = by.since(clock::at());
                let keeping =
                    if keep { (all / KEEPING_SHARE).min(KEEPING_MAX) } else { Duration::ZERO };
                let outcome = logs.ship_all(Moment(by.0.saturating_sub(ms(keeping)))).await;
                match outcome {
                    ShipOutcome::Left { bytes, reason, .. } if keep => {
                        put_aside(&logs, &source, &instance, (bytes, reason), by).await
                    }
                    outcome => outcome,
                }
            };
            let shipping = async { tokio::join!(logs, metrics).0 };
            tokio::select! {
                // An agent that goes has stopped waiting.
                () = cancel.cancelled() => {}
                outcome = shipping => {
                    drop(events.send(Event::LogsShipped { since, outcome }).await);
                }
            }
        });
    }

    /// How the pipelines are.
    pub(super) fn pipelines(&self) -> Vec<PipelineStatus> {
        let traces = self.traces.as_ref().map(Traces::status);
        self.logs_status()
            .into_iter()
            .chain(self.metrics_status())
            .chain(self.statsd_status())
            .chain(traces)
            .chain(self.targets())
            .collect()
    }

    /// What is received is in the metrics; that nothing can be is said here.
    fn statsd_status(&self) -> Option<PipelineStatus> {
        let reason = Some(self.statsd.as_ref()?.reason()?);
        Some(PipelineStatus { name: "statsd".to_owned(), reason, ..PipelineStatus::default() })
    }

    fn metrics_status(&self) -> Option<PipelineStatus> {
        let counts = self.cloudwatch.as_ref()?.counts();
        let (last, pause) = counts.last;
        Some(PipelineStatus {
            name: "metrics".to_owned(),
            sent_per_second: (last * 1000).checked_div(ms(pause)).unwrap_or(0),
            sent: counts.sent,
            sent_bytes: counts.sent_bytes,
            backlog_bytes: counts.backlog_bytes,
            oldest_ms: counts.oldest.map(|oldest| ms(clock::at().since(oldest))),
            last_ok: counts.last_ok,
            dropped: counts.dropped,
            rejected: counts.rejected,
            reason: counts.reason,
        })
    }

    fn logs_status(&self) -> Option<PipelineStatus> {
        let shipped = self.logs.shipped()?;
        let now = clock::at();
        Some(PipelineStatus {
            name: "logs".to_owned(),
            sent_per_second: shipped.rate(now, RATE_FOR),
            sent: shipped.sent_events,
            sent_bytes: shipped.sent_bytes,
            backlog_bytes: shipped.backlog_bytes,
            oldest_ms: shipped.oldest.map(|oldest| ms(now.since(oldest))),
            last_ok: shipped.last_ok,
            dropped: shipped.dropped + self.logs.usage().lines_lost,
            rejected: shipped.rejected,
            reason: shipped.reason,
        })
    }
}

/// Puts what was not shipped where the releases are.
async fn put_aside(
    logs: &Logs,
    source: &Source,
    instance: &str,
    (bytes, reason): (u64, String),
    by: Moment,
) -> ShipOutcome {
    let left = |kept, reason| ShipOutcome::Left { bytes, kept, reason };
    let key = Key::logs(instance, clock::wall().0);
    let put = async {
        let written = logs.write_leftovers(by).await.map_err(|error| chain(&error))?;
        let cancel = CancellationToken::new();
        let put = source.put_file(&key, &written.path, written.bytes, &|_| {}, &cancel).await;
        put.map_err(|error| chain(&error))?;
        if let Err(error) = fsx::remove_if_exists(&written.path) {
            tracing::warn!("{}", chain(&error));
        }
        Ok::<_, String>(written.is_all)
    };
    match tokio::time::timeout(by.since(clock::at()), put).await {
        Ok(Ok(true)) => left(Some(source.locate(&key)), reason),
        Ok(Ok(false)) => {
            left(Some(source.locate(&key)), format!("{reason}; not all of it was kept"))
        }
        Ok(Err(error)) => left(None, format!("{reason}; it could not be put aside: {error}")),
        Err(_) => left(None, format!("{reason}; there was no time to put it aside")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_url_is_found() {
        let check = |url: &str, expected: Option<&str>| assert_eq!(password_of(url), expected);
        check("postgres://shop:hunter2hunter2@db.internal:5432/shop", Some("hunter2hunter2"));
        check("redis://:p@ss@cache/0?x=@", Some("p@ss"));
        check("https://example.com/a@b:c", None);
        check("production", None);
    }
}
