//! What became of requests: positions move on, or what is to be tried again waits.

use std::io::Read;

use groundcrew_core::logs::limits::BATCH_EVENTS_MAX;
use groundcrew_core::logs::retry::Failure;
use groundcrew_core::time::Now;

use super::{Answer, Engine};
use crate::aws::cloudwatch_logs::{LogsCallError, Rejected};
use crate::errors::chain;
use crate::logs::ship::checkpoint::{Count, Counts};
use crate::logs::ship::quarantine::Entry;
use crate::logs::ship::streams::{Batch, Part, StreamId};

/// Bytes of a body that is unpacked to see what was rejected.
const BODY_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// An event of a batch, as it was sent.
#[derive(serde::Deserialize)]
struct Sent {
    timestamp: i64,
    message: String,
}

impl Engine {
    pub(super) fn answered(&mut self, answer: Answer, now: Now) {
        let Some(stream) = self.streams.get_mut(&answer.stream) else { return };
        stream.is_sending = false;
        if std::mem::take(&mut stream.is_stale) {
            return;
        }
        match answer.outcome {
            Ok(rejected) => {
                stream.retry.succeeded();
                stream.is_missing = false;
                stream.events_max = (stream.events_max * 2).min(BATCH_EVENTS_MAX);
                let batch = stream.pop();
                self.well(now);
                if let Some(batch) = batch {
                    self.accept(answer.stream, batch, rejected, "");
                }
            }
            Err(error) => self.failed(answer.stream, &error, now),
        }
    }

    fn failed(&mut self, id: StreamId, error: &LogsCallError, now: Now) {
        let random = self.random();
        self.turns += 1;
        let turns = self.turns;
        let Some(stream) = self.streams.get_mut(&id) else { return };
        // The next try is another stream's: what one may not do, another may.
        stream.turn = turns;
        let events = stream.batch.as_ref().map_or(0, |batch| batch.events);
        match error.failure {
            Failure::Refused if events <= 1 => {
                let batch = stream.pop();
                if let Some(batch) = batch {
                    let all = Rejected { before: batch.events, from: None };
                    self.accept(id, batch, all, &error.text);
                }
            }
            Failure::Refused => {
                // One of them is not taken: the halves tell which.
                stream.events_max = (events / 2).max(1);
                self.rewind(id);
            }
            Failure::Missing | Failure::Denied => {
                let is_missing = error.failure == Failure::Missing;
                stream.is_missing |= is_missing;
                stream.retry.failed(now.at, error.failure, random);
                if !(is_missing && self.settings.create) {
                    // It may stay so for long: the lines are in their files.
                    self.rewind(id);
                }
                self.tell(error);
            }
            failure => {
                self.failure = Some(failure);
                self.retry.failed(now.at, failure, random);
                self.tell(error);
            }
        }
    }

    /// Something was accepted.
    fn well(&mut self, now: Now) {
        self.retry.succeeded();
        self.failure = None;
        self.shipped.last_ok = Some(now.wall);
        let denied = self.streams.values().any(|stream| stream.retry.until().is_some());
        if !denied && self.told.take().is_some() {
            self.shipped.reason = None;
            tracing::info!("the logs are accepted again");
        }
    }

    /// Says why nothing is accepted, once for each reason.
    fn tell(&mut self, error: &LogsCallError) {
        let missing = error.failure == Failure::Missing;
        if missing && self.settings.create {
            // An ordinary thing: the next request makes it.
            return;
        }
        let hint = if missing { "; it is not created because logs.create is false" } else { "" };
        let text = format!("{}{hint}", error.text);
        self.shipped.reason = Some(text.clone());
        if self.told.as_ref() != Some(&text) {
            tracing::warn!("the logs are not accepted, and kept: {text}");
            self.told = Some(text);
        }
    }

