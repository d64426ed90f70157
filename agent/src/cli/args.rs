//! The command line as it is typed: names, values and help. What a command does is in its own file.

use camino::Utf8PathBuf;
use clap::{Args, Parser, Subcommand, ValueEnum};
use groundcrew_core::types::{Environment, ProcessId, TierName, Version};

mod backups;

pub use backups::*;

use super::since::Since;
use crate::config::SourceUrl;
use crate::pattern::Pattern;

/// Where the agent's control socket is, unless something else is said.
pub const SOCKET: &str = "/run/groundcrew/control.sock";

/// One agent for Node applications on EC2: publishes releases, runs them, swaps them without
/// failing a request.
#[derive(Debug, Parser)]
#[command(
    name = "groundcrew",
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  groundcrew publish ./build --source s3://acme-releases/shop --version v42 --promote production
  groundcrew status
  groundcrew logs --tier web --since 10m -f

Exit codes: 0 all right, 1 degraded, rolled back or failed, 3 the agent is not running, 64 usage."
)]
pub struct Cli {
    /// The agent's control socket.
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "GROUNDCREW_SOCKET",
        hide_env_values = true,
        default_value = SOCKET
    )]
    pub socket: Utf8PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Pack a directory, upload it, and write the manifest of a new version.
    Publish(PublishArgs),
    /// Let an environment run a version.
    Promote(PromoteArgs),
    /// Let an environment run the version before.
    Rollback(RollbackArgs),
    /// Bring an environment's release to disk without running it, to bake it into an image.
    Fetch(FetchArgs),
    /// Run the agent: the daemon that systemd starts on every host.
    Agent(ConfigArgs),
    /// Validate a configuration file; prints every problem at once.
    #[command(after_help = "\
Exit codes: 0 the file can be used, 1 it cannot.

Example:
  groundcrew check --config /etc/groundcrew/groundcrew.toml")]
    Check(ConfigArgs),
    /// Check the timeouts, rights and clocks by which requests are lost, as AWS has them now.
    Doctor(DoctorArgs),
    /// Is it all right? What runs, what should run, what happened.
    Status(StatusArgs),
    /// The last hour and what runs now, in a terminal, until q is pressed.
    #[command(after_help = "\
Keys: q quits, p pauses, tab and the arrows choose by what processes are sorted, r reverses.

Example:
  groundcrew top")]
    Top,
    /// The releases on this host, or one of them in detail.
    Releases(ReleasesArgs),
    /// What the application printed, across restarts and releases.
    Logs(LogsArgs),
    /// The list of metrics, and dashboards and alarms made of it.
    Metrics(MetricsArgs),
    /// Try out whether people elsewhere are told.
    #[command(subcommand)]
    Notify(NotifyCommand),
    /// Backups: what there is, how good it is, and how it comes back.
    Backups(BackupsArgs),
    /// Replace a tier's processes by new ones, without failing a request.
    #[command(after_help = "Example:\n  groundcrew restart web")]
    Restart(RestartArgs),
    /// Let this host leave: out of its load balancers, requests answered, tiers ended.
    Drain(DrainArgs),
    /// Play a notice on this host, end to end, and say how it went.
    Drill(DrillArgs),
    /// Take back `drain` or `standby`: the host serves again.
    #[command(after_help = "Example:\n  groundcrew undrain")]
    Undrain,
    /// Put this instance on standby in its Auto Scaling group, which keeps and does not replace it.
    #[command(after_help = "\
The group's desired capacity goes down by one, and up again with `groundcrew undrain`.

Example:
  groundcrew standby")]
    Standby,
    /// Let the agent go on as the installed binary, with the configuration as it is now.
    #[command(after_help = "\
No process is touched and no request fails. When the installed binary cannot be used, the agent goes
on as it is.

Exit codes: 0 it took over, 1 it did not, 3 the agent is not running.")]
    Reload,
    /// Hold the control group that the tiers run in: what groundcrew-tiers.service starts.
    #[command(hide = true)]
    Hold,
    /// Show on this machine what groundcrew does: releases under load, a bad one, a killed agent.
    Demo,
}

/// `groundcrew publish`.
#[derive(Debug, Args)]
#[command(after_help = "\
A version is immutable: publishing it again with other content is refused.
What .groundcrewignore names is left out.

Example:
  groundcrew publish ./build --source s3://acme-releases/shop --version v42 --promote staging")]
