//! The drain: load balancers first, then the processes, then the logs; and the record of it.

use super::*;
use crate::event::News;
use crate::lifecycle::drain::{Balancers, Drain, Quiet};
use crate::lifecycle::fleet::{CallError, FleetCall, Transition};
use crate::lifecycle::notice::{Cause, Notice};
use crate::process::{Leave, takes_commands};

/// The agent was told to end.
#[derive(Debug, Clone)]
pub(super) struct Exiting {
    pub(super) told: Moment,
    pub(super) reason: String,
}

impl Controller {
    pub(super) fn begin_drain(&mut self, now: Now, notices: Vec<Notice>, out: &mut Vec<Effect>) {
        let mut drain = Drain::new(now);
        let reasons: Vec<_> =
            drain.hear(now, notices).into_iter().map(|notice| notice.text).collect();
        let text = format!("leaving: {}", reasons.join("; "));
        out.push(tell(now, Level::Normal, Topic::DrainBegun, text));
        self.ledger.lifecycle.drain = Some(drain);
        self.abandon_rollout(out);
        self.fleet.hurry(now.at);
    }

    /// Plays a notice. Not remembered: with the agent the drill is over, and the host serves again.
    pub(super) fn begin_drill(&mut self, now: Now, text: String, within: Option<Duration>) {
        let not_after = within.map(|within| now.at.plus(within));
        self.drill = Some(Notice { not_after, ..Notice::new(now, Cause::Drill, text) });
    }

    /// What a drain would do now, step by step, for people.
    #[must_use]
    pub fn drain_plan(&self, within: Option<Duration>) -> Vec<String> {
        let mut plan = vec!["GET /ready answers 503".to_owned()];
        plan.push(match self.fleet.membership() {
            Some(membership) if !membership.target_groups.is_empty() => {
                let groups = membership.target_groups.join(", ");
                format!("the instance is taken out of its target groups: {groups}")
            }
            _ => "no target group is known that it would have to be taken out of".to_owned(),
        });
        let reserve = limits::DRAIN_RESERVE;
        let mut longest = Duration::ZERO;
        for generation in self.generations.values() {
            let tier = &generation.record.tier;
            let spec = &generation.record.plan.spec;
            let [bleed, stop] = [spec.bleed, spec.stop].map(crate::time::text);
            let count = generation.processes.len();
            plan.push(if takes_commands(&generation.record.plan) {
                format!(
                    "{tier}: {count} processes answer what still comes, {bleed} at most, then \
                     SIGTERM, and SIGKILL after {stop}"
                )
            } else {
                format!(
                    "{tier}: {count} processes are sent SIGTERM, and SIGKILL after {bleed} + {stop}"
                )
            });
            longest = longest.max(spec.bleed + spec.stop);
        }
        let [least, logs, most] = [
            longest + reserve,
            limits::LOGS_SHIP_WITHIN,
            longest + limits::LOGS_SHIP_WITHIN + limits::LOGS_RESERVE,
        ]
        .map(crate::time::text);
        plan.push(format!("what was written to the logs is shipped, {logs} at most"));
        plan.push(match within {
            Some(within) if within < longest + reserve => format!(
                "that may take {least}, and there are {}: what takes longer is cut",
                crate::time::text(within)
            ),
            _ => format!("everything is gone after {most} at most"),
        });
        plan
    }

    /// Why the host leaves, for people.
    pub(super) fn leaving(&self) -> Option<String> {
        let reasons: Vec<_> = self.notices.iter().map(|notice| notice.text.as_str()).collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    /// Whether the host leaves, or has left.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.ledger.lifecycle.drain.is_some()
    }

    /// Takes the steps of the drain that are due, up to the processes.
    pub(super) fn advance_drain(&mut self, now: Now, out: &mut Vec<Effect>) {
        let Some(drain) = &self.ledger.lifecycle.drain else { return };
        let before = drain.balancers;
        let after = self.balancers_after(now, before, out);
        let by = self.deadline_of_hooks();
        if let Some(drain) = &mut self.ledger.lifecycle.drain {
            drain.balancers = after;
            if let Some(by) = by.filter(|_| !drain.is_over()) {
                drain.not_after(by);
            }
        }
        if before != after
            && let Some(text) = self.what_balancers_do(after)
        {
            self.note(now, text);
        }
        for generation in self.generations.values_mut() {
            let plan = &generation.record.plan;
            let sure = match after {
                Balancers::Gone => true,
                // It cannot be told to go on for a moment, so the moment comes before.
                Balancers::Told { at } => {
                    takes_commands(plan) || now.at >= at.plus(limits::QUIET_MAX)
                }
                _ => false,
            };
            if sure || plan.spec.port.is_none() || generation.role == Role::Candidate {
                generation.role = Role::Retiring;
            }
        }
    }

