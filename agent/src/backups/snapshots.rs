//! Snapshots of RDS. Holds the place of the real one, which the part RDS has.

use std::sync::Arc;

use groundcrew_core::backups::backup::{Backup, Tag};
use groundcrew_core::backups::call::{CallError, Make};
use groundcrew_core::backups::database::{Database, Target};
use groundcrew_core::backups::proof::{Inspection, Scratch};
use groundcrew_core::backups::record::Place;
use groundcrew_core::backups::settings::BackupSettings;

use super::objects::missing;

/// RDS.
#[derive(Debug)]
pub struct Snapshots;

/// Where something can be reached.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// A name.
    pub host: String,
    /// A port.
    pub port: u16,
}

/// What became of what was restored.
#[derive(Debug, Clone)]
pub struct Restored {
    /// RDS's word.
    pub status: String,
    /// Where it can be reached, once it can.
    pub endpoint: Option<Endpoint>,
}

#[expect(clippy::unused_async, reason = "the real one waits for AWS")]
impl Snapshots {
    /// The snapshots of a job.
    #[must_use]
    pub fn connect(_settings: Arc<BackupSettings>) -> Self {
        Self
    }

    /// The database.
    pub async fn database(&self) -> Result<Option<Database>, CallError> {
        missing()
    }

    /// One snapshot.
    pub async fn look(
        &self,
        _: &Place,
        _: &str,
        _: &Target,
    ) -> Result<Option<Box<Backup>>, CallError> {
        missing()
    }

    /// All of the job.
    pub async fn list(&self, _: &Place, _: &Target) -> Result<Vec<Backup>, CallError> {
        missing()
    }

    /// Makes one.
    pub async fn snapshot(&self, _: &str, _: &Target, _: &[Tag]) -> Result<Make, CallError> {
        missing()
    }

    /// Copies one.
    pub async fn copy(
        &self,
        _region: &str,
        _id: &str,
        _source: &str,
        _target: &Target,
        _tags: &[Tag],
    ) -> Result<Make, CallError> {
        missing()
    }

    /// Deletes one.
    pub async fn delete(&self, _: &Place, _: &str, _: &Target) -> Result<(), CallError> {
        missing()
    }

    /// Sets tags.
    pub async fn mark(&self, _: &str, _: &Target, _: &[Tag]) -> Result<(), CallError> {
        missing()
    }

    /// Restores one for proof.
    pub async fn restore(
        &self,
        _id: &str,
        _from: &str,
        _target: &Target,
        _until_s: i64,
    ) -> Result<Make, CallError> {
        missing()
    }

    /// What was restored for proof.
    pub async fn scratches(&self) -> Result<Vec<Scratch>, CallError> {
        missing()
    }

    /// Deletes what was restored for proof.
    pub async fn destroy(&self, _: &str) -> Result<(), CallError> {
        missing()
    }

    /// What L0 asks.
    pub async fn inspect(
        &self,
        _: &str,
        _: &Target,
        _: &[String],
    ) -> Result<Box<Inspection>, CallError> {
        missing()
    }

    /// How far something restored for people is.
    pub async fn restored(&self, _: &str, _: &Target) -> Result<Option<Restored>, CallError> {
        missing()
    }

    /// Where something restored for proof can be reached.
    pub async fn endpoint(&self, _: &str) -> Result<Option<Endpoint>, CallError> {
        missing()
    }

    /// Gives a cluster restored for people its instance.
    pub async fn add_instance(&self, _: &str, _: &Target) -> Result<Make, CallError> {
        missing()
    }

    /// Restores one for people, to a new instance or cluster.
    pub async fn restore_to(&self, _: &str, _: &Target, _: &str) -> Result<Make, CallError> {
        missing()
    }
}
