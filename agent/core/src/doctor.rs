//! The arithmetic that loses requests: what AWS, systemd and the running agent say, held against
//! each other. Pure: facts in, findings out. What could not be learned is said, never guessed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::lifecycle::LifecycleSettings;
use crate::lifecycle::fleet::Hook;
use crate::limits;
use crate::spec::Handoff;
use crate::time::Wall;
use crate::types::TierName;

mod backups;
mod balancers;
mod group;
mod host;
#[cfg(test)]
mod tests;

pub use backups::{BackupFacts, ShownDatabase};
pub use group::WATCHDOG;

/// A fact, or why it is not known, as a clause.
pub type Learned<T> = Result<T, String>;

/// Everything that is held against each other.
#[derive(Debug, Clone)]
pub struct Facts {
    /// What the host's configuration says about its place in the fleet.
    pub settings: LifecycleSettings,
    /// Where `/ready` answers; `None`: nowhere.
    pub ready: Option<ReadyEndpoint>,
    /// What the instance's metadata and AWS say.
    pub fleet: FleetFacts,
    /// What runs here now.
    pub tiers: Learned<Vec<TierNumbers>>,
    /// How long systemd lets the agent end (`TimeoutStopSec=`); `None`: for ever.
    pub stop_timeout: Learned<Option<Duration>>,
    /// Where releases come from.
    pub source: SourceFacts,
    /// The jobs that make snapshots.
    pub backups: Vec<BackupFacts>,
    /// The time.
    pub now: Wall,
}

/// What the instance's metadata and AWS say.
#[derive(Debug, Clone)]
pub struct FleetFacts {
    /// Whether this host is an EC2 instance.
    pub on_ec2: bool,
    /// The instance's id.
    pub instance: Learned<String>,
    /// `on-demand`, `spot` or `scheduled`.
    pub life_cycle: Learned<String>,
    /// Its group; `None`: it is in none.
    pub group: Learned<Option<Group>>,
    /// The group's hooks.
    pub hooks: Learned<Vec<Hook>>,
    /// The group's target groups.
    pub target_groups: Learned<Vec<TargetGroup>>,
    /// The load balancers of those.
    pub balancers: Learned<Vec<Balancer>>,
    /// Actions that were tried.
    pub actions: Vec<Action>,
    /// How far this host's clock is ahead of AWS's, at least; see [`skew_ms`].
    pub skew_ms: Learned<i64>,
}

/// An Auto Scaling group, with this instance in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// The instance's state, such as `InService`.
    pub state: String,
    /// Who decides that an instance is unhealthy: `EC2`, `ELB`, or several with commas.
    pub health_check_type: String,
    /// How long a new instance is not asked for its health.
    pub grace: Duration,
    /// Whether a terminate hook that ends with ABANDON keeps the instance, at its cost.
    pub retains: bool,
    /// ARNs of its target groups.
    pub target_groups: Vec<String>,
}

/// A target group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetGroup {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// Where its targets listen.
    pub port: Option<u16>,
    /// How their health is asked for; `None`: not at all.
    pub health: Option<HealthCheck>,
    /// Attributes; see there.
    pub attributes: Learned<TargetGroupAttributes>,
    /// ARNs of the load balancers that use it.
    pub balancers: Vec<String>,
}

/// How a load balancer asks its targets for their health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// The path; `None`: a connection is enough.
    pub path: Option<String>,
    /// The port; `None`: the one that traffic comes to.
    pub port: Option<u16>,
    /// Pause between two checks.
    pub interval: Duration,
    /// Failed checks in a row after which a target gets no requests.
    pub unhealthy: u32,
}

/// Attributes of a target group, as far as it has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TargetGroupAttributes {
    /// `deregistration_delay.timeout_seconds`.
    pub deregistration_delay: Option<Duration>,
    /// `slow_start.duration_seconds`.
    pub slow_start: Option<Duration>,
}

/// A load balancer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balancer {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// `idle_timeout.timeout_seconds`; `None`: it has none, as those that are no application load
    /// balancers.
    pub idle_timeout: Learned<Option<Duration>>,
}

/// An action of IAM, and how trying it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// Such as `autoscaling:EnterStandby`.
    pub name: &'static str,
    /// How it went.
    pub outcome: Outcome,
}

/// How trying an action went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Allowed, as far as can be told without an effect.
    Allowed,
    /// Not allowed; AWS's words.
    Denied(String),
    /// There was no answer, or it could not be asked for.
    Unknown(String),
}

