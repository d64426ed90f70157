//! Without AWS, and the wire as somebody else reads it.

use serde_json::json;

use super::*;
use crate::harness::emulator::{Emulator, Services, sdk_environment};
use crate::harness::http_client;

/// The lines of each source among messages.
fn lines_of(messages: impl Iterator<Item = String>) -> BTreeMap<u64, Vec<u64>> {
    let mut lines: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for message in messages {
        let Ok(line) = serde_json::from_str::<Value>(&message) else { continue };
        if let (Some(source), Some(sequence)) = (line["src"].as_u64(), line["seq"].as_u64()) {
            lines.entry(source).or_default().push(sequence);
        }
    }
    lines
}

/// The messages of documents, one a line.
fn messages_of(text: &str) -> impl Iterator<Item = String> {
    let documents = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    documents.filter_map(|document| document["message"].as_str().map(str::to_owned))
}

/// Waits until `read` has every line that is owed, in order.
#[track_caller]
fn assert_complete(owed: &BTreeMap<u64, u64>, read: impl Fn() -> BTreeMap<u64, Vec<u64>>) {
    assert!(owed.values().sum::<u64>() > 0, "nothing is owed: {owed:?}");
    let found = wait_until(PAID_WITHIN, "every line is there", || {
        let found = read();
        let count = |source: &u64| found.get(source).map_or(0, Vec::len) as u64;
        let missing: Vec<_> = (owed.iter().filter(|(source, lines)| count(source) < **lines))
            .map(|(source, lines)| (*source, count(source), *lines))
            .collect();
        if missing.is_empty() { Ok(found) } else { Err(missing) }
    });
    for (source, lines) in owed {
        let wanted: Vec<u64> = (0..*lines).collect();
        let first = usize::try_from(*lines).unwrap();
        assert_eq!(found[source][..first], wanted, "source {source}");
    }
}

fn world_of_printers() -> World {
    let world = World::new();
    fs::create_dir(tally_of(&world)).unwrap();
    world.release(&two_tiers("v1", &world));
    world
}

#[test]
fn kind_file_has_a_document_for_every_line() {
    let world = world_of_printers();
    let path = world.path().join("all.ndjson");
    let settings =
        [("logs.to.kind", "file".into()), ("logs.to.path", path.to_str().expect("UTF-8").into())];
    let agent = Agent::start_with(&world, &settings);
    agent.wait_for_settled("v1");
    wait_for_printed(&world, 200);
    let read = || lines_of(messages_of(&fs::read_to_string(&path).unwrap_or_default()));
    assert_complete(&owed(&world), read);
}

#[test]
fn kind_stdout_has_a_document_for_every_line() {
    let world = world_of_printers();
    let agent = Agent::start_with(&world, &[("logs.to.kind", "stdout".into())]);
    agent.wait_for_settled("v1");
    wait_for_printed(&world, 200);
    assert_complete(&owed(&world), || lines_of(messages_of(&agent.log())));
}

/// One call of CloudWatch Logs, unsigned as far as moto cares.
fn call(emulator: &Emulator, operation: &str, body: &Value) -> Value {
    let target = format!("Logs_20140328.{operation}");
    let headers = [
        ("Authorization", "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/logs/aws4_request"),
        ("Content-Type", "application/x-amz-json-1.1"),
        ("X-Amz-Target", target.as_str()),
    ];
    let body = body.to_string();
    let answer = http_client::request(emulator.address(), "POST", "/", &headers, body.as_bytes())
        .unwrap_or_else(|error| panic!("{operation}: {error}"));
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

/// The messages of a group's streams, stream by stream.
fn messages_in(emulator: &Emulator, group: &str) -> Vec<String> {
    let streams = call(emulator, "DescribeLogStreams", &json!({"logGroupName": group}));
    let mut messages = Vec::new();
    for stream in streams["logStreams"].as_array().into_iter().flatten() {
        let mut token = Value::Null;
        loop {
            let mut body = json!({
                "logGroupName": group,
                "logStreamName": stream["logStreamName"],
                "startFromHead": true,
            });
            if token.is_string() {
                body["nextToken"] = token.clone();
            }
            let page = call(emulator, "GetLogEvents", &body);
            let events = page["events"].as_array().cloned().unwrap_or_default();
            let read = events.iter().filter_map(|event| event["message"].as_str());
            messages.extend(read.map(str::to_owned));
            if events.is_empty() || page["nextForwardToken"] == token {
                break;
            }
            token = page["nextForwardToken"].clone();
        }
    }
    messages
}

#[test]
fn an_independent_reader_finds_every_line() {
    let emulator = Emulator::start(Services::All);
    let mut world = world_of_printers();
    for (name, value) in sdk_environment(&emulator.endpoint) {
        world.set_environment(&name, &value);
    }
    let settings =
        to_cloudwatch(&[("logs.retention_days", 14.into()), ("lifecycle.metadata", "off".into())]);
    let agent = Agent::start_with(&world, &settings);
    agent.wait_for_settled("v1");
    wait_for_printed(&world, 200);
    assert_complete(&owed(&world), || {
        let groups = ["loud", "quiet"].map(|tier| format!("/groundcrew/test/{tier}"));
        let messages: Vec<_> =
            groups.iter().flat_map(|group| messages_in(&emulator, group)).collect();
        lines_of(messages.into_iter())
    });
    let groups = call(&emulator, "DescribeLogGroups", &json!({}));
    let retention = |name: &str| {
        let mut groups = groups["logGroups"].as_array().into_iter().flatten();
        groups.find(|group| group["logGroupName"] == name).map(|g| g["retentionInDays"].clone())
    };
    assert_eq!(retention("/groundcrew/test/loud"), Some(14.into()), "{groups:#}");
}
