//! The story, scene by scene: what the person does, and what has to come of it.

use groundcrew_core::status::{RolloutStage, StatusDocument};
use groundcrew_core::types::Pid;

use super::DemoError;
use super::load::{self, Load};
use super::node::Node;
use super::report::{self, Row};
use super::stage::{DemoRelease, Stage};
use crate::procfs;

/// Answers to wait for where the story shows that requests are answered.
const PROOF: u64 = 300;

const V1: DemoRelease = DemoRelease { version: "v1", fault: "", trial: "2s" };
const V2: DemoRelease = DemoRelease { version: "v2", fault: "", trial: "2s" };
/// Takes its time to start, so that there is a middle to be killed in.
const V3: DemoRelease = DemoRelease { version: "v3", fault: "slow", trial: "2s" };
const V4: DemoRelease = DemoRelease { version: "v4", fault: "throws", trial: "2s" };
/// On trial until it is found out.
const V5: DemoRelease = DemoRelease { version: "v5", fault: "falls ill", trial: "30s" };

/// Plays it all. Whether no request failed.
pub async fn tell(stage: &mut Stage, node: &Node) -> Result<bool, DemoError> {
    stage.narrator.note(&format!(
        "Node {}; everything happens in {}, the app listens on port {}.",
        node.version,
        stage.top(),
        stage.port
    ))?;
    first_release(stage).await?;
    stage.narrator.note(&format!(
        "Load from here to the end: {} clients keep their connection, {} open one for each \
         request; GET and POST; nothing is retried.",
        load::KEPT,
        load::FRESH
    ))?;
    let load = Load::start(stage.port);
    load.wait_for(PROOF).await;
    let mut rows = vec![Row::of("v1", "replaced by v2", None)];
    rows.push(second_release(stage, &load).await?);
    rows.push(killed_agent(stage, &load).await?);
    rows.push(release_that_throws(stage, &load).await?);
    rows.extend(release_that_falls_ill(stage, &load).await?);
    stage.roll_back("v3").await?;
    stage.until("the rejected release is forgotten", |s| s.rejected.is_none()).await?;
    stage.narrator.note("The channel says v3 again, which is what runs: nothing to do.")?;
    let tally = load.stop().await;
    stage.narrator.note("The load ends. SIGTERM: the agent stops the app, then itself.")?;
    stage.stop_agent().await?;
    let text = report::text(&rows, &tally);
    stage.narrator.block(&text)?;
    Ok(tally.failed == 0)
}

async fn first_release(stage: &mut Stage) -> Result<(), DemoError> {
    stage.narrator.note("A release is published, and an agent that has nothing yet fetches it.")?;
    stage.release(&V1).await?;
    stage.start_agent()?;
    stage.until("v1 serves and settles", |status| settled(status, "v1")).await?;
    Ok(())
}

async fn second_release(stage: &mut Stage, load: &Load) -> Result<Row, DemoError> {
    stage.narrator.note("A new release, under load.")?;
    stage.release(&V2).await?;
    load.expect("v2");
    stage.until("v2 serves and settles", |status| settled(status, "v2")).await?;
    Ok(Row::of("v2", "replaced by v3", load.swap()))
}

async fn killed_agent(stage: &mut Stage, load: &Load) -> Result<Row, DemoError> {
    stage
        .narrator
        .note("Another one, which starts slowly; its agent will not see the end of it.")?;
    stage.release(&V3).await?;
    load.expect("v3");
    let both_run = |status: &StatusDocument| {
        let pids = started(status, "v3");
        pids.len() == 2 && pids.into_iter().all(is_app)
    };
    let status = stage.until("v3's processes start", both_run).await?;
    let before = started(&status, "v3");
    stage.kill_agent().await?;
    load.wait_for(PROOF).await;
    stage.narrator.note(&format!(
        "{PROOF} requests were answered without any agent; v3's processes {} are on their own.",
        join(&before)
    ))?;
    stage.start_agent()?;
    let status = stage.until("v3 serves and settles", |status| settled(status, "v3")).await?;
    let after = started(&status, "v3");
    if after != before {
        let (after, before) = (join(&after), join(&before));
        let what = format!("v3 should run as {before}, adopted; it runs as {after}");
        return Err(DemoError::Unexpected(what));
    }
    stage.narrator.note(&format!(
        "The new agent went on where the old one died: v3 runs as {}, started by the old one.",
        join(&after)
    ))?;
    Ok(Row::of("v3", "agent killed meanwhile; settled", load.swap()))
}

