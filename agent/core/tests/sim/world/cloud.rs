//! AWS, as far as the controller can tell the difference: the instance's metadata, a group whose
//! hooks hold it, load balancers that let go of it.

use groundcrew_core::effect::Effect;
use groundcrew_core::lifecycle::drain::{Balancers, Drain};
use groundcrew_core::lifecycle::fleet::*;
use groundcrew_core::lifecycle::sight::{Scheduled, Sighting, SpotAction, TargetState};
use groundcrew_core::lifecycle::{LifecycleSettings, Reaction};
use groundcrew_core::limits;

use super::*;

const HEARTBEAT: Duration = Duration::from_mins(5);

/// What the group and the market do by themselves.
#[derive(Debug, Clone)]
pub enum Turn {
    /// Something of the kind that passes, or comes to an end.
    Whim,
    /// What a whim began is over.
    Passes,
    /// The instance comes to a state.
    State(&'static str),
    /// A hook times out, unless a heartbeat came.
    Timeout(String),
    /// The metadata reaches the agent.
    Seen,
    /// The spot market takes the instance.
    Reclaim,
}

/// The instance's place in its group.
#[expect(clippy::struct_excessive_bools, reason = "facts that have nothing to do with each other")]
pub struct Cloud {
    pub state: &'static str,
    pub registered: bool,
    /// What completed hooks, in which state.
    pub completed: Vec<(&'static str, HookResult)>,
    /// A hook timed out.
    pub timed_out: bool,
    /// The instance is no more.
    pub gone: bool,
    state_before: &'static str,
    sighting: Sighting,
    unreadable: bool,
    waits: BTreeMap<String, (Moment, Moment)>,
}

pub fn settings() -> LifecycleSettings {
    LifecycleSettings { enabled: true, rebalance: Reaction::Drain, ..LifecycleSettings::default() }
}

fn hook(name: &str, transition: Transition) -> Hook {
    Hook {
        name: name.to_owned(),
        transition,
        heartbeat_timeout: HEARTBEAT,
        global_timeout: HEARTBEAT * 100,
        default_result: HookResult::Abandon,
    }
}

fn hooks() -> Vec<Hook> {
    vec![hook("launch", Transition::Launching), hook("terminate", Transition::Terminating)]
}

impl Cloud {
    pub fn new(now: Moment) -> Self {
        let mut cloud = Self {
            state: "Pending:Wait",
            registered: false,
            completed: Vec::new(),
            timed_out: false,
            gone: false,
            state_before: "Pending",
            sighting: Sighting::default(),
            unreadable: false,
            waits: BTreeMap::new(),
        };
        cloud.sighting.target = Some(TargetState::InService);
        cloud.wait(now, "launch");
        cloud
    }

    fn wait(&mut self, now: Moment, hook: &str) {
        let times = (now.plus(HEARTBEAT), now.plus(HEARTBEAT * 100));
        self.waits.insert(hook.to_owned(), times);
    }
}

impl World {
    /// The group terminates the instance.
    pub fn scale_in(&mut self) {
        let Some(cloud) = &mut self.cloud else { return };
        cloud.sighting.target = Some(TargetState::Terminated);
        cloud.waits.clear();
        self.enter("Terminating");
        self.sees();
        // Where nothing is connected, that takes no time: the API may know before the metadata.
        let drained = if self.dice.one_in(4) { 1 } else { self.dice.between(0, 60_000) };
        self.come(drained, Coming::Cloud(Turn::State("Terminating:Wait")));
    }

    /// The spot market takes the instance back, `left` from now.
    pub fn reclaim(&mut self, left: Duration) {
        let at = Wall(self.now.wall.0 + i64::try_from(left.as_millis()).unwrap());
        let Some(cloud) = &mut self.cloud else { return };
        let (action, time) = ("terminate".to_owned(), "soon".to_owned());
        cloud.sighting.spot = Some(SpotAction { action, at, time });
        self.sees();
        let left = u64::try_from(left.as_millis()).unwrap();
        self.come(left, Coming::Cloud(Turn::Reclaim));
    }

