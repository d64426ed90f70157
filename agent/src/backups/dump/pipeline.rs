//! A dump on its way out: counted and hashed, compressed, sealed, counted and hashed again, and cut
//! into parts. One blocking thread does all of it, and waits whenever the parts are not taken, so
//! that the client waits in turn. Nothing of it grows with the dump.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use bytes::Bytes;
use camino::Utf8PathBuf;
use groundcrew_core::backups::Kind;
use groundcrew_core::types::Digest;
use ring::digest::{Context, SHA256};
use rustix::fs::statvfs;
use tokio::sync::mpsc;

use crate::aws::s3::{PartBody, PartFile};
use crate::backups::manifest::Content;
use crate::backups::seal::Seal;

/// zstd's own default: a dump is not what the CPU is for.
const LEVEL: i32 = 3;
/// Bytes that are read at once.
const READ_BYTES: usize = 256 * 1024;
/// Bytes of the first parts. S3 takes no less than 5 MiB, and four of them are in memory at once.
const PART_BYTES: u64 = 8 * 1024 * 1024;
/// Parts of one size; those after them are twice as large.
const PARTS_OF_A_SIZE: u32 = 1000;
/// The largest part: 10,000 of them then hold 5 TiB, which is S3's limit for an object.
const PART_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;
/// What a part in a file leaves free: the disk is the application's, too.
const FREE_BYTES: u64 = 256 * 1024 * 1024;
/// S3's limit.
const PARTS_MAX: u32 = 10_000;
/// How much of the end is looked at for the mark of it.
const TAIL_BYTES: usize = 256;
/// How an archive of `pg_dump -Fc` begins.
const PG_MAGIC: &[u8] = b"PGDMP";
/// How it ends, into a pipe: with the length zero of a block of data, or the offset zero of the
/// last entry that has none (pg_backup_custom.c).
const PG_END: &[u8] = &[0; 5];
/// How a dump of MySQL ends, and of MariaDB.
const MYSQL_END: &[u8] = b"-- Dump completed";

/// What went through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// What the client wrote.
    pub plain: Content,
    /// What is stored.
    pub stored: Content,
    /// The mark of the end was there.
    pub trailer: bool,
}

/// Counts and hashes.
pub struct Counter {
    bytes: u64,
    hash: Context,
}

impl Default for Counter {
    fn default() -> Self {
        Self { bytes: 0, hash: Context::new(&SHA256) }
    }
}

impl Counter {
    /// These come next.
    pub fn update(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.hash.update(bytes);
    }

    /// How many there were until now.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// All that there were.
    #[must_use]
    pub fn finish(self) -> Content {
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(self.hash.finish().as_ref());
        Content { bytes: self.bytes, sha256: Digest::from_bytes(sha256) }
    }
}

/// Sees how a dump begins and ends.
#[derive(Debug, Default)]
pub struct Ends {
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl Ends {
    /// These come next.
    pub fn update(&mut self, bytes: &[u8]) {
        let missing = PG_MAGIC.len().saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..missing]);
        let last = &bytes[bytes.len().saturating_sub(TAIL_BYTES)..];
        let kept = TAIL_BYTES.saturating_sub(last.len()).min(self.tail.len());
        self.tail.drain(..self.tail.len() - kept);
        self.tail.extend_from_slice(last);
    }

    /// Whether it is whole, as far as its ends tell.
    #[must_use]
    pub fn are_those_of(&self, kind: Kind) -> bool {
        match kind {
            Kind::PgDump | Kind::RdsSnapshot => {
                self.head == PG_MAGIC && self.tail.ends_with(PG_END)
            }
            Kind::MysqlDump => {
                let last = self.tail.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty());
                last.is_some_and(|line| line.starts_with(MYSQL_END))
            }
        }
    }
}

/// Reads `input` to its end, and hands on the parts. Blocks: for a thread that may.
pub fn run(
    mut input: impl Read,
    kind: Kind,
    seal: &Seal,
    parts: mpsc::Sender<PartBody>,
    directory: Utf8PathBuf,
) -> io::Result<Passed> {
    let sink = Sink { cutter: Cutter::new(parts, directory), counter: Counter::default() };
    let mut encoder = zstd::Encoder::new(seal.writer(sink)?, LEVEL)?;
    encoder.include_checksum(true)?;
    let (mut counter, mut ends) = (Counter::default(), Ends::default());
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = match input.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        counter.update(&buffer[..read]);
        ends.update(&buffer[..read]);
        encoder.write_all(&buffer[..read])?;
    }
    let Sink { cutter, counter: stored } = encoder.finish()?.finish()?;
    cutter.finish()?;
    let trailer = ends.are_those_of(kind);
    Ok(Passed { plain: counter.finish(), stored: stored.finish(), trailer })
}

