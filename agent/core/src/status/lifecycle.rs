//! Where the host stands in its Auto Scaling group, and how its leaving goes.

use serde::{Deserialize, Serialize};

use crate::lifecycle::drain::{Balancers, Step};
use crate::lifecycle::fleet::HookResult;
use crate::lifecycle::notice::Cause;
use crate::time::Wall;

/// Where the host stands, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LifecycleStatus {
    /// The state that the group brings the instance to.
    pub target: Option<String>,
    /// The group.
    pub group: Option<String>,
    /// The state that Auto Scaling named last.
    pub state: Option<String>,
    /// Why the host leaves.
    pub notices: Vec<NoticeStatus>,
    /// How the leaving goes, or went.
    pub drain: Option<DrainStatus>,
    /// The one before, after which the host came back.
    pub last_drain: Option<DrainStatus>,
    /// The hooks that hold the instance and are the agent's to complete.
    pub hooks: Vec<HookStatus>,
    /// Heartbeats that Auto Scaling took in for them.
    pub heartbeats: u32,
    /// Why the instance's metadata cannot be read.
    pub metadata_error: Option<String>,
    /// Why Auto Scaling cannot be asked, or not told.
    pub api_error: Option<String>,
}

/// A reason to leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticeStatus {
    /// Whose.
    pub cause: Cause,
    /// What it says.
    pub text: String,
    /// When it was heard of.
    pub at: Wall,
    /// When the host will be gone.
    pub deadline: Option<Wall>,
}

/// How the leaving goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainStatus {
    /// When it began.
    pub since: Wall,
    /// When the last process had ended.
    pub ended: Option<Wall>,
    /// When the host will be gone.
    pub deadline: Option<Wall>,
    /// How far the load balancers are: `unknown`, `group`, `deregistering`, `told` or `gone`.
    pub balancers: String,
    /// Requests that were cut.
    pub cut: u32,
    /// What happened, oldest first.
    pub steps: Vec<Step>,
}

/// A hook that holds the instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookStatus {
    /// Its name.
    pub name: String,
    /// How the transition goes on; `None`: not decided.
    pub result: Option<HookResult>,
    /// Why.
    pub reason: Option<String>,
    /// Auto Scaling has taken it in.
    pub confirmed: bool,
}

impl DrainStatus {
    /// The word for how far the load balancers are.
    #[must_use]
    pub fn word(balancers: Balancers) -> &'static str {
        match balancers {
            Balancers::Unknown { .. } => "unknown",
            Balancers::Group { .. } => "group",
            Balancers::Deregistering { .. } => "deregistering",
            Balancers::Told { .. } => "told",
            Balancers::Gone => "gone",
        }
    }
}
