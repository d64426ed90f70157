//! `groundcrew backups pin` and `unpin`.

use anyhow::bail;
use groundcrew_core::backups::backup::{TAG_HOLD, tag_value};
use serde::Serialize;

use super::super::EXIT_OK;
use super::super::args::BackupArgs;
use super::super::terminal::Output;
use super::jobs;
use crate::config::HostConfig;

/// What is printed as JSON.
#[derive(Debug, Serialize)]
struct Document<'a> {
    id: &'a str,
    hold: Option<&'a str>,
}

/// `reason`: why it is kept; `None`: it is not any more.
pub(super) async fn run(
    config: &HostConfig,
    args: &BackupArgs,
    reason: Option<&str>,
    json: bool,
    out: &mut Output,
) -> anyhow::Result<u8> {
    let reason = reason.map(tag_value);
    if reason.as_ref().is_some_and(|reason| reason.trim().is_empty()) {
        bail!("say why it is kept: --reason 'the audit of May'");
    }
    let (job, found) = jobs::find(config, &args.id).await?;
    // A tag without a value holds nothing: what may set tags may not always remove them.
    let tag = (TAG_HOLD.to_owned(), reason.clone().unwrap_or_default());
    job.mark(&found, &[tag]).await.map_err(jobs::cause)?;
    let id = &found.backup.id;
    let text = if json {
        let document = Document { id, hold: reason.as_deref() };
        format!("{:#}\n", serde_json::to_value(document)?)
    } else {
        match &reason {
            Some(reason) => format!("{id} is kept: {reason}\n"),
            None => format!("{id} is left to retention\n"),
        }
    };
    out.print(&text)?;
    Ok(EXIT_OK)
}
