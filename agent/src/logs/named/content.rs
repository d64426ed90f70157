//! What is in a file, as far as it takes to know it again. Only reads, never waits: a pipe or a
//! device in the place of a file is not even opened.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};

use camino::Utf8Path;
use groundcrew_core::logs::inventory::limits::{HEAD_BYTES, TAIL_BYTES};
use groundcrew_core::logs::inventory::{Identity, KnownFile, Print};
use ring::digest;
use rustix::fs::OFlags;

use super::limits::LINE_SEARCH_BYTES;
use crate::logs::files::identity;

/// What compressed files begin with: gzip, zstd, xz, LZ4, compress; bzip2 has a digit in between.
const MAGIC: [&[u8]; 5] =
    [b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"\x04\x22\x4d\x18", b"\x1f\x9d"];

/// Bytes that [`is_compressed`] looks at.
pub(super) const MAGIC_BYTES: u64 = 6;

/// When a file was last written, and when anything about it last changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Nanoseconds since 1970.
    pub(super) fn modified_ns(self) -> i64 {
        self.modified.0.saturating_mul(1_000_000_000).saturating_add(self.modified.1)
    }
}

/// Opens the file at `path`, links followed, if it still is the one that was seen there.
pub(super) fn open(path: &Utf8Path, expected: Identity) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || !identity(&metadata).is(expected) {
        return Err(io::Error::new(io::ErrorKind::NotFound, "another file is there now"));
    }
    Ok(file)
}

/// The bytes from `start`, `length` of them or as many as there are.
pub(super) fn bytes_at(file: &File, start: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], start + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// The print of bytes that stand at `start`. That of no bytes is the same for every file.
pub(super) fn print_of(start: u64, bytes: &[u8]) -> Print {
    if bytes.is_empty() {
        return Print { start, ..Print::default() };
    }
    let sum = digest::digest(&digest::SHA256, bytes);
    let mut hash = [0; 8];
    hash.copy_from_slice(&sum.as_ref()[..8]);
    Print { start, length: bytes.len() as u64, hash: u64::from_be_bytes(hash) }
}

/// Whether the file holds what the print was taken of.
pub(super) fn holds(file: &File, print: Print) -> io::Result<bool> {
    Ok(print_of(print.start, &bytes_at(file, print.start, print.length)?) == print)
}

/// Whether a file of `size` bytes holds a source's content. `own`: it is the source's file, which
/// must reach as far as it was read; a copy may have been made before.
pub(super) fn matches(file: &File, size: u64, known: &KnownFile, own: bool) -> io::Result<bool> {
    if size < known.head.end() || own && size < known.tail.end() {
        return Ok(false);
    }
    Ok(holds(file, known.head)? && (size < known.tail.end() || holds(file, known.tail)?))
}

/// The prints of a content that was read to `offset`.
pub(super) fn prints(file: &File, offset: u64) -> io::Result<(Print, Print)> {
    let head = print_of(0, &bytes_at(file, 0, HEAD_BYTES)?);
    let start = offset.saturating_sub(TAIL_BYTES);
    Ok((head, print_of(start, &bytes_at(file, start, offset - start)?)))
}

/// Whether all of `file` is how `whole` begins, as far as its first and its last bytes tell.
pub(super) fn begins(file: &File, whole: &File) -> io::Result<bool> {
    let size = file.metadata()?.len();
    let same = |start, length| -> io::Result<bool> {
        let bytes = bytes_at(file, start, length)?;
        Ok(bytes.len() as u64 == length && bytes == bytes_at(whole, start, length)?)
    };
    let tail = size.saturating_sub(TAIL_BYTES);
    Ok(same(0, size.min(HEAD_BYTES))? && same(tail, size - tail)?)
}

/// Whether a content that begins with these bytes is compressed.
pub(super) fn is_compressed(head: &[u8]) -> bool {
    let bzip2 = |head: &[u8]| matches!(head, [b'B', b'Z', b'h', b'1'..=b'9', b'1', b'A', ..]);
    MAGIC.iter().any(|magic| head.starts_with(magic)) || bzip2(head)
}

/// Where the last line begins that is finished or may be before `end`; `end` when it is too long to
/// find out.
pub(super) fn line_start(file: &File, end: u64) -> io::Result<u64> {
    let start = end.saturating_sub(LINE_SEARCH_BYTES);
    let bytes = bytes_at(file, start, end - start)?;
    Ok(memchr::memrchr(b'\n', &bytes).map_or(end, |at| start + at as u64 + 1))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::super::testing::{append, scratch};
    use super::*;

    fn file(path: &Utf8Path, bytes: impl AsRef<[u8]>) -> File {
        drop(File::create(path).unwrap());
        append(path, bytes);
        File::open(path).unwrap()
    }

    #[test]
    fn a_file_begins_another_as_long_as_its_ends_agree() {
        let (_keep, directory) = scratch();
        let text = (0..2000).map(|at| format!("line {at}\n")).collect::<Vec<_>>().concat();
        let whole = file(&directory.join("whole"), &text);
        let check = |bytes: &[u8], expected| {
            let part = file(&directory.join("part"), bytes);
            assert_eq!(begins(&part, &whole).unwrap(), expected, "{} bytes", bytes.len());
        };
        for length in [0, 1, 1023, 1024, 1025, 9000, text.len()] {
            check(&text.as_bytes()[..length], true);
        }
        check(b"other", false);
        check(&[text.as_bytes(), b"more"].concat(), false);
        check(&[&text.as_bytes()[..5000], b"other"].concat(), false);
    }

    #[test]
    fn a_large_file_is_begun_at_a_line() {
        let (_keep, directory) = scratch();
        let log = file(&directory.join("log"), "one\ntwo\nthr");
        assert_eq!(line_start(&log, 11).unwrap(), 8);
        assert_eq!(line_start(&log, 8).unwrap(), 8);
        let long = file(&directory.join("long"), vec![b'x'; 100_000]);
        assert_eq!(line_start(&long, 100_000).unwrap(), 100_000);
    }

    #[test]
    fn another_file_in_the_place_of_the_seen_one_is_not_opened() {
        let (_keep, directory) = scratch();
        let path = directory.join("log");
        let seen = identity(&file(&path, "one\n").metadata().unwrap());
        assert!(open(&path, seen).is_ok());
        fs::rename(&path, directory.join("aside")).unwrap();
        drop(file(&path, "one\n"));
        assert_eq!(open(&path, seen).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
