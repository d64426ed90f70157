//! Brings the release a channel names to disk: verified, whole, or not at all.
//!
//! Only what is missing is downloaded: files that a release on disk has, too, are linked, and what
//! an interrupted try left is used. Everything happens in a staging directory; one rename makes it
//! a release. No release on disk is ever written to.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use camino::Utf8PathBuf;
use groundcrew_core::types::Digest;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::channel::{ReadManifestError, Target, read_target};
use super::manifest::{EntryKind, Manifest};
use super::path::ReleasePath;
use super::source::{Key, Source, SourceError};
use super::store::{FetchLock, Store, StoreError};
use crate::fsx::{About, FileError};

mod bits;
mod download;
mod plan;
mod stage;
#[cfg(test)]
mod tests;
mod tree;
mod unpack;
mod worker;

use bits::Bits;
use plan::{Link, Plan};
use tree::Tree;

pub use unpack::UnpackError;

/// Disk that stays free beside what a release needs, for the logs of what runs.
const DISK_MARGIN_BYTES: u64 = 64 * 1024 * 1024;
/// Threads that write files: the application runs on the same cores.
const THREADS_MIN: usize = 2;
const THREADS_MAX: usize = 4;
/// Bytes written between two calls that hand them to the disk, so that it works while the CPUs do.
const FLUSH_BYTES: u64 = 64 * 1024 * 1024;

/// What a fetch may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchLimits {
    /// Bytes of disk the release may take in addition to what is there; `None`: what is free.
    pub disk_budget_bytes: Option<u64>,
    /// Bytes of disk that must stay free.
    pub disk_margin_bytes: u64,
}

impl Default for FetchLimits {
    fn default() -> Self {
        Self { disk_budget_bytes: None, disk_margin_bytes: DISK_MARGIN_BYTES }
    }
}

/// How far a fetch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FetchProgress {
    /// Files in place.
    pub files_done: u64,
    /// Files of the release.
    pub files_total: u64,
    /// Bytes downloaded.
    pub bytes_downloaded: u64,
}

/// What a fetch did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fetched {
    /// Bytes read of the artifact, those read twice counted twice.
    pub bytes_downloaded: u64,
    /// Files written.
    pub files_written: u64,
    /// Files linked from a release on disk.
    pub files_linked: u64,
    /// Files that an interrupted try had left whole.
    pub files_kept: u64,
    /// From begin to end. Zero when the release was on disk already.
    pub took: Duration,
}

