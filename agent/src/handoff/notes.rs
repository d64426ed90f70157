//! What the preload notes of requests for X-Ray. The texts were chosen by clients and are said by a
//! process: they come out printable and bounded.

use std::net::IpAddr;

use groundcrew_core::time::Wall;
use groundcrew_core::traces::Note;
use groundcrew_core::traces::header::Header;
use serde::Deserialize;

/// Requests of one line (`NOTES_PER_LINE_MAX` in `node.cjs`).
const REQUESTS_MAX: usize = 16;
const METHOD_BYTES_MAX: usize = 16;
const PATH_BYTES_MAX: usize = 1000;
const HOST_BYTES_MAX: usize = 255;
const AGENT_BYTES_MAX: usize = 400;
/// No answer takes longer: a day.
const TOOK_US_MAX: u64 = 86_400_000_000;

/// Requests, and how many there was no room for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(from = "Line")]
pub struct Notes {
    /// Not noted since the last such line.
    pub dropped: u64,
    /// Noted.
    pub requests: Vec<Note>,
}

/// The line as it is written.
#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    dropped: u64,
    requests: Vec<Request>,
}

#[derive(Deserialize)]
struct Request {
    #[serde(default)]
    trace: String,
    #[serde(default)]
    method: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    host: String,
    #[serde(default)]
    https: bool,
    #[serde(default)]
    ip: String,
    #[serde(default)]
    agent: String,
    /// 0: there was no answer.
    status: u16,
    ended_ms: i64,
    us: u64,
    #[serde(default)]
    bytes: Option<u64>,
}

impl From<Line> for Notes {
    fn from(line: Line) -> Self {
        let more = line.requests.len().saturating_sub(REQUESTS_MAX) as u64;
        let requests = line.requests.into_iter().take(REQUESTS_MAX).map(Note::from);
        Self { dropped: line.dropped.saturating_add(more), requests: requests.collect() }
    }
}

impl From<Request> for Note {
    fn from(request: Request) -> Self {
        let usual = |c: char| c.is_ascii_alphanumeric() || "-.:[]_".contains(c);
        let host = printable(&request.host, HOST_BYTES_MAX);
        Self {
            header: Header::parse(&request.trace),
            method: printable(&request.method, METHOD_BYTES_MAX),
            path: printable(&request.path, PATH_BYTES_MAX),
            host: Some(host).filter(|host| !host.is_empty() && host.chars().all(usual)),
            https: request.https,
            client: request.ip.parse::<IpAddr>().ok().map(|ip| ip.to_string()),
            agent: Some(printable(&request.agent, AGENT_BYTES_MAX)).filter(|text| !text.is_empty()),
            status: Some(request.status).filter(|status| (100..600).contains(status)),
            bytes: request.bytes,
            ended: Wall(request.ended_ms),
            took_us: request.us.min(TOOK_US_MAX),
        }
    }
}

fn printable(text: &str, bytes_max: usize) -> String {
    let mut kept: String = text.chars().take(bytes_max).filter(|c| !c.is_control()).collect();
    kept.truncate(kept.floor_char_boundary(bytes_max));
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_as_the_preload_writes_it() {
        let line = r#"{"type":"traces","dropped":3,"requests":[{"trace":
            "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
            "method":"GET","path":"/cart","host":"shop.example.com","https":true,
            "ip":"203.0.113.9","agent":"curl/8.5.0","status":200,"ended_ms":1700000000123,
            "us":4567,"bytes":12},{"method":"GET","path":"/","status":0,"ended_ms":1,"us":1}]}"#;
        let notes: Notes = serde_json::from_str(line).unwrap();
        assert_eq!(notes.dropped, 3);
        let [full, bare] = notes.requests.as_slice() else { panic!("{notes:?}") };
        assert_eq!(full.header.parent.unwrap().to_string(), "53995c3f42cd8ad8");
        assert_eq!((full.status, full.bytes, full.took_us), (Some(200), Some(12), 4567));
        assert_eq!(full.client.as_deref(), Some("203.0.113.9"));
        assert_eq!(
            (bare.status, &bare.client, &bare.host, &bare.agent),
            (None, &None, &None, &None)
        );
        assert_eq!(bare.header, Header::default());
    }

    #[test]
    fn hostile_texts_come_out_printable_and_bounded() {
        let request = serde_json::json!({
            "trace": "Root=".repeat(10_000), "method": "\u{1b}[31mGET".repeat(9),
            "path": "/\u{7}é".repeat(3000), "host": "a/b\"><script>", "ip": "127.0.0.1, evil",
            "agent": "\n".repeat(100), "status": 65535, "ended_ms": i64::MIN, "us": u64::MAX,
        });
        let line = serde_json::json!({ "requests": vec![request; REQUESTS_MAX + 5] });
        let notes: Notes = serde_json::from_str(&line.to_string()).unwrap();
        assert_eq!((notes.requests.len(), notes.dropped), (REQUESTS_MAX, 5));
        let note = &notes.requests[0];
        assert_eq!((note.host.clone(), note.client.clone(), note.status), (None, None, None));
        assert!(note.path.len() <= PATH_BYTES_MAX && note.method.len() <= METHOD_BYTES_MAX);
        assert!(note.path.starts_with("/é/é") && note.agent.is_none());
        assert_eq!(note.took_us, TOOK_US_MAX);
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for text in [
            "{}",
            r#"{"requests":{}}"#,
            r#"{"requests":[{}]}"#,
            r#"{"requests":[{"status":-1,"ended_ms":1,"us":1}]}"#,
            r#"{"requests":[{"status":200,"ended_ms":1.5,"us":1}]}"#,
            r#"{"requests":[],"dropped":-1}"#,
        ] {
            assert!(serde_json::from_str::<Notes>(text).is_err(), "{text}");
        }
    }
}
