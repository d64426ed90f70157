//! `groundcrew backups retention`: the plan of the core, with a reason for each backup; and, when
//! it is asked for, its deletions.

use std::time::Duration;

use groundcrew_core::backups::JobSettings;
use groundcrew_core::backups::backup::Backup;
use groundcrew_core::backups::limits::CLOSING_TIME;
use groundcrew_core::backups::record::Place;
use groundcrew_core::backups::retention::{self, Pass, Plan};
use groundcrew_core::backups::status::JobStatus;
use groundcrew_core::status::StatusDocument;
use serde::Serialize;

use super::super::args::RetentionArgs;
use super::super::terminal::Output;
use super::super::{EXIT_FAILING, EXIT_OK, render};
use super::jobs::{self, AtHand, Found};
use crate::clock;
use crate::config::HostConfig;
use crate::control::client::ControlClient;

/// How long an agent may take to say whether the job fails; without one, only what is there speaks.
const STATUS_WITHIN: Duration = Duration::from_secs(1);

/// What a pass comes to in one place.
#[derive(Debug, Serialize)]
pub struct Planned {
    /// The job.
    pub job: String,
    /// Where.
    pub place: Place,
    /// What is planned.
    #[serde(flatten)]
    pub plan: Plan,
    /// What was deleted, with --apply.
    pub deleted: Vec<String>,
    /// What could not be deleted, and why.
    pub failed: Vec<String>,
}

pub(super) async fn run(
    config: &HostConfig,
    args: &RetentionArgs,
    json: bool,
    client: &ControlClient,
    out: &mut Output,
) -> anyhow::Result<u8> {
    let failing = failing(client).await;
    let mut all = Vec::new();
    for job in jobs::of(config, args.job.job.as_deref())? {
        let fails = failing.iter().find(|(name, _)| name == job.name());
        let fails = fails.map(|(_, reason)| reason.as_str());
        for place in job.places() {
            let found = job.list(&place).await.map_err(|error| {
                jobs::cause(error).context(format!("{}, {place}: cannot be listed", job.name()))
            })?;
            let mut planned = planned(&job, &place, &found, fails, args.allow_mass_delete);
            if args.apply {
                apply(&job, &place, &found, &mut planned).await;
            }
            if !json {
                out.print(&render::backups::plan(&planned, args.apply, out.style()))?;
            }
            all.push(planned);
        }
    }
    if json {
        out.print(&format!("{:#}\n", serde_json::to_value(&all)?))?;
    }
    let bad = |planned: &Planned| !planned.failed.is_empty();
    let refused = |planned: &Planned| args.apply && planned.plan.refused.is_some();
    let failed = all.iter().any(|planned| bad(planned) || refused(planned));
    Ok(if failed { EXIT_FAILING } else { EXIT_OK })
}

/// What the core makes of a place: the same as for an agent.
pub(super) fn plan(
    job: &JobSettings,
    place: &Place,
    backups: &[Backup],
    failing: Option<&str>,
    allow_mass_delete: bool,
) -> Plan {
    let Some(policy) = job.policy(place) else { return Plan::default() };
    let now_s = clock::wall().0.div_euclid(1000);
    let longest = job.copies.iter().map(|copy| copy.within).max();
    let copying = longest.filter(|_| *place == Place::Home).map(|within| {
        let since = within + job.catch_up + CLOSING_TIME;
        now_s.saturating_sub(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
    });
    retention::plan(&Pass {
        job: &job.name,
        backups,
        policy,
        now_s,
        stale_after: job.stale_after(now_s),
        copying_since_s: copying,
        failing,
        allow_mass_delete,
    })
}

fn planned(
    job: &AtHand,
    place: &Place,
    found: &[Found],
    failing: Option<&str>,
    allow_mass_delete: bool,
) -> Planned {
    let backups: Vec<_> = found.iter().map(|one| one.backup.clone()).collect();
    let plan = plan(job.job(), place, &backups, failing, allow_mass_delete);
    let (name, place) = (job.name().to_owned(), place.clone());
    Planned { job: name, place, plan, deleted: Vec::new(), failed: Vec::new() }
}

/// One that cannot be deleted does not keep the others.
async fn apply(job: &AtHand, place: &Place, found: &[Found], planned: &mut Planned) {
    for id in &planned.plan.delete {
        let Some(one) = found.iter().find(|one| one.backup.id == *id) else { continue };
        match job.delete(place, one).await {
            Ok(()) => planned.deleted.push(id.clone()),
            Err(error) => planned.failed.push(format!("{id}: {}", error.text)),
        }
    }
}

/// The jobs that fail by what the agent knows, with their reasons.
async fn failing(client: &ControlClient) -> Vec<(String, String)> {
    let asked = client.get::<StatusDocument>("/v1/status");
    let Ok(Ok(status)) = tokio::time::timeout(STATUS_WITHIN, asked).await else {
        return Vec::new();
    };
    let failing = status.backups.into_iter().filter(JobStatus::is_failing);
    failing.map(|job| (job.name, job.reason.unwrap_or_else(|| "no good backup".into()))).collect()
}
