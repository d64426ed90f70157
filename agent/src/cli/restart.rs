//! `groundcrew restart`: new processes of the same release, without failing a request.

use serde::Deserialize;

use super::EXIT_OK;
use super::args::RestartArgs;
use super::terminal::Output;
use crate::control::client::ControlClient;

#[derive(Debug, Deserialize)]
struct Answer {
    message: String,
}

pub(super) async fn run(
    args: &RestartArgs,
    client: &ControlClient,
    out: &mut Output,
) -> anyhow::Result<u8> {
    let Answer { message } = client.post(&format!("/v1/restart?tier={}", args.tier)).await?;
    out.print(&format!("{message}\n"))?;
    Ok(EXIT_OK)
}
