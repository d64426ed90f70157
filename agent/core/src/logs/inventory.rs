//! Named files: which file is which, through every kind of rotation.
//!
//! A source is one content, whatever file it stands in: a rotation by rename changes its path; one
//! by copy and truncation changes its file, and what is written afterwards is another source. So an
//! offset belongs to one content for ever, and is never applied to another. Facts come in as a
//! [`Look`], answers about contents as [`Alike`]; what to do goes out as [`Change`]s. Pure: the
//! shell lists, opens and compares.
//!
//! What is lost, unavoidably: the unread rest of a file that is truncated without a copy under a
//! name that [`is_rotation`] accepts; content that came and was put aside between two looks under
//! a name that no rule matches, or while the agent was away for more than one rotation; a file
//! that was removed unread while the agent was away; what is written to a rotated file more than
//! [`limits::ROTATED_QUIET`] after its last line, once that file has no name any more.
//! What is held back: a file named like a rotation of another and equal to its beginning counts as
//! its copy until it differs.

mod decide;
mod known;
pub mod limits;
mod names;
mod pairs;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use known::{Identity, Known, KnownFile, Print, SourceId, Stage};
pub use names::{is_compressed, is_rotation};

use crate::time::Moment;

/// A file that a look found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Where.
    pub path: String,
    /// The same with links resolved.
    pub at: String,
    /// The first rule whose pattern matches the path.
    pub rule: Option<usize>,
    /// Which file.
    pub identity: Identity,
    /// Bytes of its content, decompressed where that is known.
    pub size: u64,
    /// When it was last written, in nanoseconds since 1970; only compared.
    pub modified_ns: i64,
    /// Whether the content is compressed.
    pub compressed: bool,
}

/// A file that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Bytes.
    pub size: u64,
    /// It still begins with what was read of it.
    pub intact: bool,
}

/// Everything that one look found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Look {
    /// The sources whose file is open.
    pub held: BTreeMap<SourceId, Held>,
    /// Files that rules match, and those that [`Inventory::wanted`] asked for; sorted by path.
    pub seen: Vec<Seen>,
    /// The directories whose names are all in `seen`, as far as they matter.
    pub listed: BTreeSet<String>,
}

/// What a seen file is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Against {
    /// The source's prints: the head, and the tail as far as the file reaches. It must hold all of
    /// the head, and the tail too when it is the source's own file.
    Prints,
    /// The source's open file: all of the seen one must be how that begins.
    Content,
}

/// Asks whether a seen file holds a source's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    /// The source.
    pub id: SourceId,
    /// Index into [`Look::seen`].
    pub seen: usize,
    /// How to tell.
    pub against: Against,
    /// The seen file may be the source's own, going by its identity.
    pub own: bool,
}

/// The pairs that were answered with yes.
pub type Alike = BTreeSet<(SourceId, usize)>;

/// What the shell looks for beside what the rules match.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Inodes of sources, by directory.
    pub inodes: BTreeMap<String, BTreeSet<u64>>,
    /// Names whose rotations may hold a source's rest, by directory.
    pub rotations: BTreeMap<String, BTreeSet<String>>,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Read this file.
    Open {
        /// The source; known already when it goes on.
        id: SourceId,
        /// Index into [`Look::seen`].
        seen: usize,
        /// The offset to begin at.
        from: u64,
        /// Nothing more is expected, as after [`Change::Final`].
        last: bool,
    },
    /// The source's file was truncated; what it held goes on in this one, at the same offset.
    Continue {
        /// The source.
        id: SourceId,
        /// Index into [`Look::seen`].
        seen: usize,
        /// The offset that was read to.
        from: u64,
    },
    /// The source's file has another name, or `None` that is known.
    Moved {
        /// The source.
        id: SourceId,
        /// The new path.
        to: Option<String>,
    },
    /// Nothing more is expected: to be read to its end, also a last line without a newline.
    Final {
        /// The source.
        id: SourceId,
    },
    /// The source's content is gone from its file, and nothing of it is left to be read.
    End {
        /// The source.
        id: SourceId,
        /// Bytes that were there and were not read.
        lost_bytes: u64,
    },
    /// The source's file did not come back: what it held after its offset, if anything, is lost.
    Forget {
        /// The source.
        id: SourceId,
        /// Where it was.
        path: String,
    },
}

/// What is remembered of one source.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    file: KnownFile,
    rule: usize,
    /// Read to here, accepted or not.
    read: u64,
    /// The shipper has it.
    open: bool,
    /// Bytes at the last look.
    size: u64,
    /// Its path leads elsewhere.
    moved: bool,
    /// When it was last seen to grow.
    grew_at: Moment,
    missing_since: Option<Moment>,
    /// Compressed files were looked through for it already.
    sought: bool,
}

