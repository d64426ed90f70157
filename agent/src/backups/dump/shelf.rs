//! Where dumps stand in the bucket: their keys, their manifests, and what is there. A dump is what
//! has a manifest, and a manifest is never written again.
//!
//! ```text
//! PREFIX/dumps/JOB/SLOT/EPOCH-TICKET.dump
//! PREFIX/dumps/JOB/SLOT/manifest.json
//! PREFIX/dumps/JOB/SLOT/marks.json
//! ```

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use groundcrew_core::backups::backup::{Backup, BackupState, TAG_HOLD, Tag, tag_value};
use groundcrew_core::backups::call::{CallError, Put, Ticket};
use groundcrew_core::backups::limits::BACKUPS_MAX;
use groundcrew_core::backups::slot::JobName;
use groundcrew_core::time::Wall;

use super::error::DumpError;
use super::marks::{self, DumpMarks, Keeps};
use crate::aws::s3::{Bucket, ErrorKind, Object, ObjectHead, PutIf};
use crate::backups::manifest::{self, Manifest, ManifestError};
use crate::backups::objects::Objects;
use crate::errors::{Chain, chain};

/// Objects of one job that are looked at: a manifest, marks and the data of a few tries for each
/// dump, for some years more than the core looks at. Of more, the newest.
const OBJECTS_MAX: usize = BACKUPS_MAX * 10;
/// Objects of one dump.
const TRIES_MAX: usize = 1000;
/// Dumps that are looked at at once.
const READS_AT_ONCE: usize = 8;
/// How often a change of marks is tried again that somebody else was faster with.
const CHANGES_MAX: usize = 5;
/// How long data may lie without a manifest before it counts as left behind: between the two are
/// seconds, and of an upload that is under way nothing is seen.
const LEFT_AFTER: Duration = Duration::from_hours(24);
/// What was left behind that one deletion takes with it, and how long it may take.
const LEFT_AT_ONCE: usize = 10;
const LEFT_WITHIN: Duration = Duration::from_secs(15);
const MANIFEST: &str = "manifest.json";
const MARKS: &str = "marks.json";

/// The dumps of one job.
#[derive(Debug, Clone)]
pub struct Shelf {
    objects: Arc<Objects>,
    job: JobName,
    /// What the newest listing showed as left behind by those who died while they deleted or
    /// committed.
    left: Arc<Mutex<Vec<String>>>,
}

/// A manifest as it was read.
pub struct Stored {
    /// What it says.
    pub manifest: Manifest,
    /// Its ETag.
    etag: String,
}

/// What goes when a slot is cleared.
#[derive(Clone, Copy)]
enum Goes {
    /// Everything: its dump was deleted.
    All,
    /// What is old: it has no dump, and somebody may be about to commit one.
    Old,
}

/// What a listing shows of a slot.
struct Slot {
    id: String,
    has_manifest: bool,
    has_marks: bool,
    newest_ms: i64,
}

impl Shelf {
    /// Of this job.
    #[must_use]
    pub fn new(objects: Arc<Objects>, job: JobName) -> Self {
        Self { objects, job, left: Arc::default() }
    }

    /// The bucket.
    pub async fn bucket(&self) -> Result<&Bucket, CallError> {
        self.objects.bucket().await
    }

    /// The name of a dump's data: two that have the same do not exist, because whoever takes a
    /// lease over counts its epoch up, and tickets of one holder never repeat.
    #[must_use]
    pub fn data_name(epoch: u64, ticket: Ticket) -> String {
        format!("{epoch}-{}.dump", ticket.0)
    }

    /// The key, in full, of an object of a dump.
    #[must_use]
    pub fn key(&self, id: &str, name: &str) -> String {
        self.objects.key(&self.path(id, name))
    }

    fn path(&self, id: &str, name: &str) -> String {
        format!("dumps/{}/{id}/{name}", self.job)
    }

