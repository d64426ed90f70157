//! Whether all is well with a group, in a word and with reasons.

use std::fmt;

use serde::Serialize;

use super::refresh::{self, Outcome};
use super::{Group, Refresh};

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
    if u32::try_from(serving).is_ok_and(|serving| serving < group.desired) {
        reasons.push(format!("{serving} of {} in service", group.desired));
        word = Word::Degraded;
    }
    if group.instances.iter().any(super::Instance::moves) {
        word = Word::Scaling;
    }
    match last.map(|last| (refresh::ended(&last.status), last)) {
        Some((None, _)) => word = Word::Refreshing,
        Some((Some(Outcome::Failed), last)) => {
            reasons.push(format!("the last refresh: {}", refresh::summary(last)));
            word = Word::Degraded;
        }
        Some((Some(Outcome::Updated | Outcome::Cancelled | Outcome::RolledBack), _)) | None => {}
    }
    for suspended in &group.suspended {
        let why = suspended.reason.as_ref().filter(|why| !why.is_empty());
        let why = why.map_or_else(String::new, |why| format!(": {why}"));
        reasons.push(format!("{} is suspended{why}", suspended.process));
        if VITAL.contains(&suspended.process.as_str()) {
            word = Word::Degraded;
        }
    }
    Standing { word, reasons }
}
