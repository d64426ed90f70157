//! Named files (`[[logs.file]]`): finds them, opens them, and keeps up with every kind of rotation.
//!
//! What to do is decided by [`groundcrew_core::logs::inventory`]; here it is looked, compared and
//! opened. It only reads: it must never change a file of others, wait for one, or open what is no
//! regular file. Everything blocks for system calls, and belongs to one thread.
//!
//! A source is one content. Its id and its offsets stay the same when its file is renamed, and when
//! its rest is found in a copy. What a truncated file holds from then on is a new source with the
//! same path and a greater id.

mod content;
mod leftover;
mod limits;
mod look;
mod pattern;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use groundcrew_core::logs::FileRule;
use groundcrew_core::logs::inventory::limits::HEAD_BYTES;
use groundcrew_core::logs::inventory::{Change, Held, Inventory, Known, Look, SourceId};
use groundcrew_core::time::{Moment, Now};

pub use pattern::PatternError;

use super::watch::{WatchId, Watches};
use crate::errors;
use crate::fsx::{About, FileError};
use content::Stamp;
use limits::AGAIN;
use look::{Looked, Spools};
use pattern::Pattern;

/// What became of a file.
#[derive(Debug, Clone)]
pub enum FileChange {
    /// Read this file. When the id is open already, it goes on in this file.
    Opened(OpenedFile),
    /// The source's file was truncated or lost; the rest of what it held is in this one, at the
    /// same offsets. Nothing more is expected, as after [`Final`](Self::Final).
    Continued {
        /// The source.
        id: SourceId,
        /// The file.
        file: Arc<File>,
        /// The offset that was read to.
        from: u64,
    },
    /// The source's file has another name, or none that is known. It goes on under its old path.
    Moved {
        /// The source.
        id: SourceId,
        /// The new path.
        to: Option<Utf8PathBuf>,
    },
    /// Nothing more is expected: to be read to its end, also a last line without a newline, and
    /// then [`Named::closed`]. When it grows nevertheless, it is opened again.
    Final {
        /// The source.
        id: SourceId,
    },
    /// The file does not hold the source any more, and nothing is left to be read: not to be read
    /// from again. What was read of an unfinished line is all there is of it. To be
    /// [`Named::closed`] when everything that was read is accepted.
    Ended {
        /// The source.
        id: SourceId,
        /// Bytes that were there at the last look and were not read.
        lost_bytes: u64,
    },
    /// A source of an earlier run was not found again: what it held after its offset, if anything,
    /// is lost. The id was not opened in this run.
    Forgotten {
        /// The source.
        id: SourceId,
        /// Where it was.
        path: Utf8PathBuf,
    },
}

/// A file to be read.
#[derive(Debug, Clone)]
pub struct OpenedFile {
    /// The source. Of two with one path the smaller has the older content.
    pub id: SourceId,
    /// Index of the rule.
    pub rule: usize,
    /// The path that the source is known by, also when the file has another by now.
    pub path: Utf8PathBuf,
    /// Opened for reading. Its own position is nobody's: to be read with `read_at`.
    pub file: Arc<File>,
    /// The offset to begin at.
    pub from: u64,
    /// Nothing more is expected, as after [`FileChange::Final`].
    pub last: bool,
}

/// What is known and counted of named files, since the start of this agent.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct NamedUsage {
    /// Files that are open.
    pub open: usize,
    /// Files that wait, because too many are open or known.
    pub waiting: usize,
    /// Files that match and may not be read, or have no regular content.
    pub unreadable: usize,
    /// Directories that are not looked into, because there are too many.
    pub directories_skipped: usize,
    /// Times a file was truncated, or lost, before all of it was read.
    pub truncated_unread: u64,
    /// Bytes lost by that, as far as they were seen.
    pub lost_bytes: u64,
    /// Sources of earlier runs that were not found again.
    pub forgotten: u64,
    /// Compressed rests that were cut off, because they are too large.
    pub leftovers_cut: u64,
    /// Operations that failed.
    pub errors: u64,
    /// The last of them.
    pub last_error: Option<String>,
}

/// A file that is open.
#[derive(Debug)]
struct HeldFile {
    file: Arc<File>,
    /// It is a decompressed rest: ours alone.
    spooled: bool,
    /// Found intact in this state, read to this offset.
    verified: Option<(Stamp, u64)>,
}

