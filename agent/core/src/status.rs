//! What a person or a script is told about this host. A plain document: the agent writes it, the
//! control socket carries it as JSON, the command line shows it. Nothing is decided from it.
//!
//! Field names are an interface: scripts read them. Fields are added, never renamed. Times are
//! milliseconds since 1970 ([`Wall`]).

use serde::{Deserialize, Serialize};

mod audit;
mod event;
mod history;
mod lifecycle;
mod line;
mod pipelines;
mod releases;

pub use audit::{AuditDocument, Count, SourceAudit};
pub use event::{EventLevel, EventStatus, Subject, Topic};
pub use history::{
    Column, HistoryDocument, HostColumns, Mark, MarkKind, RolloutOutcome, TierColumns, Timeline,
    TimelineEnd, TimelineStage,
};
pub use lifecycle::{DrainStatus, HookStatus, LifecycleStatus, NoticeStatus};
pub use pipelines::{PipelineStatus, STUCK_AFTER};
pub use releases::{ReleaseEntry, ReleaseRole, ReleasesDocument};

use crate::backups::status::JobStatus;
use crate::time::Wall;
use crate::types::{Digest, Environment, Generation, Pid, ProcessId, TierName, Version};

/// How a host, or a tier of it, is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// On its way to serving for the first time.
    Starting,
    /// As it should be.
    Serving,
    /// It serves less than it should, or nothing: a person is needed.
    Degraded,
    /// Leaving on purpose.
    Draining,
    /// Nothing runs, on purpose.
    Stopped,
}

impl State {
    /// The word people read; the same as in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Degraded => "degraded",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
        }
    }
}

/// Everything `groundcrew status` shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusDocument {
    /// How the host is.
    pub state: State,
    /// Since when it is so.
    pub since: Wall,
    /// When this was written, by the host's clock: ages are counted from here.
    pub now: Wall,
    /// Which host.
    pub host: HostStatus,
    /// Which environment it belongs to.
    pub environment: Environment,
    /// Where releases come from, as the configuration writes it.
    pub source: String,
    /// The release that runs.
    pub release: Option<ReleaseStatus>,
    /// The release before, kept for a rollback.
    pub previous: Option<ReleaseStatus>,
    /// The release that the channel asks for.
    pub desired: Option<DesiredStatus>,
    /// The release that failed here and is not tried again until the channel changes.
    pub rejected: Option<RejectedStatus>,
    /// The rollout under way.
    pub rollout: Option<RolloutStatus>,
    /// Why the state is what it is, when that needs saying.
    pub reason: Option<String>,
    /// The command to type next, when something fails.
    pub next: Option<String>,
    /// Where the host stands in its Auto Scaling group, and why it leaves; `None`: it is in none.
    #[serde(default)]
    pub lifecycle: Option<LifecycleStatus>,
    /// The tiers, in the order of their names.
    pub tiers: Vec<TierStatus>,
    /// Bytes on disk.
    pub disk: DiskStatus,
    /// How the source answers.
    pub source_status: SourceStatus,
    /// What leaves the host all the time, such as its logs.
    #[serde(default)]
    pub pipelines: Vec<PipelineStatus>,
    /// The jobs of `[[backup]]`, in the order of the host's file.
    #[serde(default)]
    pub backups: Vec<JobStatus>,
    /// What happened, newest first.
    pub events: Vec<EventStatus>,
}

impl StatusDocument {
    /// Whether a script should take this for a failure: degraded, or the desired release was
    /// rejected, or there is no good backup.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.is_degraded() || self.backups.iter().any(JobStatus::is_failing)
    }

    /// The same without its backups, which say nothing about how it serves.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.state == State::Degraded || self.is_rolled_back()
    }

    /// Whether the release that the channel asks for was tried here and failed.
    #[must_use]
    pub fn is_rolled_back(&self) -> bool {
        match (&self.rejected, &self.desired) {
            (Some(rejected), Some(desired)) => rejected.digest == desired.digest,
            _ => false,
        }
    }
}

/// Which host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStatus {
    /// The EC2 instance, when it is one.
    pub instance_id: Option<String>,
    /// The host's name.
    pub name: String,
}

/// A release on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseStatus {
    /// For people.
    pub version: Version,
    /// For machines.
    pub digest: Digest,
    /// Since when it is what it is here: running, or kept.
    pub since: Wall,
}

/// What the channel asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredStatus {
    /// For people.
    pub version: Version,
    /// For machines.
    pub digest: Digest,
    /// How often the channel was moved.
    pub channel_generation: u64,
}

