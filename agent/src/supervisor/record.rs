//! What the agent remembers of each process it started: written before the start, completed after
//! it, removed when the process id is retired. A hint for the next agent, never the truth: the
//! truth is what runs on the host (see `adopt`).
//!
//! Records need to survive the agent, not the host: nothing they speak of lives through a reboot.
//! So they are in the run directory, which is in memory, beside the sockets of the processes they
//! speak of: a start waits for no disk, and a full disk is in nobody's way. They are replaced
//! atomically and never synced.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};

use camino::{Utf8Path, Utf8PathBuf};
use groundcrew_core::spec::TierPlan;
use groundcrew_core::types::{Pid, ProcessId, ReleaseRef, Run};
use serde::{Deserialize, Serialize};

use crate::fsx::{self, About, FileError};

/// Bytes of a record that are read. One holds a tier's plan, a few kilobytes.
const RECORD_BYTES_MAX: u64 = 1024 * 1024;

/// A process number that cannot be mistaken for a later process with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The number.
    pub pid: Pid,
    /// When it started, in clock ticks since the boot.
    pub start_ticks: u64,
}

/// What is remembered of one process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Which process.
    pub id: ProcessId,
    /// Which of its starts.
    pub run: Run,
    /// The release it runs.
    pub release: ReleaseRef,
    /// Its tier as it was when the process was started: also how it is bled and stopped.
    pub plan: TierPlan,
    /// The boot it was started in.
    pub boot_id: String,
    /// Its control group's directory, where there is one.
    pub cgroup: Option<Utf8PathBuf>,
    /// The operating system's name for it; `None` until it was started.
    pub process: Option<Identity>,
}

impl Record {
    /// The tier's port.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.plan.spec.port
    }
}

/// The directory of the records.
#[derive(Debug, Clone)]
pub struct Records(Utf8PathBuf);

/// What reading the directory gave.
#[derive(Debug, Default)]
pub struct Remembered {
    /// The records that can be read.
    pub records: Vec<Record>,
    /// What is no record, with the reason. It is removed: it can never become one.
    pub unreadable: Vec<String>,
}

impl Records {
    /// Opens `run_dir/records`, for the agent's user alone.
    pub fn open(run_dir: &Utf8Path) -> Result<Self, FileError> {
        let directory = run_dir.join("records");
        fsx::create_dirs(&directory, 0o700)?;
        let only_us = fs::Permissions::from_mode(0o700);
        fs::set_permissions(&directory, only_us).about("close", &directory)?;
        Ok(Self(directory))
    }

    fn path(&self, id: &ProcessId) -> Utf8PathBuf {
        self.0.join(format!("{id}.json"))
    }

    /// Where the shim writes why `id` could not be started.
    #[must_use]
    pub fn failure_path(&self, id: &ProcessId) -> Utf8PathBuf {
        self.0.join(format!("{id}.failure"))
    }

