//! What the log says of calls: what changes something, before it is asked for; and what failed.

use groundcrew_core::backups::call::{Answer, Call, CallError};
use groundcrew_core::backups::lease::LeaseAnswer;
use groundcrew_core::backups::slot::JobName;

/// Says what is about to be changed. Looks are not worth a line.
pub(super) fn say(job: &JobName, call: &Call) {
    if let Some(text) = words(call) {
        tracing::info!("backup {job}: {text}");
    }
}

fn words(call: &Call) -> Option<String> {
    Some(match call {
        Call::Snapshot { id, .. } => format!("asks for snapshot {id}"),
        Call::Copy { region, id, .. } => format!("asks for a copy of {id} to {region}"),
        Call::Delete { place, id, .. } => format!("deletes {id}, {place}"),
        Call::Dump { slot, .. } => format!("dumps slot {slot}"),
        Call::Commit { slot, .. } => format!("commits the dump of slot {slot}"),
        Call::Prove { level, id, .. } => format!("proves {level} of {id}"),
        Call::Restore { id, from, .. } => format!("restores {from} to {id}, to prove it"),
        Call::Destroy { id } => format!("deletes {id}, which was restored for proof"),
        Call::Read(_)
        | Call::Write(_)
        | Call::Database
        | Call::Look { .. }
        | Call::List { .. }
        | Call::Lease(_)
        | Call::Inspect { .. }
        | Call::Mark { .. }
        | Call::Scratches => return None,
    })
}

/// Says why a call failed. Most such failures pass; what does not is told by the job.
pub(super) fn say_failure(job: &JobName, answer: &Answer) {
    if let Some(error) = failure(answer) {
        let text = &error.text;
        if error.needs_person() {
            tracing::warn!("backup {job}: {text}");
        } else {
            tracing::debug!("backup {job}: {text}");
        }
    }
}

fn failure(answer: &Answer) -> Option<&CallError> {
    match answer {
        Answer::Record(answer) => answer.as_ref().err(),
        Answer::Written(answer) | Answer::Committed(answer) => answer.as_ref().err(),
        Answer::Database(answer) => answer.as_ref().err(),
        Answer::Seen(answer) => answer.as_ref().err(),
        Answer::Listed(answer) => answer.as_ref().err(),
        Answer::Made(answer) => answer.as_ref().err(),
        Answer::Deleted(answer) | Answer::Marked(answer) => answer.as_ref().err(),
        Answer::Lease(LeaseAnswer::Read(answer)) => answer.as_ref().err(),
        Answer::Lease(LeaseAnswer::Put(answer)) => answer.as_ref().err(),
        Answer::Dumped(answer) => answer.as_ref().err(),
        Answer::Inspected(answer) => answer.as_ref().err(),
        Answer::Proved(answer) => answer.as_ref().err(),
        Answer::Scratches(answer) => answer.as_ref().err(),
    }
}
