//! The host's file: which environment, from which source, where things lie, and what the host says
//! over the release. Never looks at the host itself: that is [`super::host_check`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use groundcrew_core::backups::settings::{BackupSettings, Store};
use groundcrew_core::limits;
use groundcrew_core::logs::LogSettings;
use groundcrew_core::metrics::settings::MetricsSettings;
use groundcrew_core::notify::settings::{ErrorSettings, TargetSettings};
use groundcrew_core::spec::{HostLimits, TierOverride};
use groundcrew_core::types::{Environment, TierName};

use super::problem::{Problem, Problems, shown};
use super::reader::{self, Node, Read, Section};
use super::{
    HttpConfig, LifecycleConfig, SourceUrl, StatsdConfig, TracesConfig, backup, fields, http,
    lifecycle, logs, metrics, notify, traces, units,
};

/// The keys of the file, by table; [`keys`] lists them with their paths.
const TOP: &[&str] = &[
    "environment",
    "source",
    "tiers",
    "state_dir",
    "run_dir",
    "poll",
    "releases",
    "http",
    "lifecycle",
    "logs",
    "metrics",
    "traces",
    "notify",
    "errors",
    "backup_store",
    "backup",
    "tier",
];
const POLL: &[&str] = &["interval"];
const RELEASES: &[&str] = &["keep", "disk_max"];
const TIER: &[&str] = &["port", "processes", "user", "memory_max", "pids_max", "cpu_max", "env"];

/// Where the ledger, the releases and the logs are, unless the file says otherwise.
pub const STATE_DIR: &str = "/var/lib/groundcrew";
/// Where sockets are, unless the file says otherwise. Emptied by a reboot.
pub const RUN_DIR: &str = "/run/groundcrew";
/// How often the channel is asked for.
pub const POLL_INTERVAL: Duration = Duration::from_secs(10);
/// Releases kept on disk.
pub const KEEP: u32 = 3;
/// Bytes of releases kept on disk.
pub const DISK_MAX: u64 = 10 << 30;

const POLL_INTERVAL_MIN: Duration = Duration::from_secs(1);
const POLL_INTERVAL_MAX: Duration = Duration::from_hours(1);
/// The current and the previous release are never pruned.
const KEEP_MIN: u32 = 2;
const KEEP_MAX: u32 = 1000;
/// Less does not hold one Node application.
const DISK_MAX_MIN: u64 = 64 << 20;
/// Less does not start Node.
const MEMORY_MAX_MIN: u64 = 16 << 20;
/// Less does not start Node, which has about ten threads.
const PIDS_MAX_MIN: u32 = 16;

/// Bytes of a unix socket's path with the NUL at its end (`sun_path`, unix(7)).
const SOCKET_PATH_BYTES_MAX: usize = 108;
/// Generations only grow; a host that starts one a minute needs 19 years for eight digits.
const GENERATION_DIGITS: usize = 7;
const TIER_NAME_BYTES_MAX: usize = 32;

/// What the host's file says, checked.
#[derive(Clone, PartialEq, Eq)]
pub struct HostConfig {
    /// The environment, which names the channel.
    pub environment: Environment,
    /// Where releases and channels live.
    pub source: SourceUrl,
    /// The tiers of a release that this host runs; `None`: all.
    pub tiers: Option<BTreeSet<TierName>>,
    /// Ledger, releases, logs: what must survive a reboot.
    pub state_dir: Utf8PathBuf,
    /// Sockets: what need not.
    pub run_dir: Utf8PathBuf,
    /// How often the channel is asked for.
    pub poll_interval: Duration,
    /// What is kept on disk.
    pub releases: ReleasesConfig,
    /// Where `/ready`, `/metrics` and the status page answer.
    pub http: HttpConfig,
    /// The host's place in its Auto Scaling group.
    pub lifecycle: LifecycleConfig,
    /// What is shipped of the logs, and where to.
    pub logs: LogSettings,
    /// What is sent of the metrics, and where to.
    pub metrics: MetricsSettings,
    /// Where applications send what they measure; `None`: nowhere.
    pub statsd: Option<StatsdConfig>,
    /// Which requests X-Ray is told about.
    pub traces: TracesConfig,
    /// Who is told what happens.
    pub notify: Vec<TargetSettings>,
    /// Where errors of applications go; `None`: nowhere.
    pub errors: Option<ErrorSettings>,
    /// Where backups are remembered, and dumps kept; there when there are backups.
    pub backup_store: Option<Store>,
    /// The backups that this host's fleet makes. The instance and the run of each are filled in by
    /// the runtime.
    pub backups: Vec<BackupSettings>,
    /// What the host says over the release, by tier.
    pub overrides: BTreeMap<TierName, TierOverride>,
}

