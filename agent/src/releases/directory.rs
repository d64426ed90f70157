//! A source in a directory, with the conditional semantics of S3: for tests, demos and shared
//! disks.
//!
//! A document's etag is the SHA-256 of its content. An artifact's etag (from `head`, for ranges) is
//! its inode, size and time: artifacts are only ever replaced whole, and may be too large to hash
//! for a range.

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};

use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{FlockOperation, flock};

use crate::aws::s3::{ErrorKind, Object, PutIf};
use crate::fsx::{self, About, FileError};

use super::hash;
use super::source::{Head, Key};

/// Held while a document is compared and replaced.
const LOCK_FILE: &str = ".lock";
const FILE_MODE: u32 = 0o644;
const DIRECTORY_MODE: u32 = 0o755;

/// A directory used as a source.
#[derive(Debug, Clone)]
pub struct Directory {
    root: Utf8PathBuf,
}

/// An operation on a file of the source that failed.
#[derive(Debug, thiserror::Error)]
#[error("could not {operation} {path}")]
pub struct DirectoryError {
    /// What was tried: `read`, `write`, `list`.
    pub operation: &'static str,
    /// The file.
    pub path: Utf8PathBuf,
    /// What to make of it.
    pub kind: ErrorKind,
    /// What the system said.
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
}

#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("it exists")]
    Exists,
    #[error("it was changed by somebody else")]
    Changed,
    #[error("it holds {actual} bytes, more than {limit}")]
    TooLong { actual: u64, limit: u64 },
    #[error("it ends before byte {end}")]
    Truncated { end: u64 },
}

type Result<T> = std::result::Result<T, DirectoryError>;

impl From<FileError> for DirectoryError {
    fn from(error: FileError) -> Self {
        let FileError { operation, path, source } = error;
        Self { operation, path, kind: kind_of(&source), source: Box::new(source) }
    }
}

fn kind_of(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::PermissionDenied => ErrorKind::Denied,
        io::ErrorKind::StorageFull | io::ErrorKind::InvalidInput => ErrorKind::Other,
        _ => ErrorKind::Unavailable,
    }
}

fn refuse<T>(operation: &'static str, path: &Utf8Path, kind: ErrorKind, why: Refusal) -> Result<T> {
    Err(DirectoryError { operation, path: path.to_owned(), kind, source: Box::new(why) })
}

