//! Writes into a release that is being put together, never through a symlink and never outside of
//! it.
//!
//! Directories are opened by the kernel's own rule (`openat2` with BENEATH and NO_SYMLINKS),
//! everything else is one name within an open directory, so that no mistake elsewhere can lead a
//! write astray.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::fsx::{About, FileError};

use super::super::manifest::FileContent;
use super::super::path::{LinkTarget, ReleasePath};

const DIRECTORY_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o444;
const EXECUTABLE_MODE: u32 = 0o555;

/// The root directory of a release.
#[derive(Debug)]
pub(super) struct Tree {
    root: OwnedFd,
    path: Utf8PathBuf,
    /// The process' umask takes bits that a release needs.
    masked: bool,
}

/// One user of a tree. Remembers the directory it was in last: entries come sorted by path.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    tree: &'a Tree,
    directory: Option<(String, OwnedFd)>,
}

impl Tree {
    /// The tree at `path`, which must be a directory.
    pub(super) fn open(path: &Utf8Path) -> Result<Self, FileError> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path.as_std_path(), flags, Mode::empty());
        let root = root.about("open", path)?;
        Ok(Self { root, path: path.to_owned(), masked: umask() & DIRECTORY_MODE != 0 })
    }

    /// The root.
    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// Starts at the root.
    pub(super) fn cursor(&self) -> Cursor<'_> {
        Cursor { tree: self, directory: None }
    }

    fn open_directory(&self, path: &str) -> Result<OwnedFd, Errno> {
        let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve)
    }

    fn full(&self, path: &ReleasePath) -> Utf8PathBuf {
        self.path.join(path.as_str())
    }
}

/// `umask(2)` can only be read by changing it, which other threads would notice. Without an answer
/// every mode is set explicitly.
fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok()).unwrap_or(0o777)
}

