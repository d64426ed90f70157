//! Reads what the kernel says of the host: `/proc`, the local filesystems, the clock. What cannot
//! be read or makes no sense is left out and told once; it never waits for a network or another
//! program, because the agent's loop waits for it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};

use ::procfs::ProcError;
use camino::{Utf8Path, Utf8PathBuf};
use groundcrew_core::metrics::host::{Clock, Pressure, Reading, Source};

use crate::errors::chain;

mod clock_state;
mod devices;
mod filesystems;
mod kernel;
#[cfg(test)]
mod tests;

/// Bytes of a file that are read. `/proc/stat` has a few kilobytes, and 10 for each hundred CPUs.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Resources that the kernel measures stalls for.
const RESOURCES: [&str; 3] = ["cpu", "memory", "io"];

/// Why numbers are left out.
#[derive(Debug, thiserror::Error)]
enum HostError {
    #[error("could not read {path}")]
    Read {
        path: Utf8PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} has more than {FILE_BYTES_MAX} bytes")]
    TooLong { path: Utf8PathBuf },
    #[error("{path} does not say what it should")]
    Format {
        path: Utf8PathBuf,
        #[source]
        source: ProcError,
    },
    #[error("could not ask for the space of the filesystem at {mountpoint}")]
    Space {
        mountpoint: String,
        #[source]
        source: io::Error,
    },
    #[error("could not ask for the state of the clock")]
    Clock(#[source] io::Error),
}

/// Reads a host, again and again.
#[derive(Debug)]
pub struct HostReader {
    /// Where `proc` is; another directory in tests.
    root: Utf8PathBuf,
    state_dir: Utf8PathBuf,
    /// One buffer for all files.
    bytes: Vec<u8>,
    /// What failed the last time, which was told.
    failing: BTreeSet<Source>,
}

impl HostReader {
    /// Of this host. The filesystem of `state_dir` is measured whatever its type is.
    #[must_use]
    pub fn new(state_dir: &Utf8Path) -> Self {
        Self::at("/".into(), state_dir)
    }

    fn at(root: Utf8PathBuf, state_dir: &Utf8Path) -> Self {
        let state_dir = state_dir.to_owned();
        Self { root, state_dir, bytes: Vec::new(), failing: BTreeSet::new() }
    }

    /// Takes a look.
    pub fn read(&mut self) -> Reading {
        let mut failed = Vec::new();
        let mut reading = Reading {
            cpu: self.parsed(&mut failed, Source::Cpu, "proc/stat", kernel::cpu),
            load: self.parsed(&mut failed, Source::Load, "proc/loadavg", kernel::load),
            memory: self.parsed(&mut failed, Source::Memory, "proc/meminfo", kernel::memory),
            paging: self.parsed(&mut failed, Source::Paging, "proc/vmstat", kernel::paging),
            disks: self.parsed(&mut failed, Source::Disks, "proc/diskstats", devices::disks),
            interfaces: {
                let parse = devices::interfaces;
                self.parsed(&mut failed, Source::Network, "proc/self/net/dev", parse)
            },
            descriptors: {
                let (path, parse) = ("proc/sys/fs/file-nr", kernel::descriptors);
                self.parsed(&mut failed, Source::Descriptors, path, parse)
            },
            ..Reading::default()
        };
        reading.filesystems = self.filesystems(&mut failed);
        reading.pressure = self.pressure(&mut failed);
        reading.clock = self.clock(&mut failed);
        reading.failed = failed;
        reading
    }

    fn parsed<T>(
        &mut self,
        failed: &mut Vec<Source>,
        source: Source,
        path: &str,
        parse: impl FnOnce(&str) -> Result<T, ProcError>,
    ) -> Option<T> {
        let parsed = self.file(path, parse);
        self.judge(failed, source, parsed)
    }

    /// Tells of the first failure of several, and of the next one when it worked between them.
    fn judge<T>(
        &mut self,
        failed: &mut Vec<Source>,
        source: Source,
        result: Result<T, HostError>,
    ) -> Option<T> {
        match result {
            Ok(found) => {
                self.failing.remove(&source);
                Some(found)
            }
            Err(error) => {
                failed.push(source);
                if self.failing.insert(source) {
                    tracing::warn!("{} of the host: {}", source.word(), chain(&error));
                }
                None
            }
        }
    }

    fn file<T>(
        &mut self,
        path: &str,
        parse: impl FnOnce(&str) -> Result<T, ProcError>,
    ) -> Result<T, HostError> {
        let path = self.root.join(path);
        self.bytes.clear();
        let read = File::open(&path)
            .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut self.bytes));
        match read {
            Err(source) => return Err(HostError::Read { path, source }),
            Ok(length) if length as u64 > FILE_BYTES_MAX => {
                return Err(HostError::TooLong { path });
            }
            Ok(_) => {}
        }
        // Names of devices and mount points may be anything; the numbers are not.
        parse(&String::from_utf8_lossy(&self.bytes))
            .map_err(|source| HostError::Format { path, source })
    }

    fn filesystems(
        &mut self,
        failed: &mut Vec<Source>,
    ) -> Vec<groundcrew_core::metrics::host::Filesystem> {
        let state_dir = self.state_dir.clone();
        let choose = |text: &str| Ok(filesystems::to_measure(text, &state_dir));
        let path = "proc/self/mountinfo";
        let chosen = self.parsed(failed, Source::Filesystems, path, choose).unwrap_or_default();
        let mut found = Vec::new();
        for mountpoint in chosen {
            let space = filesystems::space(mountpoint);
            found.extend(self.judge(failed, Source::Filesystems, space));
        }
        found
    }

    /// Kernels may have been built or started without it: then there is none, and nothing is wrong.
    fn pressure(&mut self, failed: &mut Vec<Source>) -> Vec<Pressure> {
        let mut found = Vec::new();
        for resource in RESOURCES {
            let read = self.file(&format!("proc/pressure/{resource}"), kernel::pressure);
            let absent = |error: &io::Error| {
                matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::Unsupported)
            };
            if matches!(&read, Err(HostError::Read { source, .. }) if absent(source)) {
                continue;
            }
            let stalled = self.judge(failed, Source::Pressure, read);
            found.extend(stalled.map(|(some_us, full_us)| Pressure { resource, some_us, full_us }));
        }
        found
    }

    /// A unit with `ProtectClock=yes` is not told, which is nobody's failure.
    fn clock(&mut self, failed: &mut Vec<Source>) -> Option<Clock> {
        match clock_state::read() {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                if self.failing.insert(Source::Clock) {
                    tracing::info!("the agent may not ask for the state of the clock: {error}");
                }
                None
            }
            read => self.judge(failed, Source::Clock, read.map_err(HostError::Clock)),
        }
    }
}
