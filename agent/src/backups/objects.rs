//! What the fleet keeps in its bucket: records, written once, and leases. What is read is checked
//! before it is believed: everybody who may write to the bucket could have written it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use groundcrew_core::backups::call::{CallError, CallErrorKind, Put};
use groundcrew_core::backups::lease::{LeaseAction, LeaseAnswer, LeaseBody, LeaseCall, LeaseSeen};
use groundcrew_core::backups::record::{Record, RecordKey, VERSION};
use groundcrew_core::backups::settings::Store;
use groundcrew_core::backups::slot::JobName;
use groundcrew_core::time::{Wall, ms};
use tokio::sync::OnceCell;

use super::calls::{from_s3, refused, within};
use crate::aws::s3::{AnswerDate, Bucket, Dated, ErrorKind, ObjectHead, PutIf, ServerDate};
use crate::clock;

/// Bytes of a record. The largest names what a pass of retention deletes: 2000 identifiers of 255
/// letters at most.
const RECORD_BYTES_MAX: u64 = 1024 * 1024;
/// Bytes of a lease.
const LEASE_BYTES_MAX: u64 = 4096;
/// How long the server's time is carried on by this host's clock that never jumps.
const SERVER_TIME_WITHIN: Duration = Duration::from_mins(1);

/// The bucket, below the prefix of backups. Nobody is asked anything until something is.
#[derive(Debug)]
pub struct Objects {
    store: Store,
    bucket: OnceCell<Bucket>,
    server: Mutex<Option<ServerDate>>,
}

impl Objects {
    /// With credentials, region and endpoint from the environment and the instance's metadata.
    #[must_use]
    pub fn connect(store: &Store) -> Self {
        Self { store: store.clone(), bucket: OnceCell::new(), server: Mutex::new(None) }
    }

    /// The bucket, for what is not a record: dumps and their manifests.
    pub async fn bucket(&self) -> Result<&Bucket, CallError> {
        let connect = || async {
            let bucket = Bucket::connect_with_region(self.store.bucket.clone()).await;
            bucket.ok_or_else(|| CallError {
                kind: CallErrorKind::Unclear,
                text: format!("the region of bucket {} is not known", self.store.bucket),
            })
        };
        self.bucket.get_or_try_init(connect).await
    }

