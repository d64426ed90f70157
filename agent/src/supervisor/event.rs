//! What the supervisor reports: plain data, nothing decided.

use groundcrew_core::types::{Exit, Pid, ProcessId, Run};

use super::record::Record;

/// What happened to a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SupervisorEvent {
    /// It was started. Whether its command could be run shows in how it ends.
    Started {
        /// Which process.
        id: ProcessId,
        /// Which of its starts.
        run: Run,
        /// Its number.
        pid: Pid,
    },
    /// It could not be started; nothing of it runs.
    StartFailed {
        /// Which process.
        id: ProcessId,
        /// Which of its starts.
        run: Run,
        /// Why, for people.
        reason: String,
    },
    /// It has ended, and with it everything it had started.
    Exited {
        /// Which process.
        id: ProcessId,
        /// Which of its starts.
        run: Run,
        /// How.
        exit: Exit,
        /// Why, where the exit alone does not say it: `command not found: nod; ...`.
        reason: Option<String>,
    },
    /// It, or something it had started, was killed and does not end: it hangs in the kernel.
    KillUnfinished {
        /// Which process.
        id: ProcessId,
        /// Which of its starts.
        run: Run,
        /// What is still there.
        left: Vec<Pid>,
    },
}

/// A process of the agent before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its number.
    pub pid: Pid,
    /// What the agent before knew of it.
    pub record: Record,
}

/// A process that ended while there was no agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// What the agent before knew of it.
    pub record: Record,
    /// How it ended, as far as that can be known.
    pub exit: Exit,
}

/// What the agent before left behind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Adoption {
    /// Runs, and is watched from now on.
    pub found: Vec<Found>,
    /// Has ended. Its id keeps its directories until it is retired.
    pub lost: Vec<Lost>,
    /// What else was done: strangers killed, records thrown away.
    pub notes: Vec<String>,
}