    pub(super) fn turn(&mut self, turn: Turn) {
        let now = self.now;
        // Whims of people are not the cloud's.
        match turn {
            Turn::Whim if !self.is_gone() => return self.whim(),
            Turn::Passes if !self.is_gone() => return self.all_passes(),
            _ => {}
        }
        let Some(cloud) = self.cloud.as_mut().filter(|cloud| !cloud.gone) else { return };
        match turn {
            Turn::Whim | Turn::Passes => {}
            Turn::State("Terminating:Wait") if cloud.state == "Terminating" => {
                cloud.wait(now.at, "terminate");
                self.enter("Terminating:Wait");
                self.come_timeout("terminate");
            }
            Turn::State("InService") if cloud.state == "Pending:Proceed" => {
                cloud.registered = true;
                self.enter("InService");
            }
            Turn::State("Standby") if cloud.state == "EnteringStandby" => self.enter("Standby"),
            Turn::State("Pending:Proceed") if cloud.state == "Pending" => {
                self.enter("Pending:Proceed");
                self.come(500, Coming::Cloud(Turn::State("InService")));
            }
            Turn::State(_) => {}
            Turn::Timeout(hook) => match cloud.waits.get(&hook) {
                Some((until, _)) if now.at < *until => self.come_timeout(&hook),
                Some(_) => {
                    cloud.timed_out = true;
                    self.log(format!("hook {hook} times out"));
                    self.leave_hook(&hook, HookResult::Abandon);
                }
                None => {}
            },
            Turn::Seen if self.agent.is_some() => {
                let sighting = (!cloud.unreadable).then(|| Box::new(cloud.sighting.clone()));
                let trouble = cloud.unreadable.then(|| "503".to_owned());
                self.step(Event::Sighted { sighting, trouble });
            }
            Turn::Seen => {}
            Turn::Reclaim => {
                let left = self.processes.len();
                assert!(self.faults || left == 0, "{left} left at the deadline\n{}", self.tail());
                self.end();
            }
        }
    }

    fn whim(&mut self) {
        let wall = self.now.wall;
        let passes_after = self.dice.between(1000, 240_000);
        let whim = self.dice.between(0, 10);
        if whim == 5 {
            return self.orders(Some("because".to_owned()), passes_after);
        }
        if whim == 6 {
            return self.step(Event::Leave { reason: "SIGTERM".to_owned() });
        }
        if whim == 9 {
            return self.reboot();
        }
        if whim == 8 {
            let within = self.dice.one_in(2).then(|| Duration::from_secs(30));
            return self.step(Event::Drill { text: "drill".to_owned(), within });
        }
        let Some(cloud) = &mut self.cloud else { return };
        match whim {
            0 if cloud.state == "InService" => {
                cloud.sighting.target = Some(TargetState::Standby);
                cloud.registered = false;
                self.enter("EnteringStandby");
                let drained = self.dice.between(0, 30_000);
                self.come(drained, Coming::Cloud(Turn::State("Standby")));
            }
            1 => cloud.sighting.rebalance = Some(wall),
            2 => cloud.sighting.scheduled.push(Scheduled {
                id: "event-1".to_owned(),
                code: "instance-reboot".to_owned(),
                not_before: Wall(wall.0 + 700_000),
            }),
            3 if cloud.state == "InService" => {
                cloud.sighting.target = Some(TargetState::Unknown("Odd".to_owned()));
            }
            4 => cloud.unreadable = true,
            7 if cloud.state == "InService" && self.dice.one_in(3) => return self.scale_in(),
            _ => return,
        }
        self.come(passes_after, Coming::Cloud(Turn::Passes));
        self.sees();
    }

    fn orders(&mut self, reason: Option<String>, passes_after: u64) {
        self.step(Event::Order(reason));
        self.come(passes_after, Coming::Cloud(Turn::Passes));
    }

    /// Everything that can pass has passed.
    pub fn all_passes(&mut self) {
        self.step(Event::Order(None));
        let Some(cloud) = &mut self.cloud else { return };
        let terminated = cloud.sighting.target == Some(TargetState::Terminated);
        if !terminated {
            cloud.sighting = Sighting::default();
            cloud.sighting.target = Some(TargetState::InService);
        }
        cloud.unreadable = false;
        if cloud.state.ends_with("Standby") {
            self.enter("Pending");
            self.come(500, Coming::Cloud(Turn::State("Pending:Proceed")));
        }
        self.sees();
    }

