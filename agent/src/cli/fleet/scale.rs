//! `groundcrew fleet scale`: sets the desired capacity within the group's bounds. Never moves a
//! bound.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};

use anyhow::bail;
use groundcrew_core::fleet::refresh::{SILENCE_MAX, look_again, pause};
use groundcrew_core::fleet::scale::{self, FOLLOW_WITHIN, Plan, Progress};
use groundcrew_core::fleet::{Activity, Group};
use serde::Serialize;

use super::super::args::ScaleArgs;
use super::super::render;
use super::super::render::human::clean;
use super::super::terminal::Output;
use super::super::{EXIT_FAILING, EXIT_OK};
use super::{EXIT_INTERRUPTED, Fleet, cause, cause_of_change};
use crate::aws::call_failure::CallFailure;
use crate::clock;

/// What was done, as JSON.
#[derive(Debug, Serialize)]
struct Document<'a> {
    group: &'a str,
    #[serde(flatten)]
    plan: &'a Plan,
    serving: Option<u32>,
}

pub(super) async fn run(
    fleet: &Fleet,
    args: &ScaleArgs,
    json: bool,
    out: &mut Output,
) -> anyhow::Result<u8> {
    let group = fleet.describe().await?.group;
    let plan = scale::plan(&group, args.capacity)?;
    if !json {
        out.print(&render::fleet::scale_plan(&group, &plan, out.style()))?;
    }
    if plan.ask.is_some() && !args.yes && !agreed(&plan, out)? {
        eprintln!("groundcrew: nothing was done");
        return Ok(EXIT_FAILING);
    }
    // What failed before has nothing to do with it.
    let known = if args.wait { failed(fleet).await? } else { Vec::new() };
    if plan.from != plan.to {
        let set = fleet.groups.set_desired_capacity(&fleet.name, plan.to, args.honor_cooldown);
        set.await.map_err(refused)?;
    }
    if args.wait {
        let known = known.into_iter().map(|activity| activity.id).collect();
        return wait(fleet, &plan, known, json, out).await;
    }
    if json {
        print_json(&group, &plan, None, out)?;
    }
    Ok(EXIT_OK)
}

fn print_json(
    group: &Group,
    plan: &Plan,
    serving: Option<u32>,
    out: &mut Output,
) -> anyhow::Result<()> {
    let document = Document { group: &group.name, plan, serving };
    Ok(out.print(&format!("{}\n", serde_json::to_string(&document)?))?)
}

/// A cooldown is the one refusal that has a flag.
fn refused(failure: CallFailure) -> anyhow::Error {
    if failure.code == "ScalingActivityInProgress" {
        return cause(failure).context("a cooldown lasts: without --honor-cooldown it is ignored");
    }
    cause_of_change(failure)
}

/// Asks the person at the terminal.
fn agreed(plan: &Plan, out: &Output) -> anyhow::Result<bool> {
    let stdin = std::io::stdin();
    let why = plan.ask.unwrap_or_default();
    if !out.is_terminal() || !stdin.is_terminal() {
        bail!("nobody can be asked here, and {why}: give --yes when the plan is right");
    }
    let mut stderr = std::io::stderr();
    write!(stderr, "Scale, although {why}? [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    stdin.read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

async fn failed(fleet: &Fleet) -> anyhow::Result<Vec<Activity>> {
    let activities = fleet.groups.activities(&fleet.name).await.map_err(cause)?;
    Ok(activities.into_iter().filter(|activity| activity.failed).collect())
}

/// Until as many serve. What fails meanwhile is shown once; the group tries again by itself.
async fn wait(
    fleet: &Fleet,
    plan: &Plan,
    mut known: BTreeSet<String>,
    json: bool,
    out: &mut Output,
) -> anyhow::Result<u8> {
    let by = clock::at().plus(FOLLOW_WITHIN);
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    let (mut looks, mut failures, mut shown, mut spoke) = (0, 0, None, clock::at());
    while clock::at() < by {
        let seen = tokio::select! {
            biased;
            interrupt = &mut interrupted => {
                interrupt?;
                let name = clean(&fleet.name);
                eprintln!(
                    "groundcrew: group {name} goes on to {}; `groundcrew fleet status --group \
                     {name}` shows it", plan.to
                );
                return Ok(EXIT_INTERRUPTED);
            }
            seen = look(fleet, looks) => seen,
        };
        looks += 1;
        let (group, activities) = match seen {
            Ok(seen) => seen,
            Err(failure) => {
                failures += 1;
                if !look_again(failure.kind, failure.passing, failures) {
                    return Err(cause(failure).context("the group cannot be followed"));
                }
                continue;
            }
        };
        failures = 0;
        let Some(group) = group else { bail!("group {} is gone", clean(&fleet.name)) };
        for activity in activities {
            if activity.failed && known.insert(activity.id.clone()) {
                eprintln!("groundcrew: {}", render::fleet::failed_activity(&activity));
            }
        }
        let progress = scale::progress(&group, plan, looks - 1);
        if shown != Some(progress) || clock::at().since(spoke) >= SILENCE_MAX {
            if json {
                print_json(&group, plan, Some(group.serving()), out)?;
            } else {
                out.print(&render::fleet::scale_progress(&group, plan.to, progress))?;
            }
            (shown, spoke) = (Some(progress), clock::at());
        }
        match progress {
            Progress::Done => return Ok(EXIT_OK),
            Progress::Overruled(_) => return Ok(EXIT_FAILING),
            Progress::Waiting(_) => {}
        }
    }
    bail!("not as many serve after {} h; the group goes on", FOLLOW_WITHIN.as_secs() / 3600)
}

/// After the pause that so many looks call for.
async fn look(fleet: &Fleet, looks: u32) -> Result<(Option<Group>, Vec<Activity>), CallFailure> {
    if looks > 0 {
        tokio::time::sleep(pause(looks)).await;
    }
    let activities = fleet.groups.activities(&fleet.name).await?;
    let found = fleet.groups.describe(&fleet.name).await?;
    Ok((found.map(|found| found.group), activities))
}
