//! What waits for one target: deduplicated, rate limited, in order, retried, bounded. Serializable,
//! because an alarm that was decided just before a crash is still one after it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::limits::{AGE_MAX, PENDING_MAX, RECENT_MAX, RETRY_AFTER_MAX, RETRY_MAX, RETRY_MIN};
use crate::restart::jittered;
use crate::time::{Moment, Now, Wall, ms};

/// So many messages in so much time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// As many at once, too.
    pub count: u32,
    /// In this time.
    pub per: Duration,
}

/// How a queue treats what comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// More messages than that are folded together.
    pub rate: Rate,
    /// The same is not told twice within this time.
    pub dedupe: Duration,
}

/// How a delivery went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The other side has it.
    Sent,
    /// It may work later.
    Failed {
        /// Why not now.
        reason: String,
        /// The pause that the other side asks for.
        retry_after: Option<Duration>,
    },
    /// It will never work: the other side does not take it.
    Refused(String),
}

/// What waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending<T> {
    /// Its number in its queue; grows.
    pub id: u64,
    /// When it came.
    pub queued: Moment,
    /// Events of the same subject that were not told since the one before.
    pub suppressed: u32,
    /// Events of any subject that were over the rate before this one.
    pub more: u32,
    /// What it is.
    pub what: T,
}

/// When something was told, and how often not since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    at: Moment,
    suppressed: u32,
}

/// Those over the rate: the newest, and how many there are.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Folded<T> {
    key: String,
    what: T,
    count: u32,
}

/// What became of everything, since the agent began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Accepted by the other side.
    pub sent: u64,
    /// Refused by it, or too old.
    pub failed: u64,
    /// Not sent of their own: told already, or over the rate.
    pub suppressed: u64,
    /// Given up because too much waited.
    pub dropped: u64,
}

/// What waits for one target.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(bound = "T: Serialize + serde::de::DeserializeOwned")]
pub struct Queue<T> {
    next: u64,
    pending: VecDeque<Pending<T>>,
    recent: BTreeMap<String, Told>,
    /// Messages that may go at once, in thousandths.
    tokens: Option<u64>,
    filled: Moment,
    folded: Option<Folded<T>>,
    failures: u32,
    not_before: Moment,
    #[serde(skip)]
    in_flight: Option<u64>,
    #[serde(skip)]
    counts: Counts,
    #[serde(skip)]
    last_ok: Option<Wall>,
    reason: Option<String>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            next: 1,
            pending: VecDeque::new(),
            recent: BTreeMap::new(),
            tokens: None,
            filled: Moment::default(),
            folded: None,
            failures: 0,
            not_before: Moment::default(),
            in_flight: None,
            counts: Counts::default(),
            last_ok: None,
            reason: None,
        }
    }
}

impl<T: Clone> Queue<T> {
    /// Takes something in that is told once in a while for each `key`. Answers whether it
    /// is news.
    pub fn tell(&mut self, now: Moment, pace: Pace, key: &str, what: T) -> bool {
        if let Some(told) = self.recent.get_mut(key)
            && now.since(told.at) < pace.dedupe
        {
            told.suppressed = told.suppressed.saturating_add(1);
            self.counts.suppressed += 1;
            return false;
        }
        if !self.take_token(now, pace.rate) {
            let before = self.folded.take().map_or(0, |before| before.count);
            let (key, count) = (key.to_owned(), before.saturating_add(1));
            self.folded = Some(Folded { key, what, count });
            self.counts.suppressed += 1;
            return true;
        }
        let before = self.recent.insert(key.to_owned(), Told { at: now, suppressed: 0 });
        self.bound_recent();
        let suppressed = before.map_or(0, |before| before.suppressed);
        self.push(now, suppressed, 0, what);
        true
    }

    /// Takes something in that is always told, such as the end of alarms that were. What is told
    /// of any of `ended` after it is news.
    pub fn tell_end(&mut self, now: Moment, ended: &[String], what: T) {
        let before = ended.iter().filter_map(|key| self.recent.remove(key));
        let suppressed = before.fold(0_u32, |sum, before| sum.saturating_add(before.suppressed));
        // A beginning, told after its end, would never end.
        let folded = self.folded.take_if(|folded| ended.contains(&folded.key));
        let more = folded.map_or(0, |folded| folded.count.saturating_sub(1));
        self.push(now, suppressed, more, what);
    }

    /// What is to be delivered now, if anything; [`Self::answered`] says how it went.
    pub fn next(&mut self, now: Moment, pace: Pace) -> Option<Pending<T>> {
        self.unfold(now, pace.rate);
        while self.in_flight.is_none()
            && self.pending.front().is_some_and(|oldest| now.since(oldest.queued) >= AGE_MAX)
        {
            self.pending.pop_front();
            self.counts.failed += 1;
        }
        if self.in_flight.is_some() || now < self.not_before {
            return None;
        }
        let next = self.pending.front()?.clone();
        self.in_flight = Some(next.id);
        Some(next)
    }

