//! Reasons to leave, whoever has them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::sight::{Sighting, TargetState};
use super::{LifecycleLedger, LifecycleSettings, Reaction};
use crate::limits;
use crate::time::{Moment, Now, Wall};

/// Whose reason it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The agent was told to end.
    Exit,
    /// The group terminates the instance: scale-in, refresh, failed health checks.
    Terminated,
    /// The spot market takes the instance back.
    Spot,
    /// The group has put the instance on standby.
    Standby,
    /// The group has let the instance go.
    Detached,
    /// The instance is in the warm pool.
    Warmed,
    /// The spot market recommends to move elsewhere.
    Rebalance,
    /// A scheduled event is near.
    Scheduled,
    /// A person wants it.
    Order,
    /// A person wants to see how it goes; passes when everything has ended.
    Drill,
}

impl Cause {
    /// Whether the host may serve again when the cause has passed.
    #[must_use]
    pub const fn comes_back(self) -> bool {
        !matches!(self, Self::Exit | Self::Terminated | Self::Spot)
    }

    /// Whether the group itself takes the instance out of its load balancers.
    #[must_use]
    pub const fn is_of_the_group(self) -> bool {
        matches!(self, Self::Terminated | Self::Standby | Self::Detached | Self::Warmed)
    }
}

/// A reason to leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Whose.
    pub cause: Cause,
    /// What it says, as a clause. Two notices of one cause with the same words are one.
    pub text: String,
    /// When it was heard of.
    pub heard: Wall,
    /// When the host will be gone; `None`: it may take its time.
    pub not_after: Option<Moment>,
}

impl Notice {
    /// A reason without a deadline.
    #[must_use]
    pub fn new(now: Now, cause: Cause, text: impl Into<String>) -> Self {
        Self { cause, text: text.into(), heard: now.wall, not_after: None }
    }

    /// Whether both are about the same.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.cause == other.cause && self.text == other.text
    }
}

/// Every reason to leave that holds now.
#[must_use]
pub fn reasons(
    now: Now,
    settings: &LifecycleSettings,
    ledger: &LifecycleLedger,
    exit: Option<&str>,
) -> Vec<Notice> {
    let mut notices = Vec::new();
    if let Some(reason) = exit {
        notices.push(Notice::new(now, Cause::Exit, reason));
    }
    if let Some(order) = &ledger.order {
        notices.push(Notice::new(now, Cause::Order, &order.reason));
    }
    if let Some(sighting) = &ledger.sighting {
        of_the_group(now, sighting, &mut notices);
        of_the_market(now, settings, sighting, &mut notices);
    }
    notices
}

fn of_the_group(now: Now, sighting: &Sighting, notices: &mut Vec<Notice>) {
    let Some(target) = &sighting.target else { return };
    let (cause, text) = match target {
        // What AWS may invent must not empty a fleet: it is only not ready.
        TargetState::InService | TargetState::Unknown(_) => return,
        TargetState::Standby => (Cause::Standby, "the group has put it on standby".to_owned()),
        TargetState::Detached => (Cause::Detached, "the group has let it go".to_owned()),
        TargetState::Terminated => (Cause::Terminated, "the group terminates it".to_owned()),
        TargetState::Warmed(_) => (Cause::Warmed, format!("it is in the warm pool ({target})")),
    };
    notices.push(Notice::new(now, cause, text));
}

fn of_the_market(
    now: Now,
    settings: &LifecycleSettings,
    sighting: &Sighting,
    notices: &mut Vec<Notice>,
) {
    if let Some(spot) = &sighting.spot {
        let text = format!("the spot market will {} it at {}", spot.action, spot.time);
        let left = left_of_spot(now.wall, spot.at);
        let not_after = Some(now.at.plus(left));
        notices.push(Notice { not_after, ..Notice::new(now, Cause::Spot, text) });
    }
    if sighting.rebalance.is_some() && settings.rebalance == Reaction::Drain {
        let text = "the spot market recommends to move elsewhere";
        notices.push(Notice::new(now, Cause::Rebalance, text));
    }
    if settings.scheduled == Reaction::Drain {
        for event in near(now.wall, settings, sighting) {
            let text = format!("{} {} is scheduled", event.code, event.id);
            let not_after = Some(now.at.plus(until(now.wall, event.not_before)));
            notices.push(Notice { not_after, ..Notice::new(now, Cause::Scheduled, text) });
        }
    }
}

/// Why nothing should be begun that would be cut, though the host serves.
#[must_use]
pub fn prepares(
    wall: Wall,
    settings: &LifecycleSettings,
    sighting: Option<&Sighting>,
) -> Option<String> {
    let sighting = sighting?;
    if sighting.rebalance.is_some() && settings.rebalance == Reaction::Prepare {
        return Some("the spot market recommends to move elsewhere".to_owned());
    }
    if settings.scheduled == Reaction::Prepare {
        let event = near(wall, settings, sighting).next()?;
        return Some(format!("{} {} is near", event.code, event.id));
    }
    None
}

/// Those scheduled events that the host reacts to by now.
fn near<'a>(
    wall: Wall,
    settings: &LifecycleSettings,
    sighting: &'a Sighting,
) -> impl Iterator<Item = &'a super::sight::Scheduled> {
    let before = settings.scheduled_before;
    sighting.scheduled.iter().filter(move |event| until(wall, event.not_before) <= before)
}

