//! What has to be written, what can be linked from a release on disk, what an earlier try left.

use std::sync::{Mutex, PoisonError};
use std::{io, thread};

use groundcrew_core::types::Digest;
use tokio_util::sync::CancellationToken;

use crate::fsx::{About, FileError};

use super::super::hash::Hashing;
use super::super::manifest::{EntryKind, FileContent, Manifest};
use super::super::path::ReleasePath;
use super::super::store::Store;
use super::bits::Bits;
use super::tree::{Cursor, Tree};

/// Bytes a file system spends on an entry beside its content, and rounds content up to.
const BLOCK: u64 = 4096;
/// Entries a thread checks at a time.
const CHUNK: usize = 256;

/// How a release comes to disk.
pub(super) struct Plan {
    /// Files to be written.
    pub missing: Bits,
    /// Files to be linked.
    pub links: Vec<Link>,
    /// The releases to link from.
    pub origins: Vec<Tree>,
    /// Bytes on disk that writing takes.
    pub disk_bytes: u64,
    /// Bytes of files to be written.
    pub missing_bytes: u64,
    /// Files that an earlier try left whole.
    pub kept: u64,
}

/// A file that is in another release, too.
pub(super) struct Link {
    /// Which entry of the manifest.
    pub entry: usize,
    /// Which of [`Plan::origins`].
    pub origin: usize,
    /// Where it lies there; `None` when under the same path, as most do.
    pub from: Option<ReleasePath>,
}

/// The content of an entry that is a file.
pub(super) fn file(manifest: &Manifest, index: usize) -> Option<(&ReleasePath, &FileContent)> {
    let entry = &manifest.files[index];
    match &entry.kind {
        EntryKind::File(content) => Some((&entry.path, content)),
        EntryKind::Directory | EntryKind::Symlink(_) => None,
    }
}

/// A release on disk.
pub(super) struct Origin {
    tree: Tree,
    manifest: Manifest,
}

/// The releases on disk. One that cannot be read only means more to download.
pub(super) fn origins(store: &Store) -> Vec<Origin> {
    let open = |digest: Digest| match (store.manifest(&digest), Tree::open(&store.path(&digest))) {
        (Ok(manifest), Ok(tree)) => Some(Origin { tree, manifest }),
        _ => {
            tracing::warn!(release = %digest.short(), "a release on disk cannot be linked from");
            None
        }
    };
    store.list().unwrap_or_default().into_iter().filter_map(open).collect()
}

/// Makes the plan. `kept` are files that are in place already.
pub(super) fn plan(manifest: &Manifest, origins: Vec<Origin>, kept: &Bits) -> Plan {
    let count = manifest.files.len();
    let mut missing = Bits::new(count);
    let mut plan = Plan {
        missing: Bits::new(0),
        links: Vec::new(),
        origins: Vec::new(),
        disk_bytes: 0,
        missing_bytes: 0,
        kept: 0,
    };
    let mut wanted: Vec<(Digest, usize)> = Vec::with_capacity(count);
    for index in 0..count {
        match file(manifest, index) {
            Some(_) if kept.has(index) => plan.kept += 1,
            Some((_, content)) => {
                missing.insert(index);
                wanted.push((content.digest, index));
            }
            None => plan.disk_bytes += BLOCK,
        }
    }
    wanted.sort_unstable();
    find_links(manifest, origins, &wanted, &mut missing, &mut plan);
    for index in (0..count).filter(|index| missing.has(*index)) {
        let size = file(manifest, index).map_or(0, |(_, content)| content.size);
        plan.missing_bytes += size;
        plan.disk_bytes += size.next_multiple_of(BLOCK);
    }
    plan.missing = missing;
    plan
}

fn find_links(
    manifest: &Manifest,
    origins: Vec<Origin>,
    wanted: &[(Digest, usize)],
    missing: &mut Bits,
    plan: &mut Plan,
) {
    for (index, Origin { tree, manifest: other }) in origins.into_iter().enumerate() {
        if missing.is_empty() {
            return;
        }
        link_same_paths(manifest, &other, index, missing, plan);
        if !missing.is_empty() {
            link_same_contents(manifest, &other, wanted, index, missing, plan);
        }
        plan.origins.push(tree);
    }
}

/// Most files stay where they were. Both lists are sorted by path, so one pass over both finds
/// them.
fn link_same_paths(
    manifest: &Manifest,
    other: &Manifest,
    origin: usize,
    missing: &mut Bits,
    plan: &mut Plan,
) {
    let mut others = other.files.iter().peekable();
    for (index, entry) in manifest.files.iter().enumerate() {
        while others.next_if(|other| other.path < entry.path).is_some() {}
        let same = others.peek().is_some_and(|other| **other == *entry);
        if same && missing.has(index) {
            missing.remove(index);
            plan.links.push(Link { entry: index, origin, from: None });
        }
    }
}

/// `wanted` is sorted by digest.
fn link_same_contents(
    manifest: &Manifest,
    other: &Manifest,
    wanted: &[(Digest, usize)],
    origin: usize,
    missing: &mut Bits,
    plan: &mut Plan,
) {
    for entry in &other.files {
        let EntryKind::File(content) = &entry.kind else { continue };
        let first = wanted.partition_point(|(digest, _)| *digest < content.digest);
        let same = wanted[first..].iter().take_while(|(digest, _)| *digest == content.digest);
        for &(_, index) in same {
            // Size and mode as well: they are what is checked before a link is made.
            let fits = file(manifest, index).is_some_and(|(_, wanted)| wanted == content);
            if fits && missing.has(index) {
                missing.remove(index);
                plan.links.push(Link { entry: index, origin, from: Some(entry.path.clone()) });
            }
        }
    }
}

/// Which files an earlier, interrupted try left whole; the others are removed, so that they can be
/// written. The digests are computed again: after a crash of the host the size alone proves
/// nothing.
pub(super) fn kept(
    manifest: &Manifest,
    tree: &Tree,
    threads: usize,
    stop: &CancellationToken,
) -> Result<Bits, FileError> {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let kept = Mutex::new(Bits::new(manifest.files.len()));
    let scan = || {
        let mut cursor = tree.cursor();
        loop {
            let start = next.fetch_add(CHUNK, std::sync::atomic::Ordering::Relaxed);
            if start >= manifest.files.len() || stop.is_cancelled() {
                return Ok(());
            }
            for index in start..manifest.files.len().min(start + CHUNK) {
                let Some((path, content)) = file(manifest, index) else { continue };
                if keep(&mut cursor, path, content)? {
                    kept.lock().unwrap_or_else(PoisonError::into_inner).insert(index);
                }
            }
        }
    };
    thread::scope(|scope| {
        let scans: Vec<_> = (0..threads).map(|_| scope.spawn(scan)).collect();
        scans.into_iter().try_for_each(|scan| {
            scan.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })?;
    Ok(kept.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn keep(
    cursor: &mut Cursor<'_>,
    path: &ReleasePath,
    content: &FileContent,
) -> Result<bool, FileError> {
    if let Some(stat) = cursor.looks_like(path, content)? {
        // A second name means that it was linked from a whole release.
        if stat.st_nlink > 1 || digest(cursor, path)? == content.digest {
            return Ok(true);
        }
    }
    if cursor.stat(path)?.is_some() {
        cursor.remove_file(path)?;
    }
    Ok(false)
}

fn digest(cursor: &mut Cursor<'_>, path: &ReleasePath) -> Result<Digest, FileError> {
    let mut file = Hashing::new(cursor.open_file(path)?);
    io::copy(&mut file, &mut io::sink()).about("read", path.as_str().into())?;
    Ok(file.finish().1)
}
