//! What the agent itself costs, idle and while its app is under load, and how long a killed process
//! is missed beyond Node's own start.
//!
//!     scripts/bench footprint [--seconds 60] [--rounds 5]

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    unused_imports,
    reason = "the harness of the end-to-end tests, without its own tests"
)]

#[path = "../e2e/harness/mod.rs"]
mod harness;
mod process;
mod report;

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use harness::agent::{Agent, World};
use harness::app::{BareApp, Release};
use harness::http_client;
use harness::load::{Kind, Load};
use process::{cpu_seconds, memory_mib};
use report::{argument, median, millis, rounded};

fn main() {
    let seconds = argument("seconds", 60);
    let rounds = argument("rounds", 5);
    let world = World::new();
    world.release(&Release::web("v1", world.port));
    let agent = Agent::start(&world);
    agent.wait_for_settled("v1");
    let idle = cost_of(agent.pid(), Duration::from_secs(seconds));
    let load = Load::on(world.port).with(Kind::KeepAlive, 32).pause(Duration::ZERO).start();
    let busy = cost_of(agent.pid(), Duration::from_secs(seconds.min(20)));
    let report = load.stop();
    drop(agent);

    let bare = median((0..rounds).map(|_| start_alone()).collect());
    let missed = median((0..rounds).map(|_| miss_a_killed_process()).collect());
    let overhead = missed.saturating_sub(bare);
    report::print(
        "footprint",
        json!({
            "ratio": rounded(missed.as_secs_f64() / bare.as_secs_f64()),
            "rss_idle_mib": idle.rss_mib,
            "cpu_idle_percent": idle.cpu_percent,
            "rss_load_mib": busy.rss_mib,
            "cpu_load_percent": busy.cpu_percent,
            "load_requests": report.sent(),
            "load_failed": report.failed(),
            "restart_ms": millis(missed),
            "node_start_ms": millis(bare),
            "restart_overhead_ms": millis(overhead),
            "seconds": seconds,
            "rounds": rounds,
        }),
    );
}

/// What a process used.
struct Cost {
    rss_mib: f64,
    cpu_percent: f64,
}

fn cost_of(pid: Pid, within: Duration) -> Cost {
    let before = cpu_seconds(pid);
    let started = Instant::now();
    // The time itself is what is measured here.
    std::thread::sleep(within);
    let used = cpu_seconds(pid) - before;
    let cpu_percent = used / started.elapsed().as_secs_f64() * 100.0;
    Cost { rss_mib: rounded(memory_mib(pid, "VmRSS")), cpu_percent: rounded(cpu_percent) }
}

/// From the start of Node to the first answer, without an agent.
fn start_alone() -> Duration {
    BareApp::start(&Release::web("v1", 0), &[]).start_took
}

/// From the SIGKILL of a tier's only process to the next answer. The socket is the agent's: the
/// request waits in its queue, so nothing needs to be asked twice.
fn miss_a_killed_process() -> Duration {
    let world = World::new();
    world.release(&Release::web("v1", world.port).set("tier.web.processes", 1));
    let agent = Agent::start(&world);
    agent.wait_for_settled("v1");
    let pid = agent.processes("web")[0].pid.expect("a settled process runs");
    let started = Instant::now();
    kill(pid, Signal::SIGKILL).unwrap();
    let address = format!("127.0.0.1:{}", world.port);
    let every = Duration::from_millis(1);
    harness::poll_until(every, Duration::from_secs(30), "an answer after the kill", || {
        http_client::get(&address, "/version")
    });
    started.elapsed()
}
