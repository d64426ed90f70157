//! What was measured is read back from CloudWatch: a real agent under load, a service that fails
//! on command in front of it, and an agent that goes and comes back.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::agent::{Agent, ENVIRONMENT, World};
use crate::harness::app::Release;
use crate::harness::emulator::{Emulator, Services, sdk_environment};
use crate::harness::fault_proxy::{Fault, FaultProxy};
use crate::harness::{http_client, wait_until};

const SOON: Duration = Duration::from_secs(30);
const NAMESPACE: &str = "groundcrew";
/// How long the slow requests take.
const SLOW_S: f64 = 0.2;

/// The service, and what goes wrong on the way to it.
struct Service {
    emulator: Emulator,
    proxy: FaultProxy,
}

impl Service {
    fn start() -> Self {
        let emulator = Emulator::start(Services::All);
        let proxy = FaultProxy::start(emulator.address());
        Self { emulator, proxy }
    }

    /// A world whose agents reach it.
    fn world(&self) -> World {
        let mut world = World::new();
        for (name, value) in sdk_environment(&self.proxy.endpoint()) {
            world.set_environment(&name, &value);
        }
        world
    }

    /// One statistic of a series over the last quarter of an hour; `None`: there is no such series.
    fn read(&self, name: &str, dimensions: &[(&str, &str)], stat: &str) -> Option<f64> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let all = [("environment", ENVIRONMENT)].into_iter().chain(dimensions.iter().copied());
        let dimensions: Vec<_> =
            all.map(|(name, value)| json!({"Name": name, "Value": value})).collect();
        let metric = json!({"Namespace": NAMESPACE, "MetricName": name, "Dimensions": dimensions});
        let query = json!({
            "StartTime": now - 900, "EndTime": now + 900,
            "MetricDataQueries": [{"Id": "one", "ReturnData": true, "MetricStat": {
                "Metric": metric, "Period": 1800, "Stat": stat,
            }}],
        });
        let scope = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/monitoring/aws4_request";
        let headers = [
            ("Authorization", scope),
            ("Content-Type", "application/x-amz-json-1.0"),
            ("X-Amz-Target", "GraniteServiceVersion20100801.GetMetricData"),
        ];
        let body = query.to_string();
        let address = self.emulator.address();
        let answer = http_client::request(address, "POST", "/", &headers, body.as_bytes()).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer: Value = serde_json::from_slice(&answer.body).unwrap();
        answer["MetricDataResults"][0]["Values"][0].as_f64()
    }

    /// Requests that were answered with a class of status.
    fn requests(&self, class: &str) -> f64 {
        let dimensions = [("tier", "web"), ("http_response_status_class", class)];
        self.read("http.server.requests", &dimensions, "Sum").unwrap_or(0.0)
    }

    /// Lets the next calls go wrong.
    fn fail(&self, fault: Fault, times: u32) {
        self.proxy.inject_for("POST", "/PutMetricData", fault, Some(times));
    }

    fn calls(&self) -> usize {
        let seen = self.proxy.seen();
        seen.iter().filter(|seen| seen.path.ends_with("/PutMetricData")).count()
    }
}

/// An agent that serves v1 and sends its metrics.
fn serving(world: &World) -> Agent<'_> {
    world.release(&Release::web("v1", world.port));
    let agent = Agent::start_with(world, &[("metrics.to.kind", "cloudwatch".into())]);
    agent.wait_for_settled("v1");
    agent
}

fn ask(world: &World, path: &str, times: u32) {
    let address = format!("127.0.0.1:{}", world.port);
    for _ in 0..times {
        http_client::get(&address, path).unwrap();
    }
}

/// Requests by class of status, once at least as many as `least` are counted.
#[track_caller]
fn counted(agent: &Agent<'_>, least: &[(&str, f64)]) -> BTreeMap<String, f64> {
    wait_until(SOON, "the requests are counted", || {
        let text = http_client::get(&agent.http_address(), "/metrics").unwrap().text();
        let mut counts = BTreeMap::new();
        for line in text.lines().filter(|line| line.starts_with("http_server_requests_total{")) {
            let (labels, count) = line.rsplit_once(' ').unwrap();
            let class = labels.rsplit_once("class=\"").unwrap().1.trim_end_matches("\"}");
            *counts.entry(class.to_owned()).or_insert(0.0) += count.parse::<f64>().unwrap();
        }
        let enough =
            |(class, least): &(&str, f64)| counts.get(*class).is_some_and(|count| count >= least);
        if least.iter().all(enough) { Ok(counts) } else { Err(counts) }
    })
}

/// The metrics' part of the status.
fn pipeline(status: &Value) -> Value {
    let pipelines = status["pipelines"].as_array().cloned().unwrap_or_default();
    pipelines.into_iter().find(|pipeline| pipeline["name"] == "metrics").unwrap_or_default()
}

