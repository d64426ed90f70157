//! Target groups and load balancers, against what the tiers take.

use std::time::Duration;

use super::{
    Balancer, Facts, Finding, HealthCheck, Learned, TargetGroup, TierNumbers, Verdict, seconds,
    whole,
};
use crate::limits;
use crate::spec::Handoff;

const DELAY: &str = "deregistration delay";
const HEALTH: &str = "health check";
const SLOW_START: &str = "slow start";
const IDLE: &str = "idle timeout";

/// How many times the longest bleed the load balancer's patience may be.
const DELAY_FACTOR_MAX: u32 = 10;
/// The longest that a target may fail before it gets no more requests: what AWS's defaults take.
const NOTICED_WITHIN: Duration = Duration::from_mins(1);
/// What the fix sets: noticed after 20 s with the usual threshold.
const INTERVAL_WANTED: Duration = Duration::from_secs(10);
/// AWS's own default.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);

pub(super) fn balancers(facts: &Facts) -> Vec<Finding> {
    let fleet = &facts.fleet;
    let target_groups = match &fleet.target_groups {
        Ok(target_groups) => target_groups,
        // In no group there are none to ask about.
        Err(_) if matches!(fleet.group, Ok(None)) => return Vec::new(),
        Err(why) => {
            return [DELAY, HEALTH, SLOW_START, IDLE].map(|c| Finding::unknown(c, why)).into();
        }
    };
    let mut findings = Vec::new();
    for target_group in target_groups {
        findings.extend(attributes(facts, target_group));
        findings.push(health(facts, target_group));
    }
    match &fleet.balancers {
        Ok(balancers) => findings.extend(balancers.iter().map(|one| idle(facts, one))),
        Err(why) => findings.push(Finding::unknown(IDLE, why)),
    }
    findings
}

fn attributes(facts: &Facts, target_group: &TargetGroup) -> Vec<Finding> {
    let name = &target_group.name;
    let known = match &target_group.attributes {
        Ok(known) => known,
        Err(why) => {
            return [DELAY, SLOW_START]
                .map(|c| Finding::unknown(c, format!("{name}: {why}")))
                .into();
        }
    };
    let mut findings = vec![match known.deregistration_delay {
        Some(delay) => deregistration_delay(&facts.tiers, target_group, delay),
        None => Finding::unknown(DELAY, format!("{name} does not say")),
    }];
    if let Some(slow_start) = known.slow_start.filter(|slow_start| !slow_start.is_zero()) {
        let numbers = format!(
            "{name}: for {} a host that comes (back) gets less than its share",
            seconds(slow_start)
        );
        findings.push(Finding::good(SLOW_START, numbers));
    }
    findings
}

fn deregistration_delay(
    tiers: &Learned<Vec<TierNumbers>>,
    target_group: &TargetGroup,
    delay: Duration,
) -> Finding {
    let name = &target_group.name;
    let tiers = match tiers {
        Ok(tiers) => tiers,
        Err(why) => {
            return Finding::unknown(DELAY, format!("{name}: {}; bleed: {why}", seconds(delay)));
        }
    };
    let behind = behind(tiers, target_group);
    let Some(tier) = behind.into_iter().max_by_key(|tier| tier.bleed_ms) else {
        return Finding::good(DELAY, format!("{name}: {}; no tier listens", seconds(delay)));
    };
    let bleed = tier.bleed();
    let numbers = format!("{name}: {}; bleed of {} {}", seconds(delay), tier.name, seconds(bleed));
    let set = |seconds: u64| {
        format!(
            "aws elbv2 modify-target-group-attributes --target-group-arn {} --attributes \
             Key=deregistration_delay.timeout_seconds,Value={seconds}",
            target_group.arn
        )
    };
    if delay < bleed {
        let numbers = format!(
            "{numbers}: the load balancer fails requests that take longer than the delay, which \
             the host would still answer"
        );
        return Finding::new(DELAY, Verdict::Caution, numbers).fix(set(whole(bleed)));
    }
    if delay > limits::BALANCERS_GROUP_WITHIN {
        let within = seconds(limits::BALANCERS_GROUP_WITHIN);
        let numbers =
            format!("{numbers}: the agent waits {within} for the load balancers, no more");
        let fix = set(whole(limits::BALANCERS_GROUP_WITHIN));
        return Finding::new(DELAY, Verdict::Caution, numbers).fix(fix);
    }
    if delay > bleed * DELAY_FACTOR_MAX {
        let numbers = format!(
            "{numbers}: requests that take longer than the bleed are cut by the host, which the \
             load balancer would wait for"
        );
        let fix = format!("raise bleed in release.toml, or: {}", set(whole(bleed)));
        return Finding::new(DELAY, Verdict::Caution, numbers).fix(fix);
    }
    Finding::good(DELAY, numbers)
}

