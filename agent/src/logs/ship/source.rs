//! One source of lines: a stream of a process, or a file that others write. How far it was read,
//! how far it was accepted, and whether there is more.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use camino::Utf8PathBuf;
use groundcrew_core::logs::inventory::Identity;
use groundcrew_core::logs::inventory::SourceId as NamedId;
use groundcrew_core::status::{self, SourceAudit};
use groundcrew_core::time::{Moment, Now};

use super::checkpoint::{Count, Counts, Kind, Record};
use super::reading::{self, Particulars, Position, Taken, Tools, Waits};
use super::streams::StreamId;
use crate::fsx::{About, FileError};
use crate::logs::events::{Grouper, Rules};
use crate::logs::files::{LogFile, open};
use crate::logs::index::Marks;
use crate::logs::sparse::{self, Facts};
use crate::logs::watch::WatchId;

/// How long what is known of a file that waits is good enough, for those who ask how much waits.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(2);
/// From this age on it matters by when a line was written, if it does not say so itself.
const BACKLOG_AFTER: Duration = Duration::from_secs(2);
/// Sizes of a growing file that are remembered, to know how old its oldest unread line is.
const GROWTHS_MAX: usize = 32;

/// Numbers a source while the agent runs.
pub(super) type SourceId = u32;

/// What is read.
#[derive(Debug)]
pub(super) enum Feed {
    /// A file of ours: holes may appear in it, and it is opened for each look, so that many of them
    /// hold no descriptors.
    Process(LogFile),
    /// A file of others, held open: it may lose its name.
    Named { id: NamedId, path: Utf8PathBuf, file: Arc<File> },
    /// Entries of the journal. Their offsets are of this source alone: bytes that were queued.
    Journal {
        /// The unit.
        path: Utf8PathBuf,
        queue: VecDeque<Queued>,
    },
}

/// An entry of the journal that was not accepted yet.
#[derive(Debug)]
pub(super) struct Queued {
    /// The offset behind it.
    pub(super) end: u64,
    /// Its number among the entries of all units.
    pub(super) number: u64,
    pub(super) at: i64,
    pub(super) message: Vec<u8>,
}

/// A source.
pub(super) struct Source {
    /// Names it, across restarts of the agent.
    pub(super) key: String,
    pub(super) feed: Feed,
    pub(super) stream: StreamId,
    pub(super) identity: Identity,
    pub(super) counts: Counts,
    pub(super) grouper: Grouper,
    pub(super) rules: Rules,
    /// What its offsets are less than the bytes that were read of it.
    shift: i64,
    /// Everything before was accepted.
    pub(super) accepted: Position,
    /// Everything before is in a batch.
    pub(super) taken: Position,
    pub(super) size: u64,
    pub(super) grew_at: Moment,
    pub(super) looked_at: Moment,
    /// Sizes and when they were seen, for the age of what is not accepted; the first is the oldest.
    growths: Vec<(u64, Moment)>,
    /// Set while the kernel watches it.
    pub(super) watched: Option<WatchId>,
    /// Its process is gone: what is there is all there will be.
    pub(super) is_final: bool,
    /// It is not to be read from again.
    pub(super) has_ended: bool,
    /// Since when the kernel would not watch it, so that nobody tells when it grows.
    pub(super) blind_since: Option<Moment>,
    /// What is left at the end, at this size, waits until it has settled.
    held: Option<(u64, Waits)>,
    /// It could not be read, and was said to be so.
    pub(super) failing: bool,
}

/// What a look at a file found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// It is there.
    Same,
    /// It begins anew: it was cut off.
    CutOff,
    /// It is gone, or another is in its place.
    Gone,
}

impl Source {
    pub(super) fn new(
        key: String,
        feed: Feed,
        stream: StreamId,
        identity: Identity,
        record: Option<&Record>,
        readers: (Grouper, Rules),
    ) -> Self {
        let position = record.map_or_else(Position::default, |record| record.position);
        Self {
            key,
            feed,
            stream,
            identity,
            counts: record.map_or_else(Counts::default, |record| record.counts),
            grouper: readers.0,
            rules: readers.1,
            shift: record.map_or(0, |record| record.shift),
            accepted: position,
            taken: position,
            size: position.offset,
            grew_at: Moment(0),
            looked_at: Moment(0),
            growths: Vec::new(),
            watched: None,
            is_final: false,
            has_ended: false,
            blind_since: None,
            held: None,
            failing: false,
        }
    }

    pub(super) fn path(&self) -> &Utf8PathBuf {
        match &self.feed {
            Feed::Process(log) => &log.path,
            Feed::Named { path, .. } | Feed::Journal { path, .. } => path,
        }
    }

    /// For the checkpoint.
    pub(super) fn record(&self) -> Record {
        let kind = match &self.feed {
            Feed::Process(_) => Kind::Process(self.identity),
            Feed::Named { .. } => Kind::Named,
            Feed::Journal { .. } => Kind::Journal(None),
        };
        Record {
            source: self.key.clone(),
            kind: Some(kind),
            position: self.accepted,
            shift: self.shift,
            counts: self.counts,
        }
    }

