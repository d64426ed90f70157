//! Notices that pass: standby, a person's order, a cancelled event, a drill.

use super::*;
use crate::harness::agent::TierProcess;

#[track_caller]
fn assert_stopped(agent: &Agent<'_>) {
    agent.wait_for(SOON, "everything has ended", |status| status["state"] == "stopped");
    assert_eq!(agent.ready(), 503);
    agent.wait_for_no_strays();
}

#[test]
fn an_instance_goes_on_standby_and_comes_back() {
    let fleet = Fleet::start();
    let world = world_of(&fleet);
    let agent = serving(&fleet, &world, &web(&world));
    let load = requests(&world).start();
    load.wait_for_answers(50);
    let ended = world.cli(&["standby"]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    until_deregistered(&fleet, load).assert_none_failed();
    fleet.wait_for("Standby", SOON);
    assert_stopped(&agent);
    let ended = world.cli(&["undrain"]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    fleet.wait_for("InService", SOON);
    agent.wait_for_release("v1");
    assert_eq!(fleet.calls_of("DeregisterTargets"), [], "the group does that itself");
}

#[test]
fn a_person_drains_a_host_and_takes_it_back() {
    let fleet = Fleet::start();
    let world = world_of(&fleet);
    let mut agent = serving(&fleet, &world, &web(&world));
    let load = requests(&world).start();
    load.wait_for_answers(50);
    let ended = world.cli(&["drain", "--reason", "the disk & all of it"]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    until_deregistered(&fleet, load).assert_none_failed();
    assert_stopped(&agent);
    // Also across a restart, until it is taken back.
    agent.kill();
    agent.restart();
    let status = agent.wait_for(SOON, "still stopped", |status| status["state"] == "stopped");
    assert_eq!(status["lifecycle"]["notices"][0]["text"], "the disk & all of it");
    let waited = world.cli(&["drain", "--wait", "--reason", "again"]);
    assert_eq!(waited.code, Some(0), "{waited:#?}");
    assert_eq!(world.cli(&["undrain"]).code, Some(0));
    agent.wait_for_release("v1");
    wait_until(SOON, "back in the target group", || match fleet.target_health().as_str() {
        "healthy" | "initial" => Ok(()),
        health => Err(health.to_owned()),
    });
    let ended = world.cli(&["undrain"]);
    assert_eq!(ended.code, Some(1), "nobody has drained it: {ended:#?}");
}

#[test]
fn a_cancelled_event_brings_the_host_back() {
    let fleet = Fleet::start();
    let world = world_of(&fleet);
    let agent = serving(&fleet, &world, &web(&world));
    fleet.scheduled("instance-reboot", 300);
    assert_stopped(&agent);
    fleet.clear_scheduled();
    agent.wait_for_release("v1");
    // By default a recommendation only keeps rollouts away.
    fleet.rebalance();
    agent.wait_for(SOON, "it prepares", |status| {
        status["reason"].as_str().is_some_and(|reason| reason.contains("move elsewhere"))
    });
    assert_eq!(agent.ready(), 200);
    world.release(&Release::web("v2", world.port));
    agent.wait_for(SOON, "v2 is known", |status| status["desired"]["version"] == "v2");
    fleet.clear_rebalance();
    agent.wait_for_release("v2");
    assert!(!agent.log().contains("leaving: the spot market"), "{}", agent.log());
}

#[test]
fn a_drill_leaves_and_comes_back_by_itself() {
    let fleet = Fleet::start();
    let world = world_of(&fleet);
    let agent = serving(&fleet, &world, &web(&world));
    let plan = world.cli(&["drill", "spot", "--dry-run"]);
    assert_eq!(plan.code, Some(0), "{plan:#?}");
    assert!(plan.stdout.contains("web: 2 processes answer what still comes"), "{plan:#?}");
    assert_eq!(agent.ready(), 200);
    let drill = world.cli(&["drill", "spot"]);
    assert_eq!(drill.code, Some(0), "{drill:#?}");
    assert!(drill.stdout.contains("It serves again."), "{drill:#?}");
    assert!(drill.stdout.contains("everything has ended"), "{drill:#?}");
    agent.wait_for_release("v1");
    assert_eq!(fleet.state(), "InService");
    wait_until(SOON, "back in the target group", || match fleet.target_health().as_str() {
        "healthy" | "initial" => Ok(()),
        health => Err(health.to_owned()),
    });
}

#[test]
fn a_drill_kills_the_agent_and_finds_what_ran() {
    let world = World::new();
    world.release(&web(&world));
    let mut agent = Agent::start(&world);
    agent.wait_for_settled("v1");
    let before = agent.processes("web");
    let drill = std::thread::scope(|scope| {
        let drill = scope.spawn(|| world.cli(&["drill", "agent-kill"]));
        // As systemd would.
        agent.wait();
        agent.restart();
        drill.join().unwrap()
    });
    assert_eq!(drill.code, Some(0), "{drill:#?}");
    assert!(drill.stdout.contains("3 of 3 processes went on"), "{drill:#?}");
    agent.wait_for_release("v1");
    let pids = |processes: Vec<TierProcess>| -> Vec<_> {
        processes.into_iter().map(|process| (process.id, process.pid)).collect()
    };
    assert_eq!(pids(agent.processes("web")), pids(before));
}
