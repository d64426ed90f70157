//! `groundcrew backups dr-plan`: for each job the newest backup outside its region, and what to
//! type when the region is lost. Changes nothing.

use groundcrew_core::backups::backup::{Backup, BackupState};
use groundcrew_core::backups::database::Target;
use groundcrew_core::backups::record::Place;
use groundcrew_core::backups::{JobSettings, Kind};
use groundcrew_core::time::Wall;
use serde::Serialize;

use super::super::args::JobArgs;
use super::super::terminal::Output;
use super::super::{EXIT_FAILING, EXIT_OK, render};
use super::jobs::{self, AtHand, Found};
use crate::clock;
use crate::config::HostConfig;

/// The plan of one job.
#[derive(Debug, Serialize)]
pub struct JobPlan {
    /// The job.
    pub job: String,
    /// How its backups are made.
    pub kind: Kind,
    /// The database.
    pub database: String,
    /// What there is elsewhere.
    pub copies: Vec<Elsewhere>,
}

/// What there is in one other place.
#[derive(Debug, Serialize)]
pub struct Elsewhere {
    /// The region; of dumps, the bucket.
    pub place: String,
    /// The newest backup there that can be restored.
    pub id: Option<String>,
    /// Its slot.
    pub slot: Option<Wall>,
    /// Why there is none.
    pub problem: Option<String>,
    /// What to type.
    pub commands: Vec<String>,
}

/// The whole document.
#[derive(Debug, Serialize)]
pub struct DrPlan {
    /// When it was made.
    pub now: Wall,
    /// Each job.
    pub jobs: Vec<JobPlan>,
}

pub(super) async fn run(
    config: &HostConfig,
    args: &JobArgs,
    json: bool,
    out: &mut Output,
) -> anyhow::Result<u8> {
    let mut plan = DrPlan { now: clock::wall(), jobs: Vec::new() };
    for job in jobs::of(config, args.job.as_deref())? {
        plan.jobs.push(of_job(config, &job).await);
    }
    let text = if json {
        format!("{:#}\n", serde_json::to_value(&plan)?)
    } else {
        render::backups::dr_plan(&plan, out.style())
    };
    out.print(&text)?;
    let covered = |job: &JobPlan| job.copies.iter().any(|copy| copy.id.is_some());
    Ok(if plan.jobs.iter().all(covered) { EXIT_OK } else { EXIT_FAILING })
}

async fn of_job(config: &HostConfig, job: &AtHand) -> JobPlan {
    let settings = job.job();
    let mut copies = Vec::new();
    if settings.kind == Kind::RdsSnapshot {
        for place in job.places().into_iter().filter(|place| *place != Place::Home) {
            copies.push(in_region(job, place).await);
        }
    } else {
        copies.push(in_bucket(config, job).await);
    }
    JobPlan {
        job: settings.name.to_string(),
        kind: settings.kind,
        database: settings.database.clone(),
        copies,
    }
}

async fn in_region(job: &AtHand, place: Place) -> Elsewhere {
    let region = place.to_string();
    match job.list(&place).await {
        Ok(found) => match newest(job.job(), &found) {
            Some(found) => {
                let commands = restore_commands(job.job(), &region, found);
                here(region, Some(&found.backup), None, commands)
            }
            None => here(region, None, Some("there is no copy that can be restored"), Vec::new()),
        },
        Err(error) => here(region, None, Some(&error.text), Vec::new()),
    }
}

async fn in_bucket(config: &HostConfig, job: &AtHand) -> Elsewhere {
    let store = config.backup_store.as_ref();
    let bucket = store.map_or_else(String::new, |store| format!("s3://{}", store.bucket));
    match job.list(&Place::Home).await {
        Ok(found) => match newest(job.job(), &found) {
            Some(found) => {
                let (name, id) = (job.name(), &found.backup.id);
                let scheme = if job.job().kind == Kind::PgDump { "postgres" } else { "mysql" };
                let commands = vec![format!(
                    "groundcrew backups restore {name}/{id} --to {scheme}://USER@HOST/DATABASE"
                )];
                here(bucket, Some(&found.backup), None, commands)
            }
            None => here(bucket, None, Some("there is no dump"), Vec::new()),
        },
        Err(error) => here(bucket, None, Some(&error.text), Vec::new()),
    }
}

fn here(
    place: String,
    backup: Option<&Backup>,
    problem: Option<&str>,
    commands: Vec<String>,
) -> Elsewhere {
    let marks = backup.and_then(|backup| backup.marks.as_ref());
    Elsewhere {
        place,
        id: backup.map(|backup| backup.id.clone()),
        slot: marks.map(|marks| Wall(marks.at_s.saturating_mul(1000))),
        problem: problem.map(str::to_owned),
        commands,
    }
}

fn newest<'a>(job: &JobSettings, found: &'a [Found]) -> Option<&'a Found> {
    let ours = found.iter().filter_map(|one| {
        let marks = one.backup.marks.as_ref().filter(|marks| marks.job == job.name.as_str())?;
        let good = one.backup.state == BackupState::Available;
        good.then_some((marks.at_s, one))
    });
    ours.max_by_key(|(at_s, _)| *at_s).map(|(_, one)| one)
}

/// What restores a copy where it is. The identifiers are of RDS and of the host's file, and both
/// know only letters, digits and hyphens.
fn restore_commands(job: &JobSettings, region: &str, found: &Found) -> Vec<String> {
    let (id, name) = (&found.backup.id, &job.database);
    let network = "--db-subnet-group-name SUBNET_GROUP --vpc-security-group-ids SECURITY_GROUP";
    match &found.target {
        Target::Instance => vec![
            format!(
                "aws rds restore-db-instance-from-db-snapshot --region {region} \
                 --db-snapshot-identifier {id} --db-instance-identifier {name} {network}"
            ),
            format!(
                "aws rds wait db-instance-available --region {region} \
                 --db-instance-identifier {name}"
            ),
        ],
        Target::Cluster(_) => vec![
            format!(
                "aws rds restore-db-cluster-from-snapshot --region {region} \
                 --snapshot-identifier {id} --db-cluster-identifier {name} \
                 --engine ENGINE {network}"
            ),
            format!(
                "aws rds create-db-instance --region {region} --db-cluster-identifier {name} \
                 --db-instance-identifier {name}-1 --db-instance-class CLASS --engine ENGINE"
            ),
            format!(
                "aws rds wait db-instance-available --region {region} \
                 --db-instance-identifier {name}-1"
            ),
        ],
    }
}