/// Why a release is not on disk.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The manifest.
    #[error(transparent)]
    Manifest(#[from] ReadManifestError),
    /// The source failed, after all retries.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The artifact is not there.
    #[error("the source has no artifact at {location}")]
    ArtifactMissing {
        /// Where it should be.
        location: String,
    },
    /// The artifact is not the one described.
    #[error("the artifact has {actual} bytes, the manifest says {expected}")]
    ArtifactSize {
        /// What the manifest says.
        expected: u64,
        /// What the source says.
        actual: u64,
    },
    /// A part of the artifact is not what the manifest says, twice in a row.
    #[error(
        "frame {frame} of the artifact ({first} to {last}) has digest {actual}, \
         the manifest says {expected}"
    )]
    Frame {
        /// Counts from 0.
        frame: usize,
        /// Its first entry.
        first: ReleasePath,
        /// Its last entry.
        last: ReleasePath,
        /// What the manifest says.
        expected: Digest,
        /// What came, the second time.
        actual: Digest,
    },
    /// The archive holds something else than the manifest says.
    #[error(transparent)]
    Unpack(UnpackError),
    /// Not enough disk.
    #[error(
        "the release needs {needed} bytes and {margin} must stay free, {path} has only {free} \
         (remove something, or lower `keep`)"
    )]
    DiskFull {
        /// Where.
        path: Utf8PathBuf,
        /// Bytes to be written.
        needed: u64,
        /// Bytes that must stay free.
        margin: u64,
        /// Bytes free.
        free: u64,
    },
    /// Not enough inodes.
    #[error("the release needs {needed} inodes, {path} has only {free} free")]
    InodesFull {
        /// Where.
        path: Utf8PathBuf,
        /// Entries to be created.
        needed: u64,
        /// Inodes free.
        free: u64,
    },
    /// More than the operator allows.
    #[error("the release needs {needed} bytes, `disk_max` leaves {budget}")]
    OverBudget {
        /// Bytes to be written.
        needed: u64,
        /// Bytes allowed.
        budget: u64,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file of the release.
    #[error(transparent)]
    File(#[from] FileError),
    /// The caller lost interest. What is done is kept for the next try.
    #[error("the fetch was cancelled")]
    Cancelled,
}

impl From<UnpackError> for FetchError {
    fn from(error: UnpackError) -> Self {
        match error {
            UnpackError::File(error) => Self::File(error),
            UnpackError::Cancelled => Self::Cancelled,
            error => Self::Unpack(error),
        }
    }
}

impl FetchError {
    /// Whether the release itself is bad, so that trying again is of no use until the channel
    /// moves.
    #[must_use]
    pub fn permanent(&self) -> bool {
        match self {
            Self::Manifest(error) => matches!(
                error,
                ReadManifestError::Invalid { .. } | ReadManifestError::Mismatch { .. }
            ),
            Self::ArtifactSize { .. } | Self::Frame { .. } | Self::Unpack(_) => true,
            Self::Source(_)
            | Self::ArtifactMissing { .. }
            | Self::DiskFull { .. }
            | Self::InodesFull { .. }
            | Self::OverBudget { .. }
            | Self::Store(_)
            | Self::File(_)
            | Self::Cancelled => false,
        }
    }

    fn is_disk_full(&self) -> bool {
        let full = |error: &FileError| {
            matches!(error.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        };
        match self {
            Self::File(error) | Self::Store(StoreError::File(error)) => full(error),
            _ => false,
        }
    }
}

/// A fetch under way, shared by its tasks and threads.
struct Job {
    source: Source,
    manifest: Arc<Manifest>,
    artifact: Key,
    etag: String,
    tree: Tree,
    links: Vec<Link>,
    origins: Vec<Tree>,
    next_link: AtomicUsize,
    /// Entries that could not be linked after all.
    unlinked: Mutex<BTreeSet<usize>>,
    /// Those that wait for a range: no more than requests and threads, of a range's size each.
    buffers: Mutex<Vec<Vec<u8>>>,
    bytes_downloaded: AtomicU64,
    bytes_written: AtomicU64,
    files_written: AtomicU64,
    files_linked: AtomicU64,
    progress: watch::Sender<FetchProgress>,
    stop: CancellationToken,
    // Threads may outlive the future that started them by a moment: the right to fetch ends with
    // the last.
    _lock: FetchLock,
}

impl Job {
    fn downloaded(&self, bytes: u64) {
        self.bytes_downloaded.fetch_add(bytes, Ordering::Relaxed);
        self.progress.send_modify(|progress| progress.bytes_downloaded += bytes);
    }

    /// Counts files of which `bytes` were written. `true` when it is time to flush.
    fn wrote(&self, files: u64, bytes: u64) -> bool {
        self.placed(&self.files_written, files);
        let before = self.bytes_written.fetch_add(bytes, Ordering::Relaxed);
        before / FLUSH_BYTES < (before + bytes) / FLUSH_BYTES
    }

    fn flush(&self) -> Result<(), FileError> {
        rustix::fs::syncfs(self.tree.root()).about("sync", self.tree.path())
    }

    fn placed(&self, counter: &AtomicU64, files: u64) {
        counter.fetch_add(files, Ordering::Relaxed);
        self.progress.send_modify(|progress| progress.files_done += files);
    }
}

/// Fetches a release into the store. An error says whether the release is bad
/// ([`FetchError::permanent`]) or the attempt failed; in the latter case the next call goes on
/// where this one stopped.
pub async fn fetch(
    source: &Source,
    store: &Store,
    target: &Target,
    limits: &FetchLimits,
    progress: watch::Sender<FetchProgress>,
    cancel: &CancellationToken,
) -> Result<Fetched, FetchError> {
    if store.has(&target.release.digest) {
        return Ok(Fetched::default());
    }
    let started = crate::clock::at();
    let result = tokio::select! {
        job = prepare(source, store, target, limits, progress, cancel) => job,
        () = cancel.cancelled() => Err(FetchError::Cancelled),
    };
    let result = match result {
        Ok((job, missing)) => run(job, missing, store, target).await,
        Err(error) => Err(error),
    };
    match result {
        Ok(fetched) => Ok(Fetched { took: crate::clock::at().since(started), ..fetched }),
        Err(error) => {
            // What is bad is of no use to the next try, and what fills the disk hurts what runs.
            if error.permanent() || error.is_disk_full() {
                store.discard_staging(&target.manifest_digest)?;
                store.empty_trash(cancel).await?;
            }
            Err(error)
        }
    }
}

/// Reads the manifest, makes the plan and the directories, checks the disk.
async fn prepare(
    source: &Source,
    store: &Store,
    target: &Target,
    limits: &FetchLimits,
    progress: watch::Sender<FetchProgress>,
    cancel: &CancellationToken,
) -> Result<(Job, Bits), FetchError> {
    let lock = store.lock()?;
    store.clean_staging(Some(&target.manifest_digest))?;
    let artifact = Key::artifact(&target.release.digest);
    let head = async { source.head(&artifact).await.map_err(FetchError::from) };
    let manifest = async { read_target(source, target).await.map_err(FetchError::from) };
    let reading = store.clone();
    let origins = async { Ok(blocking(move || plan::origins(&reading)).await) };
    let (manifest, head, origins) = tokio::try_join!(manifest, head, origins)?;
    let head =
        head.ok_or_else(|| FetchError::ArtifactMissing { location: source.locate(&artifact) })?;
    if head.size != manifest.size_bytes {
        let (expected, actual) = (manifest.size_bytes, head.size);
        return Err(FetchError::ArtifactSize { expected, actual });
    }
    let manifest = Arc::new(manifest);
    let stop = cancel.child_token();
    let (lock, (tree, Plan { missing, links, origins, kept, .. })) = {
        let (store, limits, digest) = (store.clone(), *limits, target.manifest_digest);
        let (manifest, stop) = (manifest.clone(), stop.clone());
        // The lock goes along: should nobody wait any more, it is held until the thread is done.
        let staged =
            move || Ok((lock, stage::stage(&manifest, origins, &store, &digest, &limits, &stop)?));
        blocking::<Result<_, FetchError>>(staged).await?
    };
    progress.send_modify(|progress| {
        let is_file = |index: &usize| plan::file(&manifest, *index).is_some();
        let files_total = (0..manifest.files.len()).filter(is_file).count() as u64;
        *progress = FetchProgress { files_done: kept, files_total, bytes_downloaded: 0 };
    });
    let job = Job {
        source: source.clone(),
        manifest,
        artifact,
        etag: head.etag,
        tree,
        links,
        origins,
        next_link: AtomicUsize::new(0),
        unlinked: Mutex::new(BTreeSet::new()),
        buffers: Mutex::new(Vec::new()),
        bytes_downloaded: AtomicU64::new(0),
        bytes_written: AtomicU64::new(0),
        files_written: AtomicU64::new(0),
        files_linked: AtomicU64::new(0),
        progress,
        stop,
        _lock: lock,
    };
    Ok((job, missing))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

fn threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(THREADS_MIN, std::num::NonZero::get);
    cores.clamp(THREADS_MIN, THREADS_MAX)
}

/// Downloads, unpacks and links until nothing is missing, then makes it a release.
async fn run(
    job: Job,
    mut missing: Bits,
    store: &Store,
    target: &Target,
) -> Result<Fetched, FetchError> {
    let job = Arc::new(job);
    let _stop_threads = job.stop.clone().drop_guard();
    let files_kept = job.progress.borrow().files_done;
    loop {
        missing = round(&job, missing).await?;
        if missing.is_empty() {
            break;
        }
    }
    let (last, store, digest) = (job.clone(), store.clone(), target.manifest_digest);
    blocking(move || finish(&last, &store, &digest)).await?;
    Ok(Fetched {
        bytes_downloaded: job.bytes_downloaded.load(Ordering::Relaxed),
        files_written: job.files_written.load(Ordering::Relaxed),
        files_linked: job.files_linked.load(Ordering::Relaxed),
        files_kept,
        took: Duration::ZERO,
    })
}

/// Downloads what is missing while linking what is not. Returns what could not be linked after all.
async fn round(job: &Arc<Job>, missing: Bits) -> Result<Bits, FetchError> {
    let missing = Arc::new(missing);
    let (work, queue) = mpsc::channel(threads());
    let queue = Arc::new(Mutex::new(queue));
    let mut workers = JoinSet::new();
    let (flush, mut flushes) = mpsc::channel(1);
    let flushing = job.clone();
    workers.spawn_blocking(move || {
        while let Some(()) = flushes.blocking_recv() {
            flushing.flush().inspect_err(|_| flushing.stop.cancel())?;
        }
        Ok(())
    });
    for _ in 0..threads() {
        let (job, missing, queue) = (job.clone(), missing.clone(), queue.clone());
        let flush = flush.clone();
        workers.spawn_blocking(move || {
            let result = worker::run(&job, &missing, &queue, &flush);
            if result.is_err() {
                job.stop.cancel();
            }
            result
        });
    }
    drop((queue, flush));
    let mut result = download::download(job, &missing, work).await;
    if result.is_err() {
        job.stop.cancel();
    }
    while let Some(worker) = workers.join_next().await {
        let worker = worker.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        // The first failure cancels the others: the one that is no cancellation tells why.
        if matches!(result, Ok(()) | Err(FetchError::Cancelled)) && worker.is_err() {
            result = worker;
        }
    }
    result?;
    let mut left = Bits::new(job.manifest.files.len());
    let unlinked =
        std::mem::take(&mut *job.unlinked.lock().unwrap_or_else(PoisonError::into_inner));
    for index in unlinked {
        left.insert(index);
    }
    Ok(left)
}

/// Makes symlinks, now that nothing is written any more, makes everything durable, makes it
/// visible.
fn finish(job: &Job, store: &Store, digest: &Digest) -> Result<(), FetchError> {
    let mut cursor = job.tree.cursor();
    for entry in &job.manifest.files {
        if let EntryKind::Symlink(target) = &entry.kind {
            cursor.make_symlink(&entry.path, target)?;
        }
    }
    if job.stop.is_cancelled() {
        return Err(FetchError::Cancelled);
    }
    // Once for all files: an fsync for each would take longer than everything else together.
    job.flush()?;
    Ok(store.commit(&job.manifest, digest)?)
}
