//! Scale-ins under load, each of an instance of its own: requests that failed, how long from the
//! notice to not ready, from the last request to the hook's completion, and what a host in service
//! asks of AWS.
//!
//!     scripts/bench drain [--drains 50] [--steady-seconds 60]

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    dead_code,
    unused_imports,
    reason = "the harness of the end-to-end tests, without its own tests"
)]

#[path = "../e2e/harness/mod.rs"]
mod harness;
mod report;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use harness::agent::{Agent, World};
use harness::app::Release;
use harness::fleet::Fleet;
use harness::load::{Kind, Load};
use harness::wait_until;
use report::{argument, median, millis};

const SOON: Duration = Duration::from_secs(30);
/// A load balancer's nodes hear of a deregistration one after the other.
const PROPAGATION: Duration = Duration::from_millis(400);

/// One drain's figures.
struct Drained {
    requests: u64,
    failed: u64,
    failures: BTreeMap<String, u64>,
    not_ready: Duration,
    completed: Duration,
    drained: Duration,
}

fn main() {
    let drains = argument("drains", 50);
    let steady = Duration::from_secs(argument("steady-seconds", 60));
    let all: Vec<_> = (0..drains).map(|_| drain()).collect();
    let (calls, asked_every) = steady_state(steady);
    let of = |figure: fn(&Drained) -> Duration| -> Vec<_> { all.iter().map(figure).collect() };
    let most = |figure| millis(of(figure).into_iter().max().unwrap_or_default());
    let mut failures = BTreeMap::new();
    for (reason, count) in all.iter().flat_map(|drained| &drained.failures) {
        *failures.entry(reason.clone()).or_insert(0) += count;
    }
    let not_ready = |drained: &Drained| drained.not_ready;
    let completed = |drained: &Drained| drained.completed;
    report::print(
        "drain",
        json!({
            "drains": drains,
            "requests": all.iter().map(|drained| drained.requests).sum::<u64>(),
            "failed": all.iter().map(|drained| drained.failed).sum::<u64>(),
            "notice_to_not_ready_ms_median": millis(median(of(not_ready))),
            "notice_to_not_ready_ms_max": most(not_ready),
            "last_request_to_hook_completed_ms_median": millis(median(of(completed))),
            "last_request_to_hook_completed_ms_max": most(completed),
            "notice_to_ended_ms_median": millis(median(of(|drained| drained.drained))),
            "steady_seconds": steady.as_secs(),
            "steady_aws_calls": calls,
            "metadata_polled_every_s": asked_every,
            "failures": failures,
        }),
    );
}

fn serve<'a>(fleet: &Fleet, world: &'a mut World) -> Agent<'a> {
    for (name, value) in fleet.environment() {
        world.set_environment(&name, &value);
    }
    world.release(&Release::web("v1", world.port).with_worker().set("tier.web.bleed", "10s"));
    let agent = Agent::start(world);
    agent.wait_for_settled("v1");
    fleet.wait_for("InService", SOON);
    agent
}

fn drain() -> Drained {
    let fleet = Fleet::start();
    let mut world = World::new();
    let port = world.port;
    let agent = serve(&fleet, &mut world);
    let load = Load::on(port)
        .with(Kind::KeepAlive, 8)
        .with(Kind::Post, 4)
        .with(Kind::NewConnection, 2)
        .with(Kind::Slow, 4)
        .start();
    load.wait_for_answers(500);
    fleet.clear_journal();
    let noticed = fleet.now();
    fleet.scale_in();
    let (not_ready, report, last) = std::thread::scope(|scope| {
        let not_ready = scope.spawn(|| {
            let every = Duration::from_millis(5);
            harness::poll_until(every, SOON, "not ready", || {
                if agent.ready() == 503 { Ok(()) } else { Err(()) }
            });
            fleet.now().saturating_sub(noticed)
        });
        // The load balancer's part: it sends until it has heard of the deregistration.
        wait_until(SOON, "deregistered", || match fleet.target_health().as_str() {
            "draining" | "unused" => Ok(()),
            health => Err(health.to_owned()),
        });
        std::thread::sleep(PROPAGATION);
        let report = load.stop();
        let last = fleet.now();
        (not_ready.join().unwrap(), report, last)
    });
    fleet.wait_for("Terminated", SOON);
    let completed = fleet.calls_of("CompleteLifecycleAction");
    let completed = completed.iter().find(|call| call.status == Some(200)).expect("no completion");
    // Before the group waits there is nothing to complete.
    let waits = fleet.steps().into_iter().find(|step| step.text == "Terminating:Wait");
    let from = waits.map_or(last, |step| step.at.max(last));
    let status = agent.wait_for(SOON, "the end", |status| status["state"] == "stopped");
    let drain = &status["lifecycle"]["drain"];
    let drained = drain["ended"].as_i64().unwrap() - drain["since"].as_i64().unwrap();
    Drained {
        requests: report.sent(),
        failed: report.failed(),
        failures: report.failures.iter().map(|(why, n)| (why.clone(), *n)).collect(),
        not_ready,
        completed: completed.at.saturating_sub(from),
        drained: Duration::from_millis(drained.try_into().unwrap()),
    }
}

/// Calls in that time, and the shortest mean pause between two looks at one item.
fn steady_state(within: Duration) -> (usize, f64) {
    let fleet = Fleet::start();
    let mut world = World::new();
    let agent = serve(&fleet, &mut world);
    agent.wait_for(SOON, "in service", |status| status["lifecycle"]["state"] == "InService");
    fleet.clear_journal();
    // The time itself is what is measured here.
    std::thread::sleep(within);
    let most = fleet.imds_requests().values().map(|by| by.values().sum::<u64>()).max();
    let every = within.as_secs_f64() / most.unwrap_or(1).max(1) as f64;
    (fleet.calls().len(), report::rounded(every))
}
