//! Where the log files are and what they are called. Never reads or removes what is in them.
//!
//! `logs/<tier>/<process id>.<stream>.log`, written by the process itself with `O_APPEND`; beside
//! it `.<process id>.<stream>.log.index`. Where the file system cannot punch holes, a file that has
//! grown large is put aside at a restart as `<process id>.<stream>.<number>.log`, the number
//! growing.

use std::fs::{self, Metadata, OpenOptions, Permissions};
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::time::{SystemTime, UNIX_EPOCH};

use camino::{Utf8Path, Utf8PathBuf};
use groundcrew_core::logs::inventory::Identity;
use groundcrew_core::types::{ProcessId, TierName};
use rustix::fs::OFlags;

use crate::fsx::{self, About, FileError};

const DIRECTORY_MODE: u32 = 0o750;
const FILE_MODE: u32 = 0o640;
/// Bytes at the end of a file in which its last lines are looked for.
const LAST_ERRORS_BYTES_MAX: u64 = 16 * 1024;

/// Which of a process's two streams.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// What it prints.
    Stdout,
    /// What it complains about.
    Stderr,
}

impl Stream {
    const ALL: [Self; 2] = [Self::Stdout, Self::Stderr];

    /// `stdout` or `stderr`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// The two files of a process, both there, to be opened with `O_APPEND`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessLogPaths {
    /// Takes the process's stdout.
    pub stdout: Utf8PathBuf,
    /// Takes the process's stderr.
    pub stderr: Utf8PathBuf,
}

/// One log file, known by its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LogFile {
    pub(super) process: ProcessId,
    pub(super) stream: Stream,
    /// `u64::MAX` for the file that is written; a smaller number for one that was put aside.
    pub(super) number: u64,
    pub(super) path: Utf8PathBuf,
}

impl LogFile {
    /// A file put aside is never written again.
    pub(super) fn is_aside(&self) -> bool {
        self.number != u64::MAX
    }

    fn parse(directory: &Utf8Path, name: &str) -> Option<Self> {
        let parts: Vec<&str> = name.strip_suffix(".log")?.split('.').collect();
        let (id, stream, number) = match parts.as_slice() {
            [id @ .., stream] if id.len() == 3 => (id, *stream, u64::MAX),
            [id @ .., stream, number] if id.len() == 3 => (id, *stream, number.parse().ok()?),
            _ => return None,
        };
        let stream = Stream::ALL.into_iter().find(|known| known.as_str() == stream)?;
        let process: ProcessId = id.join(".").parse().ok()?;
        // Only names that this module would write: `web.017.1` is somebody else's.
        (directory.file_name() == Some(process.tier.as_str())
            && file_name(&process, stream, number) == name)
            .then(|| Self { process, stream, number, path: directory.join(name) })
    }
}

/// The directory of the log files.
#[derive(Debug, Clone)]
pub struct LogFiles {
    root: Utf8PathBuf,
}

impl LogFiles {
    /// The files under `state_dir/logs`. Touches nothing yet.
    #[must_use]
    pub fn new(state_dir: &Utf8Path) -> Self {
        Self { root: state_dir.join("logs") }
    }

    /// The files of `process`, created (0640, owned by the agent's user) unless they are there: a
    /// process that is started again goes on in the same files. Blocks for a few system calls.
    pub fn paths(&self, process: &ProcessId) -> Result<ProcessLogPaths, FileError> {
        let directory = self.tier_directory(&process.tier);
        fsx::create_dirs(&directory, DIRECTORY_MODE)?;
        let create = |stream| {
            let path = directory.join(file_name(process, stream, u64::MAX));
            create(&path).map(|()| path)
        };
        Ok(ProcessLogPaths { stdout: create(Stream::Stdout)?, stderr: create(Stream::Stderr)? })
    }

