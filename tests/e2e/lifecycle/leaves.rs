//! Notices that end an instance's life, under load.

use std::io::Write;
use std::net::TcpStream;

use super::*;
use crate::harness::fleet::{Hook, Plan};
use crate::harness::poll_until;

/// From the end of the last request to the hook.
const COMPLETED_WITHIN: Duration = Duration::from_secs(1);

#[test]
fn a_scale_in_fails_no_request_and_completes_its_hook_once() {
    fails_nothing_and_completes_once(Fleet::scale_in);
}

#[test]
fn nor_does_an_instance_refresh() {
    fails_nothing_and_completes_once(Fleet::refresh);
}

#[track_caller]
fn fails_nothing_and_completes_once(order: fn(&Fleet)) {
    let fleet = Fleet::start();
    let world = world_of(&fleet);
    let agent = serving(&fleet, &world, &web(&world));
    let load = requests(&world).start();
    load.wait_for_answers(300);
    fleet.clear_journal();
    let noticed = fleet.now();
    order(&fleet);
    let not_ready = std::thread::scope(|scope| {
        let not_ready = scope.spawn(|| {
            wait_until(SOON, "not ready", || if agent.ready() == 503 { Ok(()) } else { Err(()) });
            fleet.now().saturating_sub(noticed)
        });
        until_deregistered(&fleet, load).assert_none_failed();
        not_ready.join().unwrap()
    });
    // The metadata is looked at every two seconds; another second is for a busy machine.
    assert!(not_ready < Duration::from_millis(3500), "not ready after {not_ready:?}");
    let quiet = fleet.now();
    fleet.wait_for("Terminated", SOON);
    let completion = completion(&fleet, "terminate");
    assert_eq!(completion.parameter("LifecycleActionResult"), "CONTINUE");
    let walk = fleet.walk();
    let wait = walk.iter().position(|step| step == "Terminating:Wait");
    assert!(wait.is_some_and(|at| walk[at..].iter().any(|s| s.contains("CONTINUE by call"))));
    let waiting = fleet.steps().into_iter().find(|step| step.text == "Terminating:Wait").unwrap();
    let after = completion.at.saturating_sub(waiting.at.max(quiet));
    // The state is asked for every two seconds at most.
    assert!(after < COMPLETED_WITHIN + Duration::from_secs(2), "{after:?}\n{walk:#?}");
    assert_ended_well(&agent);
}

#[test]
fn the_market_gives_two_minutes_or_thirty_seconds() {
    for seconds in [120, 30] {
        let fleet = Fleet::start();
        let world = world_of(&fleet);
        let agent = serving(&fleet, &world, &web(&world).set("tier.web.bleed", "1m"));
        let load = requests(&world).start();
        load.wait_for_answers(100);
        fleet.clear_journal();
        fleet.spot("terminate", seconds);
        let report = until_deregistered(&fleet, load);
        report.assert_none_failed();
        let status = agent.wait_for(SOON, "everything has ended", |s| s["state"] == "stopped");
        let deregistered = fleet.calls_of("DeregisterTargets");
        assert_eq!(deregistered.len(), 1, "{deregistered:#?}");
        assert!(steps(&status)[0].1.contains("the spot market will terminate it"), "{status:#}");
        // The group's own notice comes on top, and is completed at once.
        fleet.terminate();
        fleet.wait_for("Terminated", SOON);
        assert_eq!(completion(&fleet, "terminate").parameter("LifecycleActionResult"), "CONTINUE");
        assert_ended_well(&agent);
    }
}

