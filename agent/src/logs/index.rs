//! When what was written: the log files hold no times, so a sidecar holds marks.
//!
//! A mark says "up to this offset by this time". Marks are appended, never rewritten in place; when
//! there are too many the older half loses every second one. What a mark says stays true then, only
//! coarser. The index is a help: a lost or damaged one costs precision, never a line, and never
//! fails a reader.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use camino::{Utf8Path, Utf8PathBuf};
use groundcrew_core::time::Wall;

use super::files::no_follow;
use super::limits::MARKS_MAX;
use crate::fsx::{self, About, FileError};

const MAGIC: &[u8; 8] = b"gclogix1";
const MARK_BYTES: usize = 24;
const FILE_MODE: u32 = 0o640;

/// Everything before `offset` was written by `wall`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) wall: Wall,
    pub(super) offset: u64,
}

impl Mark {
    fn encode(self) -> [u8; MARK_BYTES] {
        let mut bytes = [0; MARK_BYTES];
        bytes[..8].copy_from_slice(&self.wall.0.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.offset.to_le_bytes());
        let sum = checksum(&bytes[..16]);
        bytes[16..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; MARK_BYTES]) -> Option<Self> {
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            word
        };
        (checksum(&bytes[..16]) == u64::from_le_bytes(word(16))).then(|| Self {
            wall: Wall(i64::from_le_bytes(word(0))),
            offset: u64::from_le_bytes(word(8)),
        })
    }
}

/// FNV-1a: against torn writes, not against forgery; the directory is the agent's own.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The marks of one file, offsets strictly growing. Times may go back: the wall clock does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Marks(Vec<Mark>);

impl Marks {
    /// The marks in `bytes` up to the first that is damaged. `true`: all of it was good.
    fn decode(bytes: &[u8]) -> (Self, bool) {
        let mut marks = Vec::new();
        let Some(body) = bytes.strip_prefix(MAGIC) else { return (Self(marks), false) };
        let (chunks, rest) = body.as_chunks::<MARK_BYTES>();
        for chunk in chunks {
            let Some(mark) = Mark::decode(chunk) else { return (Self(marks), false) };
            if marks.last().is_some_and(|last: &Mark| last.offset >= mark.offset) {
                return (Self(marks), false);
            }
            marks.push(mark);
        }
        (Self(marks), rest.is_empty())
    }

    /// What the sidecar of `log` says about its first `size` bytes. A sidecar that cannot be read
    /// says nothing.
    pub(super) fn read(log: &Utf8Path, size: u64) -> Self {
        let (mut marks, _) = fsx::read_if_exists(&super::files::index_path(log))
            .ok()
            .flatten()
            .map(|bytes| Self::decode(&bytes))
            .unwrap_or_default();
        // A mark beyond the end tells of a file that was cut off since: of other bytes.
        if marks.end() > size {
            marks.0.clear();
        }
        marks
    }

    /// Up to where marks reach.
    pub(super) fn end(&self) -> u64 {
        self.0.last().map_or(0, |mark| mark.offset)
    }

    /// By when everything before `offset` was written; `None` beyond the last mark.
    pub(super) fn time_at(&self, offset: u64) -> Option<Wall> {
        let at = self.0.partition_point(|mark| mark.offset < offset);
        self.0.get(at).map(|mark| mark.wall)
    }

    /// The mark that the byte at `offset` is before; `None` beyond the last.
    pub(super) fn after(&self, offset: u64) -> Option<Mark> {
        self.0.get(self.0.partition_point(|mark| mark.offset <= offset)).copied()
    }

    /// Where reading must begin to miss nothing written at `since` or later. `modified` is the time
    /// of the last write to the file, which has `size` bytes.
    pub(super) fn start_of(&self, since: Wall, modified: Wall, size: u64) -> u64 {
        match self.0.iter().position(|mark| mark.wall >= since) {
            Some(0) => 0,
            Some(later) => self.0[later - 1].offset,
            None if modified >= since => self.end(),
            None => size,
        }
    }

    /// Up to where everything was written by `time`. Stops at the first newer mark.
    pub(super) fn end_of(&self, time: Wall) -> u64 {
        let newer = self.0.iter().position(|mark| mark.wall > time);
        match newer.unwrap_or(self.0.len()) {
            0 => 0,
            newer => self.0[newer - 1].offset,
        }
    }