/// What is kept on disk of releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReleasesConfig {
    /// Releases, the current and the previous included.
    pub keep: u32,
    /// Bytes of all of them; the current and the previous stay also when they are larger.
    pub disk_max: u64,
}

/// Without the values of environment variables: they may be secrets.
impl fmt::Debug for HostConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let overrides: BTreeMap<_, _> = (self.overrides.iter())
            .map(|(tier, over)| {
                let names: Vec<_> = over.env.keys().collect();
                (tier.as_str(), (over.port, over.processes, names, &over.host))
            })
            .collect();
        f.debug_struct("HostConfig")
            .field("environment", &self.environment)
            .field("source", &self.source)
            .field("tiers", &self.tiers)
            .field("state_dir", &self.state_dir)
            .field("run_dir", &self.run_dir)
            .field("poll_interval", &self.poll_interval)
            .field("releases", &self.releases)
            .field("http", &self.http)
            .field("lifecycle", &self.lifecycle)
            .field("logs", &self.logs)
            .field("metrics", &self.metrics)
            .field("statsd", &self.statsd)
            .field("traces", &self.traces)
            .field("notify", &self.notify)
            .field("errors", &self.errors)
            .field("backup_store", &self.backup_store)
            .field("backups", &self.backups)
            .field("overrides", &overrides)
            .finish()
    }
}

/// Reads the host's file; `file` is its name in messages.
pub fn parse(file: &str, text: &str) -> Result<HostConfig, Problems> {
    parse_with_warnings(file, text).map(|(config, _warnings)| config)
}

/// The same, with what will perhaps not work as meant.
pub fn parse_with_warnings(file: &str, text: &str) -> Result<(HostConfig, Vec<Problem>), Problems> {
    reader::read(file, text, TOP, walk)
}

/// Every key of the file, with its path: `environment`, `poll.interval`, `tier.NAME.port`.
pub fn keys() -> impl Iterator<Item = String> {
    let tables = [
        "poll",
        "releases",
        "http",
        "lifecycle",
        "logs",
        "metrics",
        "traces",
        "notify",
        "errors",
        "backup",
        "tier",
    ];
    (TOP.iter().filter(move |key| !tables.contains(key)).map(ToString::to_string))
        .chain(fields::below("poll", POLL))
        .chain(fields::below("releases", RELEASES))
        .chain(fields::below("http", http::KEYS))
        .chain(fields::below("lifecycle", lifecycle::KEYS))
        .chain(logs::keys())
        .chain(metrics::keys())
        .chain(fields::below("traces", traces::KEYS))
        .chain(notify::keys())
        .chain(backup::keys())
        .chain(fields::below("tier.NAME", TIER))
}

