//! `groundcrew publish`: pack a directory, upload it, write its manifest, and promote it if asked
//! to.

use std::num::NonZero;
use std::sync::Arc;

use anyhow::Context;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use tokio_util::sync::CancellationToken;

use super::EXIT_OK;
use super::args::PublishArgs;
use crate::config;
use crate::releases::promote;
use crate::releases::publish::{Progress, Publication, Published, publish};
use crate::releases::source::Source;

/// Runs the command.
pub async fn run(args: PublishArgs) -> anyhow::Result<u8> {
    let source = Source::open(&args.source).await;
    let threads = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    let publication =
        Publication { directory: args.directory, version: args.version.clone(), threads };
    // Hidden by itself where stderr is no terminal.
    let bar = ProgressBar::new(0);
    bar.set_style(ProgressStyle::with_template("{msg:>9} {wide_bar} {bytes}/{total_bytes} {eta}")?);
    let cancel = CancellationToken::new();
    let published = {
        let shown = bar.clone();
        let progress = Arc::new(move |progress| show(&shown, progress));
        let work = publish(&source, publication, &validate, progress, &cancel);
        let mut work = Box::pin(work);
        tokio::select! {
            published = &mut work => published,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.context("could not wait for Ctrl-C")?;
                // Goes on until what was begun is taken back: parts of an upload cost money.
                cancel.cancel();
                work.await
            }
        }
    };
    bar.finish_and_clear();
    println!("{}", summary(&published?));
    if let Some(environment) = &args.promote {
        let moved = promote::promote(&source, environment, &args.version, &promote::who()).await?;
        println!("{}", super::promote::summary(&moved));
    }
    Ok(EXIT_OK)
}

/// What is wrong with a release.toml; warnings are shown and forgiven.
fn validate(text: &str) -> Result<(), String> {
    config::release::parse(text).map(drop).map_err(|problems| problems.to_string())
}

fn show(bar: &ProgressBar, progress: Progress) {
    let (what, done, total) = match progress {
        Progress::Packing(done, total) => ("packing", done, total),
        Progress::Uploading(done, total) => ("uploading", done, total),
    };
    bar.set_message(what);
    bar.set_length(total);
    bar.set_position(done);
}

fn summary(published: &Published) -> String {
    let manifest = &published.manifest;
    let release = manifest.release();
    if published.already {
        return format!("{release} is already published with the same content");
    }
    let sent = if published.uploaded { "uploaded" } else { "already in the source, not sent" };
    format!(
        "{release} published: {} entries, {}, as {} ({sent})",
        manifest.files.len(),
        HumanBytes(manifest.unpacked_bytes),
        HumanBytes(manifest.size_bytes),
    )
}
