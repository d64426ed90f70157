//! Whether all is well with a group, in a word and with reasons.

use std::fmt;

use serde::Serialize;

use super::refresh::{self, Outcome};
use super::{Group, Instance, Refresh};

/// Processes without which a group neither replaces nor adds anything.
const VITAL: [&str; 4] = ["Launch", "Terminate", "HealthCheck", "ReplaceUnhealthy"];

/// Whether all is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// As many serve as are wanted.
    Steady,
    /// Instances come or go.
    Scaling,
    /// An instance refresh runs.
    Refreshing,
    /// A person has to look.
    Degraded,
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Steady => "steady",
            Self::Scaling => "scaling",
            Self::Refreshing => "refreshing",
            Self::Degraded => "degraded",
        })
    }
}

/// The processes of a group that are suspended and without which nothing is replaced or added.
pub fn vital_suspended(group: &Group) -> impl Iterator<Item = &'static str> {
    let is_suspended = |vital: &&str| group.suspended.iter().any(|one| one.process == **vital);
    VITAL.into_iter().filter(is_suspended)
}

/// Whether the last refresh has failed and left instances that are not as the group launches them.
/// Where all are, it is history: the same again would do nothing. What leaves is not looked at, and
/// the version of a group that runs `$Latest` or `$Default` tells nothing.
#[must_use]
pub fn left_undone(group: &Group, last: Option<&Refresh>) -> bool {
    let failed = last.is_some_and(|last| refresh::ended(&last.status) == Some(Outcome::Failed));
    let launched = group.launch.template();
    let is_as_launched =
        |instance: &Instance| launched.is_some() && instance.template.as_ref() == launched;
    let mut rest = group.instances.iter().filter(|instance| !instance.leaves());
    failed && !rest.all(is_as_launched)
}

/// The word, and why it is not a better one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// The word.
    pub word: Word,
    /// The reasons.
    pub reasons: Vec<String>,
}

/// How a group stands, `last` being its newest refresh.
#[must_use]
pub fn standing(group: &Group, last: Option<&Refresh>) -> Standing {
    let mut reasons = Vec::new();
    let mut word = Word::Steady;
    let serving = group.serving();
    if serving < group.desired {
        reasons.push(format!("{serving} of {} in service", group.desired));
        word = Word::Degraded;
    }
    let arrives = group.instances.iter().any(Instance::arrives);
    let leaves = group.instances.iter().any(Instance::leaves);
    // What leaves does not make up for what is missing.
    if arrives || (leaves && word == Word::Steady) {
        word = Word::Scaling;
    }
    if let Some(last) = last {
        if refresh::ended(&last.status).is_none() {
            word = Word::Refreshing;
        } else if left_undone(group, Some(last)) {
            reasons.push(format!("the last refresh: {}", refresh::summary(last)));
            word = Word::Degraded;
        }
    }
    for suspended in &group.suspended {
        let why = suspended.reason.as_ref().filter(|why| !why.is_empty());
        let why = why.map_or_else(String::new, |why| format!(": {why}"));
        reasons.push(format!("{} is suspended{why}", suspended.process));
    }
    if vital_suspended(group).next().is_some() {
        word = Word::Degraded;
    }
    Standing { word, reasons }
}