#[track_caller]
fn leave(agent: &mut Agent<'_>) {
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.wait(), Some(0), "{}", agent.log());
}

#[track_caller]
fn assert_near(found: f64, expected: f64, share: f64) {
    assert!((found / expected - 1.0).abs() <= share, "{found} for {expected}");
}

#[test]
fn what_was_measured_is_read_back_after_the_host_has_left() {
    let service = Service::start();
    let world = service.world();
    let began = SystemTime::now();
    let mut agent = serving(&world);
    ask(&world, "/", 60);
    ask(&world, "/no/such/page", 3);
    ask(&world, &format!("/slow?ms={}", SLOW_S * 1000.0), 40);
    let counts = counted(&agent, &[("2xx", 100.0), ("4xx", 3.0)]);
    leave(&mut agent);
    // Nothing is waited for: it was accepted before the agent ended.
    let minutes = usize::try_from(began.elapsed().unwrap().as_secs() / 60).unwrap() + 1;
    for (class, count) in counts.iter().filter(|(_, count)| **count > 0.0) {
        assert_near(service.requests(class), *count, 1e-9);
    }
    let of_web = [("tier", "web")];
    let duration = |stat| service.read("http.server.request.duration", &of_web, stat).unwrap();
    let all: f64 = counts.values().sum();
    assert_near(duration("SampleCount"), all, 1e-9);
    // A third of the answers took so long, and a little longer on a busy machine.
    let slow = duration("p80");
    assert!((SLOW_S * 0.99..SLOW_S * 2.0).contains(&slow), "{slow}");
    assert!(duration("p50") < SLOW_S / 2.0, "{}", duration("p50"));
    assert_eq!(service.read("groundcrew.ready", &[], "Maximum"), Some(1.0));
    // One for each minute that began and the last one.
    assert!(service.calls() <= minutes + 1, "{} calls in {minutes} minutes", service.calls());
    assert!(service.requests("5xx") < 0.5, "what has never happened is not there");
}

#[test]
fn refusals_for_a_while_lose_and_repeat_nothing() {
    let service = Service::start();
    let world = service.world();
    let mut agent = serving(&world);
    ask(&world, "/", 30);
    let counts = counted(&agent, &[("2xx", 30.0)]);
    service.fail(Fault::SlowDown, 3);
    leave(&mut agent);
    assert_eq!(service.calls(), 4, "{:#?}", service.proxy.seen());
    assert_near(service.requests("2xx"), counts["2xx"], 1e-9);
}

#[test]
fn an_answer_that_is_lost_makes_the_request_again() {
    let service = Service::start();
    let world = service.world();
    let mut agent = serving(&world);
    ask(&world, "/", 30);
    let counts = counted(&agent, &[("2xx", 30.0)]);
    service.fail(Fault::AnswerLost, 1);
    leave(&mut agent);
    // The service has no way to know the second one for the first: documented, and no more than it.
    let sum = service.requests("2xx");
    assert_near(sum, counts["2xx"] * 2.0, 1e-9);
}

#[test]
fn what_could_not_be_sent_is_sent_by_the_next_agent() {
    let service = Service::start();
    let world = service.world();
    let mut agent = serving(&world);
    service.proxy.refuse();
    ask(&world, "/", 30);
    let counts = counted(&agent, &[("2xx", 30.0)]);
    leave(&mut agent);
    let file = world.path().join("state/metrics/unsent.json");
    assert!(file.exists(), "{}", agent.log());
    assert!(agent.log().contains("metrics were not all sent"), "{}", agent.log());
    service.proxy.heal();
    agent.restart();
    agent.wait_for(SOON, "what was left is sent", |status| {
        let metrics = pipeline(status);
        metrics["sent"].as_u64() > Some(0) && metrics["reason"].is_null()
    });
    wait_until(SOON, "the file is gone", || if file.exists() { Err(()) } else { Ok(()) });
    assert_near(service.requests("2xx"), counts["2xx"], 1e-9);
}

#[test]
fn a_reload_loses_nothing_and_damage_is_no_reason_not_to_start() {
    let service = Service::start();
    let world = service.world();
    let directory = world.path().join("state/metrics");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("unsent.json"), "{\"version\":\"1\",\"da").unwrap();
    let mut agent = serving(&world);
    assert!(directory.join("unsent.json.damaged").exists(), "{}", agent.log());
    ask(&world, "/", 30);
    let before = counted(&agent, &[("2xx", 30.0)]);
    assert_eq!(world.cli(&["reload"]).code, Some(0), "{}", agent.log());
    ask(&world, "/", 20);
    // The next agent counts from zero, and has seen these at least.
    let after = counted(&agent, &[("2xx", 20.0)]);
    leave(&mut agent);
    let sum = service.requests("2xx");
    assert!(
        sum >= 50.0 && sum <= before["2xx"] + after["2xx"] + 1e-6,
        "{sum} {before:?} {after:?}"
    );
}
