//! The host leaving: one plan for all notices, and the record of how it went.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Stance;
use super::notice::{Cause, Notice};
use crate::limits;
use crate::time::{Moment, Now, Wall};

/// How far the load balancers are with letting go of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Balancers {
    /// It is being found out who takes the host out of them.
    Unknown {
        /// Then the drain goes on without knowing.
        by: Moment,
    },
    /// The group does, and is not through.
    Group {
        /// Then the drain goes on as if it were.
        by: Moment,
    },
    /// The agent does, and has no answer yet.
    Deregistering {
        /// Then the drain goes on without it.
        by: Moment,
    },
    /// They know, and may still send for a moment.
    Told {
        /// Since when.
        at: Moment,
    },
    /// They send nothing any more.
    Gone,
}

impl Balancers {
    /// When the drain goes on whatever they do.
    #[must_use]
    pub const fn by(self) -> Option<Moment> {
        match self {
            Self::Unknown { by } | Self::Group { by } | Self::Deregistering { by } => Some(by),
            Self::Told { .. } | Self::Gone => None,
        }
    }
}

/// How far the logs are with leaving the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Logs {
    /// Processes may still write.
    #[default]
    Waiting,
    /// All that was written is to be shipped.
    Shipping {
        /// Since when.
        since: Moment,
    },
    /// They are shipped, or it is said what is left.
    Done,
}

/// A line of the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// How long after the drain began, in milliseconds.
    pub after_ms: u64,
    /// What happened.
    pub text: String,
}

/// The host leaving.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// When it began, by the boot clock.
    pub began: Moment,
    /// When it began, for people.
    pub began_wall: Wall,
    /// Every reason that was heard, in that order.
    pub notices: Vec<Notice>,
    /// The earliest of their deadlines: no later notice moves it back.
    pub deadline: Option<Moment>,
    /// How far the load balancers are.
    pub balancers: Balancers,
    /// Requests that were cut.
    pub cut: u32,
    /// When the last process had ended.
    pub ended: Option<Moment>,
    /// How far the logs are, which come after the last process.
    #[serde(default)]
    pub logs: Logs,
    /// What happened, oldest first.
    pub steps: Vec<Step>,
}

impl Drain {
    /// Begins.
    #[must_use]
    pub fn new(now: Now) -> Self {
        Self {
            began: now.at,
            began_wall: now.wall,
            notices: Vec::new(),
            deadline: None,
            balancers: Balancers::Unknown { by: now.at.plus(limits::BALANCERS_ASK_WITHIN) },
            cut: 0,
            ended: None,
            logs: Logs::Waiting,
            steps: Vec::new(),
        }
    }

    /// Takes in the reasons that hold now; those that are new come back.
    pub fn hear(&mut self, now: Now, notices: Vec<Notice>) -> Vec<Notice> {
        let mut new = Vec::new();
        for notice in notices {
            if self.notices.iter().any(|known| known.is_same_as(&notice)) {
                continue;
            }
            self.deadline = match (self.deadline, notice.not_after) {
                (Some(before), Some(after)) => Some(before.min(after)),
                (before, after) => before.or(after),
            };
            let left = notice.not_after.map(|by| crate::time::text(Moment::since(by, now.at)));
            let left = left.map_or_else(String::new, |left| format!(", {left} left"));
            self.note(now, format!("{}{left}", notice.text));
            if self.notices.len() < limits::NOTICES_MAX {
                self.notices.push(notice.clone());
            }
            new.push(notice);
        }
        new
    }

    /// A hook holds the instance for so long and no longer.
    pub fn not_after(&mut self, deadline: Moment) {
        self.deadline = Some(self.deadline.map_or(deadline, |before| before.min(deadline)));
    }

    /// Writes a line of the record. Bounded: a drain that goes on for hours says no more.
    pub fn note(&mut self, now: Now, text: String) {
        if self.steps.len() < limits::DRAIN_STEPS_MAX {
            self.steps.push(Step { after_ms: crate::time::ms(now.at.since(self.began)), text });
        }
    }

