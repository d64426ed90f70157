//! What stands in the way of a snapshot or a copy: the source's state, and what else is there.

use super::{From, Stage, Taking};
use crate::backups::backup::{Backup, BackupState, reason};
use crate::backups::database::{Database, Gate, gate};
use crate::backups::limits::{ATTEMPTS_MAX, RETRY_PERSON};
use crate::backups::record::{Outcome, Skip};
use crate::backups::slot::Slot;
use crate::backups::turn::Turn;
use crate::restart::jittered;

impl Taking {
    pub(super) fn database(&mut self, turn: &mut Turn<'_>, database: Option<Database>) {
        if let Some(found) = &database {
            turn.target = Some(found.target.clone());
        }
        (*turn.database).clone_from(&database);
        // Asked for the API only: the snapshot may be there whatever the database does. Another
        // slot's answer may have come first, so that the API being known says nothing.
        if database.is_some() && !matches!(self.stage, Stage::Gate) {
            return;
        }
        let Some(database) = database else {
            let text = format!("there is no database {}", turn.job.database);
            self.person(turn, &text);
            return self.block(turn, text);
        };
        let status = reason(&database.status);
        match gate(&status) {
            Gate::Go => self.stage = Stage::List { source: String::new() },
            Gate::Wait => self.wait(turn, format!("the database is {status}")),
            Gate::Skip => self.end(Outcome::Skipped(Skip::Stopped)),
            Gate::Page => {
                let text = format!("the database is {status}");
                self.person(turn, &text);
                self.block(turn, text);
            }
        }
    }

    /// Only a person can help; the next round comes much later. It is ended by its deadline.
    fn block(&mut self, turn: &Turn<'_>, obstacle: String) {
        if self.is_over(turn) {
            return self.end(Outcome::Abandoned { reason: obstacle });
        }
        self.obstacle = Some(obstacle);
        self.asking.pause(turn.now.at, jittered(RETRY_PERSON, turn.random));
        self.stage = Stage::Read;
    }

    /// The source of a copy.
    pub(super) fn source(&mut self, turn: &mut Turn<'_>, seen: Option<Backup>) {
        match seen.map(|source| (source.state, source.arn)) {
            Some((BackupState::Available, arn)) => self.stage = Stage::List { source: arn },
            Some((BackupState::Underway, _)) => {
                self.wait(turn, "its source is not available yet".to_owned());
            }
            // A listing may be behind: what was recorded as available was there.
            None if self.asking_again() => {
                self.wait(turn, "its source does not show".to_owned());
            }
            None | Some((BackupState::Deleting | BackupState::Failed(_), _)) => {
                self.end(Outcome::Failed { reason: "its source is gone".to_owned() });
            }
        }
    }

    /// A few looks before what does not show counts as gone.
    fn asking_again(&mut self) -> bool {
        self.polls = self.polls.saturating_add(1);
        self.polls < 8
    }

    pub(super) fn listed(&mut self, turn: &mut Turn<'_>, backups: &[Backup]) {
        let Stage::List { source } = &self.stage else { return };
        let source = source.clone();
        let slot = self.key.slot();
        let failed = |backup: &Backup| matches!(backup.state, BackupState::Failed(_));
        let marked = backups.iter().filter(|backup| !failed(backup));
        let marked = marked.filter_map(|backup| Some((backup, backup.marks.as_ref()?)));
        let of_job: Vec<_> =
            marked.filter(|(_, marks)| marks.job == turn.job.name.as_str()).collect();
        let same = of_job.iter().find(|(_, marks)| marks.is_of(&turn.job.name, slot));
        if let Some((_, marks)) = same
            && marks.attempt != self.attempt
            && marks.attempt < ATTEMPTS_MAX
        {
            // Another host is further.
            self.attempt = marks.attempt;
            self.stage = Stage::Look;
            return;
        }
        match &self.from {
            From::Database { force: false } => {
                let near = near_s(turn, slot);
                let recent = of_job.iter().find(|(backup, marks)| {
                    backup.state == BackupState::Available
                        && !marks.is_of(&turn.job.name, slot)
                        && (marks.at_s - slot.at_s).abs() < near
                });
                if let Some((backup, _)) = recent {
                    return self.end(Outcome::Skipped(Skip::Recent(backup.id.clone())));
                }
            }
            From::Database { force: true } => {}
            From::Snapshot { in_flight_max, .. } => {
                let underway = |backup: &&Backup| backup.state == BackupState::Underway;
                let in_flight = backups.iter().filter(underway).count();
                if in_flight >= *in_flight_max {
                    return self.wait(turn, format!("{in_flight} copies are under way"));
                }
            }
        }
        self.stage = Stage::Make { source };
    }
}

/// Half the time between a slot and the one before, in seconds.
fn near_s(turn: &Turn<'_>, slot: Slot) -> i64 {
    let before = turn.job.schedule.before(&turn.job.zone, slot);
    before.map_or(0, |before| (slot.at_s - before.at_s) / 2)
}
