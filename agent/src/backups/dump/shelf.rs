//! Where dumps stand in the bucket: their keys, their manifests, and what is there. A dump is what
//! has a manifest.
//!
//! ```text
//! PREFIX/dumps/JOB/SLOT/EPOCH-TICKET.dump
//! PREFIX/dumps/JOB/SLOT/manifest.json
//! ```

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use groundcrew_core::backups::backup::{Backup, BackupState, Tag};
use groundcrew_core::backups::call::{CallError, Put, Ticket};
use groundcrew_core::backups::limits::{BACKUPS_MAX, TAGS_MAX};
use groundcrew_core::backups::slot::JobName;

use super::error::DumpError;
use crate::aws::s3::{Bucket, ErrorKind, Object, PutIf};
use crate::backups::manifest::{self, Manifest, ManifestError};
use crate::backups::objects::Objects;

/// Objects of one job: a manifest and the data of a few tries for each dump, for some years more
/// than the core looks at.
const OBJECTS_MAX: usize = BACKUPS_MAX * 10;
/// Objects of one dump.
const TRIES_MAX: usize = 1000;
/// Manifests that are read at once.
const READS_AT_ONCE: usize = 4;
const MANIFEST: &str = "manifest.json";

/// The dumps of one job.
#[derive(Debug, Clone)]
pub struct Shelf {
    objects: Arc<Objects>,
    job: JobName,
}

/// A manifest as it was read.
pub struct Stored {
    /// What it says.
    pub manifest: Manifest,
    /// Its ETag.
    pub etag: String,
}

impl Shelf {
    /// Of this job.
    #[must_use]
    pub fn new(objects: Arc<Objects>, job: JobName) -> Self {
        Self { objects, job }
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
        let Some(object) = self.get(id).await? else { return Ok(None) };
        let key = self.key(id, MANIFEST);
        let manifest = Manifest::read(&key, &self.job, id, &object.bytes)?;
        Ok(Some(Stored { manifest, etag: object.etag }))
    }

    async fn get(&self, id: &str) -> Result<Option<Object>, DumpError> {
        checked(id)?;
        let key = self.key(id, MANIFEST);
        match self.bucket().await?.get(&key, manifest::BYTES_MAX).await {
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
        let stored = self.read(id).await?;
        Ok(stored.map(|stored| stored.manifest.backup(self.url(id))))
    }

    /// How to name a dump elsewhere.
    #[must_use]
    pub fn url(&self, id: &str) -> String {
        self.objects.url(&self.path(id, MANIFEST))
    }

    /// All dumps, newest last; of more than the core looks at, the newest. What has a manifest that
    /// cannot be read is nobody's, and stays.
    pub async fn list(&self) -> Result<Vec<Backup>, DumpError> {
        let ids = self.ids().await?;
        let newest = ids.len().saturating_sub(BACKUPS_MAX);
        let looks = ids.into_iter().skip(newest).map(|id| async move {
            match self.look(&id).await {
                Err(DumpError::Manifest(error)) => Ok(Some(self.unreadable(id, &error))),
                other => other,
            }
        });
        let all = stream::iter(looks).buffered(READS_AT_ONCE).try_collect::<Vec<_>>().await?;
        // One that was deleted since it was listed is gone.
        Ok(all.into_iter().flatten().collect())
    }

    fn unreadable(&self, id: String, error: &ManifestError) -> Backup {
        let why = crate::errors::chain(error);
        let arn = self.url(&id);
        let state = BackupState::Failed(why);
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
        let below = format!("dumps/{}/", self.job);
        let objects = self.objects.list(&below, OBJECTS_MAX).await?;
        let id = |path: &str| {
            let id = path.strip_prefix(&below)?.strip_suffix(MANIFEST)?.strip_suffix('/')?;
            checked(id).ok().map(|()| id.to_owned())
        };
        Ok(objects.iter().filter_map(|object| id(&object.key)).collect())
    }

    /// Deletes a dump: first the manifest, so that nobody takes what is half gone for whole, then
    /// everything beside it, whoever left it there.
    pub async fn delete(&self, id: &str) -> Result<(), DumpError> {
        checked(id)?;
        let bucket = self.bucket().await?;
        bucket.remove(&self.key(id, MANIFEST)).await?;
        let below = self.path(id, "");
        for object in self.objects.list(&below, TRIES_MAX).await? {
            bucket.remove(&self.objects.key(&object.key)).await?;
        }
        Ok(())
    }

    /// Sets tags: a hold, or that somebody works with it.
    pub async fn mark(&self, id: &str, tags: &[Tag]) -> Result<(), DumpError> {
        let none = || DumpError::NoDump { id: id.to_owned() };
        let Stored { mut manifest, etag } = self.read(id).await?.ok_or_else(none)?;
        manifest.tags.retain(|(name, _)| tags.iter().all(|(new, _)| new != name));
        // A tag without a value is one that is taken away.
        manifest.tags.extend(tags.iter().filter(|(_, value)| !value.is_empty()).cloned());
        manifest.tags.truncate(TAGS_MAX);
        let key = self.key(id, MANIFEST);
        let bucket = self.bucket().await?;
        bucket.put(&key, manifest.json(), PutIf::Matches(&etag)).await?;
        Ok(())
    }
}

/// Slots are letters, digits and hyphens: what comes from a person must not lead anywhere else.
fn checked(id: &str) -> Result<(), DumpError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if !id.is_empty() && id.len() <= 32 && id.chars().all(allowed) {
        return Ok(());
    }
    Err(DumpError::NoDump { id: id.chars().take(40).collect() })
}
