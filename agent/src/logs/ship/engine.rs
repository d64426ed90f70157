//! What the shipper knows and does between two waits: looks at files, makes up batches, takes in
//! answers, says what is to be sent and when to look again. It blocks on files, never on the
//! network.
//!
//! A position is written to the checkpoint only after the service has accepted what is before it.

mod answers;
mod fill;
mod journal;
mod named;
mod scan;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use camino::Utf8PathBuf;
use groundcrew_core::logs::retry::{Failure, Retry};
use groundcrew_core::logs::{LogRules, LogSettings, Names, Template};
use groundcrew_core::status::AuditDocument;
use groundcrew_core::time::{Moment, Now};
use groundcrew_core::types::ProcessId;

use super::batch::{Builder, Format};
use super::checkpoint::Checkpoint;
use super::progress::Progress;
use super::quarantine::Quarantine;
use super::reading::Reader;
use super::shipped::Shipped;
use super::source::{Feed, Seen, Source, SourceId};
use super::streams::{Stream, StreamId};
use crate::aws::cloudwatch_logs::{LogsCallError, Rejected};
use crate::errors::chain;
use crate::fsx::FileError;
use crate::logs::error::LogError;
use crate::logs::events::Redactor;
use crate::logs::files::LogFiles;
use crate::logs::watch::{Happened, WatchId, Watches};
use journal::Journal;
use named::NamedFiles;

/// Requests under way at once.
const SENDING_MAX: usize = 4;
/// Bytes of batches that are ready or under way. One is always made up, however large.
const HELD_BYTES_MAX: usize = 6 * 1024 * 1024;

/// The processes there are, with what their tier says about their logs.
pub(in crate::logs) type Living = Arc<BTreeMap<ProcessId, LogRules>>;

/// Who this host is, for the names of groups and streams.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// Its environment.
    pub environment: String,
    /// The EC2 instance, or the host's name.
    pub instance: String,
}

/// What happened since the last look.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) happened: Happened,
    /// It is time to look at everything.
    pub(super) sweep: bool,
    pub(super) living: Option<Living>,
    pub(super) answers: Vec<Answer>,
    /// Everything is to be sent now, settled or not.
    pub(super) forced: bool,
}

/// How a request went.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) stream: StreamId,
    pub(super) outcome: Result<Rejected, LogsCallError>,
}

/// A request to be made.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) stream: StreamId,
    pub(super) group: String,
    pub(super) name: String,
    pub(super) create: bool,
    pub(super) body: bytes::Bytes,
}

/// What follows from a look.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) requests: Vec<Request>,
    /// There is more to do at once.
    pub(super) again: bool,
    /// When to look again, if nothing happens.
    pub(super) wake: Option<Moment>,
    /// Bytes that were not accepted.
    pub(super) pending: u64,
}

impl Plan {
    fn wake_by(&mut self, moment: Moment) {
        self.wake = Some(self.wake.map_or(moment, |wake| wake.min(moment)));
    }
}

/// The state.
pub(super) struct Engine {
    settings: Arc<LogSettings>,
    host: Host,
    files: LogFiles,
    checkpoint: Checkpoint,
    named: Option<NamedFiles>,
    journal: Journal,
    quarantine: Quarantine,
    progress: Progress,
    watches: Watches,
    pub(super) reader: Reader,
    pub(super) sources: BTreeMap<SourceId, Source>,
    pub(super) streams: BTreeMap<StreamId, Stream>,
    living: Option<Living>,
    /// Failures that every stream would share, and the latest of them.
    retry: Retry,
    failure: Option<Failure>,
    /// What was said about a failure, so that it is said once.
    told: Option<String>,
    turns: u64,
    random: u64,
    numbers: u32,
    shipped: Shipped,
    forced: bool,
    /// How far a source was accepted could not be written down.
    unwritten: bool,
    /// It was said that the kernel does not watch everything.
    blind: bool,
}

