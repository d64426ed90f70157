//! Nights of a fleet, by the real binary: each host an agent of its own, one RDS, one bucket.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::agent::{Agent, World};
use crate::harness::emulator::{Emulator, Services, sdk_environment};
use crate::harness::{http_client, wait_until};

const BUCKET: &str = "backups";
const DATABASE: &str = "shop";
/// A snapshot is looked at half a minute after it was asked for.
const NIGHT_WITHIN: Duration = Duration::from_mins(3);

/// AWS, with a database and a bucket.
fn aws() -> Emulator {
    let emulator = Emulator::start(Services::All);
    emulator.create_bucket(BUCKET);
    let seconds = json!({"seconds": {"snapshot": 1, "copy": 1}});
    let path = "/_emulator/rds";
    let answer =
        http_client::request(emulator.address(), "POST", path, &[], seconds.to_string().as_bytes());
    assert_eq!(answer.unwrap().status, 200);
    rds(
        &emulator,
        "CreateDBInstance",
        &[
            ("DBInstanceIdentifier", DATABASE),
            ("DBInstanceClass", "db.t4g.medium"),
            ("Engine", "postgres"),
            ("AllocatedStorage", "20"),
            ("MasterUsername", "shop"),
            ("MasterUserPassword", "not-a-secret"),
        ],
    );
    emulator
}

/// A call of RDS that no agent makes; its answer.
fn rds(emulator: &Emulator, action: &str, parameters: &[(&str, &str)]) -> String {
    let scope = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/rds/aws4_request";
    let about = [("Action", action), ("Version", "2014-10-31")];
    let pairs = about.iter().chain(parameters).map(|(name, value)| format!("{name}={value}"));
    let body = pairs.collect::<Vec<_>>().join("&");
    let headers = [("Authorization", scope), ("Content-Type", "application/x-www-form-urlencoded")];
    let answer =
        http_client::request(emulator.address(), "POST", "/", &headers, body.as_bytes()).unwrap();
    assert_eq!(answer.status, 200, "{action}: {}", answer.text());
    answer.text()
}

/// The identifiers of all snapshots that agents made.
fn snapshots(emulator: &Emulator) -> Vec<String> {
    let text = rds(emulator, "DescribeDBSnapshots", &[("SnapshotType", "manual")]);
    let ids = text.split("<DBSnapshotIdentifier>").skip(1);
    let ids = ids.filter_map(|rest| rest.split_once('<').map(|(id, _)| id.to_owned()));
    ids.filter(|id| id.starts_with("gc-")).collect()
}

#[track_caller]
fn wait_for_snapshots(emulator: &Emulator, count: usize) {
    wait_until(NIGHT_WITHIN, "as many snapshots", || {
        let found = snapshots(emulator);
        if found.len() == count { Ok(()) } else { Err(found) }
    });
}

fn world(emulator: &Emulator) -> World {
    let mut world = World::new();
    for (name, value) in sdk_environment(&emulator.endpoint) {
        world.set_environment(&name, &value);
    }
    world
}

/// The job of a night whose slot was at midnight: late, so that it is due at once.
fn start<'a>(world: &'a World, retention: &toml::Table) -> Agent<'a> {
    let mut job = toml::toml! {
        name = "nightly"
        kind = "rds-snapshot"
        database = "shop"
        schedule = "every 24h"
        catch_up = "23h59m"
        spread = "0s"
        verify = { encrypted = false }
    };
    job.insert("retention".to_owned(), toml::Value::Table(retention.clone()));
    let store = format!("s3://{BUCKET}/shop");
    Agent::start_with(
        world,
        &[
            ("backup_store", store.into()),
            ("backup", toml::Value::Array(vec![toml::Value::Table(job)])),
        ],
    )
}

fn job(status: &Value) -> &Value {
    &status["backups"][0]
}

fn wait_for_ok(agent: &Agent<'_>) -> Value {
    agent.wait_for(NIGHT_WITHIN, "the job is ok", |status| {
        job(status)["state"] == "ok" && job(status)["last_good"]["level"] == "L0"
    })
}

