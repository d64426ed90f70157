//! What a release consists of: the document `releases/<version>.json`, parsed into a form that
//! cannot be wrong.
//!
//! The chain of trust is channel -> manifest -> frames and files: a channel names the digest of the
//! manifest's bytes, the manifest names the digest of each part of the artifact. Nothing here does
//! IO.

use std::ops::{Deref, Range};

use groundcrew_core::limits;
use groundcrew_core::types::{Digest, ReleaseRef, Version};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::path::{LinkTarget, PathError, ReleasePath};

/// The only version of the document there is.
pub const SCHEMA: u32 = 1;
/// The file every release has at its root.
pub const RELEASE_TOML: &str = "release.toml";

/// Bytes a tar stream may spend on one entry beside its content: a header, padding, and a name and
/// a link target of the longest kind, each with a header of its own.
const TAR_OVERHEAD_PER_ENTRY_MAX: u64 = 512 + 511 + 2 * (512 + 4096 + 512);
/// Bytes at the end of a tar stream: two empty blocks, or padding to a record of 20 blocks.
const TAR_END_MAX: u64 = 2 * 20 * 512;

/// What a manifest says. Fields unknown to this agent are left alone, so that newer publishers may
/// add some.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// [`SCHEMA`].
    pub schema: u32,
    /// What people call the release.
    pub version: Version,
    /// SHA-256 of the artifact: the whole `.tar.zst`, as `sha256sum` prints it.
    pub digest: Digest,
    /// Bytes of the artifact.
    pub size_bytes: u64,
    /// Bytes of all files, unpacked.
    pub unpacked_bytes: u64,
    /// When it was published; written as RFC 3339.
    pub created: Timestamp,
    /// The commit it was packed from, when the directory lay in a git work tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<Git>,
    /// The version of groundcrew that published it.
    pub groundcrew: String,
    /// The independent zstd frames of the artifact, in order, without gaps.
    pub frames: Vec<Frame>,
    /// Everything in the release, sorted by path, which is also the order of the artifact.
    pub files: Vec<Entry>,
}

/// Where a release comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Git {
    /// The commit checked out. What the work tree held beyond it is not looked at.
    pub commit: String,
}

/// One independent zstd frame of the artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// Where it starts in the artifact, in bytes.
    pub offset: u64,
    /// Its compressed bytes.
    pub length: u64,
    /// SHA-256 of its compressed bytes.
    pub digest: Digest,
    /// Bytes of tar it unpacks to.
    pub unpacked_bytes: u64,
    /// How many of `files` it holds: those after the frame before.
    pub entries: u64,
}

/// One file, directory or symlink of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "WireEntry", try_from = "WireEntry")]
pub struct Entry {
    /// Where.
    pub path: ReleasePath,
    /// What.
    pub kind: EntryKind,
}

/// What an entry is. There are no other kinds: no devices, no sockets, no hard links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory, mode 0755.
    Directory,
    /// A regular file.
    File(FileContent),
    /// A symlink that stays in the release.
    Symlink(LinkTarget),
}

/// The content of a file, and the one bit of its mode that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileContent {
    /// Bytes.
    pub size: u64,
    /// SHA-256.
    pub digest: Digest,
    /// Mode 0755 in the artifact instead of 0644.
    pub executable: bool,
}

/// A manifest whose parts agree with each other and with the limits. Read-only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    contents: Contents,
    /// For each frame the index of its first entry.
    first_entries: Vec<usize>,
}

/// Why a document is not a manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON, a field is missing, or an entry is one that no release may have.
    #[error("the manifest cannot be read")]
    Json(#[source] serde_json::Error),
    /// Written by another, probably newer, groundcrew.
    #[error("the manifest has schema {0}, this groundcrew knows schema {SCHEMA}")]
    Schema(u32),
    /// More than the limits allow.
    #[error("the release has {actual} {what}, more than {limit}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much there is.
        actual: u64,
        /// How much is allowed.
        limit: u64,
    },
    /// An entry does not fit the others.
    #[error("the manifest's entry {path} {why}")]
    Entry {
        /// Which.
        path: ReleasePath,
        /// Why, as a clause.
        why: &'static str,
    },
    /// A frame does not fit the others, or its entries.
    #[error("frame {index} of the manifest {why}")]
    Frame {
        /// Counts from 0.
        index: usize,
        /// Why, as a clause.
        why: &'static str,
    },
    /// The totals differ from the sums.
    #[error("the manifest says {said} {what}, its parts add up to {actual}")]
    Total {
        /// What was added up.
        what: &'static str,
        /// The total in the document.
        said: u64,
        /// The sum.
        actual: u64,
    },
    /// There is no release.toml at the root.
    #[error("the release has no {RELEASE_TOML} at its root")]
    NoReleaseToml,
}

