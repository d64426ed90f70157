//! `groundcrew backups run`: asks the agent for a backup now, and follows it.

use groundcrew_core::backups::status::{JobState, JobStatus};
use groundcrew_core::status::{EventStatus, StatusDocument, Topic};
use groundcrew_core::time::Wall;
use serde::Serialize;

use super::super::args::RunArgs;
use super::super::render::human::clean;
use super::super::terminal::Output;
use super::super::{EXIT_FAILING, EXIT_OK};
use crate::clock;
use crate::control::client::{ClientError, ControlClient};

/// What is printed as JSON at the end.
#[derive(Debug, Serialize)]
struct Document<'a> {
    job: &'a str,
    done: bool,
    id: Option<&'a str>,
    reason: Option<&'a str>,
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Done(String),
    Failed(String),
}

pub(super) async fn run(
    args: &RunArgs,
    json: bool,
    client: &ControlClient,
    out: &mut Output,
) -> anyhow::Result<u8> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("name", &args.job);
    // The slot of what a person asks for is the minute in which the agent hears of it.
    let since = Wall(clock::wall().0.div_euclid(60_000) * 60_000);
    let message = client.order(&format!("/v1/backups/run?{}", query.finish())).await?;
    if args.no_wait {
        let text = if json {
            format!("{:#}\n", serde_json::json!({ "job": args.job }))
        } else {
            format!("{message}\n")
        };
        out.print(&text)?;
        return Ok(EXIT_OK);
    }
    if !json {
        out.print(&format!("{message}\n"))?;
    }
    let end = follow(args, since, json, client, out).await?;
    let (done, id, reason) = match &end {
        End::Done(id) => (true, Some(id.as_str()), None),
        End::Failed(reason) => (false, None, Some(reason.as_str())),
    };
    if json {
        let document = Document { job: &args.job, done, id, reason };
        out.print(&format!("{:#}\n", serde_json::to_value(document)?))?;
    } else {
        let words = match &end {
            End::Done(id) => format!("{}: {} is there\n", args.job, clean(id)),
            End::Failed(reason) => format!("{}: failed: {}\n", args.job, clean(reason)),
        };
        out.print(&words)?;
    }
    Ok(if done { EXIT_OK } else { EXIT_FAILING })
}

/// Shows what happens to the job until its backup is there, or cannot be.
async fn follow(
    args: &RunArgs,
    since: Wall,
    json: bool,
    client: &ControlClient,
    out: &mut Output,
) -> anyhow::Result<End> {
    let mut stream = client.stream("/v1/status?watch=1").await?;
    let mut shown: Option<String> = None;
    let mut told = since;
    loop {
        let document: StatusDocument = stream.next_of_endless().await?;
        let Some(job) = document.backups.iter().find(|job| job.name == args.job) else {
            return Err(ClientError::Gone { socket: client.socket().to_owned() }.into());
        };
        let news: Vec<_> = document
            .events
            .iter()
            .rev()
            .filter(|event| {
                event.at > told && event.subject.backup.as_deref() == Some(args.job.as_str())
            })
            .collect();
        told = news.last().map_or(told, |event| event.at);
        if !json {
            for event in &news {
                out.print(&format!("  {}\n", clean(&event.text)))?;
            }
            let standing = job.reason.clone().filter(|_| job.state == JobState::Running);
            if standing.is_some() && standing != shown {
                out.print(&format!("  {}\n", clean(standing.as_deref().unwrap_or_default())))?;
                shown = standing;
            }
        }
        if let Some(end) = ended(job, &news, since) {
            return Ok(end);
        }
    }
}

fn ended(job: &JobStatus, news: &[&EventStatus], since: Wall) -> Option<End> {
    if let Some(good) = job.last_good.as_ref().filter(|good| good.slot >= since) {
        return Some(End::Done(good.id.clone()));
    }
    let failed = news.iter().find(|event| event.topic == Topic::BackupFailed)?;
    Some(End::Failed(failed.text.clone()))
}

#[cfg(test)]
mod tests {
    use groundcrew_core::backups::Kind;
    use groundcrew_core::backups::status::GoodStatus;
    use groundcrew_core::status::EventLevel;

    use super::*;

    #[test]
    fn only_a_backup_since_then_ends_it_or_a_failure() {
        let good = |slot| GoodStatus { id: "gc-a".into(), slot, level: None, refuted: Vec::new() };
        let job = |slot| JobStatus {
            name: "shop".into(),
            kind: Kind::RdsSnapshot,
            database: "db".into(),
            state: JobState::Running,
            reason: None,
            last_good: Some(good(slot)),
            last_verified: None,
            next: None,
            late_ms: None,
            copies: Vec::new(),
            clock_ahead_ms: None,
        };
        let since = Wall(60_000);
        assert_eq!(ended(&job(Wall(0)), &[], since), None);
        assert_eq!(ended(&job(since), &[], since), Some(End::Done("gc-a".into())));
        let event = EventStatus::new(Wall(61_000), EventLevel::Error, "no".into());
        assert_eq!(ended(&job(Wall(0)), &[&event], since), None);
        let failed = EventStatus { topic: Topic::BackupFailed, ..event };
        assert_eq!(ended(&job(Wall(0)), &[&failed], since), Some(End::Failed("no".into())));
    }
}
