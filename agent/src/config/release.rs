//! A release's own `release.toml`: its tiers and how a new release is watched. All defaults stand
//! here.

use std::collections::BTreeMap;
use std::time::Duration;

use camino::Utf8Path;
use groundcrew_core::logs::LogRules;
use groundcrew_core::spec::{
    CrashMode, Handoff, ProcessCount, ReadySpec, ReleaseSpec, TierSpec, TrialSpec,
};

use super::problem::{Problem, Problems, shown};
use super::reader::{self, Node, Read, Section};
use super::{fields, logs, units};

/// The name of the file, at the top of the artifact.
pub const FILE: &str = "release.toml";

/// The keys of the file, by table; [`keys`] lists them with their paths.
const TOP: &[&str] = &["tier", "trial"];
const TIER: &[&str] =
    &["command", "port", "processes", "ready", "bleed", "stop", "env", "handoff", "crash", "logs"];
const READY: &[&str] = &["path", "within", "successes"];
const TRIAL: &[&str] = &["for", "errors_max"];

/// Processes of a tier with a port; a tier without one has [`PROCESSES_WITHOUT_PORT`].
pub const PROCESSES: ProcessCount = ProcessCount::PerCore;
/// Processes of a tier without a port: two of a worker may not be what its author thought of.
pub const PROCESSES_WITHOUT_PORT: ProcessCount = ProcessCount::Exactly(1);
/// How long a process may take to become ready.
pub const READY_WITHIN: Duration = Duration::from_mins(1);
/// Good probes in a row asked for: one could be luck.
pub const READY_SUCCESSES: u32 = 2;
/// How long the old generation may go on answering.
pub const BLEED: Duration = Duration::from_secs(30);
/// How long a process may take to end after SIGTERM.
pub const STOP: Duration = Duration::from_secs(10);
/// How long a new release is watched.
pub const TRIAL_FOR: Duration = Duration::from_mins(1);
/// Share of requests that may fail in the trial, in parts per million: 5 %.
pub const TRIAL_ERRORS_PPM_MAX: u32 = 50_000;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
const READY_SUCCESSES_MAX: u32 = 100;
const TRIAL_FOR_MAX: Duration = Duration::from_hours(24);
const COMMAND_ARGUMENTS_MAX: usize = 1024;

/// Programs that are Node itself or run in it.
const NODE_PROGRAMS: [&str; 2] = ["node", "nodejs"];
/// Package managers run the application in a child process, which loses the inherited socket.
const PACKAGE_MANAGERS: [&str; 5] = ["npm", "npx", "yarn", "pnpm", "corepack"];

/// A release's description, and what its author should look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedRelease {
    /// What the file says, with the defaults filled in.
    pub spec: ReleaseSpec,
    /// What will probably not work as meant.
    pub warnings: Vec<Problem>,
}

/// Reads the text of a `release.toml`.
pub fn parse(text: &str) -> Result<ParsedRelease, Problems> {
    reader::read(FILE, text, TOP, walk).map(|(spec, warnings)| ParsedRelease { spec, warnings })
}

/// Every key of the file, with its path: `tier.NAME.command`, `trial.for`.
pub fn keys() -> impl Iterator<Item = String> {
    fields::below("tier.NAME", TIER)
        .filter(|key| key != "tier.NAME.ready" && key != "tier.NAME.logs")
        .chain(fields::below("tier.NAME.ready", READY))
        .chain(logs::tier_keys())
        .chain(fields::below("trial", TRIAL))
}

fn walk(top: &Section<'_, '_>) -> Read<ReleaseSpec> {
    let tiers = fields::tiers(top, TIER, tier).and_then(|tiers| {
        if tiers.is_empty() {
            return Err(top.node().refuse("names no tier", "add one, such as [tier.web]"));
        }
        Ok(tiers)
    });
    let trial = top.optional("trial", trial);
    let default = TrialSpec { watch: TRIAL_FOR, errors_ppm_max: TRIAL_ERRORS_PPM_MAX };
    let spec = ReleaseSpec { tiers: tiers?, trial: trial?.unwrap_or(default) };
    let ports = spec.tiers.iter().filter_map(|(name, tier)| Some((name.clone(), tier.port?)));
    fields::distinct_ports(top, ports)?;
    Ok(spec)
}

fn trial(node: &Node<'_, '_>) -> Read<TrialSpec> {
    let section = node.section(TRIAL)?;
    let watch =
        section.or("for", TRIAL_FOR, |node| fields::duration(node, Duration::ZERO..=TRIAL_FOR_MAX));
    let errors = section.or("errors_max", TRIAL_ERRORS_PPM_MAX, |node| {
        node.parse("a percentage, such as \"5%\"", units::percent)
    });
    Ok(TrialSpec { watch: watch?, errors_ppm_max: errors? })
}