    /// The last lines that `process` wrote to stderr, oldest first. Reads no more than they may
    /// take.
    pub fn last_errors(
        &self,
        process: &ProcessId,
        lines_max: usize,
    ) -> Result<Vec<String>, FileError> {
        let path = self.tier_directory(&process.tier);
        let path = path.join(file_name(process, Stream::Stderr, u64::MAX));
        let mut file = open(&path).about("open", &path)?;
        let length = file.metadata().about("read", &path)?.len();
        let from = length.saturating_sub(LAST_ERRORS_BYTES_MAX);
        file.seek(io::SeekFrom::Start(from)).about("read", &path)?;
        let mut bytes = Vec::new();
        file.take(LAST_ERRORS_BYTES_MAX).read_to_end(&mut bytes).about("read", &path)?;
        let text = String::from_utf8_lossy(&bytes);
        // The first line may be the end of one.
        let lines: Vec<_> = text.lines().skip(usize::from(from > 0)).collect();
        let skipped = lines.len().saturating_sub(lines_max);
        Ok(lines[skipped..].iter().map(|line| (*line).to_owned()).collect())
    }

    pub(super) fn root(&self) -> &Utf8Path {
        &self.root
    }

    pub(super) fn tier_directory(&self, tier: &TierName) -> Utf8PathBuf {
        self.root.join(tier.as_str())
    }

    pub(super) fn create_root(&self) -> Result<(), FileError> {
        fsx::create_dirs(&self.root, DIRECTORY_MODE)
    }

    /// The directories of the tiers that have logs. What else lies there is not ours.
    pub(super) fn tier_directories(&self) -> Result<Vec<Utf8PathBuf>, FileError> {
        let mut directories = Vec::new();
        for name in names(&self.root)? {
            let path = self.root.join(&name);
            let is_directory = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir());
            if is_directory && name.parse::<TierName>().is_ok() {
                directories.push(path);
            }
        }
        Ok(directories)
    }

    /// The log files of one tier, by process, stream and age. A directory that is not there has
    /// none.
    pub(super) fn list(directory: &Utf8Path) -> Result<Vec<LogFile>, FileError> {
        let mut files: Vec<LogFile> = names(directory)?
            .iter()
            .filter_map(|name| LogFile::parse(directory, name))
            .filter(|file| fs::symlink_metadata(&file.path).is_ok_and(|found| found.is_file()))
            .collect();
        files.sort();
        Ok(files)
    }

    /// Puts the file that `process` wrote to aside, under the next number. The process must not
    /// run.
    pub(super) fn put_aside(&self, file: &LogFile) -> Result<(), FileError> {
        let directory = self.tier_directory(&file.process.tier);
        let numbers = Self::list(&directory)?.into_iter().filter(|other| {
            other.is_aside() && other.process == file.process && other.stream == file.stream
        });
        let number = numbers.map(|other| other.number).max().unwrap_or(0).saturating_add(1);
        let aside = directory.join(file_name(&file.process, file.stream, number));
        // The index first: without its log it is ignored, the other way about times would be lost.
        match fs::rename(index_path(&file.path), index_path(&aside)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).about("put aside", &index_path(&file.path));
            }
            _ => {}
        }
        fs::rename(&file.path, &aside).about("put aside", &file.path)
    }
}

/// The sidecar of a log file. Hidden, so that a listing of the directory shows logs.
pub(super) fn index_path(log: &Utf8Path) -> Utf8PathBuf {
    log.with_file_name(format!(".{}.index", log.file_name().unwrap_or_default()))
}

fn file_name(process: &ProcessId, stream: Stream, number: u64) -> String {
    let stream = stream.as_str();
    if number == u64::MAX {
        return format!("{process}.{stream}.log");
    }
    format!("{process}.{stream}.{number}.log")
}

fn create(path: &Utf8Path) -> Result<(), FileError> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(FILE_MODE)
        .custom_flags(no_follow())
        .open(path)
        .about("create", path)?;
    // Not what the umask of whoever started the agent makes of it.
    file.set_permissions(Permissions::from_mode(FILE_MODE)).about("set the mode of", path)
}

/// A log file is never a link to something else; a pipe in its place must not hang the agent.
pub(super) fn no_follow() -> i32 {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    i32::try_from(flags.bits()).unwrap_or_default()
}

