//! `groundcrew fleet` from a laptop: a group of two instances of version 1 of a launch template,
//! whose refreshes the emulator holds, lets fail and lets go on.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::agent::{Ended, World};
use crate::harness::cli::RunningCli;
use crate::harness::emulator::{Emulator, Services, sdk_environment};
use crate::harness::{http_client, wait_until};

const NEW: &str = "ami-03cf127a";
const OTHER: &str = "ami-760aaa0f";
const REFRESH: [&str; 5] = ["fleet", "refresh", "--group", "web", "--ami"];
const WITHIN: Duration = Duration::from_secs(20);

/// The group, and whoever types.
struct Laptop {
    world: World,
    emulator: Emulator,
}

impl Laptop {
    fn new() -> Self {
        Self::with(|environment| environment)
    }

    fn with(environment: impl FnOnce(Vec<(String, String)>) -> Vec<(String, String)>) -> Self {
        let emulator = Emulator::start(Services::All);
        let environment = environment(sdk_environment(&emulator.endpoint));
        let world = World::with_source("s3://none/of-it", environment);
        let laptop = Self { world, emulator };
        let plan = json!({
            "template": "1", "instances": 2, "min": 1, "max": 6, "target_group": false,
        });
        laptop.pull("POST", "fleet", &plan);
        laptop
    }