pub struct PublishArgs {
    /// The directory; release.toml is at its top.
    #[arg(value_name = "DIR")]
    pub directory: Utf8PathBuf,
    /// Where releases live: s3://bucket/prefix or file:///path.
    #[arg(long, value_name = "URL")]
    pub source: SourceUrl,
    /// The version's name, such as v42.
    #[arg(long, value_name = "V")]
    pub version: Version,
    /// Promote it to this environment as well.
    #[arg(long, value_name = "ENV")]
    pub promote: Option<Environment>,
}

/// `groundcrew promote`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  groundcrew promote v42 --source s3://acme-releases/shop --environment production")]
pub struct PromoteArgs {
    /// The version to run; it has been published.
    #[arg(value_name = "V")]
    pub version: Version,
    /// Where releases live: s3://bucket/prefix or file:///path.
    #[arg(long, value_name = "URL")]
    pub source: SourceUrl,
    /// The environment whose channel is moved.
    #[arg(long, value_name = "ENV")]
    pub environment: Environment,
}

/// `groundcrew rollback`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  groundcrew rollback --source s3://acme-releases/shop --environment production")]
pub struct RollbackArgs {
    /// Where releases live: s3://bucket/prefix or file:///path.
    #[arg(long, value_name = "URL")]
    pub source: SourceUrl,
    /// The environment whose channel is moved back.
    #[arg(long, value_name = "ENV")]
    pub environment: Environment,
    /// The version to go back to; default the one before.
    #[arg(long, value_name = "V")]
    pub to: Option<Version>,
}

/// `groundcrew fetch`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  groundcrew fetch --source s3://acme-releases/shop --environment production")]
pub struct FetchArgs {
    /// Where releases live: s3://bucket/prefix or file:///path.
    #[arg(long, value_name = "URL")]
    pub source: SourceUrl,
    /// The environment whose release is wanted.
    #[arg(long, value_name = "ENV")]
    pub environment: Environment,
    /// The agent's state directory.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/groundcrew")]
    pub state_dir: Utf8PathBuf,
}

/// `groundcrew agent` and `groundcrew check`.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// The host's configuration.
    #[arg(long, value_name = "FILE")]
    pub config: Utf8PathBuf,
}

/// `groundcrew doctor`.
#[derive(Debug, Args)]
#[command(after_help = "\
Asks the metadata service, Auto Scaling, Elastic Load Balancing, the source, systemd and the agent.
Changes nothing: what would change something is tried on what does not exist.

Exit codes: 0 nothing is bad, 1 something is.

Examples:
  groundcrew doctor --config /etc/groundcrew/groundcrew.toml
  groundcrew doctor --config groundcrew.toml --json | jq '.findings[] | select(.fix)'")]
pub struct DoctorArgs {
    /// The host's configuration.
    #[arg(long, value_name = "FILE")]
    pub config: Utf8PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `groundcrew status`.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 all right, 1 degraded or rolled back, 3 the agent is not running.

Examples:
  groundcrew status -w
  groundcrew status --json | jq '.tiers[] | {name, ready, wanted}'")]
pub struct StatusArgs {
    /// Print JSON; with -w one document per line.
    #[arg(long)]
    pub json: bool,
    /// Stay, and show each change.
    #[arg(short, long)]
    pub watch: bool,
}

/// `groundcrew releases`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  groundcrew releases\n  groundcrew releases v42 --json")]
pub struct ReleasesArgs {
    /// Show this one in detail.
    #[arg(value_name = "V")]
    pub version: Option<Version>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `groundcrew logs`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Without --since the last 100 lines; with --grep the last 100 that match.

Examples:
  groundcrew logs --since 10m
  groundcrew logs --process web.17.1 -f
  groundcrew logs --tier api --since '2026-08-20 09:14' --grep 'timeout|refused'
  groundcrew logs --json --since 1h | jq 'select(.level == \"error\")'"
)]
pub struct LogsArgs {
    /// What to do other than show them.
    #[command(subcommand)]
    pub command: Option<LogsCommand>,
    /// Only this tier's.
    #[arg(long, value_name = "T")]
    pub tier: Option<TierName>,
    /// Only this process's, such as web.17.1.
    #[arg(long, value_name = "ID", conflicts_with = "tier")]
    pub process: Option<ProcessId>,
    /// Stay, and show what is printed from now on.
    #[arg(short, long)]
    pub follow: bool,
    /// Only what is newer: an age such as 10m, or a time in UTC such as '2026-08-20 09:14'.
    #[arg(long, value_name = "WHEN")]
    pub since: Option<Since>,
    /// Only lines that this regular expression matches.
    #[arg(long, value_name = "PATTERN")]
    pub grep: Option<Pattern>,
    /// Print JSON: process, stream, at (milliseconds since 1970), line and, when known, level.
    #[arg(long)]
    pub json: bool,
}

