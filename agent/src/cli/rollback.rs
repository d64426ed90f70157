//! `groundcrew rollback`: point an environment back at the release before.

use super::EXIT_OK;
use super::args::RollbackArgs;
use crate::releases::promote::{rollback, who};
use crate::releases::source::Source;

/// Runs the command.
pub async fn run(args: RollbackArgs) -> anyhow::Result<u8> {
    let source = Source::open(&args.source).await;
    let moved = rollback(&source, &args.environment, args.to.as_ref(), &who()).await?;
    println!("{}", super::promote::summary(&moved));
    Ok(EXIT_OK)
}