    /// Replaces the record of `record.id`.
    pub fn write(&self, record: &Record) -> Result<(), FileError> {
        let path = self.path(&record.id);
        // One name for each id, and one start at a time for each id: never written twice at once.
        let temporary = path.with_extension("new");
        let bytes = serde_json::to_vec(record).map_err(std::io::Error::from);
        let bytes = bytes.about("write", &path)?;
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)
            .about("create", &temporary)?;
        file.write_all(&bytes).about("write", &temporary)?;
        fs::rename(&temporary, &path).about("replace", &path)
    }

    /// Forgets `id`.
    pub fn remove(&self, id: &ProcessId) -> Result<(), FileError> {
        fsx::remove_if_exists(&self.path(id))?;
        fsx::remove_if_exists(&self.failure_path(id))
    }

    /// Takes the reason the shim left behind; `None` when it left none.
    pub fn take_failure(&self, id: &ProcessId) -> Result<Option<String>, FileError> {
        let path = self.failure_path(id);
        let Some(bytes) = fsx::read_if_exists(&path)? else { return Ok(None) };
        fsx::remove_if_exists(&path)?;
        let text = String::from_utf8_lossy(&bytes).trim().to_owned();
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    /// Reads every record, and removes what is none.
    pub fn read_all(&self) -> Result<Remembered, FileError> {
        let mut remembered = Remembered::default();
        for entry in self.0.read_dir_utf8().about("read", &self.0)? {
            let entry = entry.about("read", &self.0)?;
            let path = entry.path();
            if path.extension() != Some("json") {
                // A temporary file of a write that a crash ended. Failures are read with their id.
                if path.extension() == Some("new") {
                    fsx::remove_if_exists(path)?;
                }
                continue;
            }
            match self.read(path) {
                Ok(record) => remembered.records.push(record),
                Err(reason) => {
                    remembered.unreadable.push(format!("{path}: {reason}"));
                    fsx::remove_if_exists(path)?;
                }
            }
        }
        remembered.records.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(remembered)
    }

    fn read(&self, path: &Utf8Path) -> Result<Record, String> {
        let size = fs::metadata(path).map_err(|error| error.to_string())?.len();
        if size > RECORD_BYTES_MAX {
            return Err(format!("{size} bytes are too many for a record"));
        }
        let bytes = fs::read(path).map_err(|error| error.to_string())?;
        let record: Record = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        if self.path(&record.id) != path {
            return Err(format!("it speaks of {}", record.id));
        }
        Ok(record)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use groundcrew_core::logs::LogRules;
    use groundcrew_core::spec::{
        CrashMode, Handoff, HostLimits, ProcessCount, ReadySpec, TierSpec,
    };
    use groundcrew_core::types::Digest;

    use super::*;

    pub(crate) fn record(id: &str, run: Run) -> Record {
        let spec = TierSpec {
            command: vec!["node".to_owned()],
            port: Some(3000),
            processes: ProcessCount::PerCore,
            ready: ReadySpec { path: None, within: Duration::from_mins(1), successes: 2 },
            bleed: Duration::from_secs(30),
            stop: Duration::from_secs(10),
            env: BTreeMap::from([("A".to_owned(), "B".to_owned())]),
            handoff: Handoff::Node,
            crash: CrashMode::Exit,
            logs: LogRules::default(),
        };
        Record {
            id: id.parse().unwrap(),
            run,
            release: ReleaseRef {
                version: "v1".parse().unwrap(),
                digest: Digest::from_bytes([7; 32]),
            },
            plan: TierPlan { spec, processes: 2, host: HostLimits::default() },
            boot_id: "boot".to_owned(),
            cgroup: None,
            process: Some(Identity { pid: 5, start_ticks: 6 }),
        }
    }

    fn scratch() -> (tempfile::TempDir, Records, Utf8PathBuf) {
        let keep = tempfile::tempdir().unwrap();
        let run_dir = Utf8PathBuf::from_path_buf(keep.path().to_owned()).unwrap();
        let records = Records::open(&run_dir).unwrap();
        (keep, records, run_dir.join("records"))
    }

    #[test]
    fn reads_what_was_written_last_and_forgets_what_was_removed() {
        let (_keep, records, directory) = scratch();
        records.write(&record("web.1.2", 1)).unwrap();
        records.write(&record("web.1.2", 2)).unwrap();
        records.write(&record("api.1.1", 1)).unwrap();
        let mode = fs::metadata(directory.join("web.1.2.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let read = records.read_all().unwrap();
        assert_eq!(read.records, [record("api.1.1", 1), record("web.1.2", 2)]);
        records.remove(&"web.1.2".parse().unwrap()).unwrap();
        records.remove(&"web.1.2".parse().unwrap()).unwrap();
        assert_eq!(records.read_all().unwrap().records.len(), 1);
    }

    #[test]
    fn what_is_no_record_is_named_and_removed() {
        let (_keep, records, directory) = scratch();
        let half = serde_json::to_vec(&record("web.1.1", 1)).unwrap();
        for (name, bytes) in [
            ("web.1.1.json", &half[..half.len() / 2]),
            ("web.1.2.json", b""),
            ("web.1.3.json", &half),
            ("web.1.4.new", &half),
        ] {
            File::create(directory.join(name)).unwrap().write_all(bytes).unwrap();
        }
        let read = records.read_all().unwrap();
        assert_eq!((read.records.len(), read.unreadable.len()), (0, 3), "{read:?}");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
    }

    use std::fs::File;

    #[test]
    fn a_failure_is_taken_once() {
        let (_keep, records, _) = scratch();
        let id = "web.1.1".parse().unwrap();
        assert_eq!(records.take_failure(&id).unwrap(), None);
        let path = records.failure_path(&id);
        File::create(&path).unwrap().write_all(b"command not found: nod\n").unwrap();
        assert_eq!(records.take_failure(&id).unwrap().unwrap(), "command not found: nod");
        assert_eq!(records.take_failure(&id).unwrap(), None);
    }
}
