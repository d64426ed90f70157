//! What scrapers see of a host.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};

use crate::harness::agent::{Agent, World};
use crate::harness::app::Release;
use crate::harness::{http_client, wait_until};

const SOON: Duration = Duration::from_secs(20);
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The samples of a scrape, by name and labels.
fn scrape(agent: &Agent<'_>) -> BTreeMap<String, String> {
    let address = agent.http_address();
    let accept = [("Accept", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")];
    let answer = http_client::request(&address, "GET", "/metrics", &accept, b"").unwrap();
    assert_eq!((answer.status, answer.header("content-type")), (200, Some(OPEN_METRICS)));
    let text = String::from_utf8(answer.body).unwrap();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let parse = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        (name.to_owned(), value.to_owned())
    };
    samples.map(parse).collect()
}

fn answered(samples: &BTreeMap<String, String>, release: &str, class: &str) -> u64 {
    let labels =
        format!("{{tier=\"web\",release=\"{release}\",http_response_status_class=\"{class}\"}}");
    let count = samples.get(&format!("http_server_requests_total{labels}"));
    // A counter is written as the number that it is kept as, such as 40.0.
    let whole = count.map(|count| count.strip_suffix(".0").unwrap_or_else(|| panic!("{count}")));
    whole.map_or(0, |count| count.parse().unwrap())
}

#[track_caller]
fn wait_for(agent: &Agent<'_>, release: &str, class: &str, count: u64) {
    wait_until(SOON, "the requests are counted", || {
        let samples = scrape(agent);
        let seen = answered(&samples, release, class);
        if seen >= count { Ok(()) } else { Err(seen) }
    });
}

/// The sum of the values of all samples whose name and labels begin so.
#[track_caller]
fn sum(samples: &BTreeMap<String, String>, prefix: &str) -> f64 {
    let of_it = samples.iter().filter(|(name, _)| name.starts_with(prefix));
    let values: Vec<f64> = of_it.map(|(_, value)| value.parse().unwrap()).collect();
    assert!(!values.is_empty(), "no {prefix} in {samples:#?}");
    values.into_iter().sum()
}

fn ask(world: &World, path: &str, times: u32) {
    let address = format!("127.0.0.1:{}", world.port);
    for _ in 0..times {
        http_client::get(&address, path).unwrap();
    }
}

#[test]
fn counters_grow_over_restarts_and_releases() {
    let world = World::new();
    world.release(&Release::web("v1", world.port));
    let agent = Agent::start(&world);
    agent.wait_for_settled("v1");
    ask(&world, "/", 40);
    ask(&world, "/no/such/page", 3);
    wait_for(&agent, "v1", "2xx", 40);
    let samples = scrape(&agent);
    let count = "http_server_request_duration_seconds_count{tier=\"web\",release=\"v1\"}";
    assert!(samples[count].parse::<u64>().unwrap() >= 40, "{samples:#?}");
    assert_eq!(samples["groundcrew_ready"], "1.0");
    assert_eq!(samples["groundcrew_state{state=\"serving\"}"], "1.0");
    assert_eq!(samples["groundcrew_release{role=\"current\",release=\"v1\"}"], "1.0");

    assert_eq!(world.cli(&["restart", "web"]).code, Some(0));
    agent.wait_for_event("v1 serves with new processes");
    agent.wait_for_one_generation("web", 2);
    ask(&world, "/", 40);
    wait_for(&agent, "v1", "2xx", 80);

    world.release(&Release::web("v2", world.port));
    agent.wait_for_settled("v2");
    agent.wait_for_one_generation("web", 2);
    ask(&world, "/", 10);
    wait_for(&agent, "v2", "2xx", 10);
    let samples = scrape(&agent);
    assert!(answered(&samples, "v1", "2xx") >= 80, "{samples:#?}");
    assert_eq!(samples["groundcrew_release{role=\"previous\",release=\"v1\"}"], "1.0");

    // Who understands nothing else gets plain text; nothing else is to be had.
    let address = agent.http_address();
    let plain = http_client::get(&address, "/metrics").unwrap();
    assert_eq!(plain.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert_eq!(http_client::get(&address, "/v1/status").unwrap().status, 404);
}

#[test]
fn the_host_its_processes_and_the_agent_are_measured() {
    let world = World::new();
    world.release(&Release::web("v1", world.port));
    let agent = Agent::start(&world);
    agent.wait_for_settled("v1");
    let killed = agent.wait_for_one_generation("web", 2).remove(0);
    kill(killed.pid.unwrap(), Signal::SIGKILL).unwrap();
    agent.wait_for_event("killed by SIGKILL; restart 1 of 5");
    ask(&world, "/", 10);
    let pressed = fs::exists("/proc/pressure/cpu").unwrap();
    let id = &killed.id;
    let of_process = format!("{{tier=\"web\",process=\"{id}\"}}");
    // Shares of the time take two looks, ten seconds apart, and so do counters of processes.
    let samples = wait_until(2 * SOON, "everything was measured twice", || {
        let samples = scrape(&agent);
        let share = samples.contains_key("groundcrew_host_cpu_utilization_ratio");
        let again = samples.contains_key(&format!("process_cpu_time_seconds_total{of_process}"));
        // The process that was killed has reported since.
        let reported = samples.contains_key(&format!("v8js_memory_heap_used_bytes{of_process}"));
        if share && again && reported { Ok(samples) } else { Err(samples) }
    });
    let value = |name: &str| sum(&samples, name);
    let about = |name: &str, expected: f64, off: f64| {
        let found = value(name);
        assert!((found - expected).abs() <= off, "{name} is {found}, not {expected}");
    };
    about("system_cpu_utilization_ratio{", 1.0, 1e-6);
    about("system_memory_limit_bytes", proc_number("meminfo", "MemTotal:") * 1024.0, 0.0);
    about("system_uptime_seconds", proc_number("uptime", ""), 15.0);
    assert!(value("system_paging_faults_total{kind=\"minor\"}") > 100.0);
    assert!((0.01..1.0).contains(&value("system_memory_utilization_ratio")));
    assert!((0.0..=1.0).contains(&value("system_filesystem_utilization_ratio{mountpoint=\"/\"}")));
    assert!((0.0..=1.0).contains(&value("groundcrew_host_filesystem_utilization_ratio")));
    assert!(value("groundcrew_host_file_descriptors_open") > 10.0);
    if pressed {
        assert!((0.0..=1.0).contains(&value("groundcrew_host_pressure_some_ratio{kind=\"cpu\"}")));
    }

    let process = |name: &str| value(&format!("{name}{of_process}"));
    assert!(process("process_open_file_descriptor_count") >= 3.0);
    assert!(process("process_thread_count") >= 2.0);
    assert!(process("process_memory_virtual_bytes") > process("process_memory_usage_bytes"));
    assert!(process("process_cpu_time_seconds_total") > 0.0);
    assert!(process("nodejs_eventloop_delay_p50_seconds") < 1.0);
    assert!(process("v8js_memory_heap_used_bytes") > 1e6);
    about("groundcrew_process_exits_total{tier=\"web\",reason=\"SIGKILL\"}", 1.0, 0.0);

    about("groundcrew_agent_info{", 1.0, 0.0);
    assert!((5e6..5e8).contains(&value("groundcrew_agent_memory_usage_bytes")));
    assert!(value("groundcrew_agent_cpu_time_seconds_total") < 10.0);
    assert!(value("groundcrew_agent_step_duration_seconds_count") > 10.0);
    assert!((0.0..0.5).contains(&value("groundcrew_agent_sampling_duration_seconds")));
    assert!(value("groundcrew_agent_thread_count") >= 1.0);
    assert!(value("groundcrew_agent_events_waiting") < 100.0);
}

/// The number behind a name in a file of `/proc`.
fn proc_number(file: &str, name: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{file}")).unwrap();
    let rest = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    rest.split_whitespace().next().unwrap().parse().unwrap()
}
