//! When a line says that it was written: from a member of a JSON object, or from its head.
//!
//! This runs for every line that is shipped. It must never allocate, and asks the calendar only
//! when the second is another than that of the line before. A line's own time is a claim: whether
//! it is plausible is for the caller to judge.

use groundcrew_core::logs::json::{Value, head, members};
use jiff::civil::DateTime;
use jiff::tz::Offset;

/// The members that hold a time, as text or as a number.
const KEYS: [&[u8]; 4] = [b"time", b"timestamp", b"ts", b"@timestamp"];

/// Bytes of `2026-08-22T10:00:01`.
const SECOND_BYTES: usize = 19;

/// How much of a line is searched for the time that it may begin with.
const BEGIN_BYTES_MAX: usize = 40;

/// Seconds and their fractions are told apart by size: 10^8 seconds are the year 1973, and 10^11
/// the year 5138. What is smaller is a duration, not a time.
const SECONDS_MIN: u64 = 100_000_000;
const MILLIS_MIN: u64 = SECONDS_MIN * 1000;
const MICROS_MIN: u64 = MILLIS_MIN * 1000;
const NANOS_MIN: u64 = MICROS_MIN * 1000;

/// Finds times in lines; remembers the second that it met last.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    second: [u8; SECOND_BYTES],
    /// The second in UTC, as milliseconds since 1970; `None` until there was one.
    second_ms: Option<i64>,
}

impl Clock {
    /// The time that a line gives itself, in milliseconds since 1970, never negative. In a JSON
    /// object it is the first of the members `time`, `timestamp`, `ts` and `@timestamp` that holds
    /// one: as ISO 8601, or as seconds, milli-, micro- or nanoseconds since 1970. In any other line
    /// it is ISO 8601 at the head, with or without a bracket before it. What names no zone is UTC.
    pub fn find(&mut self, line: &[u8]) -> Option<i64> {
        let line = line.trim_ascii_start();
        let found = match line.first() {
            // Whether the object is whole does not matter: a long one comes in pieces.
            Some(b'{') => self.of_object(line),
            _ => self.of_head(line),
        };
        found.filter(|ms| *ms >= 0)
    }

    fn of_object(&mut self, line: &[u8]) -> Option<i64> {
        let mut times = members(head(line)).filter(|(key, _)| KEYS.contains(key));
        times.find_map(|(_, value)| match value {
            Value::Text(text) => self.of_text(text).or_else(|| of_number(text)),
            Value::Bare(number) => of_number(number),
            Value::Nested => None,
        })
    }

    /// ISO 8601 and nothing after it: a zone that is not understood would shift the time.
    fn of_text(&mut self, text: &[u8]) -> Option<i64> {
        let (local_ms, rest) = self.local(text)?;
        let (offset_ms, rest) = zone(rest).unwrap_or((0, rest));
        rest.is_empty().then_some(local_ms - offset_ms)
    }

    fn of_head(&mut self, line: &[u8]) -> Option<i64> {
        let (local_ms, rest) = self.local(line.strip_prefix(b"[").unwrap_or(line))?;
        Some(local_ms - zone(rest).map_or(0, |(offset_ms, _)| offset_ms))
    }

    /// The date, time and fraction that `text` begins with, taken as UTC, and what comes after.
    fn local<'a>(&mut self, text: &'a [u8]) -> Option<(i64, &'a [u8])> {
        let (second, rest) = text.split_first_chunk()?;
        let second_ms = match self.second_ms {
            Some(second_ms) if self.second == *second => second_ms,
            _ => {
                let second_ms = second_ms(second)?;
                (self.second, self.second_ms) = (*second, Some(second_ms));
                second_ms
            }
        };
        let (fraction_ms, rest) = fraction(rest);
        Some((second_ms + fraction_ms, rest))
    }
}

/// `2026-08-22T10:00:01` as milliseconds since 1970. Also with a space before the time, and with
/// slashes in the date, as Go and nginx write it.
fn second_ms(second: &[u8; SECOND_BYTES]) -> Option<i64> {
    let [date, date_too, divider, time, time_too] = [4, 7, 10, 13, 16].map(|at| second[at]);
    let marks = matches!((date, date_too), (b'-', b'-') | (b'/', b'/'))
        && matches!(divider, b'T' | b't' | b' ')
        && (time, time_too) == (b':', b':');
    if !marks {
        return None;
    }
    let two = |at: usize| two(&second[at..]);
    let year = i16::from(two(0)?) * 100 + i16::from(two(2)?);
    // A leap second is the end of the second before it: the calendar has none.
    let leap = two(17)?.min(if two(17) == Some(60) { 59 } else { i8::MAX });
    let civil = DateTime::new(year, two(5)?, two(8)?, two(11)?, two(14)?, leap, 0).ok()?;
    Some(Offset::UTC.to_timestamp(civil).ok()?.as_millisecond())
}

