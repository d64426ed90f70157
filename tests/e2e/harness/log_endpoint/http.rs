//! As much of HTTP/1.1 as an AWS client speaks. Nothing that comes in can make it panic.

use std::io::{self, BufRead, Read, Write};
use std::time::Duration;

use super::state::Shared;

const HEADERS_MAX: usize = 64;
const HEAD_BYTES_MAX: usize = 32 * 1024;
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A request as it was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    /// Names in lower case.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Request {
    /// The first header of that name, in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// `None` at the end of the connection.
    pub(super) fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut head = Vec::new();
        loop {
            let before = head.len();
            let left = u64::try_from(HEAD_BYTES_MAX - before).unwrap_or_default();
            reader.by_ref().take(left).read_until(b'\n', &mut head)?;
            if head.is_empty() {
                return Ok(None);
            }
            match &head[before..] {
                b"\r\n" => break,
                line if line.ends_with(b"\n") => {}
                _ => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        let mut request = Self::parse(&head)?;
        let length = match request.header("content-length") {
            None => 0,
            Some(text) => text.parse().map_err(io::Error::other)?,
        };
        if length > BODY_BYTES_MAX {
            return Err(io::Error::other("a body of that size is none of ours"));
        }
        request.body.resize(length, 0);
        reader.read_exact(&mut request.body)?;
        Ok(Some(request))
    }

    fn parse(head: &[u8]) -> io::Result<Self> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut parsed = httparse::Request::new(&mut headers);
        parsed.parse(head).map_err(io::Error::other)?;
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let header = |header: &httparse::Header<'_>| {
            let value = String::from_utf8_lossy(header.value).trim().to_owned();
            (header.name.to_ascii_lowercase(), value)
        };
        Ok(Self {
            method: text(parsed.method),
            path: text(parsed.path),
            headers: parsed.headers.iter().map(header).collect(),
            body: Vec::new(),
        })
    }
}

/// Writes an answer, `trickle` after each byte of it.
pub(super) fn write(
    writer: &mut impl Write,
    (status, body): (u16, &str),
    trickle: Duration,
    shared: &Shared,
) -> io::Result<()> {
    let reason = if status == 200 { "OK" } else { "Error" };
    let answer = format!(
        "HTTP/1.1 {status} {reason}\r\nx-amzn-RequestId: 0f3c8a4e-0000-4000-8000-000000000000\r\n\
         Content-Type: application/x-amz-json-1.1\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    if trickle.is_zero() {
        writer.write_all(answer.as_bytes())?;
    } else {
        for byte in answer.bytes() {
            writer.write_all(&[byte])?;
            writer.flush()?;
            shared.pause(trickle);
        }
    }
    writer.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mut bytes: &[u8]) -> io::Result<Option<Request>> {
        Request::read(&mut bytes)
    }

    #[test]
    fn requests_are_read_one_after_the_other() {
        let mut two: &[u8] =
            b"POST / HTTP/1.1\r\nContent-Length: 3\r\nX-A:  b \r\n\r\nabcGET /x HTTP/1.1\r\n\r\n";
        let first = Request::read(&mut two).unwrap().unwrap();
        assert_eq!((first.method.as_str(), first.body.as_slice()), ("POST", &b"abc"[..]));
        assert_eq!(first.header("x-a"), Some("b"));
        let second = Request::read(&mut two).unwrap().unwrap();
        assert_eq!((second.path.as_str(), second.body.len()), ("/x", 0));
        assert_eq!(Request::read(&mut two).unwrap(), None);
    }

    #[test]
    fn what_is_no_request_is_an_error() {
        for bytes in [
            &b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab"[..],
            b"POST / HTTP/1.1\r\nContent-Length: -3\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
            b"POST / HTTP",
            b"\x16\x03\x01\x00\xff\n\r\n",
            &vec![b'x'; HEAD_BYTES_MAX + 1],
        ] {
            assert!(read(bytes).is_err(), "{bytes:?}");
        }
    }
}