/// The named files of all rules.
#[derive(Debug)]
pub struct Named {
    patterns: Vec<Pattern>,
    inventory: Inventory,
    held: BTreeMap<SourceId, HeldFile>,
    /// What the last look found in files that are not open, by device and inode.
    looked: BTreeMap<(u64, u64), Looked>,
    /// Where compressed rests are decompressed to.
    spool: Utf8PathBuf,
    watches: Option<Watches>,
    watched: BTreeMap<Utf8PathBuf, WatchId>,
    usage: NamedUsage,
    failing: bool,
    /// Something changed while it was looked at.
    again: bool,
    again_at: Option<Moment>,
}

impl Named {
    /// The files of `rules`; none is looked for before the first [`scan`](Self::scan). `spool` is a
    /// directory of the agent's own on disk. With `watches`, names that come and go wake whoever
    /// waits for their events; so does the growth of files that count as copies, by a watch that
    /// nobody else knows. Both are to be followed by a scan.
    pub fn new(
        rules: &[FileRule],
        spool: Utf8PathBuf,
        watches: Option<Watches>,
    ) -> Result<Self, PatternError> {
        let patterns: Result<Vec<_>, _> =
            rules.iter().map(|rule| Pattern::new(&rule.path)).collect();
        Ok(Self {
            patterns: patterns?,
            inventory: Inventory::new(rules.iter().map(|rule| rule.path.clone()).collect()),
            held: BTreeMap::new(),
            looked: BTreeMap::new(),
            spool,
            watches,
            watched: BTreeMap::new(),
            usage: NamedUsage::default(),
            failing: false,
            again: false,
            again_at: None,
        })
    }

    /// Takes up what an earlier agent knew; before the first scan.
    pub fn restore(&mut self, known: Known) {
        self.inventory.restore(known);
    }

    /// What the next agent has to know: for the checkpoint.
    #[must_use]
    pub fn known(&self) -> Known {
        self.inventory.known()
    }

    /// What was counted.
    #[must_use]
    pub fn usage(&self) -> NamedUsage {
        let (open, waiting) = (self.inventory.open_count(), self.inventory.waiting());
        NamedUsage { open, waiting, ..self.usage.clone() }
    }

    /// When to scan at the latest, though nothing happens. Not every file system tells of events,
    /// so whoever calls scans every minute or so besides.
    #[must_use]
    pub fn scan_at(&self) -> Option<Moment> {
        self.again_at.into_iter().chain(self.inventory.look_at()).min()
    }

    /// Notes how far a source was read.
    pub fn read_to(&mut self, id: SourceId, offset: u64) {
        self.inventory.read_to(id, offset);
        // A short file is known by little: more of it, while it still is what was read.
        let short = |length: u64| length < HEAD_BYTES && offset > length;
        if self.inventory.file(id).is_some_and(|file| short(file.head.length)) {
            self.verify(id);
        }
    }

    /// Notes that everything of a source before `offset` was accepted, or dropped for good.
    pub fn accepted(&mut self, id: SourceId, offset: u64) {
        self.inventory.accepted(id, offset);
    }

    /// Closes a source: it was read to its end and accepted after [`FileChange::Final`], or it
    /// ended and everything that was read is accepted.
    pub fn closed(&mut self, id: SourceId) {
        self.held.remove(&id);
        self.inventory.closed(id);
    }

    /// Looks whether an open file still holds what was read of it, and scans when it does not. To
    /// be called when a file has grown, before it is read, and when it is shorter than was read.
    pub fn check(&mut self, id: SourceId, now: Now) -> Vec<FileChange> {
        match self.verify(id) {
            Some(Held { intact: false, .. }) => self.scan(now),
            _ => Vec::new(),
        }
    }

    /// Looks at everything: what to do since the last look.
    pub fn scan(&mut self, now: Now) -> Vec<FileChange> {
        (self.again, self.usage.unreadable, self.usage.directories_skipped) = (false, 0, 0);
        let errors = self.usage.errors;
        let mut applied = self.look_once(now);
        if self.inventory.looks_again() {
            self.usage.unreadable = 0;
            applied.extend(self.look_once(now));
        }
        self.mind_copies();
        let again = self.again || self.inventory.looks_again();
        self.again_at = again.then(|| now.at.plus(AGAIN));
        let failing = self.usage.errors > errors;
        if failing && !self.failing {
            let error = self.usage.last_error.as_deref().unwrap_or_default();
            tracing::warn!(error, "could not look at all named log files; trying again");
        }
        self.failing = failing;
        applied
    }

    fn look_once(&mut self, now: Now) -> Vec<FileChange> {
        let (look, alike, mut spools) = self.look();
        let changes = self.inventory.decide(&look, &alike, now.at);
        let apply = |change| self.apply(change, &look, &mut spools);
        changes.into_iter().filter_map(apply).collect()
    }