/// When the next scheduled event becomes near, if none is.
#[must_use]
pub fn next_near(
    now: Now,
    settings: &LifecycleSettings,
    sighting: Option<&Sighting>,
) -> Option<Moment> {
    let waits = sighting?.scheduled.iter().map(|event| until(now.wall, event.not_before));
    let waits = waits.filter_map(|wait| wait.checked_sub(settings.scheduled_before));
    waits.filter(|wait| !wait.is_zero()).min().map(|wait| now.at.plus(wait))
}

/// The market gives two minutes, or less. A time that cannot be right by this host's clock means
/// that the clock is wrong: then there is not much time, as far as anybody knows.
fn left_of_spot(wall: Wall, at: Wall) -> Duration {
    let left = until(wall, at);
    if left.is_zero() || left > limits::SPOT_NOTICE_MAX {
        limits::SPOT_NOTICE_UNKNOWN
    } else {
        left
    }
}

fn until(wall: Wall, at: Wall) -> Duration {
    Duration::from_millis(u64::try_from(at.0.saturating_sub(wall.0)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::Order;
    use crate::lifecycle::sight::{Scheduled, SpotAction};

    const NOW: Now = Now { at: Moment(1000), wall: Wall(1_000_000) };

    fn causes(settings: &LifecycleSettings, sighting: Sighting) -> Vec<Cause> {
        let ledger = LifecycleLedger { sighting: Some(sighting), ..LifecycleLedger::default() };
        reasons(NOW, settings, &ledger, None).into_iter().map(|notice| notice.cause).collect()
    }

    #[test]
    fn everybody_with_a_reason_is_heard() {
        let sighting = Sighting {
            target: Some(TargetState::Terminated),
            spot: Some(SpotAction {
                action: "terminate".into(),
                at: Wall(1_030_000),
                time: "soon".into(),
            }),
            rebalance: Some(Wall(1)),
            scheduled: vec![Scheduled {
                id: "event-1".into(),
                code: "instance-reboot".into(),
                not_before: Wall(1_060_000),
            }],
        };
        let order = Some(Order { reason: "because".into(), at: Wall(1) });
        let ledger =
            LifecycleLedger { sighting: Some(sighting), order, ..LifecycleLedger::default() };
        let settings =
            LifecycleSettings { rebalance: Reaction::Drain, ..LifecycleSettings::default() };
        let heard = reasons(NOW, &settings, &ledger, Some("SIGTERM received"));
        let causes: Vec<_> = heard.iter().map(|notice| notice.cause).collect();
        let expected = [
            Cause::Exit,
            Cause::Order,
            Cause::Terminated,
            Cause::Spot,
            Cause::Rebalance,
            Cause::Scheduled,
        ];
        assert_eq!(causes, expected);
        let deadlines: Vec<_> = heard.iter().filter_map(|notice| notice.not_after).collect();
        assert_eq!(deadlines, [Moment(31_000), Moment(61_000)]);
    }

    #[test]
    fn a_state_that_nobody_knows_empties_no_host() {
        let settings = LifecycleSettings::default();
        for (word, cause) in [
            ("InService", None),
            ("Quarantined", None),
            ("Standby", Some(Cause::Standby)),
            ("Warmed:Stopped", Some(Cause::Warmed)),
        ] {
            let target = Some(TargetState::from(word.to_owned()));
            let causes = causes(&settings, Sighting { target, ..Sighting::default() });
            assert_eq!(causes.first().copied(), cause, "{word}");
        }
    }

    #[test]
    fn a_clock_that_is_wrong_makes_no_spot_notice_long() {
        assert_eq!(left_of_spot(Wall(0), Wall(119_000)), Duration::from_secs(119));
        assert_eq!(left_of_spot(Wall(0), Wall(39_000)), Duration::from_secs(39));
        for at in [-1, 0, 3_600_000, i64::MAX, i64::MIN] {
            assert_eq!(left_of_spot(Wall(0), Wall(at)), limits::SPOT_NOTICE_UNKNOWN, "{at}");
        }
    }

    #[test]
    fn scheduled_events_matter_when_they_are_near() {
        let event = |not_before| Sighting {
            scheduled: vec![Scheduled {
                id: "event-1".into(),
                code: "instance-stop".into(),
                not_before: Wall(not_before),
            }],
            ..Sighting::default()
        };
        let settings = LifecycleSettings::default();
        let far = NOW.wall.0 + 3_600_000;
        assert!(causes(&settings, event(far)).is_empty());
        let near = next_near(NOW, &settings, Some(&event(far)));
        assert_eq!(near, Some(Moment(1000 + 3_000_000)));
        assert_eq!(causes(&settings, event(NOW.wall.0 + 600_000)), [Cause::Scheduled]);
        let prepare = LifecycleSettings { scheduled: Reaction::Prepare, ..settings };
        assert!(causes(&prepare, event(NOW.wall.0 + 1)).is_empty());
        assert!(prepares(NOW.wall, &prepare, Some(&event(NOW.wall.0 + 1))).is_some());
        assert!(prepares(NOW.wall, &prepare, Some(&event(far))).is_none());
    }
}
