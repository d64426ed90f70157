//! Objects of one S3 bucket: conditional reads and writes, ranges, listings, uploads of files.

use std::error::Error;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::ResponseChecksumValidation;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::get_object::builders::GetObjectFluentBuilder;
use aws_sdk_s3::primitives::ByteStream;

mod multipart;
mod shared;
mod upload;

pub use multipart::{Completed, Multipart, Part, PartBody, PartFile};
pub use shared::{AnswerDate, Dated, ServerDate};
pub use upload::Upload;

/// How long the body of one answer may take. Bodies are at most a manifest long.
const BODY_WITHIN: Duration = Duration::from_mins(2);
const ENDPOINT_VARIABLE: &str = "AWS_ENDPOINT_URL_S3";

/// One bucket.
#[derive(Debug, Clone)]
pub struct Bucket {
    client: Client,
    name: String,
}

/// An object's content and version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// The bytes asked for.
    pub bytes: Vec<u8>,
    /// Names this content: the quoted string S3 returns.
    pub etag: String,
}

/// An object without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectHead {
    /// The key, in full.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// Names this content; empty in listings.
    pub etag: String,
    /// When it was written, milliseconds since 1970.
    pub modified_ms: i64,
}

/// On which condition an object is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutIf<'a> {
    /// Only when there is none (`If-None-Match: *`).
    Absent,
    /// Only over the version with this etag (`If-Match`).
    Matches(&'a str),
}

/// What kind of failure, as far as a caller can act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// No such object (404).
    NotFound,
    /// The object is not the version named (412).
    PreconditionFailed,
    /// Somebody else is writing the same object (409): read again, try again.
    Conflict,
    /// No credentials, or not allowed (401, 403).
    Denied,
    /// Too many requests (429, 503 `SlowDown`).
    Throttled,
    /// Not reached, too slow, cut off, or broken on its side (5xx).
    Unavailable,
    /// Anything else.
    Other,
}

/// An operation on an object that failed.
#[derive(Debug, thiserror::Error)]
#[error("could not {operation} s3://{bucket}/{key}")]
pub struct S3Error {
    /// What was tried: `read`, `write`, `list`.
    pub operation: &'static str,
    /// The bucket.
    pub bucket: String,
    /// The key, or the prefix of a listing.
    pub key: String,
    /// What to make of it.
    pub kind: ErrorKind,
    /// What S3 or the connection said.
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
}

/// S3's own answer, without the SDK's wrapping.
#[derive(Debug, thiserror::Error)]
#[error("S3 answered {status} {code}: {message}")]
struct Answer {
    status: u16,
    code: String,
    message: String,
}

/// A body that is not what was asked for.
#[derive(Debug, thiserror::Error)]
enum BodyError {
    #[error("the answer holds more than {limit} bytes")]
    TooLong { limit: u64 },
    #[error("the answer ended after {actual} of {expected} bytes")]
    Truncated { actual: u64, expected: u64 },
    #[error("the answer took longer than {} s", BODY_WITHIN.as_secs())]
    Slow,
}

impl S3Error {
    /// Whether nobody could be asked because there are no credentials.
    #[must_use]
    pub fn lacks_credentials(&self) -> bool {
        super::fleet::cause_of::<CredentialsError>(&*self.source).is_some()
    }
}

impl Bucket {
    /// A client for the bucket `name`, with credentials, region and endpoint from the environment.
    /// Does not ask S3 anything.
    pub async fn connect(name: String) -> Self {
        Self::with(&super::load_config(&[ENDPOINT_VARIABLE]).await, name)
    }

    /// The same, where the region is known. Without one there is nobody to ask: it may be there the
    /// next time.
    pub async fn connect_with_region(name: String) -> Option<Self> {
        let shared = Box::pin(super::load_config_with_region(&[ENDPOINT_VARIABLE])).await?;
        Some(Self::with(&shared, name))
    }

    fn with(shared: &SdkConfig, name: String) -> Self {
        let overridden =
            super::has_endpoint_override(ENDPOINT_VARIABLE) || shared.endpoint_url().is_some();
        let config = aws_sdk_s3::config::Builder::from(shared)
            // Emulators have no DNS name for each bucket.
            .force_path_style(overridden)
            // Callers check SHA-256 over what they read; a CRC beside it would only cost time.
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .build();
        Self { client: Client::from_conf(config), name }
    }

