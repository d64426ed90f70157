//! What `status` says about a job: plain data from what is known on this host.

use super::Job;
use crate::backups::Kind;
use crate::backups::proof::Level;
use crate::backups::record::{Outcome, Record, RecordKey};
use crate::backups::slot::Slot;
use crate::backups::status::{CopyStatus, GoodStatus, JobState, JobStatus, VerifiedStatus};
use crate::time::Wall;

impl Job {
    /// How the job is, as far as this host knows. A host that has just come knows what it has read
    /// so far.
    #[must_use]
    pub fn describe(&self) -> JobStatus {
        let newest = self.calendar.due.first().copied();
        let run = newest.and_then(|slot| self.records.get(&RecordKey::Run(slot)));
        let late = newest.filter(|_| run.is_none());
        let last_good = self.newest_done().and_then(|(slot, run)| self.good(slot, run));
        let (state, reason) = self.state(newest, run, last_good.as_ref());
        JobStatus {
            name: self.settings.name.to_string(),
            kind: self.settings.kind,
            database: self.settings.database.clone(),
            state,
            reason,
            last_good,
            last_verified: self.verified(),
            next: self.calendar.next.map(|slot| Wall(slot.at_ms())),
            late_ms: late.map(|slot| self.since_ms(slot.at_ms())),
            copies: self.copies(),
            clock_ahead_ms: self.clock_ahead_ms,
        }
    }

    pub(super) fn since_ms(&self, at_ms: i64) -> u64 {
        u64::try_from(self.stepped.wall.0.saturating_sub(at_ms)).unwrap_or(0)
    }

    /// Failing comes before running: a slot on the way does not mend the one before.
    fn state(
        &self,
        newest: Option<Slot>,
        run: Option<&Record>,
        good: Option<&GoodStatus>,
    ) -> (JobState, Option<String>) {
        let failing = |reason: String| (JobState::Failing, Some(reason));
        if let Some(reason) = self.newest_done().and_then(|(slot, run)| self.doubt(slot, run)) {
            return failing(reason);
        }
        if let Some(Outcome::Failed { reason } | Outcome::Abandoned { reason }) =
            run.map(|run| &run.outcome)
        {
            return failing(reason.clone());
        }
        let stale_ms = crate::time::ms(self.calendar.stale_after);
        if let Some(good) = good
            && self.since_ms(good.slot.0) > stale_ms
        {
            return failing(format!("no backup since that of {}", good.id));
        }
        if !self.clock_ok() {
            return failing("this host's clock is wrong, so it begins nothing".to_owned());
        }
        match (newest, run) {
            (Some(slot), None) => {
                let task = self.tasks.get(&RecordKey::Run(slot));
                let obstacle = task.and_then(|task| task.obstacle()).map(str::to_owned);
                (JobState::Running, obstacle)
            }
            (_, Some(run)) => {
                let skipped = match &run.outcome {
                    Outcome::Skipped(skip) => Some(skip.to_string()),
                    Outcome::Done { .. }
                    | Outcome::Failed { .. }
                    | Outcome::Abandoned { .. }
                    | Outcome::Planned { .. }
                    | Outcome::Proved { .. }
                    | Outcome::Refuted { .. } => None,
                };
                (JobState::Ok, skipped)
            }
            (None, None) if good.is_some() => (JobState::Ok, None),
            (None, None) => (JobState::Unknown, None),
        }
    }

    /// Why the backup of a slot is bad, or may be, as a clause.
    pub(super) fn doubt(&self, slot: Slot, run: &Record) -> Option<String> {
        let (id, _) = run.outcome.backup()?;
        let levels = Level::ALL.into_iter().filter(|level| self.proves(*level));
        // The newest that is known: until another one is proved, the level is in doubt.
        let of_level = |level: Level| self.newest_proof(level, |_| true).map(|(_, record)| record);
        levels.filter_map(|level| Some((level, of_level(level)?))).find_map(|(level, record)| {
            let of = record.key.slot();
            let of = if of == slot { id.to_owned() } else { format!("the backup of slot {of}") };
            match &record.outcome {
                Outcome::Refuted { findings } => {
                    let why = findings.first().map_or("", String::as_str);
                    Some(format!("{of} is bad: {level} is refuted: {why}"))
                }
                Outcome::Abandoned { reason } | Outcome::Failed { reason } => {
                    Some(format!("{level} of {of} was not proved: {reason}"))
                }
                Outcome::Done { .. }
                | Outcome::Skipped(_)
                | Outcome::Planned { .. }
                | Outcome::Proved { .. } => None,
            }
        })
    }

    fn good(&self, slot: Slot, run: &Record) -> Option<GoodStatus> {
        let (id, _) = run.outcome.backup()?;
        let at = |level: &Level| self.records.get(&RecordKey::Proof(slot, *level));
        let proved = |level: &Level| {
            at(level).is_some_and(|record| {
                // The month's proof by RDS is another backup's, unless it says this slot.
                record.key.slot() == slot && matches!(record.outcome, Outcome::Proved { .. })
            })
        };
        let refuted = |level: &Level| {
            at(level).is_some_and(|record| {
                record.key.slot() == slot && matches!(record.outcome, Outcome::Refuted { .. })
            })
        };
        Some(GoodStatus {
            id: id.to_owned(),
            slot: Wall(slot.at_ms()),
            level: Level::ALL.into_iter().rev().find(proved),
            refuted: Level::ALL.into_iter().filter(refuted).collect(),
        })
    }

    fn verified(&self) -> Option<VerifiedStatus> {
        let proof = |record: &Record| match (&record.key, &record.outcome) {
            (RecordKey::Proof(slot, level), Outcome::Proved { took_ms }) => Some(VerifiedStatus {
                level: *level,
                at: record.at,
                slot: Wall(slot.at_ms()),
                took_ms: *took_ms,
            }),
            (
                RecordKey::Run(_)
                | RecordKey::Copy(..)
                | RecordKey::Retention(..)
                | RecordKey::Proof(..)
                | RecordKey::Unproved(_),
                _,
            ) => None,
        };
        self.records.values().filter_map(proof).max_by_key(|proof| (proof.slot, proof.level))
    }

    fn copies(&self) -> Vec<CopyStatus> {
        let Some((slot, run)) = self.newest_done() else { return Vec::new() };
        let regions = self.settings.copies.iter().map(|copy| &copy.region);
        let regions = regions.filter(|_| self.settings.kind == Kind::RdsSnapshot);
        let one = |region: &String| {
            let key = RecordKey::Copy(slot, region.clone());
            let record = self.records.get(&key);
            let ended = record.map_or(self.stepped.wall, |record| record.at);
            let lag_ms = u64::try_from(ended.0.saturating_sub(run.at.0)).unwrap_or(0);
            let reason = match record.map(|record| &record.outcome) {
                Some(Outcome::Failed { reason } | Outcome::Abandoned { reason }) => {
                    Some(reason.clone())
                }
                Some(Outcome::Skipped(skip)) => Some(skip.to_string()),
                Some(
                    Outcome::Done { .. }
                    | Outcome::Planned { .. }
                    | Outcome::Proved { .. }
                    | Outcome::Refuted { .. },
                ) => None,
                None => {
                    let task = self.tasks.get(&key);
                    task.and_then(|task| task.obstacle()).map(str::to_owned)
                }
            };
            let done = record.map(|record| record.outcome.backup().is_some());
            CopyStatus { region: region.clone(), done, lag_ms, reason }
        };
        regions.map(one).collect()
    }
}