impl Engine {
    pub(super) fn open(
        settings: Arc<LogSettings>,
        files: LogFiles,
        secrets: &[String],
        parts: (Progress, Watches, Format),
    ) -> Result<Self, LogError> {
        let (progress, watches, format) = parts;
        files.create_root()?;
        let (checkpoint, damaged) = Checkpoint::open(&files.root().join(".checkpoint"))?;
        if let Some(damaged) = damaged {
            tracing::warn!("{damaged}: some lines may be sent twice");
        }
        let named = NamedFiles::open(&settings.files, &files, &checkpoint, &watches)?;
        let quarantine = Quarantine::new(files.root().join(".quarantine"));
        Ok(Self {
            reader: Reader::new(Builder::new(format), Redactor::new(&settings.redact, secrets)?),
            settings,
            host: Host::default(),
            files,
            checkpoint,
            named,
            journal: Journal::default(),
            quarantine,
            progress,
            watches,
            sources: BTreeMap::new(),
            streams: BTreeMap::new(),
            living: None,
            retry: Retry::default(),
            failure: None,
            told: None,
            turns: 0,
            random: crate::random::seed() | 1,
            numbers: 0,
            shipped: Shipped::default(),
            forced: false,
            unwritten: false,
            blind: false,
        })
    }

    /// Says which host it is, before the first look.
    pub(super) fn set_host(&mut self, host: Host) {
        self.host = host;
    }

    /// One look.
    pub(super) fn pass(&mut self, news: News, now: Now) -> Plan {
        self.forced = news.forced;
        let living = news.living.is_some();
        if living {
            self.living = news.living;
        }
        let answered = !news.answers.is_empty();
        for answer in news.answers {
            self.answered(answer, now);
        }
        if answered {
            self.close_named(now);
        }
        if news.sweep || news.happened.names || living {
            self.scan();
        }
        let forced = news.sweep || news.happened.names || news.forced;
        self.scan_named(forced, &news.happened.grew, now);
        self.look(&news.happened.grew, news.sweep || self.forced, now);
        let mut plan = Plan::default();
        self.send(now, &mut plan);
        if plan.requests.is_empty() {
            self.make_up(now, &mut plan);
            self.send(now, &mut plan);
        } else {
            // They go first: the next batches are made up while they are under way.
            plan.again = true;
        }
        self.mind_waiting(&mut plan);
        self.count(&mut plan);
        self.shipped.observe(now.at);
        plan
    }

    pub(super) fn shipped(&self) -> &Shipped {
        &self.shipped
    }

    /// Looks at the files that grew, and at those that are waited for.
    fn look(&mut self, grew: &BTreeSet<WatchId>, everything: bool, now: Now) {
        let ids: Vec<SourceId> = self.sources.keys().copied().collect();
        for id in ids {
            let Some(source) = self.sources.get_mut(&id) else { continue };
            if source.watched.is_some_and(|watch| grew.contains(&watch)) {
                source.watched = None;
            }
            if everything || source.wants_look(now.at) {
                self.look_at(id, now);
            }
        }
    }

    fn look_at(&mut self, id: SourceId, now: Now) {
        self.check_named(id, now);
        let Some(source) = self.sources.get_mut(&id) else { return };
        match source.look(now) {
            Ok(Seen::Same) => {
                source.failing = false;
                if source.unread() == 0 && source.watched.is_none() {
                    self.hand_back(id, now);
                }
            }
            Ok(Seen::CutOff) => self.cut_off(id),
            Ok(Seen::Gone) => self.gone(id),
            Err(error) => self.unreadable(id, &error),
        }
    }