/// Opens a log file to read it.
pub(super) fn open(path: &Utf8Path) -> io::Result<fs::File> {
    OpenOptions::new().read(true).custom_flags(no_follow()).open(path)
}

fn names(directory: &Utf8Path) -> Result<Vec<String>, FileError> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.about("list", directory)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        // A name that is not UTF-8 is none that this module wrote.
        names.extend(entry.about("list", directory)?.file_name().into_string());
    }
    Ok(names)
}

/// What the file system tells this file apart by.
pub(super) fn identity(metadata: &Metadata) -> Identity {
    let born = metadata.created().ok().map(since_1970);
    Identity { device: metadata.dev(), inode: metadata.ino(), born_ns: born }
}

fn since_1970(time: SystemTime) -> i64 {
    let ns = |duration: std::time::Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => ns(after),
        Err(before) => -ns(before.duration()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{process, scratch};
    use super::*;

    #[test]
    fn paths_creates_closed_directories_and_files_and_keeps_what_is_there() {
        let (_keep, state) = scratch();
        let files = LogFiles::new(&state);
        let paths = files.paths(&process("web.17.1")).unwrap();
        assert_eq!(paths.stdout, state.join("logs/web/web.17.1.stdout.log"));
        let mode = |path: &Utf8Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&state.join("logs/web")), 0o750);
        assert_eq!((mode(&paths.stdout), mode(&paths.stderr)), (0o640, 0o640));

        let mut file = OpenOptions::new().append(true).open(&paths.stdout).unwrap();
        io::Write::write_all(&mut file, b"first run\n").unwrap();
        assert_eq!(files.paths(&process("web.17.1")).unwrap(), paths);
        assert_eq!(fs::read(&paths.stdout).unwrap(), b"first run\n");
    }

    #[test]
    fn a_link_in_the_place_of_a_log_is_refused() {
        let (_keep, state) = scratch();
        let files = LogFiles::new(&state);
        let paths = files.paths(&process("web.1.1")).unwrap();
        fs::remove_file(&paths.stdout).unwrap();
        std::os::unix::fs::symlink(state.join("elsewhere"), &paths.stdout).unwrap();
        assert!(files.paths(&process("web.1.1")).is_err());
        assert!(!state.join("elsewhere").exists());
        assert_eq!(LogFiles::list(&state.join("logs/web")).unwrap().len(), 1, "stderr only");
    }

    #[test]
    fn only_names_of_our_making_are_logs() {
        let directory = Utf8Path::new("/x/web");
        for name in ["web.17.1.stdout.log", "web.17.1.stderr.log", "web.17.1.stdout.3.log"] {
            let file = LogFile::parse(directory, name).unwrap();
            assert_eq!(file.process, process("web.17.1"), "{name}");
            assert_eq!(file.is_aside(), name.contains(".3."));
        }
        for name in [
            "",
            ".log",
            "web.17.1.log",
            "web.17.1.stdin.log",
            "web.017.1.stdout.log",
            "web.17.1.stdout.03.log",
            "web.17.1.stdout.x.log",
            "web.17.1.stdout.1.2.log",
            "api.17.1.stdout.log",
            ".web.17.1.stdout.log.index",
            "web.17.1.stdout.log.gz",
        ] {
            assert_eq!(LogFile::parse(directory, name), None, "{name:?}");
        }
    }

    #[test]
    fn put_aside_numbers_grow_and_the_index_goes_along() {
        let (_keep, state) = scratch();
        let files = LogFiles::new(&state);
        let directory = state.join("logs/web");
        for expected in 1..=3u64 {
            let paths = files.paths(&process("web.1.1")).unwrap();
            create(&index_path(&paths.stdout)).unwrap();
            let live = LogFiles::list(&directory).unwrap();
            let live = live.iter().find(|file| !file.is_aside() && file.path == paths.stdout);
            files.put_aside(live.unwrap()).unwrap();
            let aside = directory.join(format!("web.1.1.stdout.{expected}.log"));
            assert!(aside.exists() && index_path(&aside).exists() && !paths.stdout.exists());
        }
    }
}
