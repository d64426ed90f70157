//! What waits to be sent to X-Ray: how much, when it goes, and what becomes of it when it is not
//! taken. Segments are worth less than log lines: they are kept in memory, and when there are too
//! many of them the oldest go, counted.

use std::collections::VecDeque;
use std::time::Duration;

use crate::logs::retry::{Failure, Retry};
use crate::status::PipelineStatus;
use crate::time::{Moment, Now, Wall, ms};

/// Documents of one request; X-Ray says "Exceeding maximum segment count: 50" to more.
pub const BATCH_DOCUMENTS_MAX: usize = 50;
/// Bytes of the documents of one request. X-Ray names no limit: a request stays small all the same.
pub const BATCH_BYTES_MAX: usize = 256 * 1024;
/// Bytes of one document (X-Ray's developer guide: "A segment document can be up to 64 kB").
pub const DOCUMENT_BYTES_MAX: usize = 64 * 1024;
/// Documents that wait, and their bytes.
pub const WAITING_MAX: usize = 2000;
/// Bytes of documents that wait.
pub const WAITING_BYTES_MAX: usize = 4 << 20;
/// How long a document waits for company.
pub const WAIT: Duration = Duration::from_secs(2);
/// How long it is worth sending.
pub const AGE_MAX: Duration = Duration::from_mins(10);
/// How often a document is sent that X-Ray did not process and may process later.
const ATTEMPTS_MAX: u32 = 3;
/// Documents a second that are taken from applications: above what an account may send as a whole
/// without asking for more (2,600 in most regions), nothing arrives anyway.
pub const RELAYED_PER_SECOND_MAX: u32 = 2600;
/// What the rate in `status` is taken over.
const RATE_OVER: Duration = Duration::from_secs(10);
const RATE_SAMPLES_MAX: usize = 512;

const _: () = assert!(DOCUMENT_BYTES_MAX <= BATCH_BYTES_MAX);
const _: () = assert!(BATCH_BYTES_MAX <= WAITING_BYTES_MAX);

/// A segment or subsegment, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its id, by which X-Ray speaks of it.
    pub id: String,
    /// JSON.
    pub text: String,
}

/// A document that X-Ray did not take, inside an answer that is otherwise good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unprocessed {
    /// Whose; `None` where X-Ray could not even read that: one of those that were sent.
    pub id: Option<String>,
    /// Such as `ThrottledException`.
    pub code: String,
}

impl Unprocessed {
    /// Whether it may be taken the next time.
    fn passes(&self) -> bool {
        ["Throttl", "Unavailable", "Internal", "Timeout"]
            .iter()
            .any(|word| self.code.contains(word))
    }
}

#[derive(Debug, Clone)]
struct Waiting {
    since: Moment,
    attempts: u32,
    document: Document,
}

/// The queue, and what was counted since the agent began.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    /// What is on its way.
    flight: Vec<Waiting>,
    /// So many at the front go one by one: one of them spoilt a whole request.
    alone: usize,
    retry: Retry,
    sent: u64,
    sent_bytes: u64,
    dropped: u64,
    rejected: u64,
    last_ok: Option<Wall>,
    reason: Option<String>,
    recent: VecDeque<(Moment, u64)>,
    /// The second of the last document that was relayed, and how many there were in it.
    relayed: (u64, u32),
}

impl Queue {
    /// Takes a document; for room, the oldest go.
    pub fn push(&mut self, now: Moment, document: Document) {
        if document.text.len() > DOCUMENT_BYTES_MAX {
            self.dropped += 1;
            return;
        }
        self.waiting_bytes += document.text.len();
        self.waiting.push_back(Waiting { since: now, attempts: 0, document });
        self.make_room();
    }

    /// Counts what never became a document.
    pub fn drop_many(&mut self, count: u64) {
        self.dropped = self.dropped.saturating_add(count);
    }

    /// Whether one more document of an application is taken in this second. One that is not is
    /// counted.
    pub fn admits_relayed(&mut self, now: Moment) -> bool {
        let second = now.0 / 1000;
        let (known, count) = self.relayed;
        let count = if known == second { count } else { 0 };
        let admits = count < RELAYED_PER_SECOND_MAX;
        self.relayed = (second, count + u32::from(admits));
        self.dropped += u64::from(!admits);
        admits
    }

    /// When the next request is to be made; `None`: one is on its way, or nothing waits.
    #[must_use]
    pub fn due(&self) -> Option<Moment> {
        if !self.flight.is_empty() {
            return None;
        }
        let oldest = self.waiting.front()?;
        let full = self.waiting.len() >= BATCH_DOCUMENTS_MAX;
        let again = full || oldest.attempts > 0 || self.alone > 0;
        let due = if again { oldest.since } else { oldest.since.plus(WAIT) };
        Some(self.retry.until().map_or(due, |until| until.max(due)))
    }