impl Cursor<'_> {
    /// Does something to one name in the directory it lies in.
    fn at<T>(
        &mut self,
        operation: &'static str,
        path: &ReleasePath,
        work: impl FnOnce(BorrowedFd<'_>, &str) -> Result<T, Errno>,
    ) -> Result<T, FileError> {
        let (parent, name) = path.split();
        let result = self.enter(parent).and_then(|directory| work(directory, name));
        // The full path is put together for messages only.
        result.map_err(|error| FileError {
            operation,
            path: self.tree.full(path),
            source: error.into(),
        })
    }

    fn enter(&mut self, directory: &str) -> Result<BorrowedFd<'_>, Errno> {
        if directory.is_empty() {
            return Ok(self.tree.root.as_fd());
        }
        if self.directory.as_ref().is_none_or(|(path, _)| path != directory) {
            let opened = self.tree.open_directory(directory)?;
            self.directory = Some((directory.to_owned(), opened));
        }
        let (_, opened) = self.directory.as_ref().ok_or(Errno::BADF)?;
        Ok(opened.as_fd())
    }

    /// Creates a directory; one that exists is kept.
    pub(super) fn make_directory(&mut self, path: &ReleasePath) -> Result<(), FileError> {
        let masked = self.tree.masked;
        self.at("create", path, |directory, name| {
            let mode = Mode::from_raw_mode(DIRECTORY_MODE);
            match rustix::fs::mkdirat(directory, name, mode) {
                Ok(()) if masked => rustix::fs::chmodat(directory, name, mode, AtFlags::empty()),
                Ok(()) | Err(Errno::EXIST) => Ok(()),
                Err(error) => Err(error),
            }
        })
    }

    /// Creates a file that is not there yet, already with its final mode: no one but the holder of
    /// the open file can write it.
    pub(super) fn create_file(
        &mut self,
        path: &ReleasePath,
        executable: bool,
    ) -> Result<File, FileError> {
        let masked = self.tree.masked;
        let mode = if executable { EXECUTABLE_MODE } else { FILE_MODE };
        self.at("create", path, |directory, name| {
            let mode = Mode::from_raw_mode(mode);
            let flags =
                OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(directory, name, flags, mode)?;
            if masked {
                rustix::fs::fchmod(&file, mode)?;
            }
            Ok(File::from(file))
        })
    }

    /// Opens a regular file for reading.
    pub(super) fn open_file(&mut self, path: &ReleasePath) -> Result<File, FileError> {
        self.at("open", path, |directory, name| {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            rustix::fs::openat(directory, name, flags, Mode::empty()).map(File::from)
        })
    }

    /// Creates a symlink; one that is left of an earlier try is replaced.
    pub(super) fn make_symlink(
        &mut self,
        path: &ReleasePath,
        target: &LinkTarget,
    ) -> Result<(), FileError> {
        self.at("create", path, |directory, name| {
            match rustix::fs::symlinkat(target.as_str(), directory, name) {
                Err(Errno::EXIST) => {
                    rustix::fs::unlinkat(directory, name, AtFlags::empty())?;
                    rustix::fs::symlinkat(target.as_str(), directory, name)
                }
                done => done,
            }
        })
    }

    /// Removes a file; one that is not there is fine.
    pub(super) fn remove_file(&mut self, path: &ReleasePath) -> Result<(), FileError> {
        self.at("remove", path, |directory, name| {
            match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
                Err(Errno::NOENT) => Ok(()),
                done => done,
            }
        })
    }

    /// Looks at a name, not at what a symlink points to; `None` when it is not there.
    pub(super) fn stat(&mut self, path: &ReleasePath) -> Result<Option<Stat>, FileError> {
        self.at("look at", path, |directory, name| {
            match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => Ok(Some(stat)),
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    /// Whether the file at `path` can stand for `content`, as far as a look at it tells.
    pub(super) fn looks_like(
        &mut self,
        path: &ReleasePath,
        content: &FileContent,
    ) -> Result<Option<Stat>, FileError> {
        let stat = match self.stat(path) {
            // The directory is gone, too: no reason to fail, the file is simply not here.
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => None,
            stat => stat?,
        };
        let mode = if content.executable { EXECUTABLE_MODE } else { FILE_MODE };
        Ok(stat.filter(|stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
                && stat.st_mode & 0o7777 == mode
                && u64::try_from(stat.st_size) == Ok(content.size)
        }))
    }

    /// Gives the file at `from` of another release the name `path` as well. `false` when the file
    /// system does not allow one more name.
    pub(super) fn link(
        &mut self,
        path: &ReleasePath,
        other: &mut Cursor<'_>,
        from: &ReleasePath,
    ) -> Result<bool, FileError> {
        let (parent, from_name) = from.split();
        let tree = other.tree;
        let source = other.enter(parent).map_err(|error| FileError {
            operation: "open the directory of",
            path: tree.full(from),
            source: error.into(),
        })?;
        self.at("link", path, |directory, name| {
            match rustix::fs::linkat(source, from_name, directory, name, AtFlags::empty()) {
                Ok(()) => Ok(true),
                Err(Errno::MLINK | Errno::XDEV | Errno::PERM | Errno::OPNOTSUPP) => Ok(false),
                Err(error) => Err(error),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn no_operation_goes_through_a_symlink() {
        let keep = tempfile::tempdir().unwrap();
        let base = Utf8PathBuf::from_path_buf(keep.path().to_owned()).unwrap();
        let (inside, outside) = (base.join("tree"), base.join("outside"));
        std::fs::create_dir(&inside).unwrap();
        std::fs::create_dir(&outside).unwrap();
        symlink(&outside, inside.join("link")).unwrap();
        symlink(outside.join("new"), inside.join("file")).unwrap();
        let tree = Tree::open(&inside).unwrap();
        let mut cursor = tree.cursor();
        let path = |text: &str| text.parse::<ReleasePath>().unwrap();
        assert!(cursor.create_file(&path("link/x"), false).is_err());
        assert!(cursor.create_file(&path("file"), false).is_err());
        assert!(cursor.make_directory(&path("link/d")).is_err());
        assert!(cursor.open_file(&path("file")).is_err());
        let target = LinkTarget::new(&path("a/b"), "../c").unwrap();
        assert!(cursor.make_symlink(&path("link/l"), &target).is_err());
        assert!(cursor.remove_file(&path("link/x")).is_err());
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    }
}
