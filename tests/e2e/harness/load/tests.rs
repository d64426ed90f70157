//! The load generator against the example app, and against servers that break each rule.

use std::io::{Read, Write};
use std::net::TcpListener;

use super::super::app::{BareApp, Release};
use super::*;

/// A server that does the same with every connection, on its own thread until the test ends.
fn server(treat: impl Fn(&mut std::net::TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            treat(&mut stream.unwrap());
        }
    });
    port
}

fn read_id(stream: &mut std::net::TcpStream) -> Option<String> {
    let mut head = [0; 4096];
    let count = stream.read(&mut head).ok().filter(|count| *count > 0)?;
    let text = String::from_utf8_lossy(&head[..count]).into_owned();
    Some(text.split_once("id=")?.1.split(' ').next()?.to_owned())
}

fn answer(stream: &mut std::net::TcpStream, id: &str, header: &str, cut: usize) {
    let body = format!("ok {id}\n");
    let text = format!("HTTP/1.1 200 OK\r\n{header}Content-Length: {}\r\n\r\n{body}", body.len());
    drop(stream.write_all(&text.as_bytes()[..text.len() - cut]));
}

/// Runs one worker until something is noted, and answers the report.
fn run(port: u16, kind: Kind) -> Report {
    let load = Load::on(port).with(kind, 1).within(Duration::from_millis(300)).start();
    super::super::wait_until(Duration::from_secs(10), "a result", || {
        let report = load.report();
        if report.sent() >= 3 { Ok(()) } else { Err(report.failures) }
    });
    load.stop()
}

fn check_failure(reason: &str, treat: impl Fn(&mut std::net::TcpStream) + Send + 'static) {
    let report = run(server(treat), Kind::KeepAlive);
    assert!(report.failures.contains_key(reason), "not {reason:?}: {:#?}", report.failures);
    assert_eq!(report.sent(), report.ok() + report.failed());
}

#[test]
fn every_kind_of_connection_gets_its_answers_from_the_app() {
    let app = BareApp::start(&Release::web("v1", 0), &[]);
    let load = Load::of_every_kind(app.port).start();
    super::super::wait_until(Duration::from_secs(20), "each kind has an answer", || {
        let report = load.report();
        let answered = report.kinds.values().filter(|tally| tally.ok >= 2).count();
        if answered == 6 { Ok(()) } else { Err(report.failures) }
    });
    let report = load.stop();
    report.assert_none_failed();
    assert!(report.answers_of("v1") > 0);
    assert_eq!((report.closed_while_idle, report.websockets_cut), (0, 0));
    assert!(report.quantile(Kind::Slow, 0.5) >= Duration::from_millis(490));
    assert!(report.quantile(Kind::KeepAlive, 0.5) < Duration::from_millis(100));
}

#[test]
fn a_killed_app_fails_what_was_in_flight_and_refuses_what_comes() {
    let mut app = BareApp::start(&Release::web("v1", 0), &[]);
    let load = Load::on(app.port).with(Kind::Slow, 2).with(Kind::WebSocket, 2).start();
    load.wait_for_answers(20);
    app.kill();
    super::super::wait_until(Duration::from_secs(10), "both failures", || {
        let report = load.report();
        let refused = report.failures.contains_key("connection refused");
        let unanswered = report.failures.keys().any(|reason| reason.contains("before a byte"));
        if refused && unanswered { Ok(()) } else { Err(report.failures) }
    });
    assert!(load.stop().described[0].contains("before a byte"));
}

#[test]
fn a_request_without_an_answer_is_a_failure() {
    check_failure("new connection closed before a byte of the answer", |stream| {
        read_id(stream);
    });
}

#[test]
fn a_kept_connection_that_is_closed_on_a_request_is_a_failure() {
    check_failure("kept connection closed before a byte of the answer", |stream| {
        let id = read_id(stream).unwrap_or_default();
        answer(stream, &id, "", 0);
        read_id(stream);
    });
}

#[test]
fn a_kept_connection_that_is_closed_before_a_request_is_only_counted() {
    let report = run(
        server(|stream| {
            let id = read_id(stream).unwrap_or_default();
            answer(stream, &id, "", 0);
        }),
        Kind::KeepAlive,
    );
    assert!(report.closed_while_idle > 0, "{report:?}");
    report.assert_none_failed();
}

#[test]
fn a_closed_connection_that_was_announced_is_not_even_counted() {
    let report = run(
        server(|stream| {
            let id = read_id(stream).unwrap_or_default();
            answer(stream, &id, "Connection: close\r\n", 0);
        }),
        Kind::KeepAlive,
    );
    report.assert_none_failed();
    assert_eq!(report.closed_while_idle, 0);
    assert_eq!(report.connections, report.sent());
}

#[test]
fn broken_answers_are_failures() {
    check_failure("connection ended within the answer", |stream| {
        let id = read_id(stream).unwrap_or_default();
        answer(stream, &id, "", 2);
    });
    check_failure("wrong body", |stream| {
        read_id(stream);
        answer(stream, "another", "", 0);
    });
    check_failure("status 503", |stream| {
        read_id(stream);
        drop(stream.write_all(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"));
    });
    check_failure("no answer in time", |stream| {
        read_id(stream);
        // Answers nothing, and holds the connection until the client gives up.
        drop(stream.read(&mut [0; 16]));
    });
    check_failure("not HTTP: invalid HTTP version", |stream| {
        read_id(stream);
        drop(stream.write_all(b"SSH-2.0-OpenSSH\r\n\r\n"));
    });
}

#[test]
fn chunked_answers_are_put_together() {
    let report = run(
        server(|stream| {
            let Some(id) = read_id(stream) else { return };
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
            let size = id.len();
            drop(write!(stream, "{head}3\r\nok \r\n{size:x}\r\n{id}\r\n1\r\n\n\r\n0\r\n\r\n"));
        }),
        Kind::KeepAlive,
    );
    report.assert_none_failed();
}
