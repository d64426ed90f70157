//! Sends again what the service did not take. What it does not take this time either goes back to
//! where it was kept.

use camino::Utf8Path;
use groundcrew_core::logs::LogSettings;
use groundcrew_core::logs::limits::{EVENT_AGE_MAX, EVENT_AHEAD_MAX};
use groundcrew_core::logs::retry::Failure;
use groundcrew_core::time::ms;
use tokio::runtime::Handle;

use super::batch::{Builder, Push};
use super::quarantine::{Entry, Quarantine};
use super::sink::{Place, Sink};
use crate::aws::cloudwatch_logs::{LogsCallError, Rejected};
use crate::clock;
use crate::fsx::FileError;

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    pub(super) sent: usize,
    pub(super) refused: usize,
    /// Lines that cannot be read.
    pub(super) damaged: usize,
    /// Why it did not come to its end.
    pub(super) stopped: Option<String>,
}

/// Sends everything that is kept. Blocks, on files and on the network.
pub(super) fn replay(
    sink: &Sink,
    quarantine: &Quarantine,
    settings: &LogSettings,
    runtime: &Handle,
) -> Result<Replayed, FileError> {
    let mut replay = Replay {
        sink,
        quarantine,
        settings,
        runtime,
        builder: Builder::new(sink.format()),
        entries: Vec::new(),
        replayed: Replayed::default(),
    };
    while replay.replayed.stopped.is_none() {
        let Some(path) = quarantine.take()? else { break };
        let done = replay.file(&path)?;
        Quarantine::done(&path, done)?;
        // What was kept again meanwhile is for the next time.
        if replay.replayed.refused > 0 {
            break;
        }
    }
    Ok(replay.replayed)
}

struct Replay<'a> {
    sink: &'a Sink,
    quarantine: &'a Quarantine,
    settings: &'a LogSettings,
    runtime: &'a Handle,
    builder: Builder,
    /// Those in the builder.
    entries: Vec<Entry>,
    replayed: Replayed,
}

impl Replay<'_> {
    /// Sends what is in a file; answers how many of its lines are done.
    fn file(&mut self, path: &Utf8Path) -> Result<usize, FileError> {
        let mut done = 0;
        let mut read = 0;
        for entry in Quarantine::entries(path)? {
            let Some(entry) = entry else {
                self.replayed.damaged += 1;
                read += 1;
                continue;
            };
            if !self.fits(&entry) {
                self.flush()?;
                if self.replayed.stopped.is_some() {
                    return Ok(done);
                }
                done = read;
                self.begin(&entry);
            }
            self.entries.push(entry);
            read += 1;
        }
        self.flush()?;
        Ok(if self.replayed.stopped.is_some() { done } else { read })
    }

    /// Puts an entry into the batch, if it is of the same stream and there is room.
    fn fits(&mut self, entry: &Entry) -> bool {
        let same = |first: &Entry| first.group == entry.group && first.stream == entry.stream;
        self.entries.first().is_some_and(same)
            && self.builder.push(dated(entry), entry.message.as_bytes()) == Push::Taken
    }

    fn begin(&mut self, entry: &Entry) {
        self.builder.begin(&entry.group, &entry.stream);
        // An empty batch takes any event.
        self.builder.push(dated(entry), entry.message.as_bytes());
    }

    fn flush(&mut self) -> Result<(), FileError> {
        let entries = std::mem::take(&mut self.entries);
        let Some(first) = entries.first() else { return Ok(()) };
        let (body, order) = self.builder.finish();
        match self.send(first, body) {
            Ok(rejected) => {
                let from = rejected.from.unwrap_or(entries.len());
                let number = |at: usize| order.as_ref().map_or(at, |order| order[at]);
                let refused = (0..entries.len()).filter(|at| *at < rejected.before || *at >= from);
                let again: Vec<Entry> = refused.map(|at| entries[number(at)].clone()).collect();
                self.replayed.refused += again.len();
                self.replayed.sent += entries.len() - again.len();
                self.quarantine.add(&again)
            }
            Err(error) if error.failure == Failure::Refused && entries.len() > 1 => {
                for entry in entries {
                    self.begin(&entry);
                    self.entries.push(entry);
                    self.flush()?;
                }
                Ok(())
            }
            Err(error) if error.failure == Failure::Refused => {
                self.replayed.refused += 1;
                let reason = error.text;
                let again =
                    entries.into_iter().map(|entry| Entry { reason: reason.clone(), ..entry });
                self.quarantine.add(&again.collect::<Vec<_>>())
            }
            Err(error) => {
                self.replayed.stopped = Some(error.text);
                Ok(())
            }
        }
    }

    fn send(&self, entry: &Entry, body: bytes::Bytes) -> Result<Rejected, LogsCallError> {
        let mut place = Place {
            group: entry.group.clone(),
            stream: entry.stream.clone(),
            create: false,
            retention_days: self.settings.retention_days,
        };
        let sent = self.runtime.block_on(self.sink.send(&place, body.clone()));
        match sent {
            Err(error) if error.failure == Failure::Missing && self.settings.create => {
                place.create = true;
                self.runtime.block_on(self.sink.send(&place, body))
            }
            sent => sent,
        }
    }
}

/// Its own time where the service takes it, else now.
fn dated(entry: &Entry) -> i64 {
    let now = clock::wall().0;
    let limit = |duration| i64::try_from(ms(duration)).unwrap_or(i64::MAX);
    let taken = now - limit(EVENT_AGE_MAX)..=now + limit(EVENT_AHEAD_MAX);
    if taken.contains(&entry.timestamp) { entry.timestamp } else { now }
}
