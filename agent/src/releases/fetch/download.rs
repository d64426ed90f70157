//! Gets the frames that are needed: ranges in parallel, each verified before anybody unpacks it.
//!
//! Memory is bounded by a budget of bytes: a range takes its share before it is asked for and gives
//! it back when it is unpacked. Frames too large for that are streamed through a few small chunks.

use std::ops::Range;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use groundcrew_core::types::Digest;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use super::super::backoff;
use super::super::hash;
use super::super::manifest::{Frame, Manifest};
use super::super::source::{ErrorKind, SourceError};
use super::bits::Bits;
use super::{FetchError, Job};

/// Adjacent frames are read together up to this many bytes, and a larger frame is streamed.
const RANGE_BYTES_MAX: u64 = 1024 * 1024;
/// Bytes of ranges under way or waiting to be unpacked: eight ranges, enough to keep a connection
/// to S3 and two threads busy.
const BUDGET_BYTES: u64 = 8 * 1024 * 1024;
/// What lies between two needed frames is read along up to this many bytes: S3 takes longer to
/// answer one more request.
const GAP_BYTES_MAX: u64 = 128 * 1024;
/// Requests under way at a time. Single frames are small: it is S3's delay that is hidden here.
const REQUESTS_MAX: usize = 16;
/// Bytes of one chunk of a streamed frame.
const CHUNK_BYTES: u64 = 512 * 1024;
/// Chunks of a streamed frame under way at a time.
const CHUNKS_MAX: usize = 4;
/// Frames streamed at a time.
const STREAMS_MAX: usize = 2;
/// Times a range is asked for.
const ATTEMPTS_MAX: u32 = 5;
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Times a frame is read anew after its digest did not match: once, in case the bytes were hurt on
/// the way.
const ATTEMPTS_DIGEST_MAX: u32 = 2;
/// What permits are counted in: a semaphore holds no more than fits 32 bits.
const PERMIT_BYTES: u64 = 1024;

const _: () = assert!(RANGE_BYTES_MAX <= BUDGET_BYTES);

/// Something for a thread that unpacks.
pub(super) enum Work {
    /// Adjacent frames, verified.
    Range {
        /// Which.
        frames: Range<usize>,
        /// Their bytes; to be given back with [`Job::give_back`].
        bytes: Vec<u8>,
        /// Their share of the budget.
        _permit: OwnedSemaphorePermit,
    },
    /// A large frame, to be verified while it is unpacked.
    Stream {
        /// Which.
        frame: usize,
        /// Its bytes, in order.
        chunks: mpsc::Receiver<Bytes>,
        /// The digest of all that came, or why it was not unpacked.
        done: oneshot::Sender<Result<Digest, FetchError>>,
    },
}

/// What is read with one request, or streamed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Range(Range<usize>),
    Stream(usize),
}

/// Downloads every frame that holds a missing file, and hands them to the threads that unpack.
pub(super) async fn download(
    job: &Arc<Job>,
    missing: &Arc<Bits>,
    work: mpsc::Sender<Work>,
) -> Result<(), FetchError> {
    let budget = usize::try_from(BUDGET_BYTES / PERMIT_BYTES).unwrap_or(Semaphore::MAX_PERMITS);
    let budget = Arc::new(Semaphore::new(budget));
    let streams = Arc::new(Semaphore::new(STREAMS_MAX));
    let mut tasks = JoinSet::new();
    for piece in pieces(&job.manifest, missing) {
        while tasks.len() >= REQUESTS_MAX {
            joined(tasks.join_next().await)?;
        }
        let (job, missing, work) = (job.clone(), missing.clone(), work.clone());
        match piece {
            Piece::Range(frames) => {
                let share = bytes_of(&job.manifest.frames[frames.clone()]).div_ceil(PERMIT_BYTES);
                let share = u32::try_from(share).unwrap_or(u32::MAX);
                let permit = budget.clone().acquire_many_owned(share).await;
                let permit = permit.map_err(|_| FetchError::Cancelled)?;
                tasks.spawn(async move { range(&job, &missing, frames, permit, &work).await });
            }
            Piece::Stream(frame) => {
                let permit = streams.clone().acquire_owned().await;
                let permit = permit.map_err(|_| FetchError::Cancelled)?;
                tasks.spawn(async move { streamed(&job, frame, permit, &work).await });
            }
        }
    }
    while let Some(task) = tasks.join_next().await {
        joined(Some(task))?;
    }
    Ok(())
}