/// The tiers that a target group sends to: those on its port, or any when none is on it.
fn behind<'a>(tiers: &'a [TierNumbers], target_group: &TargetGroup) -> Vec<&'a TierNumbers> {
    let listening = || tiers.iter().filter(|tier| tier.port.is_some());
    let on_it: Vec<_> = listening().filter(|tier| tier.port == target_group.port).collect();
    if on_it.is_empty() { listening().collect() } else { on_it }
}

fn health(facts: &Facts, target_group: &TargetGroup) -> Finding {
    let TargetGroup { name, arn, port: traffic, .. } = target_group;
    let Some(check) = &target_group.health else {
        let numbers = format!("{name}: none: hosts that serve nothing get requests");
        return Finding::new(HEALTH, Verdict::Caution, numbers);
    };
    let HealthCheck { path, port, interval, unhealthy } = check;
    let noticed = *interval * *unhealthy;
    let modify = format!("aws elbv2 modify-target-group --target-group-arn {arn}");
    let asked = port.or(*traffic);
    let ready = facts.ready.filter(|ready| Some(ready.port) == asked);
    let shown = asked.map_or_else(|| "the traffic port".to_owned(), |port| format!("port {port}"));
    let listens = |tier: &&TierNumbers| tier.port.is_some() && tier.port == asked;
    let tier = facts.tiers.iter().flatten().find(listens);
    let whose = match (ready, tier) {
        (Some(_), _) => "the agent's".to_owned(),
        (None, Some(tier)) => format!("that of {}", tier.name),
        (None, None) => "nobody's that is known".to_owned(),
    };
    let what = match path {
        Some(path) => format!("GET {path}"),
        None => "a connection".to_owned(),
    };
    let numbers = format!(
        "{name}: {what} on {shown} ({whose}) every {}, unhealthy after {unhealthy} failures: \
         noticed after {}",
        seconds(*interval),
        seconds(noticed)
    );
    let Some(path) = path else {
        let numbers =
            format!("{numbers}; the agent's socket takes connections when no process does");
        let fix = format!("{modify} --health-check-protocol HTTP --health-check-path /health");
        return Finding::new(HEALTH, Verdict::Caution, numbers).fix(fix);
    };
    if ready.is_some_and(|ready| ready.loopback) {
        let numbers = format!("{numbers}; only this host can reach that");
        let fix = "let http.listen of the configuration be 0.0.0.0 and the same port";
        return Finding::new(HEALTH, Verdict::Bad, numbers).fix(fix);
    }
    if ready.is_some() && path != "/ready" {
        let numbers = format!("{numbers}; the agent only knows /ready");
        let fix = format!("{modify} --health-check-path /ready");
        return Finding::new(HEALTH, Verdict::Bad, numbers).fix(fix);
    }
    if facts.tiers.is_ok() && ready.is_none() && tier.is_none() {
        let fix = "let port of the tier in release.toml be the target group's";
        return Finding::new(HEALTH, Verdict::Caution, numbers).fix(fix);
    }
    if noticed > NOTICED_WITHIN {
        let fix = format!("{modify} --health-check-interval-seconds {}", whole(INTERVAL_WANTED));
        return Finding::new(HEALTH, Verdict::Caution, numbers).fix(fix);
    }
    Finding::good(HEALTH, numbers)
}

fn idle(facts: &Facts, balancer: &Balancer) -> Finding {
    let Balancer { name, arn, .. } = balancer;
    let timeout = match &balancer.idle_timeout {
        Ok(Some(timeout)) => *timeout,
        Ok(None) => {
            let why = format!("{name} has none of its own: its listeners may, and are not asked");
            return Finding::unknown(IDLE, why);
        }
        Err(why) => return Finding::unknown(IDLE, format!("{name}: {why}")),
    };
    let listening: Vec<_> =
        facts.tiers.iter().flatten().filter(|tier| tier.port.is_some()).collect();
    let others: Vec<_> = (listening.iter())
        .filter(|tier| tier.handoff != Handoff::Node)
        .map(|tier| tier.name.as_str())
        .collect();
    if !listening.is_empty() && others.len() == listening.len() {
        let why = format!(
            "{name}: {}; {} must keep idle connections longer, and does not say",
            seconds(timeout),
            others.join(", ")
        );
        return Finding::unknown(IDLE, why);
    }
    let keep_alive = limits::PRELOAD_KEEP_ALIVE;
    let numbers = format!(
        "{name}: {}; Node keeps idle connections for {}, unless the app says otherwise",
        seconds(timeout),
        seconds(keep_alive)
    );
    if timeout < keep_alive {
        return Finding::good(IDLE, numbers);
    }
    let numbers =
        format!("{numbers}: what the load balancer sends while Node closes is answered with 502");
    Finding::new(IDLE, Verdict::Bad, numbers).fix(format!(
        "aws elbv2 modify-load-balancer-attributes --load-balancer-arn {arn} --attributes \
         Key=idle_timeout.timeout_seconds,Value={}; or let the app set keepAliveTimeout to more \
         than {}",
        whole(IDLE_TIMEOUT),
        seconds(timeout)
    ))
}
