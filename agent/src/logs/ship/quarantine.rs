//! Events that the service does not take, with the reason: kept for a person, who may send them
//! again. A file of JSON lines, bounded.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::fsx::{self, About, FileError};
use crate::logs::files::{no_follow, open};

const FILE_MODE: u32 = 0o640;
/// Bytes of the file; then it is put aside, in the place of what was put aside before.
const FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// An event that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Where it came from.
    pub(super) source: String,
    pub(super) group: String,
    pub(super) stream: String,
    /// Its time, in milliseconds since 1970.
    pub(super) timestamp: i64,
    pub(super) reason: String,
    pub(super) message: String,
}

/// The file.
#[derive(Debug, Clone)]
pub(super) struct Quarantine {
    path: Utf8PathBuf,
}

impl Quarantine {
    pub(super) fn new(path: Utf8PathBuf) -> Self {
        Self { path }
    }

    /// Keeps events.
    pub(super) fn add(&self, entries: &[Entry]) -> Result<(), FileError> {
        if entries.is_empty() {
            return Ok(());
        }
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(FILE_MODE)
            .custom_flags(no_follow())
            .open(&self.path)
            .about("open", &self.path)?;
        let mut lines = Vec::new();
        for entry in entries {
            // Strings and a number have a JSON form.
            lines.extend(serde_json::to_vec(entry).unwrap_or_default());
            lines.push(b'\n');
        }
        (&file).write_all(&lines).about("write", &self.path)?;
        if file.metadata().about("ask about", &self.path)?.len() > FILE_BYTES_MAX {
            fs::rename(&self.path, self.aside()).about("put aside", &self.path)?;
        }
        Ok(())
    }

    /// Takes what is kept to be sent again: what comes meanwhile goes to a new file. `None`:
    /// nothing is kept.
    pub(super) fn take(&self) -> Result<Option<Utf8PathBuf>, FileError> {
        let taken = self.taken();
        if taken.exists() {
            return Ok(Some(taken));
        }
        for path in [self.aside(), self.path.clone()] {
            if path.exists() {
                fs::rename(&path, &taken).about("rename", &path)?;
                return Ok(Some(taken));
            }
        }
        Ok(None)
    }

    /// What was taken, line by line. A line that cannot be read is passed over, and counted.
    pub(super) fn entries(
        path: &Utf8Path,
    ) -> Result<impl Iterator<Item = Option<Entry>>, FileError> {
        let file = open(path).about("open", path)?;
        let lines = BufReader::new(file).split(b'\n');
        Ok(lines.map_while(Result::ok).map(|line| serde_json::from_slice(&line).ok()))
    }

    /// What was taken is done, but for the entries from this one on.
    pub(super) fn done(path: &Utf8Path, from: usize) -> Result<(), FileError> {
        let mut left = Vec::new();
        let file = File::open(path).about("open", path)?;
        for line in BufReader::new(file).split(b'\n').skip(from) {
            left.extend(line.about("read", path)?);
            left.push(b'\n');
        }
        if left.is_empty() {
            return fsx::remove_if_exists(path);
        }
        fsx::write_atomic(path, &left, FILE_MODE)
    }

    fn aside(&self) -> Utf8PathBuf {
        Utf8PathBuf::from(format!("{}.1", self.path))
    }

    fn taken(&self) -> Utf8PathBuf {
        Utf8PathBuf::from(format!("{}.replay", self.path))
    }
}
