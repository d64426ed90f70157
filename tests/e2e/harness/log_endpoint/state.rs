//! What the endpoint knows: one lock over everything, held for moments only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::faults::{Dice, Faults};
use super::tally::{Marks, Tally};

const REASONS_MAX: usize = 10;

/// What came, and what was said to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests of any kind.
    pub requests: u64,
    /// `PutLogEvents` among them.
    pub puts: u64,
    /// Batches that were accepted, also when the answer was lost.
    pub accepted: u64,
    /// Batches whose answer was lost.
    pub replies_lost: u64,
    /// Batches that held a line that had come before.
    pub repeated_batches: u64,
    /// Answers with `ThrottlingException`.
    pub throttled: u64,
    /// Answers with 500.
    pub failed: u64,
    /// Answers with a [`super::Refusal`].
    pub refused: u64,
    /// Batches refused for the text of [`Faults::poison`].
    pub poisoned: u64,
    /// Answers with `ResourceNotFoundException`.
    pub not_found: u64,
    /// Calls that asked for a group, a stream or a retention.
    pub creations: u64,
    /// Calls that broke a published limit or were no calls at all: the caller's fault.
    pub invalid: u64,
    /// Why, for the first of them.
    pub invalid_reasons: BTreeSet<String>,
    /// Requests that were read and not answered.
    pub unanswered: u64,
    /// Calls to a stream that was still busy with another one.
    pub overlapping: u64,
    /// Bytes of bodies as they were sent.
    pub wire_bytes: u64,
    /// Bytes of bodies, decompressed.
    pub body_bytes: u64,
    /// Requests whose body was compressed.
    pub gzip: u64,
    /// Events accepted.
    pub events: u64,
    /// Bytes of their messages.
    pub message_bytes: u64,
    /// Events that were no numbered lines.
    pub unnumbered: u64,
    /// Events rejected as older than two weeks.
    pub too_old: u64,
    /// Events rejected as more than two hours ahead.
    pub too_new: u64,
    /// Events rejected as older than the group keeps them.
    pub expired: u64,
    /// Connections so far.
    pub connections: u64,
}

impl Counts {
    /// Notes a call that its caller should not have made.
    pub(super) fn note_invalid(&mut self, reason: &str) {
        self.invalid += 1;
        if self.invalid_reasons.len() < REASONS_MAX {
            self.invalid_reasons.insert(reason.to_owned());
        }
    }
}

/// A log group.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) retention_days: Option<u32>,
    pub(super) streams: BTreeMap<String, Stream>,
}

/// A log stream.
#[derive(Debug, Default)]
pub(super) struct Stream {
    pub(super) events: u64,
    pub(super) kept: Vec<(i64, String)>,
    pub(super) marks: Marks,
    pub(super) in_flight: u32,
}

/// Everything.
#[derive(Debug)]
pub(super) struct State {
    pub(super) faults: Faults,
    pub(super) dice: Dice,
    pub(super) counts: Counts,
    pub(super) groups: BTreeMap<String, Group>,
    pub(super) kept: Vec<String>,
    pub(super) tally: Tally,
    pub(super) accepted_between: Option<(Instant, Instant)>,
    /// The second that is counted for [`Faults::puts_per_second_max`], and the calls in it.
    second: (Instant, u32),
    ending: bool,
}

impl State {
    /// The stream, if somebody has created it.
    pub(super) fn stream(&mut self, group: &str, stream: &str) -> Option<&mut Stream> {
        self.groups.get_mut(group)?.streams.get_mut(stream)
    }

    /// Whether one more call a second is too many.
    pub(super) fn over_rate(&mut self) -> bool {
        let Some(most) = self.faults.puts_per_second_max else { return false };
        if self.second.0.elapsed() >= Duration::from_secs(1) {
            self.second = (Instant::now(), 0);
        }
        self.second.1 += 1;
        self.second.1 > most
    }
}

/// The state, shared by the threads of the endpoint.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    pub(super) fn new() -> Self {
        let state = State {
            faults: Faults::default(),
            dice: Dice::new(),
            counts: Counts::default(),
            groups: BTreeMap::new(),
            kept: Vec::new(),
            tally: Tally::new(),
            accepted_between: None,
            second: (Instant::now(), 0),
            ending: false,
        };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A thread that panicked has failed its test anyway; the others may end in order.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.lock())
    }

    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let answer = change(&mut self.lock());
        self.changed.notify_all();
        answer
    }

    /// Whether connections end, so that nothing waits.
    pub(super) fn set_ending(&self, ending: bool) {
        self.change(|state| state.ending = ending);
    }

    /// Waits for so long, or until connections end.
    pub(super) fn pause(&self, duration: Duration) {
        if duration.is_zero() {
            return;
        }
        let waited = self.changed.wait_timeout_while(self.lock(), duration, |s| !s.ending);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits as long as requests are not answered. Whether it had to.
    pub(super) fn hang(&self) -> bool {
        let mut state = self.lock();
        if !state.faults.hang {
            return false;
        }
        state.counts.unanswered += 1;
        let waited = self.changed.wait_while(state, |state| state.faults.hang && !state.ending);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        true
    }
}
