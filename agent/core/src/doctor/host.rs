//! The host itself: its metadata, systemd, the spot market's notice, IAM, the source, the clock.

use std::time::Duration;

use super::{
    Action, ChannelFacts, Facts, Finding, FleetFacts, Outcome, SourceFacts, Verdict, leaving,
    seconds, whole,
};
use crate::limits;

const METADATA: &str = "metadata";
const STOP: &str = "stop timeout";
const SPOT: &str = "spot notice";
const IAM: &str = "iam";
const SOURCE: &str = "source";
const CLOCK: &str = "clock";

/// What the agent cannot go without. The rest of what is tried is for leaving on its own account,
/// or for this examination alone.
const NEEDED: [&str; 5] = [
    "autoscaling:DescribeAutoScalingInstances",
    "autoscaling:DescribeAutoScalingGroups",
    "autoscaling:DescribeLifecycleHooks",
    "autoscaling:RecordLifecycleActionHeartbeat",
    "autoscaling:CompleteLifecycleAction",
];
/// What was tried on something that does not exist.
const TRIED_ON_NOTHING: [&str; 4] = [
    "autoscaling:EnterStandby",
    "autoscaling:ExitStandby",
    "elasticloadbalancing:DeregisterTargets",
    "elasticloadbalancing:RegisterTargets",
];

/// From here on it is worth a look.
const SKEW_CAUTION_MS: u64 = 1000;
/// From here on a spot notice of two minutes is misjudged by half.
const SKEW_BAD_MS: u64 = 60_000;

pub(super) fn metadata(fleet: &FleetFacts) -> Finding {
    match &fleet.instance {
        Ok(id) => Finding::good(METADATA, format!("IMDSv2 answers: {id}")),
        Err(why) if !fleet.on_ec2 => Finding::unknown(METADATA, why),
        Err(why) => Finding::new(METADATA, Verdict::Bad, why).fix(
            "as root, as others may be kept from the metadata; or \
             aws ec2 modify-instance-metadata-options --instance-id ID --http-endpoint enabled \
             --http-tokens required; in a container --http-put-response-hop-limit 2 as well",
        ),
    }
}

pub(super) fn stop_timeout(facts: &Facts) -> Finding {
    let timeout = match (&facts.stop_timeout, &facts.tiers) {
        (Err(why), _) => return Finding::unknown(STOP, why),
        (Ok(None), _) => return Finding::good(STOP, "systemd waits for as long as it takes"),
        (Ok(Some(timeout)), Err(why)) => {
            let numbers =
                format!("TimeoutStopSec {}; what leaving takes: {why}", seconds(*timeout));
            return Finding::unknown(STOP, numbers);
        }
        (Ok(Some(timeout)), Ok(_)) => *timeout,
    };
    let (need, sum) = leaving(facts.tiers.as_deref().unwrap_or_default());
    let numbers = format!(
        "TimeoutStopSec {}; leaving takes {} at most: {sum}",
        seconds(timeout),
        seconds(need)
    );
    if timeout >= need {
        return Finding::good(STOP, numbers);
    }
    let numbers = format!("{numbers}; systemd kills what is left");
    Finding::new(STOP, Verdict::Bad, numbers).fix(format!(
        "systemctl edit groundcrew, and under [Service] TimeoutStopSec={}s",
        whole(need)
    ))
}

pub(super) fn spot(facts: &Facts) -> Finding {
    let notice = limits::SPOT_NOTICE_MAX;
    let life_cycle = facts.fleet.life_cycle.as_ref().ok().filter(|word| *word != "spot");
    let tiers = match &facts.tiers {
        Ok(tiers) => tiers,
        Err(why) => {
            let numbers = format!("{} at most; what leaving takes: {why}", seconds(notice));
            return Finding::unknown(SPOT, numbers);
        }
    };
    let (need, sum) = leaving(tiers);
    let numbers =
        format!("{} at most; leaving takes {} at most: {sum}", seconds(notice), seconds(need));
    match life_cycle {
        Some(word) => Finding::good(SPOT, format!("{numbers}; this instance is {word}")),
        None if need <= notice => Finding::good(SPOT, numbers),
        None => {
            Finding::new(SPOT, Verdict::Caution, format!("{numbers}; what takes longer is cut"))
                .fix("lower bleed and stop in release.toml, if requests do not need them")
        }
    }
}