/// A release that failed here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedStatus {
    /// For people.
    pub version: Version,
    /// For machines.
    pub digest: Digest,
    /// What it did.
    pub reason: String,
    /// When it was given up.
    pub at: Wall,
}

/// How far a rollout is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RolloutStage {
    /// Downloading, verifying and unpacking.
    Fetching,
    /// The new generation starts beside the old one and is probed.
    Starting,
    /// The new generation accepts; the old one answers what it has.
    Cutover,
    /// The new release serves and is watched.
    Trial,
    /// The old release takes over again.
    RollingBack,
}

impl RolloutStage {
    /// The words people read.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Fetching => "fetching",
            Self::Starting => "starting",
            Self::Cutover => "cutting over",
            Self::Trial => "on trial",
            Self::RollingBack => "rolling back",
        }
    }
}

/// One release replacing another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutStatus {
    /// The new release, for people.
    pub version: Version,
    /// The new release, for machines.
    pub digest: Digest,
    /// How far it is.
    pub stage: RolloutStage,
    /// Since when it is in this stage.
    pub since: Wall,
    /// More about the stage, such as `41 % of 188 MiB`; may be empty.
    pub detail: String,
    /// When the rollout began.
    pub started: Wall,
}

/// One tier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierStatus {
    /// Its name.
    pub name: TierName,
    /// The release it runs.
    pub release: Option<Version>,
    /// The generation that serves.
    pub generation: Option<Generation>,
    /// The port; `None` for a tier without one.
    pub port: Option<u16>,
    /// Processes that are ready.
    pub ready: u32,
    /// Processes there should be.
    pub wanted: u32,
    /// Requests being answered.
    pub in_flight: u64,
    /// Open connections, WebSockets included.
    pub connections: u64,
    /// Open WebSocket connections.
    pub websockets: u64,
    /// Requests answered in a second.
    pub requests_per_second: u64,
    /// The 99th percentile of the time to answer, in microseconds; `None` without requests.
    pub p99_us: Option<u64>,
    /// Responses with 5xx in the last minute.
    pub errors_per_minute: u64,
    /// Restarts of its processes since the generation began.
    pub restarts: u32,
    /// When the last restart was.
    pub last_restart: Option<Wall>,
    /// Since when the state is what it is.
    pub since: Wall,
    /// How it is.
    pub state: State,
    /// Why, when that needs saying.
    pub reason: Option<String>,
    /// Its processes, those of the old generation included.
    pub processes: Vec<ProcessStatus>,
}

/// What a process is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProcessState {
    /// Started, not ready yet.
    Starting,
    /// Its probes passed; it does not accept yet.
    Ready,
    /// It takes connections.
    Accepting,
    /// It answers what it has and takes no new connections.
    Bleeding,
    /// It was told to end.
    Stopping,
    /// It ended and is started again after a pause.
    Backoff,
    /// It ended too often and is left alone.
    Crashed,
}

impl ProcessState {
    /// The word people read; the same as in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Accepting => "accepting",
            Self::Bleeding => "bleeding",
            Self::Stopping => "stopping",
            Self::Backoff => "backoff",
            Self::Crashed => "crashed",
        }
    }
}

/// One process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// Tier, generation, ordinal.
    pub id: ProcessId,
    /// The operating system's number; `None` while it does not run.
    pub pid: Option<Pid>,
    /// What it is doing.
    pub state: ProcessState,
    /// The last probe.
    pub probe: Option<ProbeStatus>,
    /// How often it was started again.
    pub restarts: u32,
    /// Bytes of memory.
    pub rss_bytes: Option<u64>,
    /// Percent of one core.
    pub cpu_percent: Option<u32>,
    /// The 99th percentile of the event loop's delay, in microseconds.
    pub loop_lag_us: Option<u64>,
    /// Open connections.
    pub connections: u64,
    /// Requests being answered.
    pub in_flight: u64,
    /// Since when it runs, or since when it does not.
    pub since: Wall,
    /// Why it is in this state, when that needs saying.
    pub reason: Option<String>,
}

/// One probe's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeStatus {
    /// Whether it was good.
    pub ok: bool,
    /// When.
    pub at: Wall,
    /// What was answered, such as `503`; empty when all is well.
    pub detail: String,
}

/// Bytes on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DiskStatus {
    /// Of unpacked releases.
    pub releases_bytes: u64,
    /// Of log files.
    pub logs_bytes: u64,
}

