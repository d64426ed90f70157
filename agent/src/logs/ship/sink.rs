//! Where batches go: CloudWatch Logs, the agent's standard output, or a file. One attempt each.

use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use bytes::Bytes;
use camino::Utf8PathBuf;
use groundcrew_core::logs::retry::Failure;
use tokio::sync::OnceCell;

use super::batch::Format;
use crate::aws::cloudwatch_logs::{CloudWatchLogs, LogsCallError, Rejected};
use crate::errors::chain;
use crate::logs::files::no_follow;

const FILE_MODE: u32 = 0o640;

/// Takes batches.
#[derive(Debug, Clone)]
pub(super) enum Sink {
    /// The client, once the region is known.
    CloudWatch(Arc<OnceCell<CloudWatchLogs>>),
    Stdout,
    File(Utf8PathBuf),
}

/// Where a batch goes and how missing places are made.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) group: String,
    pub(super) stream: String,
    /// The last attempt found that it does not exist.
    pub(super) create: bool,
    /// For a group that is created.
    pub(super) retention_days: Option<u16>,
}

impl Sink {
    pub(super) fn format(&self) -> Format {
        match self {
            Self::CloudWatch(_) => Format::PutLogEvents,
            Self::Stdout | Self::File(_) => Format::Lines,
        }
    }

    /// Sends a batch.
    pub(super) async fn send(&self, place: &Place, body: Bytes) -> Result<Rejected, LogsCallError> {
        let sink = match self {
            Self::CloudWatch(client) => {
                let service = client.get_or_try_init(CloudWatchLogs::connect).await?;
                if place.create {
                    create(service, place).await?;
                }
                return service.put_log_events(&place.group, &place.stream, body).await;
            }
            other => other.clone(),
        };
        let written = tokio::task::spawn_blocking(move || sink.write(&body)).await;
        match written {
            Ok(Ok(())) => Ok(Rejected::default()),
            Ok(Err(error)) => Err(failed(&error)),
            Err(error) => Err(failed(&io::Error::other(error))),
        }
    }

    fn write(&self, body: &[u8]) -> io::Result<()> {
        let Self::File(path) = self else {
            let mut stdout = io::stdout().lock();
            return stdout.write_all(body).and_then(|()| stdout.flush());
        };
        std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .mode(FILE_MODE)
            .custom_flags(no_follow())
            .open(path)?
            .write_all(body)
    }
}

fn failed(error: &io::Error) -> LogsCallError {
    let text = format!("could not write the logs: {}", chain(error));
    LogsCallError { failure: Failure::Service, text, ambiguous: true }
}

/// Makes the stream, and the group when that is missing too.
async fn create(service: &CloudWatchLogs, place: &Place) -> Result<(), LogsCallError> {
    let Place { group, stream, .. } = place;
    match service.create_stream(group, stream).await {
        Ok(_) => return Ok(()),
        Err(error) if error.failure != Failure::Missing => return Err(error),
        Err(_) => {}
    }
    let is_new = service.create_group(group).await?;
    service.create_stream(group, stream).await?;
    if let Some(days) = place.retention_days.filter(|_| is_new) {
        // The group serves without it; what it costs is said, and a person's to mend.
        if let Err(error) = service.put_retention(group, days).await {
            tracing::warn!("{group} keeps its events for ever: {error}");
        }
    }
    Ok(())
}