    fn balancers_after(&mut self, now: Now, before: Balancers, out: &mut Vec<Effect>) -> Balancers {
        let told = Balancers::Told { at: now.at };
        let fresh = |drain: &Drain| self.fleet.is_fresh(drain.began);
        let is_fresh = self.ledger.lifecycle.drain.as_ref().is_some_and(fresh);
        let membership = self.fleet.membership();
        let by_group = self.notices.iter().any(|notice| notice.cause.is_of_the_group());
        match before {
            Balancers::Unknown { .. } if !self.asks_fleet() => told,
            Balancers::Unknown { by } if by_group => match membership.filter(|_| is_fresh) {
                Some(_) => Balancers::Group { by: now.at.plus(limits::BALANCERS_GROUP_WITHIN) },
                None if is_fresh || self.fleet.error.is_some() || now.at >= by => told,
                None => before,
            },
            Balancers::Unknown { by } => match membership {
                Some(membership) if !membership.target_groups.is_empty() => {
                    let groups = membership.target_groups.clone();
                    self.ledger.lifecycle.taken_out.clone_from(&groups);
                    out.push(Effect::Fleet(FleetCall::Deregister(groups)));
                    Balancers::Deregistering { by: now.at.plus(limits::FLEET_CALL_WITHIN) }
                }
                Some(_) => told,
                None => {
                    let known = self.fleet.said.is_some() || self.fleet.error.is_some();
                    if known || now.at >= by { told } else { before }
                }
            },
            Balancers::Group { by } => match membership.filter(|_| is_fresh) {
                Some(membership) if membership.is_out_of_balancers() => Balancers::Gone,
                // No state will say when the load balancers are through.
                Some(membership) if !membership.has_hook(Transition::Terminating) => told,
                _ if now.at >= by || self.is_pressed(now) => told,
                _ => before,
            },
            Balancers::Deregistering { by } if now.at >= by => told,
            _ => before,
        }
    }

    /// Whether there is an Auto Scaling group to ask.
    pub(super) fn asks_fleet(&self) -> bool {
        self.settings.lifecycle.enabled && self.ledger.lifecycle.target().is_some()
    }

    /// Whether what is left of the time is what the processes need.
    fn is_pressed(&self, now: Now) -> bool {
        self.pressed_at().is_some_and(|at| now.at >= at)
    }

    fn pressed_at(&self) -> Option<Moment> {
        let by = self.ledger.lifecycle.drain.as_ref()?.processes_by()?;
        let need = |g: &GenerationState| g.record.plan.spec.bleed + g.record.plan.spec.stop;
        let need = self.generations.values().map(need).max().unwrap_or_default();
        Some(Moment(by.0.saturating_sub(crate::time::ms(need))))
    }

    /// A hook that holds the instance on its way out holds it only so long.
    fn deadline_of_hooks(&self) -> Option<Moment> {
        let membership = self.fleet.membership()?;
        let since = self.held_since()?;
        if membership.state != "Terminating:Wait" {
            return None;
        }
        let deaf = self.hooks.error().is_some();
        crate::lifecycle::hooks::ours(membership, &self.settings.lifecycle)
            .map(|hook| if deaf { hook.heartbeat_timeout } else { hook.global_timeout })
            .map(|timeout| since.plus(timeout))
            .min()
    }

    fn what_balancers_do(&self, balancers: Balancers) -> Option<String> {
        let state = || self.fleet.membership().map_or("", |membership| &membership.state);
        Some(match balancers {
            Balancers::Unknown { .. } => return None,
            Balancers::Group { .. } => {
                format!("the group takes it out of its load balancers ({})", state())
            }
            Balancers::Deregistering { .. } => {
                let count = self.ledger.lifecycle.taken_out.len();
                format!("deregisters from {count} target groups")
            }
            Balancers::Told { .. } => "the load balancers know, as far as can be told".to_owned(),
            Balancers::Gone => format!("the load balancers are through with it ({})", state()),
        })
    }

    pub(super) fn deregistered(
        &mut self,
        now: Now,
        outcome: Result<(), CallError>,
        out: &mut Vec<Effect>,
    ) {
        if let Err(error) = outcome {
            let text = format!("not deregistered from its target groups: {}", error.text);
            self.note(now, text.clone());
            out.push(tell(now, Level::Error, Topic::HookProblem, text));
        }
        if let Some(drain) = &mut self.ledger.lifecycle.drain
            && matches!(drain.balancers, Balancers::Deregistering { .. })
        {
            drain.balancers = Balancers::Told { at: now.at };
            self.note(now, "deregistered".to_owned());
        }
    }

    /// What the drain means for the processes of a generation.
    pub(super) fn leave(&self, now: Now, generation: &GenerationState) -> Option<Leave> {
        let drain = self.ledger.lifecycle.drain.as_ref()?;
        let quiet = Quiet::after(drain.balancers, generation.recent.per_second(now.at));
        Some(Leave { quiet, not_after: drain.processes_by() })
    }

