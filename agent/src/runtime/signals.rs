//! The signals that end the agent, as a queue of the kernel's. They are blocked from the first
//! moment and read when somebody is there to act on them, so that none is lost or kills the agent
//! while it starts, or while it becomes another binary.

use std::io;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::RuntimeError;

const ENDS: [Signal; 2] = [Signal::SIGTERM, Signal::SIGINT];

fn ends() -> SigSet {
    ENDS.into_iter().collect()
}

/// Blocks the signals for this thread and those it starts from now on. Call it before there are
/// threads, or one of them takes what was meant for [`Signals`].
pub fn block_signals() -> Result<(), RuntimeError> {
    ends().thread_block().map_err(|error| RuntimeError::Signal(error.into()))
}

/// The signals that have come and not been acted on.
pub(super) struct Signals(AsyncFd<SignalFd>);

impl Signals {
    /// Needs a runtime, and [`block_signals`] before it.
    pub(super) fn open() -> Result<Self, RuntimeError> {
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let queue = SignalFd::with_flags(&ends(), flags);
        let queue = queue.map_err(|error| RuntimeError::Signal(error.into()))?;
        // SAFETY: the SignalFd owns an open descriptor, and nothing takes it out of the AsyncFd.
        let queue = unsafe { AsyncFd::register_with_interest(queue, Interest::READABLE) };
        Ok(Self(queue.map_err(|error| RuntimeError::Signal(error.into()))?))
    }

    /// The name of the next one. Cancel-safe.
    pub(super) async fn next(&self) -> &'static str {
        loop {
            match self.read().await {
                Ok(Some(name)) => return name,
                Ok(None) => {}
                Err(error) => {
                    tracing::error!("signals are not heard any more: {error}");
                    std::future::pending::<()>().await;
                }
            }
        }
    }

    async fn read(&self) -> io::Result<Option<&'static str>> {
        let mut ready = self.0.readable().await?;
        let Some(info) = self.0.get_ref().read_signal()? else {
            ready.clear_ready();
            return Ok(None);
        };
        let known = ENDS.into_iter().find(|signal| *signal as u32 == info.ssi_signo);
        Ok(known.map(Signal::as_str))
    }
}
