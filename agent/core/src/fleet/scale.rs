//! Scaling a group by hand: within its bounds, with a question where it is much, and when it is
//! done. Never moves a bound: those are Terraform's.

use std::time::Duration;

use serde::Serialize;

use super::{Group, Instance};

/// How long instances are waited for: launching, joining and draining, hooks included.
pub const FOLLOW_WITHIN: Duration = Duration::from_hours(2);

/// Looks at which a group may still show the capacity that it had before: its description lags
/// behind what was asked for. With the pauses of [`super::refresh::pause`] they take ten seconds.
const LAGGING_LOOKS: u32 = 5;

/// What is going to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The capacity now.
    pub from: u32,
    /// The capacity then.
    pub to: u32,
    /// Why a person should agree first; `None`: nobody need be asked.
    pub ask: Option<&'static str>,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// Why it is not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Too few.
    #[error(
        "{to} is less than the minimum of group {group}, which has {min} to {max}: take {min} or \
         more, or lower the minimum where it is set (min_instances in Terraform)"
    )]
    BelowMin {
        /// The group.
        group: String,
        /// What was asked for.
        to: u32,
        /// The bounds.
        min: u32,
        /// The bounds.
        max: u32,
    },
    /// Too many.
    #[error(
        "{to} is more than the maximum of group {group}, which has {min} to {max}: take {max} or \
         less, or raise the maximum where it is set (max_instances in Terraform)"
    )]
    AboveMax {
        /// The group.
        group: String,
        /// What was asked for.
        to: u32,
        /// The bounds.
        min: u32,
        /// The bounds.
        max: u32,
    },
}

/// What scaling a group to so many instances comes to.
pub fn plan(group: &Group, to: u32) -> Result<Plan, Refusal> {
    let (name, min, max) = (|| group.name.clone(), group.min, group.max);
    if to < min {
        return Err(Refusal::BelowMin { group: name(), to, min, max });
    }
    if to > max {
        return Err(Refusal::AboveMax { group: name(), to, min, max });
    }
    let from = group.desired;
    let ask = if to == 0 && from > 0 {
        Some("nothing would be left to serve")
    } else if from > 0 && u64::from(from.abs_diff(to)) * 2 > u64::from(from) {
        Some("it is more than half of what there is")
    } else {
        None
    };
    let blocking = if to > from { "Launch" } else { "Terminate" };
    let suspended = group.suspended.iter().filter(|suspended| suspended.process == blocking);
    let notes = suspended.filter(|_| to != from).map(|suspended| {
        let why = suspended.reason.as_ref().filter(|why| !why.is_empty());
        let why = why.map_or_else(String::new, |why| format!(" ({why})"));
        format!("{blocking} is suspended{why}: the group does nothing until it is resumed")
    });
    Ok(Plan { from, to, ask, notes: notes.collect() })
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// As many serve as are wanted.
    Done,
    /// So much serves.
    Waiting(u32),
    /// Somebody or something wants so many instead.
    Overruled(u32),
}

/// How far a group is that was scaled as planned, after so many looks. Instances that still leave
/// are none of it: their drain may take as long as the hook holds. Where instances have weights,
/// Auto Scaling comes to the next whole instance, so there may be more than was asked for, by less
/// than one instance.
#[must_use]
pub fn progress(group: &Group, plan: &Plan, looks: u32) -> Progress {
    let serving = group.serving();
    if group.desired != plan.to {
        let lags = group.desired == plan.from && looks < LAGGING_LOOKS;
        return if lags { Progress::Waiting(serving) } else { Progress::Overruled(group.desired) };
    }
    let arriving = group.instances.iter().any(Instance::arrives);
    let reached = serving.checked_sub(plan.to).is_some_and(|over| over < group.heaviest());
    if reached && !arriving { Progress::Done } else { Progress::Waiting(serving) }
}