    /// Whether a source's open file holds what was read of it. Takes new prints when it does;
    /// `None` when it is not open.
    fn verify(&mut self, id: SourceId) -> Option<Held> {
        let held = self.held.get_mut(&id)?;
        let (known, read) = (self.inventory.file(id)?, self.inventory.read_of(id)?);
        let answer = (|| {
            let stamp = Stamp::of(&held.file.metadata()?);
            let gone = Held { size: stamp.size, intact: false };
            let same = Held { size: stamp.size, intact: true };
            if held.spooled || held.verified == Some((stamp, read)) {
                return Ok((same, None));
            }
            let whole = stamp.size >= read
                && content::holds(&held.file, known.head)?
                && content::holds(&held.file, known.tail)?;
            if !whole {
                return Ok((gone, None));
            }
            let prints = content::prints(&held.file, read)?;
            // Truncated while the prints were taken: they are of something else.
            let after = Stamp::of(&held.file.metadata()?);
            if after.size < stamp.size {
                return Ok((Held { size: after.size, intact: false }, None));
            }
            held.verified = Some((stamp, read));
            Ok::<_, io::Error>((same, Some(prints)))
        })();
        match answer.about("look at", Utf8Path::new(&known.path)) {
            Ok((answer, prints)) => {
                if let Some((head, tail)) = prints {
                    self.inventory.printed(id, head, tail);
                }
                Some(answer)
            }
            Err(error) => {
                self.note(&error);
                // Nothing is known: what is open stays open.
                Some(Held { size: read, intact: true })
            }
        }
    }

    fn apply(&mut self, change: Change, look: &Look, spools: &mut Spools) -> Option<FileChange> {
        Some(match change {
            Change::Open { id, seen, from, last } => {
                let (file, from) = self.open(id, seen, from, look, spools)?;
                let rule = self.inventory.rule_of(id)?;
                let path = Utf8PathBuf::from(&self.inventory.file(id)?.path);
                FileChange::Opened(OpenedFile { id, rule, path, file, from, last })
            }
            Change::Continue { id, seen, from } => {
                self.held.remove(&id);
                let (file, from) = self.open(id, seen, from, look, spools)?;
                FileChange::Continued { id, file, from }
            }
            Change::Moved { id, to } => FileChange::Moved { id, to: to.map(Utf8PathBuf::from) },
            Change::Final { id } => FileChange::Final { id },
            Change::End { id, lost_bytes } => {
                self.held.remove(&id);
                self.usage.truncated_unread += u64::from(lost_bytes > 0);
                self.usage.lost_bytes += lost_bytes;
                FileChange::Ended { id, lost_bytes }
            }
            Change::Forget { id, path } => {
                self.usage.forgotten += 1;
                FileChange::Forgotten { id, path: path.into() }
            }
        })
    }

    /// Opens a seen file for a source and holds it; `None` when that fails: tried again at the next
    /// scan.
    fn open(
        &mut self,
        id: SourceId,
        seen: usize,
        from: u64,
        look: &Look,
        spools: &mut Spools,
    ) -> Option<(Arc<File>, u64)> {
        let seen_file = &look.seen[seen];
        let path = Utf8Path::new(&seen_file.path);
        let spooled = spools.remove(&(id, seen));
        let is_new = self.inventory.file(id)?.head.length == 0;
        let opened = (|| {
            if let Some(leftover) = spooled {
                self.usage.leftovers_cut += u64::from(leftover.cut);
                return Ok((leftover.file, true, from));
            }
            let file = content::open(path, seen_file.identity)?;
            let mut start = from;
            if is_new && from > 0 {
                start = content::line_start(&file, from)?;
                self.inventory.begin_at(id, start);
            }
            if is_new {
                let (head, tail) = content::prints(&file, start)?;
                self.inventory.printed(id, head, tail);
            }
            Ok::<_, io::Error>((file, false, start))
        })();
        match opened.about("open", path) {
            Ok((file, spooled, from)) => {
                let file = Arc::new(file);
                let held = HeldFile { file: Arc::clone(&file), spooled, verified: None };
                self.held.insert(id, held);
                Some((file, from))
            }
            Err(error) => {
                self.inventory.unopened(id);
                if error.source.kind() == io::ErrorKind::NotFound {
                    self.again = true;
                } else {
                    self.note(&error);
                }
                None
            }
        }
    }

    fn note(&mut self, error: &FileError) {
        self.usage.errors += 1;
        self.usage.last_error = Some(errors::chain(error));
    }
}