    /// Bytes that are in no batch.
    pub(super) fn unread(&self) -> u64 {
        self.size.saturating_sub(self.taken.offset)
    }

    /// Bytes that were not accepted.
    pub(super) fn pending(&self) -> u64 {
        self.size.saturating_sub(self.accepted.offset)
    }

    /// Since when something is there that was not accepted.
    pub(super) fn pending_since(&self) -> Option<Moment> {
        (self.pending() > 0).then(|| self.since(self.accepted.offset))
    }

    /// Since when there are bytes behind `offset`.
    fn since(&self, offset: u64) -> Moment {
        let growth = self.growths.iter().find(|(size, _)| *size > offset);
        growth.map_or(self.grew_at, |(_, at)| *at)
    }

    /// From when on there is something to take: since when bytes are there, how many, and whether
    /// they have to settle first.
    pub(super) fn wants(&self, forced: bool) -> Option<(Moment, u64, Option<Moment>)> {
        let unread = self.unread();
        if unread == 0 {
            return None;
        }
        let held = self.held.filter(|(size, _)| *size == self.size && !forced && !self.is_final);
        let settles = held.map(|(_, waits)| self.grew_at.plus(waits.settles_after()));
        Some((self.since(self.taken.offset), unread, settles))
    }

    /// Whether nothing else will tell when there is something to read.
    pub(super) fn wants_look(&self, now: Moment) -> bool {
        if self.watched.is_some() {
            return false;
        }
        if self.unread() > 0 || self.blind_since.is_some() {
            // It is looked at again when it is read.
            return now.since(self.looked_at) >= LOOK_EVERY;
        }
        !self.is_final || self.looked_at == Moment(0)
    }

