//! The endpoint asked over the wire.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::client::Client;
use super::lines::Lines;
use super::*;

const SOON: Duration = Duration::from_secs(10);

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

fn client(endpoint: &LogEndpoint) -> Client<TcpStream> {
    Client::connect(&endpoint.address()).unwrap()
}

/// A client that has made group `g` with stream `s`.
fn ready(endpoint: &LogEndpoint) -> Client<TcpStream> {
    let mut client = client(endpoint);
    for (operation, body) in [
        ("CreateLogGroup", json!({"logGroupName": "g"})),
        ("CreateLogStream", json!({"logGroupName": "g", "logStreamName": "s"})),
    ] {
        let answer = client.call(operation, body.to_string().as_bytes(), false).unwrap();
        assert_eq!(answer, (200, String::new()), "{operation}");
    }
    client
}

fn batch(events: &[(i64, &str)]) -> Vec<u8> {
    let events: Vec<_> = events
        .iter()
        .map(|(time, message)| json!({"timestamp": time, "message": message}))
        .collect();
    let put = json!({"logGroupName": "g", "logStreamName": "s", "logEvents": events});
    put.to_string().into_bytes()
}

/// The lines `range` of source 1 as a batch of now.
fn numbered(range: std::ops::Range<u64>) -> Vec<u8> {
    let lines: Vec<_> =
        range.map(|number| format!(r#"{{"src":1,"seq":{number},"msg":"\u0000 \" x"}}"#)).collect();
    let now = now_ms();
    batch(&lines.iter().map(|line| (now, line.as_str())).collect::<Vec<_>>())
}

fn put<S: Read + Write>(client: &mut Client<S>, body: &[u8]) -> (u16, Value) {
    let (status, body) = client.call("PutLogEvents", body, false).unwrap();
    (status, serde_json::from_str(&body).unwrap())
}

#[track_caller]
fn refused(answer: (u16, Value), status: u16, kind: &str) {
    assert_eq!((answer.0, answer.1["__type"].as_str()), (status, Some(kind)), "{answer:?}");
}

#[test]
fn what_is_accepted_is_counted_line_by_line() {
    let endpoint = LogEndpoint::start();
    endpoint.keep("g:s");
    let mut client = ready(&endpoint);
    assert_eq!(put(&mut client, &numbered(0..3)).0, 200);
    assert_eq!(put(&mut client, &numbered(2..5)).0, 200);
    assert_eq!(put(&mut client, &batch(&[(now_ms(), "no number")])).0, 200);
    endpoint.wait_for(&BTreeMap::from([(1, 5)]), SOON);
    let counts = endpoint.counts();
    assert_eq!((counts.puts, counts.accepted, counts.repeated_batches), (3, 3, 1));
    assert_eq!((counts.events, counts.unnumbered, counts.invalid), (7, 1, 0));
    assert_eq!(endpoint.delivery(1).repeats, 1);
    assert_eq!(endpoint.missing(1, 6), 1);
    assert_eq!(endpoint.kept()["g:s"].len(), 7);
    assert_eq!(endpoint.kept()["g:s"][6].1, "no number");
}

#[test]
fn compressed_bodies_over_tls_are_verified_too() {
    let endpoint = LogEndpoint::start_tls();
    let pem = endpoint.certificate().unwrap();
    let mut client = Client::connect_tls(&endpoint.address(), pem).unwrap();
    client.call("CreateLogGroup", br#"{"logGroupName":"g"}"#, false).unwrap();
    let stream = br#"{"logGroupName":"g","logStreamName":"s"}"#;
    client.call("CreateLogStream", stream, false).unwrap();
    let mut lines = Lines::of(1);
    let mut text = Vec::new();
    (0..1000).for_each(|_| lines.append_to(&mut text));
    let text = String::from_utf8(text).unwrap();
    let now = now_ms();
    let plain = batch(&text.lines().map(|line| (now, line)).collect::<Vec<_>>());
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let (status, _) = client.call("PutLogEvents", &gzip.finish().unwrap(), true).unwrap();
    assert_eq!(status, 200);
    assert_eq!(endpoint.delivery(1).checksum, lines.checksum());
    let counts = endpoint.counts();
    assert_eq!((counts.gzip, counts.body_bytes > 3 * counts.wire_bytes), (1, true), "{counts:?}");
}

#[test]
fn every_limit_is_enforced_for_the_whole_batch() {
    let endpoint = LogEndpoint::start();
    let mut client = ready(&endpoint);
    let now = now_ms();
    let day = 24 * 3_600_000;
    let long = "x".repeat(1_048_576 - 26);
    assert_eq!(put(&mut client, &batch(&[(now, &long)])).0, 200);
    let longer = format!("{long}x");
    for events in [
        vec![(now, longer.as_str())],
        vec![(now, long.as_str()), (now, "x")],
        vec![],
        vec![(now, "x"); 10_001],
        vec![(now, "")],
        vec![(now, "later"), (now - 1, "earlier")],
        vec![(now - day - 1, "yesterday"), (now, "today")],
        vec![(-1, "never")],
    ] {
        let answer = put(&mut client, &batch(&events));
        refused(answer, 400, "InvalidParameterException");
    }
    assert_eq!(put(&mut client, &batch(&[(now - day, "yesterday"), (now, "x")])).0, 200);
    assert_eq!(put(&mut client, &batch(&vec![(now, "x"); 10_000])).0, 200);
    refused(put(&mut client, b"{}"), 400, "SerializationException");
    let counts = endpoint.counts();
    assert_eq!((counts.accepted, counts.invalid), (3, 9), "{counts:?}");
}

#[test]
fn events_outside_the_window_are_rejected_one_by_one() {
    let endpoint = LogEndpoint::start();
    let mut client = ready(&endpoint);
    let (now, hour) = (now_ms(), 3_600_000);
    let mut rejected = |events: &[(i64, &str)]| {
        let (status, answer) = put(&mut client, &batch(events));
        assert_eq!(status, 200);
        answer["rejectedLogEventsInfo"].clone()
    };
    assert_eq!(rejected(&[(now, "x"), (now + hour, "x")]), Value::Null);
    let old = now - 14 * 24 * hour;
    assert_eq!(
        rejected(&[(old - 9, "x"), (old - 8, "x"), (old + 10_000, "x")]),
        json!({"tooOldLogEventEndIndex": 2})
    );
    assert_eq!(
        rejected(&[(now, "x"), (now + 3 * hour, "x")]),
        json!({"tooNewLogEventStartIndex": 1})
    );
    let keep = json!({"logGroupName": "g", "retentionInDays": 3}).to_string();
    let mut other = self::client(&endpoint);
    assert_eq!(other.call("PutRetentionPolicy", keep.as_bytes(), false).unwrap().0, 200);
    assert_eq!(endpoint.groups(), BTreeMap::from([("g".to_owned(), Some(3))]));
    assert_eq!(rejected(&[(now - 73 * hour, "x")]), json!({"expiredLogEventEndIndex": 1}));
    let counts = endpoint.counts();
    assert_eq!((counts.too_old, counts.too_new, counts.expired, counts.events), (2, 1, 1, 4));
}

#[test]
fn groups_and_streams_must_be_created_once_with_names_that_are_allowed() {
    let endpoint = LogEndpoint::start();
    let mut client = client(&endpoint);
    let mut call = |operation: &str, body: Value| {
        let (_, answer) = client.call(operation, body.to_string().as_bytes(), false).unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
        answer["__type"].as_str().unwrap_or("done").to_owned()
    };
    let group = json!({"logGroupName": "g"});
    let stream = json!({"logGroupName": "g", "logStreamName": "s"});
    assert_eq!(call("CreateLogStream", stream.clone()), "ResourceNotFoundException");
    assert_eq!(call("CreateLogGroup", group.clone()), "done");
    assert_eq!(call("CreateLogGroup", group), "ResourceAlreadyExistsException");
    assert_eq!(call("CreateLogStream", stream.clone()), "done");
    assert_eq!(call("CreateLogStream", stream), "ResourceAlreadyExistsException");
    for (operation, body) in [
        ("CreateLogGroup", json!({"logGroupName": "with space"})),
        ("CreateLogGroup", json!({"logGroupName": ""})),
        ("CreateLogStream", json!({"logGroupName": "g", "logStreamName": "a:b"})),
        ("PutRetentionPolicy", json!({"logGroupName": "g", "retentionInDays": 2})),
        ("DeleteLogGroup", json!({"logGroupName": "g"})),
    ] {
        assert_eq!(call(operation, body), "InvalidParameterException", "{operation}");
    }
    let mut client = self::client(&endpoint);
    endpoint.delete_groups();
    refused(put(&mut client, &numbered(0..1)), 400, "ResourceNotFoundException");
    endpoint.set_faults(Faults { create_denied: true, ..Faults::default() });
    let (_, answer) = client.call("CreateLogGroup", br#"{"logGroupName":"h"}"#, false).unwrap();
    assert!(answer.contains("AccessDeniedException"), "{answer}");
}

#[test]
fn faults_come_and_go_on_command() {
    let endpoint = LogEndpoint::start();
    let mut client = ready(&endpoint);
    let fault = |faults: Faults| endpoint.set_faults(faults);
    fault(Faults { throttled_percent: 100, ..Faults::default() });
    refused(put(&mut client, &numbered(0..1)), 400, "ThrottlingException");
    fault(Faults { error_percent: 100, ..Faults::default() });
    refused(put(&mut client, &numbered(0..1)), 500, "InternalFailure");
    for (refusal, status, kind) in [
        (Refusal::ExpiredToken, 400, "ExpiredTokenException"),
        (Refusal::UnknownKey, 400, "UnrecognizedClientException"),
        (Refusal::ClockSkew, 400, "InvalidSignatureException"),
        (Refusal::Unavailable, 503, "ServiceUnavailableException"),
    ] {
        fault(Faults { refusal: Some(refusal), ..Faults::default() });
        refused(put(&mut client, &numbered(0..1)), status, kind);
    }
    fault(Faults { poison: Some("\"seq\":7,".to_owned()), ..Faults::default() });
    assert_eq!(put(&mut client, &numbered(0..7)).0, 200);
    refused(put(&mut client, &numbered(7..8)), 400, "InvalidParameterException");
    fault(Faults { puts_per_second_max: Some(2), ..Faults::default() });
    let throttled = (0..20).filter(|_| put(&mut client, &numbered(0..1)).0 == 400).count();
    assert!(throttled >= 10, "{throttled} of 20");
    endpoint.heal();
    assert_eq!(put(&mut client, &numbered(7..8)).0, 200);
    assert_eq!(endpoint.missing(1, 8), 0);
    assert_eq!(endpoint.counts().invalid, 0, "{:?}", endpoint.counts());
}

#[test]
fn shares_are_what_was_asked_for() {
    let endpoint = LogEndpoint::start();
    let mut client = ready(&endpoint);
    let faults = Faults { throttled_percent: 10, error_percent: 20, ..Faults::default() };
    endpoint.set_faults(faults);
    for _ in 0..1000 {
        put(&mut client, &numbered(0..1));
    }
    let counts = endpoint.counts();
    assert!((70..130).contains(&counts.throttled), "{counts:?}");
    assert!((160..240).contains(&counts.failed), "{counts:?}");
    assert_eq!(counts.throttled + counts.failed + counts.accepted, 1000);
}

#[test]
fn a_lost_reply_is_an_accepted_batch() {
    let endpoint = LogEndpoint::start();
    let mut client = ready(&endpoint);
    endpoint.set_faults(Faults { reply_lost_percent: 100, ..Faults::default() });
    assert!(client.call("PutLogEvents", &numbered(0..2), false).is_err());
    assert_eq!((endpoint.missing(1, 2), endpoint.counts().replies_lost), (0, 1));
}

#[test]
fn answers_can_be_late_slow_or_never() {
    let mut endpoint = LogEndpoint::start();
    let mut client = ready(&endpoint);
    let late = Duration::from_millis(50);
    endpoint.set_faults(Faults { latency: late, ..Faults::default() });
    let started = Instant::now();
    put(&mut client, &numbered(0..1));
    assert!(started.elapsed() >= late);
    endpoint.set_faults(Faults { trickle: Duration::from_micros(500), ..Faults::default() });
    let started = Instant::now();
    put(&mut client, &numbered(0..1));
    assert!(started.elapsed() >= late, "{:?}", started.elapsed());
    endpoint.set_faults(Faults { hang: true, ..Faults::default() });
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| client.call("PutLogEvents", &numbered(1..2), false));
        endpoint.wait_for_counts(SOON, "the request is read", |counts| counts.unanswered == 1);
        endpoint.go_away();
        assert!(asked.join().unwrap().is_err(), "a request was answered that should hang");
    });
}

#[test]
fn an_endpoint_that_went_away_comes_back_on_its_port() {
    let mut endpoint = LogEndpoint::start_tls();
    let address = endpoint.address();
    endpoint.go_away();
    assert!(TcpStream::connect(&address).is_err());
    endpoint.come_back();
    assert!(TcpStream::connect(&address).is_ok());
    assert_eq!(endpoint.address(), address);
}

#[test]
fn whatever_comes_over_the_wire_the_endpoint_lives_on() {
    let endpoint = LogEndpoint::start();
    let mut client = ready(&endpoint);
    for bytes in
        [&b"\x16\x03\x01"[..], b"GET / HTTP/1.1\r\n\r\n", b"POST / HTTP/9\r\n\r\n", b"\r\n\r\n"]
    {
        let mut stream = TcpStream::connect(endpoint.address()).unwrap();
        stream.write_all(bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        drop(stream.read_to_end(&mut Vec::new()));
    }
    for (operation, body, gzip) in [
        ("PutLogEvents", &b"\xff\xfe"[..], false),
        ("PutLogEvents", b"no gzip", true),
        ("CreateLogGroup", b"[]", false),
        ("Shutdown", b"{}", false),
    ] {
        let (status, _) = client.call(operation, body, gzip).unwrap();
        assert_eq!(status, 400, "{operation}");
    }
    assert_eq!(put(&mut client, &numbered(0..1)).0, 200);
    assert!(endpoint.counts().invalid >= 5, "{:?}", endpoint.counts());
}
