//! Asks the agent over its control socket: HTTP/1.1 with JSON over a unix socket. Never retries:
//! the answer is for a person, who can ask again.

use std::error::Error;
use std::future::Future;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use camino::{Utf8Path, Utf8PathBuf};
use http_body_util::{BodyExt, Collected, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::task::JoinSet;

/// How long the agent may take to answer a question about what it knows.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How long the agent may take to answer an order, which it carries out first.
const ORDER_WITHIN: Duration = Duration::from_mins(15);
/// Bytes of one answer: thousands of releases or processes.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of one line of a stream.
const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Why the agent's answer is not there.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens on the socket.
    #[error("the agent is not running: nobody listens on {socket}")]
    NotRunning {
        /// The socket that was tried.
        socket: Utf8PathBuf,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// The socket is there and this user may not use it.
    #[error("this user may not talk to the agent on {socket}")]
    NotAllowed {
        /// The socket that was tried.
        socket: Utf8PathBuf,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// The connection failed in the middle.
    #[error("the agent on {socket} did not answer {request}")]
    Broken {
        /// The socket.
        socket: Utf8PathBuf,
        /// The request, such as `GET /v1/status`.
        request: String,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It took too long.
    #[error("the agent on {socket} did not answer {request} within {within:?}")]
    Late {
        /// The socket.
        socket: Utf8PathBuf,
        /// The request.
        request: String,
        /// How long it had.
        within: Duration,
    },
    /// The agent refused, and said why.
    #[error("{message}")]
    Refused {
        /// The status of the response.
        status: StatusCode,
        /// The agent's words.
        message: String,
    },
    /// The answer is not what this version understands.
    #[error("the agent's answer to {request} is not understood; are both of one version?")]
    Answer {
        /// The request.
        request: String,
        /// Where it stopped making sense.
        #[source]
        source: serde_json::Error,
    },
    /// A stream came to its end, which only happens when the agent goes away.
    #[error("the agent on {socket} went away")]
    Gone {
        /// The socket.
        socket: Utf8PathBuf,
    },
}

impl ClientError {
    /// Whether the reason is that no agent is there.
    #[must_use]
    pub fn is_not_running(&self) -> bool {
        matches!(self, Self::NotRunning { .. } | Self::Gone { .. })
    }

    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotRunning { .. } => Some(
                "start it with `systemctl start groundcrew`, \
                 or name its socket with --socket or GROUNDCREW_SOCKET",
            ),
            Self::NotAllowed { .. } => Some("try again with sudo"),
            Self::Gone { .. } => Some("`systemctl status groundcrew` may say why"),
            _ => None,
        }
    }
}

/// The refusal's body.
#[derive(serde::Deserialize)]
struct Refusal {
    error: String,
}

/// The answer to an order.
#[derive(serde::Deserialize)]
struct Done {
    message: String,
}

/// Talks to the agent behind one socket. Each request has its own connection.
#[derive(Debug, Clone)]
pub struct ControlClient {
    socket: Utf8PathBuf,
}

/// An exchange under way; its connection ends with it.
struct Exchange {
    response: Response<Incoming>,
    /// Moves the connection's bytes; aborted when the exchange is dropped.
    connection: JoinSet<hyper::Result<()>>,
}

impl ControlClient {
    /// For the agent behind `socket`.
    #[must_use]
    pub fn new(socket: Utf8PathBuf) -> Self {
        Self { socket }
    }

    /// The socket.
    #[must_use]
    pub fn socket(&self) -> &Utf8Path {
        &self.socket
    }

    /// The JSON at `path`, such as `/v1/status`.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(&Method::GET, path, ANSWER_WITHIN).await
    }

    /// The agent's process, as the kernel knows it.
    pub async fn agent_pid(&self) -> Result<i32, ClientError> {
        let stream = self.connect().await?;
        let pid = stream.peer_cred().map(|peer| peer.pid());
        pid.ok().flatten().ok_or_else(|| {
            let source = io::Error::other("the kernel does not say whose socket it is");
            ClientError::NotRunning { socket: self.socket.clone(), source }
        })
    }

    async fn connect(&self) -> Result<UnixStream, ClientError> {
        UnixStream::connect(&self.socket).await.map_err(|source| {
            let socket = self.socket.clone();
            match source.kind() {
                io::ErrorKind::PermissionDenied => ClientError::NotAllowed { socket, source },
                _ => ClientError::NotRunning { socket, source },
            }
        })
    }

    /// Gives an order and returns the JSON of the answer, once it is carried out.
    pub async fn post<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(&Method::POST, path, ORDER_WITHIN).await
    }

    /// Gives an order and returns what the agent says happens now.
    pub async fn order(&self, path: &str) -> Result<String, ClientError> {
        let Done { message } = self.post(path).await?;
        Ok(message)
    }

    /// A stream of JSON documents, one per line, which lasts until either side has had enough.
    pub async fn stream(&self, path: &str) -> Result<LineStream, ClientError> {
        let request = name(&Method::GET, path);
        let started = self.start(&Method::GET, path, &request);
        let exchange = self.by(ANSWER_WITHIN, &request, started).await?;
        Ok(LineStream { socket: self.socket.clone(), request, exchange, buffer: BytesMut::new() })
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: &Method,
        path: &str,
        within: Duration,
    ) -> Result<T, ClientError> {
        let request = name(method, path);
        let answer = async {
            let exchange = self.start(method, path, &request).await?;
            self.body(exchange, &request).await
        };
        let body = self.by(within, &request, answer).await?;
        serde_json::from_slice(&body).map_err(|source| ClientError::Answer { request, source })
    }

    /// Sends the request and waits for the head of the response; a refusal is an error.
    async fn start(
        &self,
        method: &Method,
        path: &str,
        request: &str,
    ) -> Result<Exchange, ClientError> {
        let stream = self.connect().await?;
        let broken = |source| self.broken(request, source);
        let (mut sender, connection) = http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
            .await
            .map_err(|error| broken(error.into()))?;
        let mut tasks = JoinSet::new();
        tasks.spawn(connection);
        let message = Request::builder()
            .method(method)
            .uri(path)
            .header(hyper::header::HOST, "groundcrew")
            .body(Empty::new())
            .map_err(|error| broken(error.into()))?;
        let response = sender.send_request(message).await.map_err(|error| broken(error.into()))?;
        let status = response.status();
        let exchange = Exchange { response, connection: tasks };
        if status.is_success() {
            return Ok(exchange);
        }
        let body = self.body(exchange, request).await?;
        let message = serde_json::from_slice(&body)
            .map_or_else(|_| format!("the agent answered {status}"), |Refusal { error }| error);
        Err(ClientError::Refused { status, message })
    }

    async fn body(&self, exchange: Exchange, request: &str) -> Result<Bytes, ClientError> {
        let Exchange { response, connection } = exchange;
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        drop(connection);
        body.map(Collected::to_bytes).map_err(|source| self.broken(request, source))
    }

    async fn by<T>(
        &self,
        within: Duration,
        request: &str,
        answer: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        tokio::time::timeout(within, answer).await.unwrap_or_else(|_| {
            let (socket, request) = (self.socket.clone(), request.to_owned());
            Err(ClientError::Late { socket, request, within })
        })
    }

    fn broken(
        &self,
        request: &str,
        source: Box<dyn std::error::Error + Send + Sync>,
    ) -> ClientError {
        ClientError::Broken { socket: self.socket.clone(), request: request.to_owned(), source }
    }
}

