//! What Auto Scaling is asked and told, and what it answered.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::sight::TargetState;
use crate::limits;
use crate::time::Moment;

/// One call, for the shell to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FleetCall {
    /// Which group, which state, which hooks, which target groups.
    Ask,
    /// Keep a hook from timing out.
    Heartbeat {
        /// The group.
        group: String,
        /// The hook.
        hook: String,
    },
    /// Let the transition that a hook holds go on.
    Complete {
        /// The group.
        group: String,
        /// The hook.
        hook: String,
        /// How.
        result: HookResult,
    },
    /// Take the instance out of target groups (ARNs).
    Deregister(Vec<String>),
    /// Put it back in.
    Register(Vec<String>),
}

/// The answer to a [`FleetCall`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FleetAnswer {
    /// To `Ask`. `None`: the instance is in no group.
    Membership(Result<Option<Box<Membership>>, CallError>),
    /// To `Heartbeat`.
    Beaten {
        /// The hook.
        hook: String,
        /// How it went.
        outcome: Result<(), CallError>,
    },
    /// To `Complete`.
    Completed {
        /// The hook.
        hook: String,
        /// How it went.
        outcome: Result<(), CallError>,
    },
    /// To `Deregister`.
    Deregistered(Result<(), CallError>),
    /// To `Register`.
    Registered(Result<(), CallError>),
}

/// What Auto Scaling says about the instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The group.
    pub group: String,
    /// The current state, such as `Terminating:Wait`.
    pub state: String,
    /// The group's hooks.
    pub hooks: Vec<Hook>,
    /// ARNs of the group's target groups.
    pub target_groups: Vec<String>,
    /// How far this host's clock is ahead of AWS's, in milliseconds, as far as the answer proves.
    pub clock_ahead_ms: Option<i64>,
}

/// A lifecycle hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// Its name.
    pub name: String,
    /// Which transition it holds.
    pub transition: Transition,
    /// How long it holds without a heartbeat: 30 s to 2 h.
    pub heartbeat_timeout: Duration,
    /// How long it holds at most.
    pub global_timeout: Duration,
    /// What happens when it times out.
    pub default_result: HookResult,
}

/// Which transition a hook holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// Into the group.
    Launching,
    /// Out of it.
    Terminating,
}

/// How a transition goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum HookResult {
    /// As meant.
    Continue,
    /// Launching: the instance is terminated and replaced. Terminating: other hooks are skipped.
    Abandon,
}

impl fmt::Display for HookResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Continue => "CONTINUE",
            Self::Abandon => "ABANDON",
        })
    }
}

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallError {
    /// What kind of failure.
    pub kind: CallErrorKind,
    /// Why, as a clause.
    pub text: String,
}

/// What kind of failure, as far as anything follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallErrorKind {
    /// There is nothing to act on: the hook holds the instance no more.
    Gone,
    /// Not allowed, or no credentials.
    Denied,
    /// It may work later.
    Passing,
}

impl Membership {
    /// Whether a hook may hold the instance in this state.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.state.ends_with(":Wait")
    }

    /// Whether the state is about to change by itself, or does not fit where the group takes the
    /// instance: the API lags behind the metadata.
    #[must_use]
    pub fn is_passing(&self, target: Option<&TargetState>) -> bool {
        let state = self.state.as_str();
        let passing = ["Pending", "Terminating", "EnteringStandby", "Detaching"];
        let passing = passing.contains(&state.strip_prefix("Warmed:").unwrap_or(state));
        let fits = match target {
            Some(TargetState::InService) => state == "InService" || state.starts_with("Pending"),
            Some(TargetState::Standby) => state == "Standby",
            Some(TargetState::Terminated) => state.contains("Terminat"),
            Some(TargetState::Warmed(_)) => state.starts_with("Warmed:"),
            Some(TargetState::Detached | TargetState::Unknown(_)) | None => true,
        };
        passing || !fits
    }

    /// Whether the group has taken the instance out of its load balancers and they are through
    /// with it. At a scale-in that comes before the hook.
    #[must_use]
    pub fn is_out_of_balancers(&self) -> bool {
        let out = ["Terminating:Wait", "Standby", "Detached", "Terminated"];
        // What comes back to the warm pool was deregistered on the way.
        out.contains(&self.state.as_str()) || self.state.starts_with("Warmed:")
    }

    /// What is wrong with this host's clock, if enough is to say so.
    #[must_use]
    pub fn clock_trouble(&self) -> Option<String> {
        let off_ms = self.clock_ahead_ms?;
        let off = Duration::from_millis(off_ms.unsigned_abs());
        let way = if off_ms > 0 { "ahead of" } else { "behind" };
        (off >= limits::CLOCK_OFF_MAX)
            .then(|| format!("this host's clock is {} {way} AWS's", crate::time::text(off)))
    }

    /// Whether a hook holds the instance on its way out, so that there is a state to wait for.
    #[must_use]
    pub fn has_hook(&self, transition: Transition) -> bool {
        self.hooks.iter().any(|hook| hook.transition == transition)
    }
}

