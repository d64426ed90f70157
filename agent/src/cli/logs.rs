//! `groundcrew logs`: what the application printed, each line with its process; `audit` and
//! `replay`: what became of it on its way out of the host.

use groundcrew_core::logs::{Level, level};
use groundcrew_core::status::AuditDocument;
use groundcrew_core::types::ProcessId;
use serde::Deserialize;

use super::args::{AuditArgs, LogsArgs, LogsCommand};
use super::render::{self, Tone};
use super::terminal::Output;
use super::{EXIT_FAILING, EXIT_OK};
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
    match &args.command {
        Some(LogsCommand::Audit(args)) => audit(args, client, out).await,
        Some(LogsCommand::Replay) => replay(client, out).await,
        None => show(args, client, out).await,
    }
}

async fn show(args: &LogsArgs, client: &ControlClient, out: &mut Output) -> anyhow::Result<u8> {
    let mut stream = client.stream(&path(args)).await?;
    let style = out.style();
    loop {
        if args.json {
            // As JSON: a field that only a newer agent knows is handed on.
            let Some(mut line) = stream.next::<serde_json::Value>().await? else { break };
            let known = line["line"].as_str().and_then(|text| level(text.as_bytes()));
            if let (Some(level), Some(fields)) = (known, line.as_object_mut()) {
                fields.insert("level".to_owned(), serde_json::to_value(level)?);
            }
            out.print_foreign("", &line.to_string(), style, None)?;
        } else {
            let Some(LogLine { process, line }) = stream.next().await? else { break };
            let tone = level(line.as_bytes()).and_then(tone);
            out.print_foreign(&format!("{process}  "), &line, style, tone)?;
        }
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

async fn audit(args: &AuditArgs, client: &ControlClient, out: &mut Output) -> anyhow::Result<u8> {
    let path = "/v1/logs/audit";
    let json: serde_json::Value = client.get(path).await?;
    let document: AuditDocument = Deserialize::deserialize(&json)
        .map_err(|source| ClientError::Answer { request: format!("GET {path}"), source })?;
    let text = if args.json {
        format!("{json:#}\n")
    } else {
        render::audit::render(&document, out.style())
    };
    out.print(&text)?;
    Ok(if document.adds_up() { EXIT_OK } else { EXIT_FAILING })
}

async fn replay(client: &ControlClient, out: &mut Output) -> anyhow::Result<u8> {
    let message = client.order("/v1/logs/replay").await?;
    out.print(&format!("{message}\n"))?;
    Ok(EXIT_OK)
}

fn tone(level: Level) -> Option<Tone> {
    match level {
        Level::Fatal | Level::Error => Some(Tone::Bad),
        Level::Warn => Some(Tone::Caution),
        Level::Info => None,
        Level::Debug | Level::Trace => Some(Tone::Faint),
    }
}

fn path(args: &LogsArgs) -> String {
    let since = args.since.map(|since| since.from(clock::wall()).0.to_string());
    let parameters = [
        ("tier", args.tier.as_ref().map(ToString::to_string)),
        ("process", args.process.as_ref().map(ToString::to_string)),
        ("since", since),
        ("grep", args.grep.as_ref().map(ToString::to_string)),
        ("follow", args.follow.then(|| "1".to_owned())),
    ];
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in parameters {
        if let Some(value) = value {
            query.append_pair(name, &value);
        }
    }
    let query = query.finish();
    if query.is_empty() { "/v1/logs".to_owned() } else { format!("/v1/logs?{query}") }
}
