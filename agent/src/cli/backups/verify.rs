//! `groundcrew backups verify`: proves one backup from here. Writes no record: what the fleet
//! remembers is what its agents proved.

use anyhow::bail;
use groundcrew_core::backups::proof::{Level, inspect};
use groundcrew_core::backups::record::Place;
use groundcrew_core::time::ms;
use indicatif::ProgressBar;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::super::args::VerifyArgs;
use super::super::terminal::Output;
use super::super::{EXIT_FAILING, EXIT_OK, render};
use super::find::find;
use super::jobs::{self, AtHand, Found};
use super::progress;
use crate::clock;
use crate::config::HostConfig;

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Verified {
    /// The job.
    pub job: String,
    /// The backup.
    pub id: String,
    /// The level.
    pub level: Level,
    /// What is wrong; none: it is proved.
    pub findings: Vec<String>,
    /// What it took, in milliseconds.
    pub took_ms: u64,
}

pub(super) async fn run(
    config: &HostConfig,
    args: &VerifyArgs,
    json: bool,
    out: &mut Output,
) -> anyhow::Result<u8> {
    let region = args.region.as_deref();
    let (job, place, found) = find(config, &args.backup.id, region).await?.one(region)?;
    let (began, bar) = (clock::at(), progress::bar(json, out));
    let findings = Box::pin(findings(&job, &place, &found, args.level, &bar)).await;
    bar.finish_and_clear();
    let verified = Verified {
        job: job.name().to_owned(),
        id: found.backup.id.clone(),
        level: args.level,
        findings: findings?,
        took_ms: ms(clock::at().since(began)),
    };
    let text = if json {
        format!("{:#}\n", serde_json::to_value(&verified)?)
    } else {
        render::backups::verified(&verified, out.style())
    };
    out.print(&text)?;
    Ok(if verified.findings.is_empty() { EXIT_OK } else { EXIT_FAILING })
}

async fn findings(
    job: &AtHand,
    place: &Place,
    found: &Found,
    level: Level,
    bar: &ProgressBar,
) -> anyhow::Result<Vec<String>> {
    if level == Level::L0 {
        let inspection = job.inspect(place, found).await.map_err(jobs::cause)?;
        return Ok(inspect(&inspection, job.job().encrypted));
    }
    if *place != Place::Home {
        bail!("a copy is proved at L0; {level} is proved of what is at home");
    }
    let stop = CancellationToken::new();
    // Whoever waits at a terminal may have had enough: a scratch server must not stay behind.
    let progress = |done: u64, all: u64| progress::told(bar, done, all);
    let proving = job.prove(level, found, &progress, &stop);
    let mut proving = std::pin::pin!(proving);
    let proved = tokio::select! {
        proved = &mut proving => proved,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            stop.cancel();
            proving.await
        }
    };
    match proved.map_err(jobs::cause)? {
        Some(findings) => Ok(findings),
        None if level == Level::L3 => bail!(
            "L3 restores an instance and takes hours: agents do it once a month; \
             `groundcrew backups restore` restores one by hand"
        ),
        None => bail!("{level} is not proved of backups of {}", job.name()),
    }
}