    fn enter(&mut self, state: &'static str) {
        self.log(format!("= {state}"));
        let Some(cloud) = &mut self.cloud else { return };
        cloud.state_before = cloud.state;
        cloud.state = state;
        cloud.registered &= !state.starts_with("Terminating");
    }

    /// The agent looks every two seconds.
    pub(super) fn sees(&mut self) {
        let after = self.dice.between(1, 2500);
        self.come(after, Coming::Cloud(Turn::Seen));
    }

    pub(super) fn come_timeout(&mut self, hook: &str) {
        let Some((until, _)) = self.cloud.as_ref().and_then(|c| c.waits.get(hook)) else { return };
        let after = until.0.saturating_sub(self.now.at.0).max(1);
        self.come(after, Coming::Cloud(Turn::Timeout(hook.to_owned())));
    }

    fn leave_hook(&mut self, hook: &str, result: HookResult) {
        let Some(cloud) = &mut self.cloud else { return };
        cloud.waits.remove(hook);
        match (cloud.state, result) {
            ("Pending:Wait", HookResult::Continue) => {
                self.enter("Pending:Proceed");
                self.come(500, Coming::Cloud(Turn::State("InService")));
            }
            ("Pending:Wait", HookResult::Abandon) => self.scale_in(),
            _ => self.end(),
        }
    }

    /// The instance is no more, and everything on it.
    fn end(&mut self) {
        self.log("the instance is gone");
        if let Some(cloud) = &mut self.cloud {
            cloud.gone = true;
        }
        self.agent = None;
        self.processes.clear();
        self.coming.clear();
    }

    pub(super) fn fleet(&mut self, call: FleetCall) {
        let Some(cloud) = &mut self.cloud else { panic!("there is no group to talk to: {call:?}") };
        let fails = self.faults && self.dice.one_in(8);
        let error = |kind| Err(CallError { kind, text: format!("{kind:?}") });
        let passing =
            if self.dice.one_in(10) { CallErrorKind::Denied } else { CallErrorKind::Passing };
        let lost = self.faults && self.dice.one_in(30);
        let now = self.now.at;
        let answer = match call {
            FleetCall::Ask if fails => FleetAnswer::Membership(error(passing).map(|()| None)),
            FleetCall::Ask => {
                let lags = self.faults && self.dice.one_in(5);
                let state = if lags { cloud.state_before } else { cloud.state };
                FleetAnswer::Membership(Ok(Some(Box::new(Membership {
                    group: "group".to_owned(),
                    state: state.to_owned(),
                    hooks: hooks(),
                    target_groups: vec!["arn".to_owned()],
                    clock_ahead_ms: None,
                }))))
            }
            FleetCall::Heartbeat { hook, .. } => {
                let outcome = match cloud.waits.get_mut(&hook) {
                    _ if fails => error(passing),
                    Some((until, global)) => {
                        *until = now.plus(HEARTBEAT).min(*global);
                        Ok(())
                    }
                    None => error(CallErrorKind::Gone),
                };
                FleetAnswer::Beaten { hook, outcome }
            }
            FleetCall::Complete { hook, result, .. } => return self.complete(hook, result, fails),
            FleetCall::Deregister(_) | FleetCall::Register(_) if fails => match call {
                FleetCall::Register(_) => FleetAnswer::Registered(error(passing)),
                _ => FleetAnswer::Deregistered(error(passing)),
            },
            FleetCall::Deregister(_) => {
                cloud.registered = false;
                FleetAnswer::Deregistered(Ok(()))
            }
            FleetCall::Register(_) => {
                cloud.registered |= cloud.state == "InService";
                FleetAnswer::Registered(Ok(()))
            }
        };
        if !lost {
            let after = self.dice.between(20, 2000);
            self.answer(after, Event::Fleet(answer));
        }
    }

