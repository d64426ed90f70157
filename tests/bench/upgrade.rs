//! Upgrades of the agent in place and kills of it, under load and over twenty processes: requests
//! that failed, processes that were lost, and how long until all are known again.
//!
//!     scripts/bench upgrade [--rounds 50] [--processes 20]

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
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use serde_json::{Value, json};

use harness::agent::{Agent, World};
use harness::app::Release;
use harness::load::{Kind, Load};
use report::{argument, median, millis};

const SOON: Duration = Duration::from_secs(30);
/// Between two of them the load must see the agent in its everyday state too.
const REQUESTS_BETWEEN: u64 = 500;

fn main() {
    let rounds = argument("rounds", 50);
    let processes = argument("processes", 20);
    let mut world = World::new();
    let program = world.install();
    let count = i64::try_from(processes).unwrap();
    world.release(&Release::web("v1", world.port).set("tier.web.processes", count));
    let mut agent = Agent::start(&world);
    agent.wait_for_settled("v1");
    let before = pids(&agent.status().unwrap());
    assert_eq!(before.len() as u64, processes);
    let load = Load::of_every_kind(world.port).start();
    load.wait_for_answers(REQUESTS_BETWEEN);

    let (mut upgrades, mut kills, mut known, mut ready) = (vec![], vec![], vec![], vec![]);
    for round in 0..rounds {
        replace(&program, round);
        let pid = agent.pid();
        let started = Instant::now();
        let ended = world.cli(&["reload"]);
        assert_eq!(ended.code, Some(0), "{ended:#?}");
        upgrades.push(started.elapsed());
        assert_eq!(agent.pid(), pid);
        wait_until_ready(&agent);
        load.wait_for_answers(REQUESTS_BETWEEN);
    }
    let after_upgrades = pids(&agent.status().unwrap());
    for _ in 0..rounds {
        agent.kill();
        let started = Instant::now();
        agent.restart();
        let every = Duration::from_millis(1);
        harness::poll_until(every, SOON, "every process is known", || match agent.status() {
            Ok(status) if pids(&status).len() as u64 == processes => Ok(()),
            other => Err(other.map(|status| pids(&status).len())),
        });
        known.push(started.elapsed());
        wait_until_ready(&agent);
        ready.push(started.elapsed());
        kills.push(started.elapsed());
        load.wait_for_answers(REQUESTS_BETWEEN);
    }
    let after = pids(&agent.status().unwrap());
    let report = load.stop();
    let lost = before.iter().filter(|pid| !after.contains(pid)).count();
    assert!(before.iter().all(|pid| after_upgrades.contains(pid)), "an upgrade lost a process");
    let most = |values: &[Duration]| millis(values.iter().copied().max().unwrap_or_default());
    report::print(
        "upgrade",
        json!({
            "upgrades": rounds,
            "kills": kills.len(),
            "processes": processes,
            "processes_lost": lost,
            "requests": report.sent(),
            "failed": report.failed(),
            "upgrade_ms_max": most(&upgrades),
            "upgrade_ms_median": millis(median(upgrades)),
            "restart_to_adopted_ms_max": most(&known),
            "restart_to_adopted_ms_median": millis(median(known)),
            "restart_to_ready_ms_max": most(&ready),
            "restart_to_ready_ms_median": millis(median(ready)),
            "failures": report.failures,
        }),
    );
}

fn wait_until_ready(agent: &Agent<'_>) {
    harness::poll_until(Duration::from_millis(1), SOON, "ready", || match agent.try_ready() {
        Ok(200) => Ok(()),
        other => Err(other),
    });
}

fn pids(status: &Value) -> Vec<i64> {
    let tiers = status["tiers"].as_array().into_iter().flatten();
    let processes = tiers.flat_map(|tier| tier["processes"].as_array().into_iter().flatten());
    processes.filter_map(|process| process["pid"].as_i64()).collect()
}

/// As a package would: another file, and another build, in the place of the one that runs.
fn replace(program: &Path, round: u64) {
    let mut bytes = fs::read(program).unwrap();
    bytes.extend_from_slice(format!("build {round}\n").as_bytes());
    let next = program.with_extension("new");
    fs::write(&next, bytes).unwrap();
    fs::set_permissions(&next, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&next, program).unwrap();
}
