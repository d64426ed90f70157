//! `groundcrew backups run`: asks the agent for a backup now, and follows it.

use std::time::Duration;

use groundcrew_core::backups::record::Outcome;
use groundcrew_core::backups::status::JobState;
use groundcrew_core::status::{EventStatus, StatusDocument};
use groundcrew_core::time::Wall;
use serde::Serialize;

use super::super::args::RunArgs;
use super::super::render::human::clean;
use super::super::terminal::Output;
use super::super::{EXIT_FAILING, EXIT_OK};
use crate::control::client::ControlClient;
use crate::control::{BackupRun, OrderedBackup};

/// Pause between two questions about the slot.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is printed as JSON at the end.
#[derive(Debug, Serialize)]
struct Document<'a> {
    job: &'a str,
    slot: &'a str,
    done: bool,
    id: Option<&'a str>,
    reason: Option<&'a str>,
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Done(String),
    Skipped(String),
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
    let order = format!("/v1/backups/run?{}", query.finish());
    let OrderedBackup { message, slot } = client.post(&order).await?;
    if args.no_wait {
        let text = if json {
            format!("{:#}\n", serde_json::json!({ "job": args.job, "slot": slot }))
        } else {
            format!("{message}\n")
        };
        out.print(&text)?;
        return Ok(EXIT_OK);
    }
    if !json {
        out.print(&format!("{message}\n"))?;
    }
    let end = follow(args, &slot, json, client, out).await?;
    let (done, id, reason) = match &end {
        End::Done(id) => (true, Some(id.as_str()), None),
        End::Skipped(reason) | End::Failed(reason) => (false, None, Some(reason.as_str())),
    };
    if json {
        let document = Document { job: &args.job, slot: &slot, done, id, reason };
        out.print(&format!("{:#}\n", serde_json::to_value(document)?))?;
    } else {
        let words = match &end {
            End::Done(id) => format!("{}: {} is there\n", args.job, clean(id)),
            End::Skipped(reason) => format!("{}: skipped: {}\n", args.job, clean(reason)),
            End::Failed(reason) => format!("{}: failed: {}\n", args.job, clean(reason)),
        };
        out.print(&words)?;
    }
    Ok(if done { EXIT_OK } else { EXIT_FAILING })
}

/// Shows what happens to the job until the slot that was ordered has its record. What becomes of
/// other slots is shown, and ends nothing.
async fn follow(
    args: &RunArgs,
    slot: &str,
    json: bool,
    client: &ControlClient,
    out: &mut Output,
) -> anyhow::Result<End> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("name", &args.job).append_pair("slot", slot);
    let question = format!("/v1/backups/run?{}", query.finish());
    let mut stream = client.stream("/v1/status?watch=1").await?;
    let mut looks = tokio::time::interval(LOOK_EVERY);
    let mut shown = Shown::default();
    loop {
        tokio::select! {
            document = stream.next_of_endless::<StatusDocument>() => {
                if !json {
                    shown.print(&document?, &args.job, out)?;
                }
            }
            _ = looks.tick() => {
                let BackupRun { outcome } = client.get(&question).await?;
                if let Some(end) = outcome.as_ref().and_then(ended) {
                    return Ok(end);
                }
            }
        }
    }
}

/// What was printed already.
#[derive(Default)]
struct Shown {
    standing: Option<String>,
    told: Option<Wall>,
}

impl Shown {
    /// Prints what is new of the job. What was there when it was ordered is not.
    fn print(
        &mut self,
        document: &StatusDocument,
        job: &str,
        out: &mut Output,
    ) -> anyhow::Result<()> {
        let told = *self.told.get_or_insert(document.now);
        let of_job =
            |event: &&EventStatus| event.at > told && event.subject.backup.as_deref() == Some(job);
        for event in document.events.iter().rev().filter(of_job) {
            out.print(&format!("  {}\n", clean(&event.text)))?;
            self.told = Some(event.at);
        }
        let job = document.backups.iter().find(|known| known.name == job);
        let running = job.filter(|job| job.state == JobState::Running);
        let standing = running.and_then(|job| job.reason.clone());
        if standing.is_some() && standing != self.standing {
            out.print(&format!("  {}\n", clean(standing.as_deref().unwrap_or_default())))?;
            self.standing = standing;
        }
        Ok(())
    }
}

/// The end that the slot's record says; `None`: it is about something else.
fn ended(outcome: &Outcome) -> Option<End> {
    match outcome {
        Outcome::Done { id, .. } => Some(End::Done(id.clone())),
        Outcome::Skipped(skip) => Some(End::Skipped(skip.to_string())),
        Outcome::Failed { reason } | Outcome::Abandoned { reason } => {
            Some(End::Failed(reason.clone()))
        }
        Outcome::Planned { .. } | Outcome::Proved { .. } | Outcome::Refuted { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use groundcrew_core::backups::database::Target;
    use groundcrew_core::backups::record::Skip;

    use super::*;

    #[test]
    fn every_end_of_a_slot_is_one_here() {
        let (id, target) = ("gc-a".to_owned(), Target::Instance);
        let done = Outcome::Done { id, target, late: false, bytes: None };
        assert_eq!(ended(&done), Some(End::Done("gc-a".into())));
        let stopped = Outcome::Skipped(Skip::Stopped);
        assert_eq!(ended(&stopped), Some(End::Skipped("the database is stopped".into())));
        let failed = Outcome::Failed { reason: "no".into() };
        assert_eq!(ended(&failed), Some(End::Failed("no".into())));
        let late = Outcome::Abandoned { reason: "late".into() };
        assert_eq!(ended(&late), Some(End::Failed("late".into())));
        assert_eq!(ended(&Outcome::Proved { took_ms: 1 }), None);
    }
}
