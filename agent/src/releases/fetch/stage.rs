//! Where a release is put together: looks at what an earlier try left, makes the plan and all
//! directories, and refuses what does not fit.

use camino::Utf8Path;
use groundcrew_core::types::Digest;
use tokio_util::sync::CancellationToken;

use crate::fsx::{About, FileError};

use super::super::manifest::{EntryKind, Manifest};
use super::super::path::ReleasePath;
use super::super::store::Store;
use super::bits::Bits;
use super::plan::{self, Origin, Plan};
use super::tree::Tree;
use super::{FetchError, FetchLimits, threads};

/// Fewer than these are made sooner than a thread is started.
const DIRECTORIES_PER_THREAD_MIN: usize = 128;

/// Opens the staging directory, sees what is in it, plans the rest, and makes all directories: no
/// write that follows has to create one.
pub(super) fn stage(
    manifest: &Manifest,
    origins: Vec<Origin>,
    store: &Store,
    digest: &Digest,
    limits: &FetchLimits,
    stop: &CancellationToken,
) -> Result<(Tree, Plan), FetchError> {
    let path = store.staging_path(digest);
    let resumed = path.exists();
    let count = manifest.files.len();
    if !resumed {
        let plan = plan::plan(manifest, origins, &Bits::new(count));
        check_disk(store.state_dir(), manifest, &plan, limits)?;
        let tree = create_tree(&path, manifest)?;
        return Ok((tree, plan));
    }
    let tree = create_tree(&path, manifest)?;
    let kept = plan::kept(manifest, &tree, threads(), stop)?;
    let plan = plan::plan(manifest, origins, &kept);
    check_disk(store.state_dir(), manifest, &plan, limits)?;
    Ok((tree, plan))
}

fn create_tree(path: &Utf8Path, manifest: &Manifest) -> Result<Tree, FileError> {
    use std::os::unix::fs::PermissionsExt;
    crate::fsx::create_dirs(path, 0o755)?;
    let everybody = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(path, everybody).about("set the mode of", path)?;
    let tree = Tree::open(path)?;
    let mut levels: Vec<Vec<&ReleasePath>> = Vec::new();
    for entry in manifest.files.iter().filter(|entry| entry.kind == EntryKind::Directory) {
        let depth = entry.path.as_str().matches('/').count();
        levels.resize_with(levels.len().max(depth + 1), Vec::new);
        levels[depth].push(&entry.path);
    }
    for level in &levels {
        make_directories(&tree, level)?;
    }
    Ok(tree)
}

/// Makes directories none of which lies in another one.
fn make_directories(tree: &Tree, paths: &[&ReleasePath]) -> Result<(), FileError> {
    let make = |paths: &[&ReleasePath]| {
        let mut cursor = tree.cursor();
        paths.iter().try_for_each(|path| cursor.make_directory(path))
    };
    std::thread::scope(|scope| {
        let share = paths.len().div_ceil(threads()).max(DIRECTORIES_PER_THREAD_MIN);
        let (mine, others) = paths.split_at(share.min(paths.len()));
        let others: Vec<_> = others.chunks(share).map(|part| scope.spawn(|| make(part))).collect();
        let mine = make(mine);
        let others = others
            .into_iter()
            .map(|made| made.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        others.fold(mine, Result::and)
    })
}

/// Refuses a release that does not fit before the first byte is written.
fn check_disk(
    state_dir: &Utf8Path,
    manifest: &Manifest,
    plan: &Plan,
    limits: &FetchLimits,
) -> Result<(), FetchError> {
    let needed = plan.disk_bytes;
    if let Some(budget) = limits.disk_budget_bytes.filter(|budget| needed > *budget) {
        return Err(FetchError::OverBudget { needed, budget });
    }
    let disk =
        rustix::fs::statvfs(state_dir.as_std_path()).about("ask for free disk in", state_dir)?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let (path, margin) = (state_dir.to_owned(), limits.disk_margin_bytes);
    if needed.saturating_add(margin) > free {
        return Err(FetchError::DiskFull { path, needed, margin, free });
    }
    // Some file systems, such as btrfs, have no fixed number of inodes and say zero.
    let needed = manifest.files.len().saturating_sub(plan.links.len()) as u64;
    if disk.f_files > 0 && disk.f_favail < needed {
        return Err(FetchError::InodesFull { path, needed, free: disk.f_favail });
    }
    Ok(())
}
