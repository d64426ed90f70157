//! The host's place in its group: what it is asked and told, and which hooks it completes.

use super::*;
use crate::lifecycle::drain::Balancers;
use crate::lifecycle::fleet::{FleetAnswer, FleetCall, Membership};
use crate::lifecycle::hooks::{self, HookLedger, Verdict};
use crate::lifecycle::notice::{Cause, next_near, reasons};
use crate::lifecycle::sight::{Sighting, TargetState};
use crate::lifecycle::{Order, drain};

/// What a host that has just booted, or come out of the warm pool, waits for before it starts
/// anything: a clock, a memory and credentials from before may all be wrong.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    since: Moment,
    sight: bool,
    fleet: bool,
    channel: bool,
}

impl Gate {
    fn opens(&self) -> Option<Moment> {
        let sight = (self.sight || self.fleet).then(|| self.since.plus(limits::SIGHT_WITHIN));
        let channel = self.channel.then(|| self.since.plus(limits::CHANNEL_FIRST_WITHIN));
        sight.max(channel)
    }
}

/// Putting the instance back into target groups that the agent took it out of.
#[derive(Debug, Clone, Default)]
pub(super) struct Registering {
    next: Moment,
    failures: u32,
}

impl Controller {
    /// What of an earlier life still holds.
    pub(super) fn recall(&mut self, now: Now, same_boot: bool, alone: bool) {
        let lifecycle = &mut self.ledger.lifecycle;
        // The agent's own end is over; the host's reasons are looked at again.
        if lifecycle.drain.as_ref().is_some_and(drain::Drain::is_only_exit) {
            lifecycle.drain = None;
        }
        if let Some(drain) = &mut lifecycle.drain
            && matches!(drain.balancers, Balancers::Deregistering { .. })
        {
            // The answer went to the agent before. Asked again, it does no harm.
            drain.balancers = Balancers::Unknown { by: now.at.plus(limits::BALANCERS_ASK_WITHIN) };
        }
        if !same_boot {
            lifecycle.sighting = None;
            lifecycle.drain = None;
            lifecycle.hooks = HookLedger::default();
        }
        // The agent before has logged them.
        self.logged = lifecycle.drain.as_ref().map_or(0, |drain| drain.steps.len());
        if !same_boot && alone {
            let sight = self.settings.lifecycle.enabled;
            let channel = self.ledger.current.is_some();
            self.gate = Some(Gate { since: now.at, sight, fleet: sight, channel });
        }
    }

    /// Whether anything may be started.
    pub(super) fn may_start(&self) -> bool {
        self.stance() == Stance::Serve && self.gate.is_none()
    }

    /// Waits no longer for what does not come.
    pub(super) fn watch_gate(&mut self, now: Now) {
        let opens = self.gate.as_ref().map(Gate::opens);
        if opens.is_some_and(|opens| opens.is_none_or(|at| now.at >= at)) {
            self.gate = None;
        }
    }

    pub(super) fn stance(&self) -> Stance {
        drain::stance(&self.notices)
    }

    /// The channel has said something, or has said that it cannot.
    pub(super) fn channel_answered(&mut self) {
        if let Some(gate) = &mut self.gate {
            gate.channel = false;
        }
    }

    pub(super) fn order(&mut self, now: Now, reason: Option<String>) {
        self.ledger.lifecycle.order = reason.map(|reason| Order { reason, at: now.wall });
    }

    pub(super) fn sighted(
        &mut self,
        now: Now,
        sighting: Option<Sighting>,
        trouble: Option<String>,
        out: &mut Vec<Effect>,
    ) {
        if let Some(sighting) = sighting {
            if let Some(gate) = &mut self.gate {
                gate.sight = false;
                gate.fleet &= sighting.target.is_some();
            }
            self.target_changes(now, &sighting, out);
            self.ledger.lifecycle.sighting = Some(sighting);
        }
        if trouble.is_some() != self.sight_trouble.is_some() {
            out.push(match &trouble {
                Some(why) => {
                    let text = format!("the instance's metadata cannot be read: {why}");
                    tell(now, Level::Warning, Topic::Other, text)
                }
                None => {
                    let text = "the instance's metadata can be read again".to_owned();
                    tell(now, Level::Normal, Topic::Other, text)
                }
            });
        }
        self.sight_trouble = trouble;
    }

