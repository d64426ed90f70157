//! `groundcrew backups restore`: says what it will do, asks, and restores to something new. Never
//! over anything that is there: RDS refuses a name that is taken, and a database that holds
//! something is refused.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use anyhow::bail;
use groundcrew_core::backups::backup::{BackupState, InUse, TAG_IN_USE};
use groundcrew_core::backups::call::Make;
use groundcrew_core::backups::database::{Gate, gate};
use groundcrew_core::backups::proof::EMPTY;
use groundcrew_core::backups::record::Place;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::super::args::RestoreArgs;
use super::super::render::human::{clean, size};
use super::super::terminal::Output;
use super::super::{EXIT_FAILING, EXIT_OK, render};
use super::find::find;
use super::jobs::{self, AtHand, Found, Maker};
use super::progress;
use crate::backups::dump::Dumps;
use crate::backups::dump::restore::Target as DumpTarget;
use crate::backups::snapshots::{RestoreTo, Snapshots};
use crate::clock;
use crate::config::HostConfig;

/// Pause between two looks at what is being restored.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// How long a restore is followed. It goes on without anybody who looks.
const FOLLOW_WITHIN: Duration = Duration::from_hours(12);
/// Looks in a row that may fail.
const FAILURES_MAX: u32 = 20;

/// What is going to be done.
#[derive(Debug, Serialize)]
pub struct RestorePlan {
    /// The job.
    pub job: String,
    /// The backup.
    pub id: String,
    /// When its slot was, RFC 3339.
    pub slot: Option<String>,
    /// Where to, for people.
    pub to: String,
    /// What happens, step by step.
    pub steps: Vec<String>,
}

/// What came of it, as JSON.
#[derive(Debug, Serialize)]
struct Document {
    #[serde(flatten)]
    plan: RestorePlan,
    endpoint: Option<String>,
}

pub(super) async fn run(
    config: &HostConfig,
    args: &RestoreArgs,
    json: bool,
    out: &mut Output,
) -> anyhow::Result<u8> {
    let region = args.region.as_deref();
    let (job, place, found) = find(config, &args.backup.id, region).await?.one(region)?;
    if found.backup.state != BackupState::Available {
        bail!("{} cannot be restored: it is not available", found.backup.id);
    }
    let plan = plan(&job, &place, &found, args)?;
    if !json {
        out.print(&render::backups::restore_plan(&plan, out.style()))?;
    }
    if !args.yes && !agreed(out)? {
        eprintln!("groundcrew: nothing was done");
        return Ok(EXIT_FAILING);
    }
    let endpoint = match &job.maker {
        Maker::Snapshots(snapshots) => {
            let there = snapshots.at(&place).await.map_err(jobs::cause)?;
            restore_snapshot(&there, &found, args, json, out).await?
        }
        Maker::Dumps(dumps) => {
            restore_dump(dumps, &found, &args.to, json, out).await?;
            None
        }
    };
    if json {
        out.print(&format!("{:#}\n", serde_json::to_value(Document { plan, endpoint })?))?;
    }
    Ok(EXIT_OK)
}

fn plan(
    job: &AtHand,
    place: &Place,
    found: &Found,
    args: &RestoreArgs,
) -> anyhow::Result<RestorePlan> {
    let id = &found.backup.id;
    let (to, steps) = match &job.maker {
        Maker::Snapshots(_) => {
            let usual = |c: char| c.is_ascii_alphanumeric() || c == '-';
            let letter = args.to.starts_with(|c: char| c.is_ascii_alphabetic());
            if !letter || args.to.len() > 63 || !args.to.chars().all(usual) {
                bail!("{:?} is not a name for an instance or a cluster of RDS", args.to);
            }
            let name = args.to.to_ascii_lowercase();
            let how = match (place, network(args)) {
                (Place::Home, None) => format!("like {}", job.job().database),
                (Place::Region(region), None) => bail!(
                    "nothing in {region} says in which network {name} is to be, and RDS's default \
                     is the default VPC: give --subnet-group and --security-group"
                ),
                (_, Some(to)) => {
                    let groups = to.security_groups.join(", ");
                    let subnets = to.subnet_group;
                    format!("in {subnets} with {groups}; single-AZ, the rest is RDS's default")
                }
            };
            let steps = vec![
                format!("refuse, if there is an instance or a cluster {name} ({place})"),
                format!("mark {id} as in use, so that retention leaves it"),
                format!("ask RDS to restore {id} to {name}, {how}"),
                "wait until it is available; from then on it costs money".to_owned(),
                "leave the application where it is: pointing it elsewhere is yours".to_owned(),
            ];
            (name, steps)
        }
        Maker::Dumps(_) if network(args).is_some() => {
            bail!("a dump goes to a database that is there: it has a network")
        }
        Maker::Dumps(_) => {
            let target = DumpTarget::parse(&args.to)?;
            let database = target.database();
            let steps = vec![
                format!("refuse, if the database {database} holds anything"),
                format!("fetch, decrypt and check {id} while it is restored to {database}"),
                "leave the application where it is: pointing it elsewhere is yours".to_owned(),
            ];
            (database.to_owned(), steps)
        }
    };
    let slot = found.backup.marks.as_ref();
    let slot = slot.map(|marks| groundcrew_core::backups::backup::rfc3339(marks.at_s));
    Ok(RestorePlan { job: job.name().to_owned(), id: id.clone(), slot, to, steps })
}