type Joined = Option<Result<Result<(), FetchError>, tokio::task::JoinError>>;

fn joined(task: Joined) -> Result<(), FetchError> {
    match task {
        Some(Ok(result)) => result,
        Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Some(Err(_)) => Err(FetchError::Cancelled),
        None => Ok(()),
    }
}

fn bytes_of(frames: &[Frame]) -> u64 {
    frames.iter().map(|frame| frame.length).sum()
}

/// The frames that hold a missing file, as few requests as fit the limits.
fn pieces(manifest: &Manifest, missing: &Bits) -> Vec<Piece> {
    let frames = &manifest.frames;
    let mut pieces: Vec<Piece> = Vec::new();
    for (index, frame) in frames.iter().enumerate() {
        if !needed(manifest, missing, index) {
            continue;
        }
        if frame.length > RANGE_BYTES_MAX {
            pieces.push(Piece::Stream(index));
            continue;
        }
        match pieces.last_mut() {
            Some(Piece::Range(range))
                if bytes_of(&frames[range.end..index]) <= GAP_BYTES_MAX
                    && bytes_of(&frames[range.start..=index]) <= RANGE_BYTES_MAX =>
            {
                range.end = index + 1;
            }
            _ => pieces.push(Piece::Range(index..index + 1)),
        }
    }
    pieces
}

/// Whether a frame holds a missing file.
fn needed(manifest: &Manifest, missing: &Bits, frame: usize) -> bool {
    manifest.frame_entries(frame).any(|entry| missing.has(entry))
}

async fn range(
    job: &Arc<Job>,
    missing: &Arc<Bits>,
    frames: Range<usize>,
    permit: OwnedSemaphorePermit,
    work: &mpsc::Sender<Work>,
) -> Result<(), FetchError> {
    let manifest = &job.manifest;
    let first = &manifest.frames[frames.start];
    let last = &manifest.frames[frames.end - 1];
    let all = first.offset..last.offset + last.length;
    let mut bytes = job.read(all, job.buffer()).await?;
    for attempt in 1..=ATTEMPTS_DIGEST_MAX {
        let bad = mismatches(job, missing, &frames, &mut bytes).await;
        let Some(&(index, actual)) = bad.first() else {
            let work_item = Work::Range { frames, bytes, _permit: permit };
            return work.send(work_item).await.map_err(|_| FetchError::Cancelled);
        };
        if attempt == ATTEMPTS_DIGEST_MAX {
            return Err(wrong_digest(manifest, index, actual));
        }
        // Only what is wrong is read anew.
        for (index, _) in bad {
            tracing::warn!(frame = index, "a part of the artifact is corrupt, reading it again");
            let frame = &manifest.frames[index];
            let range = frame.offset..frame.offset + frame.length;
            let again = job.read(range, Vec::new()).await?;
            let at = usize::try_from(frame.offset - first.offset).unwrap_or(usize::MAX);
            bytes[at..at + again.len()].copy_from_slice(&again);
        }
    }
    Ok(())
}

/// The needed frames whose digest is another one, with that digest. Hands `bytes` to another
/// thread and back.
async fn mismatches(
    job: &Arc<Job>,
    missing: &Arc<Bits>,
    frames: &Range<usize>,
    bytes: &mut Vec<u8>,
) -> Vec<(usize, Digest)> {
    let (taken, frames) = (std::mem::take(bytes), frames.clone());
    let (job, missing) = (job.clone(), missing.clone());
    let hashed = tokio::task::spawn_blocking(move || {
        let mut bad = Vec::new();
        let mut rest = taken.as_slice();
        for index in frames {
            let frame = &job.manifest.frames[index];
            let (this, after) = rest.split_at(usize::try_from(frame.length).unwrap_or(usize::MAX));
            rest = after;
            if !needed(&job.manifest, &missing, index) {
                continue;
            }
            let actual = hash::sha256(this);
            if actual != frame.digest {
                bad.push((index, actual));
            }
        }
        (taken, bad)
    });
    let hashed = hashed.await;
    let (back, bad) = hashed.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
    *bytes = back;
    bad
}

