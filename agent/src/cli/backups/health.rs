//! Whether a job fails: what the agent of this host says of it, or without one what the fleet wrote
//! down. Retention by hand deletes nothing of a job that fails, nor of one that nobody knows about.

use std::time::Duration;

use groundcrew_core::backups::backup::BackupState;
use groundcrew_core::backups::call::{CallError, CallErrorKind};
use groundcrew_core::backups::limits::{CLOSING_TIME, SLOTS_DUE_MAX};
use groundcrew_core::backups::proof::Level;
use groundcrew_core::backups::record::{Outcome, RecordKey};
use groundcrew_core::backups::status::{JobState, JobStatus};
use groundcrew_core::status::StatusDocument;

use super::jobs::{AtHand, Found};
use crate::clock;
use crate::control::client::ControlClient;

/// How long an agent may take to say how its jobs are.
const STATUS_WITHIN: Duration = Duration::from_secs(1);

/// How a job is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// Nothing is known against it.
    Fine,
    /// Why it fails.
    Failing(String),
    /// Why nobody can say.
    Unknown(String),
}

/// The jobs as the agent of this host knows them; none, where no agent runs.
pub(super) async fn of_agent(client: &ControlClient) -> Vec<JobStatus> {
    let asked = client.get::<StatusDocument>("/v1/status");
    match tokio::time::timeout(STATUS_WITHIN, asked).await {
        Ok(Ok(status)) => status.backups,
        Ok(Err(_)) | Err(_) => Vec::new(),
    }
}

/// How a job is. `home` is what it has at home.
pub(super) async fn of(job: &AtHand, agent: &[JobStatus], home: &[Found]) -> Health {
    let known = agent.iter().find(|status| status.name == job.name());
    match known.filter(|status| status.state != JobState::Unknown) {
        Some(status) if status.is_failing() => {
            Health::Failing(status.reason.clone().unwrap_or_else(|| "no good backup".into()))
        }
        Some(_) => Health::Fine,
        None => match written(job, home).await {
            Ok(Some(reason)) => Health::Failing(reason),
            Ok(None) => Health::Fine,
            Err(error) => Health::Unknown(error.text),
        },
    }
}

/// Why it fails by its records: those of its newest slot, and of the proofs of its newest backup.
async fn written(job: &AtHand, home: &[Found]) -> Result<Option<String>, CallError> {
    let settings = job.job();
    let now_s = clock::wall().0.div_euclid(1000);
    let since = settings.catch_up + CLOSING_TIME;
    let since_s = now_s.saturating_sub(i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
    let due = settings.schedule.slots(&settings.zone, since_s, now_s, SLOTS_DUE_MAX);
    if let Some(slot) = due.first()
        && let Some(record) = job.read(&RecordKey::Run(*slot)).await?
        && let Outcome::Failed { reason } | Outcome::Abandoned { reason } = &record.outcome
    {
        return Ok(Some(reason.clone()));
    }
    let available = home.iter().filter(|one| one.backup.state == BackupState::Available);
    let slots = available.filter_map(|one| job.slot(&one.backup).map(|slot| (slot, one)));
    let Some((slot, newest)) = slots.max_by_key(|(slot, _)| slot.at_s) else { return Ok(None) };
    // A bucket that does not know of the newest backup is another's, or was emptied.
    if job.read(&RecordKey::Run(slot)).await?.is_none() {
        let text = format!("the bucket has no record of {}", newest.backup.id);
        return Err(CallError { kind: CallErrorKind::Refused, text });
    }
    let levels = Level::ALL.into_iter().filter(|level| level.applies_to(settings.kind));
    let proofs = levels.map(|level| (level, RecordKey::Proof(slot, level)));
    for (level, key) in proofs.chain([(Level::L3, RecordKey::Unproved(slot))]) {
        let Some(record) = job.read(&key).await? else { continue };
        // The month's proof by RDS is another backup's, unless it says this slot.
        let of_slot = record.key.slot().nominal == slot.nominal;
        let id = &newest.backup.id;
        match &record.outcome {
            Outcome::Refuted { .. } if of_slot => {
                return Ok(Some(format!("{id} is bad: {level} is refuted")));
            }
            Outcome::Abandoned { reason } | Outcome::Failed { reason } if of_slot => {
                return Ok(Some(format!("{level} of {id} was not proved: {reason}")));
            }
            Outcome::Refuted { .. }
            | Outcome::Abandoned { .. }
            | Outcome::Failed { .. }
            | Outcome::Done { .. }
            | Outcome::Skipped(_)
            | Outcome::Planned { .. }
            | Outcome::Proved { .. } => {}
        }
    }
    Ok(None)
}
