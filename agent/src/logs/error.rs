//! What can go wrong with the log files.

use std::io;

use groundcrew_core::types::ProcessId;

use super::events::PatternError;
use super::named;
use crate::fsx::FileError;

/// A log operation that failed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A file or directory could not be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The kernel gave no inotify object, usually because `fs.inotify.max_user_instances` is
    /// reached.
    #[error("could not watch the log files")]
    Watch(#[source] io::Error),
    /// What must not be shipped cannot be looked for.
    #[error("could not make out what is not to be shipped")]
    Redact(#[from] PatternError),
    /// Files that cannot be looked for.
    #[error("could not make out which files are to be shipped")]
    Files(#[from] named::PatternError),
    /// Too many readers at once.
    #[error("{max} readers of the logs are open already")]
    ReadersMax {
        /// How many there may be.
        max: usize,
    },
    /// The shipper has ended, because the agent is stopping.
    #[error("the log shipper has ended")]
    ShipperEnded,
    /// The keeper has ended, because the agent is stopping.
    #[error("could not rotate the logs of {process}: the log keeper has ended")]
    Ended {
        /// Whose logs.
        process: ProcessId,
    },
}
