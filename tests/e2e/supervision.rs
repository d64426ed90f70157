//! Processes that misbehave: each is dealt with, and nobody else suffers.

use std::fs;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, geteuid};

use crate::harness::agent::{Agent, TierProcess, World};
use crate::harness::app::Release;
use crate::harness::load::{Kind, Load};
use crate::harness::reaper::processes_of;
use crate::harness::{http_client, wait_until};

const SOON: Duration = Duration::from_secs(30);
// Three probes, each given 5 s, 1 s apart during a trial.
const HUNG_IS_FOUND_WITHIN: Duration = Duration::from_secs(45);

fn serve<'a>(world: &'a World, release: &Release) -> Agent<'a> {
    world.release(release);
    let agent = Agent::start(world);
    agent.wait_for_settled(&release.version);
    agent
}

fn process(agent: &Agent<'_>, id: &str) -> TierProcess {
    agent.processes("web").into_iter().find(|process| process.id == id).expect("no such process")
}

/// Waits until a process accepts under another number than `before`.
fn wait_for_another(agent: &Agent<'_>, id: &str, before: Option<Pid>) -> TierProcess {
    wait_until(HUNG_IS_FOUND_WITHIN, &format!("{id} is started again"), || {
        let now = process(agent, id);
        let new = now.state == "accepting" && now.pid != before;
        if new { Ok(now) } else { Err(now) }
    })
}

#[test]
fn a_killed_process_is_started_again_and_says_why() {
    let world = World::new();
    let agent = serve(&world, &Release::web("v1", world.port));
    let before = process(&agent, "web.1.1");
    kill(before.pid.unwrap(), Signal::SIGKILL).unwrap();
    let after = wait_for_another(&agent, "web.1.1", before.pid);
    assert_eq!(after.restarts, 1);
    assert_eq!(process(&agent, "web.1.2").restarts, 0);
    agent.wait_for_event("web.1.1 killed by SIGKILL; restart 1 of 5 in 10m");
    let status = world.cli(&["status"]);
    assert_eq!(status.code, Some(0), "{status:?}");
    assert!(status.stdout.contains("web.1.1 killed by SIGKILL"), "{status:?}");
}

#[test]
fn a_crash_loop_degrades_the_tier_and_not_the_agent() {
    let world = World::new();
    let mut agent = serve(&world, &Release::web("v1", world.port));
    for _ in 0..6 {
        let process = wait_until(SOON, "web.1.1 runs", || {
            let process = process(&agent, "web.1.1");
            if process.state == "accepting" { Ok(process) } else { Err(process) }
        });
        kill(process.pid.unwrap(), Signal::SIGKILL).unwrap();
        wait_until(SOON, "its end is seen", || {
            let now = self::process(&agent, "web.1.1");
            if now.pid == process.pid { Err(now) } else { Ok(()) }
        });
    }
    let status = agent.wait_for(SOON, "degraded", |status| status["state"] == "degraded");
    assert_eq!(status["tiers"][0]["state"], "degraded", "{status:#}");
    let load = Load::on(world.port).with(Kind::KeepAlive, 4).with(Kind::NewConnection, 2).start();
    load.wait_for_answers(300);
    let shown = world.cli(&["status"]);
    assert_eq!(shown.code, Some(1), "{shown:?}");
    assert!(shown.stdout.contains("crash loop: more than 5 restarts in 10m"), "{shown:?}");
    assert!(shown.stdout.contains("groundcrew logs --process web.1.1"), "{shown:?}");
    // A person has looked into it.
    assert_eq!(world.cli(&["restart", "web"]).code, Some(0));
    agent.wait_for_release("v1");
    agent.wait_for_one_generation("web", 2);
    load.stop().assert_none_failed();
    agent.kill();
}

#[test]
fn a_hung_process_is_replaced() {
    let world = World::new();
    // On trial, because a release on trial is probed more often; there is none to go back to.
    world.release(&Release::web("v1", world.port).set("trial.for", "5m"));
    let agent = Agent::start(&world);
    agent.wait_for_release("v1");
    let address = format!("127.0.0.1:{}", world.port);
    std::thread::scope(|scope| {
        let hang = || http_client::get(&address, "/block?ms=600000");
        let request = scope.spawn(hang);
        let hung = agent.wait_for_event("failed 3 probes in a row").1;
        let id = hung.split(' ').next().unwrap().to_owned();
        let after = wait_until(HUNG_IS_FOUND_WITHIN, "it is replaced", || {
            let now = process(&agent, &id);
            if now.state == "accepting" && now.restarts == 1 { Ok(now) } else { Err(now) }
        });
        assert!(hung.contains("it is replaced"), "{hung}");
        assert_eq!(after.restarts, 1);
        assert!(request.join().unwrap().is_err(), "nobody can answer what hangs");
    });
    let others: u64 = agent.processes("web").iter().map(|process| process.restarts).sum();
    assert_eq!(others, 1, "only the hung one was replaced");
    let load = Load::on(world.port).with(Kind::NewConnection, 4).start();
    load.wait_for_answers(300);
    load.stop().assert_none_failed();
}

