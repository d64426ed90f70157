//! Where this host stands in its Auto Scaling group, and why and how it leaves.
//!
//! Level, not edge, as everywhere: the reasons to leave are worked out anew at every step from what
//! is known (what the instance's metadata said last, what a person ordered), so that an agent that
//! died in the middle goes on where it was.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub mod drain;
pub mod fleet;
pub mod hooks;
pub mod notice;
pub mod sight;

use crate::time::Wall;
use drain::Drain;
use hooks::HookLedger;
use sight::{Sighting, TargetState};

/// What to do about a notice that asks for nothing by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reaction {
    /// Show it.
    Ignore,
    /// Begin nothing that would be cut: no rollout.
    Prepare,
    /// Leave.
    Drain,
}

/// What the host's configuration says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LifecycleSettings {
    /// The host is an EC2 instance, so there is metadata to look at.
    pub enabled: bool,
    /// About a rebalance recommendation of the spot market.
    pub rebalance: Reaction,
    /// About a scheduled event: a reboot, a retirement.
    pub scheduled: Reaction,
    /// How long before a scheduled event the host reacts.
    pub scheduled_before: Duration,
    /// The lifecycle hooks that are the agent's to complete; `None`: the only one of a transition,
    /// or those whose name begins with `groundcrew`.
    pub hooks: Option<BTreeSet<String>>,
    /// How long a launch may take before it is given up.
    pub launch_within: Duration,
}

impl Default for LifecycleSettings {
    fn default() -> Self {
        Self {
            enabled: false,
            rebalance: Reaction::Prepare,
            scheduled: Reaction::Drain,
            scheduled_before: Duration::from_mins(10),
            hooks: None,
            launch_within: Duration::from_mins(15),
        }
    }
}

/// A person wants the host to leave, until further notice. Outlives a reboot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Why, in the person's words.
    pub reason: String,
    /// When.
    pub at: Wall,
}

/// What of it survives the agent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LifecycleLedger {
    /// What the metadata said last, in this boot.
    pub sighting: Option<Sighting>,
    /// What a person ordered.
    pub order: Option<Order>,
    /// The drain under way, or finished and not withdrawn.
    pub drain: Option<Drain>,
    /// The drain before, which was withdrawn.
    pub last_drain: Option<Drain>,
    /// What was decided about hooks that hold the instance.
    pub hooks: HookLedger,
    /// Target groups (ARNs) that the agent took the instance out of, to put it back in.
    pub taken_out: Vec<String>,
    /// The agent began without a ledger, and has not asked the group since.
    pub forgetful: bool,
}

impl LifecycleLedger {
    /// Where the group takes the instance, as far as is known; `None` also outside of a group.
    #[must_use]
    pub fn target(&self) -> Option<&TargetState> {
        self.sighting.as_ref()?.target.as_ref()
    }
}

/// What the notices together ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stance {
    /// Nothing stands against serving.
    Serve,
    /// Serve no more, but be prepared to come back.
    Hold,
    /// Go for good.
    Leave,
}
