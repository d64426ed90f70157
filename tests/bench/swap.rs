//! Swaps under load of every kind: requests, failures, and what a swap costs at the 99th
//! percentile.
//!
//!     scripts/bench swap [--swaps 100] [--baseline-seconds 20]
//!
//! At the end three bad releases: one that throws, one that never listens, one that is never ready.
//! None of them may fail a request either.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    unused_imports,
    reason = "the harness of the end-to-end tests, without its own tests"
)]

#[path = "../e2e/harness/mod.rs"]
mod harness;
mod report;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;

use harness::agent::{Agent, World};
use harness::app::Release;
use harness::load::{Kind, Load, Report, RunningLoad};
use report::{argument, millis, rounded};

// Between two swaps: the load must see the release in its everyday state too.
const REQUESTS_BETWEEN: u64 = 1000;
const BAD: [(&str, &str, &str); 3] = [
    ("throws", "BOOT", "throw"),
    ("never-listens", "BOOT", "hang"),
    ("never-ready", "HEALTH", "fail"),
];

fn main() {
    let swaps = argument("swaps", 100);
    let baseline = Duration::from_secs(argument("baseline-seconds", 20));
    let world = World::new();
    let release = |number: u64| Release::web(&format!("v{number}"), world.port);
    world.release(&release(0));
    let agent = Agent::start(&world);
    agent.wait_for_settled("v0");
    // Packing is not what is measured.
    for number in 1..=swaps {
        world.publish(&release(number));
    }
    for (version, name, value) in BAD {
        world.publish(
            &Release::web(version, world.port).app(name, value).set("tier.web.ready.within", "3s"),
        );
    }

    let quiet = run(&world, |_| {
        let end = Instant::now() + baseline;
        harness::wait_until(baseline + Duration::from_secs(5), "the baseline", || {
            if Instant::now() >= end { Ok(()) } else { Err("still measuring") }
        });
    });
    let mut took = Vec::new();
    let swapped = run(&world, |load| {
        for number in 1..=swaps {
            let started = Instant::now();
            let version = format!("v{number}");
            world.promote(&version);
            load.wait_for_release(&version, Duration::from_mins(1));
            took.push(started.elapsed());
            agent.wait_for_settled(&version);
            load.wait_for_answers(REQUESTS_BETWEEN);
        }
    });
    let bad = run(&world, |load| {
        for (version, _, _) in BAD {
            world.promote(version);
            agent.wait_for_rejected(version);
            load.wait_for_answers(REQUESTS_BETWEEN);
        }
    });

    let p99 = |report: &Report| report.quantile(Kind::KeepAlive, 0.99);
    let failures: BTreeMap<_, _> = swapped.failures.iter().chain(&bad.failures).collect();
    report::print(
        "swap",
        json!({
            "ratio": rounded(p99(&swapped).as_secs_f64() / p99(&quiet).as_secs_f64()),
            "swaps": swaps,
            "requests": swapped.sent(),
            "failed": swapped.failed(),
            "p50_ms": millis(swapped.quantile(Kind::KeepAlive, 0.5)),
            "p99_ms": millis(p99(&swapped)),
            "p50_ms_without_swaps": millis(quiet.quantile(Kind::KeepAlive, 0.5)),
            "p99_ms_without_swaps": millis(p99(&quiet)),
            "promote_to_first_answer_ms": millis(report::median(took)),
            "bad_releases": BAD.len(),
            "bad_release_requests": bad.sent(),
            "bad_release_failed": bad.failed(),
            "closed_while_idle": swapped.closed_while_idle + bad.closed_while_idle,
            "websockets_closed": swapped.websockets_closed,
            "websockets_cut": swapped.websockets_cut,
            "failures": failures,
        }),
    );
}

/// Load of every kind while `meanwhile` goes on.
fn run(world: &World, meanwhile: impl FnOnce(&RunningLoad)) -> Report {
    let load = Load::of_every_kind(world.port).start();
    meanwhile(&load);
    load.stop()
}
