//! Every rule, as a table: one fact is changed, and one finding is looked at.

use std::time::Duration;

use super::*;
use crate::lifecycle::fleet::{HookResult, Transition};

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn hook(name: &str, transition: Transition, default_result: HookResult) -> Hook {
    Hook {
        name: name.to_owned(),
        transition,
        heartbeat_timeout: s(300),
        global_timeout: s(30_000),
        default_result,
    }
}

fn tier(name: &str, port: Option<u16>, bleed_s: u64) -> TierNumbers {
    TierNumbers {
        name: name.parse().unwrap(),
        port,
        handoff: Handoff::Node,
        bleed_ms: bleed_s * 1000,
        stop_ms: 10_000,
        ready_within_ms: 60_000,
    }
}

fn action(name: &'static str, outcome: Outcome) -> Action {
    Action { name, outcome }
}

fn fleet() -> FleetFacts {
    FleetFacts {
        on_ec2: true,
        instance: Ok("i-1".into()),
        life_cycle: Ok("spot".into()),
        group: Ok(Some(Group {
            name: "web".into(),
            state: "InService".into(),
            health_check_type: "ELB".into(),
            grace: s(60),
            retains: false,
            target_groups: vec!["arn:tg".into()],
        })),
        hooks: Ok(vec![
            hook("join", Transition::Launching, HookResult::Abandon),
            hook("leave", Transition::Terminating, HookResult::Continue),
        ]),
        target_groups: Ok(vec![TargetGroup {
            name: "shop".into(),
            arn: "arn:tg".into(),
            port: Some(3000),
            health: Some(HealthCheck {
                path: Some("/health".into()),
                port: None,
                interval: s(10),
                unhealthy: 2,
            }),
            attributes: Ok(TargetGroupAttributes {
                deregistration_delay: Some(s(60)),
                slow_start: Some(s(0)),
            }),
            balancers: vec!["arn:lb".into()],
        }]),
        balancers: Ok(vec![Balancer {
            name: "alb".into(),
            arn: "arn:lb".into(),
            idle_timeout: Ok(Some(s(60))),
        }]),
        actions: vec![action("autoscaling:CompleteLifecycleAction", Outcome::Allowed)],
        skew_ms: Ok(0),
    }
}

/// A host with which everything is as it should be.
fn facts() -> Facts {
    Facts {
        settings: LifecycleSettings::default(),
        ready: Some(ReadyEndpoint { port: 9180, loopback: false }),
        fleet: fleet(),
        tiers: Ok(vec![tier("web", Some(3000), 30), tier("worker", None, 40)]),
        stop_timeout: Ok(Some(s(300))),
        source: SourceFacts {
            place: "s3://releases".into(),
            environment: "production".into(),
            channel: ChannelFacts::Promoted("v42".into()),
            listing: Outcome::Allowed,
        },
        backups: Vec::new(),
        now: Wall(0),
    }
}

fn leave(change: impl Fn(&mut Hook)) -> impl Fn(&mut Facts) {
    move |facts| change(&mut facts.fleet.hooks.as_mut().unwrap()[1])
}

fn target_group(change: impl Fn(&mut TargetGroup)) -> impl Fn(&mut Facts) {
    move |facts| change(&mut facts.fleet.target_groups.as_mut().unwrap()[0])
}

fn group_of(change: impl Fn(&mut Group)) -> impl Fn(&mut Facts) {
    move |facts| change(facts.fleet.group.as_mut().unwrap().as_mut().unwrap())
}

fn health_of(change: impl Fn(&mut HealthCheck)) -> impl Fn(&mut Facts) {
    target_group(move |group| change(group.health.as_mut().unwrap()))
}

fn delay(seconds: u64) -> impl Fn(&mut Facts) {
    target_group(move |group| {
        group.attributes.as_mut().unwrap().deregistration_delay = Some(s(seconds));
    })
}

fn idle(timeout: Learned<Option<Duration>>) -> impl Fn(&mut Facts) {
    move |facts| facts.fleet.balancers.as_mut().unwrap()[0].idle_timeout = timeout.clone()
}

