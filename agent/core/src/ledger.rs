//! The few facts that survive the agent. Everything else is observed again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::effect::Told;
use crate::lifecycle::LifecycleLedger;
use crate::limits;
use crate::spec::TierPlan;
use crate::time::{Moment, Wall};
use crate::types::{Desired, Digest, Generation, Target, TierName, Version};

/// What the agent remembers. Written before anything that relies on it is done.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Ledger {
    /// The number the next generation gets, in any tier.
    pub next_generation: Generation,
    /// The release that serves: a fully verified directory.
    pub current: Option<Target>,
    /// Since when `current` serves.
    pub current_since: Wall,
    /// Whether `current` has passed its trial.
    pub settled: bool,
    /// Releases that passed their trial, newest first. The first one is what a rollback goes to.
    pub history: Vec<Target>,
    /// The release that was found to be bad.
    pub rejected: Option<Rejected>,
    /// What the channel said last.
    pub desired: Option<Desired>,
    /// What is known of each tier.
    pub tiers: BTreeMap<TierName, TierLedger>,
    /// Every generation that may have processes.
    pub generations: BTreeMap<Generation, GenerationRecord>,
    /// The deployment under way, as far as it is measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deploying: Option<Deploying>,
    /// Where the host stands in its group.
    pub lifecycle: LifecycleLedger,
    /// What people were told last, oldest first.
    pub events: Vec<Told>,
}

/// A release on its way to being the settled one, on a host that served another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deploying {
    /// The release.
    pub digest: Digest,
    /// When the channel was seen to ask for it.
    pub since: Moment,
    /// Its beginning was told.
    #[serde(default)]
    pub started: bool,
    /// When it was found to be bad while it served.
    #[serde(default)]
    pub failing: Option<Moment>,
}

/// What is known of one tier.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TierLedger {
    /// The generation that serves.
    pub live: Option<Generation>,
    /// Since when it serves.
    pub since: Wall,
    /// Counts the restarts people asked for.
    pub nonce: u64,
}

/// What a generation is made of: enough to go on with its processes after an agent died.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationRecord {
    /// The tier.
    pub tier: TierName,
    /// The release its processes run.
    pub target: Target,
    /// How they run.
    pub plan: TierPlan,
    /// The tier's restart count it was made for.
    pub nonce: u64,
}

/// A release that was found to be bad; stays so until the channel moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// Its digest.
    pub digest: Digest,
    /// Its version.
    pub version: Version,
    /// The channel's number at the time: a later one is a new wish.
    pub channel_generation: u64,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Wall,
}

impl Ledger {
    /// The settled release that a rollback of `current` would go to.
    #[must_use]
    pub fn previous(&self) -> Option<&Target> {
        let current = self.current.as_ref().map(|target| target.release.digest);
        self.history.iter().find(|target| Some(target.release.digest) != current)
    }

    /// Remembers that `current` passed its trial.
    pub fn settle(&mut self) {
        self.settled = true;
        if let Some(current) = &self.current {
            self.history.retain(|target| target.release.digest != current.release.digest);
            self.history.insert(0, current.clone());
            self.history.truncate(limits::RELEASE_HISTORY_MAX);
        }
    }

    /// Remembers what people were told.
    pub fn tell(&mut self, told: Told) {
        let over = (self.events.len() + 1).saturating_sub(limits::EVENTS_MAX);
        self.events.drain(..over);
        self.events.push(told);
    }
}
