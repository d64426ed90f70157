//! What is said about a dump after it was made: that it is to be kept, who reads it, that it goes.
//! An object of its own beside the manifest, which is never written again. Every change is a
//! conditional write, so that nobody keeps what somebody else has begun to delete. Marks that
//! cannot be read keep their dump.

use std::collections::BTreeMap;

use groundcrew_core::backups::backup::{InUse, TAG_HOLD, TAG_IN_USE, Tag};
use groundcrew_core::backups::slot::JobName;
use serde::{Deserialize, Serialize};

/// The version that is written.
const VERSION: u32 = 1;
/// Bytes of the object.
pub const BYTES_MAX: u64 = 64 * 1024;
/// Readers that are remembered. More of them than this would read one dump for another reason.
const READERS_MAX: usize = 64;

/// The whole object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DumpMarks {
    /// [`VERSION`]. Another one is an error of the reader.
    version: u32,
    /// The job.
    job: JobName,
    /// The slot, as in the key.
    slot: String,
    /// It was decided that it goes, which is not taken back.
    pub deleting: bool,
    /// Why it must not be deleted, if a person said so.
    hold: Option<String>,
    /// Who reads it, and until when at most, in seconds since 1970-01-01 UTC.
    in_use: BTreeMap<String, i64>,
}

/// Marks that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MarksError {
    /// They are none.
    #[error("the marks {key} cannot be read")]
    Json {
        /// Their key.
        key: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// They are of another version, or another dump.
    #[error("the marks {key} are not of this dump or not of version {VERSION}")]
    Another {
        /// Their key.
        key: String,
    },
}

impl DumpMarks {
    /// Of a dump about which nobody has said anything.
    #[must_use]
    pub fn new(job: &JobName, slot: &str) -> Self {
        Self {
            version: VERSION,
            job: job.clone(),
            slot: slot.to_owned(),
            deleting: false,
            hold: None,
            in_use: BTreeMap::new(),
        }
    }

    /// Reads what `key` holds, which is about the dump of `job` and `slot`.
    pub fn read(key: &str, job: &JobName, slot: &str, json: &[u8]) -> Result<Self, MarksError> {
        let unread = |source| MarksError::Json { key: key.to_owned(), source };
        let marks: Self = serde_json::from_slice(json).map_err(unread)?;
        if marks.version != VERSION || marks.job != *job || marks.slot != slot {
            return Err(MarksError::Another { key: key.to_owned() });
        }
        Ok(marks)
    }

    /// The whole object.
    #[must_use]
    pub fn json(&self) -> Vec<u8> {
        // Texts, numbers and maps of them: there is nothing in it that JSON cannot hold.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// It is kept for this reason; an empty one: it is not any more.
    pub fn hold(&mut self, reason: &str) {
        self.hold = Some(reason.to_owned()).filter(|reason| !reason.is_empty());
    }

    /// Somebody reads it until `until_s` at most. Those whose time is over are forgotten.
    pub fn read_by(&mut self, reader: &str, until_s: i64, now_s: i64) {
        self.in_use.retain(|_, until_s| *until_s > now_s);
        while self.in_use.len() >= READERS_MAX {
            self.in_use.pop_first();
        }
        self.in_use.insert(reader.to_owned(), until_s);
    }

    /// Somebody does not read it any more.
    pub fn released_by(&mut self, reader: &str) {
        self.in_use.remove(reader);
    }

    /// Why it must not be deleted now, as a clause.
    #[must_use]
    pub fn keeps(&self, now_s: i64) -> Option<Keeps> {
        if let Some(reason) = &self.hold {
            return Some(Keeps::Held(reason.clone()));
        }
        let last = self.in_use.iter().max_by_key(|(_, until_s)| **until_s);
        let last = last.filter(|(_, until_s)| **until_s > now_s);
        last.map(|(reader, _)| Keeps::Read(reader.clone()))
    }

    /// The tags of a manifest with what has been said since. What a manifest says about that itself
    /// does not count.
    #[must_use]
    pub fn over(&self, tags: &[Tag]) -> Vec<Tag> {
        let own = |name: &str| name == TAG_HOLD || name == TAG_IN_USE;
        let last = self.in_use.iter().max_by_key(|(_, until_s)| **until_s);
        let in_use = last.map(|(reader, until_s)| {
            let in_use = InUse { run: reader.clone(), until_s: *until_s };
            (TAG_IN_USE.to_owned(), in_use.value())
        });
        let hold = self.hold.iter().map(|reason| (TAG_HOLD.to_owned(), reason.clone()));
        // They come first: of too many tags the last are not read.
        hold.chain(in_use).chain(tags.iter().filter(|(name, _)| !own(name)).cloned()).collect()
    }
}

/// Why a dump stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keeps {
    /// A person said so, for this reason.
    Held(String),
    /// This one reads it.
    Read(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks() -> DumpMarks {
        DumpMarks::new(&"shop".parse().unwrap(), "20261121")
    }

    #[test]
    fn a_hold_keeps_until_it_is_taken_back_and_a_reader_until_its_time_is_over() {
        let mut marks = marks();
        assert_eq!(marks.keeps(0), None);
        marks.read_by("one", 100, 0);
        marks.read_by("other", 200, 0);
        assert_eq!(marks.keeps(150), Some(Keeps::Read("other".into())));
        assert_eq!(marks.keeps(200), None);
        // Who has ended does not end the others.
        marks.released_by("other");
        assert_eq!(marks.keeps(50), Some(Keeps::Read("one".into())));
        marks.hold("audit");
        assert_eq!(marks.keeps(999), Some(Keeps::Held("audit".into())));
        marks.hold("");
        assert_eq!(marks.keeps(999), None);
        for n in 0..100 {
            marks.read_by(&n.to_string(), 1000 + n, 999);
        }
        assert_eq!(marks.in_use.len(), READERS_MAX);
        assert!(!marks.in_use.contains_key("one"));
        assert!(marks.json().len() < usize::try_from(BYTES_MAX).unwrap());
    }

    #[test]
    fn marks_stand_over_the_manifests_tags_and_are_read_where_they_belong() {
        let mut marks = marks();
        marks.hold("audit");
        marks.read_by("i-1", 0, -1);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let tags = [pair(TAG_HOLD, "old"), pair("a", "b")];
        let expected =
            [pair(TAG_HOLD, "audit"), pair(TAG_IN_USE, "i-1@1970-01-01T00:00:00Z"), pair("a", "b")];
        assert_eq!(marks.over(&tags), expected);
        let read = |job: &str, slot, json: &[u8]| {
            DumpMarks::read("k", &job.parse().unwrap(), slot, json).map_err(|e| e.to_string())
        };
        assert_eq!(read("shop", "20261121", &marks.json()), Ok(marks.clone()));
        assert!(read("other", "20261121", &marks.json()).is_err());
        assert!(read("shop", "20261122", &marks.json()).is_err());
        assert!(read("shop", "20261121", b"{}").is_err());
    }
}
