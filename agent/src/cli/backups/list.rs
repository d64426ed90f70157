//! `groundcrew backups list`.

use groundcrew_core::backups::backup::Backup;
use groundcrew_core::backups::record::Place;
use groundcrew_core::backups::status::{BackupStatus, list};
use groundcrew_core::time::Wall;
use serde::Serialize;

use super::super::args::JobArgs;
use super::super::terminal::Output;
use super::super::{EXIT_FAILING, EXIT_OK, render};
use super::jobs::{self, AtHand};
use super::retention;
use crate::clock;
use crate::config::HostConfig;

/// What is printed as JSON.
#[derive(Debug, Serialize)]
struct Document {
    now: Wall,
    backups: Vec<BackupStatus>,
    /// What could not be looked at.
    errors: Vec<String>,
}

pub(super) async fn run(
    config: &HostConfig,
    args: &JobArgs,
    json: bool,
    out: &mut Output,
) -> anyhow::Result<u8> {
    let mut document = Document { now: clock::wall(), backups: Vec::new(), errors: Vec::new() };
    for job in jobs::of(config, args.job.as_deref())? {
        for place in job.places() {
            match of_place(&job, &place).await {
                Ok(backups) => document.backups.extend(backups),
                Err(error) => document.errors.push(format!("{}, {place}: {error}", job.name())),
            }
        }
    }
    let text = if json {
        format!("{:#}\n", serde_json::to_value(&document)?)
    } else {
        render::backups::list(&document.backups, document.now, out.style())
    };
    out.print(&text)?;
    if !json {
        for error in &document.errors {
            eprintln!("groundcrew: {error}");
        }
    }
    Ok(if document.errors.is_empty() { EXIT_OK } else { EXIT_FAILING })
}

async fn of_place(job: &AtHand, place: &Place) -> anyhow::Result<Vec<BackupStatus>> {
    let found = job.list(place).await.map_err(jobs::cause)?;
    let proofs = if *place == Place::Home { job.proofs(&found).await } else { Vec::new() };
    let backups: Vec<Backup> = found.into_iter().map(|one| one.backup).collect();
    let plan = retention::plan(job, place, &backups, None, false).await?;
    Ok(list(place, &backups, &plan, &proofs))
}
