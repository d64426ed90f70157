//! Uploads of files: in one piece when small, else in parts, several at a time, aborted on failure.

use std::error::Error;
use std::time::Duration;

use aws_sdk_s3::config::Config;
use aws_sdk_s3::primitives::{ByteStream, Length};
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use camino::Utf8PathBuf;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio_util::sync::CancellationToken;

use super::{Bucket, ErrorKind, S3Error};

/// Files up to this many bytes go in one request.
const SINGLE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Bytes of a part, unless [`PARTS_MAX`] asks for more. S3 takes no less than 5 MiB.
const PART_BYTES: u64 = 8 * 1024 * 1024;
/// S3's limit.
const PARTS_MAX: u64 = 10_000;
/// Parts sent at a time. They are streamed from the file, so this bounds sockets, not memory.
const PARTS_AT_ONCE: usize = 4;
/// How long one request of an upload may take: 16 MiB at 0.5 Mbit/s.
const REQUEST_WITHIN: Duration = Duration::from_mins(5);
/// How long one request of an upload may take with all its attempts.
const OPERATION_WITHIN: Duration = Duration::from_mins(12);

const _: () = assert!(PART_BYTES >= 5 * 1024 * 1024 && PART_BYTES <= SINGLE_BYTES_MAX);

#[derive(Debug, thiserror::Error)]
#[error("it was cancelled")]
struct Cancelled;

/// A file on its way to a key.
#[derive(Debug, Clone)]
pub struct Upload {
    /// The key, in full.
    pub key: String,
    /// The file.
    pub path: Utf8PathBuf,
    /// Its size in bytes.
    pub size: u64,
}

impl Bucket {
    /// Uploads a file, over whatever the key holds. `sent` is told the bytes of each finished part.
    /// Once `cancel` fires it ends with an error and takes back the parts already sent.
    pub async fn put_file(
        &self,
        upload: &Upload,
        sent: &(dyn Fn(u64) + Sync),
        cancel: &CancellationToken,
    ) -> Result<(), S3Error> {
        if upload.size > SINGLE_BYTES_MAX {
            return self.put_parts(upload, sent, cancel).await;
        }
        tokio::select! {
            done = self.put_whole(upload) => done?,
            () = cancel.cancelled() => return Err(self.cancelled(upload)),
        }
        sent(upload.size);
        Ok(())
    }

    async fn put_whole(&self, upload: &Upload) -> Result<(), S3Error> {
        let body = self.part(upload, 0, upload.size).await?;
        let request = self.client.put_object().bucket(&self.name).key(&upload.key);
        let request = request.content_type("application/zstd").body(body);
        let patient = request.customize().config_override(patience());
        let done = patient.send().await;
        done.map(drop).map_err(|error| self.failed("write", &upload.key, error))
    }

    fn cancelled(&self, upload: &Upload) -> S3Error {
        self.error("write", &upload.key, ErrorKind::Other, Cancelled)
    }

    async fn put_parts(
        &self,
        upload: &Upload,
        sent: &(dyn Fn(u64) + Sync),
        cancel: &CancellationToken,
    ) -> Result<(), S3Error> {
        let key = &upload.key;
        let create = self.client.create_multipart_upload().bucket(&self.name).key(key);
        let created = create.content_type("application/zstd").send().await;
        let created = created.map_err(|error| self.failed("begin writing", key, error))?;
        let id = created.upload_id().unwrap_or_default();
        let parts = tokio::select! {
            parts = self.send_parts(upload, id, sent) => parts,
            () = cancel.cancelled() => Err(self.cancelled(upload)),
        };
        let done = match parts {
            Ok(parts) => self.complete(upload, id, parts).await,
            Err(error) => Err(error),
        };
        if done.is_err() {
            // Parts of an upload that is neither completed nor aborted are paid for until somebody
            // looks.
            let abort = self.client.abort_multipart_upload().bucket(&self.name).key(key);
            if let Err(error) = abort.upload_id(id).send().await {
                let error = self.failed("abort the upload of", key, error);
                tracing::warn!(error = %crate::errors::Chain(&error), "parts are left behind");
            }
        }
        done
    }

    async fn send_parts(
        &self,
        upload: &Upload,
        id: &str,
        sent: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<CompletedPart>, S3Error> {
        let part_bytes = PART_BYTES.max(upload.size.div_ceil(PARTS_MAX));
        let count = i32::try_from(upload.size.div_ceil(part_bytes)).unwrap_or(i32::MAX);
        let parts = stream::iter(1..=count).map(|number| async move {
            let offset = u64::from(number.unsigned_abs() - 1) * part_bytes;
            let length = part_bytes.min(upload.size - offset);
            let part = self.send_part(upload, id, number, offset, length).await?;
            sent(length);
            Ok(part)
        });
        parts.buffered(PARTS_AT_ONCE).try_collect().await
    }

    async fn send_part(
        &self,
        upload: &Upload,
        id: &str,
        number: i32,
        offset: u64,
        length: u64,
    ) -> Result<CompletedPart, S3Error> {
        let body = self.part(upload, offset, length).await?;
        let request = self.client.upload_part().bucket(&self.name).key(&upload.key);
        let request = request.upload_id(id).part_number(number).body(body);
        let patient = request.customize().config_override(patience());
        let output =
            patient.send().await.map_err(|error| self.failed("write", &upload.key, error))?;
        Ok(CompletedPart::builder()
            .part_number(number)
            .set_e_tag(output.e_tag)
            .set_checksum_crc32(output.checksum_crc32)
            .build())
    }

    async fn complete(
        &self,
        upload: &Upload,
        id: &str,
        parts: Vec<CompletedPart>,
    ) -> Result<(), S3Error> {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let request = self.client.complete_multipart_upload().bucket(&self.name).key(&upload.key);
        let request = request.upload_id(id).multipart_upload(parts);
        // S3 may take minutes to put many parts together.
        let patient = request.customize().config_override(patience());
        let done = patient.send().await;
        done.map(drop).map_err(|error| self.failed("finish writing", &upload.key, error))
    }

    async fn part(&self, upload: &Upload, offset: u64, length: u64) -> Result<ByteStream, S3Error> {
        let file = ByteStream::read_from().path(&upload.path);
        let part = file.offset(offset).length(Length::Exact(length)).build().await;
        part.map_err(|error| S3Error {
            operation: "read the artifact for",
            bucket: self.name.clone(),
            key: upload.key.clone(),
            kind: ErrorKind::Other,
            source: Box::<dyn Error + Send + Sync>::from(error),
        })
    }
}

fn patience() -> aws_sdk_s3::config::Builder {
    Config::builder().timeout_config(crate::aws::timeouts(REQUEST_WITHIN, OPERATION_WITHIN))
}