fn name(method: &Method, path: &str) -> String {
    format!("{method} {path}")
}

/// JSON documents, one per line.
pub struct LineStream {
    socket: Utf8PathBuf,
    request: String,
    exchange: Exchange,
    buffer: BytesMut,
}

impl LineStream {
    /// The next document; `None` at the end of the stream. Cancel-safe: what has arrived stays
    /// here.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ClientError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                if line.trim_ascii().is_empty() {
                    continue;
                }
                return self.parse(&line).map(Some);
            }
            if self.buffer.len() > LINE_BYTES_MAX {
                return Err(self.broken("a line is too long".into()));
            }
            let Some(frame) = self.exchange.response.body_mut().frame().await else {
                let rest = self.buffer.split();
                let whole = !rest.trim_ascii().is_empty();
                return if whole { self.parse(&rest).map(Some) } else { Ok(None) };
            };
            let frame = frame.map_err(|error| {
                // An agent that is killed has no time to end its streams.
                if is_cut(&error) { self.gone() } else { self.broken(error.into()) }
            })?;
            if let Some(data) = frame.data_ref() {
                self.buffer.extend_from_slice(data);
            }
        }
    }

    /// Whether a whole line has arrived, so that [`LineStream::next`] will not wait.
    #[must_use]
    pub fn has_line(&self) -> bool {
        self.buffer.contains(&b'\n')
    }

    /// The next document of a stream that has no end of its own.
    pub async fn next_of_endless<T: DeserializeOwned>(&mut self) -> Result<T, ClientError> {
        self.next().await?.ok_or_else(|| self.gone())
    }

    fn gone(&self) -> ClientError {
        ClientError::Gone { socket: self.socket.clone() }
    }

    fn parse<T: DeserializeOwned>(&self, line: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(line)
            .map_err(|source| ClientError::Answer { request: self.request.clone(), source })
    }

    fn broken(&self, source: Box<dyn std::error::Error + Send + Sync>) -> ClientError {
        let (socket, request) = (self.socket.clone(), self.request.clone());
        ClientError::Broken { socket, request, source }
    }
}

/// Whether the connection ended before the answer did.
fn is_cut(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    let kinds =
        [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
    error.is_incomplete_message() || cause.is_some_and(|cause| kinds.contains(&cause.kind()))
}
