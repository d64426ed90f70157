//! Minutes that wait to be sent, and the requests they go in: one a minute while all is well, at a
//! moment of the minute that is the host's own; after an outage a few full ones, apart from each
//! other. Bounded by age and by bytes: the oldest go first, and are counted.
//!
//! What a request held is sent again as it was: nothing is counted twice unless its answer was
//! lost. A datum that is refused is found by halving, and is the only one that goes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::minute::{MINUTE_MS, Minute};
use super::series::{Datum, Series};
use crate::logs::retry::{Failure, Retry};
use crate::restart::jittered;
use crate::time::{Moment, Now, Wall};

/// Data of one request (API reference of PutMetricData).
pub const DATA_MAX: usize = 1000;
/// Bytes of one request before compression: less than the 1 MB that is taken, for its head.
pub const REQUEST_BYTES_MAX: u64 = 900_000;
/// How long something waits before it is given up.
pub const AGE_MAX: Duration = Duration::from_hours(2);
/// Bytes that wait, as counted by [`Datum::bytes`].
pub const BYTES_MAX: u64 = 8 << 20;
/// How far a timestamp may be from the clock: two weeks and two hours, less what the clocks of the
/// host and of the service may differ by.
const PAST_MAX_MS: i64 = (14 * 24 - 1) * 3_600_000;
const FUTURE_MAX_MS: i64 = 2 * 3_600_000 - 300_000;
/// The part of a minute that the fleet's requests are spread over. What is left is for the request.
const SPREAD_MS: u64 = 50_000;
/// Pause between two requests of a backlog, and after a failure at least.
const PAUSE: Duration = Duration::from_secs(2);
/// When what a former agent left is sent, at the latest.
const RESTORED_WITHIN_MS: u64 = 10_000;
/// Refusals in a row after which it is not some datum that is wrong but all of them: more than are
/// needed to find one among [`DATA_MAX`].
const REFUSALS_QUICK: u32 = 12;
/// For how long a series that was refused is not sent again: finding it takes twenty requests.
const REFUSED_FOR: Duration = Duration::from_hours(1);
/// Series that are remembered as refused.
const REFUSED_MAX: usize = 100;

/// Something that waits.
#[derive(Debug, Clone)]
struct Waiting {
    datum: Arc<Datum>,
    since: Moment,
}

/// What became of everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counts {
    /// Data that were accepted.
    pub sent: u64,
    /// Bytes of them, as counted by [`Datum::bytes`].
    pub sent_bytes: u64,
    /// Requests that were made.
    pub requests: u64,
    /// Data that were given up: too old, of another time, or for room.
    pub dropped: u64,
    /// Data that the service refused.
    pub rejected: u64,
    /// Bytes that wait.
    pub backlog_bytes: u64,
    /// Since when the oldest waits.
    pub oldest: Option<Moment>,
    /// When something was accepted last.
    pub last_ok: Option<Wall>,
    /// Why nothing is accepted.
    pub reason: Option<String>,
    /// Data that the last request got in, and how long it was after the one before.
    pub last: (u64, Duration),
}

/// What waits.
#[derive(Debug)]
pub struct Outbox {
    /// Of requests that were not accepted, as they were or halved. They go first.
    again: VecDeque<Vec<Waiting>>,
    queue: VecDeque<Waiting>,
    flight: Option<Vec<Waiting>>,
    bytes: u64,
    retry: Retry,
    due: Option<Moment>,
    /// Somebody waits for the end of it.
    is_hurried: bool,
    refusals: u32,
    /// Series that were refused by themselves, and when.
    refused: BTreeMap<Arc<Series>, Moment>,
    /// Where in a minute this host sends.
    offset: Duration,
    random: u64,
    accepted: Option<Moment>,
    counts: Counts,
}