/// `groundcrew logs audit` and `groundcrew logs replay`.
#[derive(Debug, Subcommand)]
pub enum LogsCommand {
    /// Account for every byte that was read: accepted, rejected, dropped, or still to be sent.
    #[command(after_help = "\
Exit codes: 0 it adds up, 1 it does not, 3 the agent is not running.")]
    Audit(AuditArgs),
    /// Send the events again that were rejected.
    Replay,
}

/// `groundcrew logs audit`.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `groundcrew metrics`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  groundcrew metrics list
  groundcrew metrics cloudwatch --environment production --region eu-west-1 > dashboard.json
  groundcrew metrics rules > /etc/prometheus/groundcrew.json")]
pub struct MetricsArgs {
    /// What to print.
    #[command(subcommand)]
    pub command: MetricsCommand,
}

/// What `groundcrew metrics` prints.
#[derive(Debug, Subcommand)]
pub enum MetricsCommand {
    /// Each metric: its name for Prometheus, what it is, and what tells its series apart.
    List(ListArgs),
    /// A dashboard for CloudWatch.
    Cloudwatch(PlaceArgs),
    /// Alarms for CloudWatch, as data for Terraform.
    Alarms(PlaceArgs),
    /// A dashboard for Grafana over Prometheus.
    Grafana,
    /// Alerting and recording rules for Prometheus.
    Rules,
}

/// `groundcrew metrics list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Where the metrics are in CloudWatch.
#[derive(Debug, Args)]
pub struct PlaceArgs {
    /// The environment.
    #[arg(long, value_name = "ENV")]
    pub environment: String,
    /// The region.
    #[arg(long, value_name = "REGION", env = "AWS_REGION", hide_env_values = true)]
    pub region: String,
    /// The namespace, as metrics.namespace has it.
    #[arg(long, value_name = "NAME", default_value = "groundcrew")]
    pub namespace: String,
}

/// `groundcrew notify`.
#[derive(Debug, Subcommand)]
pub enum NotifyCommand {
    /// Send a test message through each target of [[notify]], and say how it answered.
    #[command(after_help = "\
Exit codes: 0 each has it, 1 one has not, 3 the agent is not running.

Examples:
  groundcrew notify test
  groundcrew notify test ops")]
    Test {
        /// Only this target.
        #[arg(value_name = "NAME")]
        name: Option<String>,
    },
}

/// `groundcrew restart`.
#[derive(Debug, Args)]
pub struct RestartArgs {
    /// The tier.
    #[arg(value_name = "TIER")]
    pub tier: TierName,
}

/// `groundcrew drain`.
#[derive(Debug, Args)]
#[command(after_help = "\
The host stays drained, also after a reboot, until `groundcrew undrain`. A group whose health
checks are those of its load balancer replaces an instance that is in none of them: use `groundcrew
standby` to keep it.

Examples:
  groundcrew drain --reason 'disk is replaced' --wait")]
pub struct DrainArgs {
    /// Why, for status, log and the other people.
    #[arg(long, value_name = "TEXT", default_value = "a person drains it")]
    pub reason: String,
    /// Stay until everything has ended, and show each step.
    #[arg(long)]
    pub wait: bool,
}

/// `groundcrew drill`.
#[derive(Debug, Args)]
#[command(after_help = "\
The host really leaves: out of its target groups, requests answered, tiers ended. Then it comes
back. No hook is completed, and nothing is terminated. agent-kill kills the agent and looks at what
it finds when systemd has started it again.

Exit codes: 0 nothing was lost, 1 something was, 3 the agent is not running.

Examples:
  groundcrew drill spot --dry-run
  groundcrew drill scale-in")]
pub struct DrillArgs {
    /// What happens.
    #[arg(value_enum, value_name = "NOTICE")]
    pub notice: DrillNotice,
    /// Only print what would be done.
    #[arg(long)]
    pub dry_run: bool,
}

/// What a drill plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DrillNotice {
    /// The spot market takes the instance back, in two minutes.
    Spot,
    /// The group terminates the instance.
    ScaleIn,
    /// The group replaces the instance: for the host the same.
    Refresh,
    /// The agent is killed.
    AgentKill,
}
