//! An object written in parts as they come, of a length that nobody knows beforehand. It becomes an
//! object by one conditional request, and until then nobody sees it.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use aws_sdk_s3::config::Config;
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::{ByteStream, Length};
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;

use super::{Bucket, ErrorKind, S3Error};

/// How long one request may take, whatever it carries.
const REQUEST_WITHIN: Duration = Duration::from_mins(5);
/// The slowest network that a part is sent over: bytes in a second.
const BYTES_A_SECOND_MIN: u64 = 256 * 1024;
/// S3 may take minutes to put many parts together (API_CompleteMultipartUpload), and says nothing
/// meanwhile but spaces.
const COMPLETE_WITHIN: Duration = Duration::from_mins(20);
/// The same with another attempt: the first may have been cut off.
const COMPLETE_ALL_WITHIN: Duration = Duration::from_mins(45);
/// Attempts of one part, all within the time of one request each.
const ATTEMPTS: u32 = super::super::ATTEMPTS_MAX;

/// An upload that was begun. It stays, and is paid for, until it is completed or aborted.
#[derive(Debug, Clone)]
pub struct Multipart {
    bucket: Bucket,
    key: String,
    id: String,
}

/// What a part holds.
#[derive(Debug)]
pub enum PartBody {
    /// Bytes in memory.
    Memory(Bytes),
    /// A whole file, which need not have a name any more.
    File(Arc<PartFile>, u64),
}

/// A file that a part waits in.
#[derive(Debug)]
pub struct PartFile {
    file: File,
    /// Whoever listens to it learns that the file is not needed any more.
    _gone: SyncSender<()>,
}

impl PartFile {
    /// Of a file that is written; the receiver's other end goes with it.
    #[must_use]
    pub fn new(file: File) -> (Self, Receiver<()>) {
        let (sender, receiver) = sync_channel(1);
        (Self { file, _gone: sender }, receiver)
    }

    /// Where this process can open it anew, which each attempt to send it does.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.file.as_raw_fd())
    }
}

/// A part that S3 has.
#[derive(Debug, Clone)]
pub struct Part(CompletedPart);

/// What came of a completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completed {
    /// The object is there now.
    Done,
    /// There is an object of that key (412).
    Exists,
    /// The upload is not there: it was completed before, or aborted.
    NoUpload,
}

impl Bucket {
    /// Begins an upload.
    pub async fn begin_multipart(&self, key: String) -> Result<Multipart, S3Error> {
        let create = self.client.create_multipart_upload().bucket(&self.name).key(&key);
        let created = create.content_type("application/octet-stream").send().await;
        let created = created.map_err(|error| self.failed("begin writing", &key, error))?;
        let id = created.upload_id().unwrap_or_default().to_owned();
        Ok(Multipart { bucket: self.clone(), key, id })
    }

    /// Removes an object. One that is not there is removed.
    pub async fn remove(&self, key: &str) -> Result<(), S3Error> {
        let done = self.client.delete_object().bucket(&self.name).key(key).send().await;
        done.map(drop).map_err(|error| self.failed("remove", key, error))
    }

    /// Removes an object if it still is the version with this etag (`If-Match`).
    pub async fn remove_if_matches(&self, key: &str, etag: &str) -> Result<(), S3Error> {
        let remove = self.client.delete_object().bucket(&self.name).key(key);
        let done = remove.if_match(etag).send().await;
        done.map(drop).map_err(|error| self.failed("remove", key, error))
    }
}

impl Multipart {
    /// The object's key, in full.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Sends a part. `number` counts from 1; all but the last hold 5 MiB at least. S3 compares a
    /// checksum of what arrived.
    pub async fn put_part(&self, number: i32, body: PartBody) -> Result<Part, S3Error> {
        let (body, length, _keep) = self.stream(body).await?;
        let request = self.bucket.client.upload_part().bucket(&self.bucket.name).key(&self.key);
        let request = request.upload_id(&self.id).part_number(number).body(body);
        let within = REQUEST_WITHIN + Duration::from_secs(length / BYTES_A_SECOND_MIN);
        let patient = request.customize().config_override(patience(within, within * ATTEMPTS));
        // The checksum says what arrived, and TLS by whom it was sent: hashing it once more for the
        // signature would cost as much as compressing it.
        let sent = patient.disable_payload_signing().send().await;
        let output = sent.map_err(|error| self.bucket.failed("write", &self.key, error))?;
        let part = CompletedPart::builder()
            .part_number(number)
            .set_e_tag(output.e_tag)
            .set_checksum_crc32(output.checksum_crc32)
            .build();
        Ok(Part(part))
    }

    async fn stream(
        &self,
        body: PartBody,
    ) -> Result<(ByteStream, u64, Option<Arc<PartFile>>), S3Error> {
        match body {
            PartBody::Memory(bytes) => {
                let length = bytes.len() as u64;
                Ok((ByteStream::from(bytes), length, None))
            }
            PartBody::File(file, length) => {
                let stream = ByteStream::read_from().path(file.path());
                let built = stream.length(Length::Exact(length)).build().await;
                let stream = built.map_err(|error| {
                    self.bucket.error("read a part of", &self.key, ErrorKind::Other, error)
                })?;
                Ok((stream, length, Some(file)))
            }
        }
    }

    /// Makes the object of its parts, unless there is one of its key (`If-None-Match: *`).
    pub async fn complete(&self, parts: &[Part]) -> Result<Completed, S3Error> {
        let parts = parts.iter().map(|part| part.0.clone()).collect();
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let client = &self.bucket.client;
        let request = client.complete_multipart_upload().bucket(&self.bucket.name).key(&self.key);
        let request = request.upload_id(&self.id).multipart_upload(parts).if_none_match("*");
        let patient =
            request.customize().config_override(patience(COMPLETE_WITHIN, COMPLETE_ALL_WITHIN));
        let Err(error) = patient.send().await else { return Ok(Completed::Done) };
        let gone = error.code() == Some("NoSuchUpload");
        let error = self.bucket.failed("finish writing", &self.key, error);
        match error.kind {
            ErrorKind::PreconditionFailed => Ok(Completed::Exists),
            ErrorKind::NotFound if gone => Ok(Completed::NoUpload),
            _ => Err(error),
        }
    }

    /// Drops the parts. An upload that is not there is dropped.
    pub async fn abort(&self) -> Result<(), S3Error> {
        let client = &self.bucket.client;
        let abort = client.abort_multipart_upload().bucket(&self.bucket.name).key(&self.key);
        let Err(error) = abort.upload_id(&self.id).send().await else { return Ok(()) };
        match self.bucket.failed("abort the upload of", &self.key, error) {
            error if error.kind == ErrorKind::NotFound => Ok(()),
            error => Err(error),
        }
    }
}

fn patience(request_within: Duration, all_within: Duration) -> aws_sdk_s3::config::Builder {
    Config::builder().timeout_config(crate::aws::timeouts(request_within, all_within))
}
