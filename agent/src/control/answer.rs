//! Responses: whole JSON documents, lines that go on, and refusals with a reason.

use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body as _, Frame};
use hyper::{Response, StatusCode};
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;

/// A body of either kind.
pub type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;
/// A response.
pub type Answer = Response<Body>;

/// A response of one piece.
pub fn whole(status: StatusCode, media_type: &'static str, bytes: impl Into<Bytes>) -> Answer {
    response(status, media_type, Full::new(bytes.into()).boxed_unsync())
}

/// A JSON document.
pub fn json(status: StatusCode, document: &impl Serialize) -> Answer {
    match serde_json::to_vec(document) {
        Ok(bytes) => whole(status, "application/json", bytes),
        // Plain structs; only a map with keys that are no strings could get here.
        Err(error) => {
            tracing::error!("an answer is not JSON: {error}");
            whole(StatusCode::INTERNAL_SERVER_ERROR, "application/json", "{\"error\":\"internal\"}")
        }
    }
}

/// A refusal that says why.
pub fn refusal(status: StatusCode, why: impl Into<String>) -> Answer {
    #[derive(Serialize)]
    struct Refusal {
        error: String,
    }
    json(status, &Refusal { error: why.into() })
}

/// Newline-delimited JSON that goes on for as long as `lines` does.
pub fn lines(lines: impl futures_util::Stream<Item = Bytes> + Send + 'static) -> Answer {
    stream("application/x-ndjson", lines)
}

/// A response that goes on for as long as `pieces` does.
pub fn stream(
    media_type: &'static str,
    pieces: impl futures_util::Stream<Item = Bytes> + Send + 'static,
) -> Answer {
    let frames = pieces.map(|piece| Ok(Frame::data(piece)));
    response(StatusCode::OK, media_type, BodyExt::boxed_unsync(StreamBody::new(frames)))
}

/// The same response, which holds its place in a count until it was taken: a body of one piece
/// would be let go of when the piece is in the connection's buffer.
pub fn held(answer: Answer, room: OwnedSemaphorePermit) -> Answer {
    let (mut head, body) = answer.into_parts();
    if let Some(bytes) = body.size_hint().exact() {
        head.headers.insert(hyper::header::CONTENT_LENGTH, bytes.into());
    }
    let pieces = futures_util::stream::unfold((body, room), |(mut body, room)| async {
        body.frame().await.map(|frame| (frame, (body, room)))
    });
    Response::from_parts(head, BodyExt::boxed_unsync(StreamBody::new(pieces)))
}

/// One line of a stream.
pub fn line(document: &impl Serialize) -> Option<Bytes> {
    let mut bytes = serde_json::to_vec(document).ok()?;
    bytes.push(b'\n');
    Some(bytes.into())
}

fn response(status: StatusCode, media_type: &'static str, body: Body) -> Answer {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let value = hyper::header::HeaderValue::from_static(media_type);
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, value);
    response
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn a_place_is_held_until_the_answer_was_taken() {
        let rooms = Arc::new(Semaphore::new(1));
        let room = Arc::clone(&rooms).try_acquire_owned().unwrap();
        let mut answer = held(whole(StatusCode::OK, "text/plain", "much"), room);
        assert_eq!(answer.headers()["content-length"], "4");
        let piece = answer.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!((piece.as_ref(), rooms.available_permits()), (&b"much"[..], 0));
        assert!(answer.body_mut().frame().await.is_none());
        assert_eq!(rooms.available_permits(), 1);
    }
}