/// The talk with Auto Scaling about this instance's membership. Not remembered: asked again.
#[derive(Debug, Clone, Default)]
pub struct Fleet {
    /// What it said last; `None` before the first answer, `Some(None)`: in no group.
    pub said: Option<Option<Membership>>,
    /// When it said that.
    pub said_at: Moment,
    /// Why it does not answer.
    pub error: Option<String>,
    pending_by: Option<Moment>,
    next: Moment,
    asks: u32,
}

impl Fleet {
    /// What it said last about the group, if there is one.
    #[must_use]
    pub fn membership(&self) -> Option<&Membership> {
        self.said.as_ref()?.as_ref()
    }

    /// Whether it has said something since `moment`.
    #[must_use]
    pub fn is_fresh(&self, moment: Moment) -> bool {
        self.said.is_some() && self.said_at >= moment
    }

    /// Something changed: the next question comes at once.
    pub fn hurry(&mut self, now: Moment) {
        self.next = self.next.min(now);
        self.asks = 0;
    }

    /// Whether to ask now; counts as asked.
    pub fn ask(&mut self, now: Moment) -> bool {
        if self.pending_by.is_some_and(|by| now < by) || now < self.next {
            return false;
        }
        self.pending_by = Some(now.plus(limits::FLEET_CALL_WITHIN));
        self.asks = self.asks.saturating_add(1);
        let pause = if self.error.is_some() {
            let pause = limits::FLEET_ASK_EVERY_MIN.saturating_mul(1 << self.asks.min(8));
            pause.min(limits::FLEET_RETRY_MAX)
        } else if self.asks <= limits::FLEET_ASKS_QUICK {
            limits::FLEET_ASK_EVERY_MIN
        } else {
            limits::FLEET_ASK_EVERY_MAX
        };
        self.next = now.plus(pause);
        true
    }

    /// When it may be asked again.
    #[must_use]
    pub fn next_wake(&self) -> Moment {
        self.pending_by.map_or(self.next, |by| by.max(self.next))
    }

    /// Takes in an answer. The error, if it is a new one.
    pub fn answered(
        &mut self,
        now: Moment,
        answer: Result<Option<Box<Membership>>, CallError>,
    ) -> Option<String> {
        self.pending_by = None;
        match answer {
            Ok(said) => {
                self.said = Some(said.map(|membership| *membership));
                self.said_at = now;
                self.error = None;
                None
            }
            Err(error) => {
                let news = self.error.is_none();
                self.error = Some(error.text.clone());
                news.then_some(error.text)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_state(state: &str) -> Membership {
        let (group, state) = ("web".to_owned(), state.to_owned());
        let (hooks, target_groups) = (Vec::new(), Vec::new());
        Membership { group, state, hooks, target_groups, clock_ahead_ms: None }
    }

    #[test]
    fn what_changes_by_itself_or_lags_behind_is_asked_for_again() {
        let target = |word: &str| TargetState::from(word.to_owned());
        for (state, wanted, passing) in [
            ("InService", "InService", false),
            ("Pending", "InService", true),
            ("Pending:Wait", "InService", false),
            ("Terminating", "Terminated", true),
            ("Terminating:Wait", "Terminated", false),
            ("InService", "Terminated", true),
            ("EnteringStandby", "Standby", true),
            ("Standby", "InService", true),
            ("Warmed:Pending", "Warmed:Stopped", true),
            ("Warmed:Pending:Wait", "Warmed:Stopped", false),
            ("Warmed:Stopped", "InService", true),
            ("Whatever", "Whatever", false),
        ] {
            let passes = in_state(state).is_passing(Some(&target(wanted)));
            assert_eq!(passes, passing, "{state} on the way to {wanted}");
        }
    }

    #[test]
    fn questions_come_further_apart_until_something_changes() {
        let mut fleet = Fleet::default();
        let mut asked = Vec::new();
        for at in 0..30_000 {
            if fleet.ask(Moment(at)) {
                asked.push(at);
                fleet.answered(Moment(at), Ok(Some(Box::new(in_state("Terminating")))));
            }
        }
        assert_eq!(asked, [0, 2000, 4000, 6000, 8000, 10_000, 15_000, 20_000, 25_000]);
        fleet.hurry(Moment(30_000));
        assert!(fleet.ask(Moment(30_000)));
        assert!(!fleet.ask(Moment(30_001)), "one question at a time");
    }
}
