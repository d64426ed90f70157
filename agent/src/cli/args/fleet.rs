//! `groundcrew fleet` as it is typed.

use std::time::Duration;

use camino::Utf8PathBuf;
use clap::{Args, Subcommand};
use groundcrew_core::fleet::{AmiId, AwsName};

use crate::config::units;

/// `groundcrew fleet`.
#[derive(Debug, Args)]
#[command(after_help = "\
Asks Auto Scaling and EC2 with the credentials of whoever types it, from anywhere; asks no agent.
The group is --group, else fleet.group of the configuration, else that of this instance.

Exit codes: 0 all right, 1 degraded, failed or refused, 64 usage; of what is waited for also
4 rolled back, 5 cancelled, 130 interrupted while it goes on.

Examples:
  groundcrew fleet status --group shop-web
  groundcrew fleet refresh --group shop-web --ami ami-0123456789abcdef0 --wait
  groundcrew fleet scale 6 --group shop-web --wait")]
pub struct FleetArgs {
    /// What to do; without a word, `status`.
    #[command(subcommand)]
    pub command: Option<FleetCommand>,
    /// The Auto Scaling group.
    #[arg(long, global = true, value_name = "NAME")]
    pub group: Option<AwsName>,
    /// Its region; default that of the configuration, the environment or this instance.
    #[arg(long, global = true, value_name = "REGION")]
    pub region: Option<AwsName>,
    /// The host's configuration; default /etc/groundcrew/groundcrew.toml, where there is one.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<Utf8PathBuf>,
    /// Print JSON; while something is waited for, one document per line.
    #[arg(long, global = true)]
    pub json: bool,
}

/// What to do with a group.
#[derive(Debug, Subcommand)]
pub enum FleetCommand {
    /// The group now: capacity, instances, refresh, what is suspended, what failed.
    #[command(after_help = "\
Exit codes: 0 all right, or on its way there; 1 degraded, or it could not be asked.")]
    Status,
    /// Replace the group's instances by ones of a new image, a few at a time.
    Refresh(Box<RefreshArgs>),
    /// Let the group have so many instances.
    Scale(ScaleArgs),
}

/// `groundcrew fleet refresh`.
#[derive(Debug, Args)]
#[command(after_help = "\
With --ami a version of the group's launch template is made: as the newest one, with this image.
Where the newest has it already, that one is taken. Without --ami the newest version is rolled out
as it is. Instances that are as wanted stay. Where the same refresh runs already, it is followed.

Ctrl-C ends the waiting and not the refresh: --cancel and --rollback do that.

Exit codes: 0 it came to what was asked for; 1 it failed or was refused; 4 rolled back; 5 cancelled;
130 interrupted, it goes on.

Examples:
  groundcrew fleet refresh --ami ami-0123456789abcdef0 --alarm shop-web-5xx --wait
  groundcrew fleet refresh --ami ami-0123456789abcdef0 --dry-run
  groundcrew fleet refresh --template-version 7 --wait
  groundcrew fleet refresh --rollback --wait")]
pub struct RefreshArgs {
    /// The new image.
    #[arg(long, value_name = "AMI")]
    pub ami: Option<AmiId>,
    /// This version of the launch template as it is, such as the one before.
    #[arg(long, value_name = "N", conflicts_with = "ami")]
    pub template_version: Option<u64>,
    /// Stay until it has ended, and show how far it is.
    #[arg(long)]
    pub wait: bool,
    /// Print what would be done, and do nothing.
    #[arg(long, conflicts_with = "wait")]
    pub dry_run: bool,
    /// How it goes.
    #[command(flatten)]
    pub pace: PaceArgs,
    /// What to do with one that runs.
    #[command(flatten)]
    pub running: RunningArgs,
}

/// How a refresh goes.
#[derive(Debug, Args)]
pub struct PaceArgs {
    /// A CloudWatch alarm that ends it; may be given again. Default fleet.alarms.
    #[arg(long, value_name = "NAME")]
    pub alarm: Vec<AwsName>,
    /// How long alarms are watched after the last instance, such as 10m.
    #[arg(long, value_name = "DURATION", value_parser = units::duration, default_value = "0s")]
    pub bake: Duration,
    /// Percent of the capacity that stays healthy. Default the group's, else 100.
    #[arg(long, value_name = "PERCENT")]
    pub min_healthy: Option<u32>,
    /// Percent of the capacity that there may be meanwhile. Default the group's, else 110.
    #[arg(long, value_name = "PERCENT")]
    pub max_healthy: Option<u32>,
    /// When it fails, leave it as it is then.
    #[arg(long)]
    pub no_rollback: bool,
    /// Replace also instances that are as wanted.
    #[arg(long)]
    pub replace_matching: bool,
}

/// What to do with a refresh that runs, instead of beginning one.
#[derive(Debug, Args)]
pub struct RunningArgs {
    /// End the refresh that runs; what it has replaced stays.
    #[arg(long, conflicts_with_all = BEGINNING)]
    pub cancel: bool,
    /// Put back what the refresh that runs has replaced.
    #[arg(long, conflicts_with = "cancel", conflicts_with_all = BEGINNING)]
    pub rollback: bool,
}

/// What only says how a refresh begins.
const BEGINNING: [&str; 9] = [
    "ami",
    "template_version",
    "dry_run",
    "alarm",
    "min_healthy",
    "max_healthy",
    "no_rollback",
    "replace_matching",
    "bake",
];

/// `groundcrew fleet scale`.
#[derive(Debug, Args)]
#[command(after_help = "\
Within the group's minimum and maximum, which stay as they are. Scaling policies may change it
again. A terminal is asked first when it is to 0, or by more than half.

Exit codes: 0 done, 1 refused or not as wanted, 130 interrupted, it goes on.

Examples:
  groundcrew fleet scale 6 --wait
  groundcrew fleet scale 0 --group shop-worker --yes")]
pub struct ScaleArgs {
    /// How many.
    #[arg(value_name = "N")]
    pub capacity: u32,
    /// Stay until as many are in service.
    #[arg(long)]
    pub wait: bool,
    /// Do not ask.
    #[arg(long)]
    pub yes: bool,
    /// Let Auto Scaling refuse it while a cooldown lasts.
    #[arg(long)]
    pub honor_cooldown: bool,
}
