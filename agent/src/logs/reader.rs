//! Answers a query: the lines of many files as one stream, roughly in the order of their times.
//!
//! Within one file lines are always in order. A slow consumer stops its own reader and nothing
//! else: the reader holds a line and a chunk of each file, never a file.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use camino::Utf8PathBuf;
use futures_util::{FutureExt, Stream as FuturesStream};
use groundcrew_core::time::Wall;
use groundcrew_core::types::{ProcessId, TierName};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::error::LogError;
use super::files::{LogFile, LogFiles, Stream};
use super::last::{self, Wanted};
use super::limits::{self, TAIL_LINES_DEFAULT};
use super::segment::{RawLine, Segment};
use super::watch::{Events, Happened, Watches};
use crate::errors;
use crate::fsx::{About, FileError};
use crate::pattern::Pattern;

/// Which lines. Without `since` and `tail_lines`: the last 100.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogQuery {
    /// Only of this tier.
    pub tier: Option<TierName>,
    /// Only of this process.
    pub process: Option<ProcessId>,
    /// Only lines written at this time or later; a few older ones may come along, because times
    /// are known for stretches of a file: to a second for what is new, coarser for what is old.
    pub since: Option<Wall>,
    /// Only lines that this matches, which are what `tail_lines` counts.
    pub grep: Option<Pattern>,
    /// Only the last lines of all that match together.
    pub tail_lines: Option<usize>,
    /// Goes on with what is written later, by processes that start later too.
    pub follow: bool,
}

/// A line of a process.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LogLine {
    /// Who wrote it.
    pub process: ProcessId,
    /// Where to.
    pub stream: Stream,
    /// By when it was written: a bound from above, usually less than a second late.
    pub at: Wall,
    /// Without the newline. What is not UTF-8 is replaced; NUL and escape sequences are left as
    /// they are: whoever shows it to a terminal must see to them.
    pub line: String,
    /// The line is longer than 64 KiB: this is a piece of it, the rest follows from the same
    /// stream.
    pub truncated: bool,
}

/// The answer to a query. Ends by itself unless the query follows, or when the agent stops.
/// Dropping it ends the reader.
#[derive(Debug)]
pub struct LogStream(mpsc::Receiver<Result<LogLine, LogError>>);

impl LogStream {
    /// The next line. An error is about one file; lines of others may follow.
    pub async fn next(&mut self) -> Option<Result<LogLine, LogError>> {
        self.0.recv().await
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.0.len()
    }
}

impl FuturesStream for LogStream {
    type Item = Result<LogLine, LogError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}

/// The stream and the sender that its reader fills.
pub(super) fn stream() -> (mpsc::Sender<Result<LogLine, LogError>>, LogStream) {
    let (sender, receiver) = mpsc::channel(limits::QUEUE_LINES);
    (sender, LogStream(receiver))
}

/// Fills the stream until it is at its end, dropped, or cancelled. With `events` it follows.
pub(super) async fn run(
    mut merge: Merge,
    events: Option<Events>,
    lines: mpsc::Sender<Result<LogLine, LogError>>,
    cancellation: CancellationToken,
) {
    let mut happened = Happened { names: true, ..Happened::default() };
    let stop = cancellation.child_token();
    merge.stop = stop.clone();
    loop {
        let batch;
        let mut read = tokio::task::spawn_blocking(move || {
            let batch = merge.batch(&happened);
            (merge, batch)
        });
        let read = tokio::select! {
            read = &mut read => read,
            () = lines.closed() => {
                stop.cancel();
                read.await
            }
        };
        (merge, batch) = match read {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(error = %errors::chain(&error), "a reader of the logs died");
                return;
            }
        };
        let idle = batch.is_none();
        for line in batch.into_iter().flatten() {
            tokio::select! {
                biased;
                () = cancellation.cancelled() => return,
                sent = lines.send(line) => if sent.is_err() { return },
            }
        }
        // Nothing may have matched, and nothing been sent.
        if merge.ended || lines.is_closed() || cancellation.is_cancelled() {
            return;
        }
        let Some(events) = &events else {
            if idle {
                return;
            }
            happened = Happened::default();
            continue;
        };
        let next = if idle {
            tokio::select! {
                biased;
                () = cancellation.cancelled() => return,
                () = lines.closed() => return,
                next = events.next() => Some(next),
            }
        } else {
            // One busy file must not keep the news of others waiting.
            events.next().now_or_never()
        };
        happened = match next.transpose() {
            Ok(next) => next.unwrap_or_default(),
            Err(error) => {
                // The consumer is gone when this fails, and needs no news then.
                drop(lines.send(Err(LogError::Watch(error))).await);
                return;
            }
        };
    }
}

