//! The ledger on disk: one JSON file, replaced whole, and the lock that keeps a second agent away.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;

use camino::{Utf8Path, Utf8PathBuf};
use groundcrew_core::ledger::Ledger;
use serde::{Deserialize, Serialize};

use super::RuntimeError;
use crate::fsx::{self, About, FileError};
use crate::procfs;

/// The form this version writes.
const SCHEMA: u32 = 1;
/// It may name users and hold environment variables.
const MODE: u32 = 0o600;

/// Why the ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerFileError {
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A newer agent wrote it.
    #[error(
        "{path} has form {schema}, of a newer agent; this one reads up to {SCHEMA}. Install the \
         newer one again, or move the file away: what runs goes on, and what was rejected or \
         drained by hand is forgotten"
    )]
    Newer {
        /// The file.
        path: Utf8PathBuf,
        /// Its form.
        schema: u32,
    },
}

/// The file's content.
#[derive(Serialize, Deserialize)]
struct Document {
    schema: u32,
    boot_id: String,
    ledger: Ledger,
}

/// Only the form, to tell a newer file from a broken one.
#[derive(Deserialize)]
struct Form {
    schema: u32,
}

/// The ledger's place, held by this agent alone.
pub(super) struct LedgerFile {
    path: Utf8PathBuf,
    boot_id: String,
    /// Whether the host has not booted since the ledger was written.
    pub same_boot: bool,
    /// Released by the kernel however the agent ends.
    _lock: File,
}

impl LedgerFile {
    /// Takes the state directory for this agent and reads what the one before remembered.
    pub fn open(state_dir: &Utf8Path) -> Result<(Self, Ledger), RuntimeError> {
        let lock = lock(state_dir)?;
        let path = state_dir.join("ledger.json");
        let boot_id = procfs::boot_id().about("read", "/proc/sys/kernel/random/boot_id".into())?;
        let before = read(&path)?;
        let same_boot = before.as_ref().is_some_and(|before| before.boot_id == boot_id);
        let ledger = before.map(|before| before.ledger).unwrap_or_default();
        Ok((Self { path, boot_id, same_boot, _lock: lock }, ledger))
    }

    /// Makes the ledger durable. Blocking.
    pub fn save(&self, ledger: Ledger) -> Result<(), FileError> {
        let document = Document { schema: SCHEMA, boot_id: self.boot_id.clone(), ledger };
        let bytes = serde_json::to_vec(&document).map_err(std::io::Error::from);
        fsx::write_atomic(&self.path, &bytes.about("write", &self.path)?, MODE)
    }
}

/// A broken ledger is put aside, not believed and not fatal: the processes that run say what it
/// said.
fn read(path: &Utf8Path) -> Result<Option<Document>, LedgerFileError> {
    let Some(bytes) = fsx::read_if_exists(path)? else { return Ok(None) };
    not_newer(path, &bytes)?;
    match serde_json::from_slice(&bytes) {
        Ok(document) => Ok(Some(document)),
        Err(error) => {
            let aside = path.with_extension("broken");
            tracing::error!("{path} is broken ({error}); it is kept as {aside}");
            std::fs::rename(path, &aside).about("put aside", path)?;
            Ok(None)
        }
    }
}

fn not_newer(path: &Utf8Path, bytes: &[u8]) -> Result<(), LedgerFileError> {
    match serde_json::from_slice::<Form>(bytes) {
        Ok(form) if form.schema > SCHEMA => {
            Err(LedgerFileError::Newer { path: path.to_owned(), schema: form.schema })
        }
        _ => Ok(()),
    }
}

/// Whether an agent of this version could go on with what is remembered in `state_dir`, if anything
/// is. Looks, and changes nothing.
pub fn check_ledger(state_dir: &Utf8Path) -> Result<(), LedgerFileError> {
    let path = state_dir.join("ledger.json");
    // Where it cannot be read there is no agent's state, or the wrong person asks.
    std::fs::read(&path).map_or(Ok(()), |bytes| not_newer(&path, &bytes))
}

fn lock(state_dir: &Utf8Path) -> Result<File, RuntimeError> {
    let path = state_dir.join("agent.lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(MODE)
        .open(&path)
        .about("open", &path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            Err(RuntimeError::Taken { state_dir: state_dir.to_owned() })
        }
        Err(std::fs::TryLockError::Error(source)) => {
            Err(FileError { operation: "lock", path, source }.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsx::scratch;

    #[test]
    fn remembers_across_agents_and_lets_only_one_in() {
        let (_keep, directory) = scratch();
        let (file, ledger) = LedgerFile::open(&directory).unwrap();
        assert_eq!(ledger, Ledger::default());
        assert!(!file.same_boot, "nobody wrote it in this boot");
        let second = LedgerFile::open(&directory).map(drop).unwrap_err();
        assert!(matches!(second, RuntimeError::Taken { .. }), "{second}");
        let written = Ledger { settled: true, ..Ledger::default() };
        file.save(written.clone()).unwrap();
        drop(file);
        let (file, ledger) = LedgerFile::open(&directory).unwrap();
        assert_eq!(ledger, written);
        assert!(file.same_boot);
    }

    #[test]
    fn a_ledger_from_before_the_lifecycle_is_taken_over() {
        let (_keep, directory) = scratch();
        let old = br#"{"schema":1,"boot_id":"b","ledger":{"next_generation":3,"settled":true}}"#;
        fsx::write_atomic(&directory.join("ledger.json"), old, 0o600).unwrap();
        let (_file, ledger) = LedgerFile::open(&directory).unwrap();
        let next_generation = groundcrew_core::types::Generation(3);
        assert_eq!(ledger, Ledger { next_generation, settled: true, ..Ledger::default() });
    }

    #[test]
    fn a_broken_ledger_is_put_aside_and_a_newer_one_is_refused() {
        let (_keep, directory) = scratch();
        let path = directory.join("ledger.json");
        fsx::write_atomic(&path, b"{\"schema\":1,\"led", 0o600).unwrap();
        let (file, ledger) = LedgerFile::open(&directory).unwrap();
        assert_eq!(ledger, Ledger::default());
        assert!(directory.join("ledger.broken").exists());
        drop(file);
        fsx::write_atomic(&path, b"{\"schema\":2}", 0o600).unwrap();
        let error = LedgerFile::open(&directory).map(drop).unwrap_err().to_string();
        assert!(error.contains("form 2"), "{error}");
    }
}
