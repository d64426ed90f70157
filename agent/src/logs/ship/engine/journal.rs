//! What units say to journald, as sources: a queue of entries for each unit, and one cursor for all
//! of them. The journal itself is the durable buffer: the cursor moves on only when everything
//! before it was accepted.

use std::collections::VecDeque;

use groundcrew_core::logs::inventory::Identity;
use groundcrew_core::logs::{LogRules, Template};
use groundcrew_core::time::Now;

use super::Engine;
use crate::errors::chain;
use crate::logs::events::{Grouping, Rules};
use crate::logs::journal::Entry;
use crate::logs::ship::checkpoint::{Kind, Record};
use crate::logs::ship::source::{Feed, Queued, Source, SourceId};

/// Bytes of entries that wait; more stay in the journal.
const QUEUED_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Names the record of the cursor.
const CURSOR: &str = "journal";
/// Ends a message that is longer than this.
const CUT: &[u8] = b" [cut by groundcrew: the rest is in the journal]";
/// What stands for a tier in the names of groups.
const TIER: &str = "journal";
const TIER_OF_AGENT: &str = "agent";

/// The entries that were not accepted, oldest first, and whether they are by now.
#[derive(Debug, Default)]
pub(super) struct Journal {
    open: VecDeque<(String, bool)>,
    /// The number of the first of them.
    first: u64,
    bytes: u64,
}

impl Engine {
    /// Where an earlier agent was in the journal.
    pub(in crate::logs::ship) fn journal_cursor(&self) -> Option<String> {
        match self.checkpoint.get(CURSOR)?.kind.as_ref()? {
            Kind::Journal(cursor) => cursor.clone(),
            _ => None,
        }
    }

    /// Whether more entries may be pushed.
    pub(in crate::logs::ship) fn has_room_for_journal(&self) -> bool {
        self.journal.bytes < QUEUED_BYTES_MAX
    }

    /// Takes in what a unit said.
    pub(in crate::logs::ship) fn push_journal(&mut self, mut entry: Entry, now: Now) {
        if entry.cut {
            entry.message.extend_from_slice(CUT);
        }
        let number = self.journal.first + self.journal.open.len() as u64;
        self.journal.open.push_back((entry.cursor, false));
        let bytes = entry.message.len() as u64 + 1;
        self.journal.bytes += bytes;
        let id = self.unit_source(&entry.unit);
        let Some(source) = self.sources.get_mut(&id) else { return };
        source.push(Queued { end: 0, number, at: entry.at_ms, message: entry.message }, now);
    }

    fn unit_source(&mut self, unit: &str) -> SourceId {
        let known = self
            .sources
            .iter()
            .find(|(_, source)| matches!(&source.feed, Feed::Journal { path, .. } if path == unit));
        if let Some((id, _)) = known {
            return *id;
        }
        self.numbers += 1;
        let id = self.numbers;
        let rules = &self.settings.journals;
        let rule = rules.iter().find(|rule| rule.units.iter().any(|named| named == unit)).cloned();
        let tier = if rule.is_some() { TIER } else { TIER_OF_AGENT };
        let template = |get: fn(&groundcrew_core::logs::JournalRule) -> &Option<Template>| {
            rule.as_ref().and_then(|rule| get(rule).clone())
        };
        let (group, name) = (template(|rule| &rule.group), template(|rule| &rule.stream));
        let stream = self.stream_for(id, (group.as_ref(), name.as_ref()), (tier, unit));
        let key = format!("unit:{unit}");
        let record = self.checkpoint.get(&key).cloned();
        let readers = (Grouping::off().grouper(), Rules::new(&LogRules::default(), 0));
        let feed = Feed::Journal { path: unit.into(), queue: VecDeque::new() };
        let source = Source::new(key, feed, stream, Identity::default(), record.as_ref(), readers);
        self.sources.insert(id, source);
        id
    }

    /// Notes which entries were accepted, and how far the journal was.
    pub(super) fn journal_accepted(&mut self, id: SourceId) {
        let Some(source) = self.sources.get_mut(&id) else { return };
        let (numbers, bytes) = source.pop_accepted();
        self.journal.bytes = self.journal.bytes.saturating_sub(bytes);
        for number in numbers {
            let at = usize::try_from(number - self.journal.first).unwrap_or(usize::MAX);
            if let Some((_, done)) = self.journal.open.get_mut(at) {
                *done = true;
            }
        }
        let mut cursor = None;
        while let Some((next, _)) = self.journal.open.pop_front_if(|(_, done)| *done) {
            self.journal.first += 1;
            cursor = Some(next);
        }
        if cursor.is_none() {
            return;
        }
        let record = Record {
            source: CURSOR.to_owned(),
            kind: Some(Kind::Journal(cursor)),
            ..Record::default()
        };
        if let Err(error) = self.checkpoint.write(record) {
            tracing::error!("{}: entries of the journal will be sent twice", chain(&error));
        }
    }
}