#[test]
fn of_a_fork_bomb_nothing_is_left() {
    const FORKS: usize = 64;
    let world = World::new();
    let bomb = Release::web("v1", world.port).with_fork_bomb(64);
    let mut agent = serve(&world, &bomb);
    let load = Load::on(world.port).with(Kind::KeepAlive, 4).start();
    // Where no pids controller is delegated all of them come; where one is, the host's default of
    // some thousand tasks lets them.
    wait_until(SOON, "the bomb went off", || {
        let count = processes_of(world.path()).len();
        if count >= FORKS { Ok(()) } else { Err(count) }
    });
    load.wait_for_answers(100);
    world.release(&Release::web("v2", world.port));
    agent.wait_for_settled("v2");
    agent.wait_for_one_generation("web", 2);
    agent.wait_for_no_strays();
    load.wait_for_answers(100);
    load.stop().assert_none_failed();
    world.release(&Release::web("v3", world.port).with_fork_bomb(64));
    agent.wait_for_settled("v3");
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.wait(), Some(0));
    assert_eq!(processes_of(world.path()), []);
}

#[test]
fn a_process_that_ignores_sigterm_is_killed_after_its_grace() {
    let world = World::new();
    let stubborn = Release::web("v1", world.port).app("SIGTERM", "ignore");
    let agent = serve(&world, &stubborn.set("tier.web.stop", "1s"));
    let load = Load::on(world.port).with(Kind::KeepAlive, 4).with(Kind::Slow, 2).start();
    load.wait_for_answers(100);
    world.release(&Release::web("v2", world.port));
    agent.wait_for_settled("v2");
    agent.wait_for_one_generation("web", 2);
    agent.wait_for_no_strays();
    load.stop().assert_none_failed();
}

#[test]
fn with_crash_bleed_only_the_request_that_crashed_is_lost() {
    let world = World::new();
    let release = Release::web("v1", world.port).set("tier.web.crash", "bleed");
    let agent = serve(&world, &release);
    let load = Load::on(world.port)
        .with(Kind::KeepAlive, 4)
        .with(Kind::Post, 2)
        .with(Kind::Slow, 8)
        .with(Kind::NewConnection, 2)
        .start();
    load.wait_for_answers(100);
    let address = format!("127.0.0.1:{}", world.port);
    http_client::get(&address, "/crash").unwrap_err();
    let (_, said) = agent.wait_for_event("exited with code 1");
    assert!(said.contains("asked to crash"), "{said}");
    agent.wait_for_one_generation("web", 2);
    load.wait_for_answers(100);
    load.stop().assert_none_failed();
    let restarts: u64 = agent.processes("web").iter().map(|process| process.restarts).sum();
    assert_eq!(restarts, 1);
}

#[test]
fn a_process_has_its_own_user_and_no_credentials_of_the_agent() {
    let mut world = World::new();
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"] {
        world.set_environment(name, "hunter2");
    }
    world.release(&Release::web("v1", world.port).with_worker());
    let user = geteuid().is_root().then(|| User::from_name("nobody").unwrap().expect("nobody"));
    let mut config: Vec<(&str, toml::Value)> = Vec::new();
    match &user {
        Some(_) => config.push(("tier.web.user", "nobody".into())),
        None => println!("not root: the user of processes is not looked at"),
    }
    let agent = Agent::start_with(&world, &config);
    agent.wait_for_settled("v1");
    let processes = agent.processes("web").into_iter().chain(agent.processes("worker"));
    for process in processes {
        let pid = process.pid.unwrap();
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap();
        let environment = String::from_utf8_lossy(&environment);
        assert!(!environment.contains("AWS_") && !environment.contains("hunter2"), "{environment}");
        assert!(environment.contains("GROUNDCREW_PROCESS="), "{environment}");
        if let Some(user) = user.as_ref().filter(|_| process.id.starts_with("web.")) {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let uid = user.uid;
            assert!(status.contains(&format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}")), "{status}");
            assert!(status.contains("NoNewPrivs:\t1"), "{status}");
        }
    }
    let load = Load::of_every_kind(world.port).start();
    load.wait_for_answers(200);
    world.release(&Release::web("v2", world.port).with_worker());
    agent.wait_for_settled("v2");
    load.stop().assert_none_failed();
    let (log, status) = (agent.log(), world.cli(&["status", "--json"]));
    assert!(!log.contains("hunter2") && !status.stdout.contains("hunter2"));
}
