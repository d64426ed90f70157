//! What is known of the metadata: the last word on each item, and which items cannot be read. Pure:
//! the watch does the asking.

use groundcrew_core::event::Event;
use groundcrew_core::lifecycle::sight::Sighting;

use super::read;
use crate::aws::imds::ImdsError;
use crate::errors::chain;

/// Looks that may be incomplete before what is known is told without the rest. The core takes what
/// it is told for all there is: a notice that was not read yet would be forgotten.
const PARTIAL_LOOKS_MAX: u32 = 3;

/// One item of the metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Item {
    /// Where the group takes the instance.
    Target,
    /// The spot market takes it back.
    Spot,
    /// The spot market recommends to move.
    Rebalance,
    /// Scheduled events.
    Scheduled,
}

impl Item {
    /// All of them, the most urgent first.
    pub(super) const ALL: [Self; 4] = [Self::Target, Self::Spot, Self::Rebalance, Self::Scheduled];

    /// Where it is, below `/latest/meta-data/`.
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Target => "autoscaling/target-lifecycle-state",
            Self::Spot => "spot/instance-action",
            Self::Rebalance => "events/recommendations/rebalance",
            Self::Scheduled => "events/maintenance/scheduled",
        }
    }

    /// Whether it changes so seldom that not every look needs to read it.
    pub(super) const fn is_seldom(self) -> bool {
        matches!(self, Self::Rebalance | Self::Scheduled)
    }
}

#[derive(Debug, Default)]
struct Reading {
    /// It was read at least once.
    read: bool,
    /// Why it could not be read the last time.
    trouble: Option<String>,
}

/// What is known.
#[derive(Debug, Default)]
pub(super) struct Known {
    sighting: Sighting,
    readings: [Reading; Item::ALL.len()],
    looks: u32,
    told: Option<(Option<Sighting>, Option<String>)>,
}

impl Known {
    /// Takes in the answer to a question about `item`. The trouble with it, if there is one.
    pub(super) fn take(
        &mut self,
        item: Item,
        answer: Result<Option<String>, ImdsError>,
    ) -> Option<&str> {
        let outcome = match answer {
            Ok(text) => self.update(item, text.as_deref()).map_err(|why| {
                format!("the instance metadata {} is not understood: {why}", item.path())
            }),
            Err(error) if error.is_silence() => Err(chain(&error)),
            Err(error) => Err(format!("{} ({})", chain(&error), item.path())),
        };
        let reading = &mut self.readings[item as usize];
        reading.read |= outcome.is_ok();
        reading.trouble = outcome.err();
        reading.trouble.as_deref()
    }

    fn update(&mut self, item: Item, text: Option<&str>) -> Result<(), String> {
        let sighting = &mut self.sighting;
        match item {
            Item::Target => sighting.target = text.map(read::target).transpose()?,
            Item::Spot => sighting.spot = text.map(read::spot).transpose()?,
            Item::Rebalance => sighting.rebalance = text.map(read::rebalance).transpose()?,
            Item::Scheduled => {
                sighting.scheduled = text.map(read::scheduled).transpose()?.unwrap_or_default();
            }
        }
        Ok(())
    }

    /// What to tell after a look, in which something was `read` or not: `None` when nothing is new.
    pub(super) fn news(&mut self, read: bool) -> Option<Event> {
        self.looks = self.looks.saturating_add(u32::from(read));
        let sighting = self.is_whole().then(|| self.sighting.clone());
        let trouble = self.readings.iter().find_map(|reading| reading.trouble.clone());
        let now = (sighting, trouble);
        if self.told.as_ref() == Some(&now) || now == (None, None) {
            return None;
        }
        let told = self.told.take().and_then(|(sighting, _)| sighting);
        self.told = Some(now.clone());
        let (sighting, trouble) = now;
        let sighting = sighting.filter(|sighting| told.as_ref() != Some(sighting)).map(Box::new);
        Some(Event::Sighted { sighting, trouble })
    }