/// Where a person wants it.
fn network(args: &RestoreArgs) -> Option<RestoreTo> {
    let subnet_group = args.subnet_group.clone()?;
    let (security_groups, class) = (args.security_groups.clone(), args.class.clone());
    Some(RestoreTo { subnet_group, security_groups, class })
}

/// Keeps retention from what is restored. In an emergency nobody is kept from restoring because
/// they may not set tags.
async fn protect(snapshots: &Snapshots, found: &Found, name: &str) {
    let (id, now_s) = (&found.backup.id, clock::wall().0.div_euclid(1000));
    let within_s = i64::try_from(FOLLOW_WITHIN.as_secs()).unwrap_or(i64::MAX);
    let until_s = now_s.saturating_add(within_s);
    let in_use = InUse { run: format!("restore to {name}"), until_s };
    let tag = (TAG_IN_USE.to_owned(), in_use.value());
    if let Err(error) = snapshots.mark(id, &found.target, &[tag]).await {
        let error = jobs::cause(error);
        eprintln!("groundcrew: retention may delete {id} meanwhile, it is not marked: {error}");
    }
}

/// Asks the person at the terminal.
fn agreed(out: &Output) -> anyhow::Result<bool> {
    let stdin = std::io::stdin();
    if !out.is_terminal() || !stdin.is_terminal() {
        bail!("nobody can be asked here: give --yes when the plan is right");
    }
    let mut stderr = std::io::stderr();
    write!(stderr, "Restore? [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    stdin.read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

async fn restore_snapshot(
    snapshots: &Snapshots,
    found: &Found,
    args: &RestoreArgs,
    quiet: bool,
    out: &mut Output,
) -> anyhow::Result<Option<String>> {
    let (id, name) = (&found.backup.id, args.to.to_ascii_lowercase());
    protect(snapshots, found, &name).await;
    let to = network(args);
    let made = snapshots.restore_to(id, &found.target, &name, to.as_ref()).await;
    match made.map_err(jobs::cause)? {
        Make::Begun => {}
        Make::AlreadyExists => bail!("there is a database {name}, and nothing is restored over it"),
        Make::InvalidState => bail!("RDS cannot restore {id} in its state now"),
        Make::NoSource => bail!("RDS has no snapshot {id}"),
        Make::Quota(words) => bail!("RDS has no room: {}", clean(&words)),
    }
    follow(snapshots, found, &name, args.class.as_deref(), quiet, out).await
}

/// Looks at what is being restored until it is available.
async fn follow(
    snapshots: &Snapshots,
    found: &Found,
    name: &str,
    class: Option<&str>,
    quiet: bool,
    out: &mut Output,
) -> anyhow::Result<Option<String>> {
    let by = clock::at().plus(FOLLOW_WITHIN);
    let (mut shown, mut failures) = (String::new(), 0);
    while clock::at() < by {
        match snapshots.restored(name, &found.target).await {
            Ok(seen) => {
                failures = 0;
                let status = seen.as_ref().map_or("not shown yet", |seen| seen.status.as_str());
                if status != shown && !quiet {
                    out.print(&format!("  {name}: {}\n", clean(status)))?;
                }
                status.clone_into(&mut shown);
                let endpoint = seen.as_ref().and_then(|seen| seen.endpoint.as_ref());
                match gate(status) {
                    Gate::Go => {
                        let endpoint = endpoint.map(|at| format!("{}:{}", at.host, at.port));
                        let at = endpoint.as_deref().unwrap_or("RDS does not say where");
                        if !quiet {
                            out.print(&format!("{name} is available: {}\n", clean(at)))?;
                        }
                        return Ok(endpoint);
                    }
                    Gate::Page if status != "not shown yet" => {
                        bail!("{name} is {}", clean(status))
                    }
                    Gate::Page | Gate::Wait | Gate::Skip => {}
                }
                if status == EMPTY {
                    let added = snapshots.add_instance(name, &found.target, class).await;
                    added.map_err(jobs::cause)?;
                }
            }
            Err(error) if error.needs_person() || failures >= FAILURES_MAX => {
                return Err(jobs::cause(error));
            }
            Err(_) => failures += 1,
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    bail!("{name} is not available after {} h; RDS goes on", FOLLOW_WITHIN.as_secs() / 3600)
}

async fn restore_dump(
    dumps: &Dumps,
    found: &Found,
    to: &str,
    quiet: bool,
    out: &mut Output,
) -> anyhow::Result<()> {
    let target = DumpTarget::parse(to)?;
    let bar = progress::bar(quiet, out);
    let progress = |done: u64, all: u64| progress::told(&bar, done, all);
    let stop = CancellationToken::new();
    let restoring = dumps.restore_to(&found.backup.id, &target, &progress, &stop);
    let mut restoring = std::pin::pin!(restoring);
    let restored = tokio::select! {
        restored = &mut restoring => restored,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            stop.cancel();
            restoring.await
        }
    };
    bar.finish_and_clear();
    let restored = restored.map_err(jobs::cause)?;
    if !quiet {
        let database = clean(target.database());
        let (bytes, tables) = (size(restored.bytes), restored.tables);
        let noun = if tables == 1 { "table" } else { "tables" };
        out.print(&format!("{database} is restored: {bytes}, {tables} {noun}\n"))?;
    }
    Ok(())
}
