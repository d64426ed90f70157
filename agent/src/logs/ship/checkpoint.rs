//! How far each source was accepted, across crashes: a file of records that is only appended to.
//!
//! A record is a line: a checksum and a JSON document. Whatever follows the first record that is
//! damaged was not written whole, and is cut off; the file is never a reason not to start. A record
//! that is lost costs a repetition, never a line.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;

use camino::{Utf8Path, Utf8PathBuf};
use groundcrew_core::logs::inventory::Identity;
use serde::{Deserialize, Serialize};

use super::reading::Position;
use crate::fsx::{self, About, FileError};
use crate::logs::files::no_follow;

const FILE_MODE: u32 = 0o640;
/// The file is written anew when it has grown beyond this and more than half of it is outdated.
const COMPACT_BYTES: u64 = 1024 * 1024;
/// Bytes of the file that are read: damage must not become memory.
const READ_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Events and bytes of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Count {
    #[serde(rename = "e")]
    pub(super) events: u64,
    #[serde(rename = "b")]
    pub(super) bytes: u64,
}

impl Count {
    pub(super) fn add(&mut self, events: u64, bytes: u64) {
        self.events += events;
        self.bytes += bytes;
    }
}

/// What became of what was read of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Counts {
    #[serde(rename = "ack")]
    pub(super) acknowledged: Count,
    #[serde(rename = "rej", default)]
    pub(super) rejected: Count,
    #[serde(rename = "drop", default)]
    pub(super) dropped: Count,
}

/// What a source is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// A stream of a process.
    Process(Identity),
    /// A file that others write; which one it is stands elsewhere.
    Named,
    /// Units of the journal, with the cursor behind the last entry.
    Journal(Option<String>),
}

/// How far one source was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Record {
    /// Names the source.
    pub(super) source: String,
    /// `None`: there is no such source any more.
    pub(super) kind: Option<Kind>,
    #[serde(default)]
    pub(super) position: Position,
    /// What offsets are less than the bytes that were read.
    #[serde(default)]
    pub(super) shift: i64,
    #[serde(default)]
    pub(super) counts: Counts,
}

/// The file.
#[derive(Debug)]
pub(super) struct Checkpoint {
    path: Utf8PathBuf,
    file: File,
    bytes: u64,
    /// Bytes it would have if it were written anew.
    live: u64,
    records: BTreeMap<String, Record>,
    /// The last record was perhaps not written whole.
    is_torn: bool,
}

impl Checkpoint {
    /// Opens the file, or makes one. Answers what was damaged, for the log.
    pub(super) fn open(path: &Utf8Path) -> Result<(Self, Option<String>), FileError> {
        let file = open(path)?;
        let mut bytes = Vec::new();
        (&file).take(READ_BYTES_MAX).read_to_end(&mut bytes).about("read", path)?;
        let (records, good) = decode(&bytes);
        let damaged = (good < bytes.len())
            .then(|| format!("{} bytes of {path} are damaged and cut off", bytes.len() - good));
        if damaged.is_some() {
            file.set_len(good as u64).about("cut off", path)?;
        }
        let mut checkpoint = Self {
            path: path.to_owned(),
            file,
            bytes: good as u64,
            live: 0,
            records,
            is_torn: false,
        };
        checkpoint.live =
            checkpoint.records.values().map(|record| encoded(record).len() as u64).sum();
        Ok((checkpoint, damaged))
    }

    /// What is known of a source.
    pub(super) fn get(&self, source: &str) -> Option<&Record> {
        self.records.get(source)
    }

    /// Every source that is known.
    pub(super) fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// Notes how far a source was accepted. Not synced: the kernel keeps it when the agent dies,
    /// and a host that dies repeats a little.
    pub(super) fn write(&mut self, record: Record) -> Result<(), FileError> {
        let line = encoded(&record);
        if self.is_torn {
            // Behind a record that is not whole nothing would be read.
            self.file.set_len(self.bytes).about("cut off", &self.path)?;
        }
        self.is_torn = true;
        self.file.write_all(&line).about("write", &self.path)?;
        self.is_torn = false;
        self.bytes += line.len() as u64;
        let known = match record.kind {
            Some(_) => {
                self.live += line.len() as u64;
                self.records.insert(record.source.clone(), record)
            }
            None => self.records.remove(&record.source),
        };
        self.live -= known.map_or(0, |known| encoded(&known).len() as u64).min(self.live);
        if self.bytes > COMPACT_BYTES && self.live < self.bytes / 2 {
            self.compact()?;
        }
        Ok(())
    }

