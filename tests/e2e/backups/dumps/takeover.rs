//! A host that dies in the middle of a dump: another takes its lease over, and one dump is
//! committed. The real binary, a real PostgreSQL.

use std::time::Duration;

use serde_json::Value;

use super::faults::{large, wait_for_client};
use super::servers::PASSWORD;
use super::{BUCKET, World};
use crate::backups::nightly::just_now;
use crate::harness::agent::{Agent, World as Host};
use crate::harness::emulator::sdk_environment;
use crate::harness::fault_proxy::Fault;
use crate::harness::wait_until;

const DUMPED_WITHIN: Duration = Duration::from_mins(3);

fn host(world: &World) -> Host {
    let mut host = Host::new();
    for (name, value) in sdk_environment(&world.proxy.endpoint()) {
        host.set_environment(&name, &value);
    }
    host
}

fn start<'a>(host: &'a Host, world: &World, schedule: &str) -> Agent<'a> {
    let password = world.directory.join("password").to_string();
    assert_eq!(std::fs::read_to_string(&password).unwrap(), PASSWORD);
    let recipient = world.identity.to_public().to_string();
    let mut job = toml::toml! {
        name = "shop"
        kind = "pg-dump"
        database = "shop"
        catch_up = "20h"
        spread = "0s"
        connection = { host = "127.0.0.1", user = "app", tls = "off" }
    };
    let mut set = |key: &str, value: toml::Value| crate::harness::app::set(&mut job, key, value);
    set("schedule", schedule.into());
    set("connection.port", i64::from(world.server.port).into());
    set("connection.password_file", password.into());
    set("encryption.age_recipients", vec![recipient].into());
    let job = toml::Value::Array(vec![toml::Value::Table(job)]);
    let store = format!("s3://{BUCKET}/acme");
    Agent::start_with(host, &[("backup_store", store.into()), ("backup", job)])
}

/// As if the lease's three minutes had passed: it is what it was, and good for a second.
fn age_the_lease(world: &World) {
    let mut keys = world.keys().into_iter().filter(|key| key.contains("/leases/"));
    let key = keys.next().expect("a lease");
    assert_eq!(keys.next(), None);
    let mut lease: Value = serde_json::from_slice(&world.object(&key)).unwrap();
    assert_eq!(lease["epoch"], 1, "{lease:#}");
    lease["ttl_s"] = 1.into();
    world.put(&key, lease.to_string().as_bytes());
    // Ages are whole seconds. Who finds it not over yet comes again within minutes.
    let written = jiff::Timestamp::now();
    wait_until(Duration::from_secs(30), "the lease is over", || {
        let age_s = jiff::Timestamp::now().duration_since(written).as_secs();
        if age_s > 3 { Ok(()) } else { Err(age_s) }
    });
}

#[test]
fn a_dump_whose_host_is_killed_is_made_once_by_another() {
    let world = large();
    let slow = Fault::Delay(Duration::from_secs(2));
    world.proxy.inject_for("PUT", "partNumber", slow, None);
    let (one, other, schedule) = (host(&world), host(&world), just_now());
    let mut first = start(&one, &world, &schedule);
    wait_for_client(&world);
    first.kill();
    assert!(!world.keys().iter().any(|key| key.contains("/dumps/")), "{:?}", world.keys());
    assert_eq!(world.uploads(), 1);
    world.proxy.heal();
    age_the_lease(&world);

    let second = start(&other, &world, &schedule);
    let status = second.wait_for(DUMPED_WITHIN, "the job is ok", |status| {
        status["backups"][0]["state"] == "ok" && status["backups"][0]["last_good"].is_object()
    });
    let committed = || {
        let all = world.keys().into_iter().filter(|key| key.contains("/dumps/"));
        all.collect::<Vec<_>>()
    };
    let dumps = committed();
    let id = status["backups"][0]["last_good"]["id"].as_str().unwrap();
    let below = format!("acme/dumps/shop/{id}/");
    assert_eq!(dumps.len(), 2, "a manifest and its data: {dumps:?}");
    let is_second = |key: &String| key.starts_with(&format!("{below}2-"));
    assert!(dumps.iter().any(is_second), "whoever takes over counts the epoch up: {dumps:?}");
    assert!(dumps.contains(&format!("{below}manifest.json")), "{dumps:?}");
    assert_eq!(world.uploads(), 1, "what the first had uploaded is never completed");

    // The one that died comes back, finds the record, and makes nothing.
    first.restart();
    first.wait_for(DUMPED_WITHIN, "it knows", |status| status["backups"][0]["state"] == "ok");
    assert_eq!(committed(), dumps);
    let record = world.object(&format!("acme/runs/shop/{id}.json"));
    let record: Value = serde_json::from_slice(&record).unwrap();
    assert_eq!(record["outcome"]["done"]["id"], id, "{record:#}");
}