    /// Notes that everything has ended, sees to the logs, and lets the agent go if that is what it
    /// was told.
    pub(super) fn finish_drain(&mut self, now: Now, out: &mut Vec<Effect>) {
        if !self.generations.is_empty() {
            return;
        }
        if let Some(drain) = &mut self.ledger.lifecycle.drain
            && drain.ended.is_none()
        {
            drain.ended = Some(now.at);
            let took = crate::time::text(now.at.since(drain.began));
            let text = format!("everything has ended after {took}; {} requests cut", drain.cut);
            drain.note(now, text.clone());
            let complete = drain.cut == 0;
            let (level, topic) = if complete {
                (Level::Normal, Topic::DrainEnded)
            } else {
                (Level::Error, Topic::DrainIncomplete)
            };
            out.push(tell(now, level, topic, text));
            let took = now.at.since(drain.began);
            out.push(Effect::Measured(crate::measured::Measured::Drain { complete, took }));
        }
        if !self.ship_logs(now, out) {
            return;
        }
        if self.drill.take().is_some() {
            let text = "the drill is over".to_owned();
            out.push(tell(now, Level::Normal, Topic::Other, text));
        }
        if self.exit.is_some() && self.may_exit(now) {
            self.exited = true;
            out.push(tell(now, Level::Normal, Topic::Other, "the agent goes".to_owned()));
            out.push(Effect::Exit);
        }
    }

    /// Whether nobody waits for a word of this agent.
    fn may_exit(&self, now: Now) -> bool {
        if self.exit_at().is_none_or(|at| now.at >= at) {
            return true;
        }
        let terminated = self.notices.iter().any(|notice| notice.cause == Cause::Terminated);
        let drain = self.ledger.lifecycle.drain.as_ref();
        let fresh = drain.is_none_or(|drain| self.fleet.is_fresh(drain.began));
        let heard = !terminated || fresh || self.fleet.error.is_some();
        heard && self.hooks_are_done()
    }

    /// When an agent that was told to end goes, whoever still waits.
    pub(super) fn exit_at(&self) -> Option<Moment> {
        let told = self.exit.as_ref()?.told;
        let ended = self.ledger.lifecycle.drain.as_ref()?.ended?;
        Some(ended.max(told).plus(limits::EXIT_WITHIN))
    }

    pub(super) fn drain_wake(&self) -> Option<Moment> {
        let drain = self.ledger.lifecycle.drain.as_ref()?;
        let told = match drain.balancers {
            Balancers::Told { at } => Some(at.plus(limits::QUIET_MAX)),
            Balancers::Group { .. } => self.pressed_at(),
            _ => None,
        };
        let told = told.filter(|_| drain.ended.is_none());
        let late = drain.deadline.filter(|_| drain.ended.is_none() && self.is_undecided());
        let exit = self.exit_at();
        let wakes = [drain.balancers.by(), told, late, self.logs_wake(), exit];
        // What is past has had its effect, or has none.
        wakes.into_iter().flatten().filter(|wake| *wake > self.stepped.at).min()
    }

    /// Writes a line of the drain's record, if there is a drain.
    pub(super) fn note(&mut self, now: Now, text: String) {
        if let Some(drain) = &mut self.ledger.lifecycle.drain {
            drain.note(now, text);
        }
    }

    /// Writes down what is done to the processes while the host leaves.
    pub(super) fn record_effects(&mut self, now: Now, out: &[Effect]) {
        if !self.is_draining() {
            return;
        }
        for effect in out {
            let text = match effect {
                Effect::Bleed { id, within, .. } => {
                    let in_flight = self.in_flight(id);
                    let within = crate::time::text(*within);
                    format!("{id} bleeds, {within} at most; {in_flight} requests in flight")
                }
                Effect::Terminate { id, .. } => format!("{id} is sent SIGTERM"),
                Effect::Kill { id, .. } => format!("{id} is killed"),
                Effect::Fleet(FleetCall::Complete { hook, result, .. }) => {
                    format!("completes hook {hook} with {result}")
                }
                _ => continue,
            };
            self.note(now, text);
        }
    }

    /// Lets the log have what was written down since.
    pub(super) fn log_record(&mut self, out: &mut Vec<Effect>) {
        let steps = self.ledger.lifecycle.drain.as_ref().map_or(&[][..], |drain| &drain.steps);
        let new = steps.get(self.logged..).unwrap_or_default();
        out.extend(new.iter().cloned().map(Effect::Record));
        self.logged = steps.len();
    }

    /// Writes down what the processes say while the host leaves.
    pub(super) fn record_news(&mut self, now: Now, id: &crate::types::ProcessId, news: &News) {
        let text = match news {
            News::Drained { cut } => {
                if let Some(drain) = &mut self.ledger.lifecycle.drain {
                    drain.cut = drain.cut.saturating_add(*cut);
                }
                format!("{id} has nothing left; {cut} requests cut")
            }
            News::Exited(exit) => format!("{id} {exit}"),
            _ => return,
        };
        self.note(now, text);
    }

    fn in_flight(&self, id: &crate::types::ProcessId) -> u64 {
        let generation = self.generations.get(&id.generation);
        let processes = generation.into_iter().flat_map(|generation| &generation.processes);
        processes.filter(|process| process.id == *id).map(|process| process.in_flight).sum()
    }
}
