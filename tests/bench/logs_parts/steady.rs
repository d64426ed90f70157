//! A file that grows steadily: CPU, memory, and how long a line takes.

use std::time::Duration;

use serde_json::{Value, json};

use super::rig;
use crate::harness::log_endpoint::LogEndpoint;
use crate::harness::log_endpoint::lines::Writer;
use crate::process;
use crate::report::rounded;

const RATES: [u64; 2] = [1_000_000, 5_000_000];
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(30);

/// The figures of each rate.
pub fn run(seconds: Duration) -> Value {
    RATES.iter().map(|rate| one(*rate, seconds)).collect()
}

fn one(rate: u64, seconds: Duration) -> Value {
    let endpoint = LogEndpoint::start_tls();
    let world = rig::world_of(&endpoint);
    let agent = rig::agent_of(&world, &[]);
    let mut writer = Writer::new(&rig::logs_of(&world).join("steady.log"), 0).unwrap();
    // Groups, streams and connections are made in these, and are not what is measured.
    writer.write_at(rate, Duration::from_secs(2)).unwrap();
    rig::wait_for_lines(&endpoint, writer.lines().count(), CAUGHT_UP_WITHIN);
    endpoint.reset_lag();
    let (cpu, puts) = (process::cpu_seconds(agent.pid()), endpoint.counts().puts);
    writer.write_at(rate, seconds).unwrap();
    let used = process::cpu_seconds(agent.pid()) - cpu;
    let lines = writer.lines().count();
    rig::wait_for_lines(&endpoint, lines, CAUGHT_UP_WITHIN);
    let delivery = endpoint.delivery(0);
    let measured = rate as f64 * seconds.as_secs_f64();
    json!({
        "mb_per_s": rate / 1_000_000,
        "cpu_percent": rounded(used / seconds.as_secs_f64() * 100.0),
        "cpu_s_per_gb": rounded(used / (measured / 1e9)),
        "peak_rss_mib": rounded(process::memory_mib(agent.pid(), "VmHWM")),
        "lag_ms_mean": delivery.lag_ms_mean(),
        "lag_ms_max": delivery.lag_ms_max,
        "requests": endpoint.counts().puts - puts,
        "lost": endpoint.missing(0, lines),
        "repeated": delivery.repeats,
        "invalid": endpoint.counts().invalid,
    })
}
