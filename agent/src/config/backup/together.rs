//! What only all jobs together show: names that RDS or a person could not tell apart, and more
//! snapshots than there is room for.

use std::collections::BTreeMap;

use groundcrew_core::backups::civil::DateTime;
use groundcrew_core::backups::limits::INSTANCE_SNAPSHOT_ID_MAX;
use groundcrew_core::backups::proof::Level;
use groundcrew_core::backups::retention::Policy;
use groundcrew_core::backups::settings::BackupSettings;
use groundcrew_core::backups::slot::{Slot, snapshot_id};
use groundcrew_core::backups::{JobSettings, Kind};

use super::period;
use crate::config::reader::{Node, Read};

/// Manual snapshots that an account may have in a region, unless that was raised (rdsdocs: limits).
const SNAPSHOTS_QUOTA: u64 = 100;

/// Refuses what would be mixed up.
pub(super) fn check(items: &[Node<'_, '_>], backups: &[BackupSettings]) -> Read<()> {
    let mut refused = None;
    let jobs = || backups.iter().map(|backup| &backup.job);
    for (at, (job, item)) in jobs().zip(items).enumerate() {
        let name = || item.find(&["name"]);
        for before in jobs().take(at) {
            if before.name == job.name {
                let message = format!("\"{}\" is the name of another one too", job.name);
                refused = Some(name().refuse(message, "each needs its own"));
            } else if snapshots(job) && snapshots(before) && stem(job) == stem(before) {
                let message =
                    format!("its snapshots would have the names of those of {}", before.name);
                refused = Some(
                    name().refuse(message, "choose a name that does not run into the database's"),
                );
            } else if restores(job)
                && restores(before)
                && (begins(job, before) || begins(before, job))
            {
                let message = format!(
                    "instances that are restored for it and for {} have like names",
                    before.name
                );
                refused = Some(
                    name().refuse(message, "choose names of which none begins with the other"),
                );
            }
        }
    }
    refused.map_or(Ok(()), Err)
}

/// Says where there will be too many snapshots.
pub(super) fn warn(node: &Node<'_, '_>, items: &[Node<'_, '_>], backups: &[BackupSettings]) {
    let mut places: BTreeMap<Option<&str>, u64> = BTreeMap::new();
    for job in backups.iter().map(|backup| &backup.job).filter(|job| snapshots(job)) {
        *places.entry(None).or_default() += forecast(job, &job.retention);
        for copy in &job.copies {
            *places.entry(Some(&copy.region)).or_default() += forecast(job, &copy.retention);
        }
    }
    for (place, count) in places.into_iter().filter(|(_, count)| *count > SNAPSHOTS_QUOTA) {
        let place = place.map_or("the databases' region".to_owned(), str::to_owned);
        let message = format!(
            "keeps up to {count} snapshots in {place}, and RDS allows {SNAPSHOTS_QUOTA} unless \
             that was raised"
        );
        let at = if let [only] = items { only } else { node };
        at.warn(message, "keep fewer, raise the quota, or keep what is old as dumps");
    }
}

/// How many a policy keeps at most.
fn forecast(job: &JobSettings, policy: &Policy) -> u64 {
    let period = period::shortest(&job.schedule, &job.zone).as_secs().max(1);
    policy.forecast().max(policy.keep_within.as_secs() / period)
}

fn snapshots(job: &JobSettings) -> bool {
    job.kind == Kind::RdsSnapshot
}

fn restores(job: &JobSettings) -> bool {
    snapshots(job) && job.levels.contains(&Level::L3)
}

/// What the identifiers of its snapshots begin with.
fn stem(job: &JobSettings) -> String {
    let slot = Slot { nominal: DateTime::from_seconds(0), at_s: 0, daily: job.schedule.is_daily() };
    snapshot_id(&job.name, &job.database, slot, 0, INSTANCE_SNAPSHOT_ID_MAX)
}

fn begins(job: &JobSettings, with: &JobSettings) -> bool {
    job.name.as_str().strip_prefix(with.name.as_str()).is_some_and(|rest| rest.starts_with('-'))
}