    fn target_changes(&mut self, now: Now, sighting: &Sighting, out: &mut Vec<Effect>) {
        let lifecycle = &mut self.ledger.lifecycle;
        let before = lifecycle.target().cloned();
        if before == sighting.target {
            return;
        }
        let word = |target: &Option<TargetState>| {
            target.as_ref().map_or_else(|| "no group".to_owned(), ToString::to_string)
        };
        let text = match &before {
            None => format!("the group takes it to {}", word(&sighting.target)),
            before => format!(
                "the group takes it to {}, no longer to {}",
                word(&sighting.target),
                word(before)
            ),
        };
        let unknown = matches!(sighting.target, Some(TargetState::Unknown(_)));
        let level = if unknown { Level::Warning } else { Level::Normal };
        out.push(tell(now, level, Topic::Other, text));
        // What was said of the state before is over, even if the next one has the same name.
        lifecycle.hooks = HookLedger::default();
        self.hooks.forget();
        self.fleet.hurry(now.at);
        let left_pool = matches!(before, Some(TargetState::Warmed(_)))
            && !matches!(sighting.target, Some(TargetState::Warmed(_)));
        if left_pool {
            self.gate = Some(Gate { since: now.at, sight: false, fleet: true, channel: true });
            self.poll.next = now.at;
        }
    }

    /// Works out why the host should leave, if it should, and begins or withdraws the drain.
    pub(super) fn take_stance(&mut self, now: Now, out: &mut Vec<Effect>) {
        let settings = &self.settings.lifecycle;
        let exit = self.exit.as_ref().map(|exit| exit.reason.as_str());
        let mut notices = reasons(now, settings, &self.ledger.lifecycle, exit);
        notices.extend(self.drill.clone());
        self.notices.clone_from(&notices);
        let warmed = notices.iter().all(|notice| notice.cause == Cause::Warmed);
        // A host in the pool that runs nothing has nothing to leave.
        let resting = warmed && self.generations.is_empty();
        match self.ledger.lifecycle.drain.take() {
            None if notices.is_empty() || resting => {}
            None => self.begin_drain(now, notices, out),
            Some(over) if notices.is_empty() => {
                self.ledger.lifecycle.last_drain = Some(over);
                let text = "the reasons to leave have passed; the host serves again".to_owned();
                out.push(tell(now, Level::Normal, Topic::Other, text));
            }
            Some(mut drain) => {
                for notice in drain.hear(now, notices) {
                    let text = format!("leaving also: {}", notice.text);
                    out.push(tell(now, Level::Normal, Topic::DrainBegun, text));
                }
                self.ledger.lifecycle.drain = Some(drain);
            }
        }
    }

    /// What Auto Scaling has to be asked.
    pub(super) fn ask_fleet(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.wants_fleet() && self.fleet.ask(now.at) {
            out.push(Effect::Fleet(FleetCall::Ask));
        }
    }

    pub(super) fn wants_fleet(&self) -> bool {
        let lifecycle = &self.ledger.lifecycle;
        if !self.asks_fleet() {
            return false;
        }
        let stale = lifecycle.drain.as_ref().is_some_and(|drain| !self.fleet.is_fresh(drain.began));
        match &self.fleet.said {
            None => true,
            Some(None) => stale,
            Some(Some(_)) if self.held_since().is_none() => true,
            Some(Some(membership)) => {
                let launched = membership.state == "Pending:Wait" && self.hooks_are_done();
                let proceeds = membership.state.ends_with(":Proceed");
                stale || launched || proceeds || membership.is_passing(lifecycle.target())
            }
        }
    }

