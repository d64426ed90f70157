//! Where releases and channels live, as objects with conditional writes: a bucket or a directory.
//!
//! ```text
//! <prefix>/artifacts/<digest>.tar.zst    the artifact, named by its content
//! <prefix>/releases/<version>.json       the manifest; never changes once written
//! <prefix>/channels/<environment>.json   which release an environment should run
//! ```

use std::fmt;
use std::ops::Range;

use camino::{Utf8Path, Utf8PathBuf};
use groundcrew_core::types::{Digest, Environment, Version};
use tokio_util::sync::CancellationToken;

use crate::aws::s3::{Bucket, PutIf, S3Error, Upload};

use super::directory::{Directory, DirectoryError};
use crate::source_url::SourceUrl;

pub use crate::aws::s3::ErrorKind;

/// Entries of a listing that are read at most.
const LISTED_MAX: usize = 10_000;

/// An open source.
#[derive(Debug, Clone)]
pub enum Source {
    /// Objects in a bucket.
    S3 {
        /// The bucket.
        bucket: Bucket,
        /// In front of every key: empty, or ending with `/`.
        prefix: String,
    },
    /// Files in a directory.
    Directory(Directory),
}

/// Names an object within a source. Made only from types that cannot hold a separator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(String);

/// An object's content and version.
pub type Object = crate::aws::s3::Object;

/// Size and version of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Bytes.
    pub size: u64,
    /// Names this content.
    pub etag: String,
}

/// What a conditional read found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// The version already known.
    Unchanged,
    /// There is no such object. A bucket that may be read but not listed answers "denied" instead.
    Missing,
    /// Another version.
    Found(Object),
}

/// A release in a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its version.
    pub version: Version,
    /// When its manifest was written, milliseconds since 1970.
    pub published_ms: i64,
}

/// An operation on a source that failed.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// In S3.
    #[error(transparent)]
    S3(#[from] S3Error),
    /// In a directory.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

impl SourceError {
    /// What to make of it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::S3(error) => error.kind,
            Self::Directory(error) => error.kind,
        }
    }
}

impl Key {
    /// Of an artifact.
    #[must_use]
    pub fn artifact(digest: &Digest) -> Self {
        Self(format!("artifacts/{digest}.tar.zst"))
    }

    /// Of a manifest.
    #[must_use]
    pub fn manifest(version: &Version) -> Self {
        Self(format!("releases/{version}.json"))
    }

    /// Of a channel.
    #[must_use]
    pub fn channel(environment: &Environment) -> Self {
        Self(format!("channels/{environment}.json"))
    }

    /// Of log lines that an instance could not ship before it went, at a time in milliseconds since
    /// 1970.
    #[must_use]
    pub fn logs(instance: &str, at_ms: i64) -> Self {
        let usual = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
        let instance: String = instance.chars().map(usual).collect();
        Self(format!("logs/{instance}/{at_ms}.jsonl.zst"))
    }

    /// Below the source's prefix.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Source {
    /// Opens the source at `url`. Nothing is read yet, so this does not tell whether it is there.
    pub async fn open(url: &SourceUrl) -> Self {
        match url {
            SourceUrl::S3 { bucket, prefix } => Self::S3 {
                bucket: Bucket::connect(bucket.clone()).await,
                prefix: if prefix.is_empty() { String::new() } else { format!("{prefix}/") },
            },
            SourceUrl::Directory { path } => Self::Directory(Directory::new(path.clone())),
        }
    }

    /// Reads an object of at most `bytes_max` bytes.
    pub async fn get(&self, key: &Key, bytes_max: u64) -> Result<Object, SourceError> {
        match self {
            Self::S3 { bucket, prefix } => {
                Ok(bucket.get(&in_bucket(prefix, key), bytes_max).await?)
            }
            Self::Directory(directory) => Ok(directory.get(key, bytes_max).await?),
        }
    }

