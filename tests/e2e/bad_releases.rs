//! Releases that should never serve, or not for long. The release before goes on, and people are
//! told what is wrong in words that help.

use std::fs;
use std::time::Duration;

use crate::harness::agent::{Agent, World, events};
use crate::harness::app::{BareApp, Release};
use crate::harness::forged::Forged;
use crate::harness::load::{Kind, Load, Report};

/// Clients at work: each has at most one request in the hands of a process that crashes.
const WORKERS: u64 = 20;

fn load(world: &World) -> Load {
    Load::on(world.port)
        .with(Kind::KeepAlive, 8)
        .with(Kind::Post, 4)
        .with(Kind::NewConnection, 4)
        .with(Kind::Slow, 4)
}

/// A host that serves v1.
fn serve(world: &World) -> Agent<'_> {
    world.release(&Release::web("v1", world.port));
    let agent = Agent::start(world);
    agent.wait_for_settled("v1");
    agent
}

/// Why the status says that a release was rejected.
fn reason(agent: &Agent<'_>, version: &str) -> String {
    let status = agent.wait_for_rejected(version);
    assert_eq!(status["state"], "serving", "{status:#}");
    assert_eq!(status["release"]["version"], "v1", "{status:#}");
    status["rejected"]["reason"].as_str().expect("a reason").to_owned()
}

