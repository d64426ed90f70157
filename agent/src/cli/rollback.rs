//! `groundcrew rollback`: point an environment back at the release before.

use std::process::ExitCode;

use clap::Args;
use groundcrew_core::types::{Environment, Version};

use crate::releases::promote::{rollback, who};
use crate::releases::source::Source;
use crate::releases::url::SourceUrl;

/// `groundcrew rollback`.
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// Where releases live: s3://bucket/prefix or file:///path.
    #[arg(long, value_name = "URL")]
    pub source: SourceUrl,
    /// The environment whose channel is moved back.
    #[arg(long, value_name = "ENV")]
    pub environment: Environment,
    /// The version to go back to; default the one before.
    #[arg(long, value_name = "V")]
    pub to: Option<Version>,
}

/// Runs the command.
pub async fn run(args: RollbackArgs) -> anyhow::Result<ExitCode> {
    let source = Source::open(&args.source).await;
    let moved = rollback(&source, &args.environment, args.to.as_ref(), &who()).await?;
    println!("{}", super::promote::summary(&moved));
    Ok(ExitCode::SUCCESS)
}
