//! The processes' own log files: where they are, how they stay bounded, how they are read.
//!
//! Processes write them directly, so the agent is never in their way; it must never write to them,
//! cut them off, or hold a process up. What is too old or too much is punched out from the front.
//!
//! Shipping, when it comes, tails the same files: [`LogFiles`] finds them, `segment` reads them
//! from an offset, `sparse` punches behind what was accepted.

mod error;
mod files;
mod index;
mod keeper;
mod limits;
pub mod named;
mod reader;
mod retention;
mod segment;
mod sparse;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod usage;
mod watch;

use std::collections::BTreeSet;
use std::sync::Arc;

use groundcrew_core::types::ProcessId;
use tokio::sync::{Semaphore, mpsc, oneshot, watch as value};
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use error::LogError;
pub use files::{LogFiles, ProcessLogPaths, Stream};
pub use limits::{LINE_BYTES_MAX, LogLimits, READERS_MAX, TAIL_LINES_DEFAULT};
pub use reader::{LogLine, LogQuery, LogStream};
pub use usage::LogUsage;

use crate::errors;
use keeper::{Inputs, Keeper, Rotate};
use sparse::Punch;

/// The keeper of the log files and their readers. Ends with its [`shutdown`](Self::shutdown) or its
/// cancellation; the files outlive it.
#[derive(Debug)]
pub struct Logs {
    files: LogFiles,
    living: value::Sender<Option<Arc<BTreeSet<ProcessId>>>>,
    usage: value::Receiver<LogUsage>,
    rotations: mpsc::Sender<Rotate>,
    permits: Arc<Semaphore>,
    keeper: JoinSet<()>,
    readers: TaskTracker,
    cancellation: CancellationToken,
    _cancel_on_drop: DropGuard,
}

impl Logs {
    /// Starts the keeper. Must be called within a runtime. Fails when the kernel gives no inotify
    /// object.
    pub fn start(
        files: LogFiles,
        limits: LogLimits,
        cancellation: &CancellationToken,
    ) -> Result<Self, LogError> {
        Self::start_with(files, limits, sparse::punch, cancellation)
    }

    fn start_with(
        files: LogFiles,
        limits: LogLimits,
        punch: Punch,
        cancellation: &CancellationToken,
    ) -> Result<Self, LogError> {
        let (watches, events) = watch::watch()?;
        let (living, living_receiver) = value::channel(None);
        let (usage_sender, usage) = value::channel(LogUsage::default());
        let (rotations, rotations_receiver) = mpsc::channel(limits::REQUESTS_QUEUE);
        let cancellation = cancellation.child_token();
        let state = Keeper::new(files.clone(), limits, punch, watches, usage_sender);
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
    pub fn set_living(&self, living: BTreeSet<ProcessId>) {
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

    /// Ends the keeper and all readers, and waits until they have.
    pub async fn shutdown(mut self) {
        self.cancellation.cancel();
        self.readers.close();
        self.readers.wait().await;
        // The keeper's own failure was told when it happened.
        while self.keeper.join_next().await.is_some() {}
    }
}
