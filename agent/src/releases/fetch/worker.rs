//! A thread that puts files in place: unpacks frames as they arrive, and makes links in between.

use std::io::{self, BufReader, Read, Write};
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError, TryLockError};

use bytes::{Buf, Bytes};
use groundcrew_core::types::Digest;
use tokio::sync::mpsc;

use crate::fsx::{About, FileError};

use super::super::hash::{Hasher, Hashing};
use super::bits::Bits;
use super::download::Work;
use super::plan::{self, Link};
use super::tree::Cursor;
use super::unpack::Unpacker;
use super::{FetchError, Job, UnpackError};

/// Links made before the thread looks for frames again.
const LINKS_AT_ONCE: usize = 256;
const BUFFER_BYTES: usize = 128 * 1024;

/// What to do next.
enum Next {
    Work(Work),
    Links(Range<usize>),
    End,
}

/// Works until the queue ends and all links are made.
pub(super) fn run(
    job: &Job,
    missing: &Bits,
    queue: &Mutex<mpsc::Receiver<Work>>,
    flush: &mpsc::Sender<()>,
) -> Result<(), FetchError> {
    let mut unpacker = Unpacker::new(&job.manifest, missing, job.tree.cursor(), &job.stop);
    let mut linker = Linker {
        job,
        cursor: job.tree.cursor(),
        origins: job.origins.iter().map(super::Tree::cursor).collect(),
    };
    loop {
        if job.stop.is_cancelled() {
            return Err(FetchError::Cancelled);
        }
        match next(job, queue) {
            Next::Work(Work::Range { frames, bytes, _permit }) => {
                unpack_range(job, &mut unpacker, frames, bytes, flush)?;
            }
            Next::Work(Work::Stream { frame, chunks, done }) => {
                let verdict = unpack_stream(job, &mut unpacker, frame, chunks, flush);
                // The one who waits for it is gone only when the fetch is failing already.
                drop(done.send(verdict));
            }
            Next::Links(links) => linker.link(links)?,
            Next::End => return Ok(()),
        }
    }
}

/// Frames first: they hold memory. Links while there are none, then waiting.
fn next(job: &Job, queue: &Mutex<mpsc::Receiver<Work>>) -> Next {
    let arrived = match queue.try_lock() {
        Ok(mut queue) => queue.try_recv().ok(),
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().try_recv().ok(),
        Err(TryLockError::WouldBlock) => None,
    };
    if let Some(work) = arrived {
        return Next::Work(work);
    }
    let start = job.next_link.fetch_add(LINKS_AT_ONCE, Ordering::Relaxed);
    if start < job.links.len() {
        return Next::Links(start..job.links.len().min(start + LINKS_AT_ONCE));
    }
    let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
    queue.blocking_recv().map_or(Next::End, Next::Work)
}

fn unpack_range(
    job: &Job,
    unpacker: &mut Unpacker<'_>,
    frames: Range<usize>,
    bytes: Vec<u8>,
    flush: &mpsc::Sender<()>,
) -> Result<(), FetchError> {
    let mut rest = bytes.as_slice();
    for index in frames {
        let frame = &job.manifest.frames[index];
        let (this, after) = rest.split_at(usize::try_from(frame.length).unwrap_or(usize::MAX));
        rest = after;
        if wanted(unpacker, index).next().is_some() {
            unpacker.unpack_slice(index, this)?;
            wrote(job, unpacker, index, flush);
        }
    }
    job.give_back(bytes);
    Ok(())
}

/// Counts a frame that was unpacked.
fn wrote(job: &Job, unpacker: &Unpacker<'_>, frame: usize, flush: &mpsc::Sender<()>) {
    let sizes = wanted(unpacker, frame).filter_map(|index| plan::file(&job.manifest, index));
    let (files, bytes) =
        sizes.fold((0, 0), |(files, bytes), (_, content)| (files + 1, bytes + content.size));
    if job.wrote(files, bytes) {
        // One that is under way takes these along, or the next one does.
        let _ = flush.try_send(());
    }
}

