//! `groundcrew drill`: plays a notice against the real agent, and says how it went.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use groundcrew_core::lifecycle::notice::Cause;
use groundcrew_core::status::{DrainStatus, State, StatusDocument};
use groundcrew_core::time::text;
use groundcrew_core::types::{Pid, ProcessId};
use nix::sys::signal::{Signal, kill};

use super::args::{DrillArgs, DrillNotice};
use super::render;
use super::terminal::Output;
use super::{EXIT_FAILING, EXIT_OK};
use crate::clock;
use crate::control::client::ControlClient;

/// What the spot market gives.
const SPOT_WITHIN: Duration = Duration::from_mins(2);
/// How long the agent may take to come back.
const BACK_WITHIN: Duration = Duration::from_mins(1);
/// Pause between two looks whether it is back.
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(super) async fn run(
    args: &DrillArgs,
    client: &ControlClient,
    out: &mut Output,
) -> anyhow::Result<u8> {
    let (reason, within) = match args.notice {
        DrillNotice::Spot => ("drill: the spot market takes it back", Some(SPOT_WITHIN)),
        DrillNotice::ScaleIn => ("drill: the group terminates it", None),
        DrillNotice::Refresh => ("drill: the group replaces it", None),
        DrillNotice::AgentKill => return kill_agent(args.dry_run, client, out).await,
    };
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("reason", reason);
    if let Some(within) = within {
        query.append_pair("within_s", &within.as_secs().to_string());
    }
    let path = format!("/v1/drill?{}", query.finish());
    if args.dry_run {
        let plan: Vec<String> = client.get(&path).await?;
        for (number, step) in plan.iter().enumerate() {
            out.print(&format!("{:>3}. {step}\n", number + 1))?;
        }
        return Ok(EXIT_OK);
    }
    let before: StatusDocument = client.get("/v1/status").await?;
    let message = client.order(&path).await?;
    out.print(&format!("{message}\n"))?;
    follow(before, client, out).await
}

/// Prints the drain's steps as they come, then how it went, when the host serves again.
async fn follow(
    before: StatusDocument,
    client: &ControlClient,
    out: &mut Output,
) -> anyhow::Result<u8> {
    let last = |document: &StatusDocument| document.lifecycle.as_ref()?.last_drain.clone();
    let last_before = last(&before).map(|drain| drain.since);
    let mut stream = client.stream("/v1/status?watch=1").await?;
    let began = clock::at();
    let mut printed = 0;
    loop {
        let document: StatusDocument = stream.next_of_endless().await?;
        let lifecycle = document.lifecycle.clone().unwrap_or_default();
        let others = lifecycle.notices.iter().find(|notice| notice.cause != Cause::Drill);
        if let Some(notice) = others {
            anyhow::bail!("this is no drill any more: {}", notice.text);
        }
        let over = last(&document).filter(|drain| Some(drain.since) != last_before);
        let Some(drain) = lifecycle.drain.as_ref().or(over.as_ref()) else { continue };
        for step in drain.steps.iter().skip(printed) {
            out.print(&render::status::step(step))?;
        }
        printed = drain.steps.len();
        if let Some(DrainStatus { cut, .. }) = over
            && document.state == State::Serving
        {
            let took = text(clock::at().since(began));
            out.print(&format!("It serves again. All in {took}; {cut} requests were cut.\n"))?;
            return Ok(if cut > 0 { EXIT_FAILING } else { EXIT_OK });
        }
    }
}

async fn kill_agent(dry_run: bool, client: &ControlClient, out: &mut Output) -> anyhow::Result<u8> {
    let pid = client.agent_pid().await?;
    let before = processes(&client.get("/v1/status").await?);
    if dry_run {
        out.print(&format!(
            "  1. the agent (pid {pid}) is sent SIGKILL\n  2. systemd starts it again; the {} \
             processes go on meanwhile\n",
            before.len()
        ))?;
        return Ok(EXIT_OK);
    }
    kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL)
        .with_context(|| format!("could not kill the agent (pid {pid})"))?;
    let killed = clock::at();
    out.print(&format!("the agent (pid {pid}) was killed\n"))?;
    let after = loop {
        // An agent that is not there is what this waits through.
        if let Ok(status) = client.get::<StatusDocument>("/v1/status").await {
            break processes(&status);
        }
        anyhow::ensure!(
            clock::at().since(killed) < BACK_WITHIN,
            "the agent did not come back within {BACK_WITHIN:?}: journalctl -u groundcrew"
        );
        tokio::time::sleep(LOOK_EVERY).await;
    };
    let took = text(clock::at().since(killed));
    let kept = before.iter().filter(|(id, pid)| after.get(*id) == Some(pid)).count();
    let all = before.len();
    out.print(&format!("It is back after {took}; {kept} of {all} processes went on.\n"))?;
    Ok(if kept == all { EXIT_OK } else { EXIT_FAILING })
}

fn processes(status: &StatusDocument) -> BTreeMap<ProcessId, Pid> {
    let processes = status.tiers.iter().flat_map(|tier| &tier.processes);
    processes.filter_map(|process| Some((process.id.clone(), process.pid?))).collect()
}
