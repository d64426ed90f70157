//! An HTTP proxy in front of the S3 server that fails on command. Signatures stay valid: moto does
//! not check them, and the proxy changes no header but `Expect`.

use std::convert::Infallible;
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::unfold;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, EXPECT, RANGE};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

type Cause = Box<dyn Error + Send + Sync>;
type Answer = Response<UnsyncBoxBody<Bytes, Cause>>;

// Throttled and cut bodies move in pieces of this size at most.
const PIECE_BYTES: usize = 16 * 1024;
// Requests kept for `requests()`: a test that makes more has no use for the oldest.
const LOG_MAX: usize = 100_000;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The request is read and never answered.
    Hang,
    /// The request is passed on this much later.
    Delay(Duration),
    /// The body of the answer comes at this rate.
    Throttle {
        /// Bytes per second.
        rate: u64,
    },
    /// The connection breaks after so many bytes of the answer's body.
    CutAfter(u64),
    /// The server does what was asked; the connection breaks instead of an answer.
    AnswerLost,
    /// One byte of the answer's body is another one.
    Corrupt {
        /// Its place in the body.
        at: u64,
    },
    /// `503 SlowDown`, as S3 says it; the server gets nothing.
    SlowDown,
}

/// A fault for some requests.
#[derive(Debug, Clone)]
struct Rule {
    method: Option<&'static str>,
    path_part: String,
    fault: Fault,
    times: Option<u32>,
}

/// One request that came.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Such as `GET`.
    pub method: String,
    /// With its query.
    pub path: String,
    /// The `Range` header.
    pub range: Option<String>,
    /// What went wrong with it, if anything.
    pub fault: Option<Fault>,
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    seen: Vec<Seen>,
    requests: u64,
    answer_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Open,
    Refusing,
    Ending,
}

/// The proxy, on a thread of its own; dropping it closes every connection.
pub struct FaultProxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    mode: watch::Sender<Mode>,
    // The thread's answer to `mode`: a test that says `refuse` must be able to rely on it.
    listening: watch::Receiver<bool>,
    thread: Option<JoinHandle<()>>,
}

impl FaultProxy {
    /// Listens on a free port in front of `upstream`, such as `127.0.0.1:41234`.
    pub fn start(upstream: &str) -> Self {
        let upstream: SocketAddr = upstream.parse().expect("not an address");
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, super::free_port()))
            .expect("could not listen");
        listener.set_nonblocking(true).expect("could not change the socket");
        let address = listener.local_addr().expect("a bound socket has an address");
        let state = Arc::new(Mutex::new(State::default()));
        let (mode, mode_seen) = watch::channel(Mode::Open);
        let (says_listening, listening) = watch::channel(true);
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            let runtime = super::load::runtime();
            runtime.block_on(serve(listener, upstream, shared, mode_seen, says_listening));
        });
        Self { address, state, mode, listening, thread: Some(thread) }
    }

    /// What an SDK is pointed at.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `127.0.0.1:41234`
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Every request from now on goes wrong.
    pub fn inject(&self, fault: Fault) {
        self.add(Rule { method: None, path_part: String::new(), fault, times: None });
    }

    /// The next `times` requests go wrong.
    pub fn inject_times(&self, fault: Fault, times: u32) {
        self.add(Rule { method: None, path_part: String::new(), fault, times: Some(times) });
    }

    /// The next `times` (or all) requests of a method whose path contains `path_part` go wrong.
    pub fn inject_for(
        &self,
        method: &'static str,
        path_part: &str,
        fault: Fault,
        times: Option<u32>,
    ) {
        self.add(Rule { method: Some(method), path_part: path_part.to_owned(), fault, times });
    }

    fn add(&self, rule: Rule) {
        // The newest rule is asked first.
        self.state.lock().unwrap().rules.insert(0, rule);
    }

    /// Breaks every connection and refuses new ones until `heal`.
    pub fn refuse(&self) {
        self.switch(Mode::Refusing, false);
    }

    /// Takes every fault back. Requests that hang go on hanging, as those in a lost network would.
    pub fn heal(&self) {
        self.state.lock().unwrap().rules.clear();
        self.switch(Mode::Open, true);
    }

    fn switch(&self, mode: Mode, listening: bool) {
        self.mode.send_replace(mode);
        super::wait_until(Duration::from_secs(5), "the proxy obeys", || {
            if *self.listening.borrow() == listening { Ok(()) } else { Err(mode) }
        });
    }

    /// How many requests came, those that went wrong included.
    pub fn requests(&self) -> u64 {
        self.state.lock().unwrap().requests
    }

    /// Bytes of bodies that were sent as answers.
    pub fn answer_bytes(&self) -> u64 {
        self.state.lock().unwrap().answer_bytes
    }

    /// The requests in their order.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.mode.send_replace(Mode::Ending);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl State {
    /// Notes a request and says what goes wrong with it.
    fn admit(&mut self, request: &Request<Incoming>) -> Option<Fault> {
        let method = request.method().as_str();
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let rule = self.rules.iter_mut().find(|rule| {
            rule.times != Some(0)
                && rule.method.is_none_or(|wanted| wanted == method)
                && path.contains(&rule.path_part)
        });
        let fault = rule.map(|rule| {
            rule.times = rule.times.map(|times| times - 1);
            rule.fault
        });
        self.requests += 1;
        if self.seen.len() < LOG_MAX {
            let range = request.headers().get(RANGE);
            self.seen.push(Seen {
                method: method.to_owned(),
                path: path.to_owned(),
                range: range.map(|range| String::from_utf8_lossy(range.as_bytes()).into_owned()),
                fault,
            });
        }
        fault
    }
}

