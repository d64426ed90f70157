//! What the shipper tells the keeper of the files, and the keeper the shipper: how far a file was
//! accepted, and what had to go before it was.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use camino::{Utf8Path, Utf8PathBuf};

use super::checkpoint::Count;

/// Shared by both. Without a shipper everything counts as accepted.
#[derive(Debug, Clone, Default)]
pub(in crate::logs) struct Progress {
    shared: Option<Arc<Mutex<BTreeMap<Utf8PathBuf, Share>>>>,
    reading: Arc<Mutex<()>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Share {
    accepted: u64,
    taken: u64,
    lost: Count,
}

impl Progress {
    /// For a keeper and a shipper.
    pub(in crate::logs) fn shared() -> Self {
        Self { shared: Some(Arc::default()), reading: Arc::default() }
    }

    /// Everything before this offset may go. Nothing of a file that the shipper has not seen yet.
    pub(in crate::logs) fn accepted(&self, path: &Utf8Path) -> u64 {
        match self.files() {
            Some(files) => files.get(path).map_or(0, |share| share.accepted),
            None => u64::MAX,
        }
    }

    /// Everything before this offset is in a batch: it may still arrive when its file loses it.
    pub(in crate::logs) fn taken(&self, path: &Utf8Path) -> u64 {
        match self.files() {
            Some(files) => files.get(path).map_or(0, |share| share.taken.max(share.accepted)),
            None => u64::MAX,
        }
    }

    /// Held while lines are read into a batch, and while some go that were not: what is counted as
    /// lost was not read, and what was read is not counted.
    pub(in crate::logs) fn hold(&self) -> MutexGuard<'_, ()> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keeper removed lines that were not accepted.
    pub(in crate::logs) fn lost(&self, path: &Utf8Path, events: u64, bytes: u64) {
        if let Some(mut files) = self.files() {
            files.entry(path.to_owned()).or_default().lost.add(events, bytes);
        }
    }

    /// The service has everything before this offset.
    pub(super) fn accept(&self, path: &Utf8Path, offset: u64) {
        if let Some(mut files) = self.files() {
            files.entry(path.to_owned()).or_default().accepted = offset;
        }
    }

    /// A batch has everything before this offset.
    pub(super) fn take(&self, path: &Utf8Path, offset: u64) {
        if let Some(mut files) = self.files() {
            files.entry(path.to_owned()).or_default().taken = offset;
        }
    }

    /// What was lost of a file since the last time.
    pub(super) fn take_lost(&self, path: &Utf8Path) -> Count {
        let Some(mut files) = self.files() else { return Count::default() };
        files.get_mut(path).map_or_else(Count::default, |share| std::mem::take(&mut share.lost))
    }

    /// A file is gone, or has another name.
    pub(super) fn forget(&self, path: &Utf8Path) {
        if let Some(mut files) = self.files() {
            files.remove(path);
        }
    }

    fn files(&self) -> Option<MutexGuard<'_, BTreeMap<Utf8PathBuf, Share>>> {
        let shared = self.shared.as_ref()?;
        Some(shared.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
