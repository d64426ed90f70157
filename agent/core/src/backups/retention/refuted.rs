//! Backups that are known to be bad: the rules are read once with them and once without, and what
//! either keeps stays. So a bad one never takes the place of the good one beside it, and nothing
//! goes sooner because somebody's key or server was the wrong one.
//!
//! What was proved lies in the bucket, one object for each slot and level: what is to be read is
//! asked for one by one, and only while something would go.

use std::collections::{BTreeMap, BTreeSet};

use super::Plan;
use crate::backups::JobSettings;
use crate::backups::backup::{Backup, BackupState};
use crate::backups::proof::Level;
use crate::backups::record::{Outcome, Record, RecordKey};

/// What is known of proofs that failed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Refuted {
    asked: BTreeSet<RecordKey>,
    /// Their slots, in seconds since 1970-01-01 UTC.
    slots: BTreeSet<i64>,
}

impl Refuted {
    /// The next record to read before `plan` can be followed; `None`: it can be.
    #[must_use]
    pub fn question(
        &self,
        job: &JobSettings,
        backups: &[Backup],
        plan: &Plan,
    ) -> Option<RecordKey> {
        if plan.delete.is_empty() {
            return None;
        }
        let by_id: BTreeMap<&str, &Backup> =
            backups.iter().map(|backup| (backup.id.as_str(), backup)).collect();
        let stays = plan.verdicts.iter().filter(|verdict| verdict.keep);
        let stays = stays.filter_map(|verdict| by_id.get(verdict.id.as_str()));
        let slots = stays
            .filter(|backup| backup.state == BackupState::Available)
            .filter_map(|backup| backup.slot(&job.name));
        let applies = |level: &Level| job.levels.contains(level) && level.applies_to(job.kind);
        let keys = slots.flat_map(|slot| {
            Level::ALL.into_iter().filter(applies).filter_map(move |level| match level {
                // It is about copies and tags, too, and not about what can be read.
                Level::L0 => None,
                Level::L1 | Level::L2 => Some(RecordKey::Proof(slot, level)),
                Level::L3 => Some(RecordKey::Unproved(slot)),
            })
        });
        keys.into_iter().find(|key| !self.asked.contains(key))
    }

    /// What was asked for.
    pub fn answer(&mut self, key: RecordKey, record: Option<&Record>) {
        if record.is_some_and(|record| matches!(record.outcome, Outcome::Refuted { .. })) {
            self.slots.insert(key.slot().at_s);
        }
        self.asked.insert(key);
    }

    pub(super) fn contains(&self, at_s: i64) -> bool {
        self.slots.contains(&at_s)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}