    fn complete(&mut self, hook: String, result: HookResult, fails: bool) {
        let Some(cloud) = &mut self.cloud else { return };
        let error = |kind: CallErrorKind| Err(CallError { kind, text: format!("{kind:?}") });
        let held = cloud.waits.contains_key(&hook);
        let outcome = match held {
            // Before the server took it in, or after.
            _ if fails && self.dice.one_in(2) => error(CallErrorKind::Passing),
            true => {
                cloud.completed.push((cloud.state, result));
                self.log(format!("hook {hook} is completed with {result}"));
                self.leave_hook(&hook, result);
                if fails { error(CallErrorKind::Passing) } else { Ok(()) }
            }
            false => error(CallErrorKind::Gone),
        };
        if self.cloud.as_ref().is_some_and(|cloud| !cloud.gone) {
            let answer = FleetAnswer::Completed { hook, outcome };
            let after = self.dice.between(20, 2000);
            self.answer(after, Event::Fleet(answer));
        }
    }
}

/// Before a call is made.
pub fn check_call(world: &World, call: &FleetCall, ledger: &Ledger) {
    let decided = |hook: &String| ledger.lifecycle.hooks.decided.get(hook);
    match call {
        FleetCall::Heartbeat { hook, .. } => {
            assert!(decided(hook).is_none(), "heartbeat after the decision\n{}", world.tail());
        }
        FleetCall::Complete { hook, result, .. } => {
            let decided = decided(hook);
            let known = decided.is_some_and(|d| d.result == *result && !d.confirmed);
            assert!(known, "completed without a record, or again: {decided:?}\n{}", world.tail());
            let leaving = ledger.lifecycle.hooks.state.starts_with("Terminating");
            let running = world.processes.len();
            let early = leaving && *result == HookResult::Continue && running > 0;
            assert!(!early, "completed with {running} processes running\n{}", world.tail());
            if leaving && *result == HookResult::Continue {
                check_logs(world, ledger);
            }
        }
        _ => {}
    }
}

/// Before a drain counts as over: the logs were asked for in it, and there is an answer, or no time
/// is left to wait for one.
pub fn check_logs(world: &World, ledger: &Ledger) {
    let Some(drain) = &ledger.lifecycle.drain else { return };
    let asked = world.logs.filter(|logs| logs.since >= drain.began);
    let over = |logs: super::LogsAsked| logs.answered || logs.given_up || world.now.at >= logs.by;
    let fine = asked.is_some_and(over) || logs_are_late(world, ledger);
    assert!(fine, "nobody waited for the logs: {:?}\n{}", world.logs, world.tail());
}

/// Whether no time is left to wait for the logs.
pub fn logs_are_late(world: &World, ledger: &Ledger) -> bool {
    let Some(drain) = &ledger.lifecycle.drain else { return false };
    let exit = drain.ended.max(world.told_to_exit).filter(|_| world.told_to_exit.is_some());
    let exit = exit.map(|since| since.plus(limits::EXIT_WITHIN));
    let end = drain.deadline.into_iter().chain(exit).min();
    end.is_some_and(|end| world.now.at.plus(limits::LOGS_RESERVE) >= end)
}

/// A host that leaves starts nothing, and its deadline only comes nearer.
pub fn check_drain(world: &World, before: &Ledger, effect: &Effect) {
    match effect {
        Effect::Start { id, .. } => {
            let drain = before.lifecycle.drain.as_ref();
            // As long as requests come, what crashes is started again.
            let serves = |drain: &Drain| {
                !matches!(drain.balancers, Balancers::Told { .. } | Balancers::Gone)
            };
            let again = before.generations.contains_key(&id.generation);
            let fine = drain.is_none_or(|drain| serves(drain) && again);
            assert!(fine, "{id} is started by a host that leaves\n{}", world.tail());
        }
        Effect::SaveLedger(after) => {
            let (before, Some(after)) = (&before.lifecycle.drain, &after.lifecycle.drain) else {
                return;
            };
            let begun = after.deadline.is_none_or(|by| by >= after.began);
            assert!(begun, "the time was up before the drain began\n{}", world.tail());
            let Some(before) = before else { return };
            if before.began == after.began
                && let Some(deadline) = before.deadline
            {
                let kept = after.deadline.is_some_and(|after| after <= deadline);
                assert!(kept, "the deadline is moved back\n{}", world.tail());
            }
        }
        _ => {}
    }
}
