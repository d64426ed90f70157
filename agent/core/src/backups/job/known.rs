//! What is remembered of records: the newest of each kind, and for how long the others.

use super::Job;
use crate::backups::limits::CLOSING_TIME;
use crate::backups::proof::Level;
use crate::backups::record::{Outcome, Record, RecordKey};
use crate::backups::slot::Slot;
use crate::backups::taking::seconds;
use crate::backups::{JobSettings, Kind};

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
        if !self.records.keys().all(|key| stays(key.slot())) {
            let proofs = self.newest_proofs();
            self.records.retain(|key, _| stays(key.slot()) || proofs.contains(key));
        }
        self.tasks.retain(|key, task| stays(key.slot()) || task.is_working());
        let mut wanted = std::mem::take(&mut self.wanted);
        wanted.retain(|slot| slot.at_s >= oldest_s && !self.has_ended(*slot));
        self.wanted = wanted;
    }

    /// Whether all copies of a slot's backup have ended, if it has any.
    pub(super) fn copies_are_through(&self, slot: Slot) -> bool {
        let copied =
            |region: &String| self.records.contains_key(&RecordKey::Copy(slot, region.clone()));
        let JobSettings { kind, copies, .. } = &self.settings;
        *kind != Kind::RdsSnapshot || copies.iter().all(|copy| copied(&copy.region))
    }

    /// Whether a slot has ended, and its copies.
    fn has_ended(&self, slot: Slot) -> bool {
        let run = self.records.get(&RecordKey::Run(slot));
        run.is_some_and(|run| run.outcome.backup().is_none() || self.copies_are_through(slot))
    }

    /// Of each level the newest that is known, and the newest that went well.
    fn newest_proofs(&self) -> Vec<RecordKey> {
        let proved = |record: &Record| matches!(record.outcome, Outcome::Proved { .. });
        let of_level =
            |level| [self.newest_proof(level, |_| true), self.newest_proof(level, proved)];
        let found = Level::ALL.into_iter().flat_map(of_level).flatten();
        found.map(|(key, _)| key.clone()).collect()
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