    fn thin(&mut self) {
        let half = self.0.len() / 2;
        let mut at = 0;
        // Of each pair the later one stays: "by this time" remains true for both stretches.
        self.0.retain(|_| {
            at += 1;
            at > half || at % 2 == 0
        });
    }
}

/// The sidecar of one log file, to be added to.
#[derive(Debug)]
pub(super) struct Index {
    path: Utf8PathBuf,
    pub(super) marks: Marks,
    /// What is on disk is not what `marks` says: the next change writes all of it.
    stale: bool,
}

impl Index {
    /// Takes up the sidecar of `log`, which has `size` bytes, the last of them written at
    /// `modified`: what no mark covers (the agent was away, the sidecar was lost or damaged) gets
    /// one.
    pub(super) fn open(log: &Utf8Path, size: u64, modified: Wall) -> Result<Self, FileError> {
        let path = super::files::index_path(log);
        let bytes = fsx::read_if_exists(&path)?;
        let (mut marks, whole) = bytes.as_deref().map(Marks::decode).unwrap_or_default();
        let cut = marks.end() > size;
        if cut {
            marks.0.clear();
        }
        let mut index = Self { path, marks, stale: cut || !whole };
        index.mark(modified, size)?;
        Ok(index)
    }

    /// Notes that the file had `size` bytes at `wall`. Nothing when it has not grown.
    pub(super) fn mark(&mut self, wall: Wall, size: u64) -> Result<(), FileError> {
        if size < self.marks.end() {
            self.marks.0.clear();
            self.stale = true;
        }
        if size == self.marks.end() {
            return Ok(());
        }
        let mark = Mark { wall, offset: size };
        self.marks.0.push(mark);
        if self.marks.0.len() > MARKS_MAX {
            self.marks.thin();
            self.stale = true;
        }
        let written = if self.stale { self.rewrite() } else { self.append(mark) };
        // A part of a mark may be there now (disk full): replaced as a whole next time.
        self.stale = written.is_err();
        written
    }

    fn append(&self, mark: Mark) -> Result<(), FileError> {
        let mut file = OpenOptions::new()
            .append(true)
            .custom_flags(no_follow())
            .open(&self.path)
            .about("open", &self.path)?;
        file.write_all(&mark.encode()).about("write", &self.path)
    }

