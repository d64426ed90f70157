//! The last hour of a host, for those who draw it: numbers in columns, releases as marks, and the
//! last rollout stage by stage. Plain documents, as the rest of the status.
//!
//! Times are moments of the boot clock, which never jumps; a reader shows them by their distance
//! from [`HistoryDocument::at`]. So a clock that is set moves the whole plot, and never tears it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::RolloutStage;
use crate::time::{Moment, Wall};
use crate::types::{Digest, TierName, Version};

/// A value for each time; `None`: it is not known, and a line ends there.
pub type Column = Vec<Option<f32>>;

/// Rows of the last hour, or those that came since a reader asked last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryDocument {
    /// When the agent began that keeps it: another agent counts its rows anew.
    pub agent: Moment,
    /// When this was written, by the boot clock.
    pub at: Moment,
    /// The same moment, by the wall clock.
    pub now: Wall,
    /// How far apart rows are, usually.
    pub every_ms: u64,
    /// The number of the newest row of all; 0: there is none.
    pub last: u64,
    /// When each row was measured, oldest first. Every column is as long.
    pub times: Vec<Moment>,
    /// The host's columns.
    pub host: HostColumns,
    /// Each tier's columns.
    pub tiers: BTreeMap<TierName, TierColumns>,
    /// What happened to releases in that hour, oldest first.
    pub marks: Vec<Mark>,
    /// The rollout under way, or the last one that this agent saw.
    pub rollout: Option<Timeline>,
    /// Tiers that had no room.
    pub tiers_left_out: u64,
}

/// What is measured of the host.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct HostColumns {
    /// Share of all cores that works: 0 to 1.
    pub cpu: Column,
    /// Share of memory that is used: 0 to 1.
    pub memory: Column,
    /// Bytes of logs that wait to be accepted.
    pub backlog: Column,
}

/// What is measured of a tier.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TierColumns {
    /// Answers in a second.
    pub requests: Column,
    /// Of these, with a status of 5xx.
    pub errors: Column,
    /// The median of the time to answer, in seconds.
    pub p50: Column,
    /// What 99 of 100 answers did not exceed, in seconds.
    pub p99: Column,
    /// Requests being answered.
    pub in_flight: Column,
    /// The event loop's delay that 99 of 100 do not exceed, in seconds: that of the worst process.
    pub delay: Column,
    /// Bytes of memory of all processes.
    pub memory: Column,
}

/// What happened to a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MarkKind {
    /// Its rollout began.
    Begun,
    /// A tier runs it from here on.
    Current,
    /// It passed its trial.
    Settled,
    /// It failed here.
    Rejected,
}

/// Something that happened to a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// When.
    pub at: Moment,
    /// What.
    pub kind: MarkKind,
    /// The release.
    pub version: Version,
    /// Where; `None`: on the host as a whole.
    pub tier: Option<TierName>,
}

/// One release replacing another, stage by stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeline {
    /// The new release, for people.
    pub version: Version,
    /// The new release, for machines.
    pub digest: Digest,
    /// When it began.
    pub began: Moment,
    /// The stages it came to, oldest first.
    pub stages: Vec<TimelineStage>,
    /// How it ended; `None`: it goes on.
    pub ended: Option<TimelineEnd>,
}

/// A stage that a rollout came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineStage {
    /// Which.
    pub stage: RolloutStage,
    /// When.
    pub at: Moment,
}

/// How a rollout ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineEnd {
    /// When.
    pub at: Moment,
    /// How.
    pub outcome: RolloutOutcome,
    /// Why, when that needs saying.
    pub reason: Option<String>,
}

/// How a rollout may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RolloutOutcome {
    /// The release serves, and its trial is over.
    Settled,
    /// The release failed here.
    Rejected,
    /// Something newer was wanted, or the host leaves.
    Abandoned,
}

impl RolloutOutcome {
    /// The word people read; the same as in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Settled => "settled",
            Self::Rejected => "rejected",
            Self::Abandoned => "abandoned",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_has_the_names_that_readers_rely_on() {
        let digest = "3f9c2ab0".repeat(8);
        let tier = r#""requests":[12.5,null],"errors":[0.0,null],"p50":[0.001,null],
            "p99":[0.02,null],"in_flight":[3.0,null],"delay":[0.002,null],"memory":[1e8,null]"#;
        let text = format!(
            r#"{{"agent":5,"at":20005,"now":1787217247000,"every_ms":10000,"last":2,
            "times":[10005,20005],
            "host":{{"cpu":[0.25,null],"memory":[0.5,null],"backlog":[0.0,null]}},
            "tiers":{{"web":{{{tier}}}}},
            "marks":[{{"at":7,"kind":"current","version":"v1","tier":"web"}}],
            "rollout":{{"version":"v1","digest":"{digest}","began":6,
                "stages":[{{"stage":"rolling-back","at":6}}],
                "ended":{{"at":9,"outcome":"rejected","reason":"it crashed"}}}},
            "tiers_left_out":0}}"#
        );
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let document: HistoryDocument = serde_json::from_str(&text).unwrap();
        assert_eq!(document.tiers[&"web".parse().unwrap()].requests, [Some(12.5), None]);
        let again: HistoryDocument =
            serde_json::from_str(&serde_json::to_string(&document).unwrap()).unwrap();
        assert_eq!(again, document);
        let keys = |value: &serde_json::Value| -> Vec<String> {
            value.as_object().unwrap().keys().cloned().collect()
        };
        let written = serde_json::to_value(&document).unwrap();
        assert_eq!(keys(&written), keys(&value));
        assert_eq!(keys(&written["tiers"]["web"]), keys(&value["tiers"]["web"]));
        assert_eq!(written["rollout"], value["rollout"]);
        assert_eq!(RolloutOutcome::Rejected.word(), "rejected");
    }
}