struct Sink {
    cutter: Cutter,
    counter: Counter,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.cutter.write(bytes)?;
        self.counter.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The disk is too full for a part.
#[derive(Debug, thiserror::Error)]
#[error(
    "{directory} has {free} bytes free, and {needed} are needed for a part of a dump this large"
)]
struct NoRoom {
    directory: Utf8PathBuf,
    free: u64,
    needed: u64,
}

/// Cuts what is written into parts. Those that are larger than the first ones wait in files without
/// names, which go with whoever has them open: only dumps of more than 8 GB have them, and memory
/// is for the application. There are two at most, one being sent and one being filled.
struct Cutter {
    parts: mpsc::Sender<PartBody>,
    directory: Utf8PathBuf,
    /// The part that is being filled, counted from 1.
    number: u32,
    memory: Vec<u8>,
    file: Option<File>,
    /// Ends when the file that was handed on last is sent.
    sent: Option<Receiver<()>>,
    filled: u64,
    free_bytes: u64,
}

impl Cutter {
    fn new(parts: mpsc::Sender<PartBody>, directory: Utf8PathBuf) -> Self {
        let (memory, free_bytes) = (Vec::new(), FREE_BYTES);
        let (file, sent) = (None, None);
        Self { parts, directory, number: 1, memory, file, sent, filled: 0, free_bytes }
    }

    /// A file without a name for a whole part, where there is room for it.
    fn new_file(&self) -> io::Result<File> {
        crate::fsx::create_dirs(&self.directory, 0o755).map_err(io::Error::other)?;
        let space = statvfs(self.directory.as_std_path())?;
        let free = space.f_bavail.saturating_mul(space.f_frsize);
        let needed = part_bytes(self.number).saturating_add(self.free_bytes);
        if free < needed {
            let directory = self.directory.clone();
            return Err(io::Error::other(NoRoom { directory, free, needed }));
        }
        tempfile::tempfile_in(&self.directory)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = part_bytes(self.number) - self.filled;
        let taken = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
        if self.number <= PARTS_OF_A_SIZE {
            if self.memory.capacity() == 0 {
                self.memory.reserve_exact(usize::try_from(PART_BYTES).unwrap_or(0));
            }
            self.memory.extend_from_slice(&bytes[..taken]);
        } else {
            let file = match self.file.take() {
                Some(file) => file,
                None => self.new_file()?,
            };
            self.file.insert(file).write_all(&bytes[..taken])?;
        }
        self.filled += taken as u64;
        if taken as u64 == room {
            self.hand_on()?;
        }
        Ok(taken)
    }

    fn hand_on(&mut self) -> io::Result<()> {
        if self.number > PARTS_MAX {
            return Err(io::Error::other("it is larger than an object of S3 can be"));
        }
        let part = match self.file.take() {
            Some(file) => {
                if let Some(sent) = self.sent.take() {
                    // Nothing is ever said: it ends with the file before.
                    let _ = sent.recv();
                }
                let (file, sent) = PartFile::new(file);
                self.sent = Some(sent);
                PartBody::File(Arc::new(file), self.filled)
            }
            None => PartBody::Memory(Bytes::from(std::mem::take(&mut self.memory))),
        };
        self.filled = 0;
        self.number += 1;
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the upload has ended");
        self.parts.blocking_send(part).map_err(gone)
    }

    /// The last part may be short, and the only one may be empty.
    fn finish(mut self) -> io::Result<()> {
        if self.filled > 0 || self.number == 1 { self.hand_on() } else { Ok(()) }
    }
}

