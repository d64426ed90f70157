//! One set of processes after the other under load, for whatever reason: nothing fails.

use std::fs;
use std::time::Duration;

use crate::harness::agent::{Agent, ENVIRONMENT, World};
use crate::harness::app::Release;
use crate::harness::load::{Kind, Load};
use crate::harness::wait_until;

const SOON: Duration = Duration::from_secs(30);
const EVERY_KIND: [Kind; 6] =
    [Kind::KeepAlive, Kind::Post, Kind::NewConnection, Kind::Slow, Kind::Idle, Kind::WebSocket];

/// WebSockets hold a bleed until its deadline: longer than an idle client's silence, and no more.
fn web(world: &World, version: &str) -> Release {
    Release::web(version, world.port).set("tier.web.bleed", "3s")
}

/// Everything but WebSockets: bleeds end as soon as the last client has spoken.
fn requests(world: &World) -> Load {
    Load::on(world.port)
        .with(Kind::KeepAlive, 8)
        .with(Kind::Post, 4)
        .with(Kind::NewConnection, 2)
        .with(Kind::Slow, 4)
        .with(Kind::Idle, 2)
}

#[test]
fn a_new_release_takes_over_without_a_failed_request() {
    let world = World::new();
    world.release(&Release::web("v1", world.port));
    let mut agent = Agent::start(&world);
    agent.wait_for_settled("v1");
    let load = Load::of_every_kind(world.port).start();
    load.wait_for_answers(500);
    world.release(&Release::web("v2", world.port));
    load.wait_for_release("v2", SOON);
    agent.kill();
    agent.restart();
    agent.wait_for_settled("v2");
    world.release(&Release::web("v3", world.port).app("BOOT", "throw"));
    agent.wait_for_rejected("v3");
    load.stop().assert_none_failed();
}

#[test]
fn releases_follow_each_other_under_every_kind_of_connection() {
    let world = World::new();
    world.release(&web(&world, "v1"));
    let agent = Agent::start(&world);
    agent.wait_for_settled("v1");
    let load = Load::of_every_kind(world.port).start();
    for version in ["v2", "v3", "v4"] {
        // The next one comes while the one before still bleeds.
        world.release(&web(&world, version));
        load.wait_for_release(version, SOON);
    }
    agent.wait_for_settled("v4");
    agent.wait_for_one_generation("web", 2);
    load.wait_for_answers(200);
    let report = load.stop();
    report.assert_none_failed();
    for kind in EVERY_KIND {
        assert!(report.kinds[&kind].ok > 0, "{kind:?} asked nothing: {report:#?}");
    }
    assert!(report.websockets_closed >= 3, "bled WebSockets get a close frame: {report:#?}");
    assert_eq!(report.websockets_cut, 0, "{report:#?}");
    agent.wait_for_no_strays();
}

#[test]
fn a_restart_replaces_every_process() {
    let world = World::new();
    world.release(&web(&world, "v1"));
    let agent = Agent::start(&world);
    agent.wait_for_settled("v1");
    let before = agent.wait_for_one_generation("web", 2);
    let load = requests(&world).start();
    load.wait_for_answers(100);
    assert_eq!(world.cli(&["restart", "web"]).code, Some(0));
    let after = wait_until(SOON, "other processes", || {
        let now = agent.wait_for_one_generation("web", 2);
        if now.iter().any(|new| before.contains(new)) { Err(now) } else { Ok(now) }
    });
    load.wait_for_answers(100);
    load.stop().assert_none_failed();
    assert!(after.iter().all(|process| process.restarts == 0), "{after:?}");
    agent.wait_for_settled("v1");

    let wrong = world.cli(&["restart", "wbe"]);
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.stderr.contains("no tier wbe; it has web"), "{wrong:?}");
}

