//! A usual host: twenty processes, five thousand requests a second, metrics to CloudWatch. What the
//! agent costs, and how often it calls; without metrics and load for comparison.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::agent::{Agent, World};
use crate::harness::app::Release;
use crate::harness::emulator::{Emulator, Services, sdk_environment};
use crate::harness::fault_proxy::FaultProxy;
use crate::harness::load::{Kind, Load};
use crate::process::{cpu_seconds, memory_mib};
use crate::report::rounded;

const PROCESSES: i64 = 20;
const CONNECTIONS: usize = 100;
/// Between two requests of a connection: five thousand a second together, if the answers come at
/// once.
const PAUSE: Duration = Duration::from_millis(20);
/// Two calls to CloudWatch are a minute apart.
const LEAST: Duration = Duration::from_secs(125);

/// The figures, with and without load.
pub fn run(seconds: Duration) -> Value {
    let emulator = Emulator::start(Services::All);
    let proxy = FaultProxy::start(emulator.address());
    let mut world = World::new();
    for (name, value) in sdk_environment(&proxy.endpoint()) {
        world.set_environment(&name, &value);
    }
    world.release(&Release::web("v1", world.port).set("tier.web.processes", PROCESSES));
    let agent = Agent::start_with(
        &world,
        &[("metrics.to.kind", "cloudwatch".into()), ("logs.to.kind", "none".into())],
    );
    agent.wait_for_settled("v1");
    let idle = cost(&agent, Duration::from_secs(30));
    let load = Load::on(world.port).with(Kind::KeepAlive, CONNECTIONS).pause(PAUSE).start();
    let before = calls(&proxy);
    let within = seconds.max(LEAST);
    let busy = cost(&agent, within);
    let made = calls(&proxy) - before;
    let report = load.stop();
    json!({
        "processes": PROCESSES,
        "requests_per_s": rounded(report.ok() as f64 / within.as_secs_f64()),
        "failed": report.failed(),
        "cpu_percent": busy,
        "cpu_percent_without_load": idle,
        "rss_mib": rounded(memory_mib(agent.pid(), "VmRSS")),
        "put_metric_data_per_minute": rounded(made as f64 / within.as_secs_f64() * 60.0),
        "seconds": within.as_secs(),
    })
}

/// Percent of one core.
fn cost(agent: &Agent<'_>, within: Duration) -> f64 {
    let before = cpu_seconds(agent.pid());
    // The time itself is what is measured here.
    std::thread::sleep(within);
    rounded((cpu_seconds(agent.pid()) - before) / within.as_secs_f64() * 100.0)
}

/// Calls to CloudWatch's metrics so far.
fn calls(proxy: &FaultProxy) -> usize {
    proxy.seen().iter().filter(|seen| seen.path.contains("PutMetricData")).count()
}
