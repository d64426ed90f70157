//! The group, its hooks, and what its health checks mean.

use std::time::Duration;

use super::{Facts, Finding, Group, Verdict, leaving, seconds, whole};
use crate::lifecycle::fleet::{Hook, HookResult, Transition};
use crate::lifecycle::hooks::ours_of;

/// Names of the checks about the hooks of one transition.
struct Side {
    transition: Transition,
    api: &'static str,
    name: &'static str,
    result: &'static str,
    heartbeat: &'static str,
    global: &'static str,
}

const LAUNCH: Side = Side {
    transition: Transition::Launching,
    api: "autoscaling:EC2_INSTANCE_LAUNCHING",
    name: "launch hook",
    result: "launch default result",
    heartbeat: "launch heartbeat",
    global: "launch global timeout",
};
const TERMINATE: Side = Side {
    transition: Transition::Terminating,
    api: "autoscaling:EC2_INSTANCE_TERMINATING",
    name: "terminate hook",
    result: "terminate default result",
    heartbeat: "terminate heartbeat",
    global: "terminate global timeout",
};

/// `WatchdogSec=` of the unit: after so long systemd kills an agent that hangs.
pub const WATCHDOG: Duration = Duration::from_secs(30);
/// What the next agent may need until its first heartbeat.
const START_WITHIN: Duration = Duration::from_secs(30);
/// The agent sends one when at most this part of the timeout is over.
const HEARTBEAT_PART: u32 = 2;
/// What `docs/lifecycle.md` recommends.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_mins(5);

const HEALTH: &str = "health check type";

pub(super) fn group(facts: &Facts) -> Vec<Finding> {
    let fleet = &facts.fleet;
    let group = match &fleet.group {
        Ok(Some(group)) => group,
        Ok(None) => {
            let numbers = "the instance is in no Auto Scaling group: no hook holds it, and nobody \
                           replaces it";
            return vec![Finding::new("group", Verdict::Caution, numbers)];
        }
        Err(why) => {
            let checks = ["group", LAUNCH.name, TERMINATE.name, HEALTH];
            return checks.map(|check| Finding::unknown(check, why)).into();
        }
    };
    let mut findings = vec![Finding::good("group", format!("{} ({})", group.name, group.state))];
    match &fleet.hooks {
        Ok(hooks) => {
            for side in [&LAUNCH, &TERMINATE] {
                findings.extend(side.examine(facts, group, hooks));
            }
        }
        Err(why) => {
            findings
                .extend([LAUNCH.name, TERMINATE.name].map(|check| Finding::unknown(check, why)));
        }
    }
    findings.push(health(facts, group));
    findings
}

impl Side {
    fn examine(&self, facts: &Facts, group: &Group, hooks: &[Hook]) -> Vec<Finding> {
        let of: Vec<_> = hooks.iter().filter(|hook| hook.transition == self.transition).collect();
        let ours: Vec<_> = ours_of(hooks, self.transition, &facts.settings).collect();
        let names = |hooks: &[&Hook]| {
            hooks.iter().map(|hook| hook.name.as_str()).collect::<Vec<_>>().join(", ")
        };
        if of.is_empty() {
            return vec![self.missing(group)];
        }
        if ours.is_empty() {
            let numbers = format!(
                "{} hooks hold the instance, and none is the agent's: {}",
                of.len(),
                names(&of)
            );
            return vec![Finding::new(self.name, Verdict::Bad, numbers).fix(
                "name the agent's own in lifecycle.hooks of its configuration, or let its name \
                 begin with groundcrew",
            )];
        }
        let mut numbers = names(&ours);
        let others: Vec<_> = of.into_iter().filter(|hook| !ours.contains(hook)).collect();
        if !others.is_empty() {
            numbers = format!("{numbers}; {} is for others to complete", names(&others));
        }
        let mut findings = vec![Finding::good(self.name, numbers)];
        for hook in ours {
            findings.push(self.result(group, hook, !others.is_empty()));
            findings.push(self.heartbeat(group, hook));
            findings.push(match self.transition {
                Transition::Launching => self.launch_within(facts, group, hook),
                Transition::Terminating => self.drain_within(facts, group, hook),
            });
        }
        findings
    }

