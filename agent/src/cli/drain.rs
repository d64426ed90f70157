//! `groundcrew drain`, `undrain` and `standby`: out of service, and back.

use groundcrew_core::status::{State, StatusDocument};

use super::args::DrainArgs;
use super::render;
use super::terminal::Output;
use super::{EXIT_FAILING, EXIT_OK};
use crate::control::client::ControlClient;

pub(super) async fn drain(
    args: &DrainArgs,
    client: &ControlClient,
    out: &mut Output,
) -> anyhow::Result<u8> {
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("reason", &args.reason)
        .finish();
    let message = client.order(&format!("/v1/drain?{query}")).await?;
    out.print(&format!("{message}\n"))?;
    if args.wait { wait(client, out).await } else { Ok(EXIT_OK) }
}

pub(super) async fn undrain(client: &ControlClient, out: &mut Output) -> anyhow::Result<u8> {
    let message = client.order("/v1/undrain").await?;
    out.print(&format!("{message}\n"))?;
    Ok(EXIT_OK)
}

pub(super) async fn standby(client: &ControlClient, out: &mut Output) -> anyhow::Result<u8> {
    let message = client.order("/v1/standby").await?;
    out.print(&format!("{message}\n"))?;
    Ok(EXIT_OK)
}

/// Prints each step of the drain as it comes, until everything has ended.
async fn wait(client: &ControlClient, out: &mut Output) -> anyhow::Result<u8> {
    let mut stream = client.stream("/v1/status?watch=1").await?;
    let mut printed = 0;
    loop {
        let document: StatusDocument = stream.next_of_endless().await?;
        let Some(drain) = document.lifecycle.and_then(|lifecycle| lifecycle.drain) else {
            anyhow::bail!("the drain was taken back");
        };
        for step in &drain.steps[printed.min(drain.steps.len())..] {
            out.print(&render::status::step(step))?;
        }
        printed = drain.steps.len();
        if drain.ended.is_some() && document.state == State::Stopped {
            return Ok(if drain.cut > 0 { EXIT_FAILING } else { EXIT_OK });
        }
    }
}
