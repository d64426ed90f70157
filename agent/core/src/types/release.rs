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
