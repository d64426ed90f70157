//! The agent dies, stops, or loses its memory: what serves goes on, and the next agent carries on.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::agent::{Agent, World};
use crate::harness::app::Release;
use crate::harness::http_client;
use crate::harness::load::{Kind, Load};
use crate::harness::reaper::processes_of;

const SOON: Duration = Duration::from_secs(30);
// More than a rollout has: the last rounds kill an agent that has nothing left to do.
const JOURNAL_STEPS_MAX: u32 = 8;
const RANDOM_ROUNDS: u64 = 5;
const SEED_VARIABLE: &str = "GROUNDCREW_TEST_SEED";

fn load(world: &World) -> Load {
    Load::on(world.port)
        .with(Kind::KeepAlive, 6)
        .with(Kind::Post, 2)
        .with(Kind::NewConnection, 2)
        .with(Kind::Slow, 2)
}

fn serve(world: &World) -> Agent<'_> {
    world.release(&Release::web("v0", world.port));
    let agent = Agent::start(world);
    agent.wait_for_settled("v0");
    agent
}

/// Tells when a file is replaced by another one.
struct Replacements {
    path: PathBuf,
    last: Option<(u64, i64, i64)>,
}

impl Replacements {
    fn of(path: &Path) -> Self {
        let mut replacements = Self { path: path.to_owned(), last: None };
        replacements.last = replacements.look();
        replacements
    }

    /// An inode may be used again, but not within the same moment.
    fn look(&self) -> Option<(u64, i64, i64)> {
        let metadata = fs::metadata(&self.path).ok()?;
        Some((metadata.ino(), metadata.mtime(), metadata.mtime_nsec()))
    }

    /// Whether there was one since the last look.
    fn one_more(&mut self) -> bool {
        let now = self.look();
        std::mem::replace(&mut self.last, now) != now
    }
}

#[test]
fn killed_at_each_step_of_the_journal_the_rollout_still_ends_well() {
    let world = World::new();
    let mut agent = serve(&world);
    let load = load(&world).start();
    load.wait_for_answers(100);
    let ledger = world.path().join("state/ledger.json");
    let mut steps_seen = 0;
    for step in 1..=JOURNAL_STEPS_MAX {
        let version = format!("v{step}");
        world.publish(&Release::web(&version, world.port));
        let mut replacements = Replacements::of(&ledger);
        let settled = || {
            agent.status().is_ok_and(|status| {
                status["release"]["version"] == version.as_str() && status["rollout"].is_null()
            })
        };
        std::thread::scope(|scope| {
            scope.spawn(|| world.promote(&version));
            let began = Instant::now();
            let (mut written, mut asked) = (0, Instant::now());
            while written < step && began.elapsed() < SOON {
                written += u32::from(replacements.one_more());
                // Often enough to lose little time when there are fewer steps.
                if asked.elapsed() > Duration::from_millis(500) {
                    if settled() {
                        break;
                    }
                    asked = Instant::now();
                }
                // The look is the event: a notification would come no sooner.
                std::thread::sleep(Duration::from_micros(50));
            }
            steps_seen = steps_seen.max(written);
        });
        agent.kill();
        agent.restart();
        agent.wait_for_settled(&version);
    }
    assert!(steps_seen >= 4, "a rollout writes the ledger more than {steps_seen} times");
    load.wait_for_answers(100);
    load.stop().assert_none_failed();
    agent.wait_for_one_generation("web", 2);
    agent.wait_for_no_strays();
}

/// The next of a sequence without a pattern (splitmix64).
fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[test]
fn killed_at_random_moments_the_rollout_still_ends_well() {
    let mut seed = std::env::var(SEED_VARIABLE).map_or(1, |seed| seed.parse().expect("a number"));
    println!("{SEED_VARIABLE}={seed}");
    let world = World::new();
    let mut agent = serve(&world);
    let load = load(&world).start();
    load.wait_for_answers(100);
    for round in 1..=RANDOM_ROUNDS {
        let version = format!("v{round}");
        let release = Release::web(&version, world.port);
        let bad = round % 2 == 0;
        world.release(&if bad { release.app("BOOT", "throw") } else { release });
        // Twice, so that a new agent, which takes over what it finds, is killed as well.
        for within_ms in [1500, 500] {
            // The moment itself is what is tested.
            std::thread::sleep(Duration::from_millis(next(&mut seed) % within_ms));
            agent.kill();
            agent.restart();
        }
        if bad {
            agent.wait_for_rejected(&version);
        } else {
            agent.wait_for_settled(&version);
        }
    }
    load.wait_for_answers(100);
    load.stop().assert_none_failed();
    agent.wait_for_one_generation("web", 2);
    agent.wait_for_no_strays();
}

