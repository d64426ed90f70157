//! `groundcrew restart`: new processes of the same release, without failing a request.

use super::EXIT_OK;
use super::args::RestartArgs;
use super::terminal::Output;
use crate::control::client::ControlClient;

pub(super) async fn run(
    args: &RestartArgs,
    client: &ControlClient,
    out: &mut Output,
) -> anyhow::Result<u8> {
    let message = client.order(&format!("/v1/restart?tier={}", args.tier)).await?;
    out.print(&format!("{message}\n"))?;
    Ok(EXIT_OK)
}
