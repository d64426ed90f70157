//! The releases on this host's disk: whole ones, half-done ones, and ones on their way out.
//!
//! ```text
//! <state_dir>/releases/<digest>/       a whole release; read-only, never changed
//! <state_dir>/releases/<digest>.json   its manifest
//! <state_dir>/staging/<digest>/        a release being fetched, named by its manifest's digest
//! <state_dir>/trash/                   removed releases, deleted slowly
//! ```
//!
//! A release is visible only under `releases/`, and gets there by one rename of a verified
//! directory. The store decides nothing: what is kept and what is removed is told to it.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use groundcrew_core::types::Digest;
use rustix::fs::{FlockOperation, flock};
use tokio_util::sync::CancellationToken;

use crate::fsx::{self, About, FileError};

use super::manifest::{Manifest, ManifestError};

const DIRECTORY_MODE: u32 = 0o755;
/// What is half done is nobody's business.
const PRIVATE_MODE: u32 = 0o700;
const MANIFEST_MODE: u32 = 0o644;
const LOCK_FILE: &str = "fetch.lock";
/// Files deleted in one go. Deleting a release at once makes ext4 slow for everybody for seconds.
const DELETE_BATCH: usize = 200;
/// The pause between two goes.
const DELETE_PAUSE: Duration = Duration::from_millis(50);

/// The releases in one state directory.
#[derive(Debug, Clone)]
pub struct Store {
    state_dir: Utf8PathBuf,
}

/// Something in the store cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The manifest of a release on disk.
    #[error("{path} is not the manifest it was")]
    Manifest {
        /// Which file.
        path: Utf8PathBuf,
        /// What is wrong with it.
        #[source]
        source: ManifestError,
    },
    /// A manifest that is gone though its release is there.
    #[error("there is no release {0} on disk")]
    Missing(Digest),
    /// Another groundcrew is fetching into the same directory.
    #[error("another groundcrew is fetching into {0}")]
    Busy(Utf8PathBuf),
}

/// Held by the one who may write into `staging` and `releases`. The kernel releases it with its
/// owner.
#[derive(Debug)]
pub struct FetchLock {
    _file: File,
}

impl Store {
    /// Opens the store in `state_dir`, creates what is missing, and puts right what a crash left: a
    /// manifest without its release is deleted, a release without its manifest becomes trash.
    pub fn open(state_dir: &Utf8Path) -> Result<Self, StoreError> {
        let store = Self { state_dir: state_dir.to_owned() };
        fsx::create_dirs(&store.releases(), DIRECTORY_MODE)?;
        fsx::create_dirs(&store.staging(), PRIVATE_MODE)?;
        fsx::create_dirs(&store.trash(), PRIVATE_MODE)?;
        // While somebody fetches, a manifest may rightly be there a moment before its release.
        if let Ok(_lock) = store.lock() {
            store.put_right()?;
        }
        Ok(store)
    }

    fn put_right(&self) -> Result<(), StoreError> {
        for name in names(&self.releases())? {
            let path = self.releases().join(&name);
            let manifest = name.strip_suffix(".json");
            match manifest.unwrap_or(&name).parse::<Digest>() {
                Ok(digest) if manifest.is_some() => {
                    if !self.path(&digest).exists() {
                        fsx::remove_if_exists(&path)?;
                    }
                }
                Ok(digest) if self.manifest_path(&digest).exists() => {}
                // Of no use to anybody: without a manifest nobody knows what it should hold.
                Ok(_) | Err(_) => self.discard(&path)?,
            }
        }
        Ok(())
    }

    /// The directory the store lives in.
    #[must_use]
    pub fn state_dir(&self) -> &Utf8Path {
        &self.state_dir
    }

    /// The directory of a release.
    #[must_use]
    pub fn path(&self, digest: &Digest) -> Utf8PathBuf {
        self.releases().join(digest.to_string())
    }

    /// Whether a release is on disk.
    #[must_use]
    pub fn has(&self, digest: &Digest) -> bool {
        self.path(digest).is_dir() && self.manifest_path(digest).is_file()
    }

    /// The releases on disk, in no particular order.
    pub fn list(&self) -> Result<Vec<Digest>, StoreError> {
        let names = names(&self.releases())?.into_iter();
        Ok(names.filter_map(|name| name.parse().ok()).filter(|digest| self.has(digest)).collect())
    }

    /// The manifest a release came with.
    pub fn manifest(&self, digest: &Digest) -> Result<Manifest, StoreError> {
        self.read_manifest(digest, Manifest::parse)
    }

