//! Launches, with and without a warm pool.

use super::*;
use crate::harness::fleet::{Hook, Plan};
use crate::harness::http_client;

#[test]
fn a_launch_goes_on_when_every_tier_is_ready_and_not_before() {
    let plan =
        Plan { launch: vec![Hook { seconds: 3, ..Hook::named("launch") }], ..Plan::default() };
    let fleet = Fleet::start_with(&plan);
    let world = world_of(&fleet);
    // Longer than the hook holds by itself.
    world.release(&web(&world).app("START_MS", "5000"));
    let agent = Agent::start(&world);
    let status = agent.wait_for(SOON, "Auto Scaling has answered", |status| {
        status["lifecycle"]["state"] == "Pending:Wait"
    });
    assert_eq!(status["lifecycle"]["target"], "InService");
    assert_eq!(agent.ready(), 503);
    agent.wait_for_release("v1");
    assert_eq!(agent.ready(), 200);
    fleet.wait_for("InService", SOON);
    let completion = completion(&fleet, "launch");
    assert_eq!(completion.parameter("LifecycleActionResult"), "CONTINUE");
    let beats = fleet.calls_of("RecordLifecycleActionHeartbeat").len();
    assert!((3..=8).contains(&beats), "{beats} heartbeats in 5 s, with a timeout of 3 s");
    let state = agent
        .wait_for(SOON, "the state is known", |status| status["lifecycle"]["state"] == "InService");
    assert_eq!(state["host"]["instance_id"], fleet.instance_id());
}

#[test]
fn a_release_that_keeps_failing_abandons_the_launch_and_says_why() {
    let fleet = Fleet::start();
    let world = world_of(&fleet);
    world.release(&web(&world).app("BOOT", "throw"));
    let agent = Agent::start(&world);
    agent.wait_for_event("ABANDON (v1 failed 3 times: web.");
    let completion = completion(&fleet, "launch");
    assert_eq!(completion.parameter("LifecycleActionResult"), "ABANDON");
    assert_eq!(agent.ready(), 503);
}

#[test]
fn in_a_warm_pool_the_release_comes_to_disk_and_nothing_runs() {
    let fleet = Fleet::start_with(&Plan { warm_pool: Some("Stopped"), ..Plan::default() });
    let world = world_of(&fleet);
    world.release(&web(&world));
    let mut agent = Agent::start(&world);
    fleet.wait_for("Warmed:Stopped", SOON);
    assert_eq!(completion(&fleet, "launch").parameter("LifecycleActionResult"), "CONTINUE");
    let status = agent.status().unwrap();
    assert_eq!(status["state"], "stopped", "{status:#}");
    assert!(status["disk"]["releases_bytes"].as_u64().unwrap() > 0, "{status:#}");
    assert_eq!(status["tiers"].as_array().map(Vec::len), Some(0), "{status:#}");
    assert_eq!(agent.ready(), 503);
    // The instance is stopped, days pass, and a release.
    agent.kill();
    world.release(&Release::web("v2", world.port));
    fleet.clear_journal();
    fleet.leave_pool();
    world.forget_boot();
    agent.restart();
    agent.wait_for_release("v2");
    fleet.wait_for("InService", SOON);
    assert_eq!(completion(&fleet, "launch").parameter("LifecycleActionResult"), "CONTINUE");
    assert!(!agent.log().contains("v1 serves"), "what it remembered was started:\n{}", agent.log());
    assert_eq!(
        http_client::get(&format!("127.0.0.1:{}", world.port), "/health").unwrap().status,
        200
    );
}
