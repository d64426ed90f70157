//! How the agent is asked: HTTP/1.1 with JSON over a unix socket for the command line, and over TCP
//! `/ready` for load balancers, `/metrics` for scrapers and the status page for people. Reads and
//! carries requests; what they mean is the runtime's.
//!
//! The unix socket is root's alone. Over TCP nothing can be changed.

mod answer;
pub mod client;
mod live;
mod page;
mod public;
mod routes;

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use camino::Utf8PathBuf;
use groundcrew_core::doctor::TierNumbers;
use groundcrew_core::status::{HistoryDocument, ReleasesDocument, StatusDocument};
use groundcrew_core::time::Moment;
use groundcrew_core::types::{TierName, Version};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::HttpConfig;
use crate::errors::chain;
use crate::fsx::{self, About, FileError};
use crate::logs::Logs;
use crate::metrics::Format;
use answer::Answer;
use public::{LIVE_MAX, Public, SCRAPES_MAX};
use routes::Desk;

/// Questions waiting for the runtime.
const REQUESTS_MAX: usize = 64;
/// Connections at once: people, scripts and load balancers' checks.
const CONNECTIONS_MAX: usize = 256;
/// How long a client may take to send its request's head.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// How long a client may take nothing of what is sent to it (`TCP_USER_TIMEOUT`, tcp(7)).
const TAKEN_WITHIN: Duration = Duration::from_secs(30);
/// Pause after the system refused a connection, for want of files usually.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Root's alone: whoever may ask may also restart.
const SOCKET_MODE: u32 = 0o600;

/// Why the agent cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The socket's file.
    #[error(transparent)]
    File(#[from] FileError),
    /// An address.
    #[error("could not listen on {address}")]
    Listen {
        /// The socket's path or the TCP address.
        address: String,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
}

/// What the runtime is asked.
#[derive(Debug)]
pub enum Request {
    /// How is the host?
    Status(oneshot::Sender<Arc<StatusDocument>>),
    /// Which releases are here?
    Releases {
        /// Only this one.
        version: Option<Version>,
        /// Where the answer goes.
        answer: oneshot::Sender<ReleasesDocument>,
    },
    /// Leave (and why), or serve again.
    Order {
        /// Why; `None`: serve again.
        reason: Option<String>,
        /// What happens now, or why nothing does.
        answer: oneshot::Sender<Result<String, String>>,
    },
    /// What would a drain do?
    DrillPlan {
        /// How long the host would have.
        within: Option<Duration>,
        /// Step by step.
        answer: oneshot::Sender<Vec<String>>,
    },
    /// What do the tiers that run take?
    Tiers(oneshot::Sender<Vec<TierNumbers>>),
    /// Play a notice.
    Drill {
        /// What is played.
        text: String,
        /// How long the host has.
        within: Option<Duration>,
        /// What happens now, or why nothing does.
        answer: oneshot::Sender<Result<String, String>>,
    },
    /// Go on standby in the group.
    Standby(oneshot::Sender<Result<String, String>>),
    /// Go on as the binary that is on disk; answered when that has been tried out.
    Reload(oneshot::Sender<Result<(), String>>),
    /// Everything that is measured, as text; `None`: it could not be written.
    Metrics {
        /// For whom.
        format: Format,
        /// Where the answer goes.
        answer: oneshot::Sender<Option<Bytes>>,
    },
    /// What was measured in the last hour?
    History {
        /// Only the rows after this one; 0: all.
        after: u64,
        /// Where the answer goes.
        answer: oneshot::Sender<HistoryDocument>,
    },
    /// Which agent is this?
    Agent(oneshot::Sender<AgentDocument>),
    /// Send a test message to one target of `[[notify]]`, or to all.
    NotifyTest {
        /// Only this one.
        name: Option<String>,
        /// How each answered, or why none was asked.
        answer: oneshot::Sender<Result<Vec<NotifyTest>, String>>,
    },
    /// Make a backup now.
    RunBackup {
        /// The job.
        name: String,
        /// What happens now, or why nothing does.
        answer: oneshot::Sender<Result<String, String>>,
    },
    /// Replace a tier's processes.
    Restart {
        /// Which tier.
        tier: TierName,
        /// What happens now, or why nothing does.
        answer: oneshot::Sender<Result<String, String>>,
    },
}

/// Tells one agent from the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentDocument {
    /// When it began, by the boot clock.
    pub opened: Moment,
    /// Its version.
    pub version: String,
    /// Whether `/ready` says so.
    pub ready: bool,
    /// It should have become another binary, and this is why it has not.
    pub failed: Option<String>,
}

/// How a target answered to a test message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotifyTest {
    /// Its name.
    pub name: String,
    /// Of which kind it is, such as `slack`.
    pub kind: String,
    /// Why it does not have the message; `None`: it has.
    pub failed: Option<String>,
}