/// The two digits that `text` begins with.
fn two(text: &[u8]) -> Option<i8> {
    let digit = |at: usize| {
        text.get(at).filter(|byte| byte.is_ascii_digit()).map(|byte| (byte - b'0').cast_signed())
    };
    Some(digit(0)? * 10 + digit(1)?)
}

/// The milliseconds of a fraction such as `.123456`, or `,123` as Python writes it.
fn fraction(text: &[u8]) -> (i64, &[u8]) {
    let [b'.' | b',', digits @ ..] = text else { return (0, text) };
    let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if length == 0 {
        return (0, text);
    }
    (thousandths(&digits[..length]), &digits[length..])
}

fn thousandths(digits: &[u8]) -> i64 {
    let digit = |at: usize| digits.get(at).map_or(0, |byte| i64::from(byte - b'0'));
    digit(0) * 100 + digit(1) * 10 + digit(2)
}

/// The zone that `text` begins with, as what it is ahead of UTC in milliseconds, and what comes
/// after: `Z`, `+02:00`, `+0200`, `+02`, and ` +0200` or ` UTC` behind a space.
fn zone(text: &[u8]) -> Option<(i64, &[u8])> {
    let (spaced, text) = text.strip_prefix(b" ").map_or((false, text), |text| (true, text));
    let (sign, digits) = match text {
        [b'Z' | b'z', rest @ ..] | [b'U', b'T', b'C', rest @ ..] => return Some((0, rest)),
        [b'+', digits @ ..] => (1, digits),
        [b'-', digits @ ..] => (-1, digits),
        _ => return None,
    };
    let hours = two(digits)?;
    let after_hours = &digits[2..];
    let minutes_at = after_hours.strip_prefix(b":").unwrap_or(after_hours);
    let (minutes, rest) = match two(minutes_at) {
        Some(minutes) => (minutes, &minutes_at[2..]),
        // Behind a space, two digits after a dash are rather a number of the message.
        None if spaced => return None,
        None => (0, after_hours),
    };
    let number_goes_on = rest.first().is_some_and(u8::is_ascii_digit);
    if hours > 23 || minutes > 59 || number_goes_on {
        return None;
    }
    Some((sign * (i64::from(hours) * 60 + i64::from(minutes)) * 60_000, rest))
}

/// Seconds since 1970 with or without a fraction, or milli-, micro- or nanoseconds.
fn of_number(number: &[u8]) -> Option<i64> {
    let length = number.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (whole, rest) = number.split_at(length);
    // Twenty digits may be more than fits.
    if length > 19 {
        return None;
    }
    let (fraction_ms, rest) = fraction(rest);
    if !rest.is_empty() {
        return None;
    }
    let whole = whole.iter().fold(0, |number, byte| number * 10 + u64::from(byte - b'0'));
    let whole_ms = match whole {
        ..SECONDS_MIN => return None,
        SECONDS_MIN..MILLIS_MIN => {
            return i64::try_from(whole * 1000).ok().map(|ms| ms + fraction_ms);
        }
        MILLIS_MIN..MICROS_MIN => whole,
        MICROS_MIN..NANOS_MIN => whole / 1000,
        NANOS_MIN.. => whole / 1_000_000,
    };
    i64::try_from(whole_ms).ok()
}

/// Whether a line begins with a time in any of the usual ways, also those that are not read:
/// `Aug 22 10:00:01`, `[22/Aug/2026:10:00:01 +0000]`, `10:00:01`, `1755856801.123`. Where events
/// begin with one, a way that is not known would make a thousand lines one event.
pub(super) fn begins_with_time(line: &[u8]) -> bool {
    let begin = &line[..line.len().min(BEGIN_BYTES_MAX)];
    if begin.first().is_none_or(u8::is_ascii_whitespace) {
        return false;
    }
    let mut rest = begin;
    while let Some(byte) = rest.first() {
        if is_time_of_day(rest) {
            return true;
        }
        let letters = rest.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
        let part = letters > 0 && is_part_of_date(&rest[..letters]);
        if !part && !byte.is_ascii_digit() && !b"-/.,: []()<>".contains(byte) {
            break;
        }
        rest = &rest[letters.max(1)..];
    }
    let token = begin.split(u8::is_ascii_whitespace).next().unwrap_or_default();
    token.len() < begin.len() && of_number(token).is_some()
}

