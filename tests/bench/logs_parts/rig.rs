//! An agent that ships a directory's files to the endpoint over TLS, and what it costs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::harness::agent::{Agent, World};
use crate::harness::log_endpoint::LogEndpoint;
use crate::harness::log_endpoint::lines::Writer;
use crate::harness::poll_until;

const SOON: Duration = Duration::from_secs(30);
/// How often the end is looked for: the error of what is measured to it.
const EVERY: Duration = Duration::from_millis(5);

/// A world whose agents ship to `endpoint`.
pub fn world_of(endpoint: &LogEndpoint) -> World {
    let mut world = World::new();
    for (name, value) in endpoint.environment() {
        world.set_environment(&name, &value);
    }
    fs::create_dir(logs_of(&world)).unwrap();
    world
}

/// Where the files are that are shipped.
pub fn logs_of(world: &World) -> PathBuf {
    world.path().join("named")
}

/// An agent that answers.
pub fn agent_of<'a>(world: &'a World, more: &[(&str, toml::Value)]) -> Agent<'a> {
    let mut file = toml::Table::new();
    let path = logs_of(world).join("*.log").to_str().expect("UTF-8").to_owned();
    file.insert("path".to_owned(), path.into());
    file.insert("multiline".to_owned(), "off".into());
    let mut settings: Vec<(&str, toml::Value)> = vec![
        ("logs.to.kind", "cloudwatch".into()),
        ("logs.file", vec![toml::Value::Table(file)].into()),
    ];
    settings.extend(more.iter().cloned());
    let agent = Agent::start_with(world, &settings);
    wait_for_answer(&agent);
    agent
}

/// Waits until the agent ships what comes new: a file that is there before the agent knows its rule
/// is an old one, of which it may take the end only.
pub fn wait_until_it_ships(endpoint: &LogEndpoint, world: &World) {
    const SOURCE: u64 = 1;
    let path = logs_of(world).join("first.log");
    Writer::new(&path, SOURCE).unwrap().write(1).unwrap();
    endpoint.wait_for(&BTreeMap::from([(SOURCE, 1)]), SOON);
}

/// Waits until an agent that was started answers.
pub fn wait_for_answer(agent: &Agent<'_>) {
    poll_until(EVERY, SOON, "the agent answers", || agent.status().map(drop));
}

/// Waits until so many lines of source 0 have come. Whether they did in time.
pub fn wait_for_lines(endpoint: &LogEndpoint, count: u64, within: Duration) -> bool {
    let started = Instant::now();
    while endpoint.delivery(0).lines < count {
        if started.elapsed() > within {
            return false;
        }
        // The look is the event: nothing tells when the last line is there.
        std::thread::sleep(EVERY);
    }
    true
}

/// How many requests the lines of a file need at least.
pub fn ideal_requests(path: &Path) -> u64 {
    use std::io::{BufRead, BufReader};
    let (mut requests, mut bytes, mut events) = (0, 0, 0);
    let mut file = BufReader::with_capacity(1 << 20, fs::File::open(path).unwrap());
    let mut line = Vec::new();
    while file.read_until(b'\n', &mut line).unwrap() > 0 {
        let size = line.len() - 1 + super::floor::EVENT_OVERHEAD_BYTES;
        if bytes + size > super::floor::BATCH_BYTES_MAX
            || events == super::floor::BATCH_EVENTS_MAX
            || requests == 0
        {
            (requests, bytes, events) = (requests + 1, 0, 0);
        }
        (bytes, events) = (bytes + size, events + 1);
        line.clear();
    }
    requests
}

/// What an agent says about its logs, for the report.
pub fn pipeline(agent: &Agent<'_>) -> serde_json::Value {
    agent.status().map(|status| status["pipelines"].clone()).unwrap_or_default()
}