    /// What stands before every key, without a slash at its end; may be empty.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.store.prefix
    }

    /// The key of what lies at `path` below the prefix.
    #[must_use]
    pub fn key(&self, path: &str) -> String {
        match self.prefix() {
            "" => path.to_owned(),
            prefix => format!("{prefix}/{path}"),
        }
    }

    /// How to name what lies at `path` elsewhere.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("s3://{}/{}", self.store.bucket, self.key(path))
    }

    /// What time it is at S3, if it said so a moment ago.
    #[must_use]
    pub fn server_time(&self) -> Option<Wall> {
        let seen = (*self.server.lock().unwrap_or_else(PoisonError::into_inner))?;
        let since = clock::at().since(seen.came);
        let since_ms = i64::try_from(ms(since)).unwrap_or(i64::MAX);
        let wall = seen.at_s.saturating_mul(1000).saturating_add(since_ms);
        (since <= SERVER_TIME_WITHIN).then_some(Wall(wall))
    }

    /// A record; `None` only when S3 says that there is none.
    pub async fn read(
        &self,
        job: &JobName,
        key: &RecordKey,
    ) -> Result<Option<Box<Record>>, CallError> {
        let path = key.path(job);
        let Some(dated) = self.get(&path, RECORD_BYTES_MAX).await? else { return Ok(None) };
        record(&dated.object.bytes, job, key)
            .map(|record| Some(Box::new(record)))
            .map_err(|why| refused(format!("{} is not a record: {why}", self.url(&path))))
    }

    /// Writes a record, unless there is one.
    pub async fn write(&self, job: &JobName, record: &Record) -> Result<Put, CallError> {
        let path = record.key.path(job);
        let bytes = serde_json::to_vec(record)
            .map_err(|error| refused(format!("a record cannot be written: {error}")))?;
        let put = self.put(&path, bytes, PutIf::Absent).await?;
        Ok(if put.is_some() { Put::Written } else { Put::Exists })
    }

    /// Carries out a request about a lease.
    pub async fn lease(&self, call: &LeaseCall) -> LeaseAnswer {
        match &call.action {
            LeaseAction::Read => LeaseAnswer::Read(self.read_lease(&call.path).await),
            LeaseAction::Create(body) => {
                LeaseAnswer::Put(self.put_lease(&call.path, body, PutIf::Absent).await)
            }
            LeaseAction::Replace { etag, body } => {
                LeaseAnswer::Put(self.put_lease(&call.path, body, PutIf::Matches(etag)).await)
            }
        }
    }

    /// All objects below `path`, by their keys in order, as paths below the prefix. More than
    /// `count_max` of them are an error.
    pub async fn list(&self, path: &str, count_max: usize) -> Result<Vec<ObjectHead>, CallError> {
        let date = AnswerDate::default();
        let listing = async {
            let bucket = self.bucket().await?;
            let all = bucket.list_all(&self.key(path), count_max, &date).await;
            all.map_err(|error| from_s3(&error))
        };
        let all = within("a listing", listing).await;
        self.saw(&date);
        Ok(self.below(all?))
    }

    /// The last `count_max` objects below `path`, and how many there are before them.
    pub async fn list_last(
        &self,
        path: &str,
        count_max: usize,
    ) -> Result<(Vec<ObjectHead>, usize), CallError> {
        let date = AnswerDate::default();
        let listing = async {
            let bucket = self.bucket().await?;
            let last = bucket.list_last(&self.key(path), count_max, &date).await;
            last.map_err(|error| from_s3(&error))
        };
        let last = within("a listing", listing).await;
        self.saw(&date);
        last.map(|(last, before)| (self.below(last), before))
    }

    /// With paths below the prefix for keys.
    fn below(&self, all: Vec<ObjectHead>) -> Vec<ObjectHead> {
        let below = self.key("");
        let strip = |mut head: ObjectHead| {
            head.key = head.key.strip_prefix(&below)?.to_owned();
            Some(head)
        };
        all.into_iter().filter_map(strip).collect()
    }

    async fn read_lease(&self, path: &str) -> Result<Option<Box<LeaseSeen>>, CallError> {
        let date = AnswerDate::default();
        let found = self.get_with(path, LEASE_BYTES_MAX, &date).await?;
        let Some(Dated { object, modified_s }) = found else { return Ok(None) };
        let url = self.url(path);
        let body: LeaseBody = serde_json::from_slice(&object.bytes)
            .map_err(|error| refused(format!("{url} is not a lease: {error}")))?;
        let age = date.get().zip(modified_s).map(|(date, modified_s)| age(date.at_s, modified_s));
        // Without both nobody can tell whether it is over, and this host's clock must not.
        let age = age.ok_or_else(|| refused(format!("S3 does not say how old {url} is")))?;
        Ok(Some(Box::new(LeaseSeen { body, etag: object.etag, age })))
    }

    async fn put_lease(
        &self,
        path: &str,
        body: &LeaseBody,
        condition: PutIf<'_>,
    ) -> Result<Option<String>, CallError> {
        let bytes = serde_json::to_vec(body)
            .map_err(|error| refused(format!("a lease cannot be written: {error}")))?;
        let put = self.put(path, bytes, condition).await?;
        if put.as_deref() == Some("") {
            // It is written, and only a look tells which version it is.
            let text = format!("S3 did not name what it wrote to {}", self.url(path));
            return Err(CallError { kind: CallErrorKind::Unclear, text });
        }
        Ok(put)
    }

    async fn get(&self, path: &str, bytes_max: u64) -> Result<Option<Dated>, CallError> {
        self.get_with(path, bytes_max, &AnswerDate::default()).await
    }

    async fn get_with(
        &self,
        path: &str,
        bytes_max: u64,
        date: &AnswerDate,
    ) -> Result<Option<Dated>, CallError> {
        let reading = async {
            match self.bucket().await?.get_dated(&self.key(path), bytes_max, date).await {
                Ok(dated) => Ok(Some(dated)),
                Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
                Err(error) => Err(from_s3(&error)),
            }
        };
        let read = within(&format!("reading {}", self.url(path)), reading).await;
        self.saw(date);
        read
    }

    /// The etag of what was written; `None`: the condition does not hold.
    async fn put(
        &self,
        path: &str,
        bytes: Vec<u8>,
        condition: PutIf<'_>,
    ) -> Result<Option<String>, CallError> {
        let date = AnswerDate::default();
        let replaces = matches!(condition, PutIf::Matches(_));
        let writing = async {
            match self.bucket().await?.put_once(&self.key(path), bytes, condition, &date).await {
                Ok(etag) => Ok(Some(etag)),
                Err(error) if error.kind == ErrorKind::PreconditionFailed => Ok(None),
                // What was to be replaced is gone.
                Err(error) if error.kind == ErrorKind::NotFound && replaces => Ok(None),
                Err(error) => Err(from_s3(&error)),
            }
        };
        let written = within(&format!("writing {}", self.url(path)), writing).await;
        self.saw(&date);
        written
    }

    fn saw(&self, date: &AnswerDate) {
        if let Some(seen) = date.get() {
            *self.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
        }
    }
}

