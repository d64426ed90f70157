//! UDP port 2000, as the daemon of X-Ray has it: applications with the X-Ray SDK send their
//! segments there. Whoever sends is a stranger: what is not a segment is counted and nothing else,
//! and a port that is taken is tried again, never a reason to stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use groundcrew_core::traces::header::{SegmentId, TraceId};
use groundcrew_core::traces::queue::{DOCUMENT_BYTES_MAX, Document};
use serde::Deserialize;
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::clock;
use crate::errors::chain;

/// The largest datagram there is.
const DATAGRAM_BYTES_MAX: usize = 65_535;
/// Pause before a port that is taken is tried again, and after an error of the socket.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// The first line of a datagram.
#[derive(Deserialize)]
struct Format {
    format: String,
    version: u64,
}

/// What of a document X-Ray requires (`PutTraceSegments`), of segments and of subsegments.
#[derive(Deserialize)]
struct Required {
    id: String,
    trace_id: String,
    name: String,
    start_time: f64,
}

/// Why a datagram is none of the daemon's.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoSegment {
    #[error("it has no line with the format")]
    Format,
    #[error("it is no JSON of a segment")]
    Json,
    #[error("its ids are none of X-Ray's")]
    Ids,
    #[error("it is longer than {DOCUMENT_BYTES_MAX} bytes")]
    Long,
}

/// The document of a datagram: `{"format":"json","version":1}`, a newline, one segment.
pub(super) fn parse(datagram: &[u8]) -> Result<Document, NoSegment> {
    let newline = memchr::memchr(b'\n', datagram).ok_or(NoSegment::Format)?;
    let (first, rest) = datagram.split_at(newline);
    let format: Format = serde_json::from_slice(first).map_err(|_| NoSegment::Format)?;
    if format.format != "json" || format.version != 1 {
        return Err(NoSegment::Format);
    }
    let text = str::from_utf8(rest).map_err(|_| NoSegment::Json)?.trim();
    if text.len() > DOCUMENT_BYTES_MAX {
        return Err(NoSegment::Long);
    }
    let required: Required = serde_json::from_str(text).map_err(|_| NoSegment::Json)?;
    let known = TraceId::parse(&required.trace_id).and(SegmentId::parse(&required.id));
    if known.is_none() || required.name.is_empty() || required.start_time <= 0.0 {
        return Err(NoSegment::Ids);
    }
    Ok(Document { id: required.id, text: text.to_owned() })
}

/// Relays until cancelled.
pub(super) async fn run(address: SocketAddr, shared: Arc<Shared>, cancel: CancellationToken) {
    let relaying = async {
        loop {
            match UdpSocket::bind(address).await {
                Ok(socket) => {
                    shared.relay_is(None);
                    receive(&socket, &shared).await;
                }
                Err(error) => {
                    let reason = format!("could not listen on {address}: {}", chain(&error));
                    if shared.relay_is(Some(reason.clone())) {
                        tracing::error!("traces are not relayed: {reason}; tried again");
                    }
                }
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    };
    tokio::select! {
        () = cancel.cancelled() => {}
        () = relaying => {}
    }
}

/// Takes datagrams until the socket fails.
async fn receive(socket: &UdpSocket, shared: &Shared) {
    let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
    let mut told = false;
    loop {
        let bytes = match socket.recv_from(&mut datagram).await {
            Ok((bytes, _)) => bytes,
            Err(error) => {
                tracing::warn!("could not receive traces: {}", chain(&error));
                return;
            }
        };
        let now = clock::at();
        if !shared.queue().admits_relayed(now) {
            continue;
        }
        match parse(&datagram[..bytes]) {
            Ok(document) => shared.push(now, document),
            Err(why) => {
                shared.queue().drop_many(1);
                // Once: an application that is wrong is wrong each time.
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!("a datagram of {bytes} bytes is no segment: {why}");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SEGMENT: &str = r#"{"trace_id":"1-581cf771-a006649127e371903a2de979",
        "id":"70de5b6f19ff9a0a","start_time":1.478293361271E9,"end_time":1.478293361449E9,
        "name":"shop","subsegments":[{"id":"6226467e3f845502","namespace":"remote"}]}"#;

    fn datagram(head: &str, body: &str) -> Vec<u8> {
        format!("{head}\n{body}").into_bytes()
    }

    const HEAD: &str = r#"{"format": "json", "version": 1}"#;

    #[test]
    fn a_segment_of_an_sdk_is_passed_on_as_it_is() {
        let document = parse(&datagram(HEAD, &format!("{SEGMENT}\n"))).unwrap();
        assert_eq!((document.id.as_str(), document.text.as_str()), ("70de5b6f19ff9a0a", SEGMENT));
    }

    #[test]
    fn what_is_no_segment_is_refused() {
        let check = |bytes: &[u8], expected: NoSegment| {
            assert_eq!(parse(bytes), Err(expected), "{}", String::from_utf8_lossy(bytes));
        };
        check(b"", NoSegment::Format);
        check(HEAD.as_bytes(), NoSegment::Format);
        check(&datagram(r#"{"format":"xml","version":1}"#, SEGMENT), NoSegment::Format);
        check(&datagram(r#"{"format":"json","version":2}"#, SEGMENT), NoSegment::Format);
        check(&datagram(HEAD, ""), NoSegment::Json);
        check(&datagram(HEAD, "[1]"), NoSegment::Json);
        check(&datagram(HEAD, &format!("{SEGMENT}{SEGMENT}")), NoSegment::Json);
        check(&datagram(HEAD, &"[".repeat(60_000)), NoSegment::Json);
        check(&datagram(HEAD, &SEGMENT.replace("1-581cf771", "2-581cf771")), NoSegment::Ids);
        check(&datagram(HEAD, &SEGMENT.replace("70de5b6f19ff9a0a", "1")), NoSegment::Ids);
        let mut bytes = datagram(HEAD, SEGMENT);
        *bytes.last_mut().unwrap() = 0xff;
        check(&bytes, NoSegment::Json);
        let long = SEGMENT.replace("shop", &"x".repeat(DOCUMENT_BYTES_MAX));
        check(&datagram(HEAD, &long), NoSegment::Long);
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(parse(&bytes).is_err());
            let mut behind = format!("{HEAD}\n").into_bytes();
            behind.extend(&bytes);
            prop_assert!(parse(&behind).is_err());
        }
    }
}