    /// Reads an object unless it still is the version `etag`.
    pub async fn get_if_changed(
        &self,
        key: &Key,
        etag: Option<&str>,
        bytes_max: u64,
    ) -> Result<Read, SourceError> {
        let read = match (self, etag) {
            (Self::S3 { bucket, prefix }, Some(etag)) => {
                let key = in_bucket(prefix, key);
                let changed = bucket.get_if_changed(&key, etag, bytes_max).await;
                changed.map_err(SourceError::from)
            }
            _ => self.get(key, bytes_max).await.map(Some),
        };
        match read {
            Ok(Some(object)) if etag == Some(&object.etag) => Ok(Read::Unchanged),
            Ok(Some(object)) => Ok(Read::Found(object)),
            Ok(None) => Ok(Read::Unchanged),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Read::Missing),
            Err(error) => Err(error),
        }
    }

    /// Reads exactly `range` of the version `etag`, as [`Source::head`] named it.
    pub async fn get_range(
        &self,
        key: &Key,
        range: Range<u64>,
        etag: &str,
        buffer: Vec<u8>,
    ) -> Result<Vec<u8>, SourceError> {
        match self {
            Self::S3 { bucket, prefix } => {
                Ok(bucket.get_range(&in_bucket(prefix, key), range, etag, buffer).await?)
            }
            Self::Directory(directory) => Ok(directory.get_range(key, range, etag, buffer).await?),
        }
    }

    /// Size and version of an object; `None` when there is none.
    pub async fn head(&self, key: &Key) -> Result<Option<Head>, SourceError> {
        match self {
            Self::S3 { bucket, prefix } => {
                let head = bucket.head(&in_bucket(prefix, key)).await?;
                Ok(head.map(|head| Head { size: head.size, etag: head.etag }))
            }
            Self::Directory(directory) => Ok(directory.head(key).await?),
        }
    }

    /// Writes a document on a condition and returns its etag.
    pub async fn put(
        &self,
        key: &Key,
        bytes: Vec<u8>,
        condition: PutIf<'_>,
    ) -> Result<String, SourceError> {
        match self {
            Self::S3 { bucket, prefix } => {
                Ok(bucket.put(&in_bucket(prefix, key), bytes, condition).await?)
            }
            Self::Directory(directory) => Ok(directory.put(key, bytes, condition).await?),
        }
    }

    /// Copies a file of `size` bytes to an object named by its content, over whatever is there.
    /// `sent` is told the bytes of each piece.
    pub async fn put_file(
        &self,
        key: &Key,
        path: &Utf8Path,
        size: u64,
        sent: &(dyn Fn(u64) + Sync),
        cancel: &CancellationToken,
    ) -> Result<(), SourceError> {
        match self {
            Self::S3 { bucket, prefix } => {
                let key = in_bucket(prefix, key);
                let upload = Upload { key, path: path.to_owned(), size };
                Ok(bucket.put_file(&upload, sent, cancel).await?)
            }
            Self::Directory(directory) => {
                directory.put_file(key, path).await?;
                sent(size);
                Ok(())
            }
        }
    }

    /// The releases in the source, newest first.
    pub async fn list_versions(&self) -> Result<Vec<Listed>, SourceError> {
        let named: Vec<(String, i64)> = match self {
            Self::S3 { bucket, prefix } => {
                let below = format!("{prefix}releases/");
                let objects = bucket.list(&below, LISTED_MAX).await?.into_iter();
                let name = |key: &str| key.strip_prefix(below.as_str()).unwrap_or(key).to_owned();
                objects.map(|object| (name(&object.key), object.modified_ms)).collect()
            }
            Self::Directory(directory) => directory.list("releases", LISTED_MAX).await?,
        };
        let mut listed: Vec<Listed> = named
            .into_iter()
            .filter_map(|(name, published_ms)| {
                // What is not named like a manifest was put there by somebody else.
                let version = name.strip_suffix(".json")?.parse().ok()?;
                Some(Listed { version, published_ms })
            })
            .collect();
        listed.sort_by(|a, b| (b.published_ms, &b.version).cmp(&(a.published_ms, &a.version)));
        Ok(listed)
    }

    /// Where an object is, for messages.
    #[must_use]
    pub fn locate(&self, key: &Key) -> String {
        match self {
            Self::S3 { bucket, prefix } => {
                format!("s3://{}/{}", bucket.name(), in_bucket(prefix, key))
            }
            Self::Directory(directory) => directory.path(key).into_string(),
        }
    }
}

/// As its URL, which is how a person names it to the next command.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = match self {
            Self::S3 { bucket, prefix } => SourceUrl::S3 {
                bucket: bucket.name().to_owned(),
                prefix: prefix.trim_end_matches('/').to_owned(),
            },
            Self::Directory(directory) => {
                SourceUrl::Directory { path: Utf8PathBuf::from(directory.root()) }
            }
        };
        url.fmt(f)
    }
}

fn in_bucket(prefix: &str, key: &Key) -> String {
    format!("{prefix}{}", key.as_str())
}