    /// Makes what was written survive the host.
    pub(super) fn sync(&self) -> Result<(), FileError> {
        self.file.sync_data().about("sync", &self.path)
    }

    fn compact(&mut self) -> Result<(), FileError> {
        let all: Vec<u8> = self.records.values().flat_map(encoded).collect();
        fsx::write_atomic(&self.path, &all, FILE_MODE)?;
        self.file = open(&self.path)?;
        (self.bytes, self.live) = (all.len() as u64, all.len() as u64);
        Ok(())
    }
}

fn open(path: &Utf8Path) -> Result<File, FileError> {
    OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(FILE_MODE)
        .custom_flags(no_follow())
        .open(path)
        .about("open", path)
}

fn encoded(record: &Record) -> Vec<u8> {
    // A record is numbers and strings: it has a JSON form.
    let json = serde_json::to_vec(record).unwrap_or_default();
    let mut line = format!("{:08x} ", crc32fast::hash(&json)).into_bytes();
    line.extend_from_slice(&json);
    line.push(b'\n');
    line
}

/// The records up to the first that is damaged, and how many bytes they have.
fn decode(bytes: &[u8]) -> (BTreeMap<String, Record>, usize) {
    let mut records = BTreeMap::new();
    let mut good = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let Some(json) = checked(line) else { break };
        good += line.len();
        // What another version of the agent wrote, and this one cannot read, is passed over.
        let Ok(record) = serde_json::from_slice::<Record>(json) else { continue };
        match record.kind {
            Some(_) => records.insert(record.source.clone(), record),
            None => records.remove(&record.source),
        };
    }
    (records, good)
}

/// The document of a line that was written whole.
fn checked(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_suffix(b"\n")?;
    let (sum, json) = line.split_at_checked(9)?;
    let sum = u32::from_str_radix(std::str::from_utf8(sum).ok()?.strip_suffix(' ')?, 16).ok()?;
    (crc32fast::hash(json) == sum).then_some(json)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;
    use crate::fsx::scratch;

    fn record(source: &str, offset: u64) -> Record {
        Record {
            source: source.to_owned(),
            kind: Some(Kind::Process(Identity { device: 1, inode: 2, born_ns: Some(3) })),
            position: Position { offset, part: 0 },
            shift: 0,
            counts: Counts::default(),
        }
    }

    #[test]
    fn the_last_record_of_a_source_counts_and_what_is_gone_is_gone() {
        let (_keep, directory) = scratch();
        let path = directory.join("checkpoint");
        let (mut checkpoint, damaged) = Checkpoint::open(&path).unwrap();
        assert_eq!(damaged, None);
        for offset in 0..20_000 {
            checkpoint.write(record("a", offset)).unwrap();
        }
        checkpoint.write(record("b", 7)).unwrap();
        checkpoint.write(Record { kind: None, ..record("a", 0) }).unwrap();
        assert!(fs::metadata(&path).unwrap().len() < 2 * COMPACT_BYTES, "outdated records go");
        let (checkpoint, damaged) = Checkpoint::open(&path).unwrap();
        assert_eq!(damaged, None);
        assert_eq!(checkpoint.records().collect::<Vec<_>>(), [&record("b", 7)]);
        assert_eq!(checkpoint.get("a"), None);
    }

    proptest! {
        #[test]
        fn damage_costs_what_follows_it_and_nothing_else(
            cut in 0..600usize, flip in 0..600usize,
        ) {
            let (_keep, directory) = scratch();
            let path = directory.join("checkpoint");
            let (mut checkpoint, _) = Checkpoint::open(&path).unwrap();
            for offset in 0..4 {
                checkpoint.write(record("a", offset)).unwrap();
            }
            let mut bytes = fs::read(&path).unwrap();
            let whole = bytes.len() / 4;
            bytes.truncate(cut);
            if let Some(byte) = bytes.get_mut(flip) {
                *byte ^= 0x10;
            }
            let good = (cut.min(if flip < bytes.len() { flip } else { cut }) / whole).min(4);
            crate::fsx::write_atomic(&path, &bytes, 0o600).unwrap();
            let (mut checkpoint, _) = Checkpoint::open(&path).unwrap();
            let known = checkpoint.get("a").map(|record| record.position.offset + 1);
            prop_assert_eq!(known.unwrap_or(0), good as u64);
            checkpoint.write(record("a", 9)).unwrap();
            let (checkpoint, damaged) = Checkpoint::open(&path).unwrap();
            prop_assert_eq!(damaged, None);
            prop_assert_eq!(checkpoint.get("a").unwrap().position.offset, 9);
        }
    }
}
