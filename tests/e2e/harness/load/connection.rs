//! One client connection: sends the bytes it is given, reads one answer, no more than that.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use nix::sys::socket::{MsgFlags, recv};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HEADERS_MAX: usize = 64;
const READ_BYTES: usize = 16 * 1024;

/// Why a request failed. The text is the reason in a report.
#[derive(Debug)]
pub enum Failure {
    /// Nobody listens.
    Refused,
    /// No connection for another reason.
    Connect(io::Error),
    /// The connection was closed or reset after the request was sent, before a byte of an answer.
    Unanswered { reused: bool, reset: bool },
    /// The connection ended within the answer.
    Truncated,
    /// Another status than 200.
    Status(u16),
    /// Another body than the one that was asked for.
    Body,
    /// Not HTTP.
    Garbled(String),
    /// No answer in time.
    TimedOut,
    /// A WebSocket ended with a message on its way.
    MessageLost,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused => write!(f, "connection refused"),
            Self::Connect(error) => write!(f, "could not connect: {error}"),
            Self::Unanswered { reused, reset } => {
                let connection = if *reused { "kept" } else { "new" };
                let how = if *reset { "reset" } else { "closed" };
                write!(f, "{connection} connection {how} before a byte of the answer")
            }
            Self::Truncated => write!(f, "connection ended within the answer"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::Body => write!(f, "wrong body"),
            Self::Garbled(what) => write!(f, "not HTTP: {what}"),
            Self::TimedOut => write!(f, "no answer in time"),
            Self::MessageLost => write!(f, "WebSocket ended with a message unanswered"),
        }
    }
}

/// An answer, in the connection's buffer.
pub struct Answer<'a> {
    pub status: u16,
    pub body: &'a [u8],
    pub release: &'a str,
    pub process: &'a str,
    /// Whether the connection may be used again.
    pub keep: bool,
}

/// An open connection.
pub struct Connection {
    pub stream: TcpStream,
    pub received: Vec<u8>,
    body: Vec<u8>,
    reused: bool,
}

/// Where the parts of an answer's head are; `head` is its length.
struct Head {
    head: usize,
    status: u16,
    length: Option<usize>,
    chunked: bool,
    keep: bool,
    release: (usize, usize),
    process: (usize, usize),
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await.map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionRefused => Failure::Refused,
            _ => Failure::Connect(error),
        })?;
        stream.set_nodelay(true).map_err(Failure::Connect)?;
        Ok(Self { stream, received: Vec::new(), body: Vec::new(), reused: false })
    }

    /// Whether the server has closed it. Asks the kernel, not tokio, which may not have looked yet.
    pub fn is_closed(&self) -> bool {
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        !matches!(recv(self.stream.as_raw_fd(), &mut [0], flags), Err(nix::errno::Errno::EAGAIN))
    }

    /// Sends a request and reads its answer.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<Answer<'_>, Failure> {
        let reused = std::mem::replace(&mut self.reused, true);
        self.received.clear();
        if let Err(error) = self.stream.write_all(request).await {
            return Err(unanswered(reused, &error));
        }
        let head = loop {
            if let Some(head) = parse_head(&self.received)? {
                break head;
            }
            if self.fill(reused).await? == 0 {
                return Err(if self.received.is_empty() {
                    Failure::Unanswered { reused, reset: false }
                } else {
                    Failure::Truncated
                });
            }
        };
        self.read_body(&head, reused).await?;
        let text = |(from, to)| str::from_utf8(&self.received[from..to]).unwrap_or("?");
        Ok(Answer {
            status: head.status,
            release: text(head.release),
            process: text(head.process),
            keep: head.keep,
            body: if head.chunked { &self.body } else { &self.received[head.head..] },
        })
    }

    async fn read_body(&mut self, head: &Head, reused: bool) -> Result<(), Failure> {
        if head.chunked {
            return self.read_chunks(head.head, reused).await;
        }
        // Without a length the body ends with the connection.
        let end = head.length.map(|length| head.head + length);
        while end.is_none_or(|end| self.received.len() < end) {
            if self.fill(reused).await? == 0 {
                return if end.is_none() { Ok(()) } else { Err(Failure::Truncated) };
            }
        }
        match end {
            Some(end) if self.received.len() > end => {
                Err(Failure::Garbled("more bytes than the answer has".to_owned()))
            }
            _ => Ok(()),
        }
    }

    async fn read_chunks(&mut self, mut at: usize, reused: bool) -> Result<(), Failure> {
        self.body.clear();
        loop {
            let parsed = httparse::parse_chunk_size(&self.received[at..])
                .map_err(|_| Failure::Garbled("a chunk without a size".to_owned()))?;
            if let httparse::Status::Complete((start, size)) = parsed {
                let size = usize::try_from(size).expect("64 bits");
                let end = at + start + size + 2;
                if self.received.len() >= end {
                    self.body.extend_from_slice(&self.received[at + start..end - 2]);
                    at = end;
                    if size == 0 {
                        return Ok(());
                    }
                    continue;
                }
            }
            if self.fill(reused).await? == 0 {
                return Err(Failure::Truncated);
            }
        }
    }

    async fn fill(&mut self, reused: bool) -> Result<usize, Failure> {
        self.received.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.received).await {
            Ok(count) => Ok(count),
            Err(error) if self.received.is_empty() => Err(unanswered(reused, &error)),
            Err(_) => Err(Failure::Truncated),
        }
    }
}

fn unanswered(reused: bool, error: &io::Error) -> Failure {
    let closed = error.kind() == io::ErrorKind::BrokenPipe;
    Failure::Unanswered { reused, reset: !closed }
}

fn parse_head(received: &[u8]) -> Result<Option<Head>, Failure> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(received).map_err(|error| Failure::Garbled(error.to_string()))?;
    let httparse::Status::Complete(end) = parsed else { return Ok(None) };
    let mut head = Head {
        head: end,
        status: response.code.unwrap_or(0),
        length: None,
        chunked: false,
        keep: response.version == Some(1),
        release: (0, 0),
        process: (0, 0),
    };
    let place = |value: &[u8]| {
        let from = value.as_ptr().addr() - received.as_ptr().addr();
        (from, from + value.len())
    };
    for header in response.headers.iter() {
        let name = header.name;
        if name.eq_ignore_ascii_case("content-length") {
            let length = str::from_utf8(header.value).ok().and_then(|text| text.parse().ok());
            head.length =
                Some(length.ok_or_else(|| Failure::Garbled("Content-Length".to_owned()))?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            head.chunked = header.value.eq_ignore_ascii_case(b"chunked");
        } else if name.eq_ignore_ascii_case("connection") {
            head.keep &= !header.value.eq_ignore_ascii_case(b"close");
        } else if name.eq_ignore_ascii_case("x-release") {
            head.release = place(header.value);
        } else if name.eq_ignore_ascii_case("x-process") {
            head.process = place(header.value);
        }
    }
    // What comes after an upgrade is not a body.
    if head.status == 101 {
        head.length = Some(received.len() - end);
    }
    head.keep &= head.chunked || head.length.is_some();
    Ok(Some(head))
}
