//! `groundcrew promote`: point an environment at a release.

use super::EXIT_OK;
use super::args::PromoteArgs;
use crate::releases::promote::{Moved, promote, who};
use crate::releases::source::Source;

/// Runs the command.
pub async fn run(args: PromoteArgs) -> anyhow::Result<u8> {
    let source = Source::open(&args.source).await;
    let moved = promote(&source, &args.environment, &args.version, &who()).await?;
    println!("{}", summary(&moved));
    Ok(EXIT_OK)
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