/// What the answers are made of.
pub struct Serving {
    /// The unix socket.
    pub socket: Utf8PathBuf,
    /// Where `/ready`, `/metrics` and the status page answer.
    pub http: HttpConfig,
    /// Whether the host is ready.
    pub ready: watch::Receiver<bool>,
    /// What the processes printed.
    pub logs: Arc<Logs>,
}

/// The open sockets; owns their tasks.
pub struct Control {
    cancel: CancellationToken,
    tasks: JoinSet<()>,
}

impl Control {
    /// Opens both sockets. Needs a runtime.
    pub fn open(serving: Serving) -> Result<(Self, mpsc::Receiver<Request>), ControlError> {
        let (requests, receiver) = mpsc::channel(REQUESTS_MAX);
        let cancel = CancellationToken::new();
        let mut tasks = JoinSet::new();
        if let Some(listener) = listen_public(serving.http)? {
            let public = Public {
                requests: requests.clone(),
                ready: serving.ready.clone(),
                cancel: cancel.clone(),
                page: serving.http.page,
                live: Arc::new(Semaphore::new(LIVE_MAX)),
                scrapes: Arc::new(Semaphore::new(SCRAPES_MAX)),
            };
            let answer = move |request, peer| {
                let public = public.clone();
                async move { public.answer(&request, peer).await }
            };
            tasks.spawn(serve(listener, answer, cancel.clone()));
        }
        let path = serving.socket;
        fsx::remove_if_exists(&path)?;
        let listener = UnixListener::bind(&path)
            .map_err(|source| ControlError::Listen { address: path.to_string(), source })?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(SOCKET_MODE))
            .about("protect", &path)?;
        let desk =
            Desk { requests, ready: serving.ready, logs: serving.logs, cancel: cancel.clone() };
        let answer = move |request, ()| {
            let desk = desk.clone();
            async move { desk.answer(&request).await }
        };
        tasks.spawn(serve(listener, answer, cancel.clone()));
        Ok((Self { cancel, tasks }, receiver))
    }

    /// Ends all connections.
    pub async fn shutdown(mut self) {
        self.cancel.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

/// The socket for strangers; `None`: there is none.
fn listen_public(http: HttpConfig) -> Result<Option<TcpListener>, ControlError> {
    let Some(address) = http.listen else { return Ok(None) };
    match listen_tcp(address) {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if http.asked_for => Err(error),
        // Nobody asked for it: an agent without a page runs its tiers as well.
        Err(error) => {
            let why = chain(&error);
            tracing::warn!("{why}; there is no status page: set http.listen, or \"none\"");
            Ok(None)
        }
    }
}

fn listen_tcp(address: SocketAddr) -> Result<TcpListener, ControlError> {
    let listen = || {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    };
    listen().map_err(|source| ControlError::Listen { address: address.to_string(), source })
}

/// What both sockets are: a source of connections.
trait Accept {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// What is known of who connects.
    type Peer: Copy + Send + 'static;

    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Self::Peer)>> + Send;
}

impl Accept for TcpListener {
    type Stream = TcpStream;
    type Peer = IpAddr;

    async fn accept(&self) -> io::Result<(TcpStream, IpAddr)> {
        let (stream, peer) = Self::accept(self).await?;
        let taken_within = u32::try_from(TAKEN_WITHIN.as_millis()).unwrap_or(u32::MAX);
        // Without these the connection works as well, only worse.
        let limited = rustix::net::sockopt::set_tcp_user_timeout(&stream, taken_within);
        if let Err(error) = limited.map_err(io::Error::from).and(stream.set_nodelay(true)) {
            tracing::debug!("an option of a connection was not set: {error}");
        }
        Ok((stream, peer.ip()))
    }
}

impl Accept for UnixListener {
    type Stream = UnixStream;
    type Peer = ();

    async fn accept(&self) -> io::Result<(UnixStream, ())> {
        Ok((Self::accept(self).await?.0, ()))
    }
}

/// Answers everybody who connects, until it is told to stop.
async fn serve<L, F, A>(listener: L, answer: F, cancel: CancellationToken)
where
    L: Accept,
    F: Fn(hyper::Request<Incoming>, L::Peer) -> A + Clone + Send + 'static,
    A: Future<Output = Answer> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = cancel.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, peer)) => {
                    let answer = answer.clone();
                    connections.spawn(connection(stream, move |request| answer(request, peer)));
                }
                Err(error) => pause(&error).await,
            },
        }
    }
    connections.shutdown().await;
}

async fn connection<A: Future<Output = Answer>>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: impl Fn(hyper::Request<Incoming>) -> A,
) {
    let answer = service_fn(move |request| {
        let answered = answer(request);
        async move { Ok::<_, Infallible>(answered.await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .serve_connection(TokioIo::new(stream), answer)
        .await;
    // A client that goes away in the middle is its own affair.
    if let Err(error) = served {
        tracing::debug!("a connection ended early: {error}");
    }
}

async fn pause(error: &io::Error) {
    tracing::warn!("a connection was not accepted: {error}");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}
