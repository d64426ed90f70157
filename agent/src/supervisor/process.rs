//! One living process: its pidfd, its end, and how it ended.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use groundcrew_core::types::{Exit, ProcessId, Run};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Mutex;

use super::cgroup::Group;
use super::record::Identity;
use super::sweep::{self, Target};

/// A process that runs, started by this agent or adopted.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) id: ProcessId,
    pub(super) run: Run,
    pub(super) identity: Identity,
    pidfd: AsyncFd<OwnedFd>,
    group: Option<Group>,
    since: Option<u64>,
    memory_max: Option<u64>,
    oom_kills_before: u64,
    /// Held by whoever kills what belongs to it; `true` once nothing of it is left. Afterwards its
    /// id may be started again, with the same marker and control group, which must not be killed.
    pub(super) over: Mutex<bool>,
}

impl Process {
    /// Needs the runtime: the pidfd is watched by it.
    pub(super) fn new(
        (id, run): (ProcessId, Run),
        identity: Identity,
        pidfd: OwnedFd,
        group: Option<Group>,
        memory_max: Option<u64>,
    ) -> io::Result<Self> {
        let oom_kills_before = group.as_ref().map_or(0, Group::oom_kills);
        // SAFETY: an OwnedFd holds an open descriptor, and this one is never replaced or closed
        // while the AsyncFd owns it: only shared references to it are given out.
        let pidfd = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }?;
        let (since, over) = (None, Mutex::new(false));
        Ok(Self { id, run, identity, pidfd, group, since, memory_max, oom_kills_before, over })
    }

    /// The agent saw it start, so nothing that belongs to it is older.
    pub(super) fn seen_to_start(mut self) -> Self {
        self.since = Some(self.identity.start_ticks);
        self
    }

    /// Waits until it has ended. It may still be a zombie, which keeps its number from being used
    /// again until [`Self::exit`].
    pub(super) async fn ended(&self) -> io::Result<()> {
        loop {
            let mut ready = self.pidfd.readable().await?;
            if sweep::has_ended(self.pidfd.get_ref())? {
                return Ok(());
            }
            ready.clear_ready();
        }
    }

    /// Signals the main process alone; `false` when it has ended.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<bool> {
        match pidfd_send_signal(self.pidfd.get_ref(), signal) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Everything that belongs to it.
    pub(super) fn target(&self, owner: &str) -> Target {
        Target {
            id: self.id.clone(),
            owner: owner.to_owned(),
            main: Some(self.identity),
            group: self.group.clone(),
            since: self.since,
        }
    }

    /// How it ended; also what frees its number.
    pub(super) fn exit(&self) -> io::Result<Exit> {
        let exit = reap(self.pidfd.get_ref())?;
        let by_kernel = match &exit {
            Exit::Signal(name) => name == "SIGKILL",
            Exit::Unknown => true,
            Exit::Code(_) | Exit::MemoryLimit(_) => false,
        };
        let oom_kills = self.group.as_ref().map_or(0, Group::oom_kills);
        if by_kernel && oom_kills > self.oom_kills_before {
            return Ok(Exit::MemoryLimit(self.memory_max));
        }
        Ok(exit)
    }
}

/// Takes the exit of a process that has ended. [`Exit::Unknown`] for one that is not this process's
/// child: only a parent is told.
pub(super) fn reap(pidfd: &OwnedFd) -> io::Result<Exit> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    let status = match waitid(WaitId::PidFd(pidfd.as_fd()), options) {
        Ok(Some(status)) => status,
        Err(rustix::io::Errno::CHILD) => return Ok(Exit::Unknown),
        // It has not ended after all.
        Ok(None) => return Err(io::ErrorKind::WouldBlock.into()),
        Err(error) => return Err(error.into()),
    };
    if let Some(number) = status.terminating_signal() {
        let name = nix::sys::signal::Signal::try_from(number)
            .map_or_else(|_| format!("signal {number}"), |signal| signal.as_str().to_owned());
        return Ok(Exit::Signal(name));
    }
    Ok(status.exit_status().map_or(Exit::Unknown, Exit::Code))
}

/// Waits for a child that was killed and takes its exit. Blocking, until the kernel has ended it.
pub(super) fn wait(pidfd: &OwnedFd) -> io::Result<()> {
    // A non-blocking pidfd would answer EAGAIN instead of waiting.
    rustix::event::poll(
        &mut [rustix::event::PollFd::new(pidfd, rustix::event::PollFlags::IN)],
        None,
    )?;
    reap(pidfd).map(drop)
}