#[test]
fn what_does_not_become_ready_never_gets_a_request() {
    let world = World::new();
    let agent = serve(&world);
    let load = load(&world).start();
    load.wait_for_answers(100);
    let port = world.port;
    let elsewhere = format!("it listened on {} instead", port + 1);
    let check = |release: Release, expected: &[&str]| {
        let version = release.version.clone();
        world.release(&release);
        let reason = reason(&agent, &version);
        for expected in expected {
            assert!(reason.contains(expected), "{version}: {reason:?} lacks {expected:?}");
        }
        assert_eq!(load.report().answers_of(&version), 0);
    };
    let web = |version| Release::web(version, port).set("tier.web.ready.within", "2s");
    check(web("throws").app("BOOT", "throw"), &["exited with code 1", "thrown at boot"]);
    check(
        web("never-listens").app("BOOT", "hang"),
        &["never listened on PORT", "process.env.PORT", "name the program itself"],
    );
    // One process: a second one would find the other port taken.
    let elsewhere_release = web("elsewhere").app("BOOT", "elsewhere").set("tier.web.processes", 1);
    check(elsewhere_release, &["never listened on PORT", &elsewhere]);
    check(web("never-ready").app("HEALTH", "fail"), &["not ready within 2s", "503"]);
    check(
        web("wrapper")
            .set("tier.web.command", vec!["npm", "start"])
            .set("tier.web.ready.within", "6s")
            .file("package.json", br#"{"name":"app","scripts":{"start":"node web.js"}}"#),
        &["`npm start`", "without the inherited socket", "name the direct command"],
    );
    check(web("no-such-command").set("tier.web.command", vec!["nodd", "web.js"]), &["nodd"]);
    load.wait_for_answers(100);
    load.stop().assert_none_failed();
    agent.wait_for_one_generation("web", 2);
    agent.wait_for_no_strays();
}

#[test]
fn what_is_not_a_release_is_refused() {
    let world = World::new();
    let agent = serve(&world);
    let load = load(&world).start();
    load.wait_for_answers(100);

    // The publisher is told first ...
    let wrong = Release::web("v2", world.port).set("tier.web.comand", "node");
    let home = wrong.write_below(&world.path().join("build"));
    let home = home.to_str().expect("UTF-8");
    let ended = world.cli(&["publish", home, "--source", &world.source, "--version", "v2"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("comand") && ended.stderr.contains("command"), "{ended:?}");
    // ... and a host does not rely on the publisher.
    let toml = b"[tier.web]\ncomand = [\"node\", \"web.js\"]\n";
    Forged::default().file("release.toml", toml).put(&world, "v3", |_| ());
    let said = reason(&agent, "v3");
    assert!(said.contains("comand") && said.contains("command"), "{said}");

    world.publish(&Release::web("v4", world.port));
    let manifest = fs::read(world.path().join("source/releases/v4.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let digest = manifest["digest"].as_str().unwrap();
    let artifact = world.path().join(format!("source/artifacts/{digest}.tar.zst"));
    let mut bytes = fs::read(&artifact).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&artifact, bytes).unwrap();
    world.promote("v4");
    let said = reason(&agent, "v4");
    assert!(said.contains("of the artifact") && said.contains("the manifest says"), "{said}");

    load.wait_for_answers(100);
    load.stop().assert_none_failed();
}

#[test]
fn a_rejected_release_stays_so_until_the_channel_moves() {
    let world = World::new();
    let mut agent = serve(&world);
    let load = load(&world).start();
    let control = world.path().join("control.json");
    fs::write(&control, r#"{"health": "fail"}"#).unwrap();
    let release = Release::web("v2", world.port)
        .set("tier.web.ready.within", "1s")
        .app("CONTROL", control.to_str().expect("UTF-8"));
    world.release(&release);
    reason(&agent, "v2");
    // It would be ready now, and nobody has asked for it again.
    fs::write(&control, r#"{"health": "ok"}"#).unwrap();
    let status = world.cli(&["status"]);
    assert_eq!(status.code, Some(1), "rolled back: {status:?}");
    assert!(status.stdout.contains("not ready within 1s"), "{status:?}");
    agent.kill();
    agent.restart();
    agent.wait_for_release("v1");
    let polled = agent.status().unwrap()["source_status"]["last_ok"].clone();
    // The channel was read by this agent, and more than once.
    let status = agent.wait_for(Duration::from_secs(10), "another poll", |status| {
        status["source_status"]["last_ok"].as_i64().is_some_and(|ok| polled != ok)
            && !polled.is_null()
            || status["rollout"].is_object()
    });
    assert!(status["rollout"].is_null(), "tried again by itself: {status:#}");
    assert_eq!(load.report().answers_of("v2"), 0);

    world.promote("v1");
    world.promote("v2");
    agent.wait_for_settled("v2");
    assert_eq!(world.cli(&["status"]).code, Some(0));
    load.wait_for_release("v2", Duration::from_secs(10));
    load.stop().assert_none_failed();
}

/// How long two processes of the app take to answer when they start at the same time.
fn start_of_two(world: &World) -> Duration {
    let release = Release::web("bare", world.port);
    let start = || BareApp::start(&release, &[]).start_took;
    std::thread::scope(|scope| {
        let [first, second] = [scope.spawn(start), scope.spawn(start)];
        first.join().unwrap().max(second.join().unwrap())
    })
}

/// What went wrong must have been in the hands of a process of the bad release.
fn assert_failures_are(report: &Report, allowed: &[&str]) {
    let strange: Vec<_> = (report.failures.keys())
        .filter(|failure| !allowed.iter().any(|allowed| failure.contains(allowed)))
        .collect();
    assert!(strange.is_empty(), "{strange:?}: {report:#?}");
}

#[test]
fn a_crash_during_the_trial_is_rolled_back_in_no_time() {
    let world = World::new();
    let agent = serve(&world);
    let load = load(&world).start();
    load.wait_for_answers(100);
    let bad = Release::web("v2", world.port).set("trial.for", "20s").app("BOOT", "exit-after:2500");
    world.release(&bad);
    load.wait_for_release("v2", Duration::from_secs(20));
    let said = reason(&agent, "v2");
    assert!(said.contains("exited with code 1"), "{said}");
    let (back, _) = agent.wait_for_event("rolled back to v1 in");
    let events = events(&agent.status().unwrap());
    let crash = events.iter().rev().find(|(_, text)| text.contains("into its trial"));
    let (crash, _) = crash.expect("the end of the trial is told");
    let took = Duration::from_millis(u64::try_from(back - crash).unwrap());
    let report = load.stop();
    assert_failures_are(&report, &["before a byte of the answer", "within the answer"]);
    // Two processes crash, not quite at the same time.
    assert!(report.failed() <= 2 * WORKERS, "{report:#?}");
    let start = start_of_two(&world);
    assert!(took < start + Duration::from_secs(1), "took {took:?}, a start takes {start:?}");

    let load = self::load(&world).start();
    load.wait_for_answers(300);
    let report = load.stop();
    report.assert_none_failed();
    assert_eq!(report.answers_of("v2"), 0);
    agent.wait_for_one_generation("web", 2);
    agent.wait_for_no_strays();
}

#[test]
fn a_release_that_errs_during_the_trial_is_rolled_back() {
    let world = World::new();
    let agent = serve(&world);
    let load = load(&world).start();
    load.wait_for_answers(300);
    world.release(&Release::web("v2", world.port).set("trial.for", "20s").app("ERRORS", "0.5"));
    load.wait_for_release("v2", Duration::from_secs(20));
    let said = reason(&agent, "v2");
    assert!(said.contains("of its requests with 5xx") && said.contains("5.0 %"), "{said}");
    agent.wait_for_one_generation("web", 2);
    let report = load.stop();
    assert_failures_are(&report, &["status 500"]);
    let load = self::load(&world).start();
    load.wait_for_answers(300);
    let report = load.stop();
    report.assert_none_failed();
    assert_eq!(report.answers_of("v2"), 0);
    agent.wait_for_no_strays();
}