/// With this change, one finding of the check has this verdict, its numbers these parts, and what
/// is not good and can be helped says how.
#[track_caller]
fn expect(change: impl Fn(&mut Facts), check: &str, verdict: Verdict, parts: &[&str]) {
    let mut facts = facts();
    change(&mut facts);
    let findings = examine(&facts);
    let of: Vec<_> = findings.iter().filter(|finding| finding.check == check).collect();
    let found = of.iter().find(|finding| {
        let fix = finding.fix.as_deref().unwrap_or_default();
        let said = format!("{} / {fix}", finding.numbers);
        finding.verdict == verdict && parts.iter().all(|part| said.contains(part))
    });
    let found = found.unwrap_or_else(|| panic!("no {verdict:?} with {parts:?}: {of:#?}"));
    assert!(verdict != Verdict::Good || found.fix.is_none(), "{found:?}");
    assert!(verdict != Verdict::Bad || found.fix.is_some(), "{found:?}");
}

#[test]
fn a_host_that_is_as_it_should_be_is_good() {
    let findings = examine(&facts());
    assert!(findings.iter().all(|finding| finding.verdict == Verdict::Good), "{findings:#?}");
    assert!(findings.len() >= 15, "{findings:#?}");
}

#[test]
fn hooks_are_there_and_the_agents() {
    use Verdict::*;
    let none = |facts: &mut Facts| facts.fleet.hooks = Ok(Vec::new());
    let put = "put-lifecycle-hook --auto-scaling-group-name web --lifecycle-hook-name groundcrew-";
    expect(none, "launch hook", Bad, &[put, "LAUNCHING", "--default-result ABANDON"]);
    expect(none, "terminate hook", Bad, &[put, "TERMINATING", "--default-result CONTINUE"]);
    let second = |name: &'static str| {
        move |facts: &mut Facts| {
            let hook = hook(name, Transition::Terminating, HookResult::Continue);
            facts.fleet.hooks.as_mut().unwrap().push(hook);
        }
    };
    expect(second("other"), "terminate hook", Bad, &["2 hooks", "leave, other", "lifecycle.hooks"]);
    expect(second("other"), "launch hook", Good, &["join"]);
    let ours = second("groundcrew-leave");
    expect(ours, "terminate hook", Good, &["groundcrew-leave; leave is for others"]);
    let mistyped = |facts: &mut Facts| facts.settings.hooks = Some(["jion".to_owned()].into());
    expect(mistyped, "launch hook", Bad, &["1 hooks", "none is the agent's: join"]);
    let denied = |facts: &mut Facts| facts.fleet.hooks = Err("not allowed".into());
    expect(denied, "launch hook", Unknown, &["not allowed"]);
    expect(denied, "terminate hook", Unknown, &["not allowed"]);
}

#[test]
fn default_results_fit_what_follows_from_them() {
    use Verdict::*;
    let open = |facts: &mut Facts| {
        facts.fleet.hooks.as_mut().unwrap()[0].default_result = HookResult::Continue;
    };
    let fix = "--lifecycle-hook-name join --default-result ABANDON";
    expect(open, "launch default result", Bad, &["join: CONTINUE", fix]);
    let abandon = leave(|hook| hook.default_result = HookResult::Abandon);
    expect(&abandon, "terminate default result", Good, &["leave: ABANDON"]);
    let retained = |facts: &mut Facts| {
        abandon(facts);
        group_of(|group| group.retains = true)(facts);
    };
    let fix = "--lifecycle-hook-name leave --default-result CONTINUE";
    expect(retained, "terminate default result", Caution, &["retains", fix]);
    let others = |facts: &mut Facts| {
        abandon(facts);
        let hook = hook("groundcrew-x", Transition::Terminating, HookResult::Continue);
        facts.fleet.hooks.as_mut().unwrap().push(hook);
        facts.settings.hooks = Some(["leave".to_owned(), "join".to_owned()].into());
    };
    expect(others, "terminate default result", Caution, &["other hooks are skipped"]);
}

