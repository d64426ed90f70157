//! Sources that come and go: files that others write. Which file is which is found out by
//! [`Named`]; here they are read, and let go.

use std::collections::BTreeSet;

use camino::{Utf8Path, Utf8PathBuf};
use groundcrew_core::logs::LogRules;
use groundcrew_core::logs::inventory::Identity;
use groundcrew_core::logs::inventory::{Known, SourceId as NamedId};
use groundcrew_core::time::Now;

use super::{Engine, Plan};
use crate::errors::chain;
use crate::fsx;
use crate::logs::error::LogError;
use crate::logs::events::Rules;
use crate::logs::files::LogFiles;
use crate::logs::named::{FileChange, Named, OpenedFile};
use crate::logs::ship::checkpoint::{Checkpoint, Kind, Record};
use crate::logs::ship::source::{Feed, LOOK_EVERY, Source, SourceId};
use crate::logs::watch::{WatchId, Watches};

const FILE_MODE: u32 = 0o640;
/// What stands for a tier in the names of groups.
const TIER: &str = "files";

/// The named files, and where what is known of them is kept.
pub(super) struct NamedFiles {
    named: Named,
    path: Utf8PathBuf,
    saved: Known,
}

impl NamedFiles {
    /// The files of the settings, as an earlier agent left them; `None`: none is named.
    pub(super) fn open(
        rules: &[groundcrew_core::logs::FileRule],
        files: &LogFiles,
        checkpoint: &Checkpoint,
        watches: &Watches,
    ) -> Result<Option<Self>, LogError> {
        if rules.is_empty() {
            return Ok(None);
        }
        let root = files.root();
        let mut named = Named::new(rules, root.join(".spool"), Some(watches.clone()))?;
        let path = root.join(".files");
        let mut saved = read(&path);
        for file in &mut saved.files {
            if let Some(record) = checkpoint.get(&key(file.id)) {
                file.offset = record.position.offset;
            }
        }
        named.restore(saved.clone());
        Ok(Some(Self { named, path, saved }))
    }

    /// Writes down what is known, if it is something new.
    fn save(&mut self) {
        let known = self.named.known();
        if known == self.saved {
            return;
        }
        // Numbers and strings have a JSON form.
        let json = serde_json::to_vec(&known).unwrap_or_default();
        match fsx::write_atomic(&self.path, &json, FILE_MODE) {
            Ok(()) => self.saved = known,
            Err(error) => tracing::error!("{}: files may be shipped twice", chain(&error)),
        }
    }
}

/// What is known from before. Nothing, when it is damaged: then files are found anew.
fn read(path: &Utf8Path) -> Known {
    let bytes = match fsx::read_if_exists(path) {
        Ok(bytes) => bytes.unwrap_or_default(),
        Err(error) => {
            tracing::error!("{}", chain(&error));
            return Known::default();
        }
    };
    if bytes.is_empty() {
        return Known::default();
    }
    serde_json::from_slice(&bytes).unwrap_or_else(|error| {
        tracing::error!("{path} is damaged, and begun anew: {error}");
        Known::default()
    })
}

fn key(id: NamedId) -> String {
    format!("file:{id}")
}

impl Engine {
    /// Looks for files, when something may have changed.
    pub(super) fn scan_named(&mut self, forced: bool, grew: &BTreeSet<WatchId>, now: Now) {
        let Some(files) = &mut self.named else { return };
        let known = |watch: &WatchId| self.sources.values().any(|s| s.watched == Some(*watch));
        let due = files.named.scan_at().is_some_and(|at| at <= now.at);
        if forced || due || !grew.iter().all(known) {
            let changes = files.named.scan(now);
            self.apply(changes, now);
        }
    }

    /// Sees to it that files of which nothing else tells are looked at: those that the kernel does
    /// not watch, and those of others that wait to be read. What these hold may be truncated, and
    /// what comes after it rotated away before it was ever seen.
    pub(super) fn mind_waiting(&self, plan: &mut Plan) {
        if let Some(at) = self.named.as_ref().and_then(|files| files.named.scan_at()) {
            plan.wake_by(at);
        }
        let waits = |source: &&Source| {
            let is_named = matches!(source.feed, Feed::Named { .. }) && !source.has_ended;
            source.blind_since.is_some() || (is_named && source.unread() > 0)
        };
        let looked = self.sources.values().filter(waits).map(|source| source.looked_at).min();
        if let Some(looked) = looked {
            plan.wake_by(looked.plus(LOOK_EVERY));
        }
    }

    /// Whether an open file holds what it held; what follows from it when it does not.
    pub(super) fn check_named(&mut self, id: SourceId, now: Now) {
        let Some(Feed::Named { id, .. }) = self.sources.get(&id).map(|source| &source.feed) else {
            return;
        };
        let id = *id;
        if let Some(files) = &mut self.named {
            let changes = files.named.check(id, now);
            self.apply(changes, now);
        }
    }