fn walk(top: &Section<'_, '_>) -> Read<HostConfig> {
    // Everything is read before the first `?`, so that everything is complained about.
    let environment = top
        .required("environment", "name one, such as environment = \"production\"")
        .and_then(|node| node.parse("the name of an environment", str::parse));
    let source = top
        .required("source", "say where releases are, such as source = \"s3://bucket/prefix\"")
        .and_then(|node| node.parse("a URL, such as \"s3://bucket/prefix\"", str::parse));
    let tiers = top.optional("tiers", tiers_run);
    let state_dir = top.or("state_dir", STATE_DIR.into(), directory);
    let run_dir = top.or("run_dir", RUN_DIR.into(), directory);
    let poll = top.optional("poll", |node| {
        let allowed = POLL_INTERVAL_MIN..=POLL_INTERVAL_MAX;
        node.section(POLL)?
            .or("interval", POLL_INTERVAL, |node| fields::duration(node, allowed.clone()))
    });
    let releases = top.optional("releases", releases);
    let http = top.or("http", HttpConfig::default(), http::http);
    let lifecycle = top.optional("lifecycle", lifecycle::lifecycle);
    let logs = top.or("logs", LogSettings::default(), logs::logs);
    let metrics = top.or("metrics", metrics::Metrics::default(), metrics::metrics);
    let traces = top.or("traces", TracesConfig::default(), traces::traces);
    let notify = top.or("notify", Vec::new(), notify::targets);
    let errors = top.optional("errors", notify::errors);
    let store = top.optional("backup_store", backup::store);
    let backups = backup::backups(top);
    let overrides = fields::tiers(top, TIER, tier);
    let metrics = metrics?;
    let mut config = HostConfig {
        environment: environment?,
        source: source?,
        tiers: tiers?,
        state_dir: state_dir?,
        run_dir: run_dir?,
        poll_interval: poll?.unwrap_or(POLL_INTERVAL),
        releases: releases?.unwrap_or(ReleasesConfig { keep: KEEP, disk_max: DISK_MAX }),
        http: http?,
        lifecycle: lifecycle?.unwrap_or_default(),
        logs: logs?,
        metrics: metrics.settings,
        statsd: metrics.statsd,
        traces: traces?,
        notify: notify?,
        errors: errors?,
        backup_store: store?,
        backups: backups?,
        overrides: overrides?,
    };
    if !config.http.asked_for && uses_port(&config, http::LISTEN.port()) {
        // Where nobody asked for the address, a tier has it.
        config.http.listen = None;
    }
    let together =
        [check_directories(top, &config), check_tiers(top, &config), check_ports(top, &config)];
    together.into_iter().collect::<Read<()>>()?;
    Ok(config)
}

fn tiers_run(node: &Node<'_, '_>) -> Read<BTreeSet<TierName>> {
    let wanted = "an array of tier names, such as [\"web\"]";
    let items = node.items(wanted)?;
    if items.is_empty() {
        return Err(node.refuse("names no tier", "leave it out to run all tiers of a release"));
    }
    if items.len() > limits::TIERS_MAX {
        return Err(node.refuse(format!("names more than {} tiers", limits::TIERS_MAX), ""));
    }
    let mut tiers = BTreeSet::new();
    let mut refused = None;
    for item in items {
        let name = item.as_text().ok_or_else(|| item.wanted("the name of a tier"));
        match name.and_then(|text| fields::tier_name(text, &item)) {
            Ok(tier) if tiers.contains(&tier) => {
                refused = Some(item.refuse(format!("{tier} is named twice"), ""));
            }
            Ok(tier) => drop(tiers.insert(tier)),
            Err(reported) => refused = Some(reported),
        }
    }
    refused.map_or(Ok(tiers), Err)
}

fn directory(node: &Node<'_, '_>) -> Read<Utf8PathBuf> {
    let text = node.as_text().ok_or_else(|| node.wanted("the path of a directory"))?;
    let path = Utf8Path::new(text);
    let refuse = |why: &str| Err(node.refuse(format!("{} {why}", shown(text)), ""));
    if !path.is_absolute() {
        return refuse("is not an absolute path");
    }
    if path.components().any(|part| part == Utf8Component::ParentDir) || text.contains('\0') {
        return refuse("holds \"..\" or NUL");
    }
    if path.parent().is_none() {
        return refuse("is the root directory");
    }
    // Without doubled and trailing slashes: the text is compared and measured.
    Ok(path.components().collect())
}

fn releases(node: &Node<'_, '_>) -> Read<ReleasesConfig> {
    let section = node.section(RELEASES)?;
    let keep = section.or("keep", KEEP, |node| node.number(KEEP_MIN..=KEEP_MAX));
    let disk_max = section.or("disk_max", DISK_MAX, |node| fields::size(node, DISK_MAX_MIN));
    Ok(ReleasesConfig { keep: keep?, disk_max: disk_max? })
}

