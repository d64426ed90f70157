//! The events of one request, as the body of it. Keeps the limits of the service: bytes, events,
//! span of time, order.

use bytes::Bytes;
use groundcrew_core::logs::limits::{
    BATCH_BYTES_MAX, BATCH_EVENTS_MAX, BATCH_SPAN_MAX, EVENT_BYTES_MAX, EVENT_OVERHEAD_BYTES,
};
use groundcrew_core::time::ms;
use libdeflater::{CompressionLvl, Compressor};

use super::escape::escape;

/// Bytes of a body before it is compressed: text of control characters alone would be six times as
/// much as it counts.
const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Of libdeflate: the next one costs half as much again, and saves nothing.
const LEVEL: i32 = 1;
/// Ends an event that was longer than the service takes.
const CUT: &[u8] = b" [cut by groundcrew: longer than an event may be]";

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// As `PutLogEvents` reads it (awsJson1.1), compressed with gzip.
    PutLogEvents,
    /// A JSON document for each event, each with its group and stream.
    Lines,
}

/// Whether an event is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Push {
    /// It is.
    Taken,
    /// It is the next batch's.
    Full,
}

/// Where an event stands in the body.
#[derive(Debug, Clone, Copy)]
struct Place {
    at: i64,
    from: usize,
    to: usize,
    /// Its number as it came.
    number: usize,
}

/// Builds one batch after the other in the same memory.
pub(super) struct Builder {
    format: Format,
    head: Vec<u8>,
    body: Vec<u8>,
    places: Vec<Place>,
    /// As the service counts.
    counted: usize,
    first: i64,
    last: i64,
    sorted: bool,
    /// Fewer than the service takes, to find the event that it does not.
    pub(super) events_max: usize,
    compressor: Compressor,
    spare: Vec<u8>,
}

impl Builder {
    pub(super) fn new(format: Format) -> Self {
        Self {
            format,
            head: Vec::new(),
            body: Vec::new(),
            places: Vec::new(),
            counted: 0,
            first: 0,
            last: 0,
            sorted: true,
            events_max: BATCH_EVENTS_MAX,
            compressor: Compressor::new(CompressionLvl::new(LEVEL).unwrap_or_default()),
            spare: Vec::new(),
        }
    }

    /// Begins a batch for a stream.
    pub(super) fn begin(&mut self, group: &str, stream: &str) {
        self.head.clear();
        self.places.clear();
        (self.counted, self.sorted, self.events_max) = (0, true, BATCH_EVENTS_MAX);
        let (names, end): ([&[u8]; 2], &[u8]) = match self.format {
            Format::PutLogEvents => {
                ([b"{\"logGroupName\":\"", b"\",\"logStreamName\":\""], b"\",\"logEvents\":[")
            }
            Format::Lines => ([b"{\"group\":\"", b"\",\"stream\":\""], b"\",\"timestamp\":"),
        };
        self.head.extend_from_slice(names[0]);
        escape(&mut self.head, group.as_bytes());
        self.head.extend_from_slice(names[1]);
        escape(&mut self.head, stream.as_bytes());
        self.head.extend_from_slice(end);
        self.body.clear();
        if self.format == Format::PutLogEvents {
            self.body.extend_from_slice(&self.head);
        }
    }

    /// Events in it.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Bytes it may still take, as the service counts; never more than fit.
    pub(super) fn room(&self) -> usize {
        BATCH_BYTES_MAX.saturating_sub(self.counted)
    }

    /// Adds an event. A batch that is empty takes any.
    pub(super) fn push(&mut self, at: i64, message: &[u8]) -> Push {
        // A byte that is not UTF-8 becomes three.
        if message.len() > EVENT_BYTES_MAX / 3 && utf8_len(message) > EVENT_BYTES_MAX {
            return self.push(at, &cut(message));
        }
        let empty = self.places.is_empty();
        if self.places.len() >= self.events_max {
            return Push::Full;
        }
        let fits = self.room() >= message.len() + EVENT_OVERHEAD_BYTES;
        let (first, last) = if empty { (at, at) } else { (self.first.min(at), self.last.max(at)) };
        let span = last.abs_diff(first);
        if !empty && (!fits || span > ms(BATCH_SPAN_MAX) || self.body.len() >= BODY_BYTES_MAX) {
            return Push::Full;
        }
        let from = self.body.len();
        let bytes = self.write(at, message);
        // What is not UTF-8 is longer as UTF-8.
        if !empty && self.counted + bytes + EVENT_OVERHEAD_BYTES > BATCH_BYTES_MAX {
            self.body.truncate(from);
            return Push::Full;
        }
        self.sorted &= empty || at >= self.last;
        (self.first, self.last) = (first, last);
        self.counted += bytes + EVENT_OVERHEAD_BYTES;
        let number = self.places.len();
        self.places.push(Place { at, from, to: self.body.len(), number });
        Push::Taken
    }

    fn write(&mut self, at: i64, message: &[u8]) -> usize {
        match self.format {
            Format::PutLogEvents => self.body.extend_from_slice(b"{\"timestamp\":"),
            Format::Lines => self.body.extend_from_slice(&self.head),
        }
        self.body.extend_from_slice(itoa::Buffer::new().format(at).as_bytes());
        self.body.extend_from_slice(b",\"message\":\"");
        let bytes = escape(&mut self.body, message);
        self.body.extend_from_slice(match self.format {
            Format::PutLogEvents => b"\"},",
            Format::Lines => b"\"}\n",
        });
        bytes
    }