    /// Bytes of all files of a release, as its manifest says.
    pub fn unpacked_bytes(&self, digest: &Digest) -> Result<u64, StoreError> {
        self.read_manifest(digest, Manifest::parse_unpacked_bytes)
    }

    fn read_manifest<T>(
        &self,
        digest: &Digest,
        parse: impl FnOnce(&[u8]) -> Result<T, ManifestError>,
    ) -> Result<T, StoreError> {
        let path = self.manifest_path(digest);
        let bytes = fsx::read_if_exists(&path)?.ok_or(StoreError::Missing(*digest))?;
        parse(&bytes).map_err(|source| StoreError::Manifest { path, source })
    }

    /// Removes a release; one that is not there is fine. The disk is free once
    /// [`Store::empty_trash`] has run.
    pub fn remove(&self, digest: &Digest) -> Result<(), StoreError> {
        // A crash in between leaves a manifest without its release, which the next start deletes.
        self.discard(&self.path(digest))?;
        Ok(fsx::remove_if_exists(&self.manifest_path(digest))?)
    }

    /// Throws away half-done releases other than the one whose manifest has the digest `wanted`.
    pub fn clean_staging(&self, wanted: Option<&Digest>) -> Result<(), StoreError> {
        let wanted = wanted.map(Digest::to_string);
        for name in names(&self.staging())? {
            if Some(&name) != wanted.as_ref() {
                self.discard(&self.staging().join(name))?;
            }
        }
        Ok(())
    }

    /// Bytes the releases take on disk; a file shared by several is counted once. Walks all of
    /// them: call it off the event loop.
    pub fn disk_usage(&self) -> Result<u64, StoreError> {
        let mut seen = HashSet::new();
        let mut bytes = 0;
        for digest in self.list()? {
            let mut directories = vec![self.path(&digest)];
            while let Some(directory) = directories.pop() {
                for entry in directory.read_dir_utf8().about("list", &directory)? {
                    let entry = entry.about("list", &directory)?;
                    let metadata = entry.metadata().about("look at", entry.path())?;
                    if metadata.is_dir() {
                        directories.push(entry.path().to_owned());
                    }
                    if metadata.nlink() < 2 || metadata.is_dir() || seen.insert(metadata.ino()) {
                        // POSIX counts in units of 512 bytes, whatever the file system's block is.
                        bytes += metadata.blocks() * 512;
                    }
                }
            }
        }
        Ok(bytes)
    }

    /// Deletes what was removed, a few files at a time. Ends early, and without harm, when
    /// cancelled.
    pub async fn empty_trash(&self, cancel: &CancellationToken) -> Result<(), StoreError> {
        loop {
            let trash = self.trash();
            let batch = tokio::task::spawn_blocking(move || {
                let mut left = DELETE_BATCH;
                delete_some(&trash, &mut left).map(|()| left > 0)
            });
            let done = batch.await;
            let done =
                done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
            if done {
                return Ok(());
            }
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                () = tokio::time::sleep(DELETE_PAUSE) => {}
            }
        }
    }

    /// The right to fetch; refused while another holds it.
    pub(super) fn lock(&self) -> Result<FetchLock, StoreError> {
        let path = self.staging().join(LOCK_FILE);
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.about("open", &path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(FetchLock { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::Busy(self.state_dir.clone())),
            Err(error) => Err(error).about("lock", &path)?,
        }
    }

    /// Where a release is put together. Named by the manifest's digest: what is found there after
    /// an interruption was written for this very list of files.
    pub(super) fn staging_path(&self, manifest_digest: &Digest) -> Utf8PathBuf {
        self.staging().join(manifest_digest.to_string())
    }

    /// Makes a verified and synced staging directory a release.
    pub(super) fn commit(
        &self,
        manifest: &Manifest,
        manifest_digest: &Digest,
    ) -> Result<(), StoreError> {
        let digest = manifest.digest;
        let path = self.manifest_path(&digest);
        let bytes = manifest
            .to_json()
            .map_err(|source| StoreError::Manifest { path: path.clone(), source })?;
        fsx::write_atomic(&path, &bytes, MANIFEST_MODE)?;
        let (from, to) = (self.staging_path(manifest_digest), self.path(&digest));
        fs::rename(&from, &to).about("move into place", &to)?;
        fsx::sync_parent(&to)?;
        Ok(fsx::sync_parent(&from)?)
    }

    /// Throws a half-done release away.
    pub(super) fn discard_staging(&self, manifest_digest: &Digest) -> Result<(), StoreError> {
        self.discard(&self.staging_path(manifest_digest))
    }

    /// Moves something out of sight, at once; deleting it takes longer.
    fn discard(&self, path: &Utf8Path) -> Result<(), StoreError> {
        if path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return Ok(());
        }
        if path.file_name() == Some(LOCK_FILE) {
            return Ok(());
        }
        let name = path.file_name().unwrap_or("unnamed");
        let unique = crate::clock::wall().0;
        for number in 0_u32.. {
            let to = self.trash().join(format!("{name}.{unique}.{number}"));
            if !to.exists() {
                fs::rename(path, &to).about("move away", path)?;
                return Ok(fsx::sync_parent(path)?);
            }
        }
        Ok(())
    }

    /// Where a release's manifest is.
    #[must_use]
    pub fn manifest_path(&self, digest: &Digest) -> Utf8PathBuf {
        self.releases().join(format!("{digest}.json"))
    }

    fn releases(&self) -> Utf8PathBuf {
        self.state_dir.join("releases")
    }

    fn staging(&self) -> Utf8PathBuf {
        self.state_dir.join("staging")
    }

    fn trash(&self) -> Utf8PathBuf {
        self.state_dir.join("trash")
    }
}