    /// The bucket's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads an object of at most `bytes_max` bytes.
    pub async fn get(&self, key: &str, bytes_max: u64) -> Result<Object, S3Error> {
        self.read(self.get_object(key), key, bytes_max, Vec::new()).await
    }

    /// Reads an object unless it still is the version `etag`; `None` when it is.
    pub async fn get_if_changed(
        &self,
        key: &str,
        etag: &str,
        bytes_max: u64,
    ) -> Result<Option<Object>, S3Error> {
        let answer = self.get_object(key).if_none_match(etag).send().await;
        match answer {
            Err(error) if status_of(&error) == Some(304) => Ok(None),
            Err(error) => Err(self.failed("read", key, error)),
            Ok(output) => self.body(output, key, bytes_max, Vec::new()).await.map(Some),
        }
    }

    /// Reads exactly `range` of the version `etag`, into the memory of `buffer`.
    pub async fn get_range(
        &self,
        key: &str,
        range: Range<u64>,
        etag: &str,
        buffer: Vec<u8>,
    ) -> Result<Vec<u8>, S3Error> {
        let expected = range.end - range.start;
        let header = format!("bytes={}-{}", range.start, range.end - 1);
        let request = self.get_object(key).range(header).if_match(etag);
        let Object { bytes, .. } = self.read(request, key, expected, buffer).await?;
        let actual = bytes.len() as u64;
        if actual < expected {
            let source = BodyError::Truncated { actual, expected };
            return Err(self.error("read", key, ErrorKind::Unavailable, source));
        }
        Ok(bytes)
    }

    /// Size and version of an object; `None` when there is none.
    pub async fn head(&self, key: &str) -> Result<Option<ObjectHead>, S3Error> {
        match self.client.head_object().bucket(&self.name).key(key).send().await {
            Ok(output) => Ok(Some(ObjectHead {
                key: key.to_owned(),
                size: output.content_length().and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
                etag: output.e_tag().unwrap_or_default().to_owned(),
                modified_ms: millis(output.last_modified()),
            })),
            Err(error) => match self.failed("read", key, error) {
                error if error.kind == ErrorKind::NotFound => Ok(None),
                error => Err(error),
            },
        }
    }

    /// Writes an object on a condition and returns its etag.
    pub async fn put(
        &self,
        key: &str,
        bytes: Vec<u8>,
        condition: PutIf<'_>,
    ) -> Result<String, S3Error> {
        let request = self.client.put_object().bucket(&self.name).key(key);
        let request = match condition {
            PutIf::Absent => request.if_none_match("*"),
            PutIf::Matches(etag) => request.if_match(etag),
        };
        let request = request.content_type("application/json").body(ByteStream::from(bytes));
        let output = request.send().await.map_err(|error| self.failed("write", key, error))?;
        Ok(output.e_tag().unwrap_or_default().to_owned())
    }

