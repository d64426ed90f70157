//! The logs of a host that leaves: they go after the last process has written its last line, and
//! before anybody is told that the host is done. They are never a reason to miss a deadline, nor
//! to abandon a hook: what is left is said.

use super::*;
use crate::event::ShipOutcome;
use crate::lifecycle::drain::Logs;
use crate::lifecycle::notice::Cause;

impl Controller {
    /// Has the logs shipped when everything has ended. Answers whether that is done, one way or
    /// the other.
    pub(super) fn ship_logs(&mut self, now: Now, out: &mut Vec<Effect>) -> bool {
        let since = match self.ledger.lifecycle.drain.as_ref().map(|drain| drain.logs) {
            None | Some(Logs::Done) => return true,
            Some(Logs::Waiting) => now.at,
            Some(Logs::Shipping { since }) => since,
        };
        let by = self.logs_by(since);
        if now.at >= by.plus(limits::LOGS_ANSWER_GRACE) {
            let took = crate::time::text(now.at.since(since));
            self.logs_left(now, format!("logs: no answer within {took}"), None, out);
            return true;
        }
        if let Some(drain) = &mut self.ledger.lifecycle.drain {
            drain.logs = Logs::Shipping { since };
        }
        // A request of the agent before died with it.
        if self.logs_asked.replace(since) != Some(since) {
            out.push(Effect::ShipLogs { since, by, keep: self.disk_goes() });
        }
        false
    }

    /// What became of them.
    pub(super) fn logs_shipped(
        &mut self,
        now: Now,
        asked: Moment,
        outcome: ShipOutcome,
        out: &mut Vec<Effect>,
    ) {
        let Some(drain) = &mut self.ledger.lifecycle.drain else { return };
        if drain.logs != (Logs::Shipping { since: asked }) {
            return;
        }
        let took = crate::time::text(now.at.since(asked));
        match outcome {
            ShipOutcome::Shipped { events } => {
                drain.logs = Logs::Done;
                drain.note(now, format!("logs: {} events shipped in {took}", grouped(events)));
            }
            ShipOutcome::Left { bytes, kept, reason } => {
                let bytes = grouped(bytes);
                let text = format!("logs: {bytes} bytes are left after {took}: {reason}");
                self.logs_left(now, text, kept, out);
            }
        }
    }

    /// Whether the disk goes with the instance, or may: an agent that is told to end does not learn
    /// whether the host ends too.
    fn disk_goes(&self) -> bool {
        let last =
            |notice: &Notice| matches!(notice.cause, Cause::Terminated | Cause::Spot | Cause::Exit);
        self.notices.iter().any(last)
    }

    fn logs_left(&mut self, now: Now, text: String, kept: Option<String>, out: &mut Vec<Effect>) {
        let disk_goes = self.disk_goes();
        let Some(drain) = &mut self.ledger.lifecycle.drain else { return };
        let lost = kept.is_none() && disk_goes;
        let level = if lost { Level::Error } else { Level::Warning };
        let place = kept.map_or_else(
            || "what was not shipped is on this host's disk only".to_owned(),
            |kept| format!("what was not shipped is at {kept}"),
        );
        let text = format!("{text}; {place}");
        drain.logs = Logs::Done;
        drain.note(now, text.clone());
        let topic = if lost { Topic::LinesDropped } else { Topic::Other };
        out.push(tell(now, level, topic, text));
    }

    /// When the answer must be there that was asked for at `since`.
    fn logs_by(&self, since: Moment) -> Moment {
        let deadline = self.ledger.lifecycle.drain.as_ref().and_then(|drain| drain.deadline);
        let end = deadline.into_iter().chain(self.exit_at()).min();
        let reserve = crate::time::ms(limits::LOGS_RESERVE);
        let by = end.map_or(Moment(u64::MAX), |end| Moment(end.0.saturating_sub(reserve)));
        by.clamp(since.plus(limits::LOGS_SHIP_WITHIN_MIN), since.plus(limits::LOGS_SHIP_WITHIN))
    }

    /// When it is not waited for any longer.
    pub(super) fn logs_wake(&self) -> Option<Moment> {
        match self.ledger.lifecycle.drain.as_ref()?.logs {
            Logs::Shipping { since } => Some(self.logs_by(since).plus(limits::LOGS_ANSWER_GRACE)),
            Logs::Waiting | Logs::Done => None,
        }
    }
}

