//! `groundcrew backups` as it is typed.

use camino::Utf8PathBuf;
use clap::{Args, Subcommand};
use groundcrew_core::backups::proof::Level;

/// Where the host's file is, unless something else is said.
const CONFIG: &str = "/etc/groundcrew/groundcrew.toml";

/// `groundcrew backups`.
#[derive(Debug, Args)]
#[command(after_help = "\
Asks RDS and the bucket with the credentials of whoever types it; only `run` asks the agent.

Exit codes: 0 all right, 1 something is not there, bad or refused, 3 the agent is not running.

Examples:
  groundcrew backups
  groundcrew backups run shop-nightly
  groundcrew backups retention shop-nightly --explain
  groundcrew backups restore gc-shop-nightly-shop-production-20261121 --to shop-restored")]
pub struct BackupsArgs {
    /// What to do; without a word, `list`.
    #[command(subcommand)]
    pub command: Option<BackupsCommand>,
    /// The host's configuration.
    #[arg(long, global = true, value_name = "FILE", default_value = CONFIG)]
    pub config: Utf8PathBuf,
    /// Print JSON.
    #[arg(long, global = true)]
    pub json: bool,
}

/// What to do with backups.
#[derive(Debug, Subcommand)]
pub enum BackupsCommand {
    /// What there is: how far, how well proved, and what keeps it.
    List(JobArgs),
    /// Make a backup now, whatever the schedule says, and wait for it.
    Run(RunArgs),
    /// Prove a backup here and now.
    Verify(VerifyArgs),
    /// Restore a backup to a new database; prints its plan and asks first.
    Restore(RestoreArgs),
    /// What retention keeps, what it would delete, and why. Changes nothing without --apply.
    Retention(RetentionArgs),
    /// Keep a backup whatever retention says.
    Pin(PinArgs),
    /// Leave a backup to retention again.
    Unpin(BackupArgs),
    /// What to do when the region is lost: the newest copy elsewhere of each job, and the commands.
    DrPlan(JobArgs),
}

/// One job, or all.
#[derive(Debug, Args)]
pub struct JobArgs {
    /// Only this job.
    #[arg(value_name = "JOB")]
    pub job: Option<String>,
}

/// `groundcrew backups run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The job, as [[backup]] names it.
    #[arg(value_name = "JOB")]
    pub job: String,
    /// Do not wait for it.
    #[arg(long)]
    pub no_wait: bool,
}

/// One backup.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// The backup, as `list` names it; of a dump JOB/SLOT, such as shop-dump/20261121.
    #[arg(value_name = "ID")]
    pub id: String,
}

/// `groundcrew backups verify`.
#[derive(Debug, Args)]
#[command(after_help = "\
L0 asks what is there, L1 reads a dump to its end, L2 restores it to a scratch server on this host.
L3 restores a snapshot by RDS, which agents do once a month.

Exit codes: 0 it is proved, 1 it is not.")]
pub struct VerifyArgs {
    /// Which.
    #[command(flatten)]
    pub backup: BackupArgs,
    /// How well.
    #[arg(long, value_name = "LEVEL", default_value = "L0")]
    pub level: Level,
    /// The copy in this region, at L0.
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
}

/// `groundcrew backups restore`.
#[derive(Debug, Args)]
#[command(after_help = "\
Nothing is ever restored over a database that is there. A snapshot becomes a new instance or
cluster of the name TARGET; a dump goes to the empty database of a URL such as
postgres://USER@HOST:5432/DATABASE, with the password of [backup.connection] or PGPASSWORD.

A snapshot is restored where and as what its database runs. A copy is restored in its region, where
nothing says that: --subnet-group and --security-group have to.

Example:
  groundcrew backups restore gc-shop-nightly-shop-production-20261121 --region eu-west-1 \\
    --to shop-production --subnet-group shop --security-group sg-0123456789abcdef0")]
pub struct RestoreArgs {
    /// Which.
    #[command(flatten)]
    pub backup: BackupArgs,
    /// Where to: a new name, or the URL of an empty database.
    #[arg(long, value_name = "TARGET")]
    pub to: String,
    /// Restore the copy in this region, there.
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// The DB subnet group of what is restored.
    #[arg(long, value_name = "NAME", requires = "security_groups")]
    pub subnet_group: Option<String>,
    /// A VPC security group of what is restored; may be given several times.
    #[arg(long = "security-group", value_name = "ID", requires = "subnet_group")]
    pub security_groups: Vec<String>,
    /// The class of what is restored, such as db.m7g.large; Aurora needs it in another region.
    #[arg(long, value_name = "CLASS", requires = "subnet_group")]
    pub class: Option<String>,
    /// Do not ask.
    #[arg(long)]
    pub yes: bool,
}

/// `groundcrew backups retention`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag that is typed or not")]
pub struct RetentionArgs {
    /// Which job.
    #[command(flatten)]
    pub job: JobArgs,
    /// Print each backup with what keeps it: what happens anyway.
    #[arg(long)]
    pub explain: bool,
    /// Delete what the plan deletes.
    #[arg(long, conflicts_with = "explain")]
    pub apply: bool,
    /// Delete also more than max_delete_per_pass, and more than half.
    #[arg(long, requires = "apply")]
    pub allow_mass_delete: bool,
    /// Delete although neither the agent nor the bucket says whether the job fails.
    #[arg(long, requires = "apply")]
    pub even_if_unknown: bool,
}

/// `groundcrew backups pin`.
#[derive(Debug, Args)]
pub struct PinArgs {
    /// Which.
    #[command(flatten)]
    pub backup: BackupArgs,
    /// Why, for everybody who sees it.
    #[arg(long, value_name = "TEXT", default_value = "a person wants it kept")]
    pub reason: String,
}