impl Outbox {
    /// Empty. `seed` is any number of the host's own.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut outbox = Self {
            again: VecDeque::new(),
            queue: VecDeque::new(),
            flight: None,
            bytes: 0,
            retry: Retry::default(),
            due: None,
            is_hurried: false,
            refusals: 0,
            refused: BTreeMap::new(),
            offset: Duration::ZERO,
            random: seed,
            accepted: None,
            counts: Counts::default(),
        };
        outbox.offset = Duration::from_millis(outbox.random() % SPREAD_MS);
        outbox
    }

    /// Takes a minute in.
    pub fn push(&mut self, now: Now, minute: Minute) {
        self.refused.retain(|_, since| now.at.since(*since) < REFUSED_FOR);
        for datum in minute.data {
            if self.refused.contains_key(&datum.series) {
                self.counts.rejected += 1;
            } else {
                self.enqueue(Arc::new(datum), now.at);
            }
        }
        let due = if self.is_hurried { now.at } else { now.at.plus(self.offset) };
        // A pause after a failure is not cut short by more to send.
        let due = self.due.map_or(due, |before| before.min(due));
        self.due = Some(self.retry.until().map_or(due, |until| until.max(due)));
        self.bound(now);
    }

    /// Takes in what a former agent left. What is not valid is not taken, and counted.
    pub fn restore(&mut self, now: Now, data: Vec<Datum>) {
        for datum in data {
            if !datum.is_valid() {
                self.note_dropped(1);
                continue;
            }
            let age_ms = now.wall.0.saturating_sub(datum.at.0).saturating_sub(MINUTE_MS);
            let since = now.at.0.saturating_sub(u64::try_from(age_ms).unwrap_or(0));
            self.enqueue(Arc::new(datum), Moment(since));
        }
        let due = now.at.plus(Duration::from_millis(self.random() % RESTORED_WITHIN_MS));
        self.due = Some(self.due.map_or(due, |before| before.min(due)));
        self.bound(now);
    }

    /// Sends what there is as soon as that is possible.
    pub fn hurry(&mut self, now: Now) {
        self.is_hurried = true;
        self.due = self.due.map(|due| due.min(self.retry.until().unwrap_or(now.at)));
    }

    /// Stops hurrying: nobody waits any more.
    pub fn calm(&mut self) {
        self.is_hurried = false;
    }

    /// Counts what others gave up.
    pub fn note_dropped(&mut self, more: u64) {
        self.counts.dropped = self.counts.dropped.saturating_add(more);
    }

    /// The next request, when it is due. Its answer is to be told by [`Self::answered`].
    pub fn request(&mut self, now: Now) -> Option<Vec<Arc<Datum>>> {
        if self.flight.is_some() || self.due.is_none_or(|due| now.at < due) {
            return None;
        }
        self.bound(now);
        self.drop_other_times(now);
        let batch = match self.again.pop_front() {
            Some(batch) => batch,
            None => self.fill(),
        };
        if batch.is_empty() {
            self.due = None;
            return None;
        }
        self.counts.requests += 1;
        let data = batch.iter().map(|waiting| Arc::clone(&waiting.datum)).collect();
        self.flight = Some(batch);
        Some(data)
    }

    /// What became of the request.
    pub fn answered(&mut self, now: Now, answer: Result<(), (Failure, String)>) {
        let Some(batch) = self.flight.take() else { return };
        match answer {
            Ok(()) => self.accepted(now, batch),
            Err((Failure::Refused, reason)) => self.refused(now, batch, reason),
            Err((failure, reason)) => {
                self.again.push_front(batch);
                self.refusals = 0;
                self.failed(now, failure, reason);
            }
        }
        self.bound(now);
    }

    /// When there is something to do; `None`: when something happens.
    #[must_use]
    pub fn wake(&self) -> Option<Moment> {
        self.due.filter(|_| self.flight.is_none())
    }

    /// Whether nothing waits, and nothing is on its way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.flight.is_none() && self.again.is_empty() && self.queue.is_empty()
    }

    /// Everything that was not accepted, oldest first.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Arc<Datum>> {
        let all = self.flight.iter().flatten().chain(self.again.iter().flatten());
        all.chain(&self.queue).map(|waiting| Arc::clone(&waiting.datum)).collect()
    }

    /// What became of everything.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let all = self.flight.iter().flatten().chain(self.again.iter().flatten());
        let first = all.chain(self.queue.front()).map(|waiting| waiting.since).min();
        Counts { backlog_bytes: self.bytes, oldest: first, ..self.counts.clone() }
    }

    fn enqueue(&mut self, datum: Arc<Datum>, since: Moment) {
        self.bytes += datum.bytes();
        self.queue.push_back(Waiting { datum, since });
    }

    /// As much of the queue as one request holds.
    fn fill(&mut self) -> Vec<Waiting> {
        let mut bytes = 0;
        let fits = |waiting: &&Waiting| {
            bytes += waiting.datum.bytes();
            bytes <= REQUEST_BYTES_MAX
        };
        let count = self.queue.iter().take(DATA_MAX).take_while(fits).count();
        self.queue.drain(..count).collect()
    }

    fn accepted(&mut self, now: Now, batch: Vec<Waiting>) {
        let count = batch.len() as u64;
        let bytes = self.forget(&batch);
        self.counts.sent_bytes = self.counts.sent_bytes.saturating_add(bytes);
        self.retry.succeeded();
        self.refusals = 0;
        let pause = self.accepted.map_or(Duration::ZERO, |before| now.at.since(before));
        self.accepted = Some(now.at);
        self.counts.sent = self.counts.sent.saturating_add(count);
        self.counts.last_ok = Some(now.wall);
        self.counts.last = (count, pause);
        self.counts.reason = None;
        self.go_on(now);
    }

    /// When what is left is due: a minute that has just come waits for its moment.
    fn go_on(&mut self, now: Now) {
        let soon = if self.is_hurried { now.at } else { now.at.plus(self.pause()) };
        let front = self.queue.front();
        self.due = if self.again.is_empty() && !self.is_hurried {
            front.map(|front| front.since.plus(self.offset).max(soon))
        } else {
            (!self.again.is_empty() || front.is_some()).then_some(soon)
        };
    }

    fn refused(&mut self, now: Now, mut batch: Vec<Waiting>, reason: String) {
        self.refusals = self.refusals.saturating_add(1);
        if let [one] = &*batch {
            if self.refused.len() < REFUSED_MAX {
                self.refused.insert(Arc::clone(&one.datum.series), now.at);
            }
            self.forget(&batch);
            self.counts.rejected += 1;
        } else {
            let half = batch.split_off(batch.len() / 2);
            self.again.push_front(half);
            self.again.push_front(batch);
        }
        if self.refusals > REFUSALS_QUICK {
            return self.failed(now, Failure::Denied, reason);
        }
        self.counts.reason = Some(reason);
        self.go_on(now);
    }

    fn failed(&mut self, now: Now, failure: Failure, reason: String) {
        let random = self.random();
        self.retry.failed(now.at, failure, random);
        let pause = if self.is_hurried { Duration::ZERO } else { self.pause() };
        let until = self.retry.until().unwrap_or(now.at);
        self.due = Some(until.max(now.at.plus(pause)));
        self.counts.reason = Some(reason);
    }

    /// Gives up what is too old and what there is no room for.
    fn bound(&mut self, now: Now) {
        while let Some(oldest) = self.oldest() {
            let is_old = now.at.since(oldest) >= AGE_MAX;
            if !is_old && self.bytes <= BYTES_MAX {
                return;
            }
            let gone = match self.again.front_mut() {
                Some(batch) => {
                    let gone = batch.remove(0);
                    if batch.is_empty() {
                        self.again.pop_front();
                    }
                    Some(gone)
                }
                None => self.queue.pop_front(),
            };
            let Some(gone) = gone else { return };
            self.forget(&[gone]);
            self.note_dropped(1);
        }
    }

    /// Since when the first that may be given up waits; what is on its way is not.
    fn oldest(&self) -> Option<Moment> {
        let again = self.again.front().and_then(|batch| batch.first());
        again.or(self.queue.front()).map(|waiting| waiting.since)
    }

    /// Gives up what the service would refuse for its timestamp: the clock has jumped.
    fn drop_other_times(&mut self, now: Now) {
        let within = |waiting: &Waiting| {
            let age_ms = now.wall.0.saturating_sub(waiting.datum.at.0);
            (-FUTURE_MAX_MS..=PAST_MAX_MS).contains(&age_ms)
        };
        let mut gone = Vec::new();
        for batch in &mut self.again {
            gone.extend(batch.extract_if(.., |waiting| !within(waiting)));
        }
        self.again.retain(|batch| !batch.is_empty());
        let (kept, more): (Vec<_>, Vec<_>) = self.queue.drain(..).partition(within);
        self.queue = kept.into();
        gone.extend(more);
        self.forget(&gone);
        self.note_dropped(gone.len() as u64);
    }

    /// Answers how many bytes went.
    fn forget(&mut self, gone: &[Waiting]) -> u64 {
        let bytes: u64 = gone.iter().map(|waiting| waiting.datum.bytes()).sum();
        self.bytes = self.bytes.saturating_sub(bytes);
        bytes
    }

    fn pause(&mut self) -> Duration {
        let random = self.random();
        jittered(PAUSE, random)
    }

    /// The next of a sequence without a pattern (splitmix64).
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

const _: () = assert!(REQUEST_BYTES_MAX < 1_000_000 && REQUEST_BYTES_MAX < BYTES_MAX);
const _: () = assert!(1 << REFUSALS_QUICK > DATA_MAX);

#[cfg(test)]
mod tests;
