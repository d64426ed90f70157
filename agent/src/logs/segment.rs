//! One log file as lines: forward from an offset, and backward to find the last ones.
//!
//! Holes may appear while it reads. A line that a hole took a part of is dropped, never shown cut.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use camino::Utf8PathBuf;
use groundcrew_core::time::Wall;

use super::files::LogFile;
use super::index::Marks;
use super::keeper::stat;
use super::limits::LINE_BYTES_MAX;
use super::sparse::{self, Facts};
use super::watch::WatchId;
use crate::fsx::{About, FileError};

/// A line as it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RawLine {
    /// Without the newline.
    pub(super) bytes: Vec<u8>,
    /// By when it was written.
    pub(super) at: Wall,
    /// The rest follows as the next line.
    pub(super) truncated: bool,
}

/// A file being read forward.
#[derive(Debug)]
pub(super) struct Segment {
    file: File,
    pub(super) log: LogFile,
    pub(super) facts: Facts,
    /// Nothing is written to it any more: it was removed.
    pub(super) ended: bool,
    /// It could not be read or watched: the rest of it is given up.
    pub(super) broken: bool,
    /// The kernel's watch for its growth, while one is set.
    pub(super) watched: Option<WatchId>,
    marks: Marks,
    /// Where reading ends; `None` follows the file as it grows.
    end: Option<u64>,
    chunk: usize,
    /// Read and not yet used: the file's bytes from `start`.
    buffer: Vec<u8>,
    start: u64,
    /// So many bytes of the buffer are used.
    used: usize,
    /// So many bytes after `used` hold no newline.
    scanned: usize,
    /// Everything up to the next newline is part of a line whose beginning is not to be had.
    skipping: bool,
}

impl Segment {
    /// Opens a file at its beginning; `None` when it is gone. With `follow` it has no end.
    pub(super) fn open(log: LogFile, follow: bool) -> Result<Option<Self>, FileError> {
        let Some((file, facts)) = stat(&log)? else { return Ok(None) };
        let marks = Marks::read(&log.path, facts.size);
        Ok(Some(Self {
            file,
            log,
            facts,
            ended: false,
            broken: false,
            watched: None,
            marks,
            end: (!follow).then_some(facts.size),
            chunk: super::limits::CHUNK_BYTES_MAX,
            buffer: Vec::new(),
            start: 0,
            used: 0,
            scanned: 0,
            skipping: false,
        }))
    }

    /// How much is read at once.
    pub(super) fn set_chunk(&mut self, bytes: usize) {
        self.chunk = bytes;
    }

    /// Goes to the first line that begins at `offset` or after it.
    pub(super) fn go_to(&mut self, offset: u64) {
        // From the byte before: when that is a newline, the line at `offset` is whole.
        self.jump(offset.saturating_sub(1), offset > 0);
    }

    /// Where the lines of `since` and later begin, at the granularity of the marks. A line that a
    /// mark parts was finished after it, and belongs to them.
    pub(super) fn offset_of(&self, since: Wall) -> Result<u64, FileError> {
        let offset = self.marks.start_of(since, self.facts.modified, self.facts.size);
        if offset == 0 || offset >= self.facts.size {
            return Ok(offset);
        }
        let mut walk = self.backward(0)?;
        let newline = walk.newline_before(&self.file, offset).about("read", &self.log.path)?;
        Ok(newline.map_or(if walk.first_is_whole { 0 } else { offset }, |at| at + 1))
    }

    fn jump(&mut self, offset: u64, skipping: bool) {
        self.buffer.clear();
        (self.start, self.used, self.scanned, self.skipping) = (offset, 0, 0, skipping);
    }