    /// The objects directly below `prefix` (which ends with `/`), at most `count_max` of them.
    pub async fn list(&self, prefix: &str, count_max: usize) -> Result<Vec<ObjectHead>, S3Error> {
        let request = self.client.list_objects_v2().bucket(&self.name).prefix(prefix);
        let mut pages = request.delimiter("/").into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| self.failed("list", prefix, error))?;
            found.extend(page.contents().iter().map(listed));
            if found.len() >= count_max {
                found.truncate(count_max);
                break;
            }
        }
        Ok(found)
    }

    fn get_object(&self, key: &str) -> GetObjectFluentBuilder {
        self.client.get_object().bucket(&self.name).key(key)
    }

    async fn read(
        &self,
        request: GetObjectFluentBuilder,
        key: &str,
        bytes_max: u64,
        buffer: Vec<u8>,
    ) -> Result<Object, S3Error> {
        let output = request.send().await.map_err(|error| self.failed("read", key, error))?;
        self.body(output, key, bytes_max, buffer).await
    }

    async fn body(
        &self,
        output: GetObjectOutput,
        key: &str,
        bytes_max: u64,
        mut bytes: Vec<u8>,
    ) -> Result<Object, S3Error> {
        let etag = output.e_tag().unwrap_or_default().to_owned();
        let expected = output.content_length().and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
        let unavailable = |error: Box<dyn Error + Send + Sync>| S3Error {
            operation: "read",
            bucket: self.name.clone(),
            key: key.to_owned(),
            kind: ErrorKind::Unavailable,
            source: error,
        };
        let too_long =
            || self.error("read", key, ErrorKind::Other, BodyError::TooLong { limit: bytes_max });
        if expected > bytes_max {
            return Err(too_long());
        }
        bytes.clear();
        bytes.reserve_exact(usize::try_from(expected).unwrap_or(0));
        let mut stream = output.body;
        let all = async {
            while let Some(chunk) = stream.next().await {
                let chunk = chunk.map_err(|error| unavailable(Box::new(error)))?;
                if (bytes.len() + chunk.len()) as u64 > bytes_max {
                    return Err(too_long());
                }
                bytes.extend_from_slice(&chunk);
            }
            Ok(())
        };
        match tokio::time::timeout(BODY_WITHIN, all).await {
            Ok(read) => read?,
            Err(_) => return Err(unavailable(Box::new(BodyError::Slow))),
        }
        let actual = bytes.len() as u64;
        if actual < expected {
            return Err(unavailable(Box::new(BodyError::Truncated { actual, expected })));
        }
        Ok(Object { bytes, etag })
    }

    fn error(
        &self,
        operation: &'static str,
        key: &str,
        kind: ErrorKind,
        source: impl Error + Send + Sync + 'static,
    ) -> S3Error {
        let (bucket, key) = (self.name.clone(), key.to_owned());
        S3Error { operation, bucket, key, kind, source: Box::new(source) }
    }

    fn failed<E>(&self, operation: &'static str, key: &str, error: SdkError<E>) -> S3Error
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let Some(status) = status_of(&error) else {
            let kind = match &error {
                SdkError::ConstructionFailure(_) => ErrorKind::Other,
                _ => ErrorKind::Unavailable,
            };
            return self.error(operation, key, kind, error);
        };
        let metadata = error.as_service_error().map(ProvideErrorMetadata::meta);
        let code = metadata.and_then(|m| m.code()).unwrap_or_default().to_owned();
        let message = metadata.and_then(|m| m.message()).unwrap_or("no details").to_owned();
        let kind = kind_of(status, &code);
        self.error(operation, key, kind, Answer { status, code, message })
    }
}

fn status_of<E>(error: &SdkError<E>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

/// The status decides; the codes are those that S3 sends with a status of another meaning.
fn kind_of(status: u16, code: &str) -> ErrorKind {
    match (status, code) {
        (_, "SlowDown" | "RequestLimitExceeded" | "TooManyRequests") | (429, _) => {
            ErrorKind::Throttled
        }
        (_, "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired") | (401 | 403, _) => {
            ErrorKind::Denied
        }
        // A bucket that is not there is a mistake to be shown, not an object that may come yet.
        (404, "NoSuchBucket") => ErrorKind::Other,
        (404, _) => ErrorKind::NotFound,
        (409, _) => ErrorKind::Conflict,
        (412, _) => ErrorKind::PreconditionFailed,
        (_, "RequestTimeout") | (500.., _) => ErrorKind::Unavailable,
        _ => ErrorKind::Other,
    }
}

fn listed(object: &aws_sdk_s3::types::Object) -> ObjectHead {
    ObjectHead {
        key: object.key().unwrap_or_default().to_owned(),
        size: object.size().and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
        etag: String::new(),
        modified_ms: millis(object.last_modified()),
    }
}

fn millis(time: Option<&aws_sdk_s3::primitives::DateTime>) -> i64 {
    time.and_then(|time| time.to_millis().ok()).unwrap_or(0)
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "not found",
            Self::PreconditionFailed => "precondition failed",
            Self::Conflict => "conflict",
            Self::Denied => "denied",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::Other => "failed",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart_by_what_a_caller_can_do() {
        let check = |status, code, kind| assert_eq!(kind_of(status, code), kind, "{status} {code}");
        check(404, "NoSuchKey", ErrorKind::NotFound);
        check(404, "NoSuchBucket", ErrorKind::Other);
        check(412, "PreconditionFailed", ErrorKind::PreconditionFailed);
        check(409, "ConditionalRequestConflict", ErrorKind::Conflict);
        check(403, "AccessDenied", ErrorKind::Denied);
        check(400, "ExpiredToken", ErrorKind::Denied);
        check(503, "SlowDown", ErrorKind::Throttled);
        check(503, "ServiceUnavailable", ErrorKind::Unavailable);
        check(400, "RequestTimeout", ErrorKind::Unavailable);
        check(400, "InvalidArgument", ErrorKind::Other);
    }
}