#[test]
fn heartbeats_outlive_an_agent_that_is_restarted() {
    use Verdict::*;
    for (seconds, verdict) in [(30, Bad), (59, Bad), (60, Caution), (119, Caution), (120, Good)] {
        let change = leave(|hook| hook.heartbeat_timeout = s(seconds));
        let parts = [&*format!("leave: {seconds}s"), "30s (watchdog) + 30s (start)"];
        expect(change, "terminate heartbeat", verdict, &parts);
    }
    let short = leave(|hook| hook.heartbeat_timeout = s(30));
    expect(short, "terminate heartbeat", Bad, &["--heartbeat-timeout 300"]);
}

#[test]
fn global_timeouts_hold_a_drain_and_a_launch() {
    use Verdict::*;
    // 60 of deregistration, 40 of bleed, 10 of stop, 5 of reserve.
    for (seconds, verdict) in [(114, Bad), (115, Good)] {
        let change = leave(|hook| hook.global_timeout = s(seconds));
        expect(change, "terminate global timeout", verdict, &["115s at most", "40s", "worker"]);
    }
    let unknown = |facts: &mut Facts| facts.tiers = Err("no agent runs".into());
    expect(unknown, "terminate global timeout", Unknown, &["30000s", "no agent runs"]);
    let attributes = target_group(|group| group.attributes = Err("denied".into()));
    expect(attributes, "terminate global timeout", Unknown, &["55s at most", "not all"]);
    let launch = |facts: &mut Facts| facts.settings.launch_within = s(40_000);
    let fix = "--heartbeat-timeout 400";
    expect(launch, "launch global timeout", Caution, &["30000s", "40000s", fix]);
}

#[test]
fn the_deregistration_delay_is_held_against_the_bleed() {
    use Verdict::*;
    let name = "deregistration delay";
    let fix = "deregistration_delay.timeout_seconds,Value=30";
    expect(delay(5), name, Caution, &["shop: 5s", "bleed of web 30s", "arn:tg", fix]);
    expect(delay(30), name, Good, &["shop: 30s"]);
    expect(delay(300), name, Good, &["shop: 300s"]);
    expect(delay(301), name, Caution, &["cut by the host", fix]);
    expect(delay(601), name, Caution, &["waits 600s", "Value=600"]);
    // No tier is on its port, so it may be any.
    let elsewhere = |facts: &mut Facts| {
        delay(20)(facts);
        target_group(|group| group.port = Some(80))(facts);
    };
    expect(elsewhere, name, Caution, &["bleed of web 30s"]);
    let none = target_group(|group| group.attributes = Ok(TargetGroupAttributes::default()));
    expect(none, name, Unknown, &["shop does not say"]);
    let dead = |facts: &mut Facts| facts.tiers = Err("no agent runs".into());
    expect(dead, name, Unknown, &["shop: 60s; bleed: no agent runs"]);
    let slow = target_group(|group| {
        group.attributes.as_mut().unwrap().slow_start = Some(s(45));
    });
    expect(slow, "slow start", Good, &["shop: for 45s"]);
}

#[test]
fn health_checks_ask_somebody_who_knows_soon_enough() {
    use Verdict::*;
    let name = "health check";
    expect(|_| {}, name, Good, &["GET /health on port 3000 (that of web)", "noticed after 20s"]);
    let slow = health_of(|check| check.interval = s(31));
    expect(slow, name, Caution, &["noticed after 62s", "--health-check-interval-seconds 10"]);
    let elsewhere = health_of(|check| check.port = Some(81));
    expect(&elsewhere, name, Caution, &["port 81 (nobody's that is known)", "release.toml"]);
    let dead = |facts: &mut Facts| {
        elsewhere(facts);
        facts.tiers = Err("no agent runs".into());
    };
    expect(dead, name, Good, &["port 81 (nobody's that is known)"]);
    let agent = health_of(|check| {
        check.port = Some(9180);
        check.path = Some("/ready".into());
    });
    expect(&agent, name, Good, &["GET /ready on port 9180 (the agent's)"]);
    let local = |facts: &mut Facts| {
        agent(facts);
        facts.ready = Some(ReadyEndpoint { port: 9180, loopback: true });
    };
    expect(local, name, Bad, &["only this host", "http.listen"]);
    let other = health_of(|check| check.port = Some(9180));
    expect(other, name, Bad, &["GET /health", "only knows /ready", "--health-check-path /ready"]);
    let tcp = health_of(|check| check.path = None);
    expect(tcp, name, Caution, &["a connection on port 3000", "--health-check-protocol HTTP"]);
    expect(target_group(|group| group.health = None), name, Caution, &["none"]);
}