async fn serve(
    listener: std::net::TcpListener,
    upstream: SocketAddr,
    state: Arc<Mutex<State>>,
    mut mode: watch::Receiver<Mode>,
    listening: watch::Sender<bool>,
) {
    let address = listener.local_addr().expect("a bound socket has an address");
    let mut listener = TcpListener::from_std(listener).expect("could not watch the socket");
    loop {
        let mut connections = JoinSet::new();
        while *mode.borrow_and_update() == Mode::Open {
            tokio::select! {
                accepted = listener.accept() => {
                    let (stream, _) = accepted.expect("could not accept");
                    let state = Arc::clone(&state);
                    connections.spawn(serve_connection(stream, upstream, state));
                }
                _ = connections.join_next(), if !connections.is_empty() => {}
                _ = mode.changed() => {}
            }
        }
        drop(listener);
        connections.shutdown().await;
        listening.send_replace(false);
        match mode.wait_for(|mode| *mode != Mode::Refusing).await {
            Ok(mode) if *mode == Mode::Open => {}
            _ => return,
        }
        listener = TcpListener::bind(address).await.expect("the port was taken meanwhile");
        listening.send_replace(true);
    }
}

async fn serve_connection(stream: TcpStream, upstream: SocketAddr, state: Arc<Mutex<State>>) {
    let service = service_fn(|request| pass(request, upstream, Arc::clone(&state)));
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // A broken connection is what this is for; who asked notices it.
    drop(connection.await);
}

/// An error here breaks the connection without an answer.
async fn pass(
    mut request: Request<Incoming>,
    upstream: SocketAddr,
    state: Arc<Mutex<State>>,
) -> Result<Answer, Cause> {
    let fault = state.lock().unwrap().admit(&request);
    match fault {
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Delay(delay)) => tokio::time::sleep(delay).await,
        Some(Fault::SlowDown) => return slow_down(request).await,
        _ => {}
    }
    // hyper answers the expectation itself as soon as the body is wanted.
    request.headers_mut().remove(EXPECT);
    let stream = TcpStream::connect(upstream).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the answer's body; the runtime's end is its latest.
    let driver = tokio::spawn(async move { drop(connection.await) });
    let response = sender.send_request(request).await?;
    let (head, body) = response.into_parts();
    if fault == Some(Fault::AnswerLost) {
        body.collect().await?;
        driver.abort();
        return Err("the answer is lost".into());
    }
    let body = Passage { body, state, fault, sent: 0, piece: Bytes::new() }.into_body();
    Ok(Response::from_parts(head, body))
}

async fn slow_down(request: Request<Incoming>) -> Result<Answer, Cause> {
    // A client that is still sending would see a reset instead of the answer.
    request.into_body().collect().await?;
    let document = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>SlowDown</Code>\
        <Message>Please reduce your request rate.</Message></Error>";
    let body = Full::new(Bytes::from(document)).map_err(|error: Infallible| match error {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.headers_mut().insert(CONTENT_TYPE, "application/xml".parse()?);
    Ok(response)
}

/// The body of an answer on its way.
struct Passage {
    body: Incoming,
    state: Arc<Mutex<State>>,
    fault: Option<Fault>,
    sent: u64,
    piece: Bytes,
}

impl Passage {
    fn into_body(self) -> UnsyncBoxBody<Bytes, Cause> {
        if self.body.is_end_stream() {
            // An answer to HEAD has a length and no body: its own body type knows that.
            return self.body.map_err(Cause::from).boxed_unsync();
        }
        let stream = unfold(self, |mut passage| async move {
            let piece = passage.next().await.transpose()?;
            Some((piece.map(Frame::data), passage))
        });
        StreamBody::new(stream).boxed_unsync()
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Cause> {
        if self.fault == Some(Fault::CutAfter(self.sent)) {
            return Err("cut".into());
        }
        while self.piece.is_empty() {
            let Some(frame) = self.body.frame().await.transpose()? else { return Ok(None) };
            self.piece = frame.into_data().unwrap_or_default();
        }
        let mut size = self.piece.len();
        match self.fault {
            Some(Fault::Throttle { rate }) => {
                size = size.min(PIECE_BYTES).min((rate as usize / 10).max(1));
                tokio::time::sleep(Duration::from_secs_f64(size as f64 / rate as f64)).await;
            }
            Some(Fault::CutAfter(end)) => size = size.min((end - self.sent) as usize),
            _ => {}
        }
        let mut piece = self.piece.split_to(size);
        if let Some(Fault::Corrupt { at }) = self.fault
            && let Some(place) = at.checked_sub(self.sent).filter(|place| *place < size as u64)
        {
            let mut changed = piece.to_vec();
            changed[place as usize] ^= 0x40;
            piece = changed.into();
        }
        self.sent += piece.len() as u64;
        self.state.lock().unwrap().answer_bytes += piece.len() as u64;
        Ok(Some(piece))
    }
}

#[cfg(test)]
mod tests;
