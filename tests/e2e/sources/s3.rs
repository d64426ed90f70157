//! A source in S3, and an S3 that fails.

use std::time::Duration;

use serde_json::Value;

use super::{SOON, load};
use crate::harness::agent::{Agent, ENVIRONMENT, World};
use crate::harness::app::Release;
use crate::harness::emulator::{Emulator, Services, sdk_environment};
use crate::harness::fault_proxy::{Fault, FaultProxy};
use crate::harness::reaper;

const BUCKET: &str = "releases";

/// S3, and a proxy in front of it that fails on command.
struct S3 {
    emulator: Emulator,
    proxy: FaultProxy,
}

impl S3 {
    fn start() -> Self {
        let emulator = Emulator::start(Services::S3);
        emulator.create_bucket(BUCKET);
        let proxy = FaultProxy::start(emulator.address());
        Self { emulator, proxy }
    }

    fn world(&self) -> World {
        let source = format!("s3://{BUCKET}/shop");
        World::with_source(&source, sdk_environment(&self.proxy.endpoint()))
    }

    /// The channel's document.
    fn channel(&self) -> Value {
        let path = format!("/{BUCKET}/shop/channels/{ENVIRONMENT}.json");
        serde_json::from_slice(&self.emulator.s3("GET", &path, b"").body).expect("a channel")
    }
}

/// Large enough for its artifact to be cut in the middle, and different in each version.
fn web(world: &World, version: &str) -> Release {
    let noise: Vec<u8> = (0..40_000_u32)
        .map(|n| n.wrapping_mul(2_654_435_761).rotate_left(n % 31).to_le_bytes()[1])
        .chain(version.bytes())
        .collect();
    Release::web(version, world.port).file("noise.bin", &noise)
}

#[test]
fn a_failing_s3_delays_releases_and_nothing_else() {
    let s3 = S3::start();
    let world = s3.world();
    world.release(&web(&world, "v0"));
    let agent = Agent::start(&world);
    agent.wait_for_settled("v0");
    let load = load(&world).start();
    load.wait_for_answers(100);
    let artifacts = |fault, times| s3.proxy.inject_for("GET", "/artifacts/", fault, Some(times));
    let passing: [(&str, &dyn Fn()); 6] = [
        ("slow", &|| s3.proxy.inject(Fault::Delay(Duration::from_millis(100)))),
        ("throttled", &|| s3.proxy.inject(Fault::Throttle { rate: 50_000 })),
        ("503", &|| artifacts(Fault::SlowDown, 2)),
        ("truncated", &|| artifacts(Fault::CutAfter(1000), 2)),
        ("corrupt once", &|| artifacts(Fault::Corrupt { at: 2000 }, 1)),
        // One less than the SDK tries: promote itself may meet all of them.
        ("channel 503", &|| s3.proxy.inject_for("GET", "/channels/", Fault::SlowDown, Some(2))),
    ];
    for (number, (what, inject)) in (1..).zip(passing) {
        println!("{what}");
        let version = format!("v{number}");
        world.publish(&web(&world, &version));
        inject();
        world.promote(&version);
        agent.wait_for_settled(&version);
        s3.proxy.heal();
    }

    world.publish(&web(&world, "v7"));
    s3.proxy.inject_for("GET", "/artifacts/", Fault::Corrupt { at: 2000 }, None);
    world.promote("v7");
    let status = agent.wait_for_rejected("v7");
    let reason = status["rejected"]["reason"].as_str().unwrap();
    let what = "of the artifact (\"VERSION\" to \"web.js\") has digest";
    assert!(reason.contains(what), "{reason}");
    assert_eq!(
        (&status["release"]["version"], &status["state"]),
        (&"v6".into(), &"serving".into())
    );
    s3.proxy.heal();

    world.publish(&web(&world, "v8"));
    s3.proxy.refuse();
    let status = agent.wait_for(SOON, "the source is down", |status| {
        status["source_status"]["error"].is_string()
    });
    assert_eq!(status["state"], "serving", "{status:#}");
    agent.wait_for_event("the source cannot be read");
    load.wait_for_answers(100);
    s3.proxy.heal();
    agent.wait_for_event("the source can be read again");
    world.promote("v8");
    agent.wait_for_settled("v8");
    load.wait_for_answers(100);
    load.stop().assert_none_failed();
    agent.wait_for_one_generation("web", 2);
    agent.wait_for_no_strays();
}

#[test]
fn a_host_that_boots_while_the_source_is_down_serves_what_it_has() {
    let s3 = S3::start();
    let world = s3.world();
    world.release(&web(&world, "v1"));
    let mut agent = Agent::start(&world);
    agent.wait_for_settled("v1");
    agent.kill();
    reaper::kill_all(world.path());
    s3.proxy.refuse();
    agent.restart();
    agent.wait_for_release("v1");
    let load = load(&world).start();
    load.wait_for_answers(100);
    agent.wait_for(SOON, "the source is down", |status| {
        status["source_status"]["error"].is_string()
    });
    s3.proxy.heal();
    world.release(&web(&world, "v2"));
    agent.wait_for_settled("v2");
    load.stop().assert_none_failed();
}

#[test]
fn an_answer_that_is_lost_is_not_a_second_write() {
    let s3 = S3::start();
    let world = s3.world();
    for (number, part) in [(1, "/releases/"), (2, "/channels/"), (3, "/artifacts/")] {
        s3.proxy.inject_for("PUT", part, Fault::AnswerLost, Some(1));
        // Both commands are asserted to end well.
        world.release(&web(&world, &format!("v{number}")));
        let channel = s3.channel();
        assert_eq!(channel["release"]["version"], format!("v{number}").as_str(), "{channel:#}");
        assert_eq!(channel["generation"], number, "{part}: {channel:#}");
        let history = channel["history"].as_array().unwrap();
        assert_eq!(history.len(), usize::try_from(number).unwrap(), "{part}: {channel:#}");
        assert!(s3.proxy.seen().iter().any(|seen| seen.fault.is_some()), "{part}");
        s3.proxy.heal();
    }
}

#[test]
fn of_two_who_promote_at_once_one_wins() {
    let s3 = S3::start();
    let world = s3.world();
    world.release(&web(&world, "v1"));
    world.publish(&web(&world, "v2"));
    world.publish(&web(&world, "v3"));
    // Both have read the channel before the first writes it.
    let late = Fault::Delay(Duration::from_secs(2));
    s3.proxy.inject_for("PUT", "/channels/", late, Some(2));
    let promote = |version: &'static str| {
        let source = world.source.as_str();
        world.cli(&["promote", version, "--source", source, "--environment", ENVIRONMENT])
    };
    let [second, third] = std::thread::scope(|scope| {
        let running = ["v2", "v3"].map(|version| scope.spawn(move || promote(version)));
        running.map(|promotion| promotion.join().unwrap())
    });
    let channel = s3.channel();
    let (winner, loser, version) =
        if second.code == Some(0) { (&second, &third, "v2") } else { (&third, &second, "v3") };
    assert_eq!((winner.code, loser.code), (Some(0), Some(1)), "{second:?}\n{third:?}");
    let said = format!("moved {ENVIRONMENT} to {version}");
    assert!(loser.stderr.contains(&said) && loser.stderr.contains("at the same time"), "{loser:?}");
    assert_eq!(channel["release"]["version"], version, "{channel:#}");
    assert_eq!(channel["generation"], 2, "{channel:#}");
}
