//! The processes' own log files: where they are, how they stay bounded, how they are read, and how
//! they are shipped, together with files of others and what units say to journald.
//!
//! Processes write them directly, so the agent is never in their way; it must never write to them,
//! cut them off, or hold a process up. What was accepted, and is too old or too much, is punched
//! out from the front; what was not goes only when there is no room.

mod error;
pub mod events;
mod files;
mod index;
mod journal;
mod keeper;
mod last;
mod limits;
pub mod named;
mod reader;
mod retention;
mod segment;
mod ship;
mod sparse;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod usage;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use groundcrew_core::event::ShipOutcome;
use groundcrew_core::logs::{Destination, LogRules, LogSettings};
use groundcrew_core::status::AuditDocument;
use groundcrew_core::time::Moment;
use groundcrew_core::types::ProcessId;
use tokio::sync::{Semaphore, mpsc, oneshot, watch as value};
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use error::LogError;
pub use files::{LogFiles, ProcessLogPaths, Stream};
pub use journal::{Entry, JournalError, JournalFeed, JournalReader, News};
pub use limits::{LINE_BYTES_MAX, LogLimits, READERS_MAX, TAIL_LINES_DEFAULT};
pub use reader::{LogLine, LogQuery, LogStream};
pub use ship::{Host, Leftovers, Shipped};
pub use usage::LogUsage;

use crate::errors;
use keeper::{Inputs, Keeper, Rotate};
use ship::{Progress, Shipper};
use sparse::Punch;

/// The keeper of the log files and their readers. Ends with its [`shutdown`](Self::shutdown) or its
/// cancellation; the files outlive it.
#[derive(Debug)]
pub struct Logs {
    files: LogFiles,
    living: value::Sender<Option<Arc<BTreeSet<ProcessId>>>>,
    /// `None`: nothing is shipped.
    shipper: Option<Shipper>,
    usage: value::Receiver<LogUsage>,
    rotations: mpsc::Sender<Rotate>,
    permits: Arc<Semaphore>,
    keeper: JoinSet<()>,
    readers: TaskTracker,
    cancellation: CancellationToken,
    _cancel_on_drop: DropGuard,
}

impl Logs {
    /// Starts the keeper, and nothing that ships. Must be called within a runtime. Fails when the
    /// kernel gives no inotify object.
    pub fn start(
        files: LogFiles,
        limits: LogLimits,
        cancellation: &CancellationToken,
    ) -> Result<Self, LogError> {
        Self::start_with(files, limits, (sparse::punch, Progress::default()), cancellation)
    }

    /// Starts the keeper, and ships what the settings say, once it is known which `host` it is.
    /// `secrets` are never shipped.
    pub fn start_shipping(
        files: LogFiles,
        settings: Arc<LogSettings>,
        host: impl Future<Output = Host> + Send + 'static,
        secrets: Vec<String>,
        cancellation: &CancellationToken,
    ) -> Result<Self, LogError> {
        let limits = LogLimits { total_bytes_max: settings.disk_bytes_max, ..LogLimits::default() };
        if settings.to == Destination::Nowhere {
            return Self::start(files, limits, cancellation);
        }
        let progress = Progress::shared();
        let freeing = (sparse::punch as Punch, progress.clone());
        let mut logs = Self::start_with(files.clone(), limits, freeing, cancellation)?;
        let settings = ship::Settings { logs: settings, secrets };
        let cancellation = logs.cancellation.clone();
        logs.shipper = Some(Shipper::start(settings, host, files, progress, cancellation)?);
        Ok(logs)
    }

    fn start_with(
        files: LogFiles,
        limits: LogLimits,
        freeing: (Punch, Progress),
        cancellation: &CancellationToken,
    ) -> Result<Self, LogError> {
        let (watches, events) = watch::watch()?;
        let (living, living_receiver) = value::channel(None);
        let (usage_sender, usage) = value::channel(LogUsage::default());
        let (rotations, rotations_receiver) = mpsc::channel(limits::REQUESTS_QUEUE);
        let cancellation = cancellation.child_token();
        let state = Keeper::new(files.clone(), limits, freeing, watches, usage_sender);
        let inputs = Inputs {
            events: Some(events),
            rotations: rotations_receiver,
            living: living_receiver,
            cancellation: cancellation.clone(),
        };
        let mut keeper = JoinSet::new();
        keeper.spawn(async move {
            if let Err(error) = keeper::run(state, inputs).await {
                let error = errors::chain(&error);
                tracing::error!(error, "the log keeper died: nothing bounds the logs any more");
            }
        });
        Ok(Self {
            files,
            living,
            shipper: None,
            usage,
            rotations,
            permits: Arc::new(Semaphore::new(READERS_MAX)),
            keeper,
            readers: TaskTracker::new(),
            _cancel_on_drop: cancellation.clone().drop_guard(),
            cancellation,
        })
    }

