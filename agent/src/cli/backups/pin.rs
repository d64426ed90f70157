//! `groundcrew backups pin` and `unpin`.

use anyhow::bail;
use groundcrew_core::backups::backup::{TAG_HOLD, tag_value};
use serde::Serialize;

use super::super::args::BackupArgs;
use super::super::terminal::Output;
use super::super::{EXIT_FAILING, EXIT_OK};
use super::find::find;
use super::jobs;
use crate::config::HostConfig;

/// What is printed as JSON.
#[derive(Debug, Serialize)]
struct Document<'a> {
    id: &'a str,
    hold: Option<&'a str>,
    /// Where that is so.
    places: &'a [String],
    /// Where it is not, and why.
    errors: &'a [String],
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
    let sighting = find(config, &args.id, None).await?;
    // A tag without a value holds nothing: what may set tags may not always remove them.
    let tag = (TAG_HOLD.to_owned(), reason.clone().unwrap_or_default());
    let (mut places, mut errors) = (Vec::new(), sighting.errors.clone());
    for (place, found) in sighting.all() {
        match sighting.job.mark(place, found, std::slice::from_ref(&tag)).await {
            Ok(()) => places.push(place.to_string()),
            Err(error) => errors.push(format!("{place}: {:#}", jobs::cause(error))),
        }
    }
    let id = sighting.all().first().map_or(args.id.as_str(), |(_, found)| &found.backup.id);
    if json {
        let (places, errors) = (&places, &errors);
        let document = Document { id, hold: reason.as_deref(), places, errors };
        out.print(&format!("{:#}\n", serde_json::to_value(document)?))?;
    } else {
        if !places.is_empty() {
            let at = places.join(", ");
            let what = reason.map_or("left to retention".to_owned(), |why| format!("kept: {why}"));
            out.print(&format!("{id} is {what} ({at})\n"))?;
        }
        for error in &errors {
            eprintln!("groundcrew: {error}");
        }
    }
    Ok(if errors.is_empty() { EXIT_OK } else { EXIT_FAILING })
}
