//! The operations of CloudWatch Logs that a shipper calls, with their limits (API_PutLogEvents).

use std::borrow::Cow;
use std::io::Read;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::Value;

use super::error;
use super::faults::Fate;
use super::http::Request;
use super::signature;
use super::state::{Shared, State};
use super::tally::{Line, Was};

const TARGET: &str = "Logs_20140328.";
const CONTENT_TYPE: &str = "application/x-amz-json-1.1";
const BATCH_BYTES_MAX: usize = 1_048_576;
const BATCH_EVENTS_MAX: usize = 10_000;
const EVENT_OVERHEAD_BYTES: usize = 26;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
// A body that unpacks to more is an attack, or a bug.
const BODY_BYTES_MAX: u64 = 64 * 1024 * 1024;
const RETENTION_DAYS: [u32; 22] = [
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
];

/// What is said to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    Answer {
        status: u16,
        body: String,
    },
    /// The connection breaks.
    None,
}

impl Reply {
    fn ok(body: &str) -> Self {
        Self::Answer { status: 200, body: body.to_owned() }
    }

    fn error(status: u16, kind: &str, message: &str) -> Self {
        Self::Answer { status, body: error(kind, message).to_string() }
    }
}

/// Buffers that a connection uses again.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    plain: Vec<u8>,
    lines: Vec<Option<Line>>,
}

/// A call that was taken; the stream is busy until its end.
#[derive(Debug)]
pub(super) struct Call {
    reply: Reply,
    busy: Option<(String, String)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Put<'a> {
    #[serde(borrow)]
    log_group_name: Cow<'a, str>,
    #[serde(borrow)]
    log_stream_name: Cow<'a, str>,
    #[serde(borrow)]
    log_events: Vec<Event<'a>>,
}

#[derive(Deserialize)]
struct Event<'a> {
    timestamp: i64,
    #[serde(borrow)]
    message: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Create {
    log_group_name: String,
    #[serde(default)]
    log_stream_name: String,
    #[serde(default)]
    retention_in_days: u32,
}

impl Call {
    pub(super) fn take(request: &Request, shared: &Shared, scratch: &mut Scratch) -> Self {
        let gzip = request.header("content-encoding").is_some_and(|coding| coding == "gzip");
        let Scratch { plain, lines } = scratch;
        plain.clear();
        let unpacked = if gzip {
            let decoder = flate2::read::MultiGzDecoder::new(request.body.as_slice());
            decoder.take(BODY_BYTES_MAX).read_to_end(plain).map(|_| plain.as_slice())
        } else {
            Ok(request.body.as_slice())
        };
        let checked = match (unpacked, signature::check(request), operation(request)) {
            (Err(error), ..) => Err(("SerializationException", error.to_string())),
            (_, Err(reason), _) => Err(("InvalidSignatureException", reason)),
            (.., Err(reason)) => Err(("UnknownOperationException", reason)),
            (Ok(body), Ok(()), Ok(operation)) => Ok((body, operation)),
        };
        let refusal = shared.change(|state| {
            state.counts.requests += 1;
            state.counts.wire_bytes += as_u64(request.body.len());
            state.counts.gzip += u64::from(gzip);
            match &checked {
                Ok((body, _)) => state.counts.body_bytes += as_u64(body.len()),
                Err((_, reason)) => state.counts.note_invalid(reason),
            }
            let refusal = state.faults.refusal;
            state.counts.refused += u64::from(refusal.is_some() && checked.is_ok());
            refusal
        });
        let (body, operation) = match (checked, refusal) {
            (Err((kind, reason)), _) => return Self::done(Reply::error(400, kind, &reason)),
            (Ok(_), Some(refusal)) => {
                let (status, kind, message) = refusal.answer();
                return Self::done(Reply::error(status, kind, message));
            }
            (Ok(checked), None) => checked,
        };
        if operation == "PutLogEvents" {
            return put(body, shared, lines);
        }
        Self::done(shared.change(|state| create(operation, body, state)))
    }

    fn done(reply: Reply) -> Self {
        Self { reply, busy: None }
    }

    pub(super) fn reply(&self) -> &Reply {
        &self.reply
    }

    /// The answer is out.
    pub(super) fn end(self, shared: &Shared) {
        let Some((group, stream)) = self.busy else { return };
        shared.change(|state| {
            if let Some(stream) = state.stream(&group, &stream) {
                stream.in_flight = stream.in_flight.saturating_sub(1);
            }
        });
    }
}