    fn apply(&mut self, changes: Vec<FileChange>, now: Now) {
        let any = !changes.is_empty();
        for change in changes {
            match change {
                FileChange::Opened(opened) => self.opened(opened),
                FileChange::Continued { id, file: found, from } => {
                    if let Some(source) = self.named_source(id) {
                        if let Feed::Named { file, .. } = &mut source.feed {
                            *file = found;
                        }
                        source.begin_again(from);
                        source.is_final = true;
                    }
                }
                FileChange::Moved { .. } => {}
                FileChange::Final { id } => {
                    if let Some(source) = self.named_source(id) {
                        source.is_final = true;
                        source.watched = None;
                    }
                }
                FileChange::Ended { id, lost_bytes } => self.ended(id, lost_bytes),
                FileChange::Forgotten { id, path } => {
                    tracing::warn!("{path} was not found again: its rest, if any, is lost");
                    self.forget_record(&key(id));
                }
            }
        }
        if any {
            if let Some(files) = &mut self.named {
                files.save();
            }
            self.close_named(now);
        }
    }

    fn opened(&mut self, opened: OpenedFile) {
        let OpenedFile { id, rule, path, file, from, last } = opened;
        if let Some(source) = self.named_source(id) {
            if let Feed::Named { file: known, .. } = &mut source.feed {
                *known = file;
            }
            source.is_final = last;
            source.watched = None;
            return;
        }
        let Some(rule) = self.settings.files.get(rule).cloned() else { return };
        let record = self.checkpoint.get(&key(id)).cloned();
        self.numbers += 1;
        let number = self.numbers;
        let name = path.as_str().trim_start_matches('/').to_owned();
        let templates = (rule.group.as_ref(), rule.stream.as_ref());
        let stream = self.stream_for(number, templates, (TIER, &name));
        let readers = (super::scan::grouper(&rule.multiline), Rules::new(&LogRules::default(), 0));
        let feed = Feed::Named { id, path, file };
        let mut source =
            Source::new(key(id), feed, stream, Identity::default(), record.as_ref(), readers);
        source.begin_at(from);
        source.is_final = last;
        self.sources.insert(number, source);
    }

    fn ended(&mut self, id: NamedId, lost_bytes: u64) {
        let Some(source) = self.named_source(id) else { return };
        if lost_bytes > 0 {
            tracing::error!(
                "{} was truncated before {lost_bytes} bytes of it could be read",
                source.path()
            );
        }
        source.end();
    }

    fn named_source(&mut self, id: NamedId) -> Option<&mut Source> {
        self.sources
            .values_mut()
            .find(|source| matches!(&source.feed, Feed::Named { id: known, .. } if *known == id))
    }

    /// Whether older content of the same path is to be read first.
    pub(super) fn is_behind(&self, id: SourceId) -> bool {
        let Some(source) = self.sources.get(&id) else { return false };
        let Feed::Named { id, path, .. } = &source.feed else { return false };
        let of_stream = self.streams.get(&source.stream).map_or(&[][..], |s| &s.sources);
        of_stream.iter().filter_map(|other| self.sources.get(other)).any(|other| {
            matches!(&other.feed, Feed::Named { id: older, path: known, .. }
                if older < id && known == path)
                && other.unread() > 0
        })
    }

    /// Notes how far a file was read.
    pub(super) fn read_to(&mut self, id: SourceId) {
        let Some(source) = self.sources.get(&id) else { return };
        if let (Feed::Named { id, .. }, Some(files)) = (&source.feed, &mut self.named)
            && !source.has_ended
        {
            files.named.read_to(*id, source.taken.offset);
        }
    }

    /// Notes how far a file was accepted.
    pub(super) fn named_accepted(&mut self, id: SourceId) {
        let Some(source) = self.sources.get(&id) else { return };
        if let (Feed::Named { id, .. }, Some(files)) = (&source.feed, &mut self.named) {
            files.named.accepted(*id, source.accepted.offset);
        }
    }

    /// Lets go of files of which nothing more is expected and everything was accepted.
    pub(super) fn close_named(&mut self, now: Now) {
        let Some(files) = &mut self.named else { return };
        let mut done = Vec::new();
        for (number, source) in &mut self.sources {
            let Feed::Named { id, .. } = &source.feed else { continue };
            let id = *id;
            // Something may have been written to it since.
            if source.is_final
                && source.pending() == 0
                && source.look(now).is_ok()
                && source.pending() == 0
            {
                files.named.closed(id);
                done.push((*number, source.stream, source.key.clone()));
            }
        }
        if done.is_empty() {
            return;
        }
        files.save();
        for (number, stream, key) in done {
            self.sources.remove(&number);
            self.forget_record(&key);
            if let Some(stream) = self.streams.get_mut(&stream) {
                stream.sources.retain(|known| *known != number);
            }
        }
        self.finished();
    }

    fn forget_record(&mut self, key: &str) {
        let Some(record) = self.checkpoint.get(key) else { return };
        let record = Record { kind: None, ..record.clone() };
        debug_assert!(self.checkpoint.get(key).is_none_or(|known| known.kind == Some(Kind::Named)));
        if let Err(error) = self.checkpoint.write(record) {
            tracing::warn!("{}", chain(&error));
        }
    }
}
