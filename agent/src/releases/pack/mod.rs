//! Packs a directory into an artifact: a `.tar.zst` that depends on nothing but the directory's
//! content.
//!
//! The artifact is a plain tar stream cut between entries into independent zstd frames, so that
//! `tar --zstd -xf` unpacks it, while a host can fetch, verify and unpack each frame alone. Entries
//! are sorted by path; times, owners and modes are fixed; the cuts depend on sizes alone. The same
//! tree gives the same bytes, however many threads compress it.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::num::NonZero;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

use camino::{Utf8Path, Utf8PathBuf};
use groundcrew_core::types::Digest;

use crate::fsx::FileError;

use super::hash::Hashing;
use super::manifest::{Entry, EntryKind, FileContent, Frame, RELEASE_TOML};
use super::path::{PathError, ReleasePath};

mod frame;
mod walk;

use frame::{Compressed, Compressor};
use walk::{Found, FoundKind};

pub use walk::IGNORE_FILE;

/// Tar bytes after which a frame is cut. Small frames let a host skip what it has: a release that
/// changes 1 % of 30,000 files at random touches one in seven frames of this size, and nearly every
/// second one of 1 MiB, which would be 6 % smaller in sum.
const FRAME_BYTES: u64 = 256 * 1024;
/// Files above this are compressed as a stream instead of in memory.
const BUFFERED_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Frames that may be finished ahead of the one being written, for each thread.
const AHEAD_PER_THREAD: usize = 4;

const _: () = assert!(2 * FRAME_BYTES <= BUFFERED_BYTES_MAX);

/// A directory that can become a release: everything in it was looked at, nothing was read yet.
#[derive(Debug)]
pub struct Tree {
    root: Utf8PathBuf,
    found: Vec<Found>,
}

/// An artifact that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// SHA-256 of all of it.
    pub digest: Digest,
    /// Its bytes.
    pub size_bytes: u64,
    /// Bytes of all files in it.
    pub unpacked_bytes: u64,
    /// Its frames.
    pub frames: Vec<Frame>,
    /// What it holds.
    pub files: Vec<Entry>,
}

