//! `groundcrew logs`: what the application printed, each line with its process.

use groundcrew_core::types::ProcessId;
use serde::Deserialize;

use super::EXIT_OK;
use super::args::LogsArgs;
use super::terminal::Output;
use crate::clock;
use crate::control::client::{ClientError, ControlClient};

/// One line of the agent's answer.
#[derive(Debug, Deserialize)]
struct LogLine {
    process: ProcessId,
    line: String,
}

pub(super) async fn run(
    args: &LogsArgs,
    client: &ControlClient,
    out: &mut Output,
) -> anyhow::Result<u8> {
    let mut stream = client.stream(&path(args)).await?;
    while let Some(LogLine { process, line }) = stream.next().await? {
        out.print_foreign(&format!("{process}  "), &line)?;
        // A thousand lines that arrived together are written together; the last is never held back.
        if !stream.has_line() {
            out.flush()?;
        }
    }
    out.flush()?;
    if args.follow {
        return Err(ClientError::Gone { socket: client.socket().to_owned() }.into());
    }
    Ok(EXIT_OK)
}

fn path(args: &LogsArgs) -> String {
    let parameters = [
        args.tier.as_ref().map(|tier| format!("tier={tier}")),
        args.process.as_ref().map(|process| format!("process={process}")),
        args.since.map(|since| format!("since={}", since.from(clock::wall()).0)),
        args.follow.then(|| "follow=1".to_owned()),
    ];
    let query: Vec<_> = parameters.into_iter().flatten().collect();
    if query.is_empty() { "/v1/logs".to_owned() } else { format!("/v1/logs?{}", query.join("&")) }
}
