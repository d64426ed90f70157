//! `groundcrew fetch`: bring an environment's release to disk, as the agent would, without running it.
//! For images that are baked with their release inside: the agent finds it there and has nothing to fetch.

use std::process::ExitCode;

use anyhow::bail;
use camino::Utf8PathBuf;
use clap::Args;
use groundcrew_core::types::Environment;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::releases::channel::{ChannelRead, read_channel};
use crate::releases::fetch::{FetchLimits, FetchProgress, fetch};
use crate::releases::source::Source;
use crate::releases::store::Store;
use crate::releases::url::SourceUrl;

/// `groundcrew fetch`.
#[derive(Debug, Args)]
pub struct FetchArgs {
    /// Where releases live: s3://bucket/prefix or file:///path.
    #[arg(long, value_name = "URL")]
    pub source: SourceUrl,
    /// The environment whose release is wanted.
    #[arg(long, value_name = "ENV")]
    pub environment: Environment,
    /// The agent's state directory.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/groundcrew")]
    pub state_dir: Utf8PathBuf,
}

/// Runs the command. Prints the release's directory.
pub async fn run(args: FetchArgs) -> anyhow::Result<ExitCode> {
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
    Ok(ExitCode::SUCCESS)
}