#[test]
fn three_hosts_make_one_snapshot_though_one_is_killed() {
    let emulator = aws();
    let worlds = [world(&emulator), world(&emulator), world(&emulator)];
    let keep = toml::toml! { keep_daily = 7 };
    let mut agents: Vec<_> = worlds.iter().map(|world| start(world, &keep)).collect();
    wait_for_snapshots(&emulator, 1);
    agents[0].kill();
    for agent in &agents[1..] {
        let status = wait_for_ok(agent);
        let good = &job(&status)["last_good"];
        assert_eq!(good["id"], snapshots(&emulator)[0].as_str(), "{status:#}");
        assert!(job(&status)["next"].is_i64(), "{status:#}");
    }
    let shown = worlds[1].cli(&["status"]);
    assert!(shown.stdout.contains("\nJOB "), "{shown:#?}");
    // A host that comes back finds the record, and asks for nothing.
    agents[0].restart();
    wait_for_ok(&agents[0]);
    assert_eq!(snapshots(&emulator).len(), 1);
}

#[test]
fn by_hand_a_backup_is_made_pinned_and_left_to_retention() {
    let emulator = aws();
    let world = world(&emulator);
    let keep = toml::toml! { keep_last = 1 min_keep = 1 };
    let agent = start(&world, &keep);
    wait_for_ok(&agent);
    let first = snapshots(&emulator).remove(0);
    let cli = |arguments: &[&str]| {
        let mut all = vec!["backups", "--config", "config.toml"];
        all.extend(arguments);
        world.cli(&all)
    };
    let json = |arguments: &[&str]| -> Value {
        let ended = cli(arguments);
        assert_eq!(ended.code, Some(0), "{ended:#?}");
        serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:#?}"))
    };
    let listed = json(&["list", "--json"]);
    assert_eq!(listed["backups"][0]["id"], first.as_str(), "{listed:#}");
    assert_eq!(listed["backups"][0]["level"], "L0", "{listed:#}");
    let pinned = cli(&["pin", &first, "--reason", "the audit of May"]);
    assert_eq!(pinned.code, Some(0), "{pinned:#?}");

    let run = cli(&["run", "nightly"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert!(run.stdout.ends_with(" is there\n"), "{run:#?}");
    assert_eq!(snapshots(&emulator).len(), 2, "what is pinned stays");
    let held = |id: &str| {
        let listed = json(&["list", "--json"]);
        let backups = listed["backups"].as_array().unwrap().clone();
        let one = backups.into_iter().find(|backup| backup["id"] == id).unwrap();
        one["hold"].as_str().map(str::to_owned)
    };
    assert_eq!(held(&first).as_deref(), Some("the audit of May"));

    assert_eq!(cli(&["unpin", &first]).code, Some(0));
    assert_eq!(held(&first), None);
    let plan = json(&["retention", "nightly", "--explain", "--json"]);
    assert_eq!(plan[0]["delete"], json!([first]), "{plan:#}");
    assert_eq!(snapshots(&emulator).len(), 2, "a plan deletes nothing");
    let applied = json(&["retention", "nightly", "--apply", "--json"]);
    assert_eq!(applied[0]["deleted"], json!([first]), "{applied:#}");
    wait_for_snapshots(&emulator, 1);
    assert_ne!(snapshots(&emulator)[0], first);

    let nobody = cli(&["verify", "gc-nobody"]);
    assert_eq!(nobody.code, Some(1), "{nobody:#?}");
    assert!(nobody.stderr.contains("there is no backup gc-nobody"), "{nobody:#?}");
    let asks = cli(&["restore", &snapshots(&emulator)[0], "--to", "shop-restored"]);
    assert_eq!(asks.code, Some(1), "{asks:#?}");
    assert!(asks.stdout.contains("1. refuse, if there is"), "{asks:#?}");
    assert!(asks.stderr.contains("nobody can be asked here"), "{asks:#?}");
    drop(agent);
}
