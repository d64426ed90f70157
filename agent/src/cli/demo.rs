//! `groundcrew demo`: shows on this machine what groundcrew does.

use super::{EXIT_FAILING, EXIT_OK};
use crate::demo::{self, DemoError};

/// Runs the command.
pub(super) fn run() -> anyhow::Result<u8> {
    // Two threads: the load's times are not to be those of publishing.
    let threads =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    match threads.block_on(demo::run(Box::new(std::io::stdout()))) {
        Ok(true) => Ok(EXIT_OK),
        Ok(false) => Ok(EXIT_FAILING),
        // For whoever has read enough.
        Err(DemoError::Print(error)) => Err(error.into()),
        Err(error) => Err(error.into()),
    }
}