#[test]
fn a_hung_request_is_cut_in_time_for_the_market() {
    let fleet = Fleet::start();
    let world = world_of(&fleet);
    let release = web(&world).set("tier.web.bleed", "5m").set("tier.web.stop", "1m");
    let agent = serving(&fleet, &world, &release);
    let load = Load::on(world.port).with(Kind::KeepAlive, 2).start();
    load.wait_for_answers(10);
    let mut slow = TcpStream::connect(("127.0.0.1", world.port)).unwrap();
    slow.write_all(b"GET /slow?ms=600000 HTTP/1.1\r\nHost: app\r\n\r\n").unwrap();
    agent.wait_for(SOON, "a request in flight", |status| {
        status["tiers"][0]["in_flight"].as_u64() >= Some(1)
    });
    fleet.spot("terminate", 15);
    until_deregistered(&fleet, load).assert_none_failed();
    let status = agent.wait_for(SOON, "everything has ended", |s| s["state"] == "stopped");
    let drain = &status["lifecycle"]["drain"];
    assert_eq!(drain["cut"], 1, "{status:#}");
    let [ended, deadline] = ["ended", "deadline"].map(|key| drain[key].as_i64().unwrap());
    assert!(ended < deadline, "{ended} of {deadline}: {status:#}");
    drop(slow);
}

/// Steps of a drain at which an agent is killed, as its record has them.
const STEPS: [&str; 7] = [
    "the group terminates it",
    "takes it out of its load balancers",
    "the load balancers are through",
    "bleeds",
    "has nothing left",
    "logs: ",
    "completes hook",
];

#[test]
fn an_agent_that_is_killed_at_every_step_goes_on_where_it_was() {
    for part in STEPS {
        let terminate = vec![Hook { seconds: 20, ..Hook::named("terminate") }];
        let fleet = Fleet::start_with(&Plan { terminate, ..Plan::default() });
        let world = world_of(&fleet);
        let mut agent = serving(&fleet, &world, &web(&world));
        let load = requests(&world).start();
        load.wait_for_answers(50);
        fleet.clear_journal();
        fleet.scale_in();
        std::thread::scope(|scope| {
            let sent = scope.spawn(|| until_deregistered(&fleet, load));
            poll_until(Duration::from_millis(2), SOON, part, || {
                let steps = steps(&agent.status()?);
                let reached = steps.iter().any(|(_, text)| text.contains(part));
                if reached { Ok(()) } else { Err(format!("{steps:?}")) }
            });
            agent.kill();
            agent.restart();
            sent.join().unwrap().assert_none_failed();
        });
        fleet.wait_for("Terminated", SOON);
        assert_eq!(completion(&fleet, "terminate").parameter("LifecycleActionResult"), "CONTINUE");
        agent.wait_for(SOON, "everything has ended", |status| status["state"] == "stopped");
        agent.wait_for_no_strays();
    }
}

#[test]
fn calls_that_fail_or_whose_answers_are_lost_are_made_again() {
    use crate::harness::fleet::CallFault;
    let fleet = Fleet::start();
    let world = world_of(&fleet);
    let agent = serving(&fleet, &world, &web(&world));
    fleet.clear_journal();
    fleet.fail_call("DescribeAutoScalingInstances", CallFault::Error("Throttling"), Some(2));
    fleet.fail_call("CompleteLifecycleAction", CallFault::AnswerLost, Some(1));
    fleet.scale_in();
    fleet.wait_for("Terminated", SOON);
    agent.wait_for_event("hook terminate holds the instance no more");
    assert_ended_well(&agent);
}

/// Everything of the host's is gone, and the record says how.
#[track_caller]
fn assert_ended_well(agent: &Agent<'_>) {
    let status = agent.wait_for(SOON, "everything has ended", |s| s["state"] == "stopped");
    assert_eq!(status["lifecycle"]["drain"]["cut"], 0, "{status:#}");
    let steps = steps(&status);
    for part in ["bleeds", "has nothing left; 0 requests cut", "is sent SIGTERM", "exited with"] {
        assert!(steps.iter().any(|(_, text)| text.contains(part)), "{part}: {steps:#?}");
    }
    agent.wait_for_no_strays();
    let log = agent.log();
    assert!(log.contains("requests in flight") && log.contains("drain +"), "{log}");
}
