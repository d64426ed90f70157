//! What the instance's metadata (IMDS) says about its future.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::time::Wall;

/// What the metadata says, all of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Sighting {
    /// Where the group takes the instance; `None`: it is in no group.
    pub target: Option<TargetState>,
    /// The spot market takes the instance back.
    pub spot: Option<SpotAction>,
    /// Since when the spot market recommends to move elsewhere.
    pub rebalance: Option<Wall>,
    /// Scheduled events that are to come.
    pub scheduled: Vec<Scheduled>,
}

/// The state that the group brings the instance to (`autoscaling/target-lifecycle-state`): steady
/// states only, and never the current one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum TargetState {
    /// To serve.
    InService,
    /// Out of service for a while, on a person's wish.
    Standby,
    /// Out of the group.
    Detached,
    /// To its end.
    Terminated,
    /// In the warm pool: `Stopped`, `Running`, `Hibernated` or `Terminated`.
    Warmed(String),
    /// A word this version does not know.
    Unknown(String),
}

impl From<String> for TargetState {
    fn from(word: String) -> Self {
        match word.as_str() {
            "InService" => Self::InService,
            "Standby" => Self::Standby,
            "Detached" => Self::Detached,
            "Terminated" => Self::Terminated,
            _ => match word.strip_prefix("Warmed:") {
                Some("Terminated") => Self::Terminated,
                Some(state) => Self::Warmed(state.to_owned()),
                None => Self::Unknown(word),
            },
        }
    }
}

impl From<TargetState> for String {
    fn from(state: TargetState) -> Self {
        state.to_string()
    }
}

impl fmt::Display for TargetState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InService => f.write_str("InService"),
            Self::Standby => f.write_str("Standby"),
            Self::Detached => f.write_str("Detached"),
            Self::Terminated => f.write_str("Terminated"),
            Self::Warmed(state) => write!(f, "Warmed:{state}"),
            Self::Unknown(word) => f.write_str(word),
        }
    }
}

/// The spot market takes the instance back (`spot/instance-action`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpotAction {
    /// `terminate`, `stop` or `hibernate`.
    pub action: String,
    /// When.
    pub at: Wall,
    /// The same, as the metadata spells it.
    pub time: String,
}

/// A scheduled event that is to come (`events/maintenance/scheduled`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduled {
    /// Its id.
    pub id: String,
    /// What will happen, such as `instance-reboot`.
    pub code: String,
    /// When, at the earliest.
    pub not_before: Wall,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read_and_written_as_aws_spells_them() {
        for word in ["InService", "Standby", "Detached", "Terminated", "Warmed:Stopped", "Odd:X"] {
            let state = TargetState::from(word.to_owned());
            assert_eq!(state.to_string(), word);
            assert_eq!(matches!(state, TargetState::Unknown(_)), word == "Odd:X");
        }
        // What is taken out of the pool to be terminated leaves like any other.
        let leaving = TargetState::from("Warmed:Terminated".to_owned());
        assert_eq!(leaving, TargetState::Terminated);
    }
}