    fn rewrite(&self) -> Result<(), FileError> {
        let mut bytes = Vec::with_capacity(MAGIC.len() + self.marks.0.len() * MARK_BYTES);
        bytes.extend_from_slice(MAGIC);
        for mark in &self.marks.0 {
            bytes.extend_from_slice(&mark.encode());
        }
        fsx::write_atomic(&self.path, &bytes, FILE_MODE)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::testing::scratch;
    use super::*;

    fn mark(wall: i64, offset: u64) -> Mark {
        Mark { wall: Wall(wall), offset }
    }

    fn index_of(log: &Utf8Path, marks: &[(i64, u64)]) -> Index {
        let mut index = Index::open(log, 0, Wall(0)).unwrap();
        for (wall, offset) in marks {
            index.mark(Wall(*wall), *offset).unwrap();
        }
        index
    }

    #[test]
    fn marks_survive_and_growth_while_away_gets_the_time_of_the_last_write() {
        let (_keep, directory) = scratch();
        let log = directory.join("web.1.1.stdout.log");
        let index = index_of(&log, &[(1000, 10), (2000, 20), (2500, 20)]);
        assert_eq!(index.marks.0, [mark(1000, 10), mark(2000, 20)]);
        let again = Index::open(&log, 50, Wall(7000)).unwrap();
        assert_eq!(again.marks.0, [mark(1000, 10), mark(2000, 20), mark(7000, 50)]);
        assert_eq!(Marks::read(&log, 50), again.marks);
    }

    #[test]
    fn a_damaged_index_keeps_what_comes_before_the_damage() {
        let (_keep, directory) = scratch();
        let log = directory.join("web.1.1.stdout.log");
        let path = super::super::files::index_path(&log);
        drop(index_of(&log, &[(1000, 10), (2000, 20), (3000, 30)]));
        let good = fs::read(&path).unwrap();
        let check = |bytes: &[u8], kept: &[Mark]| {
            fsx::write_atomic(&path, bytes, 0o640).unwrap();
            assert_eq!(Marks::read(&log, 40).0, kept);
            let index = Index::open(&log, 40, Wall(9000)).unwrap();
            assert_eq!(index.marks.0, [kept, &[mark(9000, 40)]].concat());
            assert_eq!(Marks::read(&log, 40), index.marks, "repaired on disk");
        };
        let all = [mark(1000, 10), mark(2000, 20), mark(3000, 30)];
        check(&good, &all);
        check(&good[..good.len() - 1], &all[..2]);
        check(&good[..8], &[]);
        check(&good[..3], &[]);
        check(b"", &[]);
        check(&[0; 500], &[]);
        let mut flipped = good.clone();
        flipped[8 + 24 + 3] ^= 1;
        check(&flipped, &all[..1]);
        let backwards = [&good[..32], &good[8..32]].concat();
        check(&backwards, &all[..1]);
    }

    #[test]
    fn every_truncation_and_every_flipped_byte_is_survived() {
        let (_keep, directory) = scratch();
        let log = directory.join("web.1.1.stdout.log");
        drop(index_of(&log, &[(1000, 10), (2000, 20), (3000, 30)]));
        let good = fs::read(super::super::files::index_path(&log)).unwrap();
        let (all, _) = Marks::decode(&good);
        for at in 0..good.len() {
            let (cut, _) = Marks::decode(&good[..at]);
            assert!(all.0.starts_with(&cut.0));
            let mut flipped = good.clone();
            flipped[at] ^= 0x40;
            let (marks, whole) = Marks::decode(&flipped);
            assert!(!whole && all.0.starts_with(&marks.0), "at {at}");
        }
    }

    #[test]
    fn a_log_that_was_cut_off_loses_its_marks() {
        let (_keep, directory) = scratch();
        let log = directory.join("web.1.1.stdout.log");
        let mut index = index_of(&log, &[(1000, 10), (2000, 20)]);
        index.mark(Wall(3000), 5).unwrap();
        assert_eq!(index.marks.0, [mark(3000, 5)]);
        assert_eq!(Marks::read(&log, 5).0, [mark(3000, 5)]);
        assert_eq!(Marks::read(&log, 4).0, []);
    }

    #[test]
    fn the_index_stays_small_and_true() {
        let (_keep, directory) = scratch();
        let log = directory.join("web.1.1.stdout.log");
        let mut index = Index::open(&log, 0, Wall(0)).unwrap();
        for second in 1..=5000i64 {
            index.mark(Wall(second * 1000), second.unsigned_abs() * 100).unwrap();
        }
        assert!(index.marks.0.len() <= MARKS_MAX);
        assert_eq!(Marks::read(&log, 500_000), index.marks);
        for second in 1..=5000i64 {
            let time = index.marks.time_at(second.unsigned_abs() * 100).unwrap();
            assert!(time.0 >= second * 1000, "a mark never claims a line is older than it is");
        }
        assert_eq!(index.marks.time_at(499_900), Some(Wall(4_999_000)), "the newest stay exact");
    }

    #[test]
    fn times_and_offsets_are_found_both_ways() {
        let (_keep, directory) = scratch();
        let marks = index_of(&directory.join("l"), &[(1000, 10), (2000, 20), (3000, 30)]).marks;
        assert_eq!(marks.time_at(10), Some(Wall(1000)));
        assert_eq!(marks.time_at(11), Some(Wall(2000)));
        assert_eq!(marks.time_at(31), None);
        assert_eq!(marks.after(10), Some(mark(2000, 20)));
        let since = |wall| marks.start_of(Wall(wall), Wall(4000), 40);
        assert_eq!((since(0), since(1000), since(1001), since(3001)), (0, 0, 10, 30));
        assert_eq!(since(4001), 40, "nothing was written since");
        let until = |wall| marks.end_of(Wall(wall));
        assert_eq!((until(999), until(1000), until(2999), until(9000)), (0, 10, 20, 30));
    }
}