#[test]
fn the_balancer_closes_idle_connections_first() {
    use Verdict::*;
    let name = "idle timeout";
    expect(idle(Ok(Some(s(74)))), name, Good, &["alb: 74s", "75s"]);
    let fix = "idle_timeout.timeout_seconds,Value=60";
    expect(idle(Ok(Some(s(75)))), name, Bad, &["alb: 75s", "502", "arn:lb", fix]);
    expect(idle(Ok(Some(s(4000)))), name, Bad, &["4000s", "keepAliveTimeout"]);
    expect(idle(Ok(None)), name, Unknown, &["listeners"]);
    expect(idle(Err("denied".into())), name, Unknown, &["alb: denied"]);
    let other = |facts: &mut Facts| {
        facts.tiers.as_mut().unwrap()[0].handoff = Handoff::ListenFds;
    };
    expect(other, name, Unknown, &["60s; web must keep"]);
    let unasked = |facts: &mut Facts| facts.fleet.balancers = Err("denied".into());
    expect(unasked, name, Unknown, &["denied"]);
}

#[test]
fn the_group_replaces_what_serves_nothing_and_waits_for_what_starts() {
    use Verdict::*;
    let name = "health check type";
    let ec2 = group_of(|group| group.health_check_type = "EC2".into());
    expect(&ec2, name, Caution, &["EC2; grace period 60s", "--health-check-type ELB"]);
    let alone = |facts: &mut Facts| {
        ec2(facts);
        group_of(|group| group.target_groups.clear())(facts);
    };
    expect(alone, name, Good, &["no target group"]);
    expect(|_| {}, name, Good, &["ELB", "launch hook"]);
    let early = |facts: &mut Facts| {
        facts.fleet.hooks.as_mut().unwrap().remove(0);
        group_of(|group| group.grace = s(59))(facts);
    };
    expect(early, name, Caution, &["59s", "60s to be ready", "--health-check-grace-period 60"]);
    let late = |facts: &mut Facts| facts.fleet.hooks = Ok(Vec::new());
    expect(late, name, Good, &["60s to be ready"]);
    let nowhere = |facts: &mut Facts| facts.fleet.group = Ok(None);
    expect(nowhere, "group", Caution, &["no Auto Scaling group"]);
    let denied = |facts: &mut Facts| facts.fleet.group = Err("denied".into());
    for check in ["group", "launch hook", "terminate hook", name] {
        expect(denied, check, Unknown, &["denied"]);
    }
}

#[test]
fn systemd_and_the_spot_market_leave_enough_time() {
    use Verdict::*;
    let stop = |seconds| move |facts: &mut Facts| facts.stop_timeout = Ok(Some(s(seconds)));
    let sum = "55s at most: bleed 40s + stop 10s of worker + reserve 5s";
    expect(stop(55), "stop timeout", Good, &["TimeoutStopSec 55s", sum]);
    expect(stop(54), "stop timeout", Bad, &[sum, "TimeoutStopSec=55s"]);
    let dead = |facts: &mut Facts| facts.tiers = Err("no agent runs".into());
    expect(dead, "stop timeout", Unknown, &["TimeoutStopSec 300s", "no agent runs"]);
    let endless = |facts: &mut Facts| facts.stop_timeout = Ok(None);
    expect(endless, "stop timeout", Good, &["as long as it takes"]);
    let elsewhere = |facts: &mut Facts| facts.stop_timeout = Err("no systemd".into());
    expect(elsewhere, "stop timeout", Unknown, &["no systemd"]);
    expect(|_| {}, "spot notice", Good, &["120s at most", sum]);
    let slow = |facts: &mut Facts| facts.tiers = Ok(vec![tier("web", Some(3000), 106)]);
    expect(slow, "spot notice", Caution, &["121s", "is cut", "lower bleed"]);
    let demand = |facts: &mut Facts| {
        slow(facts);
        facts.fleet.life_cycle = Ok("on-demand".into());
    };
    expect(demand, "spot notice", Good, &["121s", "on-demand"]);
    expect(dead, "spot notice", Unknown, &["no agent runs"]);
}