    /// Lets the kernel watch a file of which everything was read, and looks once more: it may have
    /// grown just before.
    fn hand_back(&mut self, id: SourceId, now: Now) {
        let Some(source) = self.sources.get_mut(&id) else { return };
        if source.is_final {
            return;
        }
        let watch = match &source.feed {
            Feed::Process(log) => self.watches.growth(&log.path),
            Feed::Named { file, path, .. } => self.watches.growth_of(file, path),
            Feed::Journal { .. } => return,
        };
        match watch {
            Ok(watch) => {
                source.watched = Some(watch);
                source.blind_since = None;
            }
            // Gone: found out by the next look at the directory.
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                source.blind_since = source.blind_since.or(Some(now.at));
                if !std::mem::replace(&mut self.blind, true) {
                    tracing::warn!("{}; looking every few seconds instead", chain(&error));
                }
            }
        }
        if let Ok(Seen::CutOff) = source.look(now) {
            self.cut_off(id);
        }
    }

    fn unreadable(&mut self, id: SourceId, error: &FileError) {
        let Some(source) = self.sources.get_mut(&id) else { return };
        if !std::mem::replace(&mut source.failing, true) {
            tracing::warn!("{}; trying again", chain(error));
        }
    }

    /// Says which requests may be made now.
    fn send(&mut self, now: Now, plan: &mut Plan) {
        self.pass_over_empty();
        let mut sending = self.streams.values().filter(|stream| stream.is_sending).count();
        // While nothing is accepted one request at a time finds out whether it is again.
        let most = if self.failure.is_some() { 1 } else { SENDING_MAX };
        if let Some(until) = self.retry.until().filter(|until| *until > now.at) {
            plan.wake_by(until);
            return;
        }
        let mut waiting: Vec<(u64, StreamId)> = Vec::new();
        for (id, stream) in &self.streams {
            match stream.may_send(now.at) {
                Ok(true) => waiting.push((stream.turn, *id)),
                Ok(false) => {}
                Err(until) => plan.wake_by(until),
            }
        }
        waiting.sort_unstable();
        for (_, id) in waiting {
            if sending >= most {
                break;
            }
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            let Some(batch) = &stream.batch else { continue };
            plan.requests.push(Request {
                stream: id,
                group: stream.group.clone(),
                name: stream.name.clone(),
                create: stream.is_missing && self.settings.create,
                body: batch.body.clone(),
            });
            stream.is_sending = true;
            sending += 1;
        }
    }

    /// Batches of which every event was left out or refused: there is nothing to send.
    fn pass_over_empty(&mut self) {
        loop {
            let mut streams = self.streams.iter();
            let empty = streams
                .find(|(_, stream)| stream.batch.as_ref().is_some_and(|batch| batch.events == 0));
            let Some(id) = empty.map(|(id, _)| *id) else { return };
            let batch = self.streams.get_mut(&id).and_then(Stream::pop);
            if let Some(batch) = batch {
                self.accept(id, batch, Rejected::default(), "");
            }
        }
    }

    fn count(&mut self, plan: &mut Plan) {
        let sources = self.sources.values();
        plan.pending = sources.clone().map(Source::pending).sum();
        self.shipped.backlog_bytes = plan.pending;
        self.shipped.oldest = sources.filter_map(Source::pending_since).min();
    }

    /// A number that differs between hosts and calls, for jitter.
    fn random(&mut self) -> u64 {
        // Xorshift: nothing depends on it but pauses.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn names<'a>(&'a self, tier: &'a str, process: &'a str) -> Names<'a> {
        Names {
            environment: &self.host.environment,
            tier,
            instance: &self.host.instance,
            process,
            unit: process,
            file: process,
        }
    }

    /// The stream of that name, new or not, which `source` feeds from now on.
    fn stream_for(
        &mut self,
        source: SourceId,
        templates: (Option<&Template>, Option<&Template>),
        names: (&str, &str),
    ) -> StreamId {
        let names = self.names(names.0, names.1);
        let group = templates.0.unwrap_or(&self.settings.group).expand_group(&names);
        let name = templates.1.unwrap_or(&self.settings.stream).expand_stream(&names);
        let known = self.streams.iter_mut();
        let known = known.map(|(id, stream)| (*id, stream));
        let mut known = known.filter(|(_, stream)| stream.group == group && stream.name == name);
        if let Some((id, stream)) = known.next() {
            stream.sources.push(source);
            return id;
        }
        drop(known);
        self.numbers += 1;
        let mut stream = Stream::new(group, name);
        stream.sources.push(source);
        self.streams.insert(self.numbers, stream);
        self.numbers
    }

    /// Writes down how far a source was accepted, and lets the keeper know.
    fn write_down(&mut self, id: SourceId) {
        let Some(source) = self.sources.get(&id) else { return };
        if matches!(source.feed, Feed::Process(_)) {
            self.progress.accept(source.path(), source.accepted.offset);
        }
        match self.checkpoint.write(source.record()) {
            Ok(()) => self.unwritten = false,
            Err(error) => {
                if !std::mem::replace(&mut self.unwritten, true) {
                    tracing::error!("{}: an agent that died now would repeat", chain(&error));
                }
            }
        }
        self.named_accepted(id);
        self.journal_accepted(id);
    }

    /// Makes what is known survive the host, before the agent goes.
    pub(super) fn close(&mut self) {
        if let Err(error) = self.checkpoint.sync() {
            tracing::warn!("{}", chain(&error));
        }
    }

    /// The directory of the logs.
    pub(super) fn root(&self) -> Utf8PathBuf {
        self.files.root().to_owned()
    }

    /// Where events are kept that the service does not take.
    pub(super) fn quarantine(&self) -> &Quarantine {
        &self.quarantine
    }

    /// What became of everything that was read.
    pub(super) fn audit(&self) -> AuditDocument {
        let row = |source: &Source| {
            let stream = self.streams.get(&source.stream);
            source.audit(stream.map_or(("", ""), |stream| (&stream.group, &stream.name)))
        };
        AuditDocument { sources: self.sources.values().map(row).collect() }
    }
}
