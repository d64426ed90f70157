//! What becomes of the logs.

use super::*;
use crate::cli::render::audit;

fn logs() -> PipelineStatus {
    PipelineStatus {
        name: "logs".to_owned(),
        sent_per_second: 940,
        sent: 12_000,
        sent_bytes: 2_556_000,
        backlog_bytes: (12 << 20) / 10,
        oldest_ms: Some(3400),
        last_ok: Some(before(1)),
        dropped: 0,
        rejected: 0,
        reason: None,
    }
}

fn shown(state: State, pipelines: Vec<PipelineStatus>) -> String {
    let document = StatusDocument { pipelines, ..fresh(state) };
    status::render(&document, PLAIN)
}

#[test]
fn a_pipeline_that_gets_on() {
    let idle = PipelineStatus {
        backlog_bytes: 0,
        oldest_ms: None,
        last_ok: None,
        sent_per_second: 0,
        ..logs()
    };
    insta::assert_snapshot!(shown(State::Serving, vec![logs(), idle]), @r"
    ● serving since Fri 2026-08-21 11:24:04 UTC; 3s ago
      Host      web-1
      Release   none yet; s3://acme-releases/shop/production has not been read yet

    PIPELINE  SENT/S  BACKLOG  OLDEST  LAST OK  DROPPED
    logs         940  1.2 MiB      3s   1s ago        0
    logs           0      0 B       -        -        0
    ");
}

#[test]
fn a_pipeline_that_does_not_get_on_says_why_and_at_last_what_to_type() {
    let reason = "PutLogEvents to /groundcrew/production/web is not allowed: \u{1b}[2J";
    let waits = PipelineStatus {
        sent_per_second: 0,
        oldest_ms: Some(900_000),
        last_ok: Some(before(900)),
        dropped: 7,
        rejected: 3,
        reason: Some(reason.to_owned()),
        ..logs()
    };
    let text = shown(State::Serving, vec![waits.clone(), logs()]);
    insta::assert_snapshot!(text, @r"
    ● serving since Fri 2026-08-21 11:24:04 UTC; 3s ago
      Host      web-1
      Release   none yet; s3://acme-releases/shop/production has not been read yet

    PIPELINE  SENT/S  BACKLOG  OLDEST  LAST OK  DROPPED  REJECTED
    logs           0  1.2 MiB     15m  15m ago        7         3
      PutLogEvents to /groundcrew/production/web is not allowed: \u{1b}[2J
    logs         940  1.2 MiB      3s   1s ago        0         0
    ");
    let stuck = PipelineStatus { oldest_ms: Some(960_000), ..waits };
    let text = shown(State::Serving, vec![stuck.clone()]);
    insta::assert_snapshot!(text, @r"
    ● serving since Fri 2026-08-21 11:24:04 UTC; 3s ago
      Host      web-1
      Release   none yet; s3://acme-releases/shop/production has not been read yet

    PIPELINE  SENT/S  BACKLOG  OLDEST  LAST OK  DROPPED  REJECTED
    logs           0  1.2 MiB     16m  15m ago        7         3
      PutLogEvents to /groundcrew/production/web is not allowed: \u{1b}[2J

    Warning: the oldest of logs has been waiting for 16m

    Next: groundcrew logs audit
    ");
    let text = shown(State::Degraded, vec![stuck]);
    assert!(text.ends_with("waiting for 16m\n\nNext: groundcrew logs --since 10m\n"), "{text}");
}

fn source(name: &str) -> SourceAudit {
    let count = |bytes| Count { events: bytes / 100, bytes };
    SourceAudit {
        source: name.to_owned(),
        group: "/groundcrew/production/web".to_owned(),
        stream: format!("i-0a1b2c3d4e5f67890/{name}"),
        read: count(5_000_000),
        acknowledged: count(4_990_000),
        rejected: count(0),
        dropped: count(0),
        pending: count(10_000),
        note: None,
    }
}

#[test]
fn an_audit_answers_first_whether_it_adds_up() {
    let render = |sources: Vec<SourceAudit>| audit::render(&AuditDocument { sources }, PLAIN);
    insta::assert_snapshot!(render(Vec::new()), @"no logs were read on this host yet");
    insta::assert_snapshot!(render(vec![source("web.17.1"), source("web.17.2")]), @r"
    ● adds up: 2 sources, 9.5 MiB read

    SOURCE    GROUP                       STREAM                           READ  ACKNOWLEDGED  REJECTED  DROPPED  PENDING  MISSING
    web.17.1  /groundcrew/production/web  i-0a1b2c3d4e5f67890/web.17.1  5000000       4990000         0        0    10000        0
    web.17.2  /groundcrew/production/web  i-0a1b2c3d4e5f67890/web.17.2  5000000       4990000         0        0    10000        0
    ");
    let mut lost = source("web.17.2");
    lost.pending.bytes = 9_000;
    lost.note = Some("rotated away\nunread".to_owned());
    insta::assert_snapshot!(render(vec![source("web.17.1"), lost]), @r"
    ● does not add up: 1 of 2 sources, 9.5 MiB read

    SOURCE    GROUP                       STREAM                           READ  ACKNOWLEDGED  REJECTED  DROPPED  PENDING  MISSING  NOTE
    web.17.1  /groundcrew/production/web  i-0a1b2c3d4e5f67890/web.17.1  5000000       4990000         0        0    10000        0
    web.17.2  /groundcrew/production/web  i-0a1b2c3d4e5f67890/web.17.2  5000000       4990000         0        0     9000     1000  rotated away\nunread

    Next: journalctl -u groundcrew --since -1h
    ");
}
