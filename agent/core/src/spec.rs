//! What a release says about its tiers, what a host says about them, and what comes out of both.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::logs::LogRules;
use crate::types::TierName;

/// What `release.toml` says, checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseSpec {
    /// The tiers of the release.
    pub tiers: BTreeMap<TierName, TierSpec>,
    /// How a new release is watched before it counts.
    pub trial: TrialSpec,
}

/// One tier, as the release describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierSpec {
    /// Program and arguments, run in the release's directory. Never empty.
    pub command: Vec<String>,
    /// The TCP port it listens on; `None` for a tier without one, such as a queue worker.
    pub port: Option<u16>,
    /// How many processes.
    pub processes: ProcessCount,
    /// When a process is ready.
    pub ready: ReadySpec,
    /// How long the old generation may go on answering what it has.
    pub bleed: Duration,
    /// How long a process may take to end after SIGTERM.
    pub stop: Duration,
    /// Environment variables.
    pub env: BTreeMap<String, String>,
    /// How the process gets the listening socket.
    pub handoff: Handoff,
    /// What becomes of the other requests in a Node process when one throws.
    pub crash: CrashMode,
    /// What of its logs is shipped.
    #[serde(default)]
    pub logs: LogRules,
}

/// How many processes a tier has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProcessCount {
    /// One for each core of the host.
    PerCore,
    /// This many.
    Exactly(u16),
}

impl ProcessCount {
    /// The number for a host with `cores`; at least one.
    #[must_use]
    pub fn on(self, cores: u16) -> u16 {
        match self {
            Self::PerCore => cores,
            Self::Exactly(count) => count,
        }
        .clamp(1, limits::PROCESSES_PER_TIER_MAX)
    }
}

/// When a process is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadySpec {
    /// Asked with GET; any status from 200 to 299 is good. `None`: it is ready when it listens.
    pub path: Option<String>,
    /// How long it may take from its start.
    pub within: Duration,
    /// Consecutive good probes asked for.
    pub successes: u32,
}

/// How a process gets the listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Handoff {
    /// The preload takes `listen()` over: private probe, accept and bleed on command.
    Node,
    /// The process takes fd 3 by itself (`LISTEN_FDS`); its bleed is SIGTERM.
    ListenFds,
}

/// What becomes of the other requests in a Node process when one throws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CrashMode {
    /// Node's own way: the process dies at once and every request in it is lost.
    #[default]
    Exit,
    /// Stop accepting, let the others finish for a moment, then die with the same code and stack.
    Bleed,
}

/// How a new release is watched before it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrialSpec {
    /// How long.
    pub watch: Duration,
    /// Share of requests that may fail with 5xx, in parts per million, when the old release did
    /// better.
    pub errors_ppm_max: u32,
}

/// What the host says about a tier, over what the release says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TierOverride {
    /// Instead of the release's port.
    pub port: Option<u16>,
    /// Instead of the release's number.
    pub processes: Option<ProcessCount>,
    /// Added to the release's variables, and stronger.
    pub env: BTreeMap<String, String>,
    /// Who runs it, and within which limits.
    pub host: HostLimits,
}

/// What only the host may decide about a process: a release never chooses its user.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HostLimits {
    /// User to run as; the agent's own when absent.
    pub user: Option<String>,
    /// Bytes of memory per process.
    pub memory_max: Option<u64>,
    /// Tasks (processes and threads) per process.
    pub pids_max: Option<u32>,
    /// CPU in thousandths of a core per process.
    pub cpu_max_milli: Option<u32>,
}

/// A tier as it runs on this host: the release's words, the host's words over them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierPlan {
    /// The merged description; `processes` is already a number.
    pub spec: TierSpec,
    /// Processes on this host.
    pub processes: u16,
    /// The host's own limits.
    pub host: HostLimits,
}

impl TierPlan {
    /// Lays the host's words over the release's.
    #[must_use]
    pub fn new(spec: &TierSpec, over: Option<&TierOverride>, cores: u16) -> Self {
        let mut spec = spec.clone();
        let Some(over) = over else {
            let processes = spec.processes.on(cores);
            return Self { spec, processes, host: HostLimits::default() };
        };
        // A host cannot give a worker a port: the release would not listen on it.
        if spec.port.is_some() {
            spec.port = over.port.or(spec.port);
        }
        spec.processes = over.processes.unwrap_or(spec.processes);
        spec.env.extend(over.env.clone());
        let processes = spec.processes.on(cores);
        Self { spec, processes, host: over.host.clone() }
    }
}
