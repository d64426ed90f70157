//! The doctor, against a group that is as it should be but for one thing.

use super::*;
use crate::harness::fleet::{CallFault, GROUP, Hook, Plan};
use crate::harness::free_port;

/// Hooks as docs/lifecycle.md has them, and a target group whose targets drain long enough.
fn plan() -> Plan {
    let hook = |name: &str, default| Hook { seconds: 300, default, ..Hook::named(name) };
    Plan {
        launch: vec![hook("launch", "ABANDON")],
        terminate: vec![hook("terminate", "CONTINUE")],
        drain: Duration::from_secs(30),
        ..Plan::default()
    }
}

/// What stands between two strings of an XML answer, wherever it does.
fn between<'a>(text: &'a str, from: &str, to: &str) -> Vec<&'a str> {
    text.split(from).skip(1).filter_map(|rest| rest.split(to).next()).collect()
}

fn call(fleet: &Fleet, service: &str, action: &str, parameters: &[(&str, &str)]) -> String {
    let answer = fleet.call(service, action, parameters).unwrap();
    assert_eq!(answer.status, 200, "{action}: {}", answer.text());
    answer.text()
}

/// Puts a load balancer in front of the target group.
fn balance(fleet: &Fleet, idle_timeout_s: u32) {
    let elb = "elasticloadbalancing";
    let ec2 = call(fleet, "ec2", "DescribeSubnets", &[]);
    let subnets = between(&ec2, "<subnetId>", "</subnetId>");
    let mut parameters = vec![("Name", "front")];
    let names = ["Subnets.member.1", "Subnets.member.2"];
    parameters.extend(names.into_iter().zip(subnets));
    let made = call(fleet, elb, "CreateLoadBalancer", &parameters);
    let arn = between(&made, "<LoadBalancerArn>", "</LoadBalancerArn>")[0];
    let listener = [
        ("LoadBalancerArn", arn),
        ("Protocol", "HTTP"),
        ("Port", "80"),
        ("DefaultActions.member.1.Type", "forward"),
        ("DefaultActions.member.1.TargetGroupArn", fleet.target_group().unwrap()),
    ];
    call(fleet, elb, "CreateListener", &listener);
    let seconds = idle_timeout_s.to_string();
    let attribute = [
        ("LoadBalancerArn", arn),
        ("Attributes.member.1.Key", "idle_timeout.timeout_seconds"),
        ("Attributes.member.1.Value", &seconds),
    ];
    call(fleet, elb, "ModifyLoadBalancerAttributes", &attribute);
}

/// Health checks that the group believes, on the app's own path.
fn check_health(fleet: &Fleet) {
    let target_group = fleet.target_group().unwrap();
    let path = [("TargetGroupArn", target_group), ("HealthCheckPath", "/health")];
    call(fleet, "elasticloadbalancing", "ModifyTargetGroup", &path);
    let kind = [
        ("AutoScalingGroupName", GROUP),
        ("HealthCheckType", "ELB"),
        ("HealthCheckGracePeriod", "60"),
    ];
    call(fleet, "autoscaling", "UpdateAutoScalingGroup", &kind);
}

/// The exit code, and the findings as JSON.
fn examine(world: &World) -> (Option<i32>, Vec<Value>) {
    let ended = world.cli(&["doctor", "--config", "config.toml", "--json"]);
    let document: Value =
        serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:#?}"));
    (ended.code, document["findings"].as_array().expect("findings").clone())
}

/// The finding of this check and verdict whose numbers or fix have all of the parts.
#[track_caller]
fn found(findings: &[Value], check: &str, verdict: &str, parts: &[&str]) {
    let fits = |finding: &&Value| {
        let text = format!("{} / {}", finding["numbers"], finding["fix"]);
        finding["check"] == check
            && finding["verdict"] == verdict
            && parts.iter().all(|part| text.contains(part))
    };
    assert!(findings.iter().any(|f| fits(&f)), "{verdict} {check} {parts:?}: {findings:#?}");
}

fn with_verdict<'a>(findings: &'a [Value], verdict: &str) -> Vec<&'a Value> {
    findings.iter().filter(|finding| finding["verdict"] == verdict).collect()
}

