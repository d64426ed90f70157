//! Lifecycle hooks that hold the instance: kept from timing out, and completed, each once.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::LifecycleSettings;
use super::fleet::{CallError, CallErrorKind, FleetCall, Hook, HookResult, Membership, Transition};
use crate::effect::{Effect, Level, Topic, tell};
use crate::limits;
use crate::time::{Moment, Now};

/// What was decided about the hooks that hold the instance. Remembered before anything is said.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HookLedger {
    /// The state in which they hold it, such as `Terminating:Wait`; empty: none does.
    pub state: String,
    /// Since when that is known.
    pub since: Moment,
    /// By hook.
    pub decided: BTreeMap<String, Decided>,
}

/// What was decided about one hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// How the transition goes on.
    pub result: HookResult,
    /// Why.
    pub reason: String,
    /// Auto Scaling has taken it in, or does not wait for it any more.
    pub confirmed: bool,
}

/// How the host's part of a transition went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Done.
    Done(String),
    /// A launch that failed.
    Failed(String),
    /// It could not be brought to its end: what the hook's own default says.
    Unfinished(String),
}

/// The calls about one hook.
#[derive(Debug, Clone, Default)]
struct Calls {
    next: Moment,
    pending_by: Option<Moment>,
    failures: u32,
    beats: u32,
    error: Option<String>,
}

/// The hooks that hold the instance now.
#[derive(Debug, Clone, Default)]
pub struct Hooks {
    calls: BTreeMap<String, Calls>,
}

impl Hooks {
    /// Heartbeats and completions that are due.
    pub fn drive(
        &mut self,
        now: Now,
        ledger: &mut HookLedger,
        (membership, settings): (&Membership, &LifecycleSettings),
        (verdict, jitter): (Option<&Verdict>, u64),
        out: &mut Vec<Effect>,
    ) {
        for hook in ours(membership, settings) {
            let calls = self
                .calls
                .entry(hook.name.clone())
                .or_insert_with(|| Calls { next: now.at, ..Calls::default() });
            let name = || hook.name.clone();
            if let Some(verdict) = verdict
                && !ledger.decided.contains_key(&hook.name)
            {
                let decided = decide(hook, verdict);
                let text = format!("hook {}: {} ({})", hook.name, decided.result, decided.reason);
                let bad = matches!(verdict, Verdict::Failed(_) | Verdict::Unfinished(_));
                let level = if bad { Level::Error } else { Level::Normal };
                let topic = match level {
                    Level::Normal => Topic::Other,
                    Level::Warning | Level::Error => Topic::HookProblem,
                };
                out.push(tell(now, level, topic, text));
                ledger.decided.insert(name(), decided);
                *calls = Calls { next: now.at, beats: calls.beats, ..Calls::default() };
            }
            let decided = ledger.decided.get(&hook.name);
            if decided.is_some_and(|decided| decided.confirmed) || !calls.is_due(now.at) {
                continue;
            }
            calls.pending_by = Some(now.at.plus(limits::FLEET_CALL_WITHIN));
            calls.next = now.at.plus(pause_after(hook, calls.failures, jitter));
            let group = membership.group.clone();
            out.push(Effect::Fleet(match decided {
                Some(Decided { result, .. }) => {
                    FleetCall::Complete { group, hook: name(), result: *result }
                }
                None => FleetCall::Heartbeat { group, hook: name() },
            }));
        }
    }

    /// How a heartbeat went.
    pub fn beaten(
        &mut self,
        now: Now,
        hook: &str,
        outcome: Result<(), CallError>,
        out: &mut Vec<Effect>,
    ) {
        let Some(calls) = self.calls.get_mut(hook) else { return };
        calls.beats = calls.beats.saturating_add(u32::from(outcome.is_ok()));
        calls.answered(now, hook, "kept from timing out", outcome.err(), out);
    }

    /// How a completion went.
    pub fn completed(
        &mut self,
        now: Now,
        ledger: &mut HookLedger,
        hook: &str,
        outcome: Result<(), CallError>,
        out: &mut Vec<Effect>,
    ) {
        let Some(calls) = self.calls.get_mut(hook) else { return };
        let Some(decided) = ledger.decided.get_mut(hook) else { return };
        let error = match outcome {
            Ok(()) => None,
            // Completed by an agent before this one, or timed out: there is nothing left to say.
            Err(CallError { kind: CallErrorKind::Gone, .. }) => {
                let text = format!("hook {hook} holds the instance no more");
                out.push(tell(now, Level::Normal, Topic::Other, text));
                None
            }
            Err(error) => Some(error),
        };
        decided.confirmed = error.is_none();
        calls.answered(now, hook, "completed", error, out);
    }