/// What a running tier takes, in numbers. Also what `GET /v1/tiers` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierNumbers {
    /// Its name.
    pub name: TierName,
    /// Where it listens.
    pub port: Option<u16>,
    /// How it gets its socket.
    pub handoff: Handoff,
    /// The longest bleed.
    pub bleed_ms: u64,
    /// From SIGTERM to SIGKILL.
    pub stop_ms: u64,
    /// From its start until it is ready, at most.
    pub ready_within_ms: u64,
}

/// Where the agent says whether the host is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadyEndpoint {
    /// The port.
    pub port: u16,
    /// Only this host can reach it.
    pub loopback: bool,
}

/// Where releases come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFacts {
    /// As the configuration writes it.
    pub place: String,
    /// Whose channel is read.
    pub environment: String,
    /// What reading the channel brought.
    pub channel: ChannelFacts,
    /// Whether it may be listed. Without it an object that is missing looks like one denied.
    pub listing: Outcome,
}

/// What reading a channel brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChannelFacts {
    /// A version.
    Promoted(String),
    /// There is no such channel.
    Missing,
    /// It cannot be read, and trying again will not help.
    Refused(String),
    /// No answer.
    Unreached(String),
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at: the same words for ever, scripts know them.
    pub check: &'static str,
    /// What to think of it.
    pub verdict: Verdict,
    /// With which numbers.
    pub numbers: String,
    /// What to do about it.
    pub fix: Option<String>,
}

/// What to think of a finding; the worst is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// It could not be learned.
    Unknown,
    /// It may be meant like that. If not, something is lost now and then.
    Caution,
    /// Requests or hosts are lost.
    Bad,
}

impl Verdict {
    /// As people read it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Unknown => "unknown",
            Self::Caution => "caution",
            Self::Bad => "bad",
        }
    }
}

impl Finding {
    fn new(check: &'static str, verdict: Verdict, numbers: impl Into<String>) -> Self {
        Self { check, verdict, numbers: numbers.into(), fix: None }
    }

    fn good(check: &'static str, numbers: impl Into<String>) -> Self {
        Self::new(check, Verdict::Good, numbers)
    }

    fn unknown(check: &'static str, why: impl Into<String>) -> Self {
        Self::new(check, Verdict::Unknown, why)
    }

    fn fix(self, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..self }
    }
}

/// Everything that is to be said about the facts, by topic.
#[must_use]
pub fn examine(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![host::metadata(&facts.fleet)];
    findings.extend(group::group(facts));
    findings.extend(balancers::balancers(facts));
    findings.push(host::stop_timeout(facts));
    findings.push(host::spot(facts));
    findings.extend(host::actions(&facts.fleet.actions));
    findings.extend(host::source(&facts.source));
    findings.extend(backups::backups(&facts.backups, facts.now.0.div_euclid(1000)));
    findings.push(host::clock(&facts.fleet));
    findings
}

/// How far this host's clock is ahead of a server's, at least: negative when it is behind, and zero
/// when the numbers do not show that it is either. The server's time of answer (`Date`) has whole
/// seconds, rounded down.
#[must_use]
pub fn skew_ms(sent: Wall, date_s: i64, answered: Wall) -> i64 {
    let date_ms = date_s.saturating_mul(1000);
    let ahead = sent.0.saturating_sub(date_ms.saturating_add(999));
    let behind = answered.0.saturating_sub(date_ms);
    if ahead > 0 { ahead } else { behind.min(0) }
}

impl TierNumbers {
    fn bleed(&self) -> Duration {
        Duration::from_millis(self.bleed_ms)
    }

    fn stop(&self) -> Duration {
        Duration::from_millis(self.stop_ms)
    }
}

/// The tier that takes the longest to leave.
fn slowest(tiers: &[TierNumbers]) -> Option<&TierNumbers> {
    tiers.iter().max_by_key(|tier| tier.bleed() + tier.stop())
}

/// What leaving takes at most, and the sum as people read it.
fn leaving(tiers: &[TierNumbers]) -> (Duration, String) {
    let reserve = limits::DRAIN_RESERVE;
    let Some(tier) = slowest(tiers) else { return (reserve, seconds(reserve)) };
    let all = tier.bleed() + tier.stop() + reserve;
    let [bleed, stop, rest] = [tier.bleed(), tier.stop(), reserve].map(seconds);
    (all, format!("bleed {bleed} + stop {stop} of {} + reserve {rest}", tier.name))
}

/// As AWS's attributes and commands have it: whole seconds, rounded up.
fn whole(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// For people: `300s`, `1.5s`.
fn seconds(duration: Duration) -> String {
    match duration.subsec_millis() / 100 {
        0 => format!("{}s", duration.as_secs()),
        tenths => format!("{}.{tenths}s", duration.as_secs()),
    }
}
