//! A dump on its way back, as a restorer has it: fetched, counted and hashed, opened, decompressed,
//! counted and hashed again, and handed on. In memory that does not grow with it, and never more of
//! it than its manifest says: what is in a bucket may have been written by anybody.

use std::io::{self, Read, Write};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use groundcrew_core::backups::Kind;
use tokio::sync::mpsc;

use super::error::DumpError;
use super::pipeline::{Counter, Ends};
use super::shelf::Shelf;
use crate::aws::s3::{ErrorKind, ObjectHead};
use crate::backups::manifest::{Content, Manifest};
use crate::backups::seal::Opener;

/// Bytes of one request.
const RANGE_BYTES: u64 = 8 * 1024 * 1024;
/// Requests at once: one arrives while another is worked at.
const RANGES_AT_ONCE: usize = 2;
/// Bytes that are decompressed at once.
const READ_BYTES: usize = 256 * 1024;
/// The furthest that decompression may look back (2^23 bytes); level 3 looks back 2 MiB.
const WINDOW_LOG_MAX: u32 = 23;

/// What became of a dump on its way back.
#[derive(Debug)]
pub struct Fetched {
    /// What is wrong with it, as clauses; none: all of it is as its manifest says.
    pub findings: Vec<String>,
    /// Who was given the bytes did not want all of them.
    pub refused: bool,
}

/// Fetches the data of `manifest` into `sink`. `progress` is told the stored bytes that have come.
pub async fn fetch<W: Write + Send + 'static>(
    shelf: &Shelf,
    manifest: &Manifest,
    opener: Opener,
    sink: W,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Fetched, DumpError> {
    let key = shelf.key(&manifest.slot, &manifest.data);
    let found = |finding: &str| Fetched { findings: vec![finding.to_owned()], refused: false };
    let Some(head) = shelf.bucket().await?.head(&key).await? else {
        return Ok(found("its data is not there"));
    };
    if head.size != manifest.stored.bytes {
        let Content { bytes, .. } = manifest.stored;
        return Ok(found(&format!("its data has {} bytes, and had {bytes}", head.size)));
    }
    let (sender, receiver) = mpsc::channel(1);
    let (kind, plain, stored) = (manifest.kind, manifest.plain, manifest.stored);
    let work = tokio::task::spawn_blocking(move || {
        Reading { receiver, piece: Bytes::new(), counter: Counter::default() }
            .read(kind, plain, stored, opener, sink)
    });
    let (pulled, work) = tokio::join!(pull(shelf, &key, &head, sender, progress), work);
    pulled?;
    work.map_err(|error| {
        let source = io::Error::other(error);
        DumpError::Bytes { operation: "read", object: key, source }
    })
}

/// Gets the object piece by piece, always of the same version.
async fn pull(
    shelf: &Shelf,
    key: &str,
    head: &ObjectHead,
    sender: mpsc::Sender<Bytes>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<(), DumpError> {
    let bucket = shelf.bucket().await?;
    let starts = (0..head.size).step_by(usize::try_from(RANGE_BYTES).unwrap_or(usize::MAX));
    let pieces = stream::iter(starts).map(|start| {
        let end = start.saturating_add(RANGE_BYTES).min(head.size);
        bucket.get_range(key, start..end, &head.etag, Vec::new())
    });
    let mut pieces = pieces.buffered(RANGES_AT_ONCE);
    let mut done = 0;
    while let Some(piece) = pieces.try_next().await.map_err(|mut error| {
        if error.kind == ErrorKind::PreconditionFailed {
            // It was written again meanwhile: the next try reads that one.
            error.kind = ErrorKind::Unavailable;
        }
        error
    })? {
        done += piece.len() as u64;
        if sender.send(Bytes::from(piece)).await.is_err() {
            // Whoever reads has seen enough.
            return Ok(());
        }
        progress(done);
    }
    Ok(())
}

struct Reading {
    receiver: mpsc::Receiver<Bytes>,
    piece: Bytes,
    counter: Counter,
}

/// Why reading has ended before its end.
enum Early {
    /// What is read is bad.
    Bad(String),
    /// Whoever is written to does not want more.
    Refused,
}

impl Read for Reading {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            let Some(piece) = self.receiver.blocking_recv() else { return Ok(0) };
            self.counter.update(&piece);
            self.piece = piece;
        }
        let taken = self.piece.len().min(into.len());
        into[..taken].copy_from_slice(&self.piece.split_to(taken));
        Ok(taken)
    }
}

impl Reading {
    fn read<W: Write>(
        mut self,
        kind: Kind,
        plain: Content,
        stored: Content,
        opener: Opener,
        sink: W,
    ) -> Fetched {
        let mut findings = Vec::new();
        match self.unpack(kind, plain, opener, sink) {
            Ok(()) => {}
            Err(Early::Bad(finding)) => findings.push(finding),
            Err(Early::Refused) => return Fetched { findings, refused: true },
        }
        // The hash of the rest tells damage from a wrong key.
        while let Some(piece) = self.receiver.blocking_recv() {
            self.counter.update(&piece);
        }
        if self.counter.finish() != stored {
            findings
                .insert(0, "what is stored is not what was stored: its hash differs".to_owned());
        }
        Fetched { findings, refused: false }
    }

    fn unpack<W: Write>(
        &mut self,
        kind: Kind,
        plain: Content,
        opener: Opener,
        mut sink: W,
    ) -> Result<(), Early> {
        let bad =
            |what: &str, error: &dyn std::fmt::Display| Early::Bad(format!("{what}: {error}"));
        let opened = opener.reader(self).map_err(|error| Early::Bad(error.to_string()))?;
        let mut decoder = zstd::Decoder::new(opened).map_err(|error| bad("no zstd", &error))?;
        let window = decoder.window_log_max(WINDOW_LOG_MAX);
        window.map_err(|error| bad("no zstd", &error))?;
        let (mut counter, mut ends) = (Counter::default(), Ends::default());
        // The last piece is held back until all of it is known to be right: a restorer that lacks
        // it cannot commit what it has got.
        let (mut buffer, mut held) = (vec![0; READ_BYTES], Vec::with_capacity(READ_BYTES));
        loop {
            let read = match decoder.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(bad("it cannot be opened or decompressed", &error)),
            };
            counter.update(&buffer[..read]);
            ends.update(&buffer[..read]);
            if counter.bytes() > plain.bytes {
                return Err(Early::Bad(format!("it holds more than {} bytes", plain.bytes)));
            }
            sink.write_all(&held).map_err(|_| Early::Refused)?;
            held.clear();
            held.extend_from_slice(&buffer[..read]);
        }
        if counter.finish() != plain {
            return Err(Early::Bad(
                "what it holds is not what was dumped: its hash differs".into(),
            ));
        }
        if !ends.are_those_of(kind) {
            return Err(Early::Bad("the end of the dump is missing".into()));
        }
        sink.write_all(&held).and_then(|()| sink.flush()).map_err(|_| Early::Refused)
    }
}
