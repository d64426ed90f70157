//! What is learned of rollouts and drains on the way: outcomes and durations, for metrics. Nothing
//! is decided from it.

use std::time::Duration;

/// One thing that was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measured {
    /// A deployment came so far.
    Deployment(Outcome),
    /// A part of a rollout took so long.
    Stage(Stage, Duration),
    /// From the channel's wish to the end of the trial.
    LeadTime(Duration),
    /// From the first sign that the new release is bad to the one before serving again.
    Restore(Duration),
    /// A drain ended.
    Drain {
        /// No request was cut.
        complete: bool,
        /// From its beginning to the end of the last process.
        took: Duration,
    },
}

/// How far a deployment came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It began.
    Started,
    /// It passed its trial.
    Settled,
    /// It was found to be bad.
    Rejected,
    /// The release before serves again.
    RolledBack,
}

impl Outcome {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::Started, Self::Settled, Self::Rejected, Self::RolledBack];

    /// As a label has it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Settled => "settled",
            Self::Rejected => "rejected",
            Self::RolledBack => "rolled_back",
        }
    }
}

/// A part of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Download, verification and unpacking, which happen at once.
    Fetch,
    /// From the start of the new processes until the last of them is ready.
    Ready,
    /// From the order to accept until the last of them accepts.
    Cutover,
    /// From there until the last old process has ended.
    Bleed,
    /// How long the release was watched.
    Trial,
}

impl Stage {
    /// Each of them.
    pub const ALL: [Self; 5] = [Self::Fetch, Self::Ready, Self::Cutover, Self::Bleed, Self::Trial];

    /// As a label has it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Ready => "ready",
            Self::Cutover => "cutover",
            Self::Bleed => "bleed",
            Self::Trial => "trial",
        }
    }
}
