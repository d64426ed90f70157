//! What is looked at, and how the keys change that. Pure.

use std::cmp::Ordering;

use groundcrew_core::status::{HistoryDocument, ProcessStatus, StatusDocument};
use groundcrew_core::time::Wall;
use ratatui::crossterm::event::{KeyCode, KeyModifiers};

/// What the agent said last.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub status: StatusDocument,
    pub history: HistoryDocument,
    /// What time it is on the host.
    pub now: Wall,
    /// The agent still speaks.
    pub live: bool,
}

/// The columns by which processes are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Process,
    State,
    Memory,
    Cpu,
    Delay,
    Connections,
    Age,
}

pub(super) const COLUMNS: [Column; 7] = [
    Column::Process,
    Column::State,
    Column::Memory,
    Column::Cpu,
    Column::Delay,
    Column::Connections,
    Column::Age,
];

/// What a key leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Does {
    Stay,
    Leave,
}

/// What is looked at.
#[derive(Debug, Default)]
pub(super) struct View {
    /// `None`: nothing was said yet.
    pub shown: Option<Shown>,
    /// Nothing new is shown.
    pub paused: bool,
    /// Index of the column in [`COLUMNS`].
    sort: usize,
    pub reversed: bool,
    /// Processes above the first that is shown.
    pub scrolled: usize,
}

impl View {
    /// Shows what was said, unless the person wants to read what was said before.
    pub fn take(&mut self, shown: Shown) {
        if !self.paused || self.shown.is_none() {
            self.shown = Some(shown);
        }
        let processes = self.processes().len();
        self.scrolled = self.scrolled.min(processes.saturating_sub(1));
    }

    /// A key.
    pub fn press(&mut self, key: KeyCode, modifiers: KeyModifiers) -> Does {
        match key {
            KeyCode::Char('q') | KeyCode::Esc => return Does::Leave,
            // In this mode the terminal makes no signal of it.
            KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => return Does::Leave,
            KeyCode::Char('p' | ' ') => self.paused = !self.paused,
            KeyCode::Char('r') => self.reversed = !self.reversed,
            KeyCode::Tab | KeyCode::Right => self.sort = (self.sort + 1) % COLUMNS.len(),
            KeyCode::BackTab | KeyCode::Left => {
                self.sort = (self.sort + COLUMNS.len() - 1) % COLUMNS.len();
            }
            KeyCode::Down => {
                let last = self.processes().len().saturating_sub(1);
                self.scrolled = (self.scrolled + 1).min(last);
            }
            KeyCode::Up => self.scrolled = self.scrolled.saturating_sub(1),
            _ => {}
        }
        Does::Stay
    }

    /// The column by which processes are sorted.
    pub fn sort(&self) -> Column {
        COLUMNS[self.sort]
    }

    /// The processes in the order in which they are shown: names ascend, numbers descend.
    pub fn processes(&self) -> Vec<&ProcessStatus> {
        let tiers = self.shown.iter().flat_map(|shown| &shown.status.tiers);
        let mut processes: Vec<_> = tiers.flat_map(|tier| &tier.processes).collect();
        let column = self.sort();
        processes.sort_by(|one, other| compare(column, one, other));
        if self.reversed {
            processes.reverse();
        }
        processes
    }
}

fn compare(column: Column, one: &ProcessStatus, other: &ProcessStatus) -> Ordering {
    match column {
        Column::Process => Ordering::Equal,
        Column::State => one.state.word().cmp(other.state.word()),
        Column::Memory => other.rss_bytes.cmp(&one.rss_bytes),
        Column::Cpu => other.cpu_percent.cmp(&one.cpu_percent),
        Column::Delay => other.loop_lag_us.cmp(&one.loop_lag_us),
        Column::Connections => other.connections.cmp(&one.connections),
        // The oldest first, as the largest number.
        Column::Age => one.since.cmp(&other.since),
    }
    .then_with(|| one.id.cmp(&other.id))
}