/// A record of this version about this question.
fn record(bytes: &[u8], job: &JobName, key: &RecordKey) -> Result<Record, String> {
    let record: Record = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if record.version != VERSION {
        return Err(format!("it has version {}, and this one knows {VERSION}", record.version));
    }
    // One proof may stand for the slots of a month, so it is the place that has to be the same.
    if record.key.path(job) != key.path(job) {
        return Err(format!("it is about {}", record.key.path(job)));
    }
    Ok(record)
}

/// How long before `date_s` something was written. What is newer than the answer about it was
/// written in the same second.
fn age(date_s: i64, modified_s: i64) -> Duration {
    Duration::from_secs(u64::try_from(date_s.saturating_sub(modified_s)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use groundcrew_core::backups::civil::DateTime;
    use groundcrew_core::backups::proof::Level;
    use groundcrew_core::backups::record::{Outcome, Skip};
    use groundcrew_core::backups::slot::Slot;

    use super::*;

    fn slot(nominal: &str) -> Slot {
        let nominal: DateTime = nominal.parse().unwrap();
        Slot { nominal, at_s: nominal.seconds(), daily: true }
    }

    fn written(version: u32, key: RecordKey) -> Vec<u8> {
        let outcome = Outcome::Skipped(Skip::Stopped);
        let record = Record { version, key, at: Wall(5), by: "i-1".into(), outcome };
        serde_json::to_vec(&record).unwrap()
    }

    #[test]
    fn a_record_is_believed_only_where_it_belongs() {
        let job = "shop".parse().unwrap();
        let key = RecordKey::Run(slot("2026-11-21T00:20"));
        let check = |bytes: &[u8], expected: Option<&str>| {
            let error = record(bytes, &job, &key).err();
            assert_eq!(error.is_some(), expected.is_some(), "{error:?}");
            let error = error.unwrap_or_default();
            assert!(error.contains(expected.unwrap_or_default()), "{error}");
        };
        check(&written(VERSION, key.clone()), None);
        check(&written(2, key.clone()), Some("version 2"));
        let other = RecordKey::Run(slot("2026-11-20T00:20"));
        check(&written(VERSION, other), Some("runs/shop/20261120.json"));
        check(b"{}", Some("missing field"));
        check(b"", Some("EOF"));
        check(b"\xff\x00", Some("expected value"));
    }

    #[test]
    fn a_proof_of_the_month_stands_for_all_its_slots() {
        let job = "shop".parse().unwrap();
        let written = written(VERSION, RecordKey::Proof(slot("2026-11-02T00:20"), Level::L3));
        let key = |day| RecordKey::Proof(slot(day), Level::L3);
        assert!(record(&written, &job, &key("2026-11-21T00:20")).is_ok());
        assert!(record(&written, &job, &key("2026-12-01T00:20")).is_err());
    }

    #[test]
    fn keys_are_below_the_prefix() {
        let objects = |prefix: &str| {
            Objects::connect(&Store { bucket: "bucket".into(), prefix: prefix.into() })
        };
        assert_eq!(objects("a/b").key("runs/x"), "a/b/runs/x");
        assert_eq!(objects("").key("runs/x"), "runs/x");
        assert_eq!(objects("a").url("runs/x"), "s3://bucket/a/runs/x");
        assert_eq!(objects("a").server_time(), None);
    }

    #[test]
    fn ages_are_never_negative() {
        assert_eq!(age(105, 100), Duration::from_secs(5));
        assert_eq!(age(100, 105), Duration::ZERO);
        assert_eq!(age(i64::MAX, i64::MIN), Duration::from_secs(u64::MAX >> 1));
    }
}