    fn missing(&self, group: &Group) -> Finding {
        let (result, numbers) = match self.transition {
            Transition::Launching => (
                HookResult::Abandon,
                "none: a new host counts before its release is there, and a bad release replaces \
                 every host",
            ),
            Transition::Terminating => (
                HookResult::Continue,
                "none: the host is switched off as soon as the load balancers let go of it, \
                 whatever it still does",
            ),
        };
        let name = self.name.replace(" hook", "");
        Finding::new(self.name, Verdict::Bad, numbers).fix(format!(
            "aws autoscaling put-lifecycle-hook --auto-scaling-group-name {} \
             --lifecycle-hook-name groundcrew-{name} --lifecycle-transition {} \
             --heartbeat-timeout {} --default-result {result}",
            group.name,
            self.api,
            whole(HEARTBEAT_TIMEOUT)
        ))
    }

    fn result(&self, group: &Group, hook: &Hook, others: bool) -> Finding {
        let Hook { name, default_result: result, .. } = hook;
        let (verdict, what) = match (self.transition, result) {
            (Transition::Launching, HookResult::Abandon) => {
                (Verdict::Good, "a host whose agent is gone is replaced")
            }
            (Transition::Launching, HookResult::Continue) => {
                (Verdict::Bad, "a host whose agent is gone is put into service, and serves nothing")
            }
            (Transition::Terminating, HookResult::Continue) => {
                (Verdict::Good, "a host whose agent is gone is switched off")
            }
            (Transition::Terminating, HookResult::Abandon) if group.retains => (
                Verdict::Caution,
                "the group's lifecycle policy retains the instance when this times out: it costs \
                 until a person terminates it",
            ),
            (Transition::Terminating, HookResult::Abandon) if others => {
                (Verdict::Caution, "when this times out, the other hooks are skipped")
            }
            (Transition::Terminating, HookResult::Abandon) => {
                (Verdict::Good, "with no other hook and no retention the same as CONTINUE")
            }
        };
        let finding = Finding::new(self.result, verdict, format!("{name}: {result}; {what}"));
        if verdict == Verdict::Good {
            return finding;
        }
        let wanted = match result {
            HookResult::Continue => HookResult::Abandon,
            HookResult::Abandon => HookResult::Continue,
        };
        finding.fix(put(group, hook, wanted, whole(hook.heartbeat_timeout)))
    }

    fn heartbeat(&self, group: &Group, hook: &Hook) -> Finding {
        let left = hook.heartbeat_timeout / HEARTBEAT_PART;
        let need = WATCHDOG + START_WITHIN;
        let verdict = match left {
            left if left >= need => Verdict::Good,
            left if left >= WATCHDOG => Verdict::Caution,
            _ => Verdict::Bad,
        };
        let [timeout, left, watchdog, start] =
            [hook.heartbeat_timeout, left, WATCHDOG, START_WITHIN].map(seconds);
        let numbers = format!(
            "{}: {timeout}, so {left} without a heartbeat are outlived; an agent that hangs is \
             back after {watchdog} (watchdog) + {start} (start)",
            hook.name
        );
        let finding = Finding::new(self.heartbeat, verdict, numbers);
        if verdict == Verdict::Good {
            return finding;
        }
        finding.fix(put(group, hook, hook.default_result, whole(HEARTBEAT_TIMEOUT)))
    }

    fn launch_within(&self, facts: &Facts, group: &Group, hook: &Hook) -> Finding {
        let (global, within) = (hook.global_timeout, facts.settings.launch_within);
        let numbers = format!(
            "{}: {}; the agent gives a launch up after {} (lifecycle.launch_within)",
            hook.name,
            seconds(global),
            seconds(within)
        );
        if global >= within {
            return Finding::good(self.global, numbers);
        }
        Finding::new(self.global, Verdict::Caution, numbers).fix(global_fix(group, hook, within))
    }