    /// The body, ready to be sent, and for each of its events in order which one it was as they
    /// came; `None`: the order is the same.
    pub(super) fn finish(&mut self) -> (Bytes, Option<Vec<usize>>) {
        let order = (!self.sorted).then(|| self.sort());
        match self.format {
            Format::Lines => (Bytes::copy_from_slice(&self.body), order),
            Format::PutLogEvents => {
                // The comma behind the last event.
                self.body.pop();
                self.body.extend_from_slice(b"]}");
                (self.compress(), order)
            }
        }
    }

    /// The service takes events in the order of their times only.
    fn sort(&mut self) -> Vec<usize> {
        self.places.sort_by_key(|place| place.at);
        self.spare.clear();
        let head = self.places.iter().map(|place| place.from).min().unwrap_or(0);
        self.spare.extend_from_slice(&self.body[..head]);
        for place in &self.places {
            self.spare.extend_from_slice(&self.body[place.from..place.to]);
        }
        std::mem::swap(&mut self.body, &mut self.spare);
        self.places.iter().map(|place| place.number).collect()
    }

    fn compress(&mut self) -> Bytes {
        let bound = self.compressor.gzip_compress_bound(self.body.len());
        self.spare.resize(bound, 0);
        let written = self.compressor.gzip_compress(&self.body, &mut self.spare);
        let length = written.expect("what libdeflate calls the bound of its output is one");
        Bytes::copy_from_slice(&self.spare[..length])
    }
}

/// Bytes that `message` has as UTF-8.
pub(super) fn utf8_len(message: &[u8]) -> usize {
    let replaced = |invalid: &[u8]| if invalid.is_empty() { 0 } else { 3 };
    message.utf8_chunks().map(|chunk| chunk.valid().len() + replaced(chunk.invalid())).sum()
}

/// What of `message` fits. Sources make no such events of lines; what takes a match's place may
/// be longer than the match.
fn cut(message: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(message);
    let end = text.floor_char_boundary(EVENT_BYTES_MAX - CUT.len());
    let mut cut = text.as_bytes()[..end].to_vec();
    cut.extend_from_slice(CUT);
    cut
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use groundcrew_core::logs::limits;
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn read(body: &Bytes) -> Value {
        let mut text = String::new();
        flate2::read::GzDecoder::new(&body[..]).read_to_string(&mut text).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    fn check(builder: &mut Builder, events: &[(i64, Vec<u8>)]) -> usize {
        builder.begin("/g", "s \"quoted\"");
        let taken = events.iter().take_while(|(at, text)| builder.push(*at, text) == Push::Taken);
        let taken = taken.count();
        assert_eq!(builder.len(), taken);
        let (body, order) = builder.finish();
        let document = read(&body);
        assert_eq!(document["logStreamName"], "s \"quoted\"");
        let sent = document["logEvents"].as_array().unwrap();
        let times: Vec<i64> = sent.iter().map(|e| e["timestamp"].as_i64().unwrap()).collect();
        assert!(times.is_sorted(), "{times:?}");
        let span = times.last().unwrap() - times[0];
        assert!(span <= 24 * 3_600_000);
        let texts: Vec<&str> = sent.iter().map(|e| e["message"].as_str().unwrap()).collect();
        let bytes: usize = texts.iter().map(|text| text.len() + 26).sum();
        assert!(bytes <= 1_048_576 && texts.len() <= 10_000);
        let order = order.unwrap_or_else(|| (0..taken).collect());
        for (place, number) in order.into_iter().enumerate() {
            let (at, text) = &events[number];
            assert_eq!(times[place], *at);
            if text.len() < EVENT_BYTES_MAX / 3 {
                assert_eq!(texts[place], String::from_utf8_lossy(text));
            }
        }
        taken
    }

    #[test]
    fn limits_are_reached_and_kept() {
        let mut builder = Builder::new(Format::PutLogEvents);
        let line = |bytes: usize| (0, vec![b'x'; bytes]);
        assert_eq!(check(&mut builder, &vec![line(1); 10_001]), 10_000);
        assert_eq!(check(&mut builder, &vec![line(213); 10_000]), 1_048_576 / 239);
        assert_eq!(check(&mut builder, &[line(EVENT_BYTES_MAX), line(1)]), 1);
        assert_eq!(check(&mut builder, &[line(EVENT_BYTES_MAX + 1), line(1)]), 1, "cut");
        assert_eq!(check(&mut builder, &[(0, vec![0xff; 600_000]), line(1)]), 1, "cut, not UTF-8");
        let day = i64::try_from(ms(limits::BATCH_SPAN_MAX)).unwrap();
        let at = |at| (at, b"x".to_vec());
        assert_eq!(check(&mut builder, &[at(day), at(0), at(day + 1), at(1)]), 2);
        builder.begin("g", "s");
        builder.events_max = 1;
        assert_eq!((builder.push(0, b"a"), builder.push(0, b"b")), (Push::Taken, Push::Full));
    }

    #[test]
    fn lines_are_documents_of_their_own() {
        let mut builder = Builder::new(Format::Lines);
        builder.begin("/g", "s");
        assert_eq!(builder.push(2, b"two\nlines"), Push::Taken);
        assert_eq!(builder.push(1, b"one"), Push::Taken);
        let (body, _) = builder.finish();
        let lines: Vec<Value> = body
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect();
        assert_eq!(lines[0]["message"], "one");
        assert_eq!(lines[1]["message"], "two\nlines");
        assert_eq!(lines[1]["group"], "/g");
    }

    proptest! {
        #[test]
        fn any_events_make_batches_that_are_taken(
            events in proptest::collection::vec(
                (0..200_000_000i64, proptest::collection::vec(any::<u8>(), 1..400)), 1..60),
        ) {
            let mut builder = Builder::new(Format::PutLogEvents);
            let mut left = &events[..];
            while !left.is_empty() {
                let taken = check(&mut builder, left);
                prop_assert!(taken > 0);
                left = &left[taken..];
            }
        }
    }
}