    /// Moves on over a batch.
    pub(super) fn accept(&mut self, id: StreamId, batch: Batch, rejected: Rejected, why: &str) {
        let mut refused = self.rejected(id, &batch, rejected, why);
        for part in &batch.parts {
            let Some(source) = self.sources.get_mut(&part.source) else { continue };
            let key = source.key.clone();
            let mut of_service = Count::default();
            for entry in refused.iter_mut().filter(|(owner, _)| *owner == Some(part.source)) {
                entry.1.source.clone_from(&key);
                of_service.add(1, entry.1.message.len() as u64 + 1);
            }
            let span = part.to.offset.saturating_sub(part.from.offset);
            let events = part.refused.len() as u64 + of_service.events;
            let mut dropped = part.dropped;
            dropped.add(part.gone.events, part.gone.bytes);
            let left = span.saturating_sub(dropped.bytes + part.refused_bytes);
            let counts = Counts {
                acknowledged: Count {
                    events: part.events.saturating_sub(of_service.events),
                    bytes: left.saturating_sub(of_service.bytes),
                },
                rejected: Count { events, bytes: part.refused_bytes + of_service.bytes.min(left) },
                dropped,
            };
            source.accept(part.to, counts);
            self.shipped.sent_events += counts.acknowledged.events;
            self.shipped.sent_bytes += counts.acknowledged.bytes;
            self.shipped.rejected += counts.rejected.events;
            self.shipped.dropped += part.dropped.events;
            if part.emf_cut > 0 && self.shipped.emf_cut == 0 {
                tracing::error!(
                    "{key}: a line of metrics (EMF) is too long for one event, and no metrics are \
                     made of it: print fewer values in a line; this is said once, the rest counted",
                );
            }
            self.shipped.emf_cut += part.emf_cut;
            refused.extend(self.refused_here(id, part, &key));
            self.write_down(part.source);
        }
        let entries: Vec<Entry> = refused.into_iter().map(|(_, entry)| entry).collect();
        if let Some(first) = entries.first() {
            tracing::error!(
                "{} events of {} are not taken, because {}; they are kept: groundcrew logs replay",
                entries.len(),
                first.stream,
                first.reason,
            );
        }
        if let Err(error) = self.quarantine.add(&entries) {
            tracing::error!("events that are not taken could not be kept: {}", chain(&error));
        }
        self.finished();
    }

    /// Events that were not sent, because they would not have been taken.
    fn refused_here(&self, id: StreamId, part: &Part, key: &str) -> Vec<(Option<u32>, Entry)> {
        let Some(stream) = self.streams.get(&id) else { return Vec::new() };
        let entry = |refused: &crate::logs::ship::reading::Refused| Entry {
            source: key.to_owned(),
            group: stream.group.clone(),
            stream: stream.name.clone(),
            timestamp: refused.at,
            reason: refused.reason.to_owned(),
            message: String::from_utf8_lossy(&refused.message).into_owned(),
        };
        part.refused.iter().map(|refused| (None, entry(refused))).collect()
    }

    /// Events of a batch that the service did not take, each with the source that it came from.
    fn rejected(
        &self,
        id: StreamId,
        batch: &Batch,
        rejected: Rejected,
        why: &str,
    ) -> Vec<(Option<u32>, Entry)> {
        if rejected == Rejected::default() {
            return Vec::new();
        }
        let Some(stream) = self.streams.get(&id) else { return Vec::new() };
        let from = rejected.from.unwrap_or(batch.events);
        let mut entries = Vec::new();
        for (at, sent) in unpack(&batch.body).into_iter().enumerate() {
            let reason = match why {
                "" if at < rejected.before => "it is older than the group keeps its events",
                "" => "its time is too far ahead",
                why => why,
            };
            if at >= rejected.before && at < from {
                continue;
            }
            let number = batch.order.as_ref().and_then(|order| order.get(at).copied());
            let entry = Entry {
                source: String::new(),
                group: stream.group.clone(),
                stream: stream.name.clone(),
                timestamp: sent.timestamp,
                reason: reason.to_owned(),
                message: sent.message,
            };
            entries.push((owner(&batch.parts, number.unwrap_or(at)), entry));
        }
        entries
    }
}

/// The source of an event, by its number as it came.
fn owner(parts: &[Part], number: usize) -> Option<u32> {
    let mut left = u64::try_from(number).unwrap_or(u64::MAX);
    for part in parts {
        if left < part.events {
            return Some(part.source);
        }
        left -= part.events;
    }
    None
}

/// The events of a body, as it was sent.
fn unpack(body: &[u8]) -> Vec<Sent> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        log_events: Vec<Sent>,
    }
    let mut text = Vec::new();
    let decoder = flate2::read::GzDecoder::new(body);
    let read = decoder.take(BODY_BYTES_MAX).read_to_end(&mut text);
    let body = read
        .map_err(|error| error.to_string())
        .and_then(|_| serde_json::from_slice::<Body>(&text).map_err(|error| error.to_string()));
    match body {
        Ok(body) => body.log_events,
        Err(error) => {
            // Made here a moment ago: a defect, and the counts stay right without the texts.
            tracing::error!("could not unpack a batch to see what was not taken: {error}");
            Vec::new()
        }
    }
}
