//! What people type: `logs`, `releases`, `status`, and the exit codes scripts rely on.

use std::time::Duration;

use serde_json::Value;

use crate::harness::agent::{Agent, World};
use crate::harness::app::Release;
use crate::harness::cli::RunningCli;
use crate::harness::http_client;

/// Lets whichever process answers print a line, and answers which one that was.
fn print(world: &World, line: &str) -> String {
    let address = format!("127.0.0.1:{}", world.port);
    let answer = http_client::get(&address, &format!("/print?line={line}")).unwrap();
    assert_eq!(answer.status, 200);
    answer.header("x-process").unwrap().to_owned()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn logs_go_on_across_restarts_and_releases() {
    let world = World::new();
    world.release(&Release::web("v1", world.port).with_worker());
    let mut agent = Agent::start(&world);
    agent.wait_for_settled("v1");
    let all = RunningCli::start(&world, &["logs", "-f"]);
    let workers = RunningCli::start(&world, &["logs", "--tier", "worker", "-f"]);
    all.wait_for_line("release v1 process web.1.1 listens on");
    workers.wait_for_line(" began 1");
    let first = print(&world, "first");
    all.wait_for_line(&format!("{first}  first"));

    assert_eq!(world.cli(&["restart", "web"]).code, Some(0));
    agent.wait_for_event("v1 serves with new processes");
    // The old ones may take a connection until they have heard that they are replaced.
    agent.wait_for_one_generation("web", 2);
    let second = print(&world, "second");
    assert_ne!(first, second);
    all.wait_for_line(&format!("{second}  second"));

    world.release(&Release::web("v2", world.port).with_worker());
    agent.wait_for_settled("v2");
    agent.wait_for_one_generation("web", 2);
    let third = print(&world, "third");
    all.wait_for_line(&format!("{third}  third"));
    workers.wait_for_line(" finished 1");
    assert!(
        workers.lines().iter().all(|line| line.starts_with("worker.")),
        "{workers:?}",
        workers = workers.lines()
    );

    // Also what a process printed while there was no agent.
    agent.kill();
    let fourth = print(&world, "fourth");
    agent.restart();
    agent.wait_for_settled("v2");
    let web = world.cli(&["logs", "--tier", "web"]);
    assert_eq!(web.code, Some(0), "{web:?}");
    let place = |id: &str, line: &str| {
        let wanted = format!("{id}  {line}");
        let found = web.stdout.lines().position(|line| line == wanted);
        found.unwrap_or_else(|| panic!("no {wanted:?} in {}", web.stdout))
    };
    let places = [(&first, "first"), (&second, "second"), (&third, "third"), (&fourth, "fourth")]
        .map(|(id, line)| place(id, line));
    assert!(places.is_sorted(), "in the order of time: {places:?}\n{}", web.stdout);
    assert!(!web.stdout.contains("worker."), "{}", web.stdout);

    let one = world.cli(&["logs", "--process", &first]);
    assert!(one.stdout.contains("first") && !one.stdout.contains("second"), "{one:?}");
    assert!(one.stdout.lines().all(|line| line.starts_with(&first)), "{one:?}");

    let future = world.cli(&["logs", "--tier", "web", "--since", "2126-01-01"]);
    assert_eq!((future.code, future.stdout.as_str()), (Some(0), ""));
    let recent = world.cli(&["logs", "--tier", "web", "--since", "1h"]);
    assert_eq!(recent.stdout, web.stdout, "everything here is younger than an hour");
}

#[test]
fn logs_are_searched_by_the_agent_and_printed_as_json() {
    let world = World::new();
    world.release(&Release::web("v1", world.port));
    let agent = Agent::start(&world);
    agent.wait_for_settled("v1");
    let found = RunningCli::start(&world, &["logs", "-f", "--grep", "^(needle|ERROR)"]);
    let needle = print(&world, "needle");
    found.wait_for_line(&format!("{needle}  needle"));
    for _ in 0..101 {
        print(&world, "hay");
    }
    let error = print(&world, "ERROR:down");
    found.wait_for_line(&format!("{error}  ERROR:down"));
    assert_eq!(found.lines().len(), 2, "{:?}", found.lines());

    let last = world.cli(&["logs", "--tier", "web"]);
    assert!(!last.stdout.contains("needle"), "it is older than the last hundred lines: {last:?}");
    let searched = world.cli(&["logs", "--tier", "web", "--grep", "need|ERROR:d"]);
    let lines = format!("{needle}  needle\n{error}  ERROR:down\n");
    assert_eq!((searched.code, searched.stdout), (Some(0), lines));

    let documents = world.cli(&["logs", "--json", "--since", "1h", "--grep", "needle|ERROR"]);
    let lines: Vec<_> = documents.stdout.lines().map(json).collect();
    let [first, second] = lines.as_slice() else { panic!("{documents:?}") };
    assert_eq!((first["process"].as_str(), &first["line"]), (Some(&*needle), &"needle".into()));
    assert_eq!((&first["stream"], first.get("level")), (&"stdout".into(), None));
    assert_eq!((&second["line"], &second["level"]), (&"ERROR:down".into(), &"error".into()));
    assert!(first["at"].as_i64().unwrap() <= second["at"].as_i64().unwrap(), "{documents:?}");

    let wrong = world.cli(&["logs", "--grep", "(a"]);
    assert_eq!(wrong.code, Some(64));
    assert!(wrong.stderr.contains("unclosed group, at character 1"), "{wrong:?}");
}

#[test]
fn a_follower_is_told_when_the_agent_goes() {
    let world = World::new();
    world.release(&Release::web("v1", world.port));
    let mut agent = Agent::start(&world);
    agent.wait_for_settled("v1");
    let mut logs = RunningCli::start(&world, &["logs", "-f"]);
    logs.wait_for_line("listens on");
    let mut status = RunningCli::start(&world, &["status", "-w", "--json"]);
    let line = json(&status.wait_for_line("\"state\""));
    assert_eq!(line["state"], "serving");
    world.release(&Release::web("v2", world.port).set("trial.for", "2s"));
    // Every change is a document of its own, the rollout's stages included.
    status.wait_for_line("\"stage\":\"trial\"");
    agent.wait_for_settled("v2");
    let settled = json(&status.wait_for_line("v2 settled"));
    assert_eq!(settled["release"]["version"], "v2");
    for line in status.lines() {
        json(&line);
    }
    agent.kill();
    assert_eq!(logs.wait(), Some(3));
    assert_eq!(status.wait(), Some(3));
}

#[test]
fn releases_are_listed_with_what_they_are_to_this_host() {
    let world = World::new();
    for version in ["v1", "v2"] {
        world.publish(&Release::web(version, world.port));
    }
    world.promote("v1");
    let agent = Agent::start(&world);
    agent.wait_for_settled("v1");
    world.promote("v2");
    agent.wait_for_settled("v2");
    world.release(&Release::web("v3", world.port).app("BOOT", "throw"));
    agent.wait_for_rejected("v3");

    let document = json(&world.cli(&["releases", "--json"]).stdout);
    let releases = document["releases"].as_array().unwrap();
    let role = |version: &str| {
        let found = releases.iter().find(|release| release["version"] == version);
        found.unwrap_or_else(|| panic!("no {version}: {document:#}"))["role"].clone()
    };
    assert_eq!([role("v1"), role("v2"), role("v3")], ["previous", "current", "rejected"]);
    let shown = world.cli(&["releases"]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    assert!(shown.stdout.starts_with("VERSION"), "{shown:?}");
    assert!(shown.stdout.contains("exited with code 1"), "{shown:?}");

    let one = world.cli(&["releases", "v1"]);
    assert!(one.code == Some(0) && one.stdout.starts_with("v1 previous\n"), "{one:?}");
    let one = json(&world.cli(&["releases", "v1", "--json"]).stdout);
    assert_eq!(one["releases"][0]["version"], "v1", "{one:#}");
    assert_eq!(one["releases"].as_array().unwrap().len(), 1, "{one:#}");
    let none = world.cli(&["releases", "v9"]);
    assert_eq!(none.code, Some(1), "{none:?}");
    assert!(none.stderr.contains("v9 is not on this host"), "{none:?}");
}

#[test]
fn exit_codes_say_how_it_is() {
    let world = World::new();
    world.release(&Release::web("v1", world.port));
    let code = |arguments: &[&str]| world.cli(arguments).code;
    let asking: [&[&str]; 6] = [
        &["status"],
        &["status", "--json"],
        &["status", "-w"],
        &["releases"],
        &["logs"],
        &["restart", "web"],
    ];
    for arguments in asking {
        assert_eq!(code(arguments), Some(3), "{arguments:?} without an agent");
    }
    let agent = Agent::start(&world);
    agent.wait_for_settled("v1");
    assert_eq!(code(&["status"]), Some(0));
    let status = json(&world.cli(&["status", "--json"]).stdout);
    assert_eq!(status["state"], "serving", "{status:#}");
    assert_eq!(status["tiers"][0]["processes"][0]["id"], "web.1.1", "{status:#}");
    let shown = world.cli(&["status"]).stdout;
    assert!(shown.starts_with("● serving since ") && !shown.contains('\x1b'), "{shown}");
    world.release(&Release::web("v2", world.port).app("BOOT", "throw"));
    agent.wait_for_rejected("v2");
    assert_eq!(code(&["status"]), Some(1), "rolled back");
    assert_eq!(code(&["status", "--json"]), Some(1));
    let wrong: [&[&str]; 4] =
        [&["statsu"], &["status", "--bogus"], &["logs", "--since", "yesterday"], &[]];
    for arguments in wrong {
        assert_eq!(code(arguments), Some(64), "{arguments:?}");
    }
    assert_eq!(code(&["--help"]), Some(0));
    agent.wait_for(Duration::from_secs(5), "still there", |status| status["state"] == "serving");
}
