//! What people see of an answer, against a server that repeats what it was asked.

use std::time::Duration;

use groundcrew_core::effect::{Level, Told, Topic};
use groundcrew_core::notify::errors::ErrorRules;
use groundcrew_core::notify::{Action, Pace, Rate, Rules};
use groundcrew_core::time::{Moment, Wall};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

const KEY: &str = "T0SECRET0KEY";

/// A target of a kind, at an address.
type Make<'a> = &'a dyn Fn(String) -> Kind;

/// Takes one request and refuses it, with the secret in its words.
async fn refuse(listener: TcpListener) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    let sent = |request: &[u8]| {
        let text = String::from_utf8_lossy(request).to_ascii_lowercase();
        let (head, body) = text.split_once("\r\n\r\n")?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
        (body.len() >= length.parse().ok()?).then_some(())
    };
    while sent(&request).is_none() {
        assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0, "the request breaks off");
    }
    let said = format!("no such thing: /7/{KEY}?{KEY}");
    let answer = format!("HTTP/1.1 404 No\r\nContent-Length: {}\r\n\r\n{said}", said.len());
    stream.write_all(answer.as_bytes()).await.unwrap();
}

fn pace() -> Pace {
    Pace { rate: Rate { count: 1, per: Duration::from_secs(1) }, dedupe: Duration::ZERO }
}

fn target(kind: Kind) -> TargetSettings {
    let rules = Rules {
        name: "ops".to_owned(),
        topics: Topic::ALL.iter().copied().collect(),
        min_level: Level::Normal,
        pace: pace(),
        keeps_alarms: false,
    };
    TargetSettings { rules, kind, title: None, text: None }
}

fn pending<T>(what: T) -> Pending<T> {
    Pending { id: 1, queued: Moment(0), suppressed: 0, more: 0, what }
}

fn place() -> Place {
    Place { environment: "test".to_owned(), host: "i-1".to_owned() }
}

#[tokio::test]
async fn no_secret_comes_back_in_the_words_of_an_answer() {
    let note = || {
        let told = Told::new(Wall(0), Level::Error, "it broke".to_owned());
        pending(Note { told, action: Action::Trigger, key: "groundcrew/test/1".to_owned() })
    };
    let report = || {
        pending(ErrorReport {
            at: Wall(0),
            tier: "web".parse().unwrap(),
            process: "web.1.1".parse().unwrap(),
            release: "v1".parse().unwrap(),
            message: "exited with code 1".to_owned(),
            stack: String::new(),
            lines: Vec::new(),
        })
    };
    let secret = Secret::Inline;
    let key = || secret(KEY.to_owned());
    let kinds: [(Make<'_>, &str); 4] = [
        (&|url| Kind::Slack { url: secret(format!("{url}/7/{KEY}?{KEY}")) }, ""),
        (&|url| Kind::Webhook { url: secret(format!("{url}/7/{KEY}?{KEY}")), secret: None }, ""),
        (&|url| Kind::PagerDuty { key: key(), url }, ": no such thing: /7/[redacted]?[redacted]"),
        (&|url| Kind::Opsgenie { key: key(), url }, ": no such thing: /7/[redacted]?[redacted]"),
    ];
    for (make, said) in kinds {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let kind = make(format!("http://{}", listener.local_addr().unwrap()));
        let word = kind.word();
        let delivery = Delivery::new(place(), &[target(kind)], None);
        let (answer, ()) = tokio::join!(delivery.deliver("ops", None, note()), refuse(listener));
        let reason = chain(&answer.unwrap_err());
        assert_eq!(reason, format!("127.0.0.1 answered 404{said}"), "{word}");
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dsn = secret(format!("http://{KEY}@{}/7", listener.local_addr().unwrap()));
    let rules = ErrorRules { sample_ppm: 1_000_000, pace: pace() };
    let errors = ErrorSettings { dsn, rules, environment: None };
    let delivery = Delivery::new(place(), &[], Some(errors));
    let (answer, ()) = tokio::join!(delivery.report(report()), refuse(listener));
    assert_eq!(chain(&answer.unwrap_err()), "127.0.0.1 answered 404");
}

#[test]
fn what_is_shown_of_an_answer_is_visible_bounded_and_cut_after_the_key_is_out() {
    let check = |body: &str, expected: &str| assert_eq!(said(body, Some("key")), expected);
    check("", "");
    check("k\u{7}ey\n is none", ": [redacted] is none");
    let long = "x".repeat(SHOWN_CHARS_MAX - 2);
    check(&format!("{long}key"), &format!(": {long}[r"));
}

#[tokio::test]
async fn the_hosts_certificates_are_read_when_something_is_posted() {
    let delivery = Delivery::new(place(), &[], None);
    assert!(!delivery.https.initialized());
    let address = Address::parse("http://127.0.0.1:1/").unwrap();
    let post = Post { address, headers: Vec::new(), body: String::new(), key: None };
    assert!(matches!(delivery.post(post).await, Err(DeliveryError::Https(_))));
    assert!(delivery.https.initialized());
}
