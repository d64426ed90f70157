//! Which process: `web.17.1` is tier, generation, ordinal. The operating system's number is
//! [`Pid`].

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::TierName;

/// One set of processes of one release in one tier. Grows by one each time, and never repeats on a
/// host.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Generation(pub u32);

impl Generation {
    /// The generation after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The operating system's number for a process.
pub type Pid = i32;

/// Counts the starts of one process id, so that news of the last run is not taken for news of this
/// one.
pub type Run = u32;

/// Names a process for as long as its generation lives; a restart keeps it. Displays as `web.17.1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId {
    /// The tier it belongs to.
    pub tier: TierName,
    /// The generation within the tier.
    pub generation: Generation,
    /// Counts from 1 within the generation.
    pub ordinal: u16,
}

/// What was offered as a process id is not `tier.generation.ordinal`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a process id looks like web.17.1, not {0:?}")]
pub struct ProcessIdError(String);

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.tier, self.generation, self.ordinal)
    }
}

impl FromStr for ProcessId {
    type Err = ProcessIdError;

    fn from_str(text: &str) -> Result<Self, ProcessIdError> {
        let parse = || {
            let mut parts = text.split('.');
            let tier = parts.next()?.parse().ok()?;
            let generation = Generation(parts.next()?.parse().ok()?);
            let ordinal = parts.next()?.parse().ok()?;
            parts.next().is_none().then_some(Self { tier, generation, ordinal })
        };
        parse().ok_or_else(|| ProcessIdError(text.chars().take(80).collect()))
    }
}

impl Serialize for ProcessId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ProcessId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displays_what_it_parsed() {
        let id: ProcessId = "web.17.1".parse().unwrap();
        assert_eq!((id.tier.as_str(), id.generation, id.ordinal), ("web", Generation(17), 1));
        assert_eq!(id.to_string(), "web.17.1");
    }

    #[test]
    fn refuses_what_is_not_a_process_id() {
        for text in ["", "web", "web.1", "web.1.2.3", "web.x.1", "web.1.-1", "../x.1.1"] {
            assert!(text.parse::<ProcessId>().is_err(), "{text:?}");
        }
    }
}
