//! Dumps. Holds the place of the real one, which the part DUMP has.

use std::sync::Arc;

use groundcrew_core::backups::backup::{Backup, Tag};
use groundcrew_core::backups::call::{CallError, Put, Ticket};
use groundcrew_core::backups::proof::{DumpFacts, Inspection, Level};
use groundcrew_core::backups::settings::BackupSettings;
use groundcrew_core::backups::slot::Slot;
use tokio_util::sync::CancellationToken;

use super::objects::{Objects, missing};

pub mod restore;

use restore::{Restored, Target};

/// The dumps of a job.
#[derive(Debug)]
pub struct Dumps;

#[expect(clippy::unused_async, reason = "the real one waits for AWS")]
impl Dumps {
    /// The dumps of a job.
    #[must_use]
    pub fn connect(_settings: Arc<BackupSettings>, _objects: Arc<Objects>) -> Self {
        Self
    }

    /// Streams a dump.
    pub async fn dump(
        &self,
        _: Ticket,
        _: Slot,
        _: u64,
        _: CancellationToken,
    ) -> Result<Box<DumpFacts>, CallError> {
        missing()
    }

    /// Commits it.
    pub async fn commit(&self, _: Slot, _: Ticket, _: Vec<Tag>) -> Result<Put, CallError> {
        missing()
    }

    /// Drops it.
    pub async fn abort(&self, _: Ticket) {}

    /// One dump.
    pub async fn look(&self, _: &str) -> Result<Option<Box<Backup>>, CallError> {
        missing()
    }

    /// All of them.
    pub async fn list(&self) -> Result<Vec<Backup>, CallError> {
        missing()
    }

    /// Deletes one.
    pub async fn delete(&self, _: &str) -> Result<(), CallError> {
        missing()
    }

    /// Sets what the manifest says beside.
    pub async fn mark(&self, _: &str, _: &[Tag]) -> Result<(), CallError> {
        missing()
    }

    /// What L0 asks.
    pub async fn inspect(&self, _: &str) -> Result<Box<Inspection>, CallError> {
        missing()
    }

    /// Restores one.
    pub async fn restore_to(
        &self,
        _: &str,
        _: &Target,
        _: &(dyn Fn(u64, u64) + Sync),
        _: &CancellationToken,
    ) -> Result<Restored, CallError> {
        missing()
    }

    /// Proves a level.
    pub async fn prove(
        &self,
        _: Level,
        _: &str,
        _: &CancellationToken,
    ) -> Result<Vec<String>, CallError> {
        missing()
    }
}
