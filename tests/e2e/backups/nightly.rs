//! Nights of a fleet, by the real binary: each host an agent of its own, one RDS, one bucket.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::agent::{Agent, Ended, World};
use crate::harness::emulator::{Emulator, Services, sdk_environment};
use crate::harness::{http_client, wait_until};

const BUCKET: &str = "backups";
const DATABASE: &str = "shop";
/// A snapshot is looked at half a minute after it was asked for.
const NIGHT_WITHIN: Duration = Duration::from_mins(3);

/// AWS with a bucket, where things are done soon.
fn empty_aws() -> Emulator {
    let emulator = Emulator::start(Services::All);
    emulator.create_bucket(BUCKET);
    pull(&emulator, "rds", &json!({"seconds": {"snapshot": 1, "copy": 1, "restore": 0}}));
    emulator
}

/// Pulls a lever of the emulator.
fn pull(emulator: &Emulator, lever: &str, said: &Value) {
    let path = format!("/_emulator/{lever}");
    let body = said.to_string();
    let answer =
        http_client::request(emulator.address(), "POST", &path, &[], body.as_bytes()).unwrap();
    assert_eq!(answer.status, 200, "{lever}: {}", answer.text());
}

/// The same, with a database.
fn aws() -> Emulator {
    let emulator = empty_aws();
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
    call(emulator, ("rds", "2014-10-31", "us-east-1"), action, parameters)
}