    pub(super) fn fleet_answered(&mut self, now: Now, answer: FleetAnswer, out: &mut Vec<Effect>) {
        match answer {
            FleetAnswer::Membership(answer) => {
                // The credentials have been used, and the clock was looked at.
                if let Some(gate) = &mut self.gate {
                    gate.fleet = false;
                }
                if let Some(error) = self.fleet.answered(now.at, answer) {
                    let text = format!("Auto Scaling cannot be asked: {error}");
                    out.push(tell(now, Level::Warning, Topic::HookProblem, text));
                }
                self.state_changes(now, out);
            }
            FleetAnswer::Beaten { hook, outcome } => {
                self.hooks.beaten(now, &hook, outcome, out);
            }
            FleetAnswer::Completed { hook, outcome } => {
                let ledger = &mut self.ledger.lifecycle.hooks;
                self.hooks.completed(now, ledger, &hook, outcome, out);
            }
            FleetAnswer::Deregistered(outcome) => self.deregistered(now, outcome, out),
            // From before the host had to leave again: it has been taken out since.
            FleetAnswer::Registered(_) if self.is_draining() => {}
            FleetAnswer::Registered(Ok(())) => {
                let groups = std::mem::take(&mut self.ledger.lifecycle.taken_out);
                let text = format!("put back into {} target groups", groups.len());
                out.push(tell(now, Level::Normal, Topic::Other, text));
                self.registering = Registering::default();
            }
            FleetAnswer::Registered(Err(error)) => {
                let failures = self.registering.failures.saturating_add(1);
                if failures == 1 {
                    let text = format!("not put back into its target groups: {}", error.text);
                    out.push(tell(now, Level::Error, Topic::HookProblem, text));
                }
                let next = now.at.plus(retry_delay(failures, self.random));
                self.registering = Registering { next, failures };
            }
        }
    }

    fn state_changes(&mut self, now: Now, out: &mut Vec<Effect>) {
        let Some(membership) = self.fleet.membership() else { return };
        // An agent that lost its ledger may have taken out what it does not know of.
        if membership.state == "InService" && std::mem::take(&mut self.ledger.lifecycle.forgetful) {
            self.ledger.lifecycle.taken_out.clone_from(&membership.target_groups);
        }
        if self.held_since().is_some() {
            return;
        }
        let text = format!("{}: {}", membership.group, membership.state);
        out.push(tell(now, Level::Normal, Topic::Other, text));
        if let Some(text) = membership.clock_trouble() {
            out.push(tell(now, Level::Error, Topic::HookProblem, text));
        }
        if hooks::are_ambiguous(membership, &self.settings.lifecycle) {
            let text = "several hooks hold the instance, and which are the agent's to complete is \
                        not said; name them in lifecycle.hooks";
            out.push(tell(now, Level::Error, Topic::HookProblem, text.to_owned()));
        }
        self.ledger.lifecycle.hooks =
            HookLedger { state: membership.state.clone(), since: now.at, ..HookLedger::default() };
        self.hooks.forget();
    }

    /// Since when the instance is in the state that the API says it is in. `None`: it was in it
    /// before the group changed its mind, which ends what was known of it; it is asked again.
    pub(super) fn held_since(&self) -> Option<Moment> {
        let HookLedger { state, since, .. } = &self.ledger.lifecycle.hooks;
        self.fleet.membership().filter(|membership| membership.state == *state).map(|_| *since)
    }

    /// The membership, when hooks may hold the instance. Not when it is from before the group
    /// changed its mind: the API lags behind the metadata.
    pub(super) fn held(&self) -> Option<&Membership> {
        let target = self.ledger.lifecycle.target();
        let held = |membership: &&Membership| membership.waits() && !membership.is_passing(target);
        self.fleet.membership().filter(held)
    }

    /// Whether nothing is left to say to the hooks that hold the instance.
    pub(super) fn hooks_are_done(&self) -> bool {
        let Some(membership) = self.held() else { return true };
        let decided = &self.ledger.lifecycle.hooks.decided;
        let mut ours = hooks::ours(membership, &self.settings.lifecycle);
        ours.all(|hook| decided.get(&hook.name).is_some_and(|decided| decided.confirmed))
    }

    /// Whether a hook holds the instance about which nothing was decided yet.
    pub(super) fn is_undecided(&self) -> bool {
        let Some(membership) = self.held() else { return false };
        let decided = &self.ledger.lifecycle.hooks.decided;
        hooks::ours(membership, &self.settings.lifecycle)
            .any(|hook| !decided.contains_key(&hook.name))
    }

    /// Heartbeats and completions that are due, and the way back into the target groups.
    pub(super) fn drive_hooks(&mut self, now: Now, out: &mut Vec<Effect>) {
        let verdict = self.hook_verdict(now);
        if let Some(membership) = self.held().cloned() {
            self.hooks.drive(
                now,
                &mut self.ledger.lifecycle.hooks,
                (&membership, &self.settings.lifecycle),
                (verdict.as_ref(), self.random),
                out,
            );
        }
        self.put_back(now, out);
    }

