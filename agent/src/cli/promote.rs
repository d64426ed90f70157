//! `groundcrew promote`: point an environment at a release.

use std::process::ExitCode;

use clap::Args;
use groundcrew_core::types::{Environment, Version};

use crate::releases::promote::{Moved, promote, who};
use crate::releases::source::Source;
use crate::releases::url::SourceUrl;

/// `groundcrew promote`.
#[derive(Debug, Args)]
pub struct PromoteArgs {
    /// The version to run; it has been published.
    #[arg(value_name = "V")]
    pub version: Version,
    /// Where releases live: s3://bucket/prefix or file:///path.
    #[arg(long, value_name = "URL")]
    pub source: SourceUrl,
    /// The environment whose channel is moved.
    #[arg(long, value_name = "ENV")]
    pub environment: Environment,
}

/// Runs the command.
pub async fn run(args: PromoteArgs) -> anyhow::Result<ExitCode> {
    let source = Source::open(&args.source).await;
    let moved = promote(&source, &args.environment, &args.version, &who()).await?;
    println!("{}", summary(&moved));
    Ok(ExitCode::SUCCESS)
}

/// One line: from where to where.
pub(super) fn summary(moved: &Moved) -> String {
    match moved {
        Moved::Already(channel) => format!(
            "{} is already at {}, generation {}; nothing changed",
            channel.environment, channel.release, channel.generation
        ),
        Moved::Moved(channel) => {
            let before = channel.history.first().and_then(|step| step.from.as_ref());
            let before = before.map(|release| format!("from {release} "));
            format!(
                "{} moved {}to {}, generation {}",
                channel.environment,
                before.unwrap_or_default(),
                channel.release,
                channel.generation
            )
        }
    }
}
