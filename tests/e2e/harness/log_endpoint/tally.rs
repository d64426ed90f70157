//! Which lines came, how often, and in which order. Pure: lines in, numbers out.

use std::collections::BTreeMap;

use memchr::memmem;

// A line with a greater number is not counted as one of ours.
const SEQUENCE_MAX: usize = 100_000_000;
const SOURCES_MAX: usize = 10_000;
// Both numbers stand near the head of a line.
const HEAD_BYTES: usize = 256;

/// What came of one source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Lines that came at least once.
    pub lines: u64,
    /// How often a line came again.
    pub repeats: u64,
    /// Lines whose first arrival was behind that of a later line of the stream.
    pub out_of_order: u64,
    /// Lines with an earlier time than one before them: read by time, they are out of order.
    pub back_in_time: u64,
    /// The sum of the CRC-32 of the lines, each once.
    pub checksum: u64,
    /// From the time of an event to its acceptance, since the last reset: the sum in milliseconds.
    pub lag_ms_sum: u64,
    /// The longest.
    pub lag_ms_max: u64,
    /// Lines in that sum.
    pub lag_lines: u64,
}

impl Delivery {
    /// In milliseconds; 0 of no lines.
    pub fn lag_ms_mean(&self) -> u64 {
        self.lag_ms_sum.checked_div(self.lag_lines).unwrap_or_default()
    }
}

#[derive(Debug, Default)]
struct Source {
    /// How often each line came.
    seen: Vec<u8>,
    delivery: Delivery,
}

/// The highest line of a source in one stream, and its time.
pub(super) type Marks = BTreeMap<u64, (u64, i64)>;

/// All sources.
#[derive(Debug)]
pub(super) struct Tally {
    sources: BTreeMap<u64, Source>,
    find: Find,
}

/// Finds the numbers of a line.
#[derive(Debug, Clone)]
pub(super) struct Find {
    source: memmem::Finder<'static>,
    sequence: memmem::Finder<'static>,
}

/// An event with its numbers, found before the lock is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) source: u64,
    pub(super) sequence: u64,
    pub(super) checksum: u32,
    pub(super) time_ms: i64,
}

/// What a line was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Was {
    New,
    Repeated,
    NotOurs,
}

impl Find {
    pub(super) fn new() -> Self {
        Self { source: memmem::Finder::new("\"src\":"), sequence: memmem::Finder::new("\"seq\":") }
    }

    /// `None` for a line that nobody numbered.
    pub(super) fn line(&self, message: &str, time_ms: i64) -> Option<Line> {
        let bytes = message.as_bytes();
        let head = &bytes[..bytes.len().min(HEAD_BYTES)];
        let number = |finder: &memmem::Finder<'_>| {
            let digits = &head[finder.find(head)? + finder.needle().len()..];
            let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
            let mut value = None;
            for digit in digits {
                value = u64::checked_add(
                    value.unwrap_or(0_u64).checked_mul(10)?,
                    u64::from(digit - b'0'),
                );
            }
            value
        };
        let (source, sequence) = (number(&self.source)?, number(&self.sequence)?);
        Some(Line { source, sequence, checksum: crc32fast::hash(bytes), time_ms })
    }
}

impl Tally {
    pub(super) fn new() -> Self {
        Self { sources: BTreeMap::new(), find: Find::new() }
    }

    pub(super) fn find(&self) -> Find {
        self.find.clone()
    }