fn tier(section: &Section<'_, '_>) -> Read<TierSpec> {
    let command = section
        .required("command", "say what to start, such as command = [\"node\", \"server.js\"]")
        .and_then(|node| command(&node));
    let port = section.optional("port", fields::port);
    let has_port = section.get("port").is_some();
    let processes = if has_port { PROCESSES } else { PROCESSES_WITHOUT_PORT };
    let processes = section.or("processes", processes, fields::processes);
    let ready = ready(section, has_port);
    let bleed = section.or("bleed", BLEED, |node| fields::duration(node, Duration::ZERO..=HOUR));
    let stop = section.or("stop", STOP, |node| fields::duration(node, Duration::ZERO..=HOUR));
    let env = section.or("env", BTreeMap::new(), fields::env);
    let handoff = section.optional("handoff", |node| {
        fields::one_of(node, &[("node", Handoff::Node), ("listen-fds", Handoff::ListenFds)])
    });
    let crash = section.or("crash", CrashMode::Exit, |node| {
        fields::one_of(node, &[("exit", CrashMode::Exit), ("bleed", CrashMode::Bleed)])
    });
    let logs = section.or("logs", LogRules::default(), logs::tier_logs);
    let command = command?;
    let handoff = handoff?.unwrap_or_else(|| handoff_of(&command));
    let crash = crash?;
    if let (Some(node), CrashMode::Bleed, Handoff::ListenFds) =
        (section.get("crash"), crash, handoff)
    {
        return Err(node.refuse(
            "\"bleed\" works only in Node processes",
            "set handoff = \"node\", or leave crash out",
        ));
    }
    if let (Some(node), true) = (section.get("command"), has_port) {
        warn_of_wrapper(&node, &command);
    }
    Ok(TierSpec {
        command,
        port: port?,
        processes: processes?,
        ready: ready?,
        bleed: bleed?,
        stop: stop?,
        env: env?,
        handoff,
        crash,
        logs: logs?,
    })
}

fn command(node: &Node<'_, '_>) -> Read<Vec<String>> {
    let wanted = "an array of strings, such as [\"node\", \"server.js\"]";
    let items = node.items(wanted)?;
    if items.is_empty() {
        return Err(node.refuse("is empty", "name a program, such as [\"node\", \"server.js\"]"));
    }
    if items.len() > COMMAND_ARGUMENTS_MAX {
        let message = format!("has more than {COMMAND_ARGUMENTS_MAX} arguments");
        return Err(node.refuse(message, ""));
    }
    let mut command = Vec::with_capacity(items.len());
    let mut refused = None;
    for item in items {
        match argument(&item, command.is_empty()) {
            Ok(text) => command.push(text),
            Err(reported) => refused = Some(reported),
        }
    }
    refused.map_or(Ok(command), Err)
}

fn argument(item: &Node<'_, '_>, program: bool) -> Read<String> {
    let text = item.as_text().ok_or_else(|| item.wanted("a string in quotes"))?;
    if program && text.trim().is_empty() {
        return Err(item.refuse("the program's name is empty", ""));
    }
    if text.contains('\0') {
        return Err(item.refuse("holds a NUL character", "no process can be given one"));
    }
    if text.len() + 1 > fields::ENV_ENTRY_BYTES_MAX {
        let message = format!("is longer than {} bytes", fields::ENV_ENTRY_BYTES_MAX);
        return Err(item.refuse(message, "the kernel takes no longer ones: use a file"));
    }
    Ok(text.to_owned())
}

fn ready(section: &Section<'_, '_>, has_port: bool) -> Read<ReadySpec> {
    let default = ReadySpec { path: None, within: READY_WITHIN, successes: READY_SUCCESSES };
    section.or("ready", default, |node| {
        let section = node.section(READY)?;
        let path = section.optional("path", |node| {
            if has_port {
                return ready_path(node);
            }
            let hint =
                "without a port a process is ready when it stays up: remove path, or add port";
            Err(node.refuse("there is no port to ask", hint))
        });
        let within =
            section.or("within", READY_WITHIN, |node| fields::duration(node, SECOND..=HOUR));
        let successes =
            section.or("successes", READY_SUCCESSES, |node| node.number(1..=READY_SUCCESSES_MAX));
        Ok(ReadySpec { path: path?, within: within?, successes: successes? })
    })
}

fn ready_path(node: &Node<'_, '_>) -> Read<String> {
    let text = node.as_text().ok_or_else(|| node.wanted("a path, such as \"/health\""))?;
    if !text.starts_with('/') {
        let message = format!("{} does not start with /", shown(text));
        return Err(node.refuse(message, "write it like \"/health\""));
    }
    // It goes into a request line as it is.
    if text.len() > 2048 || !text.bytes().all(|b| b.is_ascii_graphic()) || text.contains('#') {
        let message = format!("{} cannot stand in a request", shown(text));
        return Err(node.refuse(message, "use visible ASCII characters, others as %XX"));
    }
    Ok(text.to_owned())
}

/// How a process gets its socket when the file does not say: Node's way for whatever runs in Node.
fn handoff_of(command: &[String]) -> Handoff {
    let Some(program) = command.first().map(|program| Utf8Path::new(program.as_str())) else {
        return Handoff::ListenFds;
    };
    let name = program.file_name().unwrap_or_default();
    let script = matches!(program.extension(), Some("js" | "cjs" | "mjs"));
    let linked = program.parent().is_some_and(|parent| parent.ends_with("node_modules/.bin"));
    // With a package manager the preload at least says what is wrong.
    if NODE_PROGRAMS.contains(&name) || PACKAGE_MANAGERS.contains(&name) || script || linked {
        Handoff::Node
    } else {
        Handoff::ListenFds
    }
}

fn warn_of_wrapper(node: &Node<'_, '_>, command: &[String]) {
    let program = command.first().map_or("", |program| program.as_str());
    let name = Utf8Path::new(program).file_name().unwrap_or_default();
    if PACKAGE_MANAGERS.contains(&name) {
        node.warn(
            format!("{name} starts the app in a child process, which loses the inherited socket"),
            "name the direct command, such as [\"node\", \"server.js\"]",
        );
    }
}
