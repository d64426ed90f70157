//! `groundcrew agent`: the daemon.

use super::args::ConfigArgs;
use super::{EXIT_FAILING, EXIT_OK};
use crate::config::host_check::{LoadError, load};
use crate::supervisor::image::Image;
use crate::{runtime, telemetry};

pub(super) fn run(args: &ConfigArgs) -> anyhow::Result<u8> {
    telemetry::start();
    let loaded = match load(&args.config) {
        Ok(loaded) => loaded,
        Err(LoadError::Invalid(problems)) => {
            eprintln!("{problems}");
            return Ok(EXIT_FAILING);
        }
        Err(error @ LoadError::File(_)) => return Err(error.into()),
    };
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let image = Image::own(args.config.clone())?;
    runtime::block_signals()?;
    // Two threads: one decides, one serves what must not wait for it.
    let threads =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    // As a task, so that what one of these threads read is mostly decided on there and then; the
    // thread that waits here would have to be woken for each report.
    match threads.block_on(threads.spawn(runtime::run(loaded.config, image))) {
        Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
        ended => ended??,
    }
    Ok(EXIT_OK)
}
