//! Small objects that many hosts write: read with what is needed to judge their age, and written
//! on a condition. A write is sent once: a second one would meet the first and report that somebody
//! else was faster.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{Config, ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::ByteStream;
use groundcrew_core::time::Moment;

use super::{Bucket, ErrorKind, Object, ObjectHead, PutIf, S3Error};
use crate::clock;

/// How long a write may take.
const WRITE_WITHIN: Duration = Duration::from_secs(20);

/// An object with when it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dated {
    /// Content and version.
    pub object: Object,
    /// Its `Last-Modified`, in seconds since 1970-01-01 UTC by S3's clock.
    pub modified_s: Option<i64>,
}

/// The `Date` of the newest answer of those requests that it was given to.
#[derive(Debug, Clone, Default)]
pub struct AnswerDate(Arc<Mutex<Option<ServerDate>>>);

/// What time it was at the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerDate {
    /// In seconds since 1970-01-01 UTC.
    pub at_s: i64,
    /// When the answer that says so came.
    pub came: Moment,
}

/// A listing that is not read to its end.
#[derive(Debug, thiserror::Error)]
#[error("there are more than {count_max} objects")]
struct TooMany {
    count_max: usize,
}

impl Bucket {
    /// Reads an object of at most `bytes_max` bytes, as it is now.
    pub async fn get_dated(
        &self,
        key: &str,
        bytes_max: u64,
        date: &AnswerDate,
    ) -> Result<Dated, S3Error> {
        let request = self.get_object(key).customize().interceptor(date.clone());
        let output = request.send().await.map_err(|error| self.failed("read", key, error))?;
        let modified_s = output.last_modified().map(aws_sdk_s3::primitives::DateTime::secs);
        let object = self.body(output, key, bytes_max, Vec::new()).await?;
        Ok(Dated { object, modified_s })
    }

    /// Writes an object on a condition, in one attempt, and returns its etag.
    pub async fn put_once(
        &self,
        key: &str,
        bytes: Vec<u8>,
        condition: PutIf<'_>,
        date: &AnswerDate,
    ) -> Result<String, S3Error> {
        let request = self.client.put_object().bucket(&self.name).key(key);
        let request = match condition {
            PutIf::Absent => request.if_none_match("*"),
            PutIf::Matches(etag) => request.if_match(etag),
        };
        let request = request.content_type("application/json").body(ByteStream::from(bytes));
        let once = Config::builder()
            .retry_config(RetryConfig::disabled())
            .timeout_config(crate::aws::timeouts(WRITE_WITHIN, WRITE_WITHIN));
        let request = request.customize().config_override(once).interceptor(date.clone());
        let output = request.send().await.map_err(|error| self.failed("write", key, error))?;
        Ok(output.e_tag().unwrap_or_default().to_owned())
    }

    /// All objects below `prefix`, however deep, by their keys in order. More than `count_max` of
    /// them are an error: the first part of a list would look like the whole of it.
    pub async fn list_all(
        &self,
        prefix: &str,
        count_max: usize,
        date: &AnswerDate,
    ) -> Result<Vec<ObjectHead>, S3Error> {
        let mut all = Vec::new();
        let mut token = None;
        loop {
            token = self.list_page(prefix, token, date, |head| all.push(head)).await?;
            if all.len() > count_max {
                let many = TooMany { count_max };
                return Err(self.error("list", prefix, ErrorKind::Other, many));
            }
            if token.is_none() {
                return Ok(all);
            }
        }
    }

    /// The last `count_max` objects below `prefix` by their keys in order, and how many there are
    /// before them.
    pub async fn list_last(
        &self,
        prefix: &str,
        count_max: usize,
        date: &AnswerDate,
    ) -> Result<(Vec<ObjectHead>, usize), S3Error> {
        let (mut last, mut before) = (VecDeque::new(), 0);
        let mut token = None;
        loop {
            token = self.list_page(prefix, token, date, |head| last.push_back(head)).await?;
            let more = last.len().saturating_sub(count_max);
            last.drain(..more);
            before += more;
            if token.is_none() {
                return Ok((last.into(), before));
            }
        }
    }

    /// Gives `take` the objects of one page, and returns what the next one is asked for with.
    async fn list_page(
        &self,
        prefix: &str,
        token: Option<String>,
        date: &AnswerDate,
        take: impl FnMut(ObjectHead),
    ) -> Result<Option<String>, S3Error> {
        let request = self.client.list_objects_v2().bucket(&self.name).prefix(prefix);
        let request = request.set_continuation_token(token);
        let answer = request.customize().interceptor(date.clone()).send().await;
        let page = answer.map_err(|error| self.failed("list", prefix, error))?;
        page.contents().iter().map(super::listed).for_each(take);
        Ok(page.next_continuation_token)
    }
}

impl AnswerDate {
    /// What the newest answer said; `None`: none came, or none that said so.
    #[must_use]
    pub fn get(&self) -> Option<ServerDate> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intercept for AnswerDate {
    fn name(&self) -> &'static str {
        "AnswerDate"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date").and_then(seconds);
        if let Some(at_s) = date {
            let date = ServerDate { at_s, came: clock::at() };
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(date);
        }
        Ok(())
    }
}

fn seconds(date: &str) -> Option<i64> {
    jiff::fmt::rfc2822::parse(date).ok().map(|date| date.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_http() {
        assert_eq!(seconds("Sun, 22 Nov 2026 02:30:00 GMT"), Some(1_795_314_600));
        assert_eq!(seconds("yesterday"), None);
        assert!(AnswerDate::default().get().is_none());
    }
}