pub(super) fn actions(actions: &[Action]) -> Vec<Finding> {
    let allowed: Vec<_> = (actions.iter())
        .filter(|action| action.outcome == Outcome::Allowed)
        .map(|action| action.name)
        .collect();
    let mut findings = Vec::new();
    if !allowed.is_empty() {
        let (count, all) = (allowed.len(), actions.len());
        let names = allowed.join(", ");
        findings.push(Finding::good(IAM, format!("{count} of {all} actions are allowed: {names}")));
    }
    findings.extend(actions.iter().filter_map(action));
    findings
}

fn action(action: &Action) -> Option<Finding> {
    let name = action.name;
    let why = match &action.outcome {
        Outcome::Allowed => return None,
        Outcome::Unknown(why) => return Some(Finding::unknown(IAM, format!("{name}: {why}"))),
        Outcome::Denied(why) => why,
    };
    let verdict = if NEEDED.contains(&name) { Verdict::Bad } else { Verdict::Caution };
    let mut numbers = format!("{name} is not allowed: {why}");
    if TRIED_ON_NOTHING.contains(&name) {
        numbers.push_str(
            "; it was tried on what does not exist, and a policy that names its resources may \
             allow it on the real ones",
        );
    }
    let fix = format!("allow {name} to the instance's role; docs/lifecycle.md has the policy");
    Some(Finding::new(IAM, verdict, numbers).fix(fix))
}

pub(super) fn source(source: &SourceFacts) -> Vec<Finding> {
    let SourceFacts { place, environment, .. } = source;
    let mut findings = vec![match &source.channel {
        ChannelFacts::Promoted(version) => {
            Finding::good(SOURCE, format!("{place}: {environment} is to run {version}"))
        }
        ChannelFacts::Missing => {
            let numbers = format!("{place}: nothing was ever promoted to {environment}");
            let fix = format!("groundcrew promote V --source {place} --environment {environment}");
            Finding::new(SOURCE, Verdict::Caution, numbers).fix(fix)
        }
        ChannelFacts::Refused(why) => Finding::new(SOURCE, Verdict::Bad, why)
            .fix(format!("allow s3:GetObject below {place} to the instance's role")),
        ChannelFacts::Unreached(why) => Finding::unknown(SOURCE, why),
    }];
    match &source.listing {
        Outcome::Allowed => {}
        Outcome::Denied(why) => findings.push(
            Finding::new(IAM, Verdict::Caution, format!("s3:ListBucket is not allowed: {why}")).fix(
                "allow s3:ListBucket on the bucket: without it what is missing looks like what is \
                 denied",
            ),
        ),
        Outcome::Unknown(why) => {
            findings.push(Finding::unknown(IAM, format!("s3:ListBucket: {why}")));
        }
    }
    findings
}

pub(super) fn clock(fleet: &FleetFacts) -> Finding {
    let ahead_ms = match &fleet.skew_ms {
        Ok(ahead_ms) => *ahead_ms,
        Err(why) => return Finding::unknown(CLOCK, why),
    };
    let by = seconds(Duration::from_millis(ahead_ms.unsigned_abs()));
    let side = if ahead_ms > 0 { "ahead of" } else { "behind" };
    if ahead_ms.unsigned_abs() < SKEW_CAUTION_MS {
        return Finding::good(CLOCK, "within a second of AWS's, as far as can be told");
    }
    let bad = ahead_ms.unsigned_abs() >= SKEW_BAD_MS;
    let verdict = if bad { Verdict::Bad } else { Verdict::Caution };
    let numbers = format!(
        "{by} or more {side} AWS's: a spot notice's time is misjudged by that, and from 300s on \
         requests are refused"
    );
    Finding::new(CLOCK, verdict, numbers)
        .fix("chronyc tracking; on EC2 the time is at 169.254.169.123")
}