#[test]
fn what_is_not_allowed_is_named_with_what_follows() {
    use Verdict::*;
    let tried = |name, outcome: Outcome| {
        move |facts: &mut Facts| facts.fleet.actions.push(action(name, outcome.clone()))
    };
    let denied = || Outcome::Denied("no policy".into());
    let heartbeat = "autoscaling:RecordLifecycleActionHeartbeat";
    expect(tried(heartbeat, denied()), "iam", Bad, &[heartbeat, "no policy", "allow"]);
    expect(tried(heartbeat, denied()), "iam", Good, &["1 of 2 actions"]);
    let register = "elasticloadbalancing:RegisterTargets";
    expect(tried(register, denied()), "iam", Caution, &[register, "does not exist"]);
    let describe = "elasticloadbalancing:DescribeTargetGroups";
    expect(tried(describe, denied()), "iam", Caution, &[describe]);
    let silent = Outcome::Unknown("not answered in time".into());
    expect(tried(heartbeat, silent), "iam", Unknown, &[heartbeat, "not answered in time"]);
    let listing = |facts: &mut Facts| facts.source.listing = denied();
    expect(listing, "iam", Caution, &["s3:ListBucket"]);
}

#[test]
fn the_source_and_the_metadata_answer() {
    use Verdict::*;
    let channel =
        |channel: ChannelFacts| move |facts: &mut Facts| facts.source.channel = channel.clone();
    expect(|_| {}, "source", Good, &["s3://releases: production is to run v42"]);
    expect(channel(ChannelFacts::Missing), "source", Caution, &["groundcrew promote"]);
    let refused = ChannelFacts::Refused("could not read".into());
    expect(channel(refused), "source", Bad, &["could not read", "s3:GetObject"]);
    expect(channel(ChannelFacts::Unreached("late".into())), "source", Unknown, &["late"]);
    let silent = |facts: &mut Facts| facts.fleet.instance = Err("no answer".into());
    expect(silent, "metadata", Bad, &["no answer", "modify-instance-metadata-options"]);
    let elsewhere = |facts: &mut Facts| {
        facts.fleet.on_ec2 = false;
        facts.fleet.instance = Err("no EC2 instance".into());
    };
    expect(elsewhere, "metadata", Unknown, &["no EC2 instance"]);
}

#[test]
fn the_clock_is_as_far_off_as_the_numbers_prove() {
    use Verdict::*;
    let skew = |ms: i64| move |facts: &mut Facts| facts.fleet.skew_ms = Ok(ms);
    expect(skew(999), "clock", Good, &["within a second"]);
    expect(skew(1000), "clock", Caution, &["1s or more ahead of AWS's", "chronyc"]);
    expect(skew(-59_999), "clock", Caution, &["59.9s or more behind AWS's"]);
    expect(skew(-60_000), "clock", Bad, &["60s or more behind"]);
    let unknown = |facts: &mut Facts| facts.fleet.skew_ms = Err("no answer".into());
    expect(unknown, "clock", Unknown, &["no answer"]);
    // Sent, the answer's date, answered.
    for (sent_ms, date_s, answered_ms, expected_ms) in [
        (10_000, 10, 10_050, 0),
        (10_990, 10, 11_040, 0),
        (10_000, 9, 10_050, 1),
        (15_000, 10, 15_050, 4001),
        (4_000, 10, 4_050, -5950),
        // An answer that took long proves less.
        (4_000, 10, 12_000, 0),
        (0, i64::MAX, 0, -i64::MAX),
    ] {
        let found = skew_ms(Wall(sent_ms), date_s, Wall(answered_ms));
        assert_eq!(found, expected_ms, "{sent_ms} {date_s} {answered_ms}");
    }
}