    /// Looks at the file.
    pub(super) fn look(&mut self, now: Now) -> Result<Seen, FileError> {
        self.looked_at = now.at;
        let facts = match &self.feed {
            Feed::Journal { .. } => return Ok(Seen::Same),
            // Whether it holds what it held is found out elsewhere.
            Feed::Named { file, path, .. } => {
                let metadata = file.metadata().about("ask about", path)?;
                self.seen(Facts::of(&metadata).size.max(self.taken.offset), now);
                return Ok(Seen::Same);
            }
            Feed::Process(log) => match open(&log.path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Seen::Gone),
                opened => {
                    let file = opened.about("open", &log.path)?;
                    Facts::of(&file.metadata().about("ask about", &log.path)?)
                }
            },
        };
        if facts.identity != (self.identity.device, self.identity.inode) {
            return Ok(Seen::Gone);
        }
        if facts.size < self.taken.offset {
            return Ok(Seen::CutOff);
        }
        self.seen(facts.size, now);
        Ok(Seen::Same)
    }

    fn seen(&mut self, size: u64, now: Now) {
        if size > self.size {
            self.grew(size, now.at);
        }
        self.size = size;
    }

    /// Reads no more of it: its file holds something else.
    pub(super) fn end(&mut self) {
        self.size = self.taken.offset;
        self.is_final = true;
        self.has_ended = true;
    }

    fn grew(&mut self, size: u64, at: Moment) {
        self.grew_at = at;
        let accepted = self.accepted.offset;
        self.growths.retain(|(size, _)| *size > accepted);
        if self.growths.len() == GROWTHS_MAX {
            // Of each pair one is left, as old as the older: what waits is never said to be younger
            // than it is.
            let pairs = self.growths.chunks(2);
            self.growths = pairs.map(|pair| (pair[pair.len() - 1].0, pair[0].1)).collect();
        }
        self.growths.push((size, at));
    }

    /// Begins to read at `offset`, wherever it was.
    pub(super) fn begin_at(&mut self, offset: u64) {
        if self.accepted.offset != offset {
            self.shift += signed(self.accepted.offset) - signed(offset);
            self.accepted = Position { offset, part: 0 };
        }
        self.taken = self.accepted;
        self.size = self.size.max(offset);
    }

    /// What was read and not accepted is read again, from another file that has it.
    pub(super) fn begin_again(&mut self, from: u64) {
        if self.taken.offset > from {
            self.rewind(Position { offset: from.max(self.accepted.offset), part: 0 });
        }
    }

    /// The file was cut off: what it holds now is new.
    pub(super) fn restart(&mut self) {
        self.shift += signed(self.accepted.offset);
        self.accepted = Position::default();
        self.taken = Position::default();
        self.size = 0;
        self.growths.clear();
        self.held = None;
    }

    /// Queues an entry of the journal.
    pub(super) fn push(&mut self, entry: Queued, now: Now) {
        let Feed::Journal { queue, .. } = &mut self.feed else { return };
        let end = self.size + entry.message.len() as u64 + 1;
        queue.push_back(Queued { end, ..entry });
        self.seen(end, now);
    }

    /// Takes the entries of the journal out that were accepted: their numbers, and their bytes.
    pub(super) fn pop_accepted(&mut self) -> (Vec<u64>, u64) {
        let (mut numbers, mut bytes) = (Vec::new(), 0);
        let Feed::Journal { queue, .. } = &mut self.feed else { return (numbers, bytes) };
        let offset = self.accepted.offset;
        while let Some(entry) = queue.pop_front_if(|entry| entry.end <= offset) {
            bytes += entry.message.len() as u64 + 1;
            numbers.push(entry.number);
        }
        (numbers, bytes)
    }

    /// What became of everything that was read of it.
    pub(super) fn audit(&self, place: (&str, &str)) -> SourceAudit {
        let Counts { acknowledged, rejected, dropped } = self.counts;
        let count = |count: Count| status::Count { events: count.events, bytes: count.bytes };
        let read = u64::try_from(signed(self.size) + self.shift).unwrap_or(0);
        let events = acknowledged.events + rejected.events + dropped.events;
        SourceAudit {
            source: self.path().to_string(),
            group: place.0.to_owned(),
            stream: place.1.to_owned(),
            read: status::Count { events, bytes: read },
            acknowledged: count(acknowledged),
            rejected: count(rejected),
            dropped: count(dropped),
            // No events are made of them yet.
            pending: status::Count { events: 0, bytes: self.pending() },
            note: self.has_ended.then(|| "its file was truncated".to_owned()),
        }
    }

    /// Moves over a hole: what was there is gone for good. Answers how many bytes that were not
    /// taken, and whether a line is among them that the hole took only a part of.
    fn skip_hole(&mut self, file: &File) -> io::Result<Count> {
        if !matches!(self.feed, Feed::Process(_)) {
            return Ok(Count::default());
        }
        let from = self.taken.offset;
        let data = sparse::data_from(file, from)?.unwrap_or(self.size).min(self.size);
        if data <= from {
            return Ok(Count::default());
        }
        // What is left of the line that the hole took a part of goes too.
        let to = after_newline(file, data, self.size)?;
        self.taken = Position { offset: to, part: 0 };
        Ok(Count { events: u64::from(to > data), bytes: to - from })
    }

    /// Takes events into the batch. Beside them: what was gone before it was read, but for the
    /// lines that went whole.
    pub(super) fn take(
        &mut self,
        tools: &mut Tools<'_>,
        forced: bool,
    ) -> Result<(Taken, Count), FileError> {
        if let Feed::Journal { queue, .. } = &self.feed {
            let taken = reading::take_entries(self.taken, queue, tools);
            self.taken = taken.to;
            return Ok((taken, Count::default()));
        }
        let path = self.path().clone();
        let file = match &self.feed {
            Feed::Journal { .. } => return Ok((Taken::default(), Count::default())),
            Feed::Named { file, .. } => Arc::clone(file),
            Feed::Process(_) => Arc::new(open(&path).about("open", &path)?),
        };
        let lost = self.skip_hole(&file).about("look for data in", &path)?;
        let quiet =
            if self.is_final || forced { Duration::MAX } else { tools.now.at.since(self.grew_at) };
        let late = tools.now.at.since(self.since(self.taken.offset)) >= BACKLOG_AFTER;
        let marks = match &self.feed {
            Feed::Process(_) if late || self.is_final => Some(Marks::read(&path, self.size)),
            _ => None,
        };
        let written = |offset| marks.as_ref().and_then(|marks| marks.time_at(offset));
        let mut particulars = Particulars {
            file: &file,
            size: self.size,
            quiet,
            grouper: &mut self.grouper,
            rules: &mut self.rules,
            written: &written,
        };
        let taken = reading::take(self.taken, &mut particulars, tools).about("read", &path)?;
        self.taken = taken.to;
        self.held = taken.waits.map(|waits| (self.size, waits));
        Ok((taken, lost))
    }

    /// What was taken and not accepted is taken again.
    pub(super) fn rewind(&mut self, to: Position) {
        self.taken = to;
        self.held = None;
    }

    /// Everything up to `to` was dealt with.
    pub(super) fn accept(&mut self, to: Position, counts: Counts) {
        self.accepted = to;
        let offset = to.offset;
        self.growths.retain(|(size, _)| *size > offset);
        let sums = [
            (&mut self.counts.acknowledged, counts.acknowledged),
            (&mut self.counts.rejected, counts.rejected),
            (&mut self.counts.dropped, counts.dropped),
        ];
        for (sum, Count { events, bytes }) in sums {
            sum.add(events, bytes);
        }
    }
}

/// The first byte behind the first newline at or after `from`; the end when there is none.
fn after_newline(file: &File, from: u64, end: u64) -> io::Result<u64> {
    use std::os::unix::fs::FileExt;
    let mut chunk = [0; 4096];
    let mut at = from;
    while at < end {
        let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(chunk.len());
        let read = file.read_at(&mut chunk[..wanted], at)?;
        if read == 0 {
            break;
        }
        if let Some(newline) = memchr::memchr(b'\n', &chunk[..read]) {
            return Ok(at + newline as u64 + 1);
        }
        at += read as u64;
    }
    Ok(end)
}

fn signed(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}
