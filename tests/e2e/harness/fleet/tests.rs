//! What the agent's tests rely on: the walks, as AWS documents them, and the faults.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use super::*;

const SOON: Duration = Duration::from_secs(10);
const DRAIN: Duration = Duration::from_millis(300);
const LAUNCHED: [&str; 7] = [
    "target InService",
    "Pending",
    "Pending:Wait",
    "hook launch holding",
    "hook launch CONTINUE by call",
    "Pending:Proceed",
    "registered",
];

fn start() -> Fleet {
    Fleet::start_with(&Plan { drain: DRAIN, ..Plan::default() })
}

/// One whose instance is in service, with nothing in the journal.
fn start_serving() -> Fleet {
    let fleet = start();
    complete(&fleet, "launch", "CONTINUE");
    assert_eq!((fleet.state().as_str(), fleet.target_health().as_str()), ("InService", "healthy"));
    fleet.clear_journal();
    fleet
}

fn hook_call(fleet: &Fleet, action: &str, hook: &str, result: &str) -> http_client::Answer {
    let mut parameters = vec![
        ("AutoScalingGroupName", GROUP),
        ("LifecycleHookName", hook),
        ("InstanceId", fleet.instance_id()),
    ];
    if !result.is_empty() {
        parameters.push(("LifecycleActionResult", result));
    }
    fleet.call("autoscaling", action, &parameters).expect("an answer")
}

