//! `groundcrew status`: asks once, or stays and shows each change.

use std::time::Duration;

use groundcrew_core::status::StatusDocument;
use groundcrew_core::time::{Wall, ms};

use super::args::StatusArgs;
use super::render;
use super::terminal::Output;
use super::{EXIT_FAILING, EXIT_OK};
use crate::clock;
use crate::control::client::{ClientError, ControlClient, LineStream};

/// How often the ages on a terminal go on while nothing else changes: they are in seconds.
const AGES_EVERY: Duration = Duration::from_secs(1);

pub(super) async fn run(
    args: &StatusArgs,
    client: &ControlClient,
    out: &mut Output,
) -> anyhow::Result<u8> {
    if args.watch {
        let stream = client.stream("/v1/status?watch=1").await?;
        return if out.is_terminal() && !args.json {
            watch_in_place(stream, out).await
        } else {
            watch_appending(stream, args.json, out).await
        };
    }
    // As JSON first: a field that only a newer agent knows is handed on.
    let json: serde_json::Value = client.get("/v1/status").await?;
    let document = document(&json, "GET /v1/status")?;
    let text = if args.json {
        format!("{json:#}\n")
    } else {
        render::status::render(&document, out.style())
    };
    out.print(&text)?;
    Ok(if document.is_failing() { EXIT_FAILING } else { EXIT_OK })
}

/// For a person: the newest document in the place of the last one, and its ages go on.
async fn watch_in_place(mut stream: LineStream, out: &mut Output) -> anyhow::Result<u8> {
    let mut document: StatusDocument = stream.next_of_endless().await?;
    let mut arrived = clock::at();
    loop {
        let age_ms = i64::try_from(ms(clock::at().since(arrived))).unwrap_or(i64::MAX);
        let now = Wall(document.now.0.saturating_add(age_ms));
        let shown = StatusDocument { now, ..document.clone() };
        out.redraw(&render::status::render(&shown, out.style()))?;
        tokio::select! {
            next = stream.next_of_endless() => {
                document = next?;
                arrived = clock::at();
            }
            () = tokio::time::sleep(AGES_EVERY) => {}
        }
    }
}

/// For a pipe: one document after the other.
async fn watch_appending(
    mut stream: LineStream,
    json: bool,
    out: &mut Output,
) -> anyhow::Result<u8> {
    loop {
        let value: serde_json::Value = stream.next_of_endless().await?;
        let text = if json {
            format!("{value}\n")
        } else {
            let document = document(&value, "GET /v1/status?watch=1")?;
            format!("{}\n", render::status::render(&document, out.style()))
        };
        out.print(&text)?;
    }
}

fn document(json: &serde_json::Value, request: &str) -> Result<StatusDocument, ClientError> {
    serde::Deserialize::deserialize(json)
        .map_err(|source| ClientError::Answer { request: request.to_owned(), source })
}
