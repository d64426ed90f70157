//! Making up batches: whose turn it is, and what is in them.

use std::cmp::Reverse;
use std::time::Duration;

use groundcrew_core::logs::limits::BATCH_EVENTS_MAX;
use groundcrew_core::logs::pace::Pace;
use groundcrew_core::time::{Moment, Now};

use super::{Engine, HELD_BYTES_MAX, Plan};
use crate::logs::ship::checkpoint::Count;
use crate::logs::ship::source::{Feed, SourceId};
use crate::logs::ship::streams::{Batch, Part, Stream, StreamId};

/// Until a file that could not be read is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

impl Engine {
    /// Makes up one batch, for the stream that has waited longest for its turn among those that are
    /// due.
    pub(super) fn make_up(&mut self, now: Now, plan: &mut Plan) {
        let held: usize = self.streams.values().map(Stream::held).sum();
        let holds_any = self.streams.values().any(|stream| stream.batch.is_some());
        if holds_any && (held >= HELD_BYTES_MAX || self.failure.is_some()) {
            return;
        }
        let mut due: Option<(u64, StreamId)> = None;
        for (id, stream) in &self.streams {
            if !stream.has_room() {
                continue;
            }
            match self.due(stream) {
                Some(at) if at <= now.at => {
                    due =
                        Some(due.map_or((stream.turn, *id), |known| known.min((stream.turn, *id))));
                }
                Some(at) => plan.wake_by(at),
                None => {}
            }
        }
        let Some((_, id)) = due else { return };
        let filled = self.fill(id, now);
        // Another may be due too.
        plan.again = true;
        if let Some(stream) = self.streams.get_mut(&id) {
            // What is there has to settle, or could not be read.
            stream.tried = (!filled).then_some(now.at);
        }
    }

    /// When the next batch of a stream is to be made up.
    fn due(&self, stream: &Stream) -> Option<Moment> {
        let (mut since, mut bytes, mut settles): (Option<Moment>, _, Option<Moment>) =
            (None, 0, None);
        let earlier =
            |known: Option<Moment>, at: Moment| Some(known.map_or(at, |known| at.min(known)));
        let sources = stream.sources.iter().filter(|id| !self.is_behind(**id));
        for source in sources.filter_map(|id| self.sources.get(id)) {
            match source.wants(self.forced) {
                Some((_, _, Some(at))) => settles = earlier(settles, at),
                Some((at, unread, None)) => {
                    since = earlier(since, at);
                    bytes += unread;
                }
                None => {}
            }
        }
        // While one event is looked for among many, the others do not wait.
        let at_once = self.forced || stream.events_max < BATCH_EVENTS_MAX;
        let due = match since {
            Some(_) if at_once => Some(Moment(0)),
            since => since.map(|since| stream.pace.due(since, bytes)),
        };
        let due = due.into_iter().chain(settles).min()?;
        // What was given up is made up again when it may be sent.
        let retry = stream.retry.until().filter(|_| stream.batch.is_none());
        let tried = stream.tried.map(|at| at.plus(AGAIN_AFTER));
        retry.into_iter().chain(tried).chain([due]).max()
    }

    /// Makes up a batch of a stream; `false`: there was nothing to take.
    fn fill(&mut self, id: StreamId, now: Now) -> bool {
        self.turns += 1;
        let turns = self.turns;
        let Some(stream) = self.streams.get_mut(&id) else { return false };
        stream.turn = turns;
        let mut sources = stream.sources.clone();
        // Not always the same one first: it may have more than a batch, again and again.
        let first = usize::try_from(turns).unwrap_or(0) % sources.len().max(1);
        sources.rotate_left(first);
        self.reader.builder.begin(&stream.group, &stream.name);
        self.reader.builder.events_max = stream.events_max;
        let mut parts = Vec::new();
        for source in sources {
            self.look_at(source, now);
            let Some((part, full)) = self.fill_from(source, now) else { continue };
            parts.extend(part);
            if full {
                break;
            }
        }
        if parts.is_empty() {
            return false;
        }
        let events = self.reader.builder.len();
        let bytes = parts.iter().map(|part| part.to.offset.saturating_sub(part.from.offset)).sum();
        let (body, order) =
            if events == 0 { (bytes::Bytes::new(), None) } else { self.reader.builder.finish() };
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.pace.sent(now.at, bytes);
            stream.push(Batch { body, events, order, parts });
        }
        true
    }

    /// Takes what there is of a source; `None`: nothing. `true`: there is more than fits.
    fn fill_from(&mut self, id: SourceId, now: Now) -> Option<(Option<Part>, bool)> {
        if self.is_behind(id) {
            return None;
        }
        let source = self.sources.get_mut(&id)?;
        if source.unread() == 0 || source.has_ended {
            return None;
        }
        let from = source.taken;
        let progress = self.progress.clone();
        let reading = progress.hold();
        let mut tools = self.reader.tools(now);
        let (taken, mut gone) = match source.take(&mut tools, self.forced) {
            Ok(taken) => taken,
            Err(error) => {
                drop(reading);
                self.unreadable(id, &error);
                return None;
            }
        };
        self.read_to(id);
        let source = self.sources.get_mut(&id)?;
        if taken.to == from {
            return Some((None, taken.full));
        }
        let dropped = Count { events: taken.dropped.0, bytes: taken.dropped.1 };
        if matches!(source.feed, Feed::Process(_)) {
            self.progress.take(source.path(), taken.to.offset);
        }
        drop(reading);
        if gone.bytes > 0 {
            gone.events += self.progress.take_lost(source.path()).events;
            tracing::error!(
                "{} lines ({} bytes) of {} were dropped before they could be sent: \
                 there was no room for more",
                gone.events,
                gone.bytes,
                source.key,
            );
        }
        let part = Part {
            source: id,
            from,
            to: taken.to,
            events: taken.events,
            dropped,
            gone,
            emf_cut: taken.emf_cut,
            refused_bytes: taken.refused_bytes,
            refused: taken.refused,
        };
        Some((Some(part), taken.full))
    }

    /// Takes what there is of a source into the builder, settled or not; `false`: nothing.
    pub(in crate::logs::ship) fn take_from(&mut self, id: SourceId, now: Now) -> bool {
        let Some(source) = self.sources.get_mut(&id) else { return false };
        if source.unread() == 0 {
            return false;
        }
        let mut tools = self.reader.tools(now);
        let before = source.taken;
        source.take(&mut tools, true).is_ok_and(|_| source.taken != before)
    }

    /// Reads again what was taken and will not be sent as it is.
    pub(in crate::logs::ship) fn rewind(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        // What is made up again has waited long enough.
        stream.pace = Pace::default();
        let mut parts = stream.give_up();
        parts.sort_by_key(|part| Reverse(part.from));
        for part in parts {
            if let Some(source) = self.sources.get_mut(&part.source) {
                source.rewind(part.from);
                self.progress.take(source.path(), part.from.offset);
            }
        }
    }
}
