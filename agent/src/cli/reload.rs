//! `groundcrew reload`: the agent goes on as the binary that is installed now. Returns when that
//! one is where the one before was, so that `systemctl reload` says whether it is.

use std::time::Duration;

use groundcrew_core::time::Moment;

use super::EXIT_OK;
use super::terminal::Output;
use crate::clock;
use crate::control::AgentDocument;
use crate::control::client::{ClientError, ControlClient};

const AGENT: &str = "/v1/agent";
/// How long the next agent may take to look around. It may find the disk busy.
const TAKEOVER_WITHIN: Duration = Duration::from_mins(1);
/// How often it is looked for.
const ASK_EVERY: Duration = Duration::from_millis(50);

pub(super) async fn run(client: &ControlClient, out: &mut Output) -> anyhow::Result<u8> {
    let before: AgentDocument = client.get(AGENT).await?;
    let begun = clock::at();
    match client.post::<()>("/v1/reload").await {
        // The agent may be gone before its answer is here.
        Ok(()) | Err(ClientError::Broken { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let now = next(client, &before, begun.plus(TAKEOVER_WITHIN)).await?;
    if let Some(reason) = now.failed {
        anyhow::bail!(reason);
    }
    let took = clock::at().since(begun);
    out.print(&format!("groundcrew {} took over after {} ms\n", now.version, took.as_millis()))?;
    Ok(EXIT_OK)
}

/// The agent that is not the one of `before`, as soon as it is as ready as that.
async fn next(
    client: &ControlClient,
    before: &AgentDocument,
    not_after: Moment,
) -> anyhow::Result<AgentDocument> {
    let is_over = |agent: &AgentDocument| {
        let ready = agent.ready >= before.ready || agent.failed.is_some();
        agent.opened != before.opened && ready
    };
    loop {
        let late = clock::at() >= not_after;
        match client.get::<AgentDocument>(AGENT).await {
            Ok(agent) if is_over(&agent) => return Ok(agent),
            Ok(agent) if late && agent.opened == before.opened => {
                anyhow::bail!("the agent did not make way");
            }
            Ok(_) if late => anyhow::bail!("the agent took over, and the host is not ready"),
            Err(error) if late => return Err(error.into()),
            _ => tokio::time::sleep(ASK_EVERY).await,
        }
    }
}
