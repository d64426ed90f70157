//! Sparse files: what is allocated, where data begins, making holes.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};

use camino::Utf8Path;
use groundcrew_core::time::Wall;
use rustix::fs::{FallocateFlags, SeekFrom};
use rustix::io::Errno;

/// Makes a hole at an offset for a length. A parameter, so that tests see file systems that cannot.
pub(super) type Punch = fn(&File, u64, u64) -> io::Result<()>;

/// Gives the blocks of `length` bytes from `offset` back to the file system; the file keeps its
/// length.
pub(super) fn punch(file: &File, offset: u64, length: u64) -> io::Result<()> {
    let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    loop {
        match rustix::fs::fallocate(file, mode, offset, length) {
            Err(Errno::INTR) => {}
            done => return Ok(done?),
        }
    }
}

/// Whether this is the answer of a file system that has no holes to give.
pub(super) fn is_unsupported(error: &io::Error) -> bool {
    let known = [Errno::OPNOTSUPP, Errno::NOSYS];
    known.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// What `stat` says about a log file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) identity: (u64, u64),
    /// Length, holes included.
    pub(super) size: u64,
    /// Bytes on disk.
    pub(super) allocated: u64,
    /// Only whole blocks can become holes.
    pub(super) block: u64,
    /// When it was last written: everything in it is older.
    pub(super) modified: Wall,
}

impl Facts {
    pub(super) fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            identity: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            allocated: metadata.blocks().saturating_mul(512),
            block: metadata.blksize().max(4096),
            modified: Wall(
                metadata.mtime().saturating_mul(1000) + metadata.mtime_nsec() / 1_000_000,
            ),
        }
    }

    /// The beginning of the block that `offset` is in.
    pub(super) fn block_floor(&self, offset: u64) -> u64 {
        offset - offset % self.block
    }
}

/// The first byte at or after `offset` that is not in a hole; `None` when only a hole or nothing
/// follows.
pub(super) fn data_from(file: &File, offset: u64) -> io::Result<Option<u64>> {
    match rustix::fs::seek(file, SeekFrom::Data(offset)) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NXIO) => Ok(None),
        // A file system that knows no holes: everything is data.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Some(offset)),
        Err(error) => Err(error.into()),
    }
}

/// The first hole at or after `offset`; the file's end counts as one.
pub(super) fn hole_from(file: &File, offset: u64) -> io::Result<u64> {
    match rustix::fs::seek(file, SeekFrom::Hole(offset)) {
        Ok(found) => Ok(found),
        // Nothing follows: cut off meanwhile.
        Err(Errno::NXIO) => Ok(offset),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(u64::MAX),
        Err(error) => Err(error.into()),
    }
}

/// How many lines end between two offsets.
pub(super) fn lines_between(path: &Utf8Path, from: u64, to: u64) -> io::Result<u64> {
    let file = super::files::open(path)?;
    let mut chunk = vec![0; 64 * 1024];
    let (mut at, mut lines) = (from, 0);
    while at < to {
        let wanted = usize::try_from(to - at).unwrap_or(usize::MAX).min(chunk.len());
        let read = file.read_at(&mut chunk[..wanted], at)?;
        if read == 0 {
            break;
        }
        lines += memchr::memchr_iter(b'\n', &chunk[..read]).count() as u64;
        at += read as u64;
    }
    Ok(lines)
}

/// The last stretch of data before `end`; empty at `end` when there is none.
pub(super) fn last_data(file: &File, end: u64) -> io::Result<Range<u64>> {
    let mut last = end..end;
    let mut at = 0;
    while let Some(start) = data_from(file, at)?.filter(|start| *start < end) {
        last = start..hole_from(file, start)?.min(end);
        if last.end >= end || last.end <= at {
            break;
        }
        at = last.end;
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_punched_file_keeps_its_length_and_loses_its_blocks() {
        let mut file = tempfile::tempfile().unwrap();
        let block = Facts::of(&file.metadata().unwrap()).block;
        let length = usize::try_from(block).unwrap() * 8;
        file.write_all(&vec![b'x'; length]).unwrap();
        let before = Facts::of(&file.metadata().unwrap());
        punch(&file, 0, block * 3).unwrap();
        let after = Facts::of(&file.metadata().unwrap());
        assert_eq!(after.size, before.size);
        assert_eq!(after.allocated, before.allocated - block * 3);
        assert_eq!(data_from(&file, 0).unwrap(), Some(block * 3));
        assert_eq!(hole_from(&file, block * 4).unwrap(), before.size);
        assert_eq!(last_data(&file, before.size).unwrap(), block * 3..before.size);
        punch(&file, block * 5, block).unwrap();
        assert_eq!(last_data(&file, before.size).unwrap(), block * 6..before.size);
        punch(&file, 0, before.size).unwrap();
        assert_eq!(data_from(&file, 0).unwrap(), None);
        assert_eq!(last_data(&file, before.size).unwrap(), before.size..before.size);
    }

    #[test]
    fn terabytes_of_hole_cost_nothing() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(8 << 40).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, b"end\n", 8 << 40).unwrap();
        assert_eq!(data_from(&file, 0).unwrap(), Some(8 << 40));
        assert_eq!(last_data(&file, (8 << 40) + 4).unwrap(), 8 << 40..(8 << 40) + 4);
    }
}