/// How the source answers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SourceStatus {
    /// When it last answered.
    pub last_ok: Option<Wall>,
    /// Why it did not answer the last time it was asked.
    pub error: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What scripts rely on, as JSON. A change here breaks them.
    const DOCUMENT: &str = r#"{
        "state": "serving", "since": 1, "now": 2,
        "host": {"instance_id": null, "name": "web-1"},
        "environment": "production", "source": "s3://acme-releases/shop",
        "release": {"version": "v42", "digest": "DIGEST", "since": 1},
        "previous": null,
        "desired": {"version": "v42", "digest": "DIGEST", "channel_generation": 7},
        "rejected": null,
        "rollout": {"version": "v43", "digest": "DIGEST", "stage": "fetching", "since": 1,
                    "detail": "41 % of 188 MiB", "started": 1},
        "reason": null, "next": null,
        "lifecycle": {
            "target": "Terminated", "group": "shop-web", "state": "Terminating:Wait",
            "notices": [{"cause": "terminated", "text": "the group terminates it", "at": 1,
                         "deadline": null}],
            "drain": {"since": 1, "ended": null, "deadline": 2, "balancers": "gone", "cut": 0,
                      "steps": [{"after_ms": 0, "text": "the group terminates it"}]},
            "last_drain": null,
            "hooks": [{"name": "drain", "result": "CONTINUE", "reason": "drained in 2s",
                       "confirmed": true}],
            "heartbeats": 1, "metadata_error": null, "api_error": null
        },
        "tiers": [{
            "name": "web", "release": "v42", "generation": 17, "port": 3000, "ready": 1,
            "wanted": 2, "in_flight": 3, "connections": 4, "websockets": 0,
            "requests_per_second": 5, "p99_us": 41000, "errors_per_minute": 0,
            "restarts": 0, "last_restart": null, "since": 1, "state": "serving", "reason": null,
            "processes": [{
                "id": "web.17.1", "pid": 21807, "state": "accepting",
                "probe": {"ok": true, "at": 1, "detail": ""}, "restarts": 0,
                "rss_bytes": 123, "cpu_percent": 9, "loop_lag_us": 2000,
                "connections": 4, "in_flight": 3, "since": 1, "reason": null
            }]
        }],
        "disk": {"releases_bytes": 1, "logs_bytes": 2},
        "source_status": {"last_ok": 1, "error": null},
        "pipelines": [{
            "name": "logs", "sent_per_second": 940, "sent": 12000, "sent_bytes": 2556000,
            "backlog_bytes": 1258291, "oldest_ms": 3000, "last_ok": 1, "dropped": 0,
            "rejected": 0, "reason": null
        }],
        "backups": [],
        "events": [{"at": 1, "level": "normal", "text": "v42 settled"}]
    }"#;

    pub(super) fn document() -> StatusDocument {
        serde_json::from_str(&DOCUMENT.replace("DIGEST", &"3f9c2ab0".repeat(8))).unwrap()
    }

    #[test]
    fn the_json_has_the_names_that_scripts_rely_on() {
        let text = DOCUMENT.replace("DIGEST", &"3f9c2ab0".repeat(8));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_value(document()).unwrap(), value);
    }

    #[test]
    fn words_are_those_of_the_json() {
        let check = |word: &str, value: serde_json::Value| assert_eq!(value, word);
        for state in
            [State::Starting, State::Serving, State::Degraded, State::Draining, State::Stopped]
        {
            check(state.word(), serde_json::to_value(state).unwrap());
        }
        for level in [EventLevel::Normal, EventLevel::Warning, EventLevel::Error] {
            check(level.word(), serde_json::to_value(level).unwrap());
        }
        check(ProcessState::Backoff.word(), serde_json::to_value(ProcessState::Backoff).unwrap());
        check(ReleaseRole::Kept.word(), serde_json::to_value(ReleaseRole::Kept).unwrap());
    }

    #[test]
    fn degraded_and_rolled_back_are_failures() {
        let serving = document();
        assert!(!serving.is_failing());
        assert!(StatusDocument { state: State::Degraded, ..serving.clone() }.is_failing());
        let rejected = |digest: Digest| {
            let rejected = RejectedStatus {
                version: "v42".parse().unwrap(),
                digest,
                reason: "x".into(),
                at: Wall(1),
            };
            StatusDocument { rejected: Some(rejected), ..serving.clone() }.is_failing()
        };
        assert!(rejected(serving.desired.as_ref().unwrap().digest));
        assert!(!rejected(Digest::from_bytes([0; 32])), "the channel moved on");
    }
}
