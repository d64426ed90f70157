//! One probe of one process: a GET over its private socket, or a plain connect. It ends by its
//! deadline whatever the other side does, and reads no more than it needs.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use camino::Utf8PathBuf;
use groundcrew_core::types::Pid;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// Bytes of an answer's body that are read, so that the app does not see its answer cut off.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Whom to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeTarget {
    /// A process's private socket.
    Unix {
        /// The socket.
        path: Utf8PathBuf,
        /// Who must have opened it: the file is in a directory of the app's user.
        pid: Option<Pid>,
    },
    /// A TCP address.
    Tcp(SocketAddr),
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Whom to ask.
    pub target: ProbeTarget,
    /// What to GET; `None`: it is good when it takes a connection.
    pub path: Option<String>,
    /// How long all of it may take.
    pub within: Duration,
}

/// Why a probe was not good. Displays as a clause for people.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// There is no socket to connect to.
    #[error("it does not listen yet")]
    NotListening,
    /// Nobody takes connections.
    #[error("connection refused")]
    Refused,
    /// The deadline passed.
    #[error("no answer in {}", seconds(.0))]
    Late(Duration),
    /// The head of the answer came, its body did not.
    #[error("GET {path} answered {status} and did not finish in {}", seconds(.within))]
    Unfinished {
        /// What was asked.
        path: String,
        /// The status of the answer.
        status: StatusCode,
        /// How long it had.
        within: Duration,
    },
    /// Any status but 200 to 299.
    #[error("GET {path} answered {}", .status.as_u16())]
    Status {
        /// What was asked.
        path: String,
        /// The status of the answer.
        status: StatusCode,
    },
    /// Another process has put its socket there.
    #[error("pid {actual} answers on the probe socket, not pid {expected}")]
    Stranger {
        /// Who should answer.
        expected: Pid,
        /// Who does.
        actual: Pid,
    },
    /// The path is none.
    #[error("{0:?} is not a path that can be asked for")]
    Path(String),
    /// What came was not HTTP, or the connection broke.
    #[error("GET {path} got no answer: {}", crate::errors::chain(.source))]
    Http {
        /// What was asked.
        path: String,
        /// What went wrong.
        source: hyper::Error,
    },
    /// The connection could not be made for another reason.
    #[error("could not connect: {0}")]
    Connect(io::Error),
}

fn seconds(duration: &Duration) -> String {
    format!("{}s", duration.as_secs_f64())
}

impl From<io::Error> for ProbeError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::NotListening,
            io::ErrorKind::ConnectionRefused => Self::Refused,
            _ => Self::Connect(error),
        }
    }
}

impl Probe {
    /// Asks. Never takes longer than [`Probe::within`].
    pub async fn ask(&self) -> Result<(), ProbeError> {
        // What is known when the deadline passes: the status, once the head has come.
        let mut head = None;
        let asked = tokio::time::timeout(self.within, self.connect_and_ask(&mut head)).await;
        match (asked, head) {
            (Ok(result), _) => result,
            (Err(_), None) => Err(ProbeError::Late(self.within)),
            (Err(_), Some(status)) => {
                let path = self.path.clone().unwrap_or_default();
                Err(ProbeError::Unfinished { path, status, within: self.within })
            }
        }
    }

    async fn connect_and_ask(&self, head: &mut Option<StatusCode>) -> Result<(), ProbeError> {
        match &self.target {
            ProbeTarget::Unix { path, pid } => {
                let stream = UnixStream::connect(path).await?;
                let actual = stream.peer_cred()?.pid().unwrap_or(0);
                match *pid {
                    Some(expected) if expected != actual => {
                        Err(ProbeError::Stranger { expected, actual })
                    }
                    _ => self.get(stream, head).await,
                }
            }
            ProbeTarget::Tcp(address) => self.get(TcpStream::connect(address).await?, head).await,
        }
    }

    async fn get<S>(&self, stream: S, head: &mut Option<StatusCode>) -> Result<(), ProbeError>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let Some(path) = &self.path else { return Ok(()) };
        let http = |source| ProbeError::Http { path: path.clone(), source };
        let request = request(path)?;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(http)?;
        let exchange = async move {
            let mut response = sender.send_request(request).await.map_err(http)?;
            *head = Some(response.status());
            read_some(response.body_mut()).await.map_err(http)?;
            match response.status() {
                status if status.is_success() => Ok(()),
                status => Err(ProbeError::Status { path: path.clone(), status }),
            }
        };
        // The connection does the reading and writing; its own end is told to the exchange.
        let connection = async move {
            drop(connection.await);
            std::future::pending().await
        };
        tokio::select! {
            result = exchange => result,
            never = connection => never,
        }
    }
}