    /// Says which processes there are or will be: those of every generation that is not gone. Until
    /// it was said once, all count as there. Files of others are removed when they are empty, too
    /// old or too much.
    pub fn set_living(&self, living: BTreeMap<ProcessId, LogRules>) {
        let ids: BTreeSet<ProcessId> = living.keys().cloned().collect();
        if let Some(shipper) = &self.shipper {
            shipper.set_living(Arc::new(living));
        }
        let living = ids;
        self.living.send_if_modified(|known| {
            let new = known.as_deref() != Some(&living);
            if new {
                *known = Some(Arc::new(living));
            }
            new
        });
    }

    /// What the keeper counted, up to its last look.
    #[must_use]
    pub fn usage(&self) -> LogUsage {
        self.usage.borrow().clone()
    }

    /// Puts the files of `process` aside when they are large and holes cannot be punched into them;
    /// otherwise it does nothing, because a process goes on in its files. To be called before
    /// [`LogFiles::paths`] when a process is started again. Answers whether there is a new file.
    pub async fn rotate(&self, process: &ProcessId) -> Result<bool, LogError> {
        let (answer, answered) = oneshot::channel();
        let ended = || LogError::Ended { process: process.clone() };
        let request = Rotate { process: process.clone(), answer };
        self.rotations.send(request).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }

    /// Starts a reader. Must be called within a runtime. Fails when there are [`READERS_MAX`]
    /// already.
    pub fn read(&self, query: LogQuery) -> Result<LogStream, LogError> {
        let permit = Arc::clone(&self.permits)
            .try_acquire_owned()
            .map_err(|_| LogError::ReadersMax { max: READERS_MAX })?;
        let (watches, events) = if query.follow {
            let (watches, events) = watch::watch()?;
            (Some(watches), Some(events))
        } else {
            (None, None)
        };
        let (sender, stream) = reader::stream();
        let merge = reader::Merge::new(self.files.clone(), query, watches);
        let cancellation = self.cancellation.clone();
        self.readers.spawn(async move {
            reader::run(merge, events, sender, cancellation).await;
            drop(permit);
        });
        Ok(stream)
    }

    /// What was shipped; `None`: nothing is.
    #[must_use]
    pub fn shipped(&self) -> Option<Shipped> {
        self.shipper.as_ref().map(Shipper::shipped)
    }

    /// What became of everything that was read. Of nothing, where nothing is shipped.
    pub async fn audit(&self) -> AuditDocument {
        let audit = match &self.shipper {
            Some(shipper) => shipper.audit().await,
            None => None,
        };
        audit.unwrap_or_else(|| AuditDocument { sources: Vec::new() })
    }

    /// Writes what was read and not accepted to a file of its own, cleaned as it would be shipped,
    /// until `by`. It stays there, and is not taken for shipped.
    pub async fn write_leftovers(&self, by: Moment) -> Result<Leftovers, LogError> {
        match &self.shipper {
            Some(shipper) => shipper.write_leftovers(by).await,
            None => Err(LogError::ShipperEnded),
        }
    }

    /// Sends again what the service did not take, and says what came of it.
    pub async fn replay(&self) -> Result<String, String> {
        match &self.shipper {
            Some(shipper) => shipper.replay().await,
            None => Err("nothing is shipped: [logs.to] kind is \"none\"".to_owned()),
        }
    }

    /// Waits until everything that was written up to now is where it goes, no longer than until
    /// `by`, and answers what became of it. Where nothing is shipped there is nothing to wait for:
    /// what was written stays on this host.
    pub async fn ship_all(&self, by: Moment) -> ShipOutcome {
        match &self.shipper {
            Some(shipper) => shipper.ship_all(by).await,
            None => ShipOutcome::Shipped { events: 0 },
        }
    }

    /// Ends the keeper and all readers, and waits until they have.
    pub async fn shutdown(mut self) {
        self.cancellation.cancel();
        self.readers.close();
        self.readers.wait().await;
        // The keeper's own failure was told when it happened.
        while self.keeper.join_next().await.is_some() {}
        if let Some(shipper) = &mut self.shipper {
            shipper.ended().await;
        }
    }
}