fn complete(fleet: &Fleet, hook: &str, result: &str) {
    let answer = hook_call(fleet, "CompleteLifecycleAction", hook, result);
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// How long it took from one step to another.
fn between(fleet: &Fleet, from: &str, to: &str) -> Duration {
    let steps = fleet.steps();
    let at = |text: &str| steps.iter().find(|step| step.text == text).expect(text).at;
    at(to).checked_sub(at(from)).expect("they came in another order")
}

/// (status, body) of a metadata path with a fresh token.
fn metadata(fleet: &Fleet, path: &str) -> (u16, String) {
    let token = token(fleet);
    with_token(fleet, path, &token)
}

fn token(fleet: &Fleet) -> String {
    let ttl = [("X-aws-ec2-metadata-token-ttl-seconds", "60")];
    let address = fleet.emulator().address();
    let answer = http_client::request(address, "PUT", "/latest/api/token", &ttl, b"").unwrap();
    assert_eq!(answer.status, 200);
    answer.text()
}

fn with_token(fleet: &Fleet, path: &str, token: &str) -> (u16, String) {
    let headers = [("X-aws-ec2-metadata-token", token)];
    let path = format!("/latest/meta-data/{path}");
    let address = fleet.emulator().address();
    let answer = http_client::request(address, "GET", &path, &headers, b"").unwrap();
    (answer.status, answer.text())
}

fn target_in_metadata(fleet: &Fleet) -> String {
    metadata(fleet, "autoscaling/target-lifecycle-state").1
}

#[test]
fn a_launch_is_held_before_the_target_group_and_a_scale_in_after_it() {
    let fleet = start();
    assert_eq!(
        (fleet.state().as_str(), fleet.target_health().as_str()),
        ("Pending:Wait", "unused")
    );
    assert_eq!(fleet.held_by(), ["launch"]);
    assert_eq!(metadata(&fleet, "instance-id").1, fleet.instance_id());
    complete(&fleet, "launch", "CONTINUE");
    assert_eq!(fleet.walk(), [&LAUNCHED[..], &["InService"]].concat());

    fleet.clear_journal();
    fleet.scale_in();
    assert_eq!(
        (fleet.state().as_str(), fleet.target_health().as_str()),
        ("Terminating", "draining")
    );
    assert_eq!(target_in_metadata(&fleet), "Terminated");
    assert!(fleet.held_by().is_empty(), "the hook's timer does not run during the draining");
    fleet.wait_for("Terminating:Wait", SOON);
    assert_eq!(fleet.target_health(), "unused");
    complete(&fleet, "terminate", "CONTINUE");
    assert_eq!(fleet.state(), "Terminated");
    let leaving = [
        "target Terminated",
        "Terminating",
        "draining",
        "Terminating:Wait",
        "hook terminate holding",
        "hook terminate CONTINUE by call",
        "Terminating:Proceed",
        "Terminated",
    ];
    assert_eq!(fleet.walk(), leaving);
    assert!(between(&fleet, "draining", "Terminating:Wait") >= DRAIN);
    assert!(fleet.others().is_empty(), "a scale-in replaces nothing");
    // What is gone has a metadata service until its operating system is down.
    assert_eq!(target_in_metadata(&fleet), "Terminated");
}

#[test]
fn a_terminated_instance_and_a_refreshed_one_are_replaced() {
    let orders: [fn(&Fleet); 2] = [Fleet::terminate, Fleet::refresh];
    for order in orders {
        let fleet = start_serving();
        order(&fleet);
        fleet.wait_for("Terminating:Wait", SOON);
        assert_eq!(fleet.others().len(), 1);
        complete(&fleet, "terminate", "ABANDON");
        assert_eq!(fleet.state(), "Terminated");
    }
}

#[test]
fn states_that_pass_by_themselves_last_as_long_as_planned() {
    let step = Duration::from_millis(200);
    let plan = Plan { step, drain: Duration::ZERO, ..Plan::without_hooks() };
    let fleet = Fleet::start_with(&plan);
    fleet.wait_for("InService", SOON);
    fleet.scale_in();
    fleet.wait_for("Terminated", SOON);
    assert!(between(&fleet, "Pending", "InService") >= step);
    assert!(between(&fleet, "Terminating", "Terminated") >= step);
}

#[test]
fn standby_and_back_without_hooks() {
    let fleet = start_serving();
    fleet.enter_standby();
    assert_eq!(target_in_metadata(&fleet), "Standby");
    fleet.wait_for("Standby", SOON);
    assert_eq!(fleet.target_health(), "unused");
    fleet.exit_standby();
    assert_eq!(fleet.target_health(), "healthy");
    let walk = [
        "target Standby",
        "EnteringStandby",
        "draining",
        "Standby",
        "target InService",
        "Pending",
        "registered",
        "InService",
    ];
    assert_eq!(fleet.walk(), walk);
    assert!(fleet.others().is_empty());
}

#[test]
fn a_detached_instance_lives_on_outside() {
    let fleet = start_serving();
    fleet.detach();
    fleet.wait_for("Detached", SOON);
    assert_eq!(fleet.walk(), ["target Detached", "Detaching", "draining", "Detached"]);
    assert_eq!(target_in_metadata(&fleet), "Detached");
    let asked = [("InstanceIds.member.1", fleet.instance_id())];
    let answer = fleet.call("autoscaling", "DescribeAutoScalingInstances", &asked).unwrap();
    assert!(!answer.text().contains(fleet.instance_id()), "the API does not know it any more");
}

#[test]
fn the_warm_pool_holds_with_the_launch_hook_twice_and_at_a_return_with_the_other() {
    let plan = Plan { warm_pool: Some("Stopped"), drain: DRAIN, ..Plan::default() };
    let fleet = Fleet::start_with(&plan);
    assert_eq!(fleet.state(), "Warmed:Pending:Wait");
    assert_eq!(target_in_metadata(&fleet), "Warmed:Stopped");
    complete(&fleet, "launch", "CONTINUE");
    let pooled = [
        "target Warmed:Stopped",
        "Warmed:Pending",
        "Warmed:Pending:Wait",
        "hook launch holding",
        "hook launch CONTINUE by call",
        "Warmed:Pending:Proceed",
        "Warmed:Stopped",
    ];
    assert_eq!(fleet.walk(), pooled);

    fleet.clear_journal();
    fleet.leave_pool();
    assert_eq!(
        (fleet.state().as_str(), fleet.target_health().as_str()),
        ("Pending:Wait", "unused")
    );
    assert_eq!(target_in_metadata(&fleet), "InService");
    complete(&fleet, "launch", "CONTINUE");
    assert_eq!(fleet.walk(), [&LAUNCHED[..], &["InService"]].concat());

    fleet.return_to_pool("Hibernated");
    fleet.wait_for("Warmed:Pending:Wait", SOON);
    assert_eq!(
        (fleet.held_by(), fleet.target_health()),
        (vec!["terminate".into()], "unused".into())
    );
    complete(&fleet, "terminate", "CONTINUE");
    assert_eq!(fleet.state(), "Warmed:Hibernated");
    fleet.warm("Running");
    assert_eq!(fleet.held_by(), ["launch"]);
    complete(&fleet, "launch", "CONTINUE");
    assert_eq!([fleet.state(), target_in_metadata(&fleet)], ["Warmed:Running"; 2]);
}

#[test]
fn a_hook_times_out_with_its_default_and_no_heartbeat_moves_its_end() {
    let short = |name: &str, default| Hook { seconds: 1, default, ..Hook::named(name) };
    let last = Hook { global_seconds: Some(1), ..Hook::named("last") };
    let plan = Plan {
        launch: vec![short("launch", "CONTINUE")],
        terminate: vec![short("drain", "CONTINUE"), last],
        drain: Duration::ZERO,
        ..Plan::default()
    };
    let fleet = Fleet::start_with(&plan);
    fleet.wait_for("InService", SOON);
    fleet.clear_journal();
    fleet.scale_in();
    assert_eq!(fleet.held_by(), ["drain", "last"]);
    wait_until(SOON, "the global timeout", || {
        let beats = ["drain", "last"]
            .map(|hook| hook_call(&fleet, "RecordLifecycleActionHeartbeat", hook, "").status);
        if fleet.state() == "Terminated" { Ok(()) } else { Err(beats) }
    });
    let walk = fleet.walk();
    assert!(walk.contains(&"hook last ABANDON by global timeout".to_owned()), "{walk:?}");
    assert!(!walk.iter().any(|step| step.starts_with("hook drain C")), "it was kept: {walk:?}");
}

#[test]
fn without_a_wait_there_is_nothing_to_complete() {
    let fleet = start_serving();
    for action in ["CompleteLifecycleAction", "RecordLifecycleActionHeartbeat"] {
        let answer = hook_call(&fleet, action, "terminate", "CONTINUE");
        let id = fleet.instance_id();
        let words = format!("No active Lifecycle Action found with instance ID {id}");
        assert_eq!(answer.status, 400);
        assert!(answer.text().contains("<Code>ValidationError</Code>"), "{}", answer.text());
        assert!(answer.text().contains(&words), "{}", answer.text());
    }
    let [completed, beaten] = &fleet.calls()[..] else { panic!("{:?}", fleet.calls()) };
    assert_eq!(
        (completed.status, completed.error.as_deref()),
        (Some(400), Some("ValidationError"))
    );
    assert_eq!(completed.parameter("LifecycleActionResult"), "CONTINUE");
    assert_eq!(beaten.parameter("InstanceId"), fleet.instance_id());
    assert!(completed.at <= beaten.at && beaten.at <= fleet.now());
}

#[test]
fn a_launch_that_is_abandoned_never_serves_and_is_replaced() {
    let fleet = start();
    complete(&fleet, "launch", "ABANDON");
    assert_eq!((fleet.state().as_str(), fleet.others().len()), ("Terminated", 1));
    assert!(!fleet.walk().contains(&"registered".to_owned()));
}

#[test]
fn notices_come_and_go() {
    let fleet = start();
    let status = |path: &str| metadata(&fleet, path).0;
    fleet.spot("terminate", 120);
    let (found, notice) = metadata(&fleet, "spot/instance-action");
    assert_eq!((found, notice.contains(r#""action": "terminate""#)), (200, true), "{notice}");
    fleet.clear_spot();
    assert_eq!(status("spot/instance-action"), 404);
    fleet.rebalance();
    assert_eq!(status("events/recommendations/rebalance"), 200);
    fleet.clear_rebalance();
    assert_eq!(status("events/recommendations/rebalance"), 404);
    fleet.scheduled("instance-stop", 60);
    let events = metadata(&fleet, "events/maintenance/scheduled").1;
    assert!(events.contains("instance-stop") && events.contains("GMT"), "{events}");
    fleet.clear_scheduled();
    assert_eq!(metadata(&fleet, "events/maintenance/scheduled"), (200, "[]".to_owned()));
}

#[test]
fn the_metadata_service_fails_on_command() {
    let fleet = start();
    let (path, held) = ("instance-id", token(&fleet));
    for status in [401, 403, 500, 503] {
        fleet.imds_fault(ImdsFault::Status(status), Some(1));
        assert_eq!(with_token(&fleet, path, &held).0, status);
        assert_eq!(with_token(&fleet, path, &held).0, 200);
    }
    fleet.imds_fault_at("instance-id", ImdsFault::Garbage, None);
    for _ in 0..2 {
        let (status, garbage) = with_token(&fleet, path, &held);
        // What is no UTF-8 was replaced in the test's text.
        assert_eq!((status, garbage.contains(char::REPLACEMENT_CHARACTER)), (200, true));
    }
    assert_eq!(with_token(&fleet, "placement/region", &held).1, "us-east-1");
    fleet.clear_imds_faults();
    assert_eq!(with_token(&fleet, path, &held).1, fleet.instance_id());
    fleet.expire_tokens();
    assert_eq!(with_token(&fleet, path, &held).0, 401);
    assert_eq!(metadata(&fleet, path).0, 200);
    let counted = &fleet.imds_requests()["/latest/meta-data/instance-id"];
    assert_eq!((counted["401"], counted["503"], counted["garbage"]), (2, 1, 2));
}

#[test]
fn calls_fail_on_command() {
    let fleet = start();
    let action = "CompleteLifecycleAction";
    for (code, status) in [("AccessDenied", 403), ("Throttling", 400), ("InternalFailure", 500)] {
        fleet.fail_call(action, CallFault::Error(code), Some(1));
        let answer = hook_call(&fleet, action, "launch", "CONTINUE");
        assert_eq!(answer.status, status);
        assert!(answer.text().contains(&format!("<Code>{code}</Code>")), "{}", answer.text());
    }
    assert_eq!(fleet.state(), "Pending:Wait", "what failed did nothing");
    fleet.fail_call(action, CallFault::AnswerLost, Some(1));
    let parameters = [
        ("AutoScalingGroupName", GROUP),
        ("LifecycleHookName", "launch"),
        ("InstanceId", fleet.instance_id()),
        ("LifecycleActionResult", "CONTINUE"),
    ];
    assert!(fleet.call("autoscaling", action, &parameters).is_err());
    assert_eq!(fleet.state(), "InService", "it was accepted");
    let lost = fleet.calls_of(action).pop().unwrap();
    assert_eq!((lost.status, lost.fault.as_deref()), (Some(200), Some("lost")));
    fleet.fail_call("DescribeTargetHealth", CallFault::Error("AccessDenied"), None);
    fleet.clear_call_faults();
    let target_group = [("TargetGroupArn", fleet.target_group().unwrap())];
    let answer = fleet.call("elasticloadbalancing", "DescribeTargetHealth", &target_group).unwrap();
    assert!(answer.text().contains("<State>healthy</State>"), "{}", answer.text());
}

#[test]
fn what_hangs_is_not_answered() {
    let fleet = start();
    fleet.imds_fault(ImdsFault::Hang, Some(1));
    let mut stream = TcpStream::connect(fleet.emulator().address()).unwrap();
    stream.set_read_timeout(Some(DRAIN)).unwrap();
    stream.write_all(b"GET /latest/meta-data/instance-id HTTP/1.1\r\n\r\n").unwrap();
    let error = stream.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    assert_eq!(metadata(&fleet, "instance-id").0, 200, "one was to hang");
}

#[test]
fn who_takes_a_target_out_must_put_it_back() {
    let fleet = start_serving();
    let target = [
        ("TargetGroupArn", fleet.target_group().unwrap()),
        ("Targets.member.1.Id", fleet.instance_id()),
    ];
    let call = |action| fleet.call("elasticloadbalancing", action, &target).unwrap().status;
    assert_eq!(call("DeregisterTargets"), 200);
    assert_eq!(fleet.target_health(), "draining");
    assert_eq!(call("DeregisterTargets"), 200, "what is out may be taken out");
    assert_eq!(call("RegisterTargets"), 200);
    assert_eq!((fleet.target_health().as_str(), fleet.state().as_str()), ("healthy", "InService"));
    fleet.force_health(Some("unhealthy"));
    assert_eq!(fleet.target_health(), "unhealthy");
    fleet.force_health(None);
    assert_eq!(fleet.target_health(), "healthy");
    assert_eq!(fleet.walk(), ["draining", "registered"]);
}
