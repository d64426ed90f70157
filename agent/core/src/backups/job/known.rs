//! What is remembered of records: the newest of each kind, and for how long the others.

use super::Job;
use crate::backups::Kind;
use crate::backups::limits::CLOSING_TIME;
use crate::backups::proof::Level;
use crate::backups::record::{Outcome, Record, RecordKey};
use crate::backups::slot::Slot;
use crate::backups::taking::seconds;

impl Job {
    /// The newest slot that has a backup.
    pub(super) fn newest_done(&self) -> Option<(Slot, &Record)> {
        self.newest_done_of(|_| true)
    }

    /// The newest slot that has a backup, of some slots.
    pub(super) fn newest_done_of(&self, wanted: impl Fn(Slot) -> bool) -> Option<(Slot, &Record)> {
        let run = |(key, record): (&RecordKey, &Record)| match key {
            RecordKey::Run(slot) if record.outcome.backup().is_some() => Some(*slot),
            RecordKey::Run(_)
            | RecordKey::Copy(..)
            | RecordKey::Retention(..)
            | RecordKey::Proof(..)
            | RecordKey::Unproved(_) => None,
        };
        let runs = self
            .records
            .iter()
            .filter_map(|(key, record)| run((key, record)).map(|slot| (slot, record)));
        runs.filter(|(slot, _)| wanted(*slot)).max_by_key(|(slot, _)| (slot.at_s, slot.nominal))
    }

    /// Records of slots that are not looked after any more are forgotten, but for the newest
    /// backup's and the newest proofs; so are tasks that nobody waits for, and orders that are
    /// done.
    pub(super) fn forget_old(&mut self) {
        let kept = seconds(self.settings.catch_up + CLOSING_TIME * 2);
        let oldest_s = self.now_s().saturating_sub(kept);
        let newest = self.newest_done().map(|(slot, _)| slot);
        let due = self.calendar.due.first().copied();
        let stays = |slot: Slot| slot.at_s >= oldest_s || Some(slot) == newest || Some(slot) == due;
        let proved = |record: &Record| matches!(record.outcome, Outcome::Proved { .. });
        let proofs: Vec<RecordKey> = Level::ALL
            .into_iter()
            .flat_map(|level| {
                [self.newest_proof(level, |_| true), self.newest_proof(level, proved)]
            })
            .filter_map(|found| found.map(|(key, _)| key.clone()))
            .collect();
        self.records.retain(|key, _| stays(key.slot()) || proofs.contains(key));
        self.tasks.retain(|key, task| stays(key.slot()) || task.is_working());
        let (records, copies) = (&self.records, &self.settings.copies);
        let is_open = |slot: &Slot| {
            let Some(run) = records.get(&RecordKey::Run(*slot)) else { return true };
            let copied = |region: &String| RecordKey::Copy(*slot, region.clone());
            run.outcome.backup().is_some()
                && self.settings.kind == Kind::RdsSnapshot
                && copies.iter().any(|copy| !records.contains_key(&copied(&copy.region)))
        };
        self.wanted.retain(|slot| slot.at_s >= oldest_s && is_open(slot));
    }

    /// The newest that is known of a level, of some records.
    pub(super) fn newest_proof(
        &self,
        level: Level,
        wanted: impl Fn(&Record) -> bool,
    ) -> Option<(&RecordKey, &Record)> {
        let proofs = self.records.iter().filter(|(key, _)| key.is_proof_at(level));
        proofs.filter(|(_, record)| wanted(record)).max_by_key(|(key, _)| key.slot().at_s)
    }
}