async fn release_that_throws(stage: &mut Stage, load: &Load) -> Result<Row, DemoError> {
    stage.narrator.note("A release that throws when it starts.")?;
    stage.release(&V4).await?;
    let refused = |status: &StatusDocument| rejected(status, "v4") && serves(status, "v3");
    stage.until("v4 is rejected and v3 serves", refused).await?;
    load.wait_for(PROOF).await;
    if load.tally().by_release.contains_key("v4") {
        return Err(DemoError::Unexpected("v4 has answered a request".to_owned()));
    }
    stage.narrator.note("It was never ready, so it never got a request; v3 goes on.")?;
    Ok(Row::of("v4", "refused: it crashed at start", None))
}

async fn release_that_falls_ill(stage: &mut Stage, load: &Load) -> Result<[Row; 2], DemoError> {
    stage.narrator.note("A release that starts well, and falls ill when it serves.")?;
    stage.release(&V5).await?;
    load.expect("v5");
    let taken_over = |status: &StatusDocument| serves(status, "v5") && alone(status);
    stage.until("v5 serves and v3 has ended", taken_over).await?;
    let forward = load.swap();
    load.expect("v3");
    stage.until("v5 is rejected", |status| rejected(status, "v5")).await?;
    load.restart_clock();
    let back = |status: &StatusDocument| {
        rejected(status, "v5") && serves(status, "v3") && alone(status) && status.rollout.is_none()
    };
    stage.until("v5 is rolled back to v3", back).await?;
    load.wait_for(PROOF).await;
    stage
        .narrator
        .note("Nobody was asked: the host went back to v3, and v5 stays rejected here.")?;
    let forward = Row::of("v5", "rolled back: its health check failed", forward);
    Ok([forward, Row::of("v3", "serves again after the rollback", load.swap())])
}

fn settled(status: &StatusDocument, version: &str) -> bool {
    let text = format!("{version} settled");
    serves(status, version) && status.events.iter().any(|event| event.text == text)
}

fn rejected(status: &StatusDocument, version: &str) -> bool {
    status.rejected.as_ref().is_some_and(|rejected| rejected.version.as_str() == version)
}

/// Whether `version` is what runs, with all its processes.
fn serves(status: &StatusDocument, version: &str) -> bool {
    status.release.as_ref().is_some_and(|release| release.version.as_str() == version)
        && status.tiers.iter().all(|tier| {
            tier.ready == tier.wanted
                && tier.release.as_ref().is_some_and(|release| release.as_str() == version)
        })
}

/// Whether no process of another generation is left.
fn alone(status: &StatusDocument) -> bool {
    let live = |tier: &groundcrew_core::status::TierStatus| {
        tier.processes.iter().all(|process| Some(process.id.generation) == tier.generation)
    };
    status.tiers.iter().all(live)
}

/// The pids of a release that is starting, or runs.
fn started(status: &StatusDocument, version: &str) -> Vec<Pid> {
    let starting = status.rollout.as_ref().is_some_and(|rollout| {
        rollout.version.as_str() == version && rollout.stage == RolloutStage::Starting
    });
    let processes = || status.tiers.iter().flat_map(|tier| &tier.processes);
    let newest = processes().map(|process| process.id.generation).max();
    if !starting && !serves(status, version) {
        return Vec::new();
    }
    let of_newest = processes().filter(|process| Some(process.id.generation) == newest);
    let mut pids: Vec<_> = of_newest.filter_map(|process| process.pid).collect();
    pids.sort_unstable();
    // Before the first of its processes the newest generation is another release's.
    let serving = status.tiers.iter().any(|tier| tier.generation == newest);
    if starting && serving { Vec::new() } else { pids }
}

/// Whether it is the app already, and not what starts it: that does not outlive its agent.
fn is_app(pid: Pid) -> bool {
    procfs::command_line(pid).is_some_and(|line| !line.starts_with("groundcrew "))
}

fn join(pids: &[Pid]) -> String {
    pids.iter().map(Pid::to_string).collect::<Vec<_>>().join(" and ")
}