    /// When the processes must be gone, so that there is time for what comes after them.
    #[must_use]
    pub fn processes_by(&self) -> Option<Moment> {
        let reserve = crate::time::ms(limits::DRAIN_RESERVE);
        self.deadline.map(|deadline| Moment(deadline.0.saturating_sub(reserve)))
    }

    /// Whether nothing of it is left to do: no process runs, and the logs are where they can be.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.ended.is_some() && self.logs == Logs::Done
    }

    /// Whether one of the reasons is the agent's own end, which is not a matter of the host.
    #[must_use]
    pub fn is_only_exit(&self) -> bool {
        self.notices.iter().all(|notice| notice.cause == Cause::Exit)
    }
}

/// What the reasons together ask for.
#[must_use]
pub fn stance(notices: &[Notice]) -> Stance {
    if notices.is_empty() {
        Stance::Serve
    } else if notices.iter().all(|notice| notice.cause.comes_back()) {
        Stance::Hold
    } else {
        Stance::Leave
    }
}

/// The silence after which a process believes that no request will come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quiet {
    /// How long.
    pub lasts: Duration,
    /// Whether the time counts that was silent before.
    pub past_counts: bool,
}

impl Quiet {
    /// As long as would have brought ten requests. Where the load balancers are through, the
    /// shortest will do; but what AWS says is no reason to stop taking what still comes.
    #[must_use]
    pub fn after(balancers: Balancers, requests_per_second: u64) -> Self {
        if balancers == Balancers::Gone {
            return Self { lasts: limits::QUIET_MIN, past_counts: true };
        }
        let lasts = if requests_per_second == 0 {
            limits::QUIET_IDLE
        } else {
            let ten = Duration::from_millis(10_000 / requests_per_second.min(10_000));
            ten.clamp(limits::QUIET_MIN, limits::QUIET_MAX)
        };
        Self { lasts, past_counts: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(cause: Cause, text: &str, not_after: Option<u64>) -> Notice {
        let not_after = not_after.map(Moment);
        Notice { cause, text: text.into(), heard: Wall(0), not_after }
    }

    #[test]
    fn the_earliest_deadline_wins_and_is_never_moved_back() {
        let mut drain = Drain::new(Now::default());
        let hear = |drain: &mut Drain, notices| drain.hear(Now::default(), notices).len();
        assert_eq!(hear(&mut drain, vec![notice(Cause::Order, "order", None)]), 1);
        assert_eq!(drain.deadline, None);
        let spot = notice(Cause::Spot, "spot", Some(120_000));
        assert_eq!(hear(&mut drain, vec![spot]), 1);
        // The same again, seen by a clock that jumped.
        let again = notice(Cause::Spot, "spot", Some(5_000));
        let softer = notice(Cause::Scheduled, "reboot", Some(900_000));
        assert_eq!(hear(&mut drain, vec![again, softer]), 1);
        assert_eq!(drain.deadline, Some(Moment(120_000)));
        assert_eq!(hear(&mut drain, vec![notice(Cause::Spot, "sooner", Some(30_000))]), 1);
        assert_eq!(drain.processes_by(), Some(Moment(25_000)));
        assert_eq!(drain.steps.len(), 4);
        assert_eq!(drain.steps[1].text, "spot, 2m left");
    }

    #[test]
    fn for_good_is_stronger_than_for_now() {
        let order = notice(Cause::Order, "", None);
        let spot = notice(Cause::Spot, "", None);
        assert_eq!(stance(&[]), Stance::Serve);
        assert_eq!(stance(std::slice::from_ref(&order)), Stance::Hold);
        assert_eq!(stance(&[order, spot]), Stance::Leave);
    }

    #[test]
    fn a_busy_host_is_sure_of_the_silence_sooner() {
        let told = |rate| Quiet::after(Balancers::Told { at: Moment(0) }, rate).lasts;
        assert_eq!(told(1000), limits::QUIET_MIN);
        assert_eq!(told(5), Duration::from_secs(2));
        assert_eq!(told(1), limits::QUIET_MAX);
        assert_eq!(told(0), limits::QUIET_IDLE);
        let gone = Quiet { lasts: limits::QUIET_MIN, past_counts: true };
        assert_eq!(Quiet::after(Balancers::Gone, 1), gone);
    }
}
