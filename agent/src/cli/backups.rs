//! `groundcrew backups`: shows what there is, and does by hand what agents do by the clock. What is
//! kept, what goes and what is proved is decided by the core, as for the agents.

use anyhow::bail;

use super::args::{BackupsArgs, BackupsCommand, JobArgs};
use super::terminal::Output;
use crate::config::{HostConfig, host};
use crate::control::client::ControlClient;

mod dr_plan;
mod find;
mod health;
mod jobs;
mod list;
mod pin;
mod progress;
mod restore;
mod retention;
mod run;
mod verify;

pub use dr_plan::DrPlan;
#[cfg(test)]
pub use dr_plan::{Elsewhere, JobPlan};
pub use restore::RestorePlan;
pub use retention::Planned;
pub use verify::Verified;

pub(super) async fn run(
    args: &BackupsArgs,
    client: &ControlClient,
    out: &mut Output,
) -> anyhow::Result<u8> {
    let all = JobArgs { job: None };
    let json = args.json;
    let command = match &args.command {
        Some(BackupsCommand::Run(args)) => return run::run(args, json, client, out).await,
        Some(command) => command,
        None => &BackupsCommand::List(all),
    };
    let config = read(args)?;
    match command {
        BackupsCommand::List(args) => list::run(&config, args, json, out).await,
        BackupsCommand::Run(args) => run::run(args, json, client, out).await,
        BackupsCommand::Verify(args) => verify::run(&config, args, json, out).await,
        BackupsCommand::Restore(args) => restore::run(&config, args, json, out).await,
        BackupsCommand::Retention(args) => retention::run(&config, args, json, client, out).await,
        BackupsCommand::Pin(args) => {
            pin::run(&config, &args.backup, Some(&args.reason), json, out).await
        }
        BackupsCommand::Unpin(args) => pin::run(&config, args, None, json, out).await,
        BackupsCommand::DrPlan(args) => dr_plan::run(&config, args, json, out).await,
    }
}

/// The host's file by itself: where a fleet is restored from, nothing else of the host is there.
fn read(args: &BackupsArgs) -> anyhow::Result<HostConfig> {
    let text =
        crate::fsx::About::about(std::fs::read_to_string(&args.config), "read", &args.config)?;
    let config = host::parse(args.config.as_str(), &text)?;
    if config.backups.is_empty() {
        bail!("{} has no [[backup]]", args.config);
    }
    Ok(config)
}