#[test]
fn a_healthy_host_has_nothing_bad_and_one_wrong_thing_is_found_at_a_time() {
    let port = free_port();
    let fleet = Fleet::start_with(&Plan { port, ..plan() });
    balance(&fleet, 60);
    check_health(&fleet);
    let mut world = world_of(&fleet);
    world.port = port;
    let release = web(&world).set("tier.web.bleed", "30s").set("tier.worker.bleed", "30s");
    let _agent = serving(&fleet, &world, &release);
    fleet.clear_journal();
    let (code, findings) = examine(&world);
    assert_eq!(code, Some(0), "{findings:#?}");
    assert!(with_verdict(&findings, "bad").is_empty(), "{findings:#?}");
    assert!(with_verdict(&findings, "caution").is_empty(), "{findings:#?}");
    found(&findings, "launch default result", "good", &["launch: ABANDON"]);
    found(&findings, "terminate global timeout", "good", &["30000s", "deregistration 30s"]);
    found(&findings, "deregistration delay", "good", &["web: 30s", "bleed of web 30s"]);
    found(&findings, "idle timeout", "good", &["front: 60s", "75s"]);
    found(&findings, "health check", "good", &["GET /health", "(that of web)", "after 60s"]);
    found(&findings, "iam", "good", &["12 of 12", "RegisterTargets", "EnterStandby"]);
    found(&findings, "clock", "good", &["within a second"]);
    found(&findings, "source", "good", &["test is to run v1"]);
    assert_harmless(&fleet);

    let delay = [
        ("TargetGroupArn", fleet.target_group().unwrap()),
        ("Attributes.member.1.Key", "deregistration_delay.timeout_seconds"),
        ("Attributes.member.1.Value", "5"),
    ];
    call(&fleet, "elasticloadbalancing", "ModifyTargetGroupAttributes", &delay);
    let (code, findings) = examine(&world);
    assert_eq!(code, Some(0));
    found(&findings, "deregistration delay", "caution", &["web: 5s", "30s", "Value=30"]);

    for (action, verdict) in [
        ("CompleteLifecycleAction", "bad"),
        ("DescribeLifecycleHooks", "bad"),
        ("RegisterTargets", "caution"),
    ] {
        fleet.fail_call(action, CallFault::Error("AccessDenied"), None);
        let (code, findings) = examine(&world);
        assert_eq!(code, Some(i32::from(verdict == "bad")), "{findings:#?}");
        found(&findings, "iam", verdict, &[action, "is not allowed", "instance's role"]);
        fleet.clear_call_faults();
    }
    let ended = world.cli(&["doctor", "--config", "config.toml"]);
    assert!(ended.stdout.starts_with("● caution: 1 caution, "), "{ended:#?}");
    assert!(ended.stdout.contains("\n           fix: aws elbv2 "), "{ended:#?}");
}

/// Nothing was done to the group, the hooks or the targets.
#[track_caller]
fn assert_harmless(fleet: &Fleet) {
    assert_eq!(fleet.walk(), Vec::<String>::new());
    assert_eq!((fleet.state().as_str(), fleet.target_health().as_str()), ("InService", "healthy"));
    for action in ["EnterStandby", "ExitStandby", "RegisterTargets", "DeregisterTargets"] {
        let calls = fleet.calls_of(action);
        assert!(calls.iter().all(|call| call.status == Some(400)), "{calls:#?}");
        assert_eq!(calls.len(), 1, "{calls:#?}");
    }
}

#[test]
fn a_group_that_is_set_up_wrong_is_found_without_an_agent() {
    let launch = vec![Hook { default: "CONTINUE", ..Hook::named("launch") }];
    let fleet = Fleet::start_with(&Plan { launch, terminate: Vec::new(), ..plan() });
    balance(&fleet, 4000);
    let world = world_of(&fleet);
    let mut agent = Agent::start(&world);
    agent.kill();
    let (code, findings) = examine(&world);
    assert_eq!(code, Some(1));
    let fix = "put-lifecycle-hook --auto-scaling-group-name web --lifecycle-hook-name ";
    let result = &[fix, "launch: CONTINUE", "--default-result ABANDON"];
    found(&findings, "launch default result", "bad", result);
    let heartbeat = &[fix, "launch: 30s", "30s (watchdog)", "--heartbeat-timeout 300"];
    found(&findings, "launch heartbeat", "bad", heartbeat);
    found(&findings, "terminate hook", "bad", &[fix, "none", "groundcrew-terminate"]);
    let idle = &["front: 4000s", "75s", "idle_timeout.timeout_seconds,Value=60"];
    found(&findings, "idle timeout", "bad", idle);
    found(&findings, "health check type", "caution", &["EC2", "--health-check-type ELB"]);
    found(&findings, "source", "caution", &["nothing was ever promoted to test"]);
    // Without an agent nobody knows what the tiers take.
    found(&findings, "spot notice", "unknown", &["the agent is not running"]);
    found(&findings, "deregistration delay", "unknown", &["web: 30s", "not running"]);
}

#[test]
fn off_ec2_the_rest_is_said() {
    let world = World::new();
    let mut agent = Agent::start_with(&world, &[("lifecycle.metadata", "off".into())]);
    agent.kill();
    let (code, findings) = examine(&world);
    assert_eq!(code, Some(0), "{findings:#?}");
    for check in ["metadata", "group", "launch hook", "idle timeout", "clock"] {
        found(&findings, check, "unknown", &["no EC2 instance"]);
    }
    found(&findings, "source", "caution", &["nothing was ever promoted"]);
}