impl Manifest {
    /// Reads and checks a document.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        struct OnlySchema {
            schema: u32,
        }
        match serde_json::from_slice(bytes) {
            Ok(contents) => Self::new(contents),
            // Another schema may differ in everything else: its number is the better reason.
            Err(error) => match serde_json::from_slice(bytes) {
                Ok(OnlySchema { schema }) if schema != SCHEMA => Err(ManifestError::Schema(schema)),
                _ => Err(ManifestError::Json(error)),
            },
        }
    }

    /// Reads the one number that housekeeping asks for, without the list of files: a manifest that
    /// was checked when its release came to disk need not be checked again.
    pub fn parse_unpacked_bytes(bytes: &[u8]) -> Result<u64, ManifestError> {
        #[derive(Deserialize)]
        struct OnlySize {
            unpacked_bytes: u64,
        }
        let only: OnlySize = serde_json::from_slice(bytes).map_err(ManifestError::Json)?;
        Ok(only.unpacked_bytes)
    }

    /// Checks that the parts agree with each other and with the limits.
    pub fn new(contents: Contents) -> Result<Self, ManifestError> {
        if contents.schema != SCHEMA {
            return Err(ManifestError::Schema(contents.schema));
        }
        check_entries(&contents)?;
        let first_entries = check_frames(&contents)?;
        Ok(Self { contents, first_entries })
    }

    /// The document, compact.
    pub fn to_json(&self) -> Result<Vec<u8>, ManifestError> {
        serde_json::to_vec(&self.contents).map_err(ManifestError::Json)
    }

    /// Version and digest.
    #[must_use]
    pub fn release(&self) -> ReleaseRef {
        ReleaseRef { version: self.version.clone(), digest: self.digest }
    }

    /// Which of `files` the frame holds.
    #[must_use]
    pub fn frame_entries(&self, frame: usize) -> Range<usize> {
        let end = self.first_entries.get(frame + 1).copied();
        self.first_entries[frame]..end.unwrap_or(self.files.len())
    }

    /// The entry at `path`.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<&Entry> {
        find(&self.files, path)
    }
}

impl Deref for Manifest {
    type Target = Contents;

    fn deref(&self) -> &Contents {
        &self.contents
    }
}

fn find<'a>(files: &'a [Entry], path: &str) -> Option<&'a Entry> {
    let found = files.binary_search_by(|entry| entry.path.as_str().cmp(path)).ok()?;
    Some(&files[found])
}

fn limit(what: &'static str, actual: u64, limit: u64) -> Result<(), ManifestError> {
    if actual > limit { Err(ManifestError::Limit { what, actual, limit }) } else { Ok(()) }
}

fn check_entries(contents: &Contents) -> Result<(), ManifestError> {
    let files = &contents.files;
    limit("entries", files.len() as u64, limits::ARTIFACT_ENTRIES_MAX)?;
    let refuse = |entry: &Entry, why| Err(ManifestError::Entry { path: entry.path.clone(), why });
    if let Some(pair) = files.windows(2).find(|pair| pair[0].path >= pair[1].path) {
        let same = pair[0].path == pair[1].path;
        return refuse(&pair[1], if same { "is there twice" } else { "is not in order" });
    }
    let mut total = 0_u64;
    let mut parent_before = "";
    for entry in files {
        let (parent, _) = entry.path.split();
        // Most entries lie beside the one before.
        if parent != parent_before {
            match find(files, parent).map(|entry| &entry.kind) {
                None if parent.is_empty() => {}
                Some(EntryKind::Directory) => {}
                Some(EntryKind::Symlink(_)) => return refuse(entry, "lies below a symlink"),
                Some(EntryKind::File(_)) => return refuse(entry, "lies below a file"),
                None => return refuse(entry, "lies in a directory that is not listed"),
            }
            parent_before = parent;
        }
        if let EntryKind::File(content) = &entry.kind {
            total = total.saturating_add(content.size);
        }
    }
    limit("bytes unpacked", total, limits::ARTIFACT_UNPACKED_BYTES_MAX)?;
    if total != contents.unpacked_bytes {
        let said = contents.unpacked_bytes;
        return Err(ManifestError::Total { what: "bytes unpacked", said, actual: total });
    }
    match find(files, RELEASE_TOML).map(|entry| &entry.kind) {
        Some(EntryKind::File(_)) => Ok(()),
        _ => Err(ManifestError::NoReleaseToml),
    }
}

