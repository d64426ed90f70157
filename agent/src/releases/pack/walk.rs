//! Finds what belongs to a release in a directory, and refuses what no release may hold.

use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use camino::{Utf8Path, Utf8PathBuf};
use groundcrew_core::limits;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::fsx::About;

use super::super::manifest::RELEASE_TOML;
use super::super::path::{LinkTarget, ReleasePath};
use super::PackError;

/// Patterns, in git's syntax, of what stays out of a release. It is read at the root only, and is
/// part of the release itself, so that an unpacked release packs to the same artifact again.
pub const IGNORE_FILE: &str = ".groundcrewignore";
/// A repository's own files never belong to a release, wherever they lie.
const GIT: &str = ".git";

/// One thing found.
#[derive(Debug)]
pub(super) struct Found {
    pub path: ReleasePath,
    pub kind: FoundKind,
}

#[derive(Debug)]
pub(super) enum FoundKind {
    Directory,
    File { identity: Identity, executable: bool },
    Symlink(LinkTarget),
}

/// Tells whether a file still is what was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    pub size: u64,
    modified: (i64, i64),
}

impl Identity {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

impl Found {
    /// Bytes of content.
    pub(super) fn size(&self) -> u64 {
        match &self.kind {
            FoundKind::File { identity, .. } => identity.size,
            FoundKind::Directory | FoundKind::Symlink(_) => 0,
        }
    }
}

/// Everything below `root`, sorted by path.
pub(super) fn walk(root: &Utf8Path) -> Result<Vec<Found>, PackError> {
    let ignored = ignore_patterns(root)?;
    let mut found: Vec<Found> = Vec::new();
    let mut directories: Vec<Option<ReleasePath>> = vec![None];
    while let Some(directory) = directories.pop() {
        for path in children(root, directory.as_ref())? {
            let full = root.join(path.as_str());
            let metadata = fs::symlink_metadata(&full).about("look at", &full)?;
            if ignored.matched(path.as_str(), metadata.is_dir()).is_ignore() {
                continue;
            }
            let kind = kind(&path, &full, &metadata)?;
            if matches!(kind, FoundKind::Directory) {
                directories.push(Some(path.clone()));
            }
            found.push(Found { path, kind });
            check_limit(root, "entries", found.len() as u64, limits::ARTIFACT_ENTRIES_MAX)?;
        }
    }
    found.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    let bytes = found.iter().map(Found::size).fold(0, u64::saturating_add);
    check_limit(root, "bytes", bytes, limits::ARTIFACT_UNPACKED_BYTES_MAX)?;
    let is_file = |entry: &Found| matches!(entry.kind, FoundKind::File { .. });
    if !found.iter().any(|entry| entry.path.as_str() == RELEASE_TOML && is_file(entry)) {
        return Err(PackError::NoReleaseToml { root: root.to_owned() });
    }
    Ok(found)
}

fn check_limit(
    root: &Utf8Path,
    what: &'static str,
    actual: u64,
    limit: u64,
) -> Result<(), PackError> {
    if actual > limit {
        return Err(PackError::Limit { root: root.to_owned(), what, actual, limit });
    }
    Ok(())
}

fn ignore_patterns(root: &Utf8Path) -> Result<Gitignore, PackError> {
    let file = root.join(IGNORE_FILE);
    let mut builder = GitignoreBuilder::new("");
    if let Some(text) = crate::fsx::read_if_exists(&file)? {
        let text = String::from_utf8(text).map_err(|_| PackError::NotUtf8(file.into_string()))?;
        for line in text.lines() {
            builder.add_line(None, line).map_err(PackError::Ignore)?;
        }
    }
    builder.build().map_err(PackError::Ignore)
}

fn children(
    root: &Utf8Path,
    directory: Option<&ReleasePath>,
) -> Result<Vec<ReleasePath>, PackError> {
    let full = directory.map_or_else(|| root.to_owned(), |path| root.join(path.as_str()));
    let mut paths = Vec::new();
    for entry in fs::read_dir(&full).about("list", &full)? {
        let name = entry.about("list", &full)?.file_name();
        let Some(name) = name.to_str() else {
            let shown = full.as_std_path().join(&name).display().to_string();
            return Err(PackError::NotUtf8(shown));
        };
        if name == GIT {
            continue;
        }
        let path = match directory {
            Some(directory) => format!("{}/{name}", directory.as_str()),
            None => name.to_owned(),
        };
        paths.push(path.parse().map_err(PackError::Path)?);
    }
    Ok(paths)
}

fn kind(
    path: &ReleasePath,
    full: &Utf8PathBuf,
    metadata: &Metadata,
) -> Result<FoundKind, PackError> {
    let kind = metadata.file_type();
    let refused = if kind.is_dir() {
        return Ok(FoundKind::Directory);
    } else if kind.is_file() {
        let executable = metadata.mode() & 0o100 != 0;
        return Ok(FoundKind::File { identity: Identity::of(metadata), executable });
    } else if kind.is_symlink() {
        let target = fs::read_link(full).about("read the symlink", full)?;
        let Some(target) = target.to_str() else {
            return Err(PackError::NotUtf8(format!("{} (a symlink's target)", target.display())));
        };
        let checked = LinkTarget::new(path, target);
        let link = |error| PackError::Link { path: path.clone(), error };
        return checked.map(FoundKind::Symlink).map_err(link);
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_fifo() {
        "a named pipe"
    } else {
        "a device"
    };
    Err(PackError::Kind { path: path.clone(), kind: refused })
}