fn operation(request: &Request) -> Result<&str, String> {
    if request.header("content-type") != Some(CONTENT_TYPE) {
        return Err("the content type is another one".to_owned());
    }
    let target = request.header("x-amz-target").unwrap_or_default();
    target.strip_prefix(TARGET).ok_or(format!("{target:?} is no operation"))
}

fn put(body: &[u8], shared: &Shared, lines: &mut Vec<Option<Line>>) -> Call {
    let put: Put<'_> = match serde_json::from_slice(body) {
        Ok(put) => put,
        Err(error) => {
            shared.change(|state| {
                state.counts.puts += 1;
                state.counts.note_invalid(&error.to_string());
            });
            return Call::done(Reply::error(400, "SerializationException", "no JSON of ours"));
        }
    };
    let broken = broken_limit(&put.log_events);
    // Outside the lock: other streams go on meanwhile.
    let find = shared.read(|state| state.tally.find());
    lines.clear();
    lines.extend(put.log_events.iter().map(|event| find.line(&event.message, event.timestamp)));
    let busy = (put.log_group_name.clone().into_owned(), put.log_stream_name.clone().into_owned());
    let (reply, found) = shared.change(|state| {
        state.counts.puts += 1;
        let Some(stream) = state.stream(&busy.0, &busy.1) else {
            state.counts.not_found += 1;
            let message = "The specified log stream does not exist.";
            return (Reply::error(400, "ResourceNotFoundException", message), false);
        };
        let overlapping = stream.in_flight > 0;
        stream.in_flight += 1;
        state.counts.overlapping += u64::from(overlapping);
        (decide(state, &put, broken, lines), true)
    });
    Call { reply, busy: found.then_some(busy) }
}

fn decide(
    state: &mut State,
    put: &Put<'_>,
    broken: Option<String>,
    lines: &[Option<Line>],
) -> Reply {
    let drawn = state.dice.draw(&state.faults);
    let fate = if state.over_rate() { Fate::Throttled } else { drawn };
    match fate {
        Fate::Throttled => {
            state.counts.throttled += 1;
            return Reply::error(400, "ThrottlingException", "Rate exceeded");
        }
        Fate::Failed => {
            state.counts.failed += 1;
            return Reply::error(500, "InternalFailure", "as the test wants it");
        }
        Fate::Accepted | Fate::AnswerLost => {}
    }
    if let Some(reason) = broken {
        state.counts.note_invalid(&reason);
        return Reply::error(400, "InvalidParameterException", &reason);
    }
    if let Some(poison) = &state.faults.poison
        && put.log_events.iter().any(|event| event.message.contains(poison))
    {
        state.counts.poisoned += 1;
        return Reply::error(400, "InvalidParameterException", "a message cannot be taken");
    }
    let answer = accept(state, put, lines);
    if fate == Fate::AnswerLost {
        state.counts.replies_lost += 1;
        return Reply::None;
    }
    Reply::ok(&answer)
}