#[test]
fn the_newest_wish_wins_however_often_it_changes() {
    let world = World::new();
    world.release(&web(&world, "v1"));
    let agent = Agent::start(&world);
    agent.wait_for_settled("v1");
    let load = requests(&world).start();
    load.wait_for_answers(100);
    world.publish(&web(&world, "v2"));
    for version in ["v2", "v1", "v2", "v1", "v2"] {
        world.promote(version);
    }
    agent.wait_for_settled("v2");
    let (source, environment) = (world.source.as_str(), ENVIRONMENT);
    let rollback = ["rollback", "--source", source, "--environment", environment];
    assert_eq!(world.cli(&rollback).code, Some(0));
    agent.wait_for_settled("v1");
    world.promote("v2");
    agent.wait_for_settled("v2");
    load.wait_for_release("v2", SOON);
    agent.wait_for_one_generation("web", 2);
    load.stop().assert_none_failed();
    agent.wait_for_no_strays();
}

#[test]
fn another_number_of_processes_comes_with_the_next_agent() {
    let world = World::new();
    world.release(&web(&world, "v1"));
    let mut agent = Agent::start(&world);
    agent.wait_for_settled("v1");
    let load = requests(&world).start();
    load.wait_for_answers(100);
    for processes in [3, 1] {
        agent.kill();
        agent.configure("tier.web.processes", i64::from(processes));
        agent.restart();
        agent.wait_for_one_generation("web", usize::try_from(processes).unwrap());
    }
    agent.wait_for_settled("v1");
    load.wait_for_answers(100);
    load.stop().assert_none_failed();
    agent.wait_for_no_strays();
}

#[test]
fn tiers_come_and_go_with_releases() {
    let world = World::new();
    let jobs = world.path().join("jobs");
    let with_worker = |version| {
        let jobs = jobs.to_str().expect("UTF-8");
        web(&world, version).with_worker().set("tier.worker.env.APP_JOBS", jobs)
    };
    world.release(&web(&world, "v1"));
    let agent = Agent::start(&world);
    agent.wait_for_settled("v1");
    let load = requests(&world).start();
    load.wait_for_answers(100);

    world.release(&with_worker("v2"));
    agent.wait_for_settled("v2");
    let first = agent.wait_for_one_generation("worker", 1);
    world.release(&with_worker("v3"));
    agent.wait_for_settled("v3");
    let second = agent.wait_for_one_generation("worker", 1);
    assert_ne!(first[0].id, second[0].id);

    world.release(&web(&world, "v4"));
    agent.wait_for_settled("v4");
    agent.wait_for_one_generation("web", 2);
    agent.wait_for(SOON, "the worker is gone", |status| {
        status["tiers"].as_array().is_some_and(|tiers| tiers.len() == 1)
    });
    agent.wait_for_no_strays();
    load.wait_for_answers(100);
    load.stop().assert_none_failed();
    let jobs = fs::read_to_string(jobs).unwrap();
    for worker in [&first[0].id, &second[0].id] {
        let count = |word| jobs.matches(&format!("{worker} {word} ")).count();
        assert!(count("began") > 0, "{worker} did nothing: {jobs}");
        assert_eq!(count("began"), count("finished"), "a job of {worker} was cut: {jobs}");
    }
}

#[test]
fn a_server_that_knows_listen_fds_is_swapped_too() {
    let world = World::new();
    world.release(&Release::listen_fds("v1", world.port));
    let agent = Agent::start(&world);
    agent.wait_for_settled("v1");
    // It knows no bleed: a kept connection is served until it is stopped, so clients keep none.
    let load = Load::on(world.port).with(Kind::NewConnection, 6).start();
    load.wait_for_answers(100);
    for version in ["v2", "v3"] {
        world.release(&Release::listen_fds(version, world.port));
        agent.wait_for_settled(version);
    }
    agent.wait_for_one_generation("web", 2);
    load.wait_for_answers(100);
    let report = load.stop();
    report.assert_none_failed();
    assert!(report.answers_of("v2") > 0 && report.answers_of("v3") > 0, "{report:#?}");
    agent.wait_for_no_strays();
}
