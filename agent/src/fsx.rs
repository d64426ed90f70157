//! Files that a crash leaves whole: the old content or the new one, never a part.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;

use camino::{Utf8Path, Utf8PathBuf};

/// A file operation that failed, with the file it was about.
#[derive(Debug, thiserror::Error)]
#[error("could not {operation} {path}")]
pub struct FileError {
    /// What was tried: `read`, `write`, `create`.
    pub operation: &'static str,
    /// What it was tried on.
    pub path: Utf8PathBuf,
    /// What the system answered.
    #[source]
    pub source: io::Error,
}

/// Names the operation and the file in an [`io::Result`]'s error.
pub trait About<T> {
    /// `operation` is an infinitive: `read`, `write`, `create`.
    fn about(self, operation: &'static str, path: &Utf8Path) -> Result<T, FileError>;
}

impl<T, E: Into<io::Error>> About<T> for Result<T, E> {
    fn about(self, operation: &'static str, path: &Utf8Path) -> Result<T, FileError> {
        self.map_err(|error| FileError { operation, path: path.to_owned(), source: error.into() })
    }
}

/// Writes `bytes` so that after a crash the file holds all of them or what it held before: a
/// temporary file beside it, fsync, rename, fsync of the directory. `mode` is the file's, such as
/// 0o600.
pub fn write_atomic(path: &Utf8Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let temporary = temporary_beside(path);
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&temporary)
            .about("create", &temporary)?;
        file.write_all(bytes).about("write", &temporary)?;
        file.sync_all().about("sync", &temporary)?;
        fs::rename(&temporary, path).about("replace", path)?;
        sync_parent(path)
    })();
    if written.is_err() {
        // The first error is the one to report; a leftover is cleaned at the next start.
        drop(fs::remove_file(&temporary));
    }
    written
}

/// Makes a rename or a new name in `path`'s directory durable.
pub fn sync_parent(path: &Utf8Path) -> Result<(), FileError> {
    let parent = path.parent().unwrap_or(Utf8Path::new("."));
    File::open(parent).and_then(|directory| directory.sync_all()).about("sync", parent)
}

/// Reads a file; `None` when there is none.
pub fn read_if_exists(path: &Utf8Path) -> Result<Option<Vec<u8>>, FileError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FileError { operation: "read", path: path.to_owned(), source }),
    }
}

/// Creates a directory and its parents with `mode`; one that exists is left as it is.
pub fn create_dirs(path: &Utf8Path, mode: u32) -> Result<(), FileError> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(mode).create(path).about("create", path)
}

/// Removes a file; one that is not there is fine.
pub fn remove_if_exists(path: &Utf8Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(FileError { operation: "remove", path: path.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

fn temporary_beside(path: &Utf8Path) -> Utf8PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().unwrap_or("file");
    path.with_file_name(format!(".{name}.{}.{count}.new", std::process::id()))
}

/// A directory of its own for a test; removed when the first value is dropped.
#[cfg(test)]
pub(crate) fn scratch() -> (tempfile::TempDir, Utf8PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::from_path_buf(directory.path().to_owned()).unwrap();
    (directory, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_replaces_and_leaves_nothing_beside() {
        let (_keep, directory) = scratch();
        let file = directory.join("ledger.json");
        write_atomic(&file, b"one", 0o600).unwrap();
        write_atomic(&file, b"two", 0o600).unwrap();
        assert_eq!(read_if_exists(&file).unwrap().unwrap(), b"two");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_names_the_file_and_keeps_the_old_content() {
        let (_keep, directory) = scratch();
        let missing = directory.join("no/such/place");
        let error = write_atomic(&missing, b"x", 0o600).unwrap_err();
        assert!(error.to_string().contains("no/such/.place."), "{error}");
        let taken = directory.join("directory");
        fs::create_dir(&taken).unwrap();
        fs::create_dir(taken.join("full")).unwrap();
        assert!(write_atomic(&taken, b"x", 0o600).is_err());
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "no temporary file stays");
    }
}
