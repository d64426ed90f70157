//! What can happen to a host, as the shell tells it to the core. Closed: a new fact is a new
//! variant.

use std::time::Duration;

use crate::effect::Told;
use crate::ledger::GenerationRecord;
use crate::lifecycle::fleet::FleetAnswer;
use crate::lifecycle::sight::Sighting;
use crate::spec::ReleaseSpec;
use crate::time::Moment;
use crate::types::{Desired, Digest, Exit, Pid, ProcessId, Run, Target, TierName};

/// One fact.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The first event of an agent's life: what it found on the host.
    Begun {
        /// Processes that outlived the agent before.
        found: Vec<Found>,
        /// Releases on disk.
        on_disk: Vec<OnDisk>,
        /// The host has not booted since the ledger was written, so a missing process has crashed.
        same_boot: bool,
    },
    /// The shell noticed something that people should be told.
    Noticed(Told),
    /// A moment that [`crate::controller::Controller::next_wake`] asked for has come.
    Tick,
    /// The channel was read.
    Channel(ChannelReading),
    /// A fetch came to an end.
    Fetched {
        /// What was fetched.
        target: Target,
        /// How it went.
        outcome: FetchOutcome,
    },
    /// Releases on disk, after a fetch or a removal.
    OnDisk(Vec<OnDisk>),
    /// A process was started, or could not be (the reason, as a clause).
    Started {
        /// Which.
        id: ProcessId,
        /// Which start of it.
        run: Run,
        /// Its number, or why there is none.
        outcome: Result<Pid, String>,
    },
    /// Something a process said, or was observed to do.
    Process {
        /// Which.
        id: ProcessId,
        /// Which start of it. News of an earlier run is ignored.
        run: Run,
        /// What.
        news: News,
    },
    /// A person asked for new processes of the same release.
    RestartTier(TierName),
    /// A person wants the host to leave, and why; `None`: to serve again.
    Order(Option<String>),
    /// A person wants to see how leaving goes.
    Drill {
        /// What is played, as a clause.
        text: String,
        /// How long the host has; `None`: as long as it takes.
        within: Option<Duration>,
    },
    /// The instance's metadata was looked at, and something about it is new.
    Sighted {
        /// What it says; `None`: nothing new, it did not answer.
        sighting: Option<Box<Sighting>>,
        /// Why it does not answer, as a clause.
        trouble: Option<String>,
    },
    /// What Auto Scaling or a load balancer answered.
    Fleet(FleetAnswer),
    /// What became of the logs when the host leaves.
    LogsShipped {
        /// Which request is answered. An answer to one of a drain before is ignored.
        since: Moment,
        /// How it went.
        outcome: ShipOutcome,
    },
    /// The host, or a person, wants the agent to end what it runs and go.
    Leave {
        /// Why, for status and log.
        reason: String,
    },
    /// How writing the ledger went.
    LedgerSaved(Result<(), String>),
}

/// What became of everything that was written to the logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShipOutcome {
    /// All of it was taken in where it goes.
    Shipped {
        /// How many events this request still had to ship.
        events: u64,
    },
    /// Some of it was not.
    Left {
        /// How much.
        bytes: u64,
        /// Where it was put, such as an `s3://` URL; `None`: it is only on this host's disk.
        kept: Option<String>,
        /// Why, as a clause.
        reason: String,
    },
}

/// What one process said, or was observed to do.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// It came (back) to the channel and says where it stands.
    Hello(HandoffState),
    /// The app listens on its port, so the private probe answers.
    Listening,
    /// The app listened somewhere else than asked.
    Elsewhere {
        /// Where.
        port: u16,
        /// In a child process, which has not got the socket.
        child: bool,
    },
    /// A probe ended: good, or why not.
    Probed(Result<(), String>),
    /// It accepts connections.
    Accepting,
    /// Its last connection is gone, or its time was up and `cut` requests were lost.
    Drained {
        /// Requests lost.
        cut: u32,
    },
    /// It says that an uncaught exception is ending it: the exception's first line.
    Crashing(String),
    /// Requests answered since the last report.
    Answered {
        /// All of them.
        requests: u64,
        /// Those with a 5xx status.
        errors: u64,
        /// Requests without an answer now.
        in_flight: u64,
    },
    /// It is gone, and so is everything it started.
    Exited(Exit),
}

/// Where a process stands in the handoff, in its own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandoffState {
    /// The app has not listened yet.
    Starting,
    /// The app listens; the process does not accept.
    Listening,
    /// It accepts.
    Accepting,
    /// It finishes what it has.
    Bleeding,
    /// It has nothing left.
    Drained,
}

/// A process that outlived its agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Which.
    pub id: ProcessId,
    /// Which start of it.
    pub run: Run,
    /// Its number.
    pub pid: Pid,
    /// What it is made of, so that a lost ledger costs nothing that serves.
    pub record: Option<Box<GenerationRecord>>,
}

/// A release on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnDisk {
    /// Its digest.
    pub digest: Digest,
    /// Bytes that removing it would free, at most.
    pub bytes: u64,
}

/// What reading the channel gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChannelReading {
    /// The same as the last time.
    Unchanged,
    /// There is no such channel yet.
    Missing,
    /// What it says.
    Found(Desired),
    /// The source could not be read: why, as a clause.
    Unreachable(String),
}

/// How a fetch went.
#[derive(Debug, Clone, PartialEq)]
pub enum FetchOutcome {
    /// The release is on disk, every byte checked. What its `release.toml` says.
    Ready(Box<ReleaseSpec>),
    /// It may work later: why, as a clause.
    Failed(String),
    /// The release itself is bad: why, as a clause.
    Refused(String),
}