    fn drain_within(&self, facts: &Facts, group: &Group, hook: &Hook) -> Finding {
        let global = hook.global_timeout;
        let mut delay = Duration::ZERO;
        for target_group in facts.fleet.target_groups.iter().flatten() {
            let known = target_group.attributes.as_ref().ok();
            delay = delay.max(known.and_then(|known| known.deregistration_delay).unwrap_or(delay));
        }
        let tiers = match &facts.tiers {
            Ok(tiers) => tiers,
            Err(why) => {
                let numbers =
                    format!("{}: {}; what a drain takes: {why}", hook.name, seconds(global));
                return Finding::unknown(self.global, numbers);
            }
        };
        let (leaving, sum) = leaving(tiers);
        let need = delay + leaving;
        let mut numbers = format!(
            "{}: {}; a drain takes {} at most: deregistration {} + {sum}",
            hook.name,
            seconds(global),
            seconds(need),
            seconds(delay)
        );
        if global < need {
            return Finding::new(self.global, Verdict::Bad, numbers)
                .fix(global_fix(group, hook, need));
        }
        let attributes =
            |known: &Vec<super::TargetGroup>| known.iter().all(|g| g.attributes.is_ok());
        if !facts.fleet.target_groups.as_ref().is_ok_and(attributes) {
            numbers.push_str("; not all deregistration delays are known");
            return Finding::unknown(self.global, numbers);
        }
        Finding::good(self.global, numbers)
    }
}

/// A hook holds for a hundred times its heartbeat timeout, two days at most.
fn global_fix(group: &Group, hook: &Hook, need: Duration) -> String {
    let least = whole(need / 100).max(whole(HEARTBEAT_TIMEOUT));
    put(group, hook, hook.default_result, least)
}

/// Both are said: what becomes of a parameter that an update leaves out is not documented.
fn put(group: &Group, hook: &Hook, result: HookResult, heartbeat_timeout: u64) -> String {
    format!(
        "aws autoscaling put-lifecycle-hook --auto-scaling-group-name {} --lifecycle-hook-name {} \
         --default-result {result} --heartbeat-timeout {heartbeat_timeout}",
        group.name, hook.name
    )
}

fn health(facts: &Facts, group: &Group) -> Finding {
    let Group { name, health_check_type: kind, grace, target_groups, .. } = group;
    let numbers = format!("{kind}; grace period {}", seconds(*grace));
    let update =
        format!("aws autoscaling update-auto-scaling-group --auto-scaling-group-name {name}");
    if target_groups.is_empty() {
        return Finding::good(HEALTH, format!("{numbers}; there is no target group to ask"));
    }
    if !kind.split(',').any(|kind| kind.trim() == "ELB") {
        let numbers = format!("{numbers}: a host that serves nothing is never replaced");
        let fix = format!("{update} --health-check-type ELB --health-check-grace-period 60");
        return Finding::new(HEALTH, Verdict::Caution, numbers).fix(fix);
    }
    let held =
        |hooks: &Vec<Hook>| ours_of(hooks, Transition::Launching, &facts.settings).next().is_some();
    if facts.fleet.hooks.as_ref().is_ok_and(held) {
        let numbers = format!("{numbers}, which begins when the launch hook is completed");
        return Finding::good(HEALTH, numbers);
    }
    let tiers = match &facts.tiers {
        Ok(tiers) => tiers,
        Err(why) => return Finding::unknown(HEALTH, format!("{numbers}; ready.within: {why}")),
    };
    let ready_ms = tiers.iter().map(|tier| tier.ready_within_ms).max().unwrap_or_default();
    let ready = Duration::from_millis(ready_ms);
    let numbers = format!("{numbers}; a tier may take {} to be ready", seconds(ready));
    if *grace >= ready {
        return Finding::good(HEALTH, numbers);
    }
    let fix = format!("{update} --health-check-grace-period {}", whole(ready));
    Finding::new(HEALTH, Verdict::Caution, format!("{numbers}, and no launch hook waits")).fix(fix)
}
