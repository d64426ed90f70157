//! The streams that sources feed: what is ready, what is under way, and whose turn it is.

use bytes::Bytes;
use groundcrew_core::logs::limits::BATCH_EVENTS_MAX;
use groundcrew_core::logs::pace::Pace;
use groundcrew_core::logs::retry::Retry;
use groundcrew_core::time::Moment;

use super::checkpoint::Count;
use super::reading::{Position, Refused};
use super::source::SourceId;

/// Numbers a stream while the agent runs.
pub(super) type StreamId = u32;

/// A part of a batch: what became of a stretch of one source.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) source: SourceId,
    pub(super) from: Position,
    pub(super) to: Position,
    /// Events in the batch.
    pub(super) events: u64,
    /// Left out by a rule.
    pub(super) dropped: Count,
    /// Gone before it was read: the keeper counts it too.
    pub(super) gone: Count,
    /// Pieces of lines that seem to be of the embedded metric format.
    pub(super) emf_cut: u64,
    pub(super) refused_bytes: u64,
    pub(super) refused: Vec<Refused>,
}

/// A batch that is ready to be sent.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) body: Bytes,
    pub(super) events: usize,
    /// In the order in which they are in the batch: which event of the parts it is.
    pub(super) order: Option<Vec<usize>>,
    pub(super) parts: Vec<Part>,
}

/// One stream of one group. One request at a time, so that lines stay in order; the next batch is
/// made up while it is under way.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) group: String,
    pub(super) name: String,
    pub(super) sources: Vec<SourceId>,
    pub(super) pace: Pace,
    pub(super) retry: Retry,
    /// The batch to be sent, or being sent.
    pub(super) batch: Option<Batch>,
    /// The batch behind it.
    pub(super) next: Option<Batch>,
    pub(super) is_sending: bool,
    /// What is being sent was given up: its answer says nothing about what is here now.
    pub(super) is_stale: bool,
    /// The last attempt found that there is no such stream.
    pub(super) is_missing: bool,
    /// Events of a batch, while the one is looked for that the service does not take.
    pub(super) events_max: usize,
    /// When it was due and nothing could be taken.
    pub(super) tried: Option<Moment>,
    /// When it last had its turn: the stream that waits longest is next.
    pub(super) turn: u64,
}

impl Stream {
    pub(super) fn new(group: String, name: String) -> Self {
        Self {
            group,
            name,
            sources: Vec::new(),
            pace: Pace::default(),
            retry: Retry::default(),
            batch: None,
            next: None,
            is_sending: false,
            is_stale: false,
            is_missing: false,
            events_max: BATCH_EVENTS_MAX,
            tried: None,
            turn: 0,
        }
    }

    /// Whether another batch may be made up.
    pub(super) fn has_room(&self) -> bool {
        // Behind one that fails nothing is made up: it would only be held.
        self.batch.is_none() || (self.next.is_none() && self.is_sending && self.is_well())
    }

    fn is_well(&self) -> bool {
        self.retry.until().is_none() && self.events_max == BATCH_EVENTS_MAX
    }

    /// Whether its batch may be sent now; `Err`: not before then.
    pub(super) fn may_send(&self, now: Moment) -> Result<bool, Moment> {
        if self.batch.is_none() || self.is_sending {
            return Ok(false);
        }
        match self.retry.until() {
            Some(until) if until > now => Err(until),
            _ => Ok(true),
        }
    }

    /// Bytes that it holds in memory.
    pub(super) fn held(&self) -> usize {
        [&self.batch, &self.next].into_iter().flatten().map(|batch| batch.body.len()).sum()
    }

    /// A batch is ready.
    pub(super) fn push(&mut self, batch: Batch) {
        if self.batch.is_none() {
            self.batch = Some(batch);
        } else {
            self.next = Some(batch);
        }
    }

    /// The batch was dealt with.
    pub(super) fn pop(&mut self) -> Option<Batch> {
        let batch = self.batch.take();
        self.batch = self.next.take();
        batch
    }

    /// Gives up both batches: their parts are to be read again.
    pub(super) fn give_up(&mut self) -> Vec<Part> {
        self.is_stale = self.is_sending;
        let batches = [self.batch.take(), self.next.take()];
        batches.into_iter().flatten().flat_map(|batch| batch.parts).collect()
    }
}
