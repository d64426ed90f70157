//! What `groundcrew logs audit` shows: where every byte went that was read of the logs.

use serde::{Deserialize, Serialize};

/// Everything `groundcrew logs audit` shows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AuditDocument {
    /// Every source there is, or was since the agent first ran.
    pub sources: Vec<SourceAudit>,
}

impl AuditDocument {
    /// Whether nothing is missing anywhere.
    #[must_use]
    pub fn adds_up(&self) -> bool {
        self.sources.iter().all(SourceAudit::adds_up)
    }
}

/// What became of one source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceAudit {
    /// The process, the file or the unit.
    pub source: String,
    /// The log group it goes to.
    pub group: String,
    /// The log stream it goes to.
    pub stream: String,
    /// What was read of it.
    pub read: Count,
    /// What the other side accepted.
    pub acknowledged: Count,
    /// What the other side refused.
    pub rejected: Count,
    /// What was given up on purpose.
    pub dropped: Count,
    /// What is still to be accepted.
    pub pending: Count,
    /// What else there is to know.
    pub note: Option<String>,
}

impl SourceAudit {
    /// Whether every byte that was read is accounted for. Events do not have to: lines are grouped
    /// into events and long ones are split after they were read.
    #[must_use]
    pub fn adds_up(&self) -> bool {
        self.missing_bytes() == 0
    }

    /// Bytes that were read and are nowhere; fewer than none: those that are counted twice.
    #[must_use]
    pub fn missing_bytes(&self) -> i128 {
        let found = [self.acknowledged, self.rejected, self.dropped, self.pending];
        let found: i128 = found.iter().map(|count| i128::from(count.bytes)).sum();
        i128::from(self.read.bytes) - found
    }
}

/// So much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Count {
    /// Events, or lines where none are made of them yet.
    pub events: u64,
    /// Bytes as they were read, newlines included.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_that_was_read_is_somewhere() {
        // What scripts rely on, as JSON.
        let text = r#"{"sources": [{
            "source": "web.17.1 stdout", "group": "/groundcrew/production/web",
            "stream": "i-1/web.17.1",
            "read": {"events": 9, "bytes": 1000},
            "acknowledged": {"events": 4, "bytes": 700},
            "rejected": {"events": 1, "bytes": 200},
            "dropped": {"events": 1, "bytes": 60},
            "pending": {"events": 1, "bytes": 40},
            "note": null
        }]}"#;
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        let document: AuditDocument = serde_json::from_value(value.clone()).unwrap();
        assert_eq!(serde_json::to_value(&document).unwrap(), value);
        assert!(document.adds_up(), "events are not compared");
        let mut source = document.sources[0].clone();
        source.pending.bytes = 39;
        assert_eq!(source.missing_bytes(), 1);
        source.rejected.bytes = u64::MAX;
        assert!(source.missing_bytes() < 0);
        assert!(!AuditDocument { sources: vec![document.sources[0].clone(), source] }.adds_up());
        assert!(AuditDocument::default().adds_up());
    }
}
