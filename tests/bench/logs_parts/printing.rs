//! A process that prints flat out: how many lines it gets rid of under an agent, alive or stopped,
//! against the same process that prints to a plain file by itself.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::rig;
use crate::harness::app::Release;
use crate::harness::log_endpoint::{Faults, LogEndpoint};
use crate::harness::{fixture, poll_until};
use crate::report::rounded;

const ROUNDS: usize = 3;
const SOON: Duration = Duration::from_secs(30);

/// What the agent does meanwhile.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meanwhile {
    Ships,
    Waits,
    IsStopped,
}

/// The figures.
pub fn run(seconds: Duration) -> Value {
    let mut printed: [Vec<u64>; 4] = Default::default();
    // In turns, so that a busy moment of the machine hits all of them.
    for _ in 0..ROUNDS {
        printed[0].push(alone(seconds));
        printed[1].push(under_an_agent(seconds, Meanwhile::Ships));
        printed[2].push(under_an_agent(seconds, Meanwhile::Waits));
        printed[3].push(under_an_agent(seconds, Meanwhile::IsStopped));
    }
    let [alone, ships, waits, stopped] = printed.map(|mut rounds| {
        rounds.sort_unstable();
        rounds[ROUNDS / 2]
    });
    let ratio = |lines: u64| rounded(lines as f64 / alone as f64);
    json!({
        "seconds": seconds.as_secs(),
        "lines_alone": alone,
        "lines_agent_ships": ships,
        "lines_agent_waits": waits,
        "lines_agent_stopped": stopped,
        "ratio_agent_ships": ratio(ships),
        "ratio_agent_waits": ratio(waits),
        "ratio_agent_stopped": ratio(stopped),
    })
}

fn variables(directory: &Path, seconds: Duration) -> [(&'static str, String); 3] {
    fs::create_dir_all(directory.join("tally")).unwrap();
    let path = |name: &str| directory.join(name).to_str().expect("UTF-8").to_owned();
    [
        ("APP_TALLY", path("tally")),
        ("APP_GO", path("go")),
        ("APP_SECONDS", seconds.as_secs().to_string()),
    ]
}

/// Lets it begin, and answers how many lines it has printed in its time.
fn count(directory: &Path, seconds: Duration) -> u64 {
    let tally: PathBuf = directory.join("tally/1");
    let every = Duration::from_millis(20);
    poll_until(every, SOON, "the printer is there", || fs::metadata(&tally));
    fs::write(directory.join("go"), b"").unwrap();
    // Its time, and as much as a busy machine adds to it.
    std::thread::sleep(seconds + Duration::from_secs(1));
    fs::read_to_string(&tally).unwrap().parse().expect("a number")
}

fn alone(seconds: Duration) -> u64 {
    let directory = tempfile::tempdir().unwrap();
    let mut child = Command::new("node")
        .arg(fixture("apps/printer.js"))
        .envs(variables(directory.path(), seconds))
        .stdin(Stdio::null())
        .stdout(File::create(directory.path().join("printed")).unwrap())
        .spawn()
        .expect("could not start node");
    let lines = count(directory.path(), seconds);
    child.kill().unwrap();
    child.wait().unwrap();
    lines
}

fn under_an_agent(seconds: Duration, meanwhile: Meanwhile) -> u64 {
    let endpoint = LogEndpoint::start_tls();
    if meanwhile == Meanwhile::Waits {
        endpoint.set_faults(Faults { error_percent: 100, ..Faults::default() });
    }
    let world = rig::world_of(&endpoint);
    let app = fs::read(fixture("apps/printer.js")).unwrap();
    let command: Vec<toml::Value> = vec!["node".into(), "printer.js".into()];
    let release = Release::new("v1")
        .file("printer.js", &app)
        .set("tier.loud.command", command)
        .set("tier.loud.processes", 1);
    let release =
        variables(world.path(), seconds).into_iter().fold(release, |release, (name, value)| {
            release.set(&format!("tier.loud.env.{name}"), value)
        });
    world.release(&release);
    let agent = rig::agent_of(&world, &[]);
    agent.wait_for_settled("v1");
    if meanwhile == Meanwhile::IsStopped {
        agent.signal(Signal::SIGSTOP);
    }
    let lines = count(world.path(), seconds);
    if meanwhile == Meanwhile::IsStopped {
        agent.signal(Signal::SIGCONT);
    }
    lines
}
