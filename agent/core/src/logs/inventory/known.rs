//! What is remembered of a file, also across restarts of the agent. Never holds a stale offset for
//! another file: identity and prints say together which content an offset belongs to.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Names one content of one file for as long as anything of it may have to be shipped. Given at
/// first sight, growing, never given twice: of two sources with the same path the smaller is the
/// older content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SourceId(pub u64);

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the file system tells files apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Identity {
    /// The number of the device; another one after a reboot, perhaps.
    pub device: u64,
    /// The number of the inode; given again when the file is gone.
    pub inode: u64,
    /// Nanoseconds since 1970 at the inode's creation (`statx`), where the file system knows.
    pub born_ns: Option<i64>,
}

impl Identity {
    /// Whether both are one file at one moment.
    #[must_use]
    pub fn is(self, other: Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    /// Whether the file remembered as `self` may be the one that is `seen` later. The content must
    /// agree too.
    #[must_use]
    pub fn may_be(self, seen: Self) -> bool {
        self.inode == seen.inode
            && match (self.born_ns, seen.born_ns) {
                // Numbers of devices are given in the order they are found in at boot.
                (Some(known), Some(seen)) => known == seen,
                _ => self.device == seen.device,
            }
    }
}

/// The hash of a stretch of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Print {
    /// Where the stretch begins.
    pub start: u64,
    /// Bytes; zero says nothing about the content.
    pub length: u64,
    /// The first 64 bits of the stretch's SHA-256.
    pub hash: u64,
}

impl Print {
    /// Where the stretch ends.
    #[must_use]
    pub fn end(self) -> u64 {
        self.start.saturating_add(self.length)
    }
}

/// How far a source has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Read as it grows.
    Following,
    /// Nothing more is expected: read to its end, then closed.
    Ending,
    /// Read to its end. Remembered, so that it is not taken for a new file.
    Done,
    /// Holds what the other source holds as well; not read.
    Copy(SourceId),
}

/// One source, as the checkpoint keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownFile {
    /// Its name for ever.
    pub id: SourceId,
    /// The pattern of the rule it belongs to.
    pub rule: String,
    /// The path it was first seen at; stays when the file is rotated.
    pub path: String,
    /// The path it was last seen at, links resolved.
    pub at: String,
    /// Which file; `None` when its content is in no file any more.
    pub identity: Option<Identity>,
    /// How it begins.
    pub head: Print,
    /// What it holds before some offset that was read to.
    pub tail: Print,
    /// Everything before is accepted, in bytes of the content, decompressed.
    pub offset: u64,
    /// How far it has come.
    pub stage: Stage,
    /// The file holds the content compressed.
    #[serde(default)]
    pub compressed: bool,
}

/// Everything that is remembered between two runs of the agent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Known {
    /// The number of the next source.
    pub next: u64,
    /// Patterns of the rules whose files were all looked at once.
    pub rules: Vec<String>,
    /// The sources.
    pub files: Vec<KnownFile>,
}