/// One stream of one process: its files one after the other.
#[derive(Debug)]
pub(super) struct Lane {
    process: ProcessId,
    stream: Stream,
    pub(super) segments: VecDeque<Segment>,
    head: Option<RawLine>,
}

impl Lane {
    fn of(process: ProcessId, stream: Stream) -> Self {
        Self { process, stream, segments: VecDeque::new(), head: None }
    }

    fn line(&self, raw: RawLine) -> LogLine {
        LogLine {
            process: self.process.clone(),
            stream: self.stream,
            at: raw.at,
            line: String::from_utf8(raw.bytes)
                .unwrap_or_else(|invalid| String::from_utf8_lossy(invalid.as_bytes()).into_owned()),
            truncated: raw.truncated,
        }
    }

    /// Reads the next line into `head`, from the next file where one has ended.
    fn advance(&mut self, follow: bool) -> Result<(), FileError> {
        while let Some(segment) = self.segments.front_mut() {
            let next = match segment.next_line() {
                Ok(next) => next,
                Err(error) => {
                    // The others go on. It stays known, so that a scan does not read it once more.
                    segment.broken = true;
                    return Err(error);
                }
            };
            if next.is_some() {
                self.head = next;
                return Ok(());
            }
            let ended = segment.ended || !follow;
            if !ended && self.segments.len() == 1 {
                return Ok(());
            }
            self.head = self.segments.pop_front().and_then(|mut last| last.take_partial());
            if self.head.is_some() {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Merges the files of a query. Its methods block.
#[derive(Debug)]
pub(super) struct Merge {
    files: LogFiles,
    query: LogQuery,
    /// Set when the query follows.
    watches: Option<Watches>,
    lanes: Vec<Lane>,
    /// The lanes that have a line, the oldest first.
    heads: BinaryHeap<Reverse<(Wall, usize)>>,
    started: bool,
    /// The query failed as a whole, or nobody waits for its answer any more.
    ended: bool,
    /// Nobody waits for the answer any more: a search ends.
    pub(super) stop: CancellationToken,
}

impl Merge {
    pub(super) fn new(files: LogFiles, query: LogQuery, watches: Option<Watches>) -> Self {
        Self {
            files,
            query,
            watches,
            lanes: Vec::new(),
            heads: BinaryHeap::new(),
            started: false,
            ended: false,
            stop: CancellationToken::new(),
        }
    }

    /// The next lines, of those that were read the ones that match. `None`: at the end, or nothing
    /// will come until something happens.
    pub(super) fn batch(&mut self, happened: &Happened) -> Option<Vec<Result<LogLine, LogError>>> {
        let mut batch = Vec::new();
        let mut failed = |result: Result<(), FileError>| {
            batch.extend(result.err().map(|error| Err(LogError::from(error))));
        };
        if happened.names {
            failed(self.scan());
        }
        if !self.started {
            self.started = true;
            if let Err(error) = self.position() {
                // Without a beginning everything would come.
                self.ended = true;
                return Some(vec![Err(error.into())]);
            }
            if self.ended {
                return None;
            }
        }
        for segment in self.lanes.iter_mut().flat_map(|lane| &mut lane.segments) {
            if segment.watched.is_some_and(|id| happened.grew.contains(&id)) {
                segment.watched = None;
            }
        }
        for lane in 0..self.lanes.len() {
            failed(self.wake(lane));
        }
        let mut idle = batch.is_empty();
        let mut bytes = 0;
        while batch.len() < limits::BATCH_LINES && bytes < limits::BATCH_BYTES {
            let Some(Reverse((_, at))) = self.heads.pop() else { break };
            let lane = &mut self.lanes[at];
            let Some(head) = lane.head.take() else { continue };
            idle = false;
            bytes += head.bytes.len() + 1;
            if self.query.grep.as_ref().is_none_or(|grep| grep.is_match(&head.bytes)) {
                batch.push(Ok(lane.line(head)));
            }
            if let Err(error) = self.advance(at) {
                batch.push(Err(error.into()));
            }
        }
        (!idle).then_some(batch)
    }

    fn advance(&mut self, at: usize) -> Result<(), FileError> {
        let lane = &mut self.lanes[at];
        let advanced = lane.advance(self.query.follow);
        if let Some(head) = &lane.head {
            self.heads.push(Reverse((head.at, at)));
        }
        advanced
    }

    /// Reads on in a lane without a line, or has the kernel watch it.
    fn wake(&mut self, at: usize) -> Result<(), FileError> {
        loop {
            let lane = &self.lanes[at];
            let waiting = |only: &Segment| only.watched.is_some() || only.broken;
            let waits = lane.segments.len() == 1
                && lane.segments.front().is_some_and(|only| waiting(only) && !only.ended);
            if lane.head.is_some() || lane.segments.is_empty() || waits {
                return Ok(());
            }
            self.advance(at)?;
            let lane = &mut self.lanes[at];
            let (Some(watches), None) = (&self.watches, &lane.head) else { return Ok(()) };
            let Some(segment) = lane.segments.front_mut() else { return Ok(()) };
            match watches.growth(&segment.log.path) {
                Ok(id) => segment.watched = Some(id),
                // Renamed or removed: the event about that is on its way.
                Err(error) if error.source.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => {
                    segment.broken = true;
                    return Err(error);
                }
            }
            if !segment.has_more()? {
                return Ok(());
            }
            segment.watched = None;
        }
    }

    /// Takes up new files, notes which were renamed or removed.
    fn scan(&mut self) -> Result<(), FileError> {
        self.lanes.retain(|lane| !lane.segments.is_empty() || lane.head.is_some());
        let known = self.lanes.iter_mut().flat_map(|lane| &mut lane.segments);
        known.for_each(|segment| segment.ended = true);
        let mut failed = Ok(());
        for directory in self.directories()? {
            if let Some(watches) = &self.watches {
                watches.directory(&directory)?;
            }
            for log in LogFiles::list(&directory)? {
                if self.query.process.as_ref().is_none_or(|process| *process == log.process) {
                    failed = failed.and(self.take_up(log));
                }
            }
        }
        self.reorder();
        failed
    }

    fn directories(&self) -> Result<Vec<Utf8PathBuf>, FileError> {
        let process = self.query.process.as_ref();
        let tier = self.query.tier.as_ref().or(process.map(|process| &process.tier));
        if let Some(watches) = &self.watches {
            // Tiers come when their first process starts.
            self.files.create_root()?;
            watches.directory(self.files.root())?;
        }
        let mut directories = self.files.tier_directories()?;
        directories.retain(|path| tier.is_none_or(|tier| path.file_name() == Some(tier.as_str())));
        Ok(directories)
    }

    fn take_up(&mut self, log: LogFile) -> Result<(), FileError> {
        let metadata = match std::fs::symlink_metadata(&log.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            metadata => metadata.about("ask about", &log.path)?,
        };
        let identity = super::sparse::Facts::of(&metadata).identity;
        let mut known = self.lanes.iter_mut().flat_map(|lane| &mut lane.segments);
        if let Some(segment) = known.find(|segment| segment.facts.identity == identity) {
            segment.ended = false;
            segment.rename(log.path, log.number);
            return Ok(());
        }
        let matches = |lane: &Lane| lane.process == log.process && lane.stream == log.stream;
        let lane = self.lanes.iter().position(matches).unwrap_or_else(|| {
            self.lanes.push(Lane::of(log.process.clone(), log.stream));
            self.lanes.len() - 1
        });
        if let Some(segment) = Segment::open(log, self.query.follow)? {
            self.lanes[lane].segments.push_back(segment);
        }
        Ok(())
    }

    /// After files came or went: files of a lane by age, chunks by the number of lanes, heads anew.
    fn reorder(&mut self) {
        let chunk = (limits::CHUNKS_BYTES / self.lanes.len().max(1))
            .clamp(limits::CHUNK_BYTES_MIN, limits::CHUNK_BYTES_MAX);
        self.heads.clear();
        for (at, lane) in self.lanes.iter_mut().enumerate() {
            lane.segments.make_contiguous().sort_by_key(|segment| segment.log.number);
            lane.segments.iter_mut().for_each(|segment| segment.set_chunk(chunk));
            self.heads.extend(lane.head.as_ref().map(|head| Reverse((head.at, at))));
        }
    }

    /// Goes to where the answer begins.
    fn position(&mut self) -> Result<(), FileError> {
        let (since, tail) = (self.query.since, self.query.tail_lines);
        if let Some(since) = since {
            for segment in self.lanes.iter_mut().flat_map(|lane| &mut lane.segments) {
                let offset = segment.offset_of(since)?;
                segment.go_to(offset);
            }
        }
        match (since, tail) {
            (Some(_), None) => Ok(()),
            (_, tail) => self.go_to_tail(tail.unwrap_or(TAIL_LINES_DEFAULT)),
        }
    }

    /// Goes to where the last `lines` begin.
    fn go_to_tail(&mut self, lines: usize) -> Result<(), FileError> {
        let wanted = Wanted { lines, since: self.query.since, grep: self.query.grep.as_ref() };
        let Some(starts) = last::starts(&self.lanes, wanted, &self.stop)? else {
            self.ended = true;
            return Ok(());
        };
        for (lane, (segment, offset)) in self.lanes.iter_mut().zip(starts) {
            lane.segments.drain(..segment);
            if let Some(first) = lane.segments.front_mut() {
                first.go_to(offset);
            }
        }
        Ok(())
    }
}