    fn pull(&self, method: &str, lever: &str, said: &Value) -> Value {
        let (path, body) = (format!("/_emulator/{lever}"), said.to_string());
        let address = self.emulator.address();
        let answer = http_client::request(address, method, &path, &[], body.as_bytes()).unwrap();
        assert_eq!(answer.status, 200, "{lever}: {}", answer.text());
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// What refreshes do from now on.
    fn refreshes(&self, plan: &Value) {
        self.pull("POST", "refresh", plan);
    }

    /// The next call of this action goes wrong.
    fn fail(&self, action: &str, kind: &str, code: Option<&str>) {
        let fault = json!({"action": action, "kind": kind, "code": code, "times": 1});
        self.pull("POST", "fault", &fault);
    }

    /// The parameters of each call of an action.
    fn calls(&self, action: &str) -> Vec<Value> {
        let journal = self.pull("GET", "journal", &json!({}));
        let entries = journal["entries"].as_array().expect("a journal").iter();
        let calls = entries.filter(|entry| entry["action"] == action);
        calls.map(|entry| entry["parameters"].clone()).collect()
    }

    #[track_caller]
    fn run(&self, arguments: &[&str], code: i32) -> Ended {
        let ended = self.world.cli(arguments);
        assert_eq!(ended.code, Some(code), "{arguments:?}: {ended:#?}");
        ended
    }

    #[track_caller]
    fn refresh(&self, ami: &str, more: &[&str], code: i32) -> Ended {
        self.run(&[&REFRESH[..], &[ami], more].concat(), code)
    }

    #[track_caller]
    fn status(&self, code: i32) -> Value {
        let ended = self.run(&["fleet", "status", "--group", "web", "--json"], code);
        serde_json::from_str(&ended.stdout).unwrap()
    }

    fn versions(&self) -> Vec<Value> {
        let status = self.world.cli(&["fleet", "--group", "web", "--json"]);
        let status: Value = serde_json::from_str(&status.stdout).unwrap();
        let instances = status["group"]["instances"].as_array().expect("instances");
        instances.iter().map(|one| one["template"]["version"].clone()).collect()
    }
}

#[track_caller]
fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

#[test]
fn a_new_image_reaches_every_instance_and_comes_once() {
    let laptop = Laptop::new();
    let dry = laptop.refresh(NEW, &["--dry-run"], 0);
    has(&dry.stdout, &["2 instances to ami-03cf127a", "a new version, made from 1"]);
    assert!(laptop.calls("CreateLaunchTemplateVersion").is_empty());

    let ended = laptop.refresh(NEW, &["--wait", "--alarm", "web-5xx"], 0);
    has(&ended.stdout, &["web-5xx", "web is refreshed (Successful)"]);
    let started = &laptop.calls("StartInstanceRefresh")[0];
    for (name, value) in [
        ("DesiredConfiguration.LaunchTemplate.Version", "2"),
        ("Preferences.SkipMatching", "true"),
        ("Preferences.AutoRollback", "true"),
        ("Preferences.MinHealthyPercentage", "100"),
        ("Preferences.MaxHealthyPercentage", "110"),
        ("Preferences.StandbyInstances", "Ignore"),
        ("Preferences.AlarmSpecification.Alarms.member.1", "web-5xx"),
    ] {
        assert_eq!(started[name], value, "{name} in {started:#}");
    }
    let made = &laptop.calls("CreateLaunchTemplateVersion")[0];
    assert_eq!(made["VersionDescription"], "first", "it would be a change for Terraform");

    let status = laptop.run(&["fleet", "status", "--group", "web"], 0);
    has(&status.stdout, &["● steady: 2 of 2 in service", "version 2, ami-03cf127a", "Successful"]);
    let json = laptop.status(0);
    for instance in json["group"]["instances"].as_array().unwrap() {
        assert_eq!(
            (&instance["template"]["version"], &instance["image"]),
            (&"2".into(), &NEW.into())
        );
        assert!(instance["launched"].is_i64(), "{instance:#}");
    }
    let again = laptop.refresh(NEW, &["--wait"], 0);
    has(&again.stdout, &["have version 2 already; nothing is done"]);
    assert_eq!(laptop.calls("CreateLaunchTemplateVersion").len(), 1);
    assert_eq!(laptop.calls("StartInstanceRefresh").len(), 1);

    // And the way back when it has ended: the version before, as it is.
    let back =
        ["fleet", "refresh", "--group", "web", "--template-version", "1", "--wait", "--json"];
    let ended = laptop.run(&back, 0);
    let last: Value = serde_json::from_str(ended.stdout.lines().last().unwrap()).unwrap();
    assert_eq!((&last["outcome"], &last["group"]), (&"updated".into(), &"web".into()));
    assert_eq!(laptop.versions(), ["1", "1"]);
}

#[test]
fn one_refresh_runs_at_a_time_and_the_same_one_is_followed() {
    let laptop = Laptop::new();
    laptop.refreshes(&json!({"hold": true}));
    let begun = laptop.refresh(NEW, &[], 0);
    has(&begun.stdout, &["of web runs; `groundcrew fleet status --group web` shows it"]);
    let refused = laptop.refresh(OTHER, &["--wait"], 1);
    has(&refused.stderr, &["an instance refresh of group web runs already:", "0%", "to version 2"]);
    assert_eq!(laptop.calls("CreateLaunchTemplateVersion").len(), 1, "nothing is made in vain");
    let same = laptop.refresh(NEW, &[], 0);
    has(&same.stdout, &["this refresh runs already"]);
    assert_eq!(laptop.calls("StartInstanceRefresh").len(), 1);
    assert_eq!(laptop.status(0)["standing"]["word"], "refreshing");

    let mut followed = RunningCli::start(&laptop.world, &[&REFRESH[..], &[NEW, "--wait"]].concat());
    followed.wait_for_line("InProgress, 2 to update: Waiting for instances to warm up");
    laptop.refreshes(&json!({}));
    assert_eq!(followed.wait(), Some(0), "{}", followed.stderr());
    followed.wait_for_line("web is refreshed");
}

#[test]
fn a_refresh_that_fails_says_why_and_what_to_type() {
    let laptop = Laptop::new();
    laptop.refreshes(&json!({"fail": {"reason": "Launching failed: no capacity.", "after": 1}}));
    let failed = laptop.refresh(NEW, &["--wait", "--no-rollback"], 1);
    has(&failed.stdout, &["web is not refreshed (Failed): Launching failed: no capacity."]);
    let status = laptop.run(&["fleet", "status", "--group", "web"], 1);
    let next = "Next: groundcrew fleet refresh --group web --template-version 1 --wait";
    has(&status.stdout, &["● degraded: 2 of 2 in service", "no capacity.", next]);

    laptop.refreshes(&json!({}));
    laptop.run(&["fleet", "refresh", "--group", "web", "--template-version", "1", "--wait"], 0);
    assert_eq!(laptop.versions(), ["1", "1"]);
    laptop.status(0);
}

#[test]
fn a_refresh_that_failed_and_changed_nothing_is_history() {
    let laptop = Laptop::new();
    laptop.refreshes(&json!({"fail": {"reason": "Launching failed: no capacity.", "after": 0}}));
    laptop.refresh(NEW, &["--wait", "--no-rollback"], 1);
    let status = laptop.run(&["fleet", "status", "--group", "web"], 0);
    has(&status.stdout, &["● steady: 2 of 2 in service", "Failed 0%", "no capacity."]);
    let back = ["fleet", "refresh", "--group", "web", "--template-version", "1", "--wait"];
    has(&laptop.run(&back, 0).stdout, &["have version 1 already; nothing is done"]);
}

#[test]
fn a_refresh_is_rolled_back_by_itself_and_by_hand() {
    let laptop = Laptop::new();
    laptop.refreshes(&json!({"fail": {"reason": "Alarm web-5xx went off.", "after": 1}}));
    let ended = laptop.refresh(NEW, &["--wait"], 4);
    let end = "web is as it was before: it was rolled back (RollbackSuccessful): Alarm web-5xx";
    has(&ended.stdout, &[end]);
    assert_eq!(laptop.versions(), ["1", "1"]);
    laptop.status(0);

    laptop.refreshes(&json!({"hold": true}));
    laptop.refresh(NEW, &[], 0);
    let ended = laptop.run(&["fleet", "refresh", "--group", "web", "--rollback", "--wait"], 0);
    has(&ended.stdout, &["it was rolled back"]);
    let none = laptop.run(&["fleet", "refresh", "--group", "web", "--rollback"], 1);
    has(&none.stderr, &["no instance refresh of group web runs; the last one: RollbackSuccessful"]);
}

#[test]
fn a_refresh_is_cancelled_and_whoever_waits_hears_of_it() {
    let laptop = Laptop::new();
    laptop.refreshes(&json!({"hold": true}));
    let mut waiting = RunningCli::start(&laptop.world, &[&REFRESH[..], &[NEW, "--wait"]].concat());
    waiting.wait_for_line("InProgress");
    let ended = laptop.run(&["fleet", "refresh", "--group", "web", "--cancel", "--wait"], 0);
    has(&ended.stdout, &["it was cancelled (Cancelled)"]);
    assert_eq!(waiting.wait(), Some(5), "{}", waiting.stderr());
    let none = laptop.run(&["fleet", "refresh", "--group", "web", "--cancel"], 1);
    has(&none.stderr, &["no instance refresh of group web runs; the last one: Cancelled"]);
}

#[test]
fn whoever_stops_waiting_stops_nothing() {
    let laptop = Laptop::new();
    laptop.refreshes(&json!({"hold": true}));
    let mut waiting = RunningCli::start(&laptop.world, &[&REFRESH[..], &[NEW, "--wait"]].concat());
    waiting.wait_for_line("InProgress");
    waiting.interrupt();
    assert_eq!(waiting.wait(), Some(130));
    has(&waiting.stderr(), &["of group web goes on", "--cancel` ends it"]);
    assert_eq!(laptop.status(0)["refresh"]["status"], "InProgress");
    assert!(laptop.calls("CancelInstanceRefresh").is_empty());
    laptop.refreshes(&json!({}));
    wait_until(WITHIN, "it ends without anybody", || {
        let status = laptop.status(0)["refresh"]["status"].clone();
        if status == "Successful" { Ok(()) } else { Err(status) }
    });
}

#[test]
fn a_group_is_scaled_within_its_bounds() {
    let laptop = Laptop::new();
    let scale = |more: &[&str], code| {
        laptop.run(&[&["fleet", "--group", "web", "scale"], more].concat(), code)
    };
    let ended = scale(&["3", "--wait"], 0);
    has(&ended.stdout, &["web: from 2 to 3, of 1 to 6", "Terraform", "web has 3 in service"]);
    let ended = scale(&["3", "--wait"], 0);
    has(&ended.stdout, &["web has 3 wanted already"]);
    let refused = scale(&["7", "--yes"], 1);
    has(&refused.stderr, &["7 is more than the maximum of group web, which has 1 to 6: take 6"]);
    let refused = scale(&["0", "--yes"], 1);
    has(&refused.stderr, &["0 is less than the minimum of group web, which has 1 to 6: take 1"]);
    let refused = scale(&["6"], 1);
    has(&refused.stderr, &["nobody can be asked here, and it is more than half", "--yes"]);
    let refused = scale(&["4", "--honor-cooldown"], 1);
    has(&refused.stderr, &["a cooldown lasts"]);
    assert_eq!(laptop.status(0)["group"]["desired"], 3);
    scale(&["1", "--yes", "--wait", "--json"], 0);
    assert_eq!(laptop.status(0)["group"]["desired"], 1);

    let failure = json!({"description": "Launching a new EC2 instance", "reason": "No capacity."});
    laptop.pull("POST", "activity", &failure);
    let status = laptop.run(&["fleet", "status", "--group", "web"], 0);
    has(&status.stdout, &["FAILED", "Launching a new EC2 instance: No capacity."]);
}

#[test]
fn the_group_is_the_configurations_or_the_instances_own() {
    let laptop = Laptop::new();
    has(&laptop.run(&["fleet", "status"], 0).stdout, &["● steady", "web; 2 wanted"]);
    let file = laptop.world.path().join("groundcrew.toml");
    let text = "environment = \"test\"\nsource = \"s3://none/of-it\"\n\
                [fleet]\ngroup = \"nowhere\"\nalarms = [\"web-5xx\"]\n";
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let refused = laptop.run(&["fleet", "status", "--config", file], 1);
    has(&refused.stderr, &["there is no group nowhere in this region"]);
    let dry = laptop.refresh(NEW, &["--config", file, "--dry-run"], 0);
    has(&dry.stdout, &["web-5xx"]);
}

#[test]
fn what_is_refused_is_refused_before_anything_is_made() {
    let laptop = Laptop::new();
    let refused = laptop.run(&["fleet", "status", "--group", "nowhere"], 1);
    has(&refused.stderr, &["there is no group nowhere in this region for these credentials"]);
    let refused = laptop.refresh("ami-0123456789abcdef0", &["--wait"], 1);
    has(&refused.stderr, &["there is no image ami-0123456789abcdef0 in this region"]);
    let refused = laptop.refresh(NEW, &["--min-healthy", "101"], 1);
    has(&refused.stderr, &["101 % healthy at least"]);
    let gone = ["fleet", "refresh", "--group", "web", "--template-version", "9"];
    let refused = laptop.run(&gone, 1);
    has(&refused.stderr, &["ec2:DescribeLaunchTemplateVersions failed with", "VersionNotFound"]);
    assert!(laptop.calls("CreateLaunchTemplateVersion").is_empty());
    assert!(laptop.calls("StartInstanceRefresh").is_empty());
    laptop.run(&["fleet", "refresh", "--ami", "ami-12"], 64);
}

#[test]
fn what_is_not_allowed_has_a_name() {
    let laptop = Laptop::new();
    laptop.fail("StartInstanceRefresh", "error", Some("AccessDenied"));
    let refused = laptop.refresh(NEW, &["--wait"], 1);
    let denied = "autoscaling:StartInstanceRefresh is not allowed (AccessDenied)";
    has(&refused.stderr, &[denied, "docs/fleet.md lists the rights"]);
    laptop.fail("CreateLaunchTemplateVersion", "error", Some("UnauthorizedOperation"));
    let refused = laptop.refresh(OTHER, &["--wait"], 1);
    has(&refused.stderr, &["ec2:CreateLaunchTemplateVersion is not allowed"]);
    laptop.fail("DescribeLaunchTemplateVersions", "error", Some("UnauthorizedOperation"));
    let status = laptop.run(&["fleet", "status", "--group", "web"], 0);
    let denied = "Not seen   ec2:DescribeLaunchTemplateVersions is not allowed";
    has(&status.stdout, &["● steady", denied]);
}

#[test]
fn without_credentials_nothing_is_asked() {
    let laptop = Laptop::with(|environment| {
        let keys = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
        let mut rest = environment;
        rest.retain(|(name, _)| !keys.contains(&name.as_str()));
        let none = [
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_CONFIG_FILE", "/dev/null"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
        ];
        rest.extend(none.map(|(name, value)| (name.to_owned(), value.to_owned())));
        rest
    });
    let refused = laptop.run(&["fleet", "status", "--group", "web"], 1);
    has(&refused.stderr, &["no credentials for autoscaling:DescribeAutoScalingGroups"]);
    assert!(laptop.calls("DescribeAutoScalingGroups").is_empty());
}

#[test]
fn answers_that_are_lost_make_nothing_twice() {
    let laptop = Laptop::new();
    laptop.refreshes(&json!({"hold": true}));
    laptop.fail("CreateLaunchTemplateVersion", "lost", None);
    laptop.fail("StartInstanceRefresh", "lost", None);
    let unclear = laptop.refresh(NEW, &[], 1);
    has(&unclear.stderr, &["it may have been done: look with `groundcrew fleet status`"]);
    let tokens = laptop.calls("CreateLaunchTemplateVersion");
    assert_eq!(tokens.len(), 2, "asked for again");
    assert_eq!(tokens[0]["ClientToken"], tokens[1]["ClientToken"]);
    let same = laptop.refresh(NEW, &[], 0);
    has(&same.stdout, &["this refresh runs already", "to version 2"]);
}