fn request(path: &str) -> Result<Request<Empty<Bytes>>, ProbeError> {
    let refuse = || ProbeError::Path(path.to_owned());
    let uri: Uri = path.parse().map_err(|_| refuse())?;
    if !path.starts_with('/') {
        return Err(refuse());
    }
    Request::get(uri)
        .header(hyper::header::HOST, "localhost")
        .header(hyper::header::USER_AGENT, "groundcrew-probe")
        .header(hyper::header::CONNECTION, "close")
        .body(Empty::new())
        .map_err(|_| refuse())
}

/// Reads the body to its end, or as far as the limit.
async fn read_some(body: &mut hyper::body::Incoming) -> Result<(), hyper::Error> {
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        read += frame?.data_ref().map_or(0, Bytes::len);
        if read > BODY_BYTES_MAX {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, UnixListener};

    use super::*;

    const WITHIN: Duration = Duration::from_millis(200);

    /// Asks a server that reads the request, sends `answer` and then hangs or closes.
    async fn check(answer: Vec<u8>, closes: bool, expected: &str) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = ProbeTarget::Tcp(listener.local_addr().unwrap());
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await.unwrap();
            assert!(request[..read].starts_with(b"GET /health HTTP/1.1\r\n"));
            // The probe may have seen enough already.
            drop(stream.write_all(&answer).await);
            if !closes {
                std::future::pending::<()>().await;
            }
            drop(stream);
            std::future::pending::<()>().await;
        };
        let probe = Probe { target, path: Some("/health".to_owned()), within: WITHIN };
        let result = tokio::select! {
            result = probe.ask() => result,
            () = serve => unreachable!(),
        };
        let said = result.map_or_else(|error| error.to_string(), |()| "ok".to_owned());
        assert!(said.starts_with(expected), "{said:?}, not {expected:?}");
    }

    #[tokio::test]
    async fn says_what_the_answer_was() {
        let empty =
            |status: &str| format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").into_bytes();
        check(empty("200 OK"), false, "ok").await;
        check(empty("204 No Content"), true, "ok").await;
        check(empty("503 Service Unavailable"), false, "GET /health answered 503").await;
        check(empty("301 Moved"), false, "GET /health answered 301").await;
        check(Vec::new(), false, "no answer in 0.2s").await;
        check(Vec::new(), true, "GET /health got no answer").await;
        check(b"SSH-2.0-x\r\n".to_vec(), false, "GET /health got no answer").await;
        check(b"HTTP/1.1 200".to_vec(), false, "no answer in 0.2s").await;
        let stalled = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc".to_vec();
        check(stalled, false, "GET /health answered 200 OK and did not finish in 0.2s").await;
    }

    #[tokio::test]
    async fn reads_no_more_than_its_limits() {
        let mut long = b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n".to_vec();
        long.resize(4 * BODY_BYTES_MAX, b'x');
        check(long, false, "ok").await;
        let mut head = b"HTTP/1.1 200 OK\r\nx: ".to_vec();
        head.resize(4 * HEAD_BYTES_MAX, b'x');
        check(head, false, "GET /health got no answer").await;
    }

    #[tokio::test]
    async fn a_plain_connect_is_enough_without_a_path() {
        let keep = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(keep.path().join("probe.sock")).unwrap();
        let ask = async |pid| {
            let target = ProbeTarget::Unix { path: path.clone(), pid };
            let asked = Probe { target, path: None, within: WITHIN }.ask().await;
            asked.map_or_else(|error| error.to_string(), |()| "ok".to_owned())
        };
        assert_eq!(ask(None).await, "it does not listen yet");
        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(ask(None).await, "ok");
        assert_eq!(ask(Some(Pid::try_from(std::process::id()).unwrap())).await, "ok");
        assert!(ask(Some(1)).await.ends_with("answers on the probe socket, not pid 1"));
        drop(listener);
        assert_eq!(ask(None).await, "connection refused");
    }

    #[tokio::test]
    async fn a_path_cannot_smuggle_a_second_request() {
        let target = ProbeTarget::Tcp("127.0.0.1:9".parse().unwrap());
        for path in ["", "health", "http://a/b", "/a\r\nx: y", "/a b"] {
            assert!(matches!(request(path), Err(ProbeError::Path(_))), "{path:?} to {target:?}");
        }
    }
}