    /// The manifest of a dump; `None`: there is none.
    pub async fn read(&self, id: &str) -> Result<Option<Stored>, DumpError> {
        let Some(object) = self.get(id, MANIFEST, manifest::BYTES_MAX).await? else {
            return Ok(None);
        };
        let key = self.key(id, MANIFEST);
        let manifest = Manifest::read(&key, &self.job, id, &object.bytes)?;
        Ok(Some(Stored { manifest, etag: object.etag }))
    }

    async fn get(&self, id: &str, name: &str, bytes_max: u64) -> Result<Option<Object>, DumpError> {
        checked(id)?;
        match self.bucket().await?.get(&self.key(id, name), bytes_max).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Puts a manifest, unless there is one: this is what commits a dump.
    pub async fn write(&self, manifest: &Manifest) -> Result<Put, DumpError> {
        let key = self.key(&manifest.slot, MANIFEST);
        match self.bucket().await?.put(&key, manifest.json(), PutIf::Absent).await {
            Ok(_) => Ok(Put::Written),
            Err(error) if error.kind == ErrorKind::PreconditionFailed => Ok(Put::Exists),
            Err(error) => Err(error.into()),
        }
    }

    /// One dump; `None`: there is none.
    pub async fn look(&self, id: &str) -> Result<Option<Backup>, DumpError> {
        let Some(Stored { manifest, .. }) = self.read(id).await? else { return Ok(None) };
        self.marked(&manifest).await.map(Some)
    }

    /// A dump as the core sees it, with what has been said about it since.
    pub async fn marked(&self, manifest: &Manifest) -> Result<Backup, DumpError> {
        let url = self.url(&manifest.slot);
        let marks = match self.marks(&manifest.slot).await {
            Ok(Some((marks, _))) => marks,
            Ok(None) => return Ok(manifest.backup(url, &manifest.tags)),
            // Nobody knows whether it is kept, so it is.
            Err(DumpError::Marks(error)) => {
                let hold = (TAG_HOLD.to_owned(), tag_value(&chain(&error)));
                let tags: Vec<Tag> = [&[hold], &manifest.tags[..]].concat();
                return Ok(manifest.backup(url, &tags));
            }
            Err(error) => return Err(error),
        };
        let mut backup = manifest.backup(url, &marks.over(&manifest.tags));
        if marks.deleting {
            backup.state = BackupState::Deleting;
        }
        Ok(backup)
    }

    async fn marks(&self, id: &str) -> Result<Option<(DumpMarks, String)>, DumpError> {
        let Some(object) = self.get(id, MARKS, marks::BYTES_MAX).await? else { return Ok(None) };
        let marks = DumpMarks::read(&self.key(id, MARKS), &self.job, id, &object.bytes)?;
        Ok(Some((marks, object.etag)))
    }

    /// How to name a dump elsewhere.
    #[must_use]
    pub fn url(&self, id: &str) -> String {
        self.objects.url(&self.path(id, MANIFEST))
    }

    /// All dumps, newest last; of more than the core looks at, the newest. What has a manifest that
    /// cannot be read is nobody's, and stays.
    pub async fn list(&self) -> Result<Vec<Backup>, DumpError> {
        let mut slots = self.slots().await?;
        // Without S3's own time nothing is old.
        let mut left = match self.objects.server_time() {
            Some(now) => left_behind(&slots, now),
            None => Vec::new(),
        };
        slots.retain(|slot| slot.has_manifest);
        let newest = slots.len().saturating_sub(BACKUPS_MAX);
        let looks = slots.into_iter().skip(newest).map(|Slot { id, has_marks, .. }| async move {
            let seen = if has_marks {
                self.look(&id).await
            } else {
                let stored = self.read(&id).await;
                stored.map(|stored| {
                    let Stored { manifest, .. } = stored?;
                    Some(manifest.backup(self.url(&id), &manifest.tags))
                })
            };
            match seen {
                Err(DumpError::Manifest(error)) => Ok(Some(self.unreadable(id, &error))),
                other => other,
            }
        });
        let all = stream::iter(looks).buffered(READS_AT_ONCE).try_collect::<Vec<_>>().await?;
        // One that was deleted since it was listed is gone.
        let all: Vec<_> = all.into_iter().flatten().collect();
        let going = all.iter().filter(|backup| backup.state == BackupState::Deleting);
        left.extend(going.map(|backup| backup.id.clone()));
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = left;
        Ok(all)
    }

    fn unreadable(&self, id: String, error: &ManifestError) -> Backup {
        let arn = self.url(&id);
        let state = BackupState::Failed(chain(error));
        Backup {
            id,
            arn,
            state,
            marks: None,
            resource: String::new(),
            created_s: None,
            bytes: None,
        }
    }

    /// The slots that have a manifest, in order.
    pub async fn ids(&self) -> Result<Vec<String>, DumpError> {
        let slots = self.slots().await?;
        Ok(slots.into_iter().filter(|slot| slot.has_manifest).map(|slot| slot.id).collect())
    }

    /// All slots that have anything, in order; of too many, the newest: their names begin with
    /// their dates.
    async fn slots(&self) -> Result<Vec<Slot>, DumpError> {
        let below = format!("dumps/{}/", self.job);
        let (last, before) = self.objects.list_last(&below, OBJECTS_MAX).await?;
        if before > 0 {
            let url = self.objects.url(&below);
            tracing::warn!("{url} has {before} objects more than are looked at: see to the oldest");
        }
        Ok(slots(&last, &below, before > 0))
    }

    /// Deletes a dump that nobody keeps and nobody reads, and what others have left behind.
    pub async fn delete(&self, id: &str) -> Result<(), DumpError> {
        checked(id)?;
        if let Some(stored) = self.read(id).await? {
            self.condemn(id).await?;
            self.remove_manifest(id, &stored).await?;
        }
        self.clear(id, Goes::All).await?;
        let left = std::mem::take(&mut *self.left.lock().unwrap_or_else(PoisonError::into_inner));
        let others = left.iter().filter(|other| *other != id).take(LEFT_AT_ONCE);
        let all = async {
            for other in others {
                if let Err(error) = self.finish(other).await {
                    // The next listing shows it again.
                    tracing::warn!(error = %Chain(&error), "what is left of {other} stays");
                }
            }
        };
        if tokio::time::timeout(LEFT_WITHIN, all).await.is_err() {
            tracing::warn!("what others have left behind stays until the next deletion");
        }
        Ok(())
    }

    /// Goes on with what somebody has begun to delete, or never committed.
    async fn finish(&self, id: &str) -> Result<(), DumpError> {
        if let Some(stored) = self.read(id).await? {
            if !self.marks(id).await?.is_some_and(|(marks, _)| marks.deleting) {
                // It was committed since.
                return Ok(());
            }
            self.remove_manifest(id, &stored).await?;
            return self.clear(id, Goes::All).await;
        }
        self.clear(id, Goes::Old).await
    }

    /// Writes down that it goes, unless somebody keeps it: from here on nobody can.
    async fn condemn(&self, id: &str) -> Result<(), DumpError> {
        let condemn = |marks: &mut DumpMarks| match marks.keeps(now_s()).filter(|_| !marks.deleting)
        {
            Some(Keeps::Held(why)) => Err(DumpError::Held { id: id.to_owned(), why }),
            Some(Keeps::Read(by)) => Err(DumpError::InUse { id: id.to_owned(), by }),
            None => {
                marks.deleting = true;
                Ok(())
            }
        };
        self.change(id, condemn).await
    }

    /// Without it there is no dump any more, and nobody takes what is half gone for whole.
    async fn remove_manifest(&self, id: &str, stored: &Stored) -> Result<(), DumpError> {
        let key = self.key(id, MANIFEST);
        let Err(error) = self.bucket().await?.remove_if_matches(&key, &stored.etag).await else {
            return Ok(());
        };
        match error.kind {
            // Somebody else was faster, or the answer to the first attempt was lost.
            ErrorKind::NotFound => Ok(()),
            ErrorKind::PreconditionFailed if self.read(id).await?.is_none() => Ok(()),
            _ => Err(error.into()),
        }
    }

    /// Removes everything beside a manifest that is gone, the marks last: whoever dies here leaves
    /// what the next listing shows.
    async fn clear(&self, id: &str, goes: Goes) -> Result<(), DumpError> {
        let bucket = self.bucket().await?;
        let mut all = self.objects.list(&self.path(id, ""), TRIES_MAX).await?;
        let manifest = self.path(id, MANIFEST);
        if all.iter().any(|object| object.key == manifest) {
            return Err(DumpError::Changed { key: self.key(id, MANIFEST) });
        }
        let now = self.objects.server_time();
        all.retain(|object| does_go(goes, object.modified_ms, now));
        let marks = self.path(id, MARKS);
        all.sort_by_key(|object| object.key == marks);
        for object in all {
            bucket.remove(&self.objects.key(&object.key)).await?;
        }
        Ok(())
    }

    /// Changes what is said about a dump that is there and stays.
    pub async fn mark(&self, id: &str, change: impl Fn(&mut DumpMarks)) -> Result<(), DumpError> {
        let none = || DumpError::NoDump { id: id.to_owned() };
        self.read(id).await?.ok_or_else(none)?;
        let change = |marks: &mut DumpMarks| {
            if marks.deleting {
                return Err(DumpError::Deleting { id: id.to_owned() });
            }
            change(marks);
            Ok(())
        };
        self.change(id, change).await
    }

    /// Changes marks as they are now, however many do so at once.
    async fn change(
        &self,
        id: &str,
        change: impl Fn(&mut DumpMarks) -> Result<(), DumpError>,
    ) -> Result<(), DumpError> {
        let key = self.key(id, MARKS);
        for _ in 0..CHANGES_MAX {
            let seen = self.marks(id).await?;
            let mut new = match &seen {
                Some((marks, _)) => marks.clone(),
                None => DumpMarks::new(&self.job, id),
            };
            change(&mut new)?;
            if seen.as_ref().is_some_and(|(marks, _)| *marks == new) {
                return Ok(());
            }
            let condition = seen.as_ref().map(|(_, etag)| PutIf::Matches(etag));
            let condition = condition.unwrap_or(PutIf::Absent);
            match self.bucket().await?.put(&key, new.json(), condition).await {
                Ok(_) => return Ok(()),
                // Somebody else was faster, or an answer was lost: what is there now tells.
                Err(error)
                    if matches!(
                        error.kind,
                        ErrorKind::PreconditionFailed | ErrorKind::Conflict | ErrorKind::NotFound
                    ) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(DumpError::Changed { key })
    }
}

/// The slots of `objects`, which are sorted, below `below`. Of a listing that `is_cut` at its
/// beginning, the first one may not be whole, and is none.
fn slots(objects: &[ObjectHead], below: &str, is_cut: bool) -> Vec<Slot> {
    let mut all: Vec<Slot> = Vec::new();
    for object in objects {
        let path = object.key.strip_prefix(below).and_then(|path| path.split_once('/'));
        let Some((id, name)) = path.filter(|(id, _)| checked(id).is_ok()) else { continue };
        if all.last().is_none_or(|slot| slot.id != id) {
            let (has_manifest, has_marks, id) = (false, false, id.to_owned());
            all.push(Slot { id, has_manifest, has_marks, newest_ms: i64::MIN });
        }
        let Some(slot) = all.last_mut() else { continue };
        slot.has_manifest |= name == MANIFEST;
        slot.has_marks |= name == MARKS;
        slot.newest_ms = slot.newest_ms.max(object.modified_ms);
    }
    if is_cut && !all.is_empty() {
        all.remove(0);
    }
    all
}

/// What lies without a manifest for so long that nobody will write one.
fn left_behind(slots: &[Slot], now: Wall) -> Vec<String> {
    let left = slots.iter().filter(|slot| !slot.has_manifest && is_old(slot.newest_ms, now));
    left.map(|slot| slot.id.clone()).collect()
}

/// Whether what was written then goes. Without S3's own time nothing is old.
fn does_go(goes: Goes, modified_ms: i64, now: Option<Wall>) -> bool {
    match goes {
        Goes::All => true,
        Goes::Old => now.is_some_and(|now| is_old(modified_ms, now)),
    }
}

fn is_old(modified_ms: i64, now: Wall) -> bool {
    let after_ms = i64::try_from(LEFT_AFTER.as_millis()).unwrap_or(i64::MAX);
    modified_ms < now.0.saturating_sub(after_ms)
}

/// This host's clock, in seconds since 1970-01-01 UTC.
pub(super) fn now_s() -> i64 {
    crate::clock::wall().0.div_euclid(1000)
}

/// Slots are letters, digits and hyphens: what comes from a person must not lead anywhere else.
fn checked(id: &str) -> Result<(), DumpError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if !id.is_empty() && id.len() <= 32 && id.chars().all(allowed) {
        return Ok(());
    }
    Err(DumpError::NoDump { id: id.chars().take(40).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_old_and_has_no_manifest_was_left_behind() {
        let now = Wall(1_800_000_000_000);
        let day_ms = 86_400_000;
        let slot = |id: &str, has_manifest, age_ms| Slot {
            id: id.to_owned(),
            has_manifest,
            has_marks: false,
            newest_ms: now.0 - age_ms,
        };
        let slots = [
            slot("a", true, 9 * day_ms),
            slot("b", false, 9 * day_ms),
            slot("c", false, day_ms - 1),
            slot("d", false, -day_ms),
        ];
        assert_eq!(left_behind(&slots, now), ["b"]);
    }

    #[test]
    fn of_a_slot_without_a_manifest_only_what_is_old_goes() {
        let now = Wall(1_800_000_000_000);
        let day_ms = 86_400_000;
        let (old, young) = (now.0 - day_ms - 1, now.0 - day_ms);
        assert!(does_go(Goes::Old, old, Some(now)));
        assert!(!does_go(Goes::Old, young, Some(now)));
        assert!(!does_go(Goes::Old, old, None));
        assert!(does_go(Goes::All, young, Some(now)) && does_go(Goes::All, young, None));
    }

    #[test]
    fn of_a_listing_that_is_cut_the_first_slot_may_not_be_whole() {
        let keys = [
            "dumps/shop/20261120/manifest.json",
            "dumps/shop/20261121/1-7.dump",
            "dumps/shop/20261121/manifest.json",
            "dumps/shop/20261121/marks.json",
            "dumps/shop/20261122/1-8.dump",
            "dumps/shop/odd.name/manifest.json",
            "dumps/shop/stray",
        ];
        let object = |key: &&str| {
            let (key, etag) = ((*key).to_owned(), String::new());
            ObjectHead { key, size: 1, etag, modified_ms: 5 }
        };
        let objects: Vec<_> = keys.iter().map(object).collect();
        let check = |is_cut, expected: &[(&str, bool, bool)]| {
            let all = slots(&objects, "dumps/shop/", is_cut);
            let seen: Vec<_> = all
                .iter()
                .map(|slot| (slot.id.as_str(), slot.has_manifest, slot.has_marks))
                .collect();
            assert_eq!(seen, expected);
        };
        let all = [("20261120", true, false), ("20261121", true, true), ("20261122", false, false)];
        check(false, &all);
        check(true, &all[1..]);
        assert_eq!(slots(&[], "dumps/shop/", true).len(), 0);
    }
}
