//! The host in its Auto Scaling group: it joins, leaves and comes back, as AWS says.

use std::time::Duration;

use serde_json::Value;

use crate::harness::agent::{Agent, World};
use crate::harness::app::Release;
use crate::harness::fleet::{Call, Fleet};
use crate::harness::load::{Kind, Load, Report, RunningLoad};
use crate::harness::wait_until;

mod comes_back;
mod doctor;
mod joins;
mod leaves;
mod metadata;

const SOON: Duration = Duration::from_secs(30);
/// A load balancer's nodes hear of a deregistration one after the other.
const PROPAGATION: Duration = Duration::from_millis(400);

/// A world whose agents are on the fleet's instance.
fn world_of(fleet: &Fleet) -> World {
    let mut world = World::new();
    for (name, value) in fleet.environment() {
        world.set_environment(&name, &value);
    }
    world
}

/// A host that serves v1, launched and in service.
fn serving<'a>(fleet: &Fleet, world: &'a World, release: &Release) -> Agent<'a> {
    world.release(release);
    let agent = Agent::start(world);
    agent.wait_for_settled("v1");
    fleet.wait_for("InService", SOON);
    agent
}

fn web(world: &World) -> Release {
    Release::web("v1", world.port).with_worker().set("tier.web.bleed", "10s")
}

/// What load balancers send: no WebSockets, which only end with a bleed's deadline.
fn requests(world: &World) -> Load {
    Load::on(world.port)
        .with(Kind::KeepAlive, 8)
        .with(Kind::Post, 4)
        .with(Kind::NewConnection, 2)
        .with(Kind::Slow, 4)
}

/// Sends until the target is deregistered, and a moment longer: the load balancer's part.
#[track_caller]
fn until_deregistered(fleet: &Fleet, load: RunningLoad) -> Report {
    wait_until(SOON, "the target is deregistered", || match fleet.target_health().as_str() {
        "draining" | "unused" => Ok(()),
        health => Err(health.to_owned()),
    });
    std::thread::sleep(PROPAGATION);
    load.stop()
}

/// The one completion of a hook, and that no heartbeat came after it.
#[track_caller]
fn completion(fleet: &Fleet, hook: &str) -> Call {
    let of = |action: &str| -> Vec<Call> {
        let calls = fleet.calls_of(action).into_iter();
        calls.filter(|call| call.parameter("LifecycleHookName") == hook).collect()
    };
    let accepted = wait_until(SOON, "one completion", || {
        let completions = of("CompleteLifecycleAction");
        let accepted: Vec<_> =
            completions.iter().filter(|call| call.status == Some(200)).cloned().collect();
        if accepted.is_empty() { Err(completions) } else { Ok(accepted) }
    });
    assert_eq!(accepted.len(), 1, "{accepted:#?}");
    let late = of("RecordLifecycleActionHeartbeat").into_iter().find(|h| h.at > accepted[0].at);
    assert_eq!(late, None, "a heartbeat after {:#?}", accepted[0]);
    accepted[0].clone()
}

/// The steps of the drain that the status shows, with their times in milliseconds.
fn steps(status: &Value) -> Vec<(u64, String)> {
    let steps = status["lifecycle"]["drain"]["steps"].as_array().cloned().unwrap_or_default();
    let step = |step: &Value| {
        let text = step["text"].as_str().unwrap_or_default().to_owned();
        (step["after_ms"].as_u64().unwrap_or_default(), text)
    };
    steps.iter().map(step).collect()
}