/// A call of a service by its version, in a region.
fn call(
    emulator: &Emulator,
    (service, version, region): (&str, &str, &str),
    action: &str,
    parameters: &[(&str, &str)],
) -> String {
    let scope =
        format!("AWS4-HMAC-SHA256 Credential=test/20260101/{region}/{service}/aws4_request");
    let about = [("Action", action), ("Version", version)];
    let pairs = about.iter().chain(parameters).map(|(name, value)| format!("{name}={value}"));
    let body = pairs.collect::<Vec<_>>().join("&");
    let headers =
        [("Authorization", &*scope), ("Content-Type", "application/x-www-form-urlencoded")];
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

/// A schedule whose slot was two minutes ago, whenever that is: due at once, and not again while
/// the test runs. Hosts of one fleet have the same.
pub fn just_now() -> String {
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    let slot = now.checked_sub(jiff::Span::new().minutes(2)).unwrap();
    format!("{} {} * * *", slot.minute(), slot.hour())
}

/// The job of a night.
fn nightly(schedule: &str, retention: &toml::Table) -> toml::Table {
    let mut job = toml::toml! {
        name = "nightly"
        kind = "rds-snapshot"
        database = "shop"
        catch_up = "20h"
        spread = "0s"
        verify = { encrypted = false }
    };
    job.insert("schedule".to_owned(), schedule.into());
    job.insert("retention".to_owned(), toml::Value::Table(retention.clone()));
    job
}

fn start(world: &World, job: toml::Table) -> Agent<'_> {
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
    let schedule = just_now();
    let mut agents: Vec<_> =
        worlds.iter().map(|world| start(world, nightly(&schedule, &keep))).collect();
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
    let agent = start(&world, nightly(&just_now(), &keep));
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
    // Where no agent runs and the bucket does not answer, nobody says whether the job fails.
    let blind = |more: &[&str]| {
        let fixed = ["--socket", "nobody.sock", "backups", "--config", "blind.toml"];
        let what = ["retention", "nightly", "--apply"];
        world.cli(&[&fixed[..], &what, more].concat())
    };
    let config = std::fs::read_to_string(world.path().join("config.toml")).unwrap();
    let elsewhere = config.replace("s3://backups/shop", "s3://no-such-bucket/shop");
    std::fs::write(world.path().join("blind.toml"), elsewhere).unwrap();
    let refused = blind(&[]);
    assert_eq!(refused.code, Some(1), "{refused:#?}");
    assert!(refused.stdout.contains("nobody can say whether the job fails"), "{refused:#?}");
    assert_eq!(snapshots(&emulator).len(), 2);
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

/// The CLI of backups, with the host's file of this world.
fn backups(world: &World, arguments: &[&str]) -> Ended {
    world.cli(&[&["backups", "--config", "config.toml"], arguments].concat())
}

#[test]
fn an_order_ends_with_its_own_slot_and_a_stopped_database_with_its_reason() {
    let emulator = aws();
    let world = world(&emulator);
    let keep = toml::toml! { keep_daily = 7 };
    let agent = start(&world, nightly(&just_now(), &keep));
    wait_for_ok(&agent);
    pull(&emulator, "rds", &json!({"status": {"shop": "stopped"}}));
    let run = backups(&world, &["run", "nightly"]);
    assert_eq!(run.code, Some(1), "{run:#?}");
    assert!(run.stdout.ends_with("nightly: skipped: the database is stopped\n"), "{run:#?}");
    assert_eq!(snapshots(&emulator).len(), 1);
}

#[test]
fn the_doctor_names_the_database_that_is_in_one_zone() {
    let emulator = aws();
    let world = world(&emulator);
    let keep = toml::toml! { keep_daily = 7 };
    let mut agent = start(&world, nightly(&just_now(), &keep));
    agent.kill();
    let ended = world.cli(&["doctor", "--config", "config.toml", "--json"]);
    let document: Value =
        serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:#?}"));
    let findings = document["findings"].as_array().unwrap();
    let backup = findings
        .iter()
        .find(|one| one["check"] == "backup" && one["numbers"].to_string().contains("in one zone"));
    let backup = backup.unwrap_or_else(|| panic!("{findings:#?}"));
    assert_eq!(backup["verdict"], "caution", "{backup:#}");
    assert!(backup["numbers"].as_str().unwrap().contains("nightly: shop is in one zone"));
    assert!(backup["fix"].as_str().unwrap().contains("--db-instance-identifier shop --multi-az"));
}

#[test]
fn a_copy_is_pinned_verified_restored_and_found_when_the_region_is_lost() {
    const ELSEWHERE: &str = "eu-west-1";
    let emulator = empty_aws();
    let cluster = [("DBClusterIdentifier", "orders"), ("Engine", "aurora-postgresql")];
    let login = [("MasterUsername", "root"), ("MasterUserPassword", "not-a-secret")];
    rds(&emulator, "CreateDBCluster", &[&cluster[..], &login].concat());
    let member = [("DBInstanceIdentifier", "shop"), ("DBInstanceClass", "db.r7g.large")];
    rds(&emulator, "CreateDBInstance", &[&cluster[..], &member].concat());
    let subnets = call(&emulator, ("ec2", "2016-11-15", ELSEWHERE), "DescribeSubnets", &[]);
    let subnet = subnets.split("<subnetId>").nth(1).unwrap().split('<').next().unwrap();
    let there = ("rds", "2014-10-31", ELSEWHERE);
    let group = [
        ("DBSubnetGroupName", "shop"),
        ("DBSubnetGroupDescription", "shop"),
        ("SubnetIds.SubnetIdentifier.1", subnet),
    ];
    call(&emulator, there, "CreateDBSubnetGroup", &group);
    let world = world(&emulator);
    let mut job = nightly(&just_now(), &toml::toml! { keep_daily = 7 });
    // The host's file names a member: its snapshots are of the cluster.
    job.extend(toml::toml! { copy = [{ region = "eu-west-1", keep_daily = 7 }] });
    let mut agent = start(&world, job);
    let status = wait_for_ok(&agent);
    assert_eq!(status["backups"][0]["copies"][0]["done"], true, "{status:#}");
    let id = status["backups"][0]["last_good"]["id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("gc-nightly-shop-"), "{id}");
    agent.kill();

    let pinned = backups(&world, &["pin", &id, "--reason", "the audit of May"]);
    assert_eq!(
        (pinned.code, pinned.stdout.as_str()),
        (Some(0), format!("{id} is kept: the audit of May (home, eu-west-1)\n").as_str(),)
    );
    let proved = backups(&world, &["verify", &id, "--region", ELSEWHERE]);
    assert_eq!(proved.code, Some(0), "{proved:#?}");
    let nowhere = backups(&world, &["verify", &id, "--region", "eu-north-1"]);
    assert!(nowhere.stderr.contains("no backup is copied to eu-north-1"), "{nowhere:#?}");
    let to = ["restore", &id, "--region", ELSEWHERE, "--to", "shop-restored", "--yes"];
    let refused = backups(&world, &to);
    assert_eq!(refused.code, Some(1), "{refused:#?}");
    assert!(refused.stderr.contains("give --subnet-group and --security-group"), "{refused:#?}");
    let network = ["--subnet-group", "shop", "--security-group", "sg-shop"];
    let class = ["--class", "db.r7g.large"];
    let restored = backups(&world, &[&to[..], &network, &class].concat());
    assert_eq!(restored.code, Some(0), "{restored:#?}");
    assert!(restored.stdout.contains("shop-restored is available"), "{restored:#?}");
    let copies = call(&emulator, there, "DescribeDBClusterSnapshots", &[]);
    assert!(copies.contains("groundcrew:in-use") && copies.contains("restore to shop-restored"));

    // The region is lost, and with it whoever says of which cluster the database is.
    for action in ["DescribeDBInstances", "DescribeDBClusters"] {
        let said = json!({"action": action, "kind": "error", "code": "InternalFailure"});
        pull(&emulator, "fault", &said);
    }
    let plan = backups(&world, &["dr-plan", "--json"]);
    assert_eq!(plan.code, Some(0), "{plan:#?}");
    let plan: Value = serde_json::from_str(&plan.stdout).unwrap();
    let copy = &plan["jobs"][0]["copies"][0];
    assert_eq!((&copy["id"], &copy["place"]), (&json!(id), &json!(ELSEWHERE)), "{plan:#}");
    let command = copy["commands"][0].as_str().unwrap();
    let begins = format!("groundcrew backups restore nightly/{id} --region eu-west-1 --to shop ");
    assert!(command.starts_with(&begins) && command.ends_with("--class CLASS"), "{command}");
}