/// All sources of all rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    rules: Vec<String>,
    /// Rules whose files were all looked at once: what comes later is new, and read from its start.
    begun: BTreeSet<usize>,
    entries: BTreeMap<SourceId, Entry>,
    next: u64,
    /// Files that wait because too many are open.
    waiting: usize,
    /// Something can only be decided now that other files are open.
    again: bool,
}

impl Inventory {
    /// An inventory of nothing. `rules` are the patterns, in order of precedence.
    #[must_use]
    pub fn new(rules: Vec<String>) -> Self {
        Self {
            rules,
            begun: BTreeSet::new(),
            entries: BTreeMap::new(),
            next: 1,
            waiting: 0,
            again: false,
        }
    }

    /// Takes up what an earlier run knew. Sources of rules that are gone are forgotten.
    pub fn restore(&mut self, known: Known) {
        let rule_of = |pattern: &String| self.rules.iter().position(|rule| rule == pattern);
        self.begun = known.rules.iter().filter_map(rule_of).collect();
        let highest = known.files.iter().map(|file| file.id.0).max().unwrap_or(0);
        self.next = known.next.max(highest.saturating_add(1));
        let entries = known.files.into_iter().filter_map(|file| {
            let entry = Entry {
                rule: rule_of(&file.rule)?,
                read: file.offset,
                open: false,
                size: file.offset,
                moved: false,
                grew_at: Moment(0),
                missing_since: None,
                sought: false,
                file,
            };
            Some((entry.file.id, entry))
        });
        self.entries = entries.collect();
    }

    /// What the next run has to know.
    #[must_use]
    pub fn known(&self) -> Known {
        Known {
            next: self.next,
            rules: self.begun.iter().map(|rule| self.rules[*rule].clone()).collect(),
            files: self.entries.values().map(|entry| entry.file.clone()).collect(),
        }
    }

    /// One source.
    #[must_use]
    pub fn file(&self, id: SourceId) -> Option<&KnownFile> {
        self.entries.get(&id).map(|entry| &entry.file)
    }

    /// The index of the rule that a source belongs to.
    #[must_use]
    pub fn rule_of(&self, id: SourceId) -> Option<usize> {
        self.entries.get(&id).map(|entry| entry.rule)
    }

    /// The offset that a source was read to; never less than what was accepted.
    #[must_use]
    pub fn read_of(&self, id: SourceId) -> Option<u64> {
        self.entries.get(&id).map(|entry| entry.read)
    }

    /// Sources that the shipper has.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.entries.values().filter(|entry| entry.open).count()
    }

    /// Files that wait because too many are open or known.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Files that count as copies, and the sources they count as copies of.
    pub fn copies(&self) -> impl Iterator<Item = (&KnownFile, SourceId)> {
        self.entries.values().filter_map(|entry| match entry.file.stage {
            Stage::Copy(of) => Some((&entry.file, of)),
            Stage::Following | Stage::Ending | Stage::Done => None,
        })
    }

    /// Moves the start of a source that nothing was read of yet.
    pub fn begin_at(&mut self, id: SourceId, offset: u64) {
        if let Some(entry) = self.entries.get_mut(&id) {
            (entry.file.offset, entry.read) = (offset, offset);
        }
    }

    /// Notes how far a source was read.
    pub fn read_to(&mut self, id: SourceId, offset: u64) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.read = entry.read.max(offset);
        }
    }

    /// Notes that everything before `offset` was accepted, or dropped for good.
    pub fn accepted(&mut self, id: SourceId, offset: u64) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.file.offset = entry.file.offset.max(offset);
            entry.read = entry.read.max(offset);
        }
    }

    /// Notes the prints of a source's content.
    pub fn printed(&mut self, id: SourceId, head: Print, tail: Print) {
        if let Some(entry) = self.entries.get_mut(&id) {
            (entry.file.head, entry.file.tail) = (head, tail);
        }
    }

    /// Notes that the shipper is through with a source: all of it is read and accepted, or it was
    /// told that it ended.
    pub fn closed(&mut self, id: SourceId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.open = false;
        entry.file.stage = Stage::Done;
        if entry.file.identity.is_none() {
            self.entries.remove(&id);
        }
    }

    /// Notes that a file could not be opened, so that the next look tries again.
    pub fn unopened(&mut self, id: SourceId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.open = false;
        }
    }

    /// Whether to look again at once.
    #[must_use]
    pub fn looks_again(&self) -> bool {
        self.again
    }

    /// When to look again at the latest, though nothing happens.
    #[must_use]
    pub fn look_at(&self) -> Option<Moment> {
        let following = |entry: &&Entry| entry.open && entry.file.stage == Stage::Following;
        let quiet = |entry: &Entry| {
            let full = self.waiting > 0 && entry.file.offset == entry.size;
            let idle = full.then(|| entry.grew_at.plus(limits::IDLE));
            entry.moved.then(|| entry.grew_at.plus(limits::ROTATED_QUIET)).into_iter().chain(idle)
        };
        self.entries.values().filter(following).flat_map(quiet).min()
    }
}

/// The directory and the name of a path.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}
