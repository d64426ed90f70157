//! Which release, for people and for machines.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Digest, Version};

/// A release: its version for people, its digest for machines. Displays as `v42 3f9c2ab`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReleaseRef {
    /// What people call it. Two versions may name one artifact.
    pub version: Version,
    /// SHA-256 of the artifact.
    pub digest: Digest,
}

impl fmt::Display for ReleaseRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.version, self.digest.short())
    }
}

/// A release and the manifest that describes it: all that is needed to fetch it and check every
/// byte.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Target {
    /// The release.
    #[serde(flatten)]
    pub release: ReleaseRef,
    /// SHA-256 of its manifest.
    pub manifest_digest: Digest,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.release.fmt(f)
    }
}

/// What a channel says an environment should run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// The release.
    #[serde(flatten)]
    pub target: Target,
    /// The channel's own number; grows by one with each move.
    pub channel_generation: u64,
}
