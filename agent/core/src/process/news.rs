//! What a process said, or was observed to do, and what follows from it at once.

use super::*;
use crate::event::HandoffState;
use crate::restart::Decision;
use crate::types::Exit;

impl Process {
    /// How the start went.
    pub fn started(
        &mut self,
        drive: &Drive<'_>,
        outcome: Result<Pid, String>,
        out: &mut Vec<Effect>,
    ) {
        match outcome {
            Ok(pid) => {
                self.pid = Some(pid);
                self.up_since = drive.now.at;
                // A start that was overtaken by a stop stays what it is.
                if matches!(self.phase, Phase::Starting { .. }) {
                    let by = drive.now.at.plus(drive.plan.spec.ready.within);
                    self.phase = Phase::Up { by };
                    self.since = drive.now;
                }
            }
            Err(reason) => self.ended(drive, &format!("could not be started: {reason}"), out),
        }
    }

    /// Takes in what the process said, or was observed to do.
    pub fn news(&mut self, drive: &Drive<'_>, news: News, out: &mut Vec<Effect>) {
        match news {
            News::Hello(state) => self.hello(drive, state, out),
            News::Listening => self.listening = true,
            News::Elsewhere { port, child } => {
                self.misled = Some(misled_text(port, child, drive.plan));
            }
            News::Probed(answer) => self.probed(drive, answer),
            News::Accepting => {
                if let Phase::Accepting { confirm_by } = &mut self.phase {
                    *confirm_by = None;
                    self.serves();
                }
            }
            News::Drained { cut } => {
                if let Phase::Bleeding { not_after } = &mut self.phase {
                    *not_after = drive.now.at;
                    if cut > 0 {
                        let what = format!(
                            "was cut at the end of its bleed with {cut} requests in flight"
                        );
                        self.tell(drive, (Level::Error, Topic::RequestsCut), &what, out);
                    }
                }
            }
            News::Crashing(message) => self.crash = Some(message),
            // The answers are counted by the generation.
            News::Answered { in_flight, .. } => self.in_flight = in_flight,
            // Told twice, by the exit and by a signal that found nobody.
            News::Exited(_) if !self.alive() => {}
            News::Exited(exit) => {
                let mut what = exit.to_string();
                if let Some(crash) = self.crash.take() {
                    what = format!("{what} ({crash})");
                } else if let Some(misled) = self.misled.take().filter(|_| !self.listening) {
                    // Without the socket most die of the port being taken, and do not say why.
                    what = format!("{what}: {misled}");
                }
                if exit == Exit::Unknown && self.pid.is_none() {
                    "ended while the agent was away".clone_into(&mut what);
                }
                self.ended(drive, &what, out);
            }
        }
    }

    fn hello(&mut self, drive: &Drive<'_>, state: HandoffState, out: &mut Vec<Effect>) {
        // A worker has the preload too, for its numbers; there is nothing to hand to it.
        if !takes_commands(drive.plan) {
            return;
        }
        if state != HandoffState::Starting {
            self.listening = true;
        }
        let now = drive.now;
        match (self.phase, state) {
            (Phase::Adopted { .. }, HandoffState::Starting | HandoffState::Listening) => {
                self.phase = Phase::Up { by: now.at.plus(drive.plan.spec.ready.within) };
            }
            (Phase::Adopted { .. } | Phase::Up { .. }, HandoffState::Accepting) => {
                self.phase = Phase::Accepting { confirm_by: None };
                self.serves();
            }
            (Phase::Adopted { .. } | Phase::Accepting { .. }, HandoffState::Bleeding) => {
                // It cannot take the socket back: what is left of it is finished, then replaced.
                self.bleed(drive, drive.plan.spec.bleed, out);
            }
            (Phase::Adopted { .. } | Phase::Accepting { .. }, HandoffState::Drained) => {
                self.phase = Phase::Bleeding { not_after: now.at };
            }
            (Phase::Bleeding { not_after }, HandoffState::Accepting) => {
                let within = Duration::from_millis(not_after.0.saturating_sub(now.at.0));
                let quiet = drive.leave.map(|leave| leave.quiet);
                out.push(Effect::Bleed { id: self.id.clone(), run: self.run, within, quiet });
            }
            (Phase::Bleeding { not_after }, HandoffState::Drained) => {
                self.phase = Phase::Bleeding { not_after: not_after.min(now.at) };
            }
            (Phase::Accepting { .. }, HandoffState::Starting | HandoffState::Listening) => {
                out.push(Effect::Accept { id: self.id.clone(), run: self.run });
            }
            (Phase::Accepting { confirm_by: Some(_) }, HandoffState::Accepting) => {
                self.phase = Phase::Accepting { confirm_by: None };
                self.serves();
            }
            _ => {}
        }
    }

    /// It is gone, in whatever way: start it again, or not.
    fn ended(&mut self, drive: &Drive<'_>, what: &str, out: &mut Vec<Effect>) {
        let asked_for = matches!(self.phase, Phase::Stopping { .. } | Phase::Bleeding { .. });
        self.pid = None;
        self.in_flight = 0;
        self.since = drive.now;
        if matches!(drive.want, Want::Hold | Want::Gone) {
            self.phase = Phase::Ended;
            return;
        }
        self.exits = self.exits.saturating_add(1);
        let Decision { delay, reason, crash_loop } =
            self.restarts.ended(drive.now.at, drive.jitter);
        self.phase = Phase::Waiting { until: drive.now.at.plus(delay) };
        // Why it had to go was said before; that it went is no news.
        let replaced = asked_for && self.doomed;
        if !replaced {
            self.reason = Some(what.to_owned());
        }
        let what = if replaced { "is started again" } else { what };
        // In a loop one line says it all; the count is in the status.
        let about = if crash_loop {
            (Level::Error, Topic::CrashLoop)
        } else if replaced {
            (Level::Warning, Topic::ProcessUnhealthy)
        } else {
            (Level::Warning, Topic::ProcessCrashed)
        };
        if crash_loop {
            self.looping = Some(drive.now.at);
        }
        self.tell(drive, about, &format!("{what}; {reason}"), out);
    }
}

fn misled_text(port: u16, child: bool, plan: &TierPlan) -> String {
    if child {
        let command = plan.spec.command.join(" ");
        return format!(
            "`{command}` started a child process that listened on {port} without the inherited \
             socket; name the direct command, such as [\"node\", \"server.js\"]"
        );
    }
    format!("it listened on {port} instead; let it listen on process.env.PORT")
}
