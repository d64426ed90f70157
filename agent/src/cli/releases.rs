//! `groundcrew releases`: what is on this host, or one release in detail.

use anyhow::bail;
use groundcrew_core::status::ReleasesDocument;

use super::EXIT_OK;
use super::args::ReleasesArgs;
use super::render;
use super::terminal::Output;
use crate::control::client::{ClientError, ControlClient};

pub(super) async fn run(
    args: &ReleasesArgs,
    client: &ControlClient,
    out: &mut Output,
) -> anyhow::Result<u8> {
    let path = match &args.version {
        Some(version) => format!("/v1/releases?version={}", encoded(version.as_str())),
        None => "/v1/releases".to_owned(),
    };
    let json: serde_json::Value = client.get(&path).await?;
    let document: ReleasesDocument = serde::Deserialize::deserialize(&json)
        .map_err(|source| ClientError::Answer { request: format!("GET {path}"), source })?;
    let text = match (&args.version, document.releases.as_slice()) {
        (Some(version), []) => {
            bail!("{version} is not on this host; `groundcrew releases` lists what is")
        }
        _ if args.json => format!("{json:#}\n"),
        (Some(_), [release, ..]) => {
            render::releases::render_one(release, document.now, out.style())
        }
        (None, _) => render::releases::render(&document, out.style()),
    };
    out.print(&text)?;
    Ok(EXIT_OK)
}

/// A version in a query: of what a version may hold only `+` means something else there.
fn encoded(version: &str) -> String {
    version.replace('+', "%2B")
}