fn wrong_digest(manifest: &Manifest, index: usize, actual: Digest) -> FetchError {
    let entries = manifest.frame_entries(index);
    FetchError::Frame {
        frame: index,
        first: manifest.files[entries.start].path.clone(),
        last: manifest.files[entries.end - 1].path.clone(),
        expected: manifest.frames[index].digest,
        actual,
    }
}

/// Streams a large frame through the thread that unpacks it, a second time when its digest is
/// wrong.
async fn streamed(
    job: &Arc<Job>,
    index: usize,
    _permit: OwnedSemaphorePermit,
    work: &mpsc::Sender<Work>,
) -> Result<(), FetchError> {
    let frame = &job.manifest.frames[index];
    for attempt in 1..=ATTEMPTS_DIGEST_MAX {
        let (chunks_in, chunks) = mpsc::channel(1);
        let (done, verdict) = oneshot::channel();
        let work_item = Work::Stream { frame: index, chunks, done };
        work.send(work_item).await.map_err(|_| FetchError::Cancelled)?;
        send_chunks(job, frame, chunks_in).await?;
        let actual = verdict.await.map_err(|_| FetchError::Cancelled)??;
        if actual == frame.digest {
            return Ok(());
        }
        if attempt == ATTEMPTS_DIGEST_MAX {
            return Err(wrong_digest(&job.manifest, index, actual));
        }
        tracing::warn!(frame = index, "a part of the artifact is corrupt, reading it again");
    }
    Ok(())
}

async fn send_chunks(
    job: &Arc<Job>,
    frame: &Frame,
    chunks: mpsc::Sender<Bytes>,
) -> Result<(), FetchError> {
    let end = frame.offset + frame.length;
    let starts = (0..frame.length.div_ceil(CHUNK_BYTES)).map(|n| frame.offset + n * CHUNK_BYTES);
    let reads = starts.map(|start| job.read(start..end.min(start + CHUNK_BYTES), Vec::new()));
    let mut reads = std::pin::pin!(stream::iter(reads).buffered(CHUNKS_MAX));
    while let Some(bytes) = reads.next().await {
        // The other side reads to the end, whatever it finds: only its death closes the channel.
        chunks.send(Bytes::from(bytes?)).await.map_err(|_| FetchError::Cancelled)?;
    }
    Ok(())
}

impl Job {
    /// Memory for a range: fresh memory costs more than reading into it.
    fn buffer(&self) -> Vec<u8> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    /// Takes back what [`Work::Range`] brought.
    pub(super) fn give_back(&self, buffer: Vec<u8>) {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }

    /// Reads a range of the artifact, several times when the source fails in a way that may pass.
    async fn read(&self, range: Range<u64>, mut buffer: Vec<u8>) -> Result<Vec<u8>, FetchError> {
        let mut attempt = 1;
        loop {
            let buffer = std::mem::take(&mut buffer);
            let read = self.source.get_range(&self.artifact, range.clone(), &self.etag, buffer);
            let read = tokio::select! {
                read = read => read,
                () = self.stop.cancelled() => return Err(FetchError::Cancelled),
            };
            match read {
                Ok(bytes) => {
                    self.downloaded(bytes.len() as u64);
                    return Ok(bytes);
                }
                Err(error) if attempt < ATTEMPTS_MAX && may_pass(&error) => {
                    let error = crate::errors::chain(&error);
                    tracing::debug!(attempt, %error, "reading a part of the artifact again");
                    let pause = backoff::pause(attempt, PAUSE_FIRST, PAUSE_MAX);
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = self.stop.cancelled() => return Err(FetchError::Cancelled),
                    }
                    attempt += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn may_pass(error: &SourceError) -> bool {
    matches!(error.kind(), ErrorKind::Throttled | ErrorKind::Unavailable | ErrorKind::Conflict)
}