/// Bytes of a part. They grow, so that the 10,000 that S3 takes are enough for what it keeps.
fn part_bytes(number: u32) -> u64 {
    let doublings = (number.saturating_sub(1) / PARTS_OF_A_SIZE).min(8);
    (PART_BYTES << doublings).min(PART_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_grow_until_they_hold_what_s3_keeps() {
        let all: u64 = (1..=PARTS_MAX).map(part_bytes).sum();
        assert!(all >= 5 * 1024 * 1024 * 1024 * 1024, "{all}");
        assert_eq!((part_bytes(1), part_bytes(1000)), (PART_BYTES, PART_BYTES));
        assert_eq!(part_bytes(1001), 2 * PART_BYTES);
        assert_eq!(part_bytes(PARTS_MAX), PART_BYTES_MAX);
    }

    /// Everything that goes through, with the parts as they were cut.
    fn through(plain: &[u8], kind: Kind) -> (Passed, Vec<Vec<u8>>) {
        let (sender, mut receiver) = mpsc::channel(1);
        std::thread::scope(|scope| {
            let work = scope.spawn(|| run(plain, kind, &Seal::None, sender, "/tmp".into()));
            let mut parts = Vec::new();
            while let Some(part) = receiver.blocking_recv() {
                let PartBody::Memory(bytes) = part else { panic!("a part in a file") };
                parts.push(bytes.to_vec());
            }
            (work.join().unwrap().unwrap(), parts)
        })
    }

    #[test]
    fn what_goes_in_comes_out_in_parts_of_one_size_and_a_rest() {
        // Nothing that zstd could make smaller.
        let mut state = 1_u64;
        let noise = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        let plain: Vec<u8> = noise.take(2_200_000).flatten().collect();
        let (passed, parts) = through(&plain, Kind::PgDump);
        let lengths: Vec<u64> = parts.iter().map(|part| part.len() as u64).collect();
        assert_eq!(lengths[..2], [PART_BYTES; 2]);
        assert_eq!(lengths.len(), 3);
        let stored = parts.concat();
        let mut counter = Counter::default();
        counter.update(&stored);
        assert_eq!(passed.stored, counter.finish());
        assert_eq!(zstd::decode_all(stored.as_slice()).unwrap(), plain);
        assert_eq!(passed.plain.bytes, plain.len() as u64);
        assert!(!passed.trailer);
        // Nothing is a part, too.
        assert_eq!(through(b"", Kind::PgDump).1.len(), 1);
    }

    #[test]
    fn large_parts_wait_in_files() {
        let (sender, mut receiver) = mpsc::channel(1);
        let (_keep, directory) = crate::fsx::scratch();
        let mut cutter = Cutter::new(sender, directory.clone());
        cutter.number = PARTS_OF_A_SIZE + 1;
        assert_eq!(cutter.write(b"some").unwrap(), 4);
        assert_eq!(cutter.write(b" bytes").unwrap(), 6);
        cutter.finish().unwrap();
        let Some(PartBody::File(file, 10)) = receiver.blocking_recv() else { panic!("no file") };
        assert_eq!(std::fs::read(file.path()).unwrap(), b"some bytes");
        // Each attempt reads it from its beginning, and nobody finds it who does not have it.
        assert_eq!(std::fs::read(file.path()).unwrap(), b"some bytes");
        assert_eq!(directory.read_dir_utf8().unwrap().count(), 0);
        let (sender, _receiver) = mpsc::channel(1);
        let mut cutter = Cutter::new(sender, "/tmp".into());
        (cutter.number, cutter.filled) = (PARTS_MAX + 1, 1);
        assert!(cutter.finish().is_err());
    }

    #[test]
    fn no_more_than_two_files_wait() {
        let (sender, mut receiver) = mpsc::channel(8);
        let (_keep, directory) = crate::fsx::scratch();
        let mut cutter = Cutter::new(sender, directory);
        cutter.number = PARTS_OF_A_SIZE + 1;
        cutter.write(b"one").unwrap();
        cutter.hand_on().unwrap();
        cutter.write(b"two").unwrap();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let work = scope.spawn(|| {
                cutter.hand_on().unwrap();
                done.store(true, std::sync::atomic::Ordering::SeqCst);
            });
            let first = receiver.blocking_recv().unwrap();
            // The second is not handed on while somebody has the first.
            assert!(receiver.try_recv().is_err());
            assert!(!done.load(std::sync::atomic::Ordering::SeqCst));
            drop(first);
            assert!(receiver.blocking_recv().is_some());
            work.join().unwrap();
        });
    }

    #[test]
    fn a_full_disk_is_told_before_it_is_full() {
        let (sender, _receiver) = mpsc::channel(1);
        let (_keep, directory) = crate::fsx::scratch();
        let mut cutter = Cutter::new(sender, directory.join("made"));
        (cutter.number, cutter.free_bytes) = (PARTS_OF_A_SIZE + 1, u64::MAX / 2);
        let error = cutter.write(b"some").unwrap_err().to_string();
        assert!(error.contains("bytes free") && error.contains("made"), "{error}");
    }

    #[test]
    fn ends_are_seen_across_pieces() {
        let check = |pieces: &[&[u8]], kind, expected| {
            let mut ends = Ends::default();
            for piece in pieces {
                ends.update(piece);
            }
            assert_eq!(ends.are_those_of(kind), expected, "{pieces:?}");
        };
        check(&[b"PGD", b"MP....", &[7, 0, 0], &[0, 0, 0]], Kind::PgDump, true);
        check(&[b"PGDMP....", &[0; 4]], Kind::PgDump, false);
        check(&[b"GDMP", &[0; 300]], Kind::PgDump, false);
        check(&[], Kind::PgDump, false);
        let end = b"-- Dump completed on 2026-11-21  0:20:00\n";
        check(&[&[b'x'; 1000], b"\n", end], Kind::MysqlDump, true);
        check(&[b"x\n-- Dump com", b"pleted\n\n"], Kind::MysqlDump, true);
        check(&[b"INSERT '-- Dump completed'\n"], Kind::MysqlDump, false);
    }
}