/// The first limit that a batch breaks.
fn broken_limit(events: &[Event<'_>]) -> Option<String> {
    let bytes: usize = events.iter().map(|event| event.message.len() + EVENT_OVERHEAD_BYTES).sum();
    let count = events.len();
    if !(1..=BATCH_EVENTS_MAX).contains(&count) {
        return Some(format!("{count} events: 1 to {BATCH_EVENTS_MAX} are taken"));
    }
    if bytes > BATCH_BYTES_MAX {
        return Some(format!("{bytes} bytes are more than {BATCH_BYTES_MAX}"));
    }
    if events.iter().any(|event| event.message.is_empty()) {
        return Some("a message is empty".to_owned());
    }
    if events.iter().any(|event| event.timestamp < 0) {
        return Some("a time is before 1970".to_owned());
    }
    if !events.is_sorted_by_key(|event| event.timestamp) {
        return Some("the events are not in chronological order".to_owned());
    }
    let span = events.last()?.timestamp - events.first()?.timestamp;
    (span > DAY_MS).then(|| "the events span more than 24 hours".to_owned())
}

/// Takes the events that are neither too old nor too new, and answers as the service does.
fn accept(state: &mut State, put: &Put<'_>, lines: &[Option<Line>]) -> String {
    let now_ms = now_ms();
    let State { groups, counts, tally, kept, accepted_between, .. } = state;
    let group = groups.get_mut(&*put.log_group_name);
    let kept_days = group.as_ref().and_then(|group| group.retention_days);
    let expired_before = kept_days.map_or(0, |days| now_ms - i64::from(days) * DAY_MS);
    let Some(stream) = group.and_then(|group| group.streams.get_mut(&*put.log_stream_name)) else {
        return "{}".to_owned();
    };
    let name = format!("{}:{}", put.log_group_name, put.log_stream_name);
    let keep = kept.iter().any(|part| name.contains(part.as_str()));
    let times = put.log_events.iter().map(|event| event.timestamp);
    let too_old = times.clone().filter(|time| *time < now_ms - 14 * DAY_MS).count();
    let expired = times.clone().filter(|time| *time < expired_before).count();
    let too_new = times.filter(|time| *time > now_ms + 2 * HOUR_MS).count();
    let taken = too_old.max(expired)..put.log_events.len() - too_new;
    let mut repeats = 0_u64;
    for at in taken.clone() {
        let event = &put.log_events[at];
        counts.events += 1;
        counts.message_bytes += as_u64(event.message.len());
        stream.events += 1;
        if keep {
            stream.kept.push((event.timestamp, event.message.clone().into_owned()));
        }
        let was = lines[at].map_or(Was::NotOurs, |l| tally.take(l, now_ms, &mut stream.marks));
        repeats += u64::from(was == Was::Repeated);
        counts.unnumbered += u64::from(was == Was::NotOurs);
    }
    counts.accepted += 1;
    counts.repeated_batches += u64::from(repeats > 0);
    counts.too_old += as_u64(too_old);
    counts.expired += as_u64(expired.saturating_sub(too_old));
    counts.too_new += as_u64(too_new);
    let now = Instant::now();
    *accepted_between = Some((accepted_between.map_or(now, |(first, _)| first), now));
    let mut rejected = serde_json::Map::new();
    if too_old > 0 {
        rejected.insert("tooOldLogEventEndIndex".to_owned(), too_old.into());
    }
    if expired > too_old {
        rejected.insert("expiredLogEventEndIndex".to_owned(), expired.into());
    }
    if too_new > 0 {
        rejected.insert("tooNewLogEventStartIndex".to_owned(), taken.end.into());
    }
    let mut answer = serde_json::json!({"nextSequenceToken": "49590302"});
    if !rejected.is_empty() {
        answer["rejectedLogEventsInfo"] = Value::Object(rejected);
    }
    answer.to_string()
}

fn create(operation: &str, body: &[u8], state: &mut State) -> Reply {
    let Ok(call) = serde_json::from_slice::<Create>(body) else {
        state.counts.note_invalid(&format!("{operation} without its parameters"));
        return Reply::error(400, "SerializationException", "no JSON of ours");
    };
    state.counts.creations += 1;
    if state.faults.create_denied {
        return Reply::error(400, "AccessDeniedException", &format!("logs:{operation} is denied"));
    }
    let wrong = match operation {
        "CreateLogGroup" => !name_of_group(&call.log_group_name),
        "CreateLogStream" => !name_of_stream(&call.log_stream_name),
        "PutRetentionPolicy" => !RETENTION_DAYS.contains(&call.retention_in_days),
        _ => true,
    };
    if wrong {
        let reason = format!("{operation} with {}", String::from_utf8_lossy(body));
        state.counts.note_invalid(&reason);
        return Reply::error(400, "InvalidParameterException", &reason);
    }
    let exists = || Reply::error(400, "ResourceAlreadyExistsException", "it exists");
    if operation == "CreateLogGroup" {
        if state.groups.contains_key(&call.log_group_name) {
            return exists();
        }
        state.groups.entry(call.log_group_name).or_default();
        return Reply::ok("");
    }
    let Some(group) = state.groups.get_mut(&call.log_group_name) else {
        let message = "The specified log group does not exist.";
        return Reply::error(400, "ResourceNotFoundException", message);
    };
    if operation == "PutRetentionPolicy" {
        group.retention_days = Some(call.retention_in_days);
        return Reply::ok("");
    }
    if group.streams.contains_key(&call.log_stream_name) {
        return exists();
    }
    group.streams.entry(call.log_stream_name).or_default();
    Reply::ok("")
}

fn name_of_group(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/#".contains(c);
    (1..=512).contains(&name.len()) && name.chars().all(allowed)
}

fn name_of_stream(name: &str) -> bool {
    (1..=512).contains(&name.len()) && !name.contains([':', '*'])
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn as_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
