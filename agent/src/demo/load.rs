//! Load as a load balancer makes it: connections that are kept and connections for one request, GET
//! and POST, at a steady pace. Every answer is checked; nothing is ever sent a second time, so what
//! goes wrong once is counted.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// Clients that keep their connection.
pub const KEPT: usize = 12;
/// Clients that open a connection for each request.
pub const FRESH: usize = 4;
/// Pause between two requests of one client.
const PACE: Duration = Duration::from_millis(20);
/// How long an answer may take before it counts as failed.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of an answer: the app's are shorter by far.
const ANSWER_BYTES_MAX: usize = 4096;
/// Failures that are remembered with their reason.
const FAILURES_MAX: usize = 5;
/// Times that are remembered: ten minutes of this load. Later ones are counted, not timed.
const TIMES_MAX: usize = 500_000;
const ORDER: &[u8] = b"two apples, one pear";

/// What is known about the requests so far.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Sent.
    pub sent: u64,
    /// Not answered, or not as they should be.
    pub failed: u64,
    /// The first failures.
    pub failures: Vec<String>,
    /// Good answers by release.
    pub by_release: BTreeMap<String, u64>,
    /// How long good answers took.
    pub times_us: Vec<u32>,
}

impl Tally {
    /// The time within which `percent` of the answers came.
    pub fn percentile(&self, percent: usize) -> Option<Duration> {
        let mut times = self.times_us.clone();
        times.sort_unstable();
        let at = (times.len() * percent).div_ceil(100).checked_sub(1)?;
        times.get(at).map(|us| Duration::from_micros(u64::from(*us)))
    }
}

/// One release taking over from another, as the clients see it.
#[derive(Debug, Clone)]
pub struct Swap {
    to: String,
    wanted: Instant,
    first_new: Option<Instant>,
    last_old: Option<Instant>,
}

impl Swap {
    /// From when it was wanted to the first answer of the new release.
    pub fn to_serving(&self) -> Option<Duration> {
        Some(self.first_new?.saturating_duration_since(self.wanted))
    }

    /// How long both releases answered: from the new one's first answer to the old one's last.
    pub fn cutover(&self) -> Option<Duration> {
        let first_new = self.first_new?;
        let last_old = self.last_old.unwrap_or(first_new);
        Some(last_old.saturating_duration_since(first_new))
    }
}

#[derive(Default)]
struct Shared {
    tally: Mutex<Tally>,
    swap: Mutex<Option<Swap>>,
    answered: watch::Sender<u64>,
}

/// Running clients.
pub struct Load {
    shared: Arc<Shared>,
    clients: JoinSet<()>,
    cancel: CancellationToken,
}

impl Load {
    /// Starts all clients.
    pub fn start(port: u16) -> Self {
        let (shared, cancel) = (Arc::new(Shared::default()), CancellationToken::new());
        let mut clients = JoinSet::new();
        for number in 0..KEPT + FRESH {
            let client = Client { port, keeps: number < KEPT, kept: None };
            clients.spawn(client.run(Arc::clone(&shared), cancel.clone()));
        }
        Self { shared, clients, cancel }
    }

    /// Waits until `more` requests were answered well from now on.
    pub async fn wait_for(&self, more: u64) {
        let mut answered = self.shared.answered.subscribe();
        let wanted = *answered.borrow() + more;
        // The sender lives as long as this does.
        drop(answered.wait_for(|answered| *answered >= wanted).await);
    }

    /// From now on `to` is expected to take over.
    pub fn expect(&self, to: &str) {
        let wanted = Instant::now();
        let swap = Swap { to: to.to_owned(), wanted, first_new: None, last_old: None };
        *lock(&self.shared.swap) = Some(swap);
    }

    /// The expected release is to be measured from now, not from when it was expected.
    pub fn restart_clock(&self) {
        if let Some(swap) = lock(&self.shared.swap).as_mut() {
            swap.wanted = Instant::now();
        }
    }

    /// How the expected release took over so far.
    pub fn swap(&self) -> Option<Swap> {
        lock(&self.shared.swap).clone()
    }

    /// What is known so far.
    pub fn tally(&self) -> Tally {
        lock(&self.shared.tally).clone()
    }

    /// Lets every client finish its request, and ends.
    pub async fn stop(mut self) -> Tally {
        self.cancel.cancel();
        while self.clients.join_next().await.is_some() {}
        self.tally()
    }
}

impl Shared {
    fn good(&self, release: String, took: Duration) {
        let now = Instant::now();
        if let Some(swap) = lock(&self.swap).as_mut() {
            if release == swap.to {
                swap.first_new.get_or_insert(now);
            } else {
                swap.last_old = Some(now);
            }
        }
        let mut tally = lock(&self.tally);
        tally.sent += 1;
        *tally.by_release.entry(release).or_default() += 1;
        if tally.times_us.len() < TIMES_MAX {
            tally.times_us.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
        }
        drop(tally);
        self.answered.send_modify(|answered| *answered += 1);
    }

