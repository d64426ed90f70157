//! What a job is at: each task ends with one record. Only passes on; the tasks decide.

use crate::backups::call::{Answer, Ticket};
use crate::backups::dumping::Dumping;
use crate::backups::proving::Proving;
use crate::backups::record::Record;
use crate::backups::sweeping::Sweeping;
use crate::backups::taking::Taking;
use crate::backups::turn::Turn;
use crate::time::Moment;

/// What ends with one record.
#[derive(Debug, Clone)]
pub(super) enum Task {
    Taking(Box<Taking>),
    Dumping(Box<Dumping>),
    Proving(Box<Proving>),
    Sweeping(Box<Sweeping>),
}

impl Task {
    pub(super) fn takes(&mut self, ticket: Ticket) -> bool {
        match self {
            Self::Taking(task) => task.takes(ticket),
            Self::Dumping(task) => task.takes(ticket),
            Self::Proving(task) => task.takes(ticket),
            Self::Sweeping(task) => task.takes(ticket),
        }
    }

    pub(super) fn answered(&mut self, turn: &mut Turn<'_>, answer: Answer) {
        match self {
            Self::Taking(task) => task.answered(turn, answer),
            Self::Dumping(task) => task.answered(turn, answer),
            Self::Proving(task) => task.answered(turn, answer),
            Self::Sweeping(task) => task.answered(turn, answer),
        }
    }

    pub(super) fn go(&mut self, turn: &mut Turn<'_>) {
        match self {
            Self::Taking(task) => task.go(turn),
            Self::Dumping(task) => task.go(turn),
            Self::Proving(task) => task.go(turn),
            Self::Sweeping(task) => task.go(turn),
        }
    }

    pub(super) fn wake(&self) -> Moment {
        match self {
            Self::Taking(task) => task.wake(),
            Self::Dumping(task) => task.wake(),
            Self::Proving(task) => task.wake(),
            Self::Sweeping(task) => task.wake(),
        }
    }

    pub(super) fn ended(&self) -> Option<&Record> {
        match self {
            Self::Taking(task) => task.ended(),
            Self::Dumping(task) => task.ended(),
            Self::Proving(task) => task.ended(),
            Self::Sweeping(task) => task.ended(),
        }
    }

    pub(super) fn set_newest(&mut self, newest: bool) {
        match self {
            Self::Taking(task) => task.newest = newest,
            Self::Dumping(task) => task.newest = newest,
            Self::Proving(_) | Self::Sweeping(_) => {}
        }
    }

    /// Whether the shell works for it.
    pub(super) fn is_working(&self) -> bool {
        match self {
            Self::Dumping(task) => task.is_working(),
            Self::Proving(task) => task.is_working(),
            Self::Taking(_) | Self::Sweeping(_) => false,
        }
    }

    pub(super) fn obstacle(&self) -> Option<&str> {
        match self {
            Self::Taking(task) => task.obstacle(),
            Self::Dumping(task) => task.obstacle(),
            Self::Proving(_) | Self::Sweeping(_) => None,
        }
    }
}