#[test]
fn an_agent_that_stands_still_fails_no_request() {
    let world = World::new();
    let agent = serve(&world);
    let load = load(&world).start();
    load.wait_for_answers(100);
    agent.signal(Signal::SIGSTOP);
    let stopped = Instant::now();
    while stopped.elapsed() < Duration::from_secs(4) {
        load.wait_for_answers(50);
    }
    // In the middle of a rollout as well.
    agent.signal(Signal::SIGCONT);
    world.release(&Release::web("v1", world.port));
    load.wait_for_release("v1", SOON);
    agent.signal(Signal::SIGSTOP);
    let stopped = Instant::now();
    while stopped.elapsed() < Duration::from_secs(2) {
        load.wait_for_answers(50);
    }
    agent.signal(Signal::SIGCONT);
    agent.wait_for_settled("v1");
    load.stop().assert_none_failed();
    agent.wait_for_one_generation("web", 2);
}

#[test]
fn a_lost_ledger_is_learnt_again_from_what_runs() {
    let world = World::new();
    let mut agent = serve(&world);
    let load = load(&world).start();
    load.wait_for_answers(100);
    let before = agent.wait_for_one_generation("web", 2);
    let ledger = world.path().join("state/ledger.json");
    let lose: [(&str, &dyn Fn()); 3] = [
        ("deleted", &|| fs::remove_file(&ledger).unwrap()),
        ("cut", &|| {
            let bytes = fs::read(&ledger).unwrap();
            fs::write(&ledger, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("overwritten", &|| fs::write(&ledger, [0; 4096]).unwrap()),
    ];
    for (how, lose) in lose {
        agent.kill();
        lose();
        agent.restart();
        agent.wait_for_settled("v0");
        let pids = |processes: &[crate::harness::agent::TierProcess]| {
            processes.iter().map(|process| process.pid).collect::<Vec<_>>()
        };
        let after = agent.wait_for_one_generation("web", 2);
        assert_eq!(pids(&before), pids(&after), "{how}: the processes that served were replaced");
    }
    assert!(world.path().join("state/ledger.broken").exists(), "a broken ledger is put aside");
    world.release(&Release::web("v1", world.port));
    agent.wait_for_settled("v1");
    load.stop().assert_none_failed();
    agent.wait_for_one_generation("web", 2);
    agent.wait_for_no_strays();
}

#[test]
fn told_to_leave_the_agent_ends_everything_in_order() {
    let world = World::new();
    let jobs = world.path().join("jobs");
    let release = Release::web("v0", world.port)
        .set("tier.web.bleed", "15s")
        .with_worker()
        .set("tier.worker.env.APP_JOBS", jobs.to_str().expect("UTF-8"));
    world.release(&release);
    let mut agent = Agent::start(&world);
    agent.wait_for_settled("v0");
    let address = format!("127.0.0.1:{}", world.port);
    std::thread::scope(|scope| {
        let slow = || http_client::get(&address, "/slow?ms=5000&id=7");
        let asked: Vec<_> = (0..4).map(|_| scope.spawn(slow)).collect();
        agent.wait_for(SOON, "four requests in flight", |status| {
            status["tiers"].as_array().expect("tiers").iter().any(|tier| tier["in_flight"] == 4)
        });
        agent.signal(Signal::SIGTERM);
        agent.wait_for(SOON, "the agent drains", |status| status["state"] == "draining");
        for request in asked {
            let answer = request.join().unwrap().expect("a request in flight is answered");
            assert_eq!((answer.status, answer.text().as_str()), (200, "ok 7\n"));
        }
    });
    assert_eq!(agent.wait(), Some(0), "{}", agent.log());
    assert_eq!(processes_of(world.path()), [], "orphans");
    assert!(http_client::get(&address, "/").is_err(), "the port is closed");
    let jobs = fs::read_to_string(jobs).unwrap();
    assert_eq!(jobs.matches("began").count(), jobs.matches("finished").count(), "{jobs}");

    let status = world.cli(&["status"]);
    assert_eq!(status.code, Some(3), "{status:?}");
    assert!(status.stderr.contains("control.sock"), "{status:?}");
    // What was stopped on purpose starts again with the next agent.
    agent.restart();
    agent.wait_for_release("v0");
}

#[test]
fn a_second_agent_is_refused_and_harms_nothing() {
    let world = World::new();
    let agent = serve(&world);
    let load = load(&world).start();
    load.wait_for_answers(100);
    let before = agent.wait_for_one_generation("web", 2);
    let config = fs::read_to_string(world.path().join("config.toml")).unwrap();
    let other = config.replace("/run\"", "/other-run\"");
    assert_ne!(config, other);
    fs::write(world.path().join("second.toml"), other).unwrap();
    for file in ["config.toml", "second.toml"] {
        let ended = world.cli(&["agent", "--config", file]);
        assert_eq!(ended.code, Some(1), "{file}: {ended:?}");
        let wanted = format!("another agent runs on {}/state", world.path().display());
        assert!(ended.stderr.contains(&wanted), "{file}: {ended:?}");
    }
    assert_eq!(before, agent.wait_for_one_generation("web", 2));
    assert_eq!(world.cli(&["status"]).code, Some(0));
    world.release(&Release::web("v1", world.port));
    agent.wait_for_settled("v1");
    load.stop().assert_none_failed();
}