    /// Takes a line that was accepted into a stream.
    pub(super) fn take(&mut self, line: Line, now_ms: i64, marks: &mut Marks) -> Was {
        let Some(at) = usize::try_from(line.sequence).ok().filter(|at| *at < SEQUENCE_MAX) else {
            return Was::NotOurs;
        };
        if self.sources.len() >= SOURCES_MAX && !self.sources.contains_key(&line.source) {
            return Was::NotOurs;
        }
        let source = self.sources.entry(line.source).or_default();
        if source.seen.len() <= at {
            source.seen.resize(at + 1, 0);
        }
        let times = &mut source.seen[at];
        *times = times.saturating_add(1);
        if *times > 1 {
            source.delivery.repeats += 1;
            return Was::Repeated;
        }
        let delivery = &mut source.delivery;
        delivery.lines += 1;
        delivery.checksum = delivery.checksum.wrapping_add(u64::from(line.checksum));
        let lag = u64::try_from(now_ms - line.time_ms).unwrap_or_default();
        delivery.lag_ms_sum += lag;
        delivery.lag_ms_max = delivery.lag_ms_max.max(lag);
        delivery.lag_lines += 1;
        let mark = marks.entry(line.source).or_insert((line.sequence, line.time_ms));
        if line.sequence < mark.0 {
            delivery.out_of_order += 1;
        } else {
            if line.time_ms < mark.1 {
                delivery.back_in_time += 1;
            }
            *mark = (line.sequence, line.time_ms.max(mark.1));
        }
        Was::New
    }

    pub(super) fn delivery(&self, source: u64) -> Delivery {
        self.sources.get(&source).map(|source| source.delivery.clone()).unwrap_or_default()
    }

    pub(super) fn missing(&self, source: u64, count: u64) -> u64 {
        let seen = self.sources.get(&source).map_or(&[][..], |source| &source.seen);
        let within = usize::try_from(count).unwrap_or(usize::MAX).min(seen.len());
        let came = seen[..within].iter().filter(|times| **times > 0).count();
        count - u64::try_from(came).unwrap_or_default()
    }

    pub(super) fn reset_lag(&mut self) {
        for source in self.sources.values_mut() {
            let delivery = &mut source.delivery;
            (delivery.lag_ms_sum, delivery.lag_ms_max, delivery.lag_lines) = (0, 0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(tally: &mut Tally, marks: &mut Marks, sequence: u64, time_ms: i64) -> Was {
        let message = format!(r#"{{"src":7,"seq":{sequence},"msg":"x"}}"#);
        let line = tally.find().line(&message, time_ms).unwrap();
        tally.take(line, 1_000, marks)
    }

    #[test]
    fn losses_repeats_and_disorder_are_told_apart() {
        let (mut tally, mut marks) = (Tally::new(), Marks::new());
        for (sequence, time_ms, was) in [
            (0, 100, Was::New),
            (1, 100, Was::New),
            (0, 100, Was::Repeated),
            (1, 100, Was::Repeated),
            (4, 300, Was::New),
            (3, 300, Was::New),
            (5, 200, Was::New),
        ] {
            assert_eq!(take(&mut tally, &mut marks, sequence, time_ms), was, "{sequence}");
        }
        let delivery = tally.delivery(7);
        assert_eq!((delivery.lines, delivery.repeats), (5, 2));
        assert_eq!((delivery.out_of_order, delivery.back_in_time), (1, 1));
        assert_eq!((delivery.lag_ms_max, delivery.lag_ms_mean()), (900, 800));
        assert_eq!((tally.missing(7, 6), tally.missing(7, 10), tally.missing(8, 3)), (1, 5, 3));
    }

    #[test]
    fn another_stream_has_an_order_of_its_own() {
        let (mut tally, mut one, mut other) = (Tally::new(), Marks::new(), Marks::new());
        take(&mut tally, &mut one, 9, 100);
        take(&mut tally, &mut other, 3, 100);
        assert_eq!(tally.delivery(7).out_of_order, 0);
    }

    #[test]
    fn only_numbered_lines_are_found() {
        let find = Find::new();
        assert_eq!(find.line("", 0), None);
        assert_eq!(find.line(r#"{"src":1}"#, 0), None);
        assert_eq!(find.line(r#"{"src":x,"seq":1}"#, 0), None);
        assert_eq!(find.line(r#"{"src":1,"seq":99999999999999999999999}"#, 0), None);
        let found = find.line(r#"{"a":1,"src":12,"seq":345}"#, 6).unwrap();
        assert_eq!((found.source, found.sequence, found.time_ms), (12, 345, 6));
        let mut tally = Tally::new();
        let line = Line { sequence: u64::MAX, ..found };
        assert_eq!(tally.take(line, 0, &mut Marks::new()), Was::NotOurs);
    }
}