    /// The next whole line; `None` at the end, which may move.
    pub(super) fn next_line(&mut self) -> Result<Option<RawLine>, FileError> {
        if self.broken {
            return Ok(None);
        }
        loop {
            let rest = &self.buffer[self.used..];
            let length = rest.len();
            let newline = rest[self.scanned..].iter().position(|byte| *byte == b'\n');
            let newline = newline.map(|at| at + self.scanned);
            self.scanned = length;
            match newline {
                Some(at) if self.skipping => {
                    self.skipping = false;
                    self.take(at + 1);
                }
                Some(at) if at <= LINE_BYTES_MAX => return Ok(Some(self.line(at, 1, false))),
                None if self.skipping => {
                    self.take(length);
                    if !self.fill()? {
                        return Ok(None);
                    }
                }
                _ if length > LINE_BYTES_MAX => {
                    let piece = character_floor(&self.buffer[self.used..], LINE_BYTES_MAX);
                    return Ok(Some(self.line(piece, 0, true)));
                }
                _ => {
                    if !self.fill()? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// What stands at the end without a newline; nothing more is expected to follow it.
    pub(super) fn take_partial(&mut self) -> Option<RawLine> {
        let length = self.buffer.len() - self.used;
        (length > 0 && !self.skipping && !self.broken).then(|| self.line(length, 0, false))
    }

    fn line(&mut self, length: usize, newline: usize, truncated: bool) -> RawLine {
        let bytes = self.buffer[self.used..self.used + length].to_vec();
        self.take(length + newline);
        let end = self.start + self.used as u64;
        let at = self.marks.time_at(end).unwrap_or(self.facts.modified);
        RawLine { bytes, at, truncated }
    }

    fn take(&mut self, bytes: usize) {
        self.used += bytes;
        self.scanned = 0;
    }

    /// Reads more; `false` when there is no more for now.
    fn fill(&mut self) -> Result<bool, FileError> {
        self.buffer.drain(..self.used);
        self.start += self.used as u64;
        self.used = 0;
        self.try_fill().about("read", &self.log.path)
    }

    fn try_fill(&mut self) -> io::Result<bool> {
        loop {
            let from = self.start + self.buffer.len() as u64;
            self.facts = Facts::of(&self.file.metadata()?);
            if self.facts.size < from {
                if self.end.is_some() {
                    return Ok(false);
                }
                // The process cut its own log off: what it holds now is new.
                self.marks = Marks::default();
                self.jump(0, false);
                continue;
            }
            let end = self.end.unwrap_or(u64::MAX).min(self.facts.size);
            if from >= end {
                return Ok(false);
            }
            let Some(data) = sparse::data_from(&self.file, from)?.filter(|data| *data < end) else {
                self.jump(end, true);
                return Ok(false);
            };
            if data > from {
                self.jump(data, true);
                continue;
            }
            if self.read_chunk(from, end)? {
                self.refresh_marks(from);
                return Ok(true);
            }
        }
    }

    /// Reads a chunk of data at `from`; `false` when a hole was punched there meanwhile.
    fn read_chunk(&mut self, from: u64, end: u64) -> io::Result<bool> {
        let wanted = usize::try_from(end - from).unwrap_or(usize::MAX).min(self.chunk);
        let held = self.buffer.len();
        self.buffer.resize(held + wanted, 0);
        let read = self.file.read_at(&mut self.buffer[held..], from);
        self.buffer.truncate(held + *read.as_ref().unwrap_or(&0));
        let read = match read {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(false),
            read => read?,
        };
        // Zeros that were read may be a hole's. Holes do not close again, so what is no hole now
        // was none when it was read.
        let hole = match sparse::data_from(&self.file, from)? {
            Some(data) if data == from => sparse::hole_from(&self.file, from)?,
            _ => from,
        };
        let good = usize::try_from(hole - from).unwrap_or(usize::MAX).min(read);
        self.buffer.truncate(held + good);
        Ok(good > 0)
    }

    /// Reads the sidecar again when it may say more about what was just read.
    fn refresh_marks(&mut self, from: u64) {
        let read_until = self.start + self.buffer.len() as u64;
        // At the end of the file the time of its last write says as much.
        if from >= self.marks.end() && read_until < self.facts.size {
            self.marks = Marks::read(&self.log.path, self.facts.size);
        }
    }

    /// Whether there is something to read, or the file was cut off.
    pub(super) fn has_more(&mut self) -> Result<bool, FileError> {
        let metadata = self.file.metadata().about("ask about", &self.log.path)?;
        Ok(metadata.len() != self.start + self.buffer.len() as u64)
    }

    /// The file has another name now.
    pub(super) fn rename(&mut self, path: Utf8PathBuf, number: u64) {
        (self.log.path, self.log.number) = (path, number);
    }

    /// Walks backward over the lines that begin at `floor` or after it.
    pub(super) fn backward(&self, floor: u64) -> Result<Backward, FileError> {
        let size = self.facts.size;
        let data = sparse::last_data(&self.file, size).about("read", &self.log.path)?;
        let mut backward = Backward {
            low: data.start,
            floor: floor.max(data.start),
            first_is_whole: data.start == 0,
            chunk: Vec::new(),
            chunk_at: data.end,
            chunk_max: self.chunk,
            line_end: data.end,
        };
        if data.end < size {
            backward.line_end = size;
            backward.floor = size;
        }
        if self.end.is_none() {
            // Who follows gets an unfinished line when it is finished.
            let last = backward
                .newline_before(&self.file, backward.line_end)
                .about("read", &self.log.path)?;
            backward.line_end = last.map_or(backward.floor, |at| at + 1);
        }
        Ok(backward)
    }

    /// The start of the line before, and by when it was written; `None` when there is none.
    pub(super) fn step_back(&self, walk: &mut Backward) -> Result<Option<(u64, Wall)>, FileError> {
        if walk.line_end <= walk.floor {
            return Ok(None);
        }
        let end = walk.line_end;
        let newline = walk.newline_before(&self.file, end - 1).about("read", &self.log.path)?;
        let start = match newline {
            Some(at) => at + 1,
            None if walk.first_is_whole => 0,
            None => return Ok(None),
        };
        if start < walk.floor {
            return Ok(None);
        }
        walk.line_end = start;
        Ok(Some((start, self.marks.time_at(end).unwrap_or(self.facts.modified))))
    }

    /// Whether `matches` takes the line at `line`, which `walk` has just stepped over, or one of
    /// the pieces in which [`Segment::next_line`] answers a long one.
    pub(super) fn any_piece(
        &self,
        walk: &Backward,
        line: Range<u64>,
        matches: impl Fn(&[u8]) -> bool,
    ) -> Result<bool, FileError> {
        if let Some(held) = walk.held(&line).filter(|held| held.len() <= LINE_BYTES_MAX) {
            return Ok(matches(held.strip_suffix(b"\n").unwrap_or(held)));
        }
        let mut buffer = vec![0; LINE_BYTES_MAX + 1];
        let mut start = line.start;
        loop {
            let left = usize::try_from(line.end - start).unwrap_or(usize::MAX);
            let bytes = &mut buffer[..left.min(LINE_BYTES_MAX + 1)];
            match self.file.read_exact_at(bytes, start) {
                // Cut off meanwhile: it will not be answered either.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
                read => read.about("read", &self.log.path)?,
            }
            if let Some(last) = bytes.strip_suffix(b"\n") {
                return Ok(matches(last));
            }
            if left <= LINE_BYTES_MAX {
                return Ok(matches(bytes));
            }
            let piece = character_floor(bytes, LINE_BYTES_MAX);
            if matches(&bytes[..piece]) {
                return Ok(true);
            }
            start += piece as u64;
        }
    }
}

/// The last place not after `at` that does not part a character of UTF-8.
pub(super) fn character_floor(bytes: &[u8], at: usize) -> usize {
    let parts = |at: usize| bytes.get(at).is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000);
    (at.saturating_sub(3)..=at).rev().find(|at| !parts(*at)).unwrap_or(at)
}

/// A walk backward over the lines of a file, a chunk at a time.
#[derive(Debug)]
pub(super) struct Backward {
    /// Where the last stretch of data begins.
    low: u64,
    floor: u64,
    first_is_whole: bool,
    chunk: Vec<u8>,
    chunk_at: u64,
    chunk_max: usize,
    /// Where the line found last begins, which is where the one before it ends.
    line_end: u64,
}

impl Backward {
    /// Where reading forward goes on after all lines that were not walked over.
    pub(super) fn position(&self) -> u64 {
        self.line_end
    }

    /// The bytes at `range`, when all of them are in the chunk that was read last.
    fn held(&self, range: &Range<u64>) -> Option<&[u8]> {
        let at = |offset: u64| usize::try_from(offset.checked_sub(self.chunk_at)?).ok();
        self.chunk.get(at(range.start)?..at(range.end)?)
    }

    /// The last newline in the data before `end`.
    fn newline_before(&mut self, file: &File, mut end: u64) -> io::Result<Option<u64>> {
        while end > self.low {
            let held = self.chunk_at..self.chunk_at + self.chunk.len() as u64;
            if !(held.start < end && end <= held.end) {
                let length = usize::try_from(end - self.low).unwrap_or(usize::MAX);
                self.chunk_at = end - length.min(self.chunk_max) as u64;
                self.chunk.resize(length.min(self.chunk_max), 0);
                match file.read_exact_at(&mut self.chunk, self.chunk_at) {
                    // Cut off meanwhile: nothing to find here.
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                    read => read?,
                }
            }
            let length = usize::try_from(end - self.chunk_at).unwrap_or(usize::MAX);
            let before = &self.chunk[..length.min(self.chunk.len())];
            if let Some(at) = before.iter().rposition(|byte| *byte == b'\n') {
                return Ok(Some(self.chunk_at + at as u64));
            }
            end = self.chunk_at;
        }
        Ok(None)
    }
}