    /// The next moment at which a call is due.
    #[must_use]
    pub fn next_wake(&self, ledger: &HookLedger) -> Option<Moment> {
        let open = |(hook, _): &(&String, &Calls)| {
            ledger.decided.get(*hook).is_none_or(|decided| !decided.confirmed)
        };
        let wake = |calls: &Calls| calls.pending_by.unwrap_or(calls.next);
        self.calls.iter().filter(open).map(|(_, calls)| wake(calls)).min()
    }

    /// Heartbeats that Auto Scaling took in.
    #[must_use]
    pub fn beats(&self) -> u32 {
        self.calls.values().map(|calls| calls.beats).sum()
    }

    /// Why calls fail, if they do.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        self.calls.values().find_map(|calls| calls.error.as_deref())
    }

    /// The instance is in another state: what was said of the one before is over.
    pub fn forget(&mut self) {
        self.calls.clear();
    }
}

impl Calls {
    fn is_due(&self, now: Moment) -> bool {
        match self.pending_by {
            // An answer that does not come counts as lost.
            Some(by) => now >= by,
            None => now >= self.next,
        }
    }

    fn answered(
        &mut self,
        now: Now,
        hook: &str,
        what: &str,
        error: Option<CallError>,
        out: &mut Vec<Effect>,
    ) {
        self.pending_by = None;
        let Some(error) = error else {
            self.failures = 0;
            self.error = None;
            return;
        };
        self.failures = self.failures.saturating_add(1);
        let patient = error.kind == CallErrorKind::Denied;
        let pause = if patient { limits::HOOK_RETRY_MAX } else { retry_after(self.failures) };
        self.next = now.at.plus(pause);
        if self.error.is_none() {
            let text = format!("hook {hook} could not be {what}: {}", error.text);
            out.push(tell(now, Level::Warning, Topic::HookProblem, text));
        }
        self.error = Some(error.text);
    }
}

fn decide(hook: &Hook, verdict: &Verdict) -> Decided {
    let (result, reason) = match verdict {
        Verdict::Done(reason) => (HookResult::Continue, reason),
        Verdict::Failed(reason) => (HookResult::Abandon, reason),
        Verdict::Unfinished(reason) => (hook.default_result, reason),
    };
    Decided { result, reason: reason.clone(), confirmed: false }
}

/// Half the timeout, a little less on each host, so that one lost heartbeat does no harm.
fn pause_after(hook: &Hook, failures: u32, jitter: u64) -> Duration {
    let percent = 40 + u32::try_from(jitter % 10).unwrap_or(0);
    let pause = hook.heartbeat_timeout / 100 * percent;
    if failures > 0 { pause.min(retry_after(failures)) } else { pause }
}

fn retry_after(failures: u32) -> Duration {
    let pause = limits::HOOK_RETRY_MIN.saturating_mul(1 << failures.min(6));
    pause.min(limits::HOOK_RETRY_MAX)
}

/// The transitions whose hooks may hold an instance in `state`.
fn transitions(state: &str) -> &'static [Transition] {
    match state {
        "Pending:Wait" => &[Transition::Launching],
        // A launch into the pool is held by the one kind, a return to it by the other.
        "Warmed:Pending:Wait" => &[Transition::Launching, Transition::Terminating],
        "Terminating:Wait" | "Warmed:Terminating:Wait" => &[Transition::Terminating],
        _ => &[],
    }
}

/// The hooks that hold the instance and are the agent's to complete.
pub fn ours<'a>(
    membership: &'a Membership,
    settings: &'a LifecycleSettings,
) -> impl Iterator<Item = &'a Hook> {
    let transitions = transitions(&membership.state).iter();
    transitions.flat_map(move |transition| ours_of(&membership.hooks, *transition, settings))
}

/// The hooks of a transition that are the agent's to complete.
pub fn ours_of<'a>(
    hooks: &'a [Hook],
    transition: Transition,
    settings: &'a LifecycleSettings,
) -> impl Iterator<Item = &'a Hook> {
    let of = move || hooks.iter().filter(move |hook| hook.transition == transition);
    let alone = of().count() == 1;
    of().filter(move |hook| match &settings.hooks {
        Some(names) => names.contains(&hook.name),
        None => alone || hook.name.starts_with("groundcrew"),
    })
}

