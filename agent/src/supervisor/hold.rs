//! `groundcrew hold`: keeps a unit of systemd alive, in whose control group the tiers run.
//!
//! In the agent's own unit they could not outlive it: systemd cannot start a service again in a
//! group that has controllers enabled for its children (EBUSY), and an agent that was killed cannot
//! turn them off. So they have a unit of their own, and this is its process. It does nothing: no
//! thread, no file, no work.

use std::io;

use nix::sys::signal::{SigSet, Signal};

use super::cgroup;

/// Why the group cannot be held.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// The process is in no group that can be used.
    #[error("this unit cannot hold the tiers: {0}")]
    Group(String),
    /// A signal.
    #[error("could not wait for signals")]
    Signal(#[source] io::Error),
}

/// Holds the group until SIGTERM or SIGINT.
pub fn hold() -> Result<(), HoldError> {
    let place = cgroup::Place::current().map_err(|error| HoldError::Group(error.to_string()))?;
    cgroup::step_aside(&place).map_err(HoldError::Group)?;
    let mut ends = SigSet::empty();
    ends.add(Signal::SIGTERM);
    ends.add(Signal::SIGINT);
    // Blocked before it is said that the unit is up: none is missed.
    ends.thread_block().map_err(|error| HoldError::Signal(error.into()))?;
    crate::systemd::ready();
    ends.wait().map_err(|error| HoldError::Signal(error.into()))?;
    Ok(())
}
