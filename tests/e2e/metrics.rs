//! What scrapers see of a host.

use std::collections::BTreeMap;
use std::time::Duration;

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
