//! What the core wants done, for the shell to do. In order: an effect may rely on those before it.

use std::time::Duration;

use crate::ledger::Ledger;
use crate::lifecycle::drain::{Quiet, Step};
use crate::lifecycle::fleet::FleetCall;
use crate::measured::Measured;
use crate::spec::TierPlan;
pub use crate::status::{EventLevel as Level, EventStatus as Told, Subject, Topic};
use crate::time::{Moment, Now};
use crate::types::{Digest, ProcessId, ReleaseRef, Run, Target};

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Make the ledger durable before anything that follows. Answered by `LedgerSaved`.
    SaveLedger(Box<Ledger>),
    /// Read the channel. Answered by `Channel`.
    ReadChannel,
    /// Put a release on disk, or find it there, and read its `release.toml`. Answered by `Fetched`.
    Fetch(Target),
    /// Stop fetching it; no answer is owed.
    CancelFetch(Target),
    /// Start a process, binding its tier's socket first if nobody has. Answered by `Started`, later
    /// by `Exited`.
    Start {
        /// Which.
        id: ProcessId,
        /// Which start of it.
        run: Run,
        /// Of what.
        release: ReleaseRef,
        /// How.
        plan: Box<TierPlan>,
    },
    /// Ask a process once whether it is well. Answered by `Probed`.
    Probe {
        /// Which.
        id: ProcessId,
        /// Which start of it.
        run: Run,
        /// The HTTP path; without one, connecting is enough.
        path: Option<String>,
    },
    /// Tell a process to accept. Answered by `Accepting`.
    Accept {
        /// Which.
        id: ProcessId,
        /// Which start of it.
        run: Run,
    },
    /// Tell a process to stop accepting and finish what it has. Answered by `Drained`.
    Bleed {
        /// Which.
        id: ProcessId,
        /// Which start of it.
        run: Run,
        /// How long it may take.
        within: Duration,
        /// The host leaves: what still comes is taken, until nothing has come for so long.
        quiet: Option<Quiet>,
    },
    /// Send SIGTERM to a process. Answered by `Exited`.
    Terminate {
        /// Which.
        id: ProcessId,
        /// Which start of it.
        run: Run,
    },
    /// Kill a process and everything it started. Answered by `Exited`.
    Kill {
        /// Which.
        id: ProcessId,
        /// Which start of it.
        run: Run,
    },
    /// A process id will not be used again: clean up after it.
    Forget(ProcessId),
    /// No tier wants this port any more.
    CloseSocket {
        /// The port.
        port: u16,
    },
    /// Remove a release from disk. Answered by `OnDisk`.
    Prune(Digest),
    /// Ship everything that was written to the logs up to now. Answered by `LogsShipped`.
    ShipLogs {
        /// Which request: when it was made first.
        since: Moment,
        /// When the answer must be there, whatever is left.
        by: Moment,
        /// The disk goes with the instance: what is left is to be put elsewhere, and said where.
        keep: bool,
    },
    /// Ask or tell Auto Scaling and the load balancers. Answered by `Fleet`.
    Fleet(FleetCall),
    /// Write a line of the drain's record to the log.
    Record(Step),
    /// Tell people.
    Tell(Told),
    /// Count what was measured.
    Measured(Measured),
    /// Everything has ended: the agent may go.
    Exit,
}

/// Tells people that `text` happened to the host.
#[must_use]
pub fn tell(now: Now, level: Level, topic: Topic, text: String) -> Effect {
    Subject::host().tell(now, level, topic, text)
}
