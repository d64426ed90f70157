//! `groundcrew fetch`: bring an environment's release to disk, as the agent would, without running
//! it. For images that are baked with their release inside: the agent finds it there and has
//! nothing to fetch.

use anyhow::bail;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::EXIT_OK;
use super::args::FetchArgs;
use crate::releases::channel::{ChannelRead, read_channel};
use crate::releases::fetch::{FetchLimits, FetchProgress, fetch};
use crate::releases::source::Source;
use crate::releases::store::Store;

/// Runs the command. Prints the release's directory.
pub async fn run(args: FetchArgs) -> anyhow::Result<u8> {
    let source = Source::open(&args.source).await;
    let ChannelRead::Found { channel, .. } = read_channel(&source, &args.environment, None).await?
    else {
        bail!("nothing was ever promoted to {}", args.environment);
    };
    let store = Store::open(&args.state_dir)?;
    let cancel = CancellationToken::new();
    let (progress, _) = watch::channel(FetchProgress::default());
    let (target, limits) = (channel.target(), FetchLimits::default());
    let work = fetch(&source, &store, &target, &limits, progress, &cancel);
    let mut work = Box::pin(work);
    let fetched = tokio::select! {
        fetched = &mut work => fetched?,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            cancel.cancel();
            work.await?
        }
    };
    eprintln!(
        "{}: {} files written, {} linked, {} kept, {} bytes downloaded in {:.1}s",
        channel.release,
        fetched.files_written,
        fetched.files_linked,
        fetched.files_kept,
        fetched.bytes_downloaded,
        fetched.took.as_secs_f64(),
    );
    println!("{}", store.path(&channel.release.digest));
    Ok(EXIT_OK)
}
