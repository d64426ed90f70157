//! One HTTP/1.1 request over a new TCP or unix connection, blocking. For a test's own questions;
//! load is `load`'s.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(10);
const HEADERS_MAX: usize = 64;

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Such as 200.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// Without its transfer coding.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The first header of that name, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Asks a TCP server, such as `127.0.0.1:8080`.
pub fn request(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Answer> {
    let address: SocketAddr = address.parse().map_err(io::Error::other)?;
    let stream = TcpStream::connect_timeout(&address, WITHIN)?;
    stream.set_read_timeout(Some(WITHIN))?;
    exchange(stream, &address.to_string(), method, path, headers, body)
}

/// A GET without headers.
pub fn get(address: &str, path: &str) -> io::Result<Answer> {
    request(address, "GET", path, &[], b"")
}

/// A GET from a server on a unix socket.
pub fn get_unix(socket: &Path, path: &str) -> io::Result<Answer> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(WITHIN))?;
    exchange(stream, "localhost", "GET", path, &[], b"")
}

fn exchange(
    mut stream: impl Read + Write,
    host: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Answer> {
    use std::fmt::Write as _;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").expect("a string takes everything");
    }
    write!(head, "Content-Length: {}\r\n\r\n", body.len()).expect("a string takes everything");
    stream.write_all(&[head.as_bytes(), body].concat())?;
    let mut received = Vec::new();
    stream.read_to_end(&mut received)?;
    parse(&received)
}

fn parse(received: &[u8]) -> io::Result<Answer> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(end) = head.parse(received).map_err(io::Error::other)? else {
        return Err(wrong("the answer ends in its head"));
    };
    let status = head.code.ok_or_else(|| wrong("no status"))?;
    let headers: Vec<_> = head
        .headers
        .iter()
        .map(|header| {
            let value = String::from_utf8_lossy(header.value).into_owned();
            (header.name.to_lowercase(), value)
        })
        .collect();
    let find = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, v)| v.clone());
    let rest = &received[end..];
    let body = if find("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
        dechunk(rest).ok_or_else(|| wrong("the chunked body is cut"))?
    } else if let Some(length) = find("content-length").filter(|_| status != 304) {
        let length = length.parse().map_err(io::Error::other)?;
        rest.get(..length).ok_or_else(|| wrong("the body is cut"))?.to_vec()
    } else {
        rest.to_vec()
    };
    Ok(Answer { status, headers, body })
}

fn dechunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let httparse::Status::Complete((start, size)) = httparse::parse_chunk_size(rest).ok()?
        else {
            return None;
        };
        let size = usize::try_from(size).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(start..start + size)?);
        rest = rest.get(start + size + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_whole_or_refused() {
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        assert_eq!(parse(chunked).unwrap().text(), "abc");
        assert!(parse(&chunked[..chunked.len() - 6]).is_err());
        let plain = b"HTTP/1.1 503 No\r\nContent-Length: 2\r\nRetry-After: 1\r\n\r\nno";
        let answer = parse(plain).unwrap();
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
        assert!(parse(&plain[..plain.len() - 1]).is_err());
    }
}
