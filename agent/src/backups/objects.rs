//! Records and leases in the bucket. Holds the place of the real one, which the part RDS has.

use groundcrew_core::backups::call::{CallError, CallErrorKind, Put};
use groundcrew_core::backups::lease::{LeaseAnswer, LeaseCall};
use groundcrew_core::backups::record::{Record, RecordKey};
use groundcrew_core::backups::settings::Store;
use groundcrew_core::backups::slot::JobName;
use groundcrew_core::time::Wall;

/// The bucket.
#[derive(Debug)]
pub struct Objects;

/// What every call comes to.
pub(super) fn missing<T>() -> Result<T, CallError> {
    let text = "this build has no way to AWS for backups".to_owned();
    Err(CallError { kind: CallErrorKind::Refused, text })
}

#[expect(clippy::unused_async, reason = "the real one waits for AWS")]
impl Objects {
    /// The bucket of a store.
    #[must_use]
    pub fn connect(_store: &Store) -> Self {
        Self
    }

    /// What time it is at S3.
    #[must_use]
    pub fn server_time(&self) -> Option<Wall> {
        None
    }

    /// A record.
    pub async fn read(&self, _: &JobName, _: &RecordKey) -> Result<Option<Box<Record>>, CallError> {
        missing()
    }

    /// Writes a record.
    pub async fn write(&self, _: &JobName, _: &Record) -> Result<Put, CallError> {
        missing()
    }

    /// A request about a lease.
    pub async fn lease(&self, _: &LeaseCall) -> LeaseAnswer {
        LeaseAnswer::Put(missing())
    }
}