    /// The documents of the next request, if it is due; with `all`, also when they could wait.
    pub fn take(&mut self, now: Moment, all: bool) -> Option<Vec<String>> {
        self.forget_old(now);
        let due = self.due()?;
        let waits = self.retry.until().is_some_and(|until| until > now);
        if due > now && (!all || waits) {
            return None;
        }
        let most = if self.alone > 0 { 1 } else { BATCH_DOCUMENTS_MAX };
        self.alone = self.alone.saturating_sub(1);
        let mut bytes = 0;
        while let Some(next) = self.waiting.front() {
            bytes += next.document.text.len();
            if self.flight.len() == most || bytes > BATCH_BYTES_MAX {
                break;
            }
            self.flight.extend(self.waiting.pop_front());
        }
        self.waiting_bytes -= self.flight.iter().map(|one| one.document.text.len()).sum::<usize>();
        Some(self.flight.iter().map(|one| one.document.text.clone()).collect())
    }

    /// The request was accepted, but for these.
    pub fn accepted(&mut self, now: Now, unprocessed: &[Unprocessed]) {
        self.retry.succeeded();
        self.reason = None;
        let mut again = Vec::new();
        let mut sent = 0;
        for mut one in std::mem::take(&mut self.flight) {
            let id = Some(&one.document.id);
            match unprocessed.iter().find(|refused| refused.id.as_ref() == id) {
                None => {
                    sent += 1;
                    self.sent_bytes += one.document.text.len() as u64;
                }
                Some(refused) if refused.passes() && one.attempts + 1 < ATTEMPTS_MAX => {
                    one.attempts += 1;
                    again.push(one);
                }
                Some(_) => self.rejected += 1,
            }
        }
        // Which they were is not known: they look like those that were taken.
        let nameless = unprocessed.iter().filter(|refused| refused.id.is_none()).count() as u64;
        let nameless = nameless.min(sent);
        sent -= nameless;
        self.rejected += nameless;
        if let Some(refused) = unprocessed.iter().find(|refused| refused.passes()) {
            // It can take no more now: the others wait too.
            self.retry.failed(now.at, Failure::Throttled, now.at.0);
            self.reason = Some(format!("X-Ray did not process all segments: {}", refused.code));
        }
        self.put_back(again);
        self.sent += sent;
        if sent > 0 {
            self.last_ok = Some(now.wall);
            self.recent.push_back((now.at, sent));
            if self.recent.len() > RATE_SAMPLES_MAX {
                self.recent.pop_front();
            }
        }
    }

    /// The request was not accepted. `random` is any number.
    pub fn failed(&mut self, now: Moment, failure: Failure, reason: String, random: u64) {
        let flight = std::mem::take(&mut self.flight);
        self.reason = Some(reason);
        if failure != Failure::Refused {
            self.retry.failed(now, failure, random);
            self.put_back(flight);
        } else if flight.len() > 1 {
            // One of them is bad, and the others should not pay for it.
            self.alone = self.alone.saturating_add(flight.len());
            self.put_back(flight);
        } else {
            self.rejected += flight.len() as u64;
        }
    }

    /// Whether nothing waits and nothing is on its way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.flight.is_empty()
    }

    /// How it is, as the pipeline `traces`.
    #[must_use]
    pub fn status(&self, now: Moment) -> PipelineStatus {
        let all = || self.flight.iter().chain(&self.waiting);
        let recent = self.recent.iter().filter(|(at, _)| now.since(*at) < RATE_OVER);
        PipelineStatus {
            name: "traces".to_owned(),
            sent_per_second: recent.map(|(_, sent)| sent).sum::<u64>() / RATE_OVER.as_secs(),
            sent: self.sent,
            sent_bytes: self.sent_bytes,
            backlog_bytes: all().map(|one| one.document.text.len() as u64).sum(),
            oldest_ms: all().map(|one| one.since).min().map(|oldest| ms(now.since(oldest))),
            last_ok: self.last_ok,
            dropped: self.dropped,
            rejected: self.rejected,
            reason: self.reason.clone(),
        }
    }

    fn put_back(&mut self, again: Vec<Waiting>) {
        for one in again.into_iter().rev() {
            self.waiting_bytes += one.document.text.len();
            self.waiting.push_front(one);
        }
        self.make_room();
    }

    fn make_room(&mut self) {
        while self.waiting.len() > WAITING_MAX || self.waiting_bytes > WAITING_BYTES_MAX {
            self.drop_oldest();
        }
    }

    fn forget_old(&mut self, now: Moment) {
        let is_old = |one: &Waiting| now.since(one.since) > AGE_MAX;
        while self.waiting.front().is_some_and(is_old) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some(oldest) = self.waiting.pop_front() else { return };
        self.waiting_bytes -= oldest.document.text.len();
        self.alone = self.alone.saturating_sub(1);
        self.dropped += 1;
    }
}

#[cfg(test)]
mod tests;