impl Directory {
    /// The source at `root`, which is created by the first write.
    #[must_use]
    pub fn new(root: Utf8PathBuf) -> Self {
        Self { root }
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Utf8Path {
        &self.root
    }

    /// The file of an object.
    #[must_use]
    pub fn path(&self, key: &Key) -> Utf8PathBuf {
        self.root.join(key.as_str())
    }

    /// Reads a document of at most `bytes_max` bytes.
    pub async fn get(&self, key: &Key, bytes_max: u64) -> Result<Object> {
        let path = self.path(key);
        blocking(move || read(&path, bytes_max)).await
    }

    /// Reads exactly `range` of the version `etag`, as [`Directory::head`] named it.
    pub async fn get_range(
        &self,
        key: &Key,
        range: Range<u64>,
        etag: &str,
        mut buffer: Vec<u8>,
    ) -> Result<Vec<u8>> {
        let (path, etag) = (self.path(key), etag.to_owned());
        blocking(move || {
            let file = File::open(&path).about("read", &path)?;
            let metadata = file.metadata().about("read", &path)?;
            if identity(&metadata) != etag {
                return refuse("read", &path, ErrorKind::PreconditionFailed, Refusal::Changed);
            }
            if metadata.len() < range.end {
                let why = Refusal::Truncated { end: range.end };
                return refuse("read", &path, ErrorKind::Unavailable, why);
            }
            let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
            buffer.resize(length, 0);
            file.read_exact_at(&mut buffer, range.start).about("read", &path)?;
            Ok(buffer)
        })
        .await
    }

    /// Size and version of an artifact; `None` when there is none.
    pub async fn head(&self, key: &Key) -> Result<Option<Head>> {
        let path = self.path(key);
        blocking(move || match fs::metadata(&path) {
            Ok(metadata) => Ok(Some(Head { size: metadata.len(), etag: identity(&metadata) })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).about("read", &path)?,
        })
        .await
    }

    /// Writes a document on a condition and returns its etag.
    pub async fn put(&self, key: &Key, bytes: Vec<u8>, condition: PutIf<'_>) -> Result<String> {
        let (root, path) = (self.root.clone(), self.path(key));
        let matches = match condition {
            PutIf::Absent => None,
            PutIf::Matches(etag) => Some(etag.to_owned()),
        };
        blocking(move || {
            create_parent(&path)?;
            match matches {
                None => create(&path, &bytes)?,
                Some(etag) => replace(&root, &path, &bytes, &etag)?,
            }
            Ok(hash::sha256(&bytes).to_string())
        })
        .await
    }

    /// Copies a file to an artifact's place, whole or not at all.
    pub async fn put_file(&self, key: &Key, from: &Utf8Path) -> Result<()> {
        let (path, from) = (self.path(key), from.to_owned());
        blocking(move || {
            create_parent(&path)?;
            let mut source = File::open(&from).about("read", &from)?;
            let mut temporary = temporary_beside(&path)?;
            io::copy(&mut source, temporary.as_file_mut()).about("write", &path)?;
            temporary.as_file().sync_all().about("sync", &path)?;
            temporary.persist(&path).map_err(|error| error.error).about("replace", &path)?;
            Ok(fsx::sync_parent(&path)?)
        })
        .await
    }

    /// Names and times (milliseconds since 1970) of the files in `below`, at most `count_max`.
    pub async fn list(&self, below: &str, count_max: usize) -> Result<Vec<(String, i64)>> {
        let path = self.root.join(below);
        blocking(move || {
            let mut found = Vec::new();
            let entries = match path.read_dir_utf8() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
                entries => entries.about("list", &path)?,
            };
            for entry in entries.take(count_max) {
                let entry = entry.about("list", &path)?;
                let metadata = entry.metadata().about("read", entry.path())?;
                let millis = metadata.mtime() * 1000 + metadata.mtime_nsec() / 1_000_000;
                found.push((entry.file_name().to_owned(), millis));
            }
            Ok(found)
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn identity(metadata: &fs::Metadata) -> String {
    let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
    format!("{}-{}-{seconds}.{nanoseconds}", metadata.ino(), metadata.len())
}

fn read(path: &Utf8Path, bytes_max: u64) -> Result<Object> {
    let file = File::open(path).about("read", path)?;
    let size = file.metadata().about("read", path)?.len();
    let too_long = |actual| {
        refuse("read", path, ErrorKind::Other, Refusal::TooLong { actual, limit: bytes_max })
    };
    if size > bytes_max {
        return too_long(size);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    file.take(bytes_max + 1).read_to_end(&mut bytes).about("read", path)?;
    if bytes.len() as u64 > bytes_max {
        return too_long(bytes.len() as u64);
    }
    let etag = hash::sha256(&bytes).to_string();
    Ok(Object { bytes, etag })
}

fn create_parent(path: &Utf8Path) -> Result<()> {
    let parent = path.parent().unwrap_or(Utf8Path::new("/"));
    Ok(fsx::create_dirs(parent, DIRECTORY_MODE)?)
}

fn temporary_beside(path: &Utf8Path) -> Result<tempfile::NamedTempFile> {
    use std::os::unix::fs::PermissionsExt;
    let parent = path.parent().unwrap_or(Utf8Path::new("/"));
    let permissions = fs::Permissions::from_mode(FILE_MODE);
    let mut temporary = tempfile::Builder::new();
    temporary.prefix(".new-").permissions(permissions);
    Ok(temporary.tempfile_in(parent).about("create a file in", parent)?)
}

/// A link fails when the name is taken, which a rename does not.
fn create(path: &Utf8Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write;
    let mut temporary = temporary_beside(path)?;
    temporary.write_all(bytes).about("write", path)?;
    temporary.as_file().sync_all().about("sync", path)?;
    match fs::hard_link(temporary.path(), path) {
        Ok(()) => Ok(fsx::sync_parent(path)?),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            refuse("create", path, ErrorKind::PreconditionFailed, Refusal::Exists)
        }
        Err(error) => Err(error).about("create", path)?,
    }
}

fn replace(root: &Utf8Path, path: &Utf8Path, bytes: &[u8], etag: &str) -> Result<()> {
    let lock_path = root.join(LOCK_FILE);
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path);
    let lock = lock.about("open", &lock_path)?;
    flock(&lock, FlockOperation::LockExclusive).about("lock", &lock_path)?;
    let now = fsx::read_if_exists(path)?;
    match now.map(|bytes| hash::sha256(&bytes).to_string()) {
        None => refuse("write", path, ErrorKind::NotFound, Refusal::Changed),
        Some(actual) if actual != etag => {
            refuse("write", path, ErrorKind::PreconditionFailed, Refusal::Changed)
        }
        Some(_) => Ok(fsx::write_atomic(path, bytes, FILE_MODE)?),
    }
}

#[cfg(test)]
mod tests {
    use groundcrew_core::types::Digest;

    use super::*;

    fn scratch() -> (tempfile::TempDir, Directory) {
        let directory = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(directory.path().join("source")).unwrap();
        (directory, Directory::new(root))
    }

    fn channel() -> Key {
        Key::channel(&"production".parse().unwrap())
    }

    #[tokio::test]
    async fn creates_only_what_is_absent_and_replaces_only_what_was_read() {
        let (_keep, source) = scratch();
        let kind = |result: Result<String>| result.unwrap_err().kind;
        let key = channel();
        assert_eq!(source.get(&key, 9).await.unwrap_err().kind, ErrorKind::NotFound);
        let first = source.put(&key, b"one".to_vec(), PutIf::Absent).await.unwrap();
        let again = source.put(&key, b"two".to_vec(), PutIf::Absent).await;
        assert_eq!(kind(again), ErrorKind::PreconditionFailed);
        assert_eq!(
            source.get(&key, 9).await.unwrap(),
            Object { bytes: b"one".into(), etag: first.clone() }
        );
        source.put(&key, b"two".to_vec(), PutIf::Matches(&first)).await.unwrap();
        let stale = source.put(&key, b"three".to_vec(), PutIf::Matches(&first)).await;
        assert_eq!(kind(stale), ErrorKind::PreconditionFailed);
        let other = Key::channel(&"staging".parse().unwrap());
        let missing = source.put(&other, b"x".to_vec(), PutIf::Matches(&first)).await;
        assert_eq!(kind(missing), ErrorKind::NotFound, "as S3 does");
        let error = source.get(&key, 2).await.unwrap_err();
        assert!(crate::errors::chain(&error).contains("more than 2"), "{error}");
        assert_eq!(source.list("channels", 9).await.unwrap().len(), 1, "no temporary file stays");
    }

    #[tokio::test]
    async fn a_range_is_of_the_version_named() {
        let (keep, source) = scratch();
        let key = Key::artifact(&Digest::from_bytes([7; 32]));
        assert_eq!(source.head(&key).await.unwrap(), None);
        let file = Utf8PathBuf::from_path_buf(keep.path().join("artifact")).unwrap();
        fsx::write_atomic(&file, b"0123456789", 0o600).unwrap();
        source.put_file(&key, &file).await.unwrap();
        let head = source.head(&key).await.unwrap().unwrap();
        assert_eq!(head.size, 10);
        assert_eq!(source.get_range(&key, 2..5, &head.etag, Vec::new()).await.unwrap(), b"234");
        let error = source.get_range(&key, 8..11, &head.etag, vec![1]).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable);
        source.put_file(&key, &file).await.unwrap();
        let error = source.get_range(&key, 2..5, &head.etag, Vec::new()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::PreconditionFailed);
    }
}
