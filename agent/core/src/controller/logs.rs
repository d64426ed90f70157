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
            out.push(Effect::ShipLogs { since, by });
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

    fn logs_left(&mut self, now: Now, text: String, kept: Option<String>, out: &mut Vec<Effect>) {
        let Some(drain) = &mut self.ledger.lifecycle.drain else { return };
        // The disk goes with the instance.
        let last = |notice: &Notice| matches!(notice.cause, Cause::Terminated | Cause::Spot);
        let lost = kept.is_none() && self.notices.iter().any(last);
        let level = if lost { Level::Error } else { Level::Warning };
        let place = kept.map_or_else(
            || "what was not shipped is on this host's disk only".to_owned(),
            |kept| format!("what was not shipped is at {kept}"),
        );
        let text = format!("{text}; {place}");
        drain.logs = Logs::Done;
        drain.note(now, text.clone());
        out.push(tell(now, level, text));
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

    #[test]
    fn numbers_are_grouped_by_three() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (12_345_678, "12,345,678")]
        {
            assert_eq!(grouped(number), text);
        }
    }
}