/// Whether hooks hold the instance that the agent does not dare to complete: which of them are its
/// own must be said.
#[must_use]
pub fn are_ambiguous(membership: &Membership, settings: &LifecycleSettings) -> bool {
    let transitions = transitions(&membership.state);
    let held = membership.hooks.iter().any(|hook| transitions.contains(&hook.transition));
    held && settings.hooks.is_none() && ours(membership, settings).next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(name: &str, transition: Transition) -> Hook {
        Hook {
            name: name.to_owned(),
            transition,
            heartbeat_timeout: Duration::from_secs(100),
            global_timeout: Duration::from_secs(10_000),
            default_result: HookResult::Abandon,
        }
    }

    fn leaving(names: &[&str]) -> Membership {
        Membership {
            group: "web".into(),
            state: "Terminating:Wait".into(),
            hooks: names.iter().map(|name| hook(name, Transition::Terminating)).collect(),
            target_groups: Vec::new(),
            clock_ahead_ms: None,
        }
    }

    fn calls(out: &mut Vec<Effect>) -> Vec<FleetCall> {
        let call = |effect| if let Effect::Fleet(call) = effect { Some(call) } else { None };
        out.drain(..).filter_map(call).collect()
    }

    #[test]
    fn a_hook_is_kept_then_completed_once_and_left_alone() {
        let (mut hooks, mut ledger, mut out) =
            (Hooks::default(), HookLedger::default(), Vec::new());
        let (membership, settings) = (leaving(&["drain"]), LifecycleSettings::default());
        let at = |at| Now { at: Moment(at), ..Now::default() };
        let mut drive = |hooks: &mut Hooks, ledger: &mut HookLedger, now, verdict| {
            hooks.drive(at(now), ledger, (&membership, &settings), (verdict, 0), &mut out);
            calls(&mut out)
        };
        let none = &mut Vec::new();
        assert!(matches!(
            &drive(&mut hooks, &mut ledger, 0, None)[..],
            [FleetCall::Heartbeat { .. }]
        ));
        hooks.beaten(at(1), "drain", Ok(()), none);
        assert!(drive(&mut hooks, &mut ledger, 39_999, None).is_empty());
        assert_eq!(drive(&mut hooks, &mut ledger, 40_000, None).len(), 1);
        let done = Verdict::Done("drained".into());
        let said = drive(&mut hooks, &mut ledger, 40_001, Some(&done));
        assert!(matches!(&said[..], [FleetCall::Complete { result: HookResult::Continue, .. }]));
        // The heartbeat's late answer changes nothing; an outage is outlived.
        hooks.beaten(at(40_002), "drain", Ok(()), none);
        let lost = CallError { kind: CallErrorKind::Passing, text: "timeout".into() };
        hooks.completed(at(40_003), &mut ledger, "drain", Err(lost), none);
        assert_eq!(hooks.error(), Some("timeout"));
        assert_eq!(drive(&mut hooks, &mut ledger, 50_000, Some(&done)), said);
        let gone = CallError { kind: CallErrorKind::Gone, text: "no active action".into() };
        hooks.completed(at(50_001), &mut ledger, "drain", Err(gone), none);
        assert!(drive(&mut hooks, &mut ledger, 9_000_000, Some(&done)).is_empty());
        assert_eq!(hooks.next_wake(&ledger), None);
    }

    #[test]
    fn what_is_not_finished_ends_as_the_hook_says_and_a_bad_launch_is_abandoned() {
        let hook =
            Hook { default_result: HookResult::Continue, ..hook("x", Transition::Launching) };
        let result = |verdict| decide(&hook, &verdict).result;
        assert_eq!(result(Verdict::Unfinished(String::new())), HookResult::Continue);
        assert_eq!(result(Verdict::Failed(String::new())), HookResult::Abandon);
    }

    #[test]
    fn hooks_of_others_are_theirs() {
        let named = LifecycleSettings {
            hooks: Some(["b".to_owned()].into()),
            ..LifecycleSettings::default()
        };
        let open = LifecycleSettings::default();
        for (settings, names, expected) in [
            (&open, &["a"][..], &["a"][..]),
            (&open, &["a", "b"], &[]),
            (&open, &["a", "groundcrew-drain"], &["groundcrew-drain"]),
            (&named, &["a", "b"], &["b"]),
        ] {
            let membership = leaving(names);
            let found: Vec<_> = ours(&membership, settings).map(|hook| &hook.name).collect();
            assert_eq!(found, expected, "{names:?}");
            assert_eq!(are_ambiguous(&membership, settings), expected.is_empty());
        }
    }
}
