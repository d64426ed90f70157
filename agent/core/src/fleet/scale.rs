//! Scaling a group by hand: within its bounds, with a question where it is much, and when it is
//! done. Never moves a bound: those are Terraform's.

use std::time::Duration;

use serde::Serialize;

use super::Group;

/// How long instances are waited for: launching, joining and draining, hooks included.
pub const FOLLOW_WITHIN: Duration = Duration::from_hours(2);

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
    /// So many serve.
    Waiting(usize),
    /// Somebody or something wants so many instead.
    Overruled(u32),
}

/// How far a group is that was scaled to so many. Instances that still leave are none of it: their
/// drain may take as long as the hook holds.
#[must_use]
pub fn progress(group: &Group, to: u32) -> Progress {
    if group.desired != to {
        return Progress::Overruled(group.desired);
    }
    let serving = group.serving();
    let arriving = group.instances.iter().any(|instance| instance.state.starts_with("Pending"));
    if u32::try_from(serving).is_ok_and(|serving| serving == to) && !arriving {
        Progress::Done
    } else {
        Progress::Waiting(serving)
    }
}