/// Why a directory cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A file cannot be read, or the artifact not written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A name that is not UTF-8, shown as well as it goes.
    #[error("the name of {0} is not UTF-8")]
    NotUtf8(String),
    /// A path no release may have.
    #[error("the path {0}")]
    Path(#[source] PathError),
    /// A symlink that would leave the release.
    #[error("the symlink {path} to {error}")]
    Link {
        /// Where it is.
        path: ReleasePath,
        /// Where it points, and what is wrong with that.
        error: PathError,
    },
    /// A socket, a pipe or a device.
    #[error("{path} is {kind}, and a release holds only files, directories and symlinks")]
    Kind {
        /// Where it is.
        path: ReleasePath,
        /// What it is, with its article.
        kind: &'static str,
    },
    /// Written to while it was packed.
    #[error("{path} changed while it was packed")]
    Changed {
        /// Which file.
        path: Utf8PathBuf,
    },
    /// A pattern in the ignore file.
    #[error("{IGNORE_FILE} cannot be used")]
    Ignore(#[source] ignore::Error),
    /// No release.toml.
    #[error("{root} has no {RELEASE_TOML}, which says how to run the release")]
    NoReleaseToml {
        /// The directory.
        root: Utf8PathBuf,
    },
    /// More than a release may have.
    #[error("{root} has {actual} {what}, more than {limit}")]
    Limit {
        /// The directory.
        root: Utf8PathBuf,
        /// What there is too much of.
        what: &'static str,
        /// How much.
        actual: u64,
        /// How much is allowed.
        limit: u64,
    },
    /// Compressing or writing failed.
    #[error("could not write the artifact")]
    Write(#[source] io::Error),
    /// The caller lost interest.
    #[error("packing was cancelled")]
    Cancelled,
}

/// How far packing is; asked and told from several threads.
pub trait Watch: Sync {
    /// So many more bytes of files are packed.
    fn packed(&self, bytes: u64);
    /// Whether to stop.
    fn cancelled(&self) -> bool;
}

impl Tree {
    /// Looks at everything in the directory `root`.
    pub fn walk(root: &Utf8Path) -> Result<Self, PackError> {
        Ok(Self { root: root.to_owned(), found: walk::walk(root)? })
    }

    /// Bytes of all files.
    #[must_use]
    pub fn unpacked_bytes(&self) -> u64 {
        self.found.iter().map(Found::size).sum()
    }

    /// Writes the artifact to `file`, with `threads` threads compressing.
    pub fn pack(
        &self,
        file: &mut File,
        threads: NonZero<usize>,
        watch: &dyn Watch,
    ) -> Result<Packed, PackError> {
        let cuts = cut(&self.found);
        let line = Line::new(threads.get() * AHEAD_PER_THREAD);
        thread::scope(|scope| {
            for _ in 0..threads.get() {
                scope.spawn(|| self.compress_frames(&cuts, &line, watch));
            }
            let written = self.write_frames(&cuts, &line, file, threads, watch);
            line.stop();
            written
        })
    }

    fn frame<'a>(&'a self, cuts: &[usize], index: usize) -> (&'a [Found], bool) {
        let start = if index == 0 { 0 } else { cuts[index - 1] };
        (&self.found[start..cuts[index]], index + 1 == cuts.len())
    }

    fn compress_frames(&self, cuts: &[usize], line: &Line, watch: &dyn Watch) {
        let mut compressor = Compressor::default();
        while let Some(index) = line.take(cuts.len()) {
            let (entries, last) = self.frame(cuts, index);
            if is_streamed(entries) {
                // The writer does it: its output may not fit into memory.
                continue;
            }
            line.put(index, compressor.compress(&self.root, entries, last, watch));
        }
    }

    fn write_frames(
        &self,
        cuts: &[usize],
        line: &Line,
        file: &mut File,
        threads: NonZero<usize>,
        watch: &dyn Watch,
    ) -> Result<Packed, PackError> {
        let mut out = Hashing::new(BufWriter::new(file));
        let mut frames = Vec::with_capacity(cuts.len());
        let mut digests = Vec::with_capacity(self.found.len());
        let mut offset = 0;
        for index in 0..cuts.len() {
            if watch.cancelled() {
                return Err(PackError::Cancelled);
            }
            let (entries, last) = self.frame(cuts, index);
            let compressed = if is_streamed(entries) {
                frame::stream(&self.root, entries, last, &mut out, threads, watch)?
            } else {
                let compressed = line.get(index)?;
                out.write_all(&compressed.bytes).map_err(PackError::Write)?;
                compressed
            };
            line.written(index);
            frames.push(Frame {
                offset,
                length: compressed.length,
                digest: compressed.digest,
                unpacked_bytes: compressed.unpacked_bytes,
                entries: entries.len() as u64,
            });
            offset += compressed.length;
            digests.extend(compressed.files);
        }
        let (mut out, digest, size_bytes) = out.finish();
        out.flush().map_err(PackError::Write)?;
        let files = self.found.iter().zip(digests).map(|(found, digest)| entry(found, digest));
        let files = files.collect();
        let unpacked_bytes = self.unpacked_bytes();
        Ok(Packed { digest, size_bytes, unpacked_bytes, frames, files })
    }
}

fn entry(found: &Found, digest: Digest) -> Entry {
    let kind = match &found.kind {
        FoundKind::Directory => EntryKind::Directory,
        FoundKind::Symlink(target) => EntryKind::Symlink(target.clone()),
        FoundKind::File { identity, executable } => {
            let (size, executable) = (identity.size, *executable);
            EntryKind::File(FileContent { size, digest, executable })
        }
    };
    Entry { path: found.path.clone(), kind }
}

/// Where frames end, as indexes into `found`.
fn cut(found: &[Found]) -> Vec<usize> {
    let mut cuts = Vec::new();
    let mut bytes = 0;
    for (index, entry) in found.iter().enumerate() {
        if entry.size() >= FRAME_BYTES && bytes > 0 {
            cuts.push(index);
            bytes = 0;
        }
        bytes += frame::tar_bytes(entry.size());
        if bytes >= FRAME_BYTES {
            cuts.push(index + 1);
            bytes = 0;
        }
    }
    if bytes > 0 {
        cuts.push(found.len());
    }
    cuts
}

fn is_streamed(entries: &[Found]) -> bool {
    entries.iter().map(Found::size).sum::<u64>() > BUFFERED_BYTES_MAX
}

/// Frames under way: taken in order, finished in any order, written in order.
struct Line {
    state: Mutex<LineState>,
    changed: Condvar,
    ahead_max: usize,
}

struct LineState {
    next: usize,
    written: usize,
    stopped: bool,
    done: Vec<(usize, Result<Compressed, PackError>)>,
}

impl Line {
    fn new(ahead_max: usize) -> Self {
        let state = LineState { next: 0, written: 0, stopped: false, done: Vec::new() };
        Self { state: Mutex::new(state), changed: Condvar::new(), ahead_max }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, LineState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next frame to compress; waits while too many are ahead of the writer.
    fn take(&self, count: usize) -> Option<usize> {
        let ahead = |state: &mut LineState| {
            !state.stopped && state.next < count && state.next >= state.written + self.ahead_max
        };
        let waited = self.changed.wait_while(self.lock(), ahead);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        if state.stopped || state.next >= count {
            return None;
        }
        state.next += 1;
        Some(state.next - 1)
    }

    fn put(&self, index: usize, result: Result<Compressed, PackError>) {
        self.lock().done.push((index, result));
        self.changed.notify_all();
    }

    fn get(&self, index: usize) -> Result<Compressed, PackError> {
        let missing = |state: &mut LineState| state.done.iter().all(|(done, _)| *done != index);
        let waited = self.changed.wait_while(self.lock(), missing);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        let at = state.done.iter().position(|(done, _)| *done == index);
        at.map_or(Err(PackError::Cancelled), |at| state.done.swap_remove(at).1)
    }

    fn written(&self, index: usize) {
        self.lock().written = index + 1;
        self.changed.notify_all();
    }

    fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests;