fn is_time_of_day(text: &[u8]) -> bool {
    let shape = text.first_chunk::<8>().map(|text| {
        text.map(|byte| if byte.is_ascii_digit() { b'0' } else { byte }) == *b"00:00:00"
    });
    shape == Some(true)
}

/// The months and days of the week in English, the `T` of ISO 8601, and the letters that klog puts
/// before its date.
fn is_part_of_date(word: &[u8]) -> bool {
    let names = b"JanFebMarAprMayJunJulAugSepOctNovDecMonTueWedThuFriSatSun";
    match word {
        [b'T' | b't' | b'I' | b'W' | b'E' | b'F'] => true,
        _ => names.chunks(3).any(|name| name == word),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    use super::*;

    /// What every line here says: 2026-08-22T10:00:01.123Z.
    const SAID_MS: i64 = 1_787_392_801_123;

    #[track_caller]
    fn check(line: &str, expected: Option<i64>) {
        let mut clock = Clock::default();
        assert_eq!(clock.find(line.as_bytes()), expected, "{line}");
        assert_eq!(clock.find(line.as_bytes()), expected, "remembered: {line}");
    }

    #[test]
    fn the_head_of_a_line() {
        for line in [
            "2026-08-22T10:00:01.123Z hello",
            "2026-08-22T10:00:01.123Z",
            "2026-08-22 10:00:01,123 - app - INFO - hello",
            "[2026-08-22T10:00:01.123456789Z] hello",
            "[2026-08-22 10:00:01.123] [ERROR] app - hello",
            "2026-08-22T12:00:01.123+02:00 hello",
            "2026-08-22T12:00:01.123+0200 hello",
            "2026-08-22 12:00:01.123+02 hello",
            "2026-08-22 12:00:01.123 +0200 hello",
            "2026-08-22T03:30:01.123-06:30 hello",
            "2026-08-22 10:00:01.123 UTC [12] LOG: hello",
            "2026-08-22 10:00:01.123 -12 degrees",
            "2026-08-22 10:00:01.123 -12345 units",
            "2026/08/22 10:00:01.123 [error] 12#0: hello",
            "  2026-08-22t10:00:01.123z hello",
        ] {
            check(line, Some(SAID_MS));
        }
        check("2026-08-22T10:00:01Z", Some(SAID_MS - 123));
        check("2026-08-22T10:00:01. Then", Some(SAID_MS - 123));
        check("2016-12-31T23:59:60Z", Some(1_483_228_799_000));
    }

    #[test]
    fn no_time_at_the_head() {
        for line in [
            "",
            "hello 2026-08-22T10:00:01.123Z",
            "2026-08-22",
            "2026-08-22T10:00:0",
            "2026-13-22T10:00:01Z",
            "2026-02-30T10:00:01Z",
            "2026-08-22T24:00:01Z",
            "2026-08-22T10:00:61Z",
            "2026-08/22T10:00:01Z",
            "2026-08-22X10:00:01Z",
            "20x6-08-22T10:00:01Z",
            "0001-01-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "1787392801123 hello",
        ] {
            check(line, None);
        }
    }

    #[test]
    fn a_member_of_json() {
        for line in [
            r#"{"time":"2026-08-22T10:00:01.123Z","msg":"x"}"#,
            r#"{"level":30,"time":1787392801123,"pid":1}"#,
            r#"{"msg":"x","timestamp":"2026-08-22T12:00:01.123+02:00"}"#,
            r#"{ "ts" : 1787392801.1239 , "msg" : "x" }"#,
            r#"{"ts":1787392801123456}"#,
            r#"{"ts":1787392801123456789}"#,
            r#"{"@timestamp":"2026-08-22 10:00:01.123"}"#,
            r#"{"time":"1787392801123"}"#,
            r#"{"time":12,"timestamp":"2026-08-22T10:00:01.123Z"}"#,
            r#"{"req":{"time":"2020-01-01T00:00:00Z"},"time":"2026-08-22T10:00:01.123Z"}"#,
            r#"{"a":["}",{"ts":1}],"time":"2026-08-22T10:00:01.123 UTC"}"#,
        ] {
            check(line, Some(SAID_MS));
        }
        check(r#"{"ts":1787392801}"#, Some(SAID_MS - 123));
    }

    #[test]
    fn no_time_in_json() {
        let far = format!("{{\"a\":\"{}\",\"time\":1787392801123}}", "x".repeat(4096));
        for line in [
            r#"{"msg":"2026-08-22T10:00:01.123Z"}"#,
            r#"{"msg":{"time":1787392801123}}"#,
            r#"{"msg":"\"time\":1787392801123"}"#,
            r#"{"time":"2026-08-22T10:00:01 CEST"}"#,
            r#"{"time":"2026-08-22T10:00:01+99:00"}"#,
            r#"{"time":"soon","ts":null,"timestamp":{},"@timestamp":true}"#,
            r#"{"time":99999999}"#,
            r#"{"time":-1787392801123}"#,
            r#"{"time":1.787392801e9}"#,
            r#"{"time":17873928011234567890}"#,
            r#"{"time":1787392801123"#,
            &far,
        ] {
            check(line, None);
        }
    }

    #[test]
    fn lines_that_begin_with_a_time() {
        let check = |lines: &[&str], expected| {
            for line in lines {
                assert_eq!(begins_with_time(line.as_bytes()), expected, "{line}");
            }
        };
        check(
            &[
                "2026-08-22T10:00:01.123Z x",
                "[2026-08-22 10:00:01] x",
                "2026/08/22 10:00:01 [error] x",
                "Aug 22 10:00:01 host x",
                "[Sat Aug 22 10:00:01.123456 2026] [core:error] x",
                "[22/Aug/2026:10:00:01 +0000] x",
                "10:00:01.123 [main] INFO x",
                "W0813 10:00:01.123456 1 x.go:1] x",
                "<34>1 2026-08-22T10:00:01Z x",
                "1787392801.123 x",
            ],
            true,
        );
        check(
            &[
                "",
                " 10:00:01 x",
                "\tat x",
                "at 10:00:01 x",
                "Exception 10:00:01",
                "1 10 x",
                "200 OK",
                "17873928",
                "1787392801",
                "10.0.0.1 - - [22/x",
                "é10:00:01",
            ],
            false,
        );
    }

    proptest! {
        #[test]
        fn agrees_with_jiff(
            ms in 0..4_102_444_800_000i64,
            minutes in -14 * 60..=14 * 60i32,
            at_head in any::<bool>(),
            shape in 0..4usize,
        ) {
            let timestamp = Timestamp::from_millisecond(ms).unwrap();
            let offset = Offset::from_seconds(minutes * 60).unwrap();
            let zoned = timestamp.to_zoned(TimeZone::fixed(offset));
            let format = ["%Y-%m-%dT%H:%M:%S.%3f%:z", "%Y-%m-%d %H:%M:%S,%6f%z",
                "%Y/%m/%d %H:%M:%S.%3f %z", "%Y-%m-%dT%H:%M:%S.%9f%:z"][shape];
            let text = zoned.strftime(format).to_string();
            let line = if at_head { format!("{text} x") } else { format!("{{\"ts\":\"{text}\"}}") };
            let mut clock = Clock::default();
            prop_assert_eq!(clock.find(line.as_bytes()), Some(ms), "{}", line);
            let next = line.replacen(&text, &zoned.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(), 1);
            let local_ms = ms - ms.rem_euclid(1000) + i64::from(minutes) * 60_000;
            prop_assert_eq!(clock.find(next.as_bytes()), Some(local_ms).filter(|ms| *ms >= 0));
        }

        #[test]
        fn numbers_of_any_unit_are_told_apart(ms in 100_000_000_000..9_000_000_000_000i64) {
            let line = |number: String| format!("{{\"ts\":{number}}}");
            let (seconds, fraction) = (ms / 1000, ms % 1000);
            for line in [
                line(format!("{seconds}.{fraction:03}")),
                line(format!("{ms}")),
                line(format!("{ms}999")),
                line(format!("{ms}999999")),
            ] {
                prop_assert_eq!(Clock::default().find(line.as_bytes()), Some(ms), "{}", line);
            }
        }
    }
}