fn check_frames(contents: &Contents) -> Result<Vec<usize>, ManifestError> {
    let mut offset = 0_u64;
    let mut first = 0_usize;
    let mut firsts = Vec::with_capacity(contents.frames.len());
    for (index, frame) in contents.frames.iter().enumerate() {
        let refuse = |why| ManifestError::Frame { index, why };
        if frame.offset != offset {
            return Err(refuse("does not start where the one before ends"));
        }
        if frame.length == 0 || frame.entries == 0 {
            return Err(refuse("is empty"));
        }
        offset = offset.checked_add(frame.length).ok_or_else(|| refuse("is too long"))?;
        let entries = usize::try_from(frame.entries)
            .ok()
            .and_then(|count| contents.files.get(first..)?.get(..count))
            .ok_or_else(|| refuse("has more entries than there are"))?;
        // A bound on what a hostile frame can make the unpacker produce.
        if frame.unpacked_bytes > tar_bytes_max(entries) {
            return Err(refuse("unpacks to more than its entries hold"));
        }
        firsts.push(first);
        first += entries.len();
    }
    if offset != contents.size_bytes {
        let said = contents.size_bytes;
        return Err(ManifestError::Total { what: "bytes", said, actual: offset });
    }
    if first != contents.files.len() {
        let said = contents.files.len() as u64;
        return Err(ManifestError::Total { what: "entries", said, actual: first as u64 });
    }
    Ok(firsts)
}

fn tar_bytes_max(entries: &[Entry]) -> u64 {
    entries.iter().fold(TAR_END_MAX, |sum, entry| {
        let content = match &entry.kind {
            EntryKind::File(content) => content.size,
            EntryKind::Directory | EntryKind::Symlink(_) => 0,
        };
        sum.saturating_add(content).saturating_add(TAR_OVERHEAD_PER_ENTRY_MAX)
    })
}

/// An entry as it is written.
#[derive(Serialize, Deserialize)]
struct WireEntry {
    path: ReleasePath,
    kind: WireKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha256: Option<Digest>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    executable: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WireKind {
    File,
    Dir,
    Symlink,
}

#[derive(Debug, thiserror::Error)]
enum WireEntryError {
    #[error("entry {path} has no {field}")]
    Missing { path: ReleasePath, field: &'static str },
    #[error("entry {0} is a symlink to {1}")]
    Target(ReleasePath, PathError),
}

impl TryFrom<WireEntry> for Entry {
    type Error = WireEntryError;

    fn try_from(wire: WireEntry) -> Result<Self, WireEntryError> {
        let WireEntry { path, kind, size, sha256, executable, target } = wire;
        let missing = |field| WireEntryError::Missing { path: path.clone(), field };
        let kind = match kind {
            WireKind::Dir => EntryKind::Directory,
            WireKind::File => EntryKind::File(FileContent {
                size: size.ok_or_else(|| missing("size"))?,
                digest: sha256.ok_or_else(|| missing("sha256"))?,
                executable,
            }),
            WireKind::Symlink => {
                let target = target.ok_or_else(|| missing("target"))?;
                let target = LinkTarget::new(&path, &target)
                    .map_err(|error| WireEntryError::Target(path.clone(), error))?;
                EntryKind::Symlink(target)
            }
        };
        Ok(Self { path, kind })
    }
}

impl From<Entry> for WireEntry {
    fn from(Entry { path, kind }: Entry) -> Self {
        let mut wire = Self {
            path,
            kind: WireKind::Dir,
            size: None,
            sha256: None,
            executable: false,
            target: None,
        };
        match kind {
            EntryKind::Directory => {}
            EntryKind::File(content) => {
                wire.kind = WireKind::File;
                wire.size = Some(content.size);
                wire.sha256 = Some(content.digest);
                wire.executable = content.executable;
            }
            EntryKind::Symlink(target) => {
                wire.kind = WireKind::Symlink;
                wire.target = Some(target.as_str().to_owned());
            }
        }
        wire
    }
}

#[cfg(test)]
mod tests;