    fn is_whole(&self) -> bool {
        let read = |item: Item| self.readings[item as usize].read;
        let enough = self.looks >= PARTIAL_LOOKS_MAX && read(Item::Target);
        enough || Item::ALL.into_iter().all(read)
    }
}

#[cfg(test)]
mod tests {
    use groundcrew_core::lifecycle::sight::TargetState;

    use super::*;

    const ACTIVE: &str = r#"[{"NotBefore": "21 Jan 2019 09:00:43 GMT", "Code": "system-reboot",
        "EventId": "event-1", "NotAfter": "21 Jan 2019 09:17:23 GMT", "State": "active"}]"#;

    type Answer = Result<Option<String>, ImdsError>;

    #[expect(clippy::unnecessary_wraps, reason = "an answer is a result")]
    fn text(text: &str) -> Answer {
        Ok(Some(text.to_owned()))
    }

    /// A look at all items in order; what is told of it, as (sighting, trouble).
    fn look(known: &mut Known, answers: [Answer; 4]) -> Option<(Option<Sighting>, Option<String>)> {
        let read = answers.iter().any(Result::is_ok);
        for (item, answer) in Item::ALL.into_iter().zip(answers) {
            known.take(item, answer);
        }
        match known.news(read)? {
            Event::Sighted { sighting, trouble } => Some((sighting.map(|s| *s), trouble)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_what_is_new_is_told() {
        let mut known = Known::default();
        let serving = || [text("InService"), Ok(None), Ok(None), Ok(None)];
        let in_service = Sighting { target: Some(TargetState::InService), ..Sighting::default() };
        assert_eq!(look(&mut known, serving()), Some((Some(in_service.clone()), None)));
        assert_eq!(look(&mut known, serving()), None);
        let (sighting, _) =
            look(&mut known, [text("InService"), Ok(None), Ok(None), text(ACTIVE)]).unwrap();
        assert_eq!(sighting.unwrap().scheduled.len(), 1);
        let cancelled = ACTIVE.replace("active", "canceled");
        let told = look(&mut known, [text("InService"), Ok(None), Ok(None), text(&cancelled)]);
        assert_eq!(told, Some((Some(in_service), None)), "it is no longer to come");
    }

    #[test]
    fn what_cannot_be_read_stays_as_it_was() {
        let mut known = Known::default();
        let spot = r#"{"action": "stop", "time": "2017-09-18T08:22:00Z"}"#;
        look(&mut known, [text("InService"), text(spot), Ok(None), text("[]")]).unwrap();
        let server = || Err(ImdsError::Server(503));
        let (sighting, trouble) =
            look(&mut known, [text("InService"), server(), server(), server()]).unwrap();
        assert_eq!(sighting, None);
        assert_eq!(
            trouble.as_deref(),
            Some("the instance metadata service answers 503 (spot/instance-action)")
        );
        assert_eq!(look(&mut known, [text("InService"), server(), server(), server()]), None);
        let garbage = [text("Terminated"), text("<html>"), Ok(None), Ok(None)];
        let (sighting, trouble) = look(&mut known, garbage).unwrap();
        let sighting = sighting.expect("the target is new");
        assert!(sighting.spot.is_some() && sighting.target == Some(TargetState::Terminated));
        assert!(trouble.unwrap().contains("spot/instance-action is not understood"));
    }

    #[test]
    fn a_notice_that_was_not_read_yet_is_not_taken_for_none() {
        let refused = || Err(ImdsError::Forbidden);
        let mut known = Known::default();
        for at in 0..PARTIAL_LOOKS_MAX {
            let told = look(&mut known, [text("InService"), refused(), Ok(None), Ok(None)]);
            let sighting = told.and_then(|(sighting, _)| sighting);
            assert_eq!(sighting.is_some(), at + 1 == PARTIAL_LOOKS_MAX, "look {at}");
        }
        let mut known = Known::default();
        for _ in 0..10 {
            let told = look(&mut known, [refused(), Ok(None), Ok(None), Ok(None)]);
            assert!(told.is_none_or(|(sighting, _)| sighting.is_none()), "not `in no group`");
        }
    }
}