    fn failed(&self, why: String) {
        let mut tally = lock(&self.tally);
        tally.sent += 1;
        tally.failed += 1;
        if tally.failures.len() < FAILURES_MAX {
            tally.failures.push(why);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Client {
    port: u16,
    keeps: bool,
    kept: Option<Connection>,
}

impl Client {
    async fn run(mut self, shared: Arc<Shared>, cancel: CancellationToken) {
        let mut ticks = tokio::time::interval(PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for number in 0_u64.. {
            tokio::select! {
                _ = ticks.tick() => {}
                () = cancel.cancelled() => return,
            }
            let method = if number % 2 == 0 { Method::GET } else { Method::POST };
            let begun = Instant::now();
            let answer = tokio::time::timeout(ANSWER_WITHIN, self.ask(&method)).await;
            match answer {
                Ok(Ok(release)) => shared.good(release, begun.elapsed()),
                Ok(Err(error)) => {
                    let text = crate::errors::chain(&error);
                    let connection = if self.keeps { "kept" } else { "new" };
                    shared.failed(format!("{method} on a {connection} connection: {text}"));
                }
                Err(_) => shared.failed(format!("{method}: no answer within {ANSWER_WITHIN:?}")),
            }
        }
    }

    /// Sends one request and answers which release has answered it.
    async fn ask(&mut self, method: &Method) -> Result<String, AskError> {
        let mut connection = match self.kept.take() {
            Some(connection) => connection,
            None => Connection::open(self.port).await?,
        };
        let sent = if *method == Method::POST { ORDER } else { b"" };
        let mut request = Request::builder()
            .method(method)
            .uri("/orders")
            .header(hyper::header::HOST, "shop.example");
        if !self.keeps {
            request = request.header(hyper::header::CONNECTION, "close");
        }
        let request = request.body(Full::new(Bytes::from_static(sent)))?;
        let response = connection.sender.send_request(request).await?;
        let status = response.status();
        let closes = response.headers().get(hyper::header::CONNECTION);
        let closes = closes.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(AskError::Body)?.to_bytes();
        if status != StatusCode::OK {
            return Err(AskError::Status(status));
        }
        let answer: Answer = serde_json::from_slice(&body)?;
        if answer.received != sent.len() {
            return Err(AskError::Lost { sent: sent.len(), received: answer.received });
        }
        if self.keeps && !closes {
            connection.sender.ready().await?;
            self.kept = Some(connection);
        }
        Ok(answer.release)
    }
}

/// What the app answers.
#[derive(serde::Deserialize)]
struct Answer {
    release: String,
    received: usize,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error("could not connect")]
    Connect(#[from] io::Error),
    #[error("the connection failed")]
    Http(#[from] hyper::Error),
    #[error("the request is not valid")]
    Request(#[from] hyper::http::Error),
    #[error("the answer broke off")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("answered {0}")]
    Status(StatusCode),
    #[error("answered something else")]
    Answer(#[from] serde_json::Error),
    #[error("{sent} bytes were sent, {received} arrived")]
    Lost { sent: usize, received: usize },
}

/// A connection; ends when dropped.
struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    /// Moves the bytes.
    _driver: JoinSet<hyper::Result<()>>,
}

impl Connection {
    async fn open(port: u16) -> Result<Self, AskError> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        Ok(Self { sender, _driver: driver })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_seen() {
        let tally = |times_us: Vec<u32>| Tally { times_us, ..Tally::default() };
        let us = |us| Some(Duration::from_micros(us));
        assert_eq!(tally(vec![]).percentile(50), None);
        assert_eq!(tally(vec![7]).percentile(99), us(7));
        let hundred = tally((1..=100).rev().collect());
        assert_eq!((hundred.percentile(50), hundred.percentile(99)), (us(50), us(99)));
    }

    #[test]
    fn a_cutover_lasts_from_the_first_new_answer_to_the_last_old_one() {
        let shared = Shared::default();
        let load = Load {
            shared: Arc::new(shared),
            clients: JoinSet::new(),
            cancel: CancellationToken::new(),
        };
        load.expect("v2");
        assert!(load.swap().unwrap().to_serving().is_none());
        load.shared.good("v1".to_owned(), Duration::ZERO);
        load.shared.good("v2".to_owned(), Duration::ZERO);
        assert_eq!(load.swap().unwrap().cutover(), Some(Duration::ZERO));
        load.shared.good("v1".to_owned(), Duration::ZERO);
        let swap = load.swap().unwrap();
        assert!(swap.cutover() > Some(Duration::ZERO) && swap.to_serving().is_some());
        load.shared.failed("lost".to_owned());
        let tally = load.tally();
        assert_eq!((tally.sent, tally.failed, tally.by_release["v1"]), (4, 1, 2));
    }
}
