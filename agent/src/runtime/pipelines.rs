//! What leaves the host all the time: how the logs are opened, and what `status` says about them.

use std::sync::Arc;
use std::time::Duration;

use groundcrew_core::event::{Event, ShipOutcome};
use groundcrew_core::limits;
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
use crate::releases::source::{Key, Source};

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

impl Agent {
    /// Ships what is there, and says how that went. With `keep`, what could not be shipped is put
    /// where the releases are.
    pub(super) fn ship_logs(&mut self, since: Moment, by: Moment, keep: bool) {
        let (logs, events) = (Arc::clone(&self.logs), self.events.clone());
        let (source, cancel) = (Arc::clone(&self.source), self.cancel.clone());
        let instance = self.lifecycle.instance_id().unwrap_or_else(|| self.host.name.clone());
        self.tasks.spawn(async move {
            let shipping = async {
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
        let targets = self.targets();
        let Some(shipped) = self.logs.shipped() else { return targets };
        let now = clock::at();
        let status = PipelineStatus {
            name: "logs".to_owned(),
            sent_per_second: shipped.rate(now, RATE_FOR),
            sent: shipped.sent_events,
            backlog_bytes: shipped.backlog_bytes,
            oldest_ms: shipped.oldest.map(|oldest| ms(now.since(oldest))),
            last_ok: shipped.last_ok,
            dropped: shipped.dropped + self.logs.usage().lines_lost,
            rejected: shipped.rejected,
            reason: shipped.reason,
        };
        std::iter::once(status).chain(targets).collect()
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
