//! `groundcrew backups retention`: the plan of the core, with a reason for each backup; and, when
//! it is asked for, its deletions.

use groundcrew_core::backups::backup::Backup;
use groundcrew_core::backups::record::Place;
use groundcrew_core::backups::retention::{self, Pass, Plan, Refuted};
use serde::Serialize;

use super::super::args::RetentionArgs;
use super::super::terminal::Output;
use super::super::{EXIT_FAILING, EXIT_OK, render};
use super::health::{self, Health};
use super::jobs::{self, AtHand, Found};
use crate::clock;
use crate::config::HostConfig;
use crate::control::client::ControlClient;

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
    let agent = health::of_agent(client).await;
    let mut all = Vec::new();
    for job in jobs::of(config, args.job.job.as_deref())? {
        let mut known = None;
        for place in job.places() {
            let found = job.list(&place).await.map_err(|error| {
                jobs::cause(error).context(format!("{}, {place}: cannot be listed", job.name()))
            })?;
            // Home comes first, and what it has is what the job is judged by.
            let health = match known {
                Some(health) => health,
                None => health::of(&job, &agent, &found).await,
            };
            let mut planned = planned(&job, &place, &found, &health, args).await?;
            known = Some(health);
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
pub(super) async fn plan(
    job: &AtHand,
    place: &Place,
    backups: &[Backup],
    failing: Option<&str>,
    allow_mass_delete: bool,
) -> anyhow::Result<Plan> {
    let (settings, now_s) = (job.job(), clock::wall().0.div_euclid(1000));
    let mut refuted = Refuted::default();
    loop {
        let Some(pass) = Pass::of(settings, place, backups, &refuted, now_s) else {
            return Ok(Plan::default());
        };
        let plan = retention::plan(&Pass { failing, allow_mass_delete, ..pass });
        let Some(key) = refuted.question(settings, backups, &plan) else { return Ok(plan) };
        let record = job.read(&key).await.map_err(jobs::cause)?;
        refuted.answer(key, record.as_deref());
    }
}

async fn planned(
    job: &AtHand,
    place: &Place,
    found: &[Found],
    health: &Health,
    args: &RetentionArgs,
) -> anyhow::Result<Planned> {
    let backups: Vec<_> = found.iter().map(|one| one.backup.clone()).collect();
    let failing = match health {
        Health::Failing(reason) => Some(reason.as_str()),
        Health::Fine | Health::Unknown(_) => None,
    };
    let plan = plan(job, place, &backups, failing, args.allow_mass_delete).await?;
    let plan = if args.even_if_unknown { plan } else { guarded(plan, health) };
    let (name, place) = (job.name().to_owned(), place.clone());
    Ok(Planned { job: name, place, plan, deleted: Vec::new(), failed: Vec::new() })
}

/// Of a job about which nothing is known, nothing is deleted: it may fail, and what there is may be
/// all that there will be.
fn guarded(plan: Plan, health: &Health) -> Plan {
    match health {
        Health::Unknown(why) if !plan.delete.is_empty() => {
            let refused = format!(
                "nobody can say whether the job fails ({why}); with --even-if-unknown it is \
                 deleted all the same"
            );
            Plan { delete: Vec::new(), refused: Some(refused), ..plan }
        }
        Health::Unknown(_) | Health::Fine | Health::Failing(_) => plan,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_deleted_of_a_job_that_nobody_knows_about() {
        let some = || Plan { delete: vec!["gc-a".to_owned()], ..Plan::default() };
        let unknown = Health::Unknown("the bucket does not answer".to_owned());
        let refused = guarded(some(), &unknown);
        assert!(refused.delete.is_empty());
        let why = refused.refused.unwrap();
        assert!(why.contains("the bucket does not answer") && why.contains("--even-if-unknown"));
        assert_eq!(guarded(some(), &Health::Fine), some());
        assert_eq!(guarded(Plan::default(), &unknown), Plan::default(), "nothing was to go");
    }
}
