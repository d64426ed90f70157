//! A file of a gigabyte that is there at once: throughput, CPU, memory, requests, bytes.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{floor, rig};
use crate::harness::log_endpoint::LogEndpoint;
use crate::harness::log_endpoint::lines::Writer;
use crate::process;
use crate::report::rounded;

const MB: f64 = 1e6;
const GB: f64 = 1e9;
// A tenth of the rate that is wanted: more is a failure, not a figure.
const BYTES_PER_SECOND_MIN: f64 = 10.0 * MB;

/// The figures.
pub fn run(lines: u64) -> Value {
    let endpoint = LogEndpoint::start_tls();
    let world = rig::world_of(&endpoint);
    let prepared = world.path().join("prepared");
    let mut writer = Writer::new(&prepared, 0).unwrap();
    writer.write(lines).unwrap();
    let bytes = writer.lines().bytes() as f64;
    let ideal = rig::ideal_requests(&prepared);
    let floor = floor::run(&prepared);

    let agent = rig::agent_of(&world, &[]);
    rig::wait_until_it_ships(&endpoint, &world);
    let first = endpoint.counts();
    let before = process::cpu_seconds(agent.pid());
    let started = Instant::now();
    fs::rename(&prepared, rig::logs_of(&world).join("bulk.log")).unwrap();
    let within = Duration::from_secs_f64(30.0 + bytes / BYTES_PER_SECOND_MIN);
    rig::wait_for_lines(&endpoint, lines, within);
    let took = endpoint.accepted_between().map_or(within, |(_, last)| last - started);
    // What follows the last answer is part of the price: checkpoints.
    std::thread::sleep(Duration::from_secs(1));
    let cpu = process::cpu_seconds(agent.pid()) - before;
    let (counts, delivery) = (endpoint.counts(), endpoint.delivery(0));
    let puts = counts.puts - first.puts;
    let gzip_cpu = floor["gzip"]["cpu_s_per_gb"].as_f64().unwrap_or(f64::NAN);
    json!({
        "lines": lines,
        "mb_per_s": rounded(bytes / MB / took.as_secs_f64()),
        "cpu_s_per_gb": rounded(cpu / (bytes / GB)),
        "ratio_to_floor": rounded(cpu / (bytes / GB) / gzip_cpu),
        "peak_rss_mib": rounded(process::memory_mib(agent.pid(), "VmHWM")),
        "requests": puts,
        "requests_ideal": ideal,
        "requests_ratio": rounded(puts as f64 / ideal as f64),
        "gzip_requests": counts.gzip,
        "wire_mb": rounded(counts.wire_bytes as f64 / MB),
        "message_mb": rounded(counts.message_bytes as f64 / MB),
        "lost": endpoint.missing(0, lines),
        "repeated": delivery.repeats,
        "out_of_order": delivery.out_of_order + delivery.back_in_time,
        "altered": u64::from(delivery.checksum != writer.lines().checksum()),
        "invalid": counts.invalid,
        "invalid_reasons": counts.invalid_reasons,
        "pipelines": rig::pipeline(&agent),
        "floor": floor,
    })
}
