//! What processes print and what files grow by reaches CloudWatch: a line that is written is owed,
//! whatever goes wrong, once the faults have ended. At least once, in order, and repeated no more
//! than what nobody could know to have arrived.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::harness::agent::{Agent, World};
use crate::harness::app::Release;
use crate::harness::log_endpoint::{Counts, LogEndpoint};
use crate::harness::{fixture, wait_until};

mod elsewhere;
mod embedded_metrics;
mod faults;
mod files;
mod leaving;
mod lines;
mod processes;

const SOON: Duration = Duration::from_secs(30);
/// From the end of the faults to the last line: the longest pause between tries, and the backlog.
const PAID_WITHIN: Duration = Duration::from_secs(90);

/// A key of the host's file, and its value.
type Setting = (&'static str, toml::Value);

/// A world whose agents ship to the endpoint.
fn world_of(endpoint: &LogEndpoint) -> World {
    let mut world = World::new();
    for (name, value) in endpoint.environment() {
        world.set_environment(&name, &value);
    }
    fs::create_dir(tally_of(&world)).unwrap();
    world
}

/// The host's settings, with `more`.
fn to_cloudwatch(more: &[Setting]) -> Vec<Setting> {
    let mut settings = vec![("logs.to.kind", "cloudwatch".into())];
    settings.extend(more.iter().cloned());
    settings
}

fn tally_of(world: &World) -> PathBuf {
    world.path().join("tally")
}

/// A tier of printers.
struct Printers {
    tier: &'static str,
    processes: i64,
    /// Lines a second of each; 0: as many as it can.
    rate: u32,
    /// The number of the first of its sources.
    first: u32,
}

/// The usual: two tiers, one of them loud.
const LOUD: Printers = Printers { tier: "loud", processes: 2, rate: 500, first: 1 };
const QUIET: Printers = Printers { tier: "quiet", processes: 1, rate: 20, first: 1000 };

impl Printers {
    /// Adds them to a release.
    fn join(&self, release: Release, world: &World) -> Release {
        let app = fs::read(fixture("apps/printer.js")).unwrap();
        let command: Vec<toml::Value> = vec!["node".into(), "printer.js".into()];
        let key = |name: &str| format!("tier.{}.{name}", self.tier);
        release
            .file("printer.js", &app)
            .set(&key("command"), command)
            .set(&key("processes"), self.processes)
            .set(&key("stop"), "5s")
            .set(&key("env.APP_TALLY"), tally_of(world).to_str().expect("UTF-8"))
            .set(&key("env.APP_RATE"), self.rate.to_string())
            .set(&key("env.APP_FIRST"), self.first.to_string())
    }
}

/// A release of the usual two tiers.
fn two_tiers(version: &str, world: &World) -> Release {
    QUIET.join(LOUD.join(Release::new(version), world), world)
}

/// An agent that runs the usual two tiers.
fn printing<'a>(world: &'a World, more: &[Setting]) -> Agent<'a> {
    world.release(&two_tiers("v1", world));
    let agent = Agent::start_with(world, &to_cloudwatch(more));
    agent.wait_for_settled("v1");
    wait_for_printed(world, 100);
    agent
}

/// What is owed by now: how many lines each source has printed.
fn owed(world: &World) -> BTreeMap<u64, u64> {
    let entries = fs::read_dir(tally_of(world)).unwrap();
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.unwrap();
        let source = entry.file_name().to_str().unwrap().parse().unwrap();
        // Empty until the first line is out.
        let printed = fs::read_to_string(entry.path()).unwrap().parse().unwrap_or(0);
        (source, printed)
    };
    entries.map(read).collect()
}

/// Waits until so many lines more are printed, by whichever process.
#[track_caller]
fn wait_for_printed(world: &World, more: u64) {
    let total = || owed(world).values().sum::<u64>();
    let wanted = total() + more;
    wait_until(SOON, &format!("{more} more lines are printed"), || {
        let now = total();
        if now >= wanted { Ok(()) } else { Err(now) }
    });
}

/// Waits until everything that is owed by now has come, and checks the order.
#[track_caller]
fn assert_paid(endpoint: &LogEndpoint, owed: &BTreeMap<u64, u64>) -> Counts {
    assert!(owed.values().sum::<u64>() > 0, "nothing is owed: {owed:?}");
    endpoint.wait_for(owed, PAID_WITHIN);
    for source in owed.keys() {
        let delivery = endpoint.delivery(*source);
        assert_eq!(
            (delivery.out_of_order, delivery.back_in_time),
            (0, 0),
            "source {source} is out of order: {delivery:?}"
        );
    }
    let counts = endpoint.counts();
    assert_eq!(counts.invalid, 0, "calls that nobody should make: {counts:#?}");
    counts
}

/// The logs' part of the status.
fn pipeline(status: &Value) -> Value {
    let pipelines = status["pipelines"].as_array().cloned().unwrap_or_default();
    pipelines.into_iter().find(|pipeline| pipeline["name"] == "logs").unwrap_or_default()
}

/// Waits until the logs' part of the status is as wanted, and answers it.
#[track_caller]
fn wait_for_pipeline(agent: &Agent<'_>, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let there = |logs: &Value| logs.is_object() && wanted(logs);
    pipeline(&agent.wait_for(SOON, what, |status| there(&pipeline(status))))
}

/// Sums over the sources that `logs audit` lists; what was read must be accounted for.
#[track_caller]
fn audit(world: &World) -> BTreeMap<&'static str, u64> {
    let ended = world.cli(&["logs", "audit", "--json"]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let said: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let sources = said["sources"].as_array().expect("sources");
    assert!(!sources.is_empty(), "{said:#}");
    let mut sums = BTreeMap::new();
    for source in sources {
        let of = |key: &str, unit: &str| {
            source[key][unit].as_u64().unwrap_or_else(|| panic!("{key}: {source:#}"))
        };
        let parts = ["acknowledged", "rejected", "dropped", "pending"];
        let accounted: u64 = parts.iter().map(|part| of(part, "bytes")).sum();
        assert_eq!(of("read", "bytes"), accounted, "{source:#}");
        for key in parts.into_iter().chain(["read"]) {
            *sums.entry(key).or_default() += of(key, "events");
        }
    }
    sums
}

/// The next of a sequence without a pattern (splitmix64).
fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