fn tier(section: &Section<'_, '_>) -> Read<TierOverride> {
    let port = section.optional("port", fields::port);
    let processes = section.optional("processes", fields::processes);
    let user = section.optional("user", user);
    let memory_max = section.optional("memory_max", |node| fields::size(node, MEMORY_MAX_MIN));
    let pids_max = section.optional("pids_max", |node| node.number(PIDS_MAX_MIN..=u32::MAX));
    let cpu_max = section.optional("cpu_max", |node| {
        let text = node.as_text_or_number().ok_or_else(|| node.wanted("cores, such as \"1.5\""))?;
        units::cores(text).map_err(|error| node.refuse(error.to_string(), ""))
    });
    let env = section.or("env", BTreeMap::new(), fields::env);
    Ok(TierOverride {
        port: port?,
        processes: processes?,
        env: env?,
        host: HostLimits {
            user: user?,
            memory_max: memory_max?,
            pids_max: pids_max?,
            cpu_max_milli: cpu_max?,
        },
    })
}

fn user(node: &Node<'_, '_>) -> Read<String> {
    let text = node.as_text().ok_or_else(|| node.wanted("the name of a user"))?;
    let usual = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '$');
    // A name is looked up, never a number: 0 would be root.
    if text.is_empty() || text.len() > 256 || !text.chars().all(usual) {
        return Err(node.refuse(format!("{} is not the name of a user", shown(text)), ""));
    }
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(node.refuse(format!("{text} is a number"), "give the user's name"));
    }
    Ok(text.to_owned())
}

fn check_directories(top: &Section<'_, '_>, config: &HostConfig) -> Read<()> {
    let HostConfig { state_dir, run_dir, .. } = config;
    let node = top.get("run_dir").or(top.get("state_dir")).unwrap_or(top.node().clone());
    if state_dir.starts_with(run_dir) || run_dir.starts_with(state_dir) {
        let message = format!("run_dir {run_dir} and state_dir {state_dir} overlap");
        return Err(
            node.refuse(message, "state survives a reboot, sockets do not: keep them apart")
        );
    }
    let run_dir_max = run_dir_bytes_max(config.tiers.as_ref());
    if run_dir.as_str().len() > run_dir_max {
        let message = format!("{} is longer than {run_dir_max} bytes", shown(run_dir.as_str()));
        return Err(node.refuse(
            message,
            "a unix socket's path has at most 107, and the names of processes follow",
        ));
    }
    Ok(())
}

/// How long `run_dir` may be so that `run_dir/processes/TIER.GENERATION.ORDINAL/probe.sock` fits.
fn run_dir_bytes_max(tiers: Option<&BTreeSet<TierName>>) -> usize {
    let tier = tiers
        .and_then(|tiers| tiers.iter().map(|tier| tier.as_str().len()).max())
        .unwrap_or(TIER_NAME_BYTES_MAX);
    let ordinal = limits::PROCESSES_PER_TIER_MAX.to_string().len();
    let process = tier + 1 + GENERATION_DIGITS + 1 + ordinal;
    SOCKET_PATH_BYTES_MAX - 1 - "/processes//probe.sock".len() - process
}

/// An override of a tier that the host does not run is a mistake in one of the two.
fn check_tiers(top: &Section<'_, '_>, config: &HostConfig) -> Read<()> {
    let Some(run) = &config.tiers else { return Ok(()) };
    let mut refused = None;
    for tier in config.overrides.keys().filter(|tier| !run.contains(*tier)) {
        let node = top.node().find(&["tier", tier.as_str()]);
        refused = Some(node.refuse("is not in tiers", "add it there, or remove this table"));
    }
    refused.map_or(Ok(()), Err)
}

fn uses_port(config: &HostConfig, port: u16) -> bool {
    config.overrides.values().any(|over| over.port == Some(port))
}

fn check_ports(top: &Section<'_, '_>, config: &HostConfig) -> Read<()> {
    let ports =
        || config.overrides.iter().filter_map(|(tier, over)| Some((tier.clone(), over.port?)));
    fields::distinct_ports(top, ports())?;
    let listen = config.http.listen.map(|address| address.port());
    match ports().find(|(_, port)| Some(*port) == listen) {
        Some((tier, port)) => {
            let message = format!("port {port} is that of tier {tier} too");
            Err(top.node().find(&["http", "listen"]).refuse(message, ""))
        }
        None => Ok(()),
    }
}