fn names(directory: &Utf8Path) -> Result<Vec<String>, StoreError> {
    let mut names = Vec::new();
    for entry in directory.read_dir_utf8().about("list", directory)? {
        names.push(entry.about("list", directory)?.file_name().to_owned());
    }
    Ok(names)
}

/// Deletes up to `left` things below `directory`, depth first, never through a symlink.
fn delete_some(directory: &Utf8Path, left: &mut usize) -> Result<(), FileError> {
    for entry in directory.read_dir_utf8().about("list", directory)? {
        if *left == 0 {
            return Ok(());
        }
        let entry = entry.about("list", directory)?;
        let path = entry.path();
        if entry.file_type().about("look at", path)?.is_dir() {
            delete_some(path, left)?;
            if *left == 0 {
                return Ok(());
            }
            fs::remove_dir(path).about("delete", path)?;
        } else {
            fs::remove_file(path).about("delete", path)?;
        }
        *left -= 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsx::scratch;

    fn put(path: &Utf8Path, files: usize) {
        fsx::create_dirs(&path.join("deep/er"), 0o755).unwrap();
        for number in 0..files {
            fsx::write_atomic(&path.join(format!("deep/er/{number}")), b"x", 0o444).unwrap();
        }
    }

    #[tokio::test]
    async fn what_a_crash_left_is_put_right_and_deleted_in_batches() {
        let (_keep, state) = scratch();
        let store = Store::open(&state).unwrap();
        let (half, orphan) = (Digest::from_bytes([1; 32]), Digest::from_bytes([2; 32]));
        put(&store.path(&half), DELETE_BATCH + 10);
        fsx::write_atomic(&store.manifest_path(&orphan), b"{}", 0o644).unwrap();
        assert_eq!(store.list().unwrap(), [], "neither is a release");
        let store = Store::open(&state).unwrap();
        assert_eq!(names(&store.releases()).unwrap(), Vec::<String>::new());
        assert_eq!(names(&store.trash()).unwrap().len(), 1);
        store.empty_trash(&CancellationToken::new()).await.unwrap();
        assert_eq!(names(&store.trash()).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn staging_of_other_releases_is_thrown_away_and_one_fetches_at_a_time() {
        let (_keep, state) = scratch();
        let store = Store::open(&state).unwrap();
        let (wanted, stale) = (Digest::from_bytes([1; 32]), Digest::from_bytes([2; 32]));
        put(&store.staging_path(&wanted), 1);
        put(&store.staging_path(&stale), 1);
        let lock = store.lock().unwrap();
        store.clean_staging(Some(&wanted)).unwrap();
        assert!(store.staging_path(&wanted).exists() && !store.staging_path(&stale).exists());
        let error = store.lock().unwrap_err().to_string();
        assert!(error.contains("another groundcrew is fetching"), "{error}");
        drop(lock);
        assert!(store.lock().is_ok());
    }

    #[test]
    fn a_symlink_in_the_trash_is_deleted_not_followed() {
        let (_keep, state) = scratch();
        let store = Store::open(&state).unwrap();
        let outside = state.join("outside");
        put(&outside, 1);
        let staged = store.staging_path(&Digest::from_bytes([1; 32]));
        put(&staged, 1);
        std::os::unix::fs::symlink(&outside, staged.join("link")).unwrap();
        store.clean_staging(None).unwrap();
        let mut left = usize::MAX;
        delete_some(&store.trash(), &mut left).unwrap();
        assert!(outside.join("deep/er/0").exists());
        assert_eq!(names(&store.trash()).unwrap(), Vec::<String>::new());
    }
}