    /// How the delivery of `id` went. `jitter` is any number.
    pub fn answered(&mut self, now: Now, id: u64, answer: Answer, jitter: u64) {
        if self.in_flight != Some(id) {
            return;
        }
        self.in_flight = None;
        match answer {
            Answer::Sent => {
                self.end(id);
                self.counts.sent += 1;
                self.last_ok = Some(now.wall);
                (self.failures, self.reason) = (0, None);
                self.not_before = now.at;
            }
            Answer::Refused(reason) => {
                self.end(id);
                self.counts.failed += 1;
                self.reason = Some(reason);
                (self.failures, self.not_before) = (0, now.at);
            }
            Answer::Failed { reason, retry_after } => {
                self.failures = self.failures.saturating_add(1);
                self.reason = Some(reason);
                let asked = retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
                self.not_before = now.at.plus(pause(self.failures, jitter).max(asked));
            }
        }
    }

    /// When there is something to do without news.
    #[must_use]
    pub fn next_wake(&self, pace: Pace) -> Option<Moment> {
        let unfolds = self.folded.as_ref().map(|_| self.next_token(pace.rate));
        let waits = self.in_flight.is_none() && !self.pending.is_empty();
        let sends = waits.then_some(self.not_before);
        [unfolds, sends].into_iter().flatten().min()
    }

    /// Goes on after a restart of the agent. After one of the host, its moments mean nothing.
    pub fn recover(&mut self, now: Moment, same_boot: bool) {
        if same_boot {
            return;
        }
        self.pending.iter_mut().for_each(|pending| pending.queued = now);
        (self.tokens, self.filled, self.not_before) = (None, now, now);
        self.recent.clear();
    }

    /// What waits, oldest first.
    pub fn pending(&self) -> impl Iterator<Item = &Pending<T>> {
        self.pending.iter()
    }

    /// What became of everything.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// When the other side last accepted something, and why it did not since.
    #[must_use]
    pub fn standing(&self) -> (Option<Wall>, Option<&str>) {
        (self.last_ok, self.reason.as_deref())
    }

    fn push(&mut self, now: Moment, suppressed: u32, more: u32, what: T) {
        if self.pending.len() == PENDING_MAX {
            // What is being delivered stays, or its answer would be about nothing.
            let oldest = usize::from(self.in_flight.is_some());
            self.pending.remove(oldest);
            self.counts.dropped += 1;
        }
        let id = self.next;
        self.next += 1;
        self.pending.push_back(Pending { id, queued: now, suppressed, more, what });
    }

    fn end(&mut self, id: u64) {
        self.pending.retain(|pending| pending.id != id);
    }

    fn bound_recent(&mut self) {
        if self.recent.len() > RECENT_MAX {
            let oldest = self.recent.iter().min_by_key(|(_, told)| told.at);
            let oldest = oldest.map(|(key, _)| key.clone());
            oldest.map(|key| self.recent.remove(&key));
        }
    }

    /// Lets those over the rate be told together, as soon as there is room for one more.
    fn unfold(&mut self, now: Moment, rate: Rate) {
        if self.folded.is_some()
            && self.take_token(now, rate)
            && let Some(Folded { what, count, .. }) = self.folded.take()
        {
            self.push(now, 0, count.saturating_sub(1), what);
        }
    }

    fn take_token(&mut self, now: Moment, rate: Rate) -> bool {
        let full = u64::from(rate.count) * 1000;
        let per_ms = ms(rate.per).max(1);
        let come = u128::from(full) * u128::from(ms(now.since(self.filled))) / u128::from(per_ms);
        let come = u64::try_from(come).unwrap_or(full);
        let tokens = self.tokens.unwrap_or(full).saturating_add(come).min(full);
        // A look that brought nothing must not forget the time that has passed.
        if come > 0 || self.tokens.is_none() {
            self.filled = now;
        }
        let taken = tokens >= 1000;
        self.tokens = Some(if taken { tokens - 1000 } else { tokens });
        taken
    }

    fn next_token(&self, rate: Rate) -> Moment {
        let missing = 1000_u64.saturating_sub(self.tokens.unwrap_or(1000));
        let full = (u64::from(rate.count) * 1000).max(1);
        let wait = (missing * ms(rate.per).max(1)).div_ceil(full);
        // A thousandth that is not whole comes with the next millisecond.
        self.filled.plus(Duration::from_millis(wait + 1))
    }
}

/// The pause after so many failures in a row, at least one.
fn pause(failures: u32, jitter: u64) -> Duration {
    let factor = 1_u32 << failures.saturating_sub(1).min(16);
    jittered(RETRY_MIN.saturating_mul(factor).min(RETRY_MAX), jitter)
}
