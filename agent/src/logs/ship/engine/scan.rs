//! Sources that come and go: the processes' own files.

use std::collections::BTreeSet;

use groundcrew_core::logs::inventory::Identity;
use groundcrew_core::logs::{LogRules, Multiline};
use groundcrew_core::time::Moment;

use super::Engine;
use crate::errors::chain;
use crate::fsx::{About, FileError};
use crate::logs::events::{Grouper, Grouping, Rules};
use crate::logs::files::{LogFile, LogFiles, identity, open};
use crate::logs::ship::checkpoint::{Kind, Record};
use crate::logs::ship::source::{Feed, Source, SourceId};

impl Engine {
    /// Takes up files that are new, and lets go of those that are gone.
    pub(super) fn scan(&mut self) {
        if let Err(error) = self.scan_processes() {
            tracing::warn!("{}; trying again", chain(&error));
        }
    }

    fn scan_processes(&mut self) -> Result<(), FileError> {
        self.watches.directory(self.files.root())?;
        // Which lines belong together is the tier's to say: not before it is known.
        let Some(living) = self.living.clone() else { return Ok(()) };
        let mut found = BTreeSet::new();
        for directory in self.files.tier_directories()? {
            self.watches.directory(&directory)?;
            for log in LogFiles::list(&directory)? {
                // Gone since it was listed, or not to be read: looked at again with the rest.
                let Ok(file) = open(&log.path) else { continue };
                let identity = identity(&file.metadata().about("ask about", &log.path)?);
                let rules = living.get(&log.process);
                let is_final = log.is_aside() || rules.is_none();
                let id = self.process_source(log, identity, rules);
                found.insert(id);
                if let Some(source) = self.sources.get_mut(&id)
                    && source.is_final != is_final
                {
                    // A file is there a moment before its process counts as living.
                    source.is_final = is_final;
                    source.watched = None;
                    source.looked_at = Moment(0);
                }
            }
        }
        let gone: Vec<SourceId> = (self.sources.iter())
            .filter(|(id, source)| matches!(source.feed, Feed::Process(_)) && !found.contains(id))
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            self.gone(id);
        }
        self.forget_unknown();
        Ok(())
    }

    /// The source of a file of a process, new or known.
    fn process_source(
        &mut self,
        log: LogFile,
        identity: Identity,
        rules: Option<&LogRules>,
    ) -> SourceId {
        let known = self.sources.iter_mut().find(|(_, source)| {
            source.identity == identity
                && matches!(&source.feed, Feed::Process(known)
                    if known.process == log.process && known.stream == log.stream)
        });
        if let Some((id, source)) = known {
            let id = *id;
            if *source.path() != log.path {
                self.progress.forget(source.path());
                source.feed = Feed::Process(log);
                self.write_down(id);
            }
            return id;
        }
        // A name is used again by the file that follows one that was put aside.
        let key = format!("{}.{}#{:x}", log.process, log.stream.as_str(), identity.inode);
        let record = self.checkpoint.get(&key);
        let is_same = |record: &&Record| record.kind == Some(Kind::Process(identity));
        let record = record.filter(is_same).cloned();
        self.numbers += 1;
        let id = self.numbers;
        let (tier, process) = (log.process.tier.to_string(), log.process.to_string());
        let stream = self.stream_for(id, (None, None), (&tier, &process));
        let rules = rules.cloned().unwrap_or_default();
        let readers = (grouper(&rules.multiline), Rules::new(&rules, u64::from(id)));
        let feed = Feed::Process(log);
        let source = Source::new(key, feed, stream, identity, record.as_ref(), readers);
        self.sources.insert(id, source);
        self.write_down(id);
        id
    }

    /// A process cut its own log off: what it holds now is new.
    pub(super) fn cut_off(&mut self, id: SourceId) {
        let Some(source) = self.sources.get_mut(&id) else { return };
        let stream = source.stream;
        tracing::warn!("{} was cut off by somebody; what was unread of it is lost", source.key);
        self.rewind(stream);
        if let Some(source) = self.sources.get_mut(&id) {
            source.restart();
            self.write_down(id);
        }
    }

    /// A file is gone for good.
    pub(super) fn gone(&mut self, id: SourceId) {
        let Some(source) = self.sources.remove(&id) else { return };
        let pending = source.pending();
        let lost = self.progress.take_lost(source.path());
        if pending > 0 {
            tracing::error!(
                "{} was removed before {pending} bytes of it could be sent ({} lines)",
                source.key,
                lost.events,
            );
        }
        self.progress.forget(source.path());
        let record = Record { kind: None, ..source.record() };
        if let Err(error) = self.checkpoint.write(record) {
            tracing::warn!("{}", chain(&error));
        }
        if let Some(stream) = self.streams.get_mut(&source.stream) {
            stream.sources.retain(|known| *known != id);
            if stream.sources.is_empty() && stream.batch.is_none() {
                self.streams.remove(&source.stream);
            }
        }
    }

    /// Records of files that were removed while there was no agent.
    fn forget_unknown(&mut self) {
        let known: BTreeSet<&str> = self.sources.values().map(|s| s.key.as_str()).collect();
        let unknown: Vec<Record> = (self.checkpoint.records())
            .filter(|record| matches!(record.kind, Some(Kind::Process(_))))
            .filter(|record| !known.contains(record.source.as_str()))
            .map(|record| Record { kind: None, ..record.clone() })
            .collect();
        for record in unknown {
            if let Err(error) = self.checkpoint.write(record) {
                tracing::warn!("{}", chain(&error));
                return;
            }
        }
    }

    /// A batch was dealt with: streams that nothing feeds any more go.
    pub(super) fn finished(&mut self) {
        self.streams.retain(|_, stream| !stream.sources.is_empty() || stream.batch.is_some());
    }
}

/// What groups the lines of a source.
pub(super) fn grouper(multiline: &Multiline) -> Grouper {
    let grouping = Grouping::new(multiline).unwrap_or_else(|error| {
        // It compiled when the configuration was checked.
        tracing::warn!("{}; every line stands alone", chain(&error));
        Grouping::off()
    });
    grouping.grouper()
}
