//! What `groundcrew releases` shows.

use serde::{Deserialize, Serialize};

use crate::time::Wall;
use crate::types::{Digest, Version};

/// Everything `groundcrew releases` shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleasesDocument {
    /// When this was written.
    pub now: Wall,
    /// The releases on this host and the desired one, newest first.
    pub releases: Vec<ReleaseEntry>,
}

/// What a release is to this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReleaseRole {
    /// It runs.
    Current,
    /// It ran before, and is kept for a rollback.
    Previous,
    /// The channel asks for it, and it does not run yet.
    Desired,
    /// It failed here.
    Rejected,
    /// It is on disk, and pruned when room is needed.
    Kept,
}

impl ReleaseRole {
    /// The word people read; the same as in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Previous => "previous",
            Self::Desired => "desired",
            Self::Rejected => "rejected",
            Self::Kept => "kept",
        }
    }
}

/// One release, as far as this host knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseEntry {
    /// For people.
    pub version: Version,
    /// For machines.
    pub digest: Digest,
    /// What it is to this host.
    pub role: ReleaseRole,
    /// When it was published.
    pub created: Option<Wall>,
    /// When it was on this host's disk, whole.
    pub fetched: Option<Wall>,
    /// Bytes on disk; `None` when it is not there.
    pub disk_bytes: Option<u64>,
    /// Files in it.
    pub files: Option<u64>,
    /// The git commit it was made from.
    pub commit: Option<String>,
    /// Why it was rejected.
    pub reason: Option<String>,
}
