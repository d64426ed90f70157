//! Requests and datagrams that become segments of X-Ray, through a real agent and real Node.

use std::net::UdpSocket;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::agent::{Agent, World};
use crate::harness::app::Release;
use crate::harness::xray_endpoint::{Fault, XrayEndpoint};
use crate::harness::{free_port, http_client, wait_until};

const SOON: Duration = Duration::from_secs(30);
const ROOT: &str = "1-5759e988-bd862e3fe1be46a994272793";
const PARENT: &str = "53995c3f42cd8ad8";

fn world(endpoint: &XrayEndpoint) -> World {
    let mut world = World::new();
    for (name, value) in endpoint.environment() {
        world.set_environment(&name, &value);
    }
    world
}

/// The pipeline as `status` shows it.
fn pipeline(status: &Value) -> Value {
    let all = status["pipelines"].as_array().cloned().unwrap_or_default();
    all.into_iter().find(|pipeline| pipeline["name"] == "traces").unwrap_or_default()
}

#[track_caller]
fn wait_for_documents(endpoint: &XrayEndpoint, count: usize) -> Vec<Value> {
    wait_until(SOON, "the segments arrive", || {
        let documents = endpoint.documents();
        if documents.len() >= count { Ok(documents) } else { Err(documents) }
    })
}

#[test]
fn a_request_with_a_trace_becomes_a_segment_of_its_release() {
    let endpoint = XrayEndpoint::start(&[Fault::Throttled, Fault::FirstNotNow]);
    let world = world(&endpoint);
    world.release(&Release::web("v1", world.port));
    let agent = Agent::start_with(&world, &[("traces.sample", "100%".into())]);
    agent.wait_for_settled("v1");
    let address = format!("127.0.0.1:{}", world.port);
    let trace = format!("Root={ROOT};Parent={PARENT}");
    let headers = [
        ("X-Amzn-Trace-Id", trace.as_str()),
        ("X-Forwarded-For", "10.9.8.7, 203.0.113.9"),
        ("User-Agent", "curl/8.5.0"),
    ];
    http_client::request(&address, "GET", "/?token=secret", &headers, b"").unwrap();
    http_client::get(&address, "/no/such/page").unwrap();

    let documents = wait_for_documents(&endpoint, 2);
    let of = |found: &dyn Fn(&Value) -> bool| {
        documents.iter().find(|one| found(one)).unwrap_or_else(|| panic!("{documents:#?}"))
    };
    let segment = of(&|one| one["trace_id"] == ROOT);
    assert_eq!((&segment["name"], &segment["parent_id"]), (&json!("web"), &json!(PARENT)));
    assert_eq!(segment["service"]["version"], "v1");
    assert_eq!(segment["annotations"]["release"], "v1");
    assert_eq!(segment["annotations"]["environment"], "test");
    let process = segment["annotations"]["process"].as_str().unwrap();
    assert!(process.starts_with("web."), "{process}");
    assert_eq!(segment["http"]["response"]["status"], 200);
    assert_eq!(segment["http"]["request"]["client_ip"], "203.0.113.9");
    assert!(!segment.to_string().contains("secret"), "{segment}");
    let took = segment["end_time"].as_f64().unwrap() - segment["start_time"].as_f64().unwrap();
    assert!((0.0..20.0).contains(&took), "{took} s");
    let missing = of(&|one| one["http"]["response"]["status"] == 404);
    assert_eq!(missing["error"], true);
    assert!(missing.get("parent_id").is_none() && missing["trace_id"] != ROOT, "{missing}");

    let status = agent.wait_for(SOON, "all of it was sent", |status| {
        let traces = pipeline(status);
        traces["sent"] == 2 && traces["reason"].is_null()
    });
    let traces = pipeline(&status);
    assert_eq!((&traces["dropped"], &traces["rejected"]), (&json!(0), &json!(0)), "{traces}");
    assert_eq!(endpoint.problems(), Vec::<String>::new());
    let metrics = http_client::get(&agent.http_address(), "/metrics").unwrap().text();
    let sent = "groundcrew_pipeline_sent_total{pipeline=\"traces\"} 2";
    assert!(metrics.contains(sent), "no {sent} in\n{metrics}");
    for name in ["v8js_memory_heap_limit_bytes", "nodejs_eventloop_utilization_ratio"] {
        assert!(metrics.contains(&format!("{name}{{tier=\"web\"")), "no {name} in\n{metrics}");
    }
}

#[test]
fn datagrams_of_sdks_are_relayed_and_others_counted() {
    let endpoint = XrayEndpoint::start(&[Fault::FirstInvalid]);
    let world = world(&endpoint);
    world.release(&Release::web("v1", world.port));
    let relay = format!("127.0.0.1:{}", free_port());
    let mut agent = Agent::start_with(&world, &[("traces.relay", relay.as_str().into())]);
    agent.wait_for_settled("v1");
    let segment = |number: u32| {
        json!({
            "trace_id": ROOT, "id": format!("{number:016x}"), "name": "shop",
            "start_time": 1_478_293_361.271, "end_time": 1_478_293_361.449,
            "subsegments": [{"id": "6226467e3f845502", "namespace": "remote"}],
        })
    };
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let send = |bytes: &[u8]| assert_eq!(socket.send_to(bytes, &relay).unwrap(), bytes.len());
    for number in 0..60 {
        send(format!("{{\"format\":\"json\",\"version\":1}}\n{}", segment(number)).as_bytes());
    }
    send(b"{\"format\":\"json\",\"version\":1}\nnot a segment");
    send(&[0xff; 2000]);
    let mut documents = wait_for_documents(&endpoint, 59);
    documents.sort_by_key(|one| one["id"].as_str().unwrap_or_default().to_owned());
    let expected: Vec<_> = (1..60).map(segment).collect();
    assert_eq!(documents, expected, "all but the one that X-Ray did not like");
    let status = agent.wait_for(SOON, "everything is counted", |status| {
        let traces = pipeline(status);
        traces["sent"] == 59 && traces["dropped"] == 2 && traces["rejected"] == 1
    });
    assert_eq!(pipeline(&status)["backlog_bytes"], 0);
    assert!(endpoint.requests() >= 2, "more than 50 do not go in one");
    assert_eq!(endpoint.problems(), Vec::<String>::new());

    // What waits when the agent is told to end goes before it does.
    send(format!("{{\"format\":\"json\",\"version\":1}}\n{}", segment(99)).as_bytes());
    agent.wait_for(SOON, "the last one waits", |status| pipeline(status)["backlog_bytes"] != 0);
    agent.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(agent.wait(), Some(0), "{}", agent.log());
    assert_eq!(endpoint.documents().len(), 60);
}