/// A number as people read it: `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::drain::Drain;

    /// A host that runs nothing, so that its drains are at the logs at once.
    struct Host(Controller);

    impl Host {
        fn new() -> Self {
            let settings = Settings {
                tiers: None,
                overrides: BTreeMap::new(),
                cores: 1,
                poll_interval: Duration::from_secs(10),
                keep: 3,
                disk_bytes_max: 1,
                lifecycle: LifecycleSettings::default(),
                seed: 1,
            };
            let mut host = Self(Controller::new(settings, Ledger::default()));
            let begun = Event::Begun { found: Vec::new(), on_disk: Vec::new(), same_boot: true };
            assert_eq!(host.at(0, begun), []);
            host
        }

        /// Answers what is asked about the logs: since when, and until when.
        fn at(&mut self, at: u64, event: Event) -> Vec<(u64, u64)> {
            let now = Now { at: Moment(at), wall: Wall(0) };
            let asked = |effect| match effect {
                Effect::ShipLogs { since, by, .. } => Some((since.0, by.0)),
                _ => None,
            };
            self.0.step(now, event).into_iter().filter_map(asked).collect()
        }

        fn drain(&self) -> &Drain {
            self.0.ledger.lifecycle.drain.as_ref().unwrap()
        }

        fn has_said(&self, text: &str) -> bool {
            self.drain().steps.iter().any(|step| step.text == text)
        }
    }

    fn order() -> Event {
        Event::Order(Some("because".to_owned()))
    }

    #[test]
    fn an_answer_to_a_drain_before_counts_for_nothing() {
        let answer = |since| {
            let outcome = ShipOutcome::Shipped { events: 1234 };
            Event::LogsShipped { since: Moment(since), outcome }
        };
        let mut host = Host::new();
        assert_eq!(host.at(1000, order()), [(1000, 61_000)]);
        assert_eq!(host.at(2000, Event::Order(None)), []);
        assert_eq!(host.at(3000, order()), [(3000, 63_000)]);
        assert_eq!(host.at(4000, answer(1000)), []);
        assert!(!host.drain().is_over());
        assert_eq!(host.at(4500, answer(3000)), []);
        assert!(host.drain().is_over());
        assert!(host.has_said("logs: 1,234 events shipped in 1.5s"), "{:?}", host.drain());
    }

    #[test]
    fn they_have_as_long_as_what_waits_for_the_host() {
        let leave = || Event::Leave { reason: "SIGTERM".to_owned() };
        let drill = |seconds| {
            let within = Some(Duration::from_secs(seconds));
            Event::Drill { text: "drill".to_owned(), within }
        };
        for (event, by) in [
            (leave(), 9_000),
            (drill(30), 29_000),
            (drill(600), 61_000),
            // However late it is.
            (drill(1), 2_000),
        ] {
            assert_eq!(Host::new().at(1000, event), [(1000, by)]);
        }
        // An agent that is told to end while it waits does not wait longer than any other.
        let mut host = Host::new();
        host.at(1000, order());
        host.at(11_000, leave());
        assert_eq!(host.0.next_wake(), Some(Moment(19_500)));
        host.at(19_500, Event::Tick);
        let said = "logs: no answer within 18s; what was not shipped is on this host's disk only";
        assert!(host.drain().is_over() && host.has_said(said), "{:?}", host.drain());
    }

    #[test]
    fn what_is_left_is_said_and_where_it_is() {
        for (kept, place) in [
            (None, "on this host's disk only"),
            (Some("s3://releases/logs/i-1/"), "at s3://releases/logs/i-1/"),
        ] {
            let mut host = Host::new();
            host.at(0, order());
            let kept = kept.map(ToOwned::to_owned);
            let outcome = ShipOutcome::Left { bytes: 5_000_000, kept, reason: "throttled".into() };
            host.at(250, Event::LogsShipped { since: Moment(0), outcome });
            let said = "logs: 5,000,000 bytes are left after 250ms: throttled; what was not \
                        shipped is";
            assert!(host.has_said(&format!("{said} {place}")), "{:?}", host.drain());
            assert!(host.drain().is_over());
        }
    }

    #[test]
    fn numbers_are_grouped_by_three() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (12_345_678, "12,345,678")]
        {
            assert_eq!(grouped(number), text);
        }
    }
}
