//! The directories of a process: one for its probe socket, one for its temporary files. Both belong
//! to the process's user, their parents to the agent, so that no process can put a link in the way.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};

use camino::{Utf8Path, Utf8PathBuf};
use groundcrew_core::types::ProcessId;
use nix::unistd::{Gid, Uid};

use crate::fsx::{self, About, FileError};

/// The socket, in a process's run directory, that the agent probes it through.
pub const PROBE_SOCKET: &str = "probe.sock";

/// Where the directories of all processes stand.
#[derive(Debug, Clone)]
pub struct Directories {
    run: Utf8PathBuf,
    temporary: Utf8PathBuf,
}

/// The directories of one process.
#[derive(Debug, Clone)]
pub struct Own {
    /// `run_dir/processes/ID`: made anew at each start, nothing stale answers in it.
    pub run: Utf8PathBuf,
    /// `state_dir/tmp/ID`: stays through restarts.
    pub temporary: Utf8PathBuf,
}

impl Directories {
    /// Makes the parents. Others may pass through them, and see nothing.
    pub fn open(run_dir: &Utf8Path, state_dir: &Utf8Path) -> Result<Self, FileError> {
        let own = Self { run: run_dir.join("processes"), temporary: state_dir.join("tmp") };
        for parent in [&own.run, &own.temporary] {
            fsx::create_dirs(parent, 0o711)?;
            // Whatever the umask took away.
            fs::set_permissions(parent, Permissions::from_mode(0o711)).about("open up", parent)?;
        }
        Ok(own)
    }

    /// Where `id`'s directories are.
    #[must_use]
    pub fn of(&self, id: &ProcessId) -> Own {
        let name = id.to_string();
        Own { run: self.run.join(&name), temporary: self.temporary.join(&name) }
    }

    /// Makes both for the start of a process.
    pub fn make(&self, id: &ProcessId, uid: u32, gid: u32) -> Result<Own, FileError> {
        let own = self.of(id);
        remove(&own.run)?;
        give(&own.run, uid, gid)?;
        give(&own.temporary, uid, gid)?;
        Ok(own)
    }

    /// Removes both, with what is in them.
    pub fn remove(&self, id: &ProcessId) -> Result<(), FileError> {
        let own = self.of(id);
        remove(&own.run)?;
        remove(&own.temporary)
    }

    /// The ids that have a directory.
    pub fn ids(&self) -> Result<Vec<ProcessId>, FileError> {
        let mut ids = Vec::new();
        for parent in [&self.run, &self.temporary] {
            for entry in parent.read_dir_utf8().about("read", parent)? {
                ids.extend(entry.about("read", parent)?.file_name().parse::<ProcessId>());
            }
        }
        ids.sort();
        ids.dedup();
        Ok(ids)
    }
}

fn give(path: &Utf8Path, uid: u32, gid: u32) -> Result<(), FileError> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(error).about("create", path);
        }
        _ => {}
    }
    // By descriptor and without following: what stands there may not be what was made.
    let directory: File = OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_DIRECTORY | nix::libc::O_NOFOLLOW)
        .open(path)
        .about("open", path)?;
    let now = directory.metadata().about("look at", path)?;
    if (now.uid(), now.gid()) != (uid, gid) {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        nix::unistd::fchown(&directory, Some(uid), Some(gid)).about("give away", path)?;
    }
    directory.set_permissions(Permissions::from_mode(0o700)).about("close", path)
}

// The standard library does not follow links when it removes a tree.
fn remove(path: &Utf8Path) -> Result<(), FileError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.about("remove", path),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_start_gets_an_empty_run_directory_and_keeps_its_temporary_files() {
        let keep = tempfile::tempdir().unwrap();
        let top = Utf8PathBuf::from_path_buf(keep.path().to_owned()).unwrap();
        let directories = Directories::open(&top.join("run"), &top.join("state")).unwrap();
        let id: ProcessId = "web.1.1".parse().unwrap();
        let (uid, gid) = (Uid::effective().as_raw(), Gid::effective().as_raw());
        let own = directories.make(&id, uid, gid).unwrap();
        for directory in [&own.run, &own.temporary] {
            File::create(directory.join("x")).unwrap().write_all(b"x").unwrap();
        }
        let again = directories.make(&id, uid, gid).unwrap();
        assert!(!again.run.join("x").exists() && again.temporary.join("x").exists());
        let mode = fs::metadata(&again.run).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert_eq!(directories.ids().unwrap(), std::slice::from_ref(&id));
        directories.remove(&id).unwrap();
        directories.remove(&id).unwrap();
        assert!(directories.ids().unwrap().is_empty());
    }

    #[test]
    fn a_link_in_the_way_is_refused_and_its_target_left_alone() {
        let keep = tempfile::tempdir().unwrap();
        let top = Utf8PathBuf::from_path_buf(keep.path().to_owned()).unwrap();
        let directories = Directories::open(&top.join("run"), &top.join("state")).unwrap();
        let id: ProcessId = "web.1.1".parse().unwrap();
        let victim = top.join("victim");
        fs::create_dir(&victim).unwrap();
        fs::set_permissions(&victim, Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink(&victim, directories.of(&id).temporary).unwrap();
        assert!(directories.make(&id, 0, 0).is_err());
        let mode = fs::metadata(&victim).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
    }
}