    fn put_back(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.waits_to_put_back() && now.at >= self.registering.next {
            self.registering.next = now.at.plus(limits::FLEET_CALL_WITHIN);
            let groups = self.ledger.lifecycle.taken_out.clone();
            out.push(Effect::Fleet(FleetCall::Register(groups)));
        }
    }

    fn waits_to_put_back(&self) -> bool {
        !self.ledger.lifecycle.taken_out.is_empty() && self.is_ready()
    }

    /// How the host's part of the transition went, as soon as it can be told.
    fn hook_verdict(&self, now: Now) -> Option<Verdict> {
        let membership = self.held()?;
        match membership.state.as_str() {
            "Terminating:Wait" | "Warmed:Terminating:Wait" => self.verdict_on_leaving(now),
            "Pending:Wait" if self.is_ready() => Some(Verdict::Done("every tier is ready".into())),
            "Warmed:Pending:Wait" if self.is_prepared() => {
                Some(Verdict::Done("the release is on disk".into()))
            }
            "Pending:Wait" | "Warmed:Pending:Wait" => self.launch_failure(now).map(Verdict::Failed),
            _ => None,
        }
    }

    fn verdict_on_leaving(&self, now: Now) -> Option<Verdict> {
        let Some(drain) = &self.ledger.lifecycle.drain else {
            return self.generations.is_empty().then(|| Verdict::Done("nothing ran".into()));
        };
        if let Some(ended) = drain.ended {
            // Bounded, and after the deadline no more than a moment.
            if !drain.is_over() {
                return None;
            }
            let took = crate::time::text(ended.since(drain.began));
            let cut = drain.cut;
            return Some(Verdict::Done(format!("drained in {took}, {cut} requests cut")));
        }
        let late = drain.deadline.is_some_and(|deadline| now.at >= deadline);
        late.then(|| Verdict::Unfinished("the time was up before everything had ended".into()))
    }

    /// In the warm pool: the release that the channel wants is on disk, and nothing runs.
    fn is_prepared(&self) -> bool {
        let on_disk = |target: Target| {
            self.on_disk.iter().any(|release| release.digest == target.release.digest)
        };
        self.generations.is_empty()
            && self.poll.last_ok.is_some()
            && self.goal().is_some_and(on_disk)
    }

    /// When a launch that a hook holds must be through.
    fn launch_by(&self) -> Option<Moment> {
        self.held_since().map(|since| since.plus(self.settings.lifecycle.launch_within))
    }

    /// Why a launch is given up.
    fn launch_failure(&self, now: Now) -> Option<String> {
        if let Some(retry) = &self.retry
            && retry.failures >= limits::LAUNCH_FAILURES_MAX
        {
            let version = &retry.target.release.version;
            return Some(format!("{version} failed {} times: {}", retry.failures, retry.reason));
        }
        let within = self.settings.lifecycle.launch_within;
        let late = now.at >= self.launch_by()?;
        late.then(|| {
            let rollout = self.rollout.as_ref().and_then(|rollout| rollout.reason.clone());
            let why = rollout.or_else(|| self.poll.error.clone());
            let why = why.map_or_else(String::new, |why| format!(": {why}"));
            format!("not ready within {}{why}", crate::time::text(within))
        })
    }

    /// When any of this has something to do without news.
    pub(super) fn lifecycle_wake(&self) -> Option<Moment> {
        let lifecycle = &self.ledger.lifecycle;
        let held = self.held();
        let launch = held
            .filter(|membership| membership.state.contains("Pending") && self.is_undecided())
            .and_then(|_| self.launch_by());
        [
            self.wants_fleet().then(|| self.fleet.next_wake()),
            held.and_then(|_| self.hooks.next_wake(&lifecycle.hooks)),
            launch,
            self.gate.as_ref().and_then(Gate::opens),
            self.waits_to_put_back().then_some(self.registering.next),
            next_near(self.stepped, &self.settings.lifecycle, lifecycle.sighting.as_ref()),
            self.drain_wake(),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}