fn wanted<'a>(unpacker: &Unpacker<'a>, frame: usize) -> impl Iterator<Item = usize> + use<'a> {
    let wanted = unpacker.wanted;
    unpacker.manifest.frame_entries(frame).filter(move |index| wanted.has(*index))
}

/// Unpacks a frame while it arrives. Its files count only when the digest of all of it is right,
/// which the caller sees from the answer; else they are removed again.
fn unpack_stream(
    job: &Job,
    unpacker: &mut Unpacker<'_>,
    frame: usize,
    chunks: mpsc::Receiver<Bytes>,
    flush: &mpsc::Sender<()>,
) -> Result<Digest, FetchError> {
    let reader = Chunks { chunks, current: Bytes::new() };
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, Hashing::new(reader));
    let unpacked = unpacker.unpack(frame, &mut reader);
    // To the end in any case: the digest tells corrupt bytes from a bad archive.
    let drained = io::copy(&mut reader, &mut io::sink());
    drained.map_err(|source| FetchError::Unpack(UnpackError::Broken { frame, source }))?;
    let (_, digest, _) = reader.into_inner().finish();
    let right = digest == job.manifest.frames[frame].digest;
    if right && unpacked.is_ok() {
        wrote(job, unpacker, frame, flush);
        return Ok(digest);
    }
    for index in wanted(unpacker, frame) {
        if let Some((path, _)) = plan::file(&job.manifest, index) {
            unpacker.cursor.remove_file(path)?;
        }
    }
    match unpacked {
        // These say nothing about the bytes.
        Err(error @ (UnpackError::File(_) | UnpackError::Cancelled)) => Err(error.into()),
        Err(error) if right => Err(error.into()),
        Ok(()) | Err(_) => Ok(digest),
    }
}

/// Reads what another task sends.
struct Chunks {
    chunks: mpsc::Receiver<Bytes>,
    current: Bytes,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.current = chunk,
                None => return Ok(0),
            }
        }
        let count = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

/// Gives files of other releases a name in this one.
struct Linker<'a> {
    job: &'a Job,
    cursor: Cursor<'a>,
    origins: Vec<Cursor<'a>>,
}

impl Linker<'_> {
    fn link(&mut self, links: Range<usize>) -> Result<(), FetchError> {
        let mut linked = 0;
        for link in &self.job.links[links] {
            if self.link_one(link)? {
                linked += 1;
            } else {
                let mut unlinked = self.job.unlinked.lock().unwrap_or_else(PoisonError::into_inner);
                unlinked.insert(link.entry);
            }
        }
        self.job.placed(&self.job.files_linked, linked);
        Ok(())
    }

    /// `false` when the file there is not what its manifest says: then it has to be downloaded.
    fn link_one(&mut self, link: &Link) -> Result<bool, FileError> {
        let Some((path, content)) = plan::file(&self.job.manifest, link.entry) else {
            return Ok(true);
        };
        let from = link.from.as_ref().unwrap_or(path);
        let origin = &mut self.origins[link.origin];
        if origin.looks_like(from, content)?.is_none() {
            return Ok(false);
        }
        if self.cursor.link(path, origin, from)? {
            return Ok(true);
        }
        // Too many names for one file, or another file system.
        let mut source = origin.open_file(from)?;
        let mut copy = self.cursor.create_file(path, content.executable)?;
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let read = source.read(&mut buffer).about("read", from.as_str().into())?;
            if read == 0 {
                break;
            }
            hasher.update(&buffer[..read]);
            copy.write_all(&buffer[..read]).about("write", path.as_str().into())?;
        }
        let same = hasher.finish() == content.digest;
        if !same {
            self.cursor.remove_file(path)?;
        }
        Ok(same)
    }
}
