//! A load generator that counts as strictly as a load balancer does: what an ALB would turn into a
//! 502 or 504 is a failure. Above all a kept connection that the server closes after the request
//! was sent; one that it closed before that is only counted, because an ALB opens another.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::histogram::Histogram;
use connection::{Connection, Failure};

mod connection;
mod socket_worker;

// Failures described one by one; the rest is only counted.
const DESCRIBED_MAX: usize = 20;
// After a failure: a server that is away would otherwise be asked a hundred thousand times a
// second.
const AFTER_FAILURE: Duration = Duration::from_millis(5);

/// How a worker asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// GET after GET on one connection.
    KeepAlive,
    /// POST with a body that must come back, on one connection.
    Post,
    /// GET with `Connection: close`, each on a connection of its own.
    NewConnection,
    /// GET that takes 500 ms, on one connection.
    Slow,
    /// GET, then 1.5 s of silence on a connection that is kept.
    Idle,
    /// Text messages that must come back.
    WebSocket,
}

/// What to ask, and how hard.
#[derive(Debug, Clone)]
pub struct Load {
    address: SocketAddr,
    workers: Vec<(Kind, usize)>,
    pause: Duration,
    within: Duration,
}

/// What one kind of worker saw.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Requests (messages) that were sent or could not be.
    pub sent: u64,
    /// Answered with exactly what was wanted.
    pub ok: u64,
    /// How long the good ones took, connecting included.
    pub latencies: Histogram,
}

/// What happened so far, or until the stop.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// By kind of worker.
    pub kinds: BTreeMap<Kind, Tally>,
    /// Reason -> how often.
    pub failures: BTreeMap<String, u64>,
    /// The first failures, each with its time since the start.
    pub described: Vec<String>,
    /// `X-Release` -> good answers.
    pub releases: BTreeMap<String, u64>,
    /// `X-Process` -> good answers.
    pub processes: BTreeMap<String, u64>,
    /// Kept connections that the server closed while nothing was asked, without having said so.
    pub closed_while_idle: u64,
    /// Connections opened.
    pub connections: u64,
    /// WebSockets that the server ended with a close frame.
    pub websockets_closed: u64,
    /// WebSockets that ended without one, with no message on its way.
    pub websockets_cut: u64,
}

impl Report {
    /// Requests of all kinds.
    pub fn sent(&self) -> u64 {
        self.kinds.values().map(|tally| tally.sent).sum()
    }

    /// Good ones of all kinds.
    pub fn ok(&self) -> u64 {
        self.kinds.values().map(|tally| tally.ok).sum()
    }

    /// The others.
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Good answers of one release.
    pub fn answers_of(&self, release: &str) -> u64 {
        self.releases.get(release).copied().unwrap_or(0)
    }

    /// Latency of one kind; zero when there was none.
    pub fn quantile(&self, kind: Kind, share: f64) -> Duration {
        self.kinds.get(&kind).map_or(Duration::ZERO, |tally| tally.latencies.quantile(share))
    }

    /// Panics with the first failures when there is one, or when nothing was asked.
    #[track_caller]
    pub fn assert_none_failed(&self) {
        assert!(self.sent() > 0, "no request was sent");
        assert!(
            self.failed() == 0 && self.sent() == self.ok(),
            "{} of {} requests failed: {:#?}\nthe first: {:#?}",
            self.failed(),
            self.sent(),
            self.failures,
            self.described
        );
    }
}

/// Workers that run until `stop`.
pub struct RunningLoad {
    stop: watch::Sender<bool>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the workers share. One thread runs them all, so the lock is never waited for by them.
struct Shared {
    started: Instant,
    report: Mutex<Report>,
}

/// The runtime of a part of the harness: one thread, so that it costs what one thread costs.
pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("no runtime")
}

impl Load {
    /// Nothing yet; `port` is on this machine.
    pub fn on(port: u16) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let within = Duration::from_secs(10);
        Self { address, workers: Vec::new(), pause: Duration::from_millis(2), within }
    }

    /// Every kind of connection at once, paced.
    pub fn of_every_kind(port: u16) -> Self {
        Self::on(port)
            .with(Kind::KeepAlive, 8)
            .with(Kind::Post, 4)
            .with(Kind::NewConnection, 2)
            .with(Kind::Slow, 4)
            .with(Kind::Idle, 4)
            .with(Kind::WebSocket, 2)
    }

    /// Adds workers.
    #[must_use]
    pub fn with(mut self, kind: Kind, count: usize) -> Self {
        self.workers.push((kind, count));
        self
    }

    /// Between an answer and the next request of a worker; zero: as fast as it goes.
    #[must_use]
    pub fn pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// An answer that takes longer is a failure, as an ALB's idle timeout makes it.
    #[must_use]
    pub fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    /// Starts the workers.
    pub fn start(self) -> RunningLoad {
        let (stop, stopped) = watch::channel(false);
        let started = Instant::now();
        let shared = Arc::new(Shared { started, report: Mutex::default() });
        let shared_with_thread = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            runtime().block_on(self.run(&shared_with_thread, &stopped));
        });
        RunningLoad { stop, shared, thread: Some(thread) }
    }

    async fn run(&self, shared: &Arc<Shared>, stopped: &watch::Receiver<bool>) {
        let mut workers = JoinSet::new();
        let kinds =
            self.workers.iter().flat_map(|(kind, count)| std::iter::repeat_n(*kind, *count));
        for (number, kind) in kinds.enumerate() {
            let worker = Worker {
                kind,
                number,
                address: self.address,
                pause: self.pause,
                within: self.within,
                shared: Arc::clone(shared),
                stopped: stopped.clone(),
            };
            workers.spawn(worker.run());
        }
        while let Some(ended) = workers.join_next().await {
            ended.expect("a worker of the load generator failed");
        }
    }
}

impl RunningLoad {
    /// What happened so far.
    pub fn report(&self) -> Report {
        self.shared.report.lock().unwrap().clone()
    }

    /// Lets every worker finish its request, and ends.
    pub fn stop(mut self) -> Report {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the load generator failed");
        }
        self.report()
    }

    /// Waits until so many more good answers came.
    #[track_caller]
    pub fn wait_for_answers(&self, more: u64) {
        let wanted = self.report().ok() + more;
        super::wait_until(Duration::from_mins(1), "good answers", || {
            let report = self.report();
            if report.ok() >= wanted { Ok(()) } else { Err((report.ok(), wanted, report.failures)) }
        });
    }

    /// Waits until a release has answered.
    #[track_caller]
    pub fn wait_for_release(&self, release: &str, within: Duration) {
        let what = format!("an answer of release {release}");
        super::wait_until(within, &what, || {
            let report = self.report();
            if report.answers_of(release) > 0 {
                Ok(())
            } else {
                Err((report.releases, report.failures))
            }
        });
    }
}

impl Drop for RunningLoad {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed by itself; one more here would abort the test.
            drop(thread.join());
        }
    }
}

struct Worker {
    kind: Kind,
    number: usize,
    address: SocketAddr,
    pause: Duration,
    within: Duration,
    shared: Arc<Shared>,
    stopped: watch::Receiver<bool>,
}

impl Worker {
    async fn run(self) {
        if self.kind == Kind::WebSocket {
            return self.run_socket().await;
        }
        let mut kept: Option<Connection> = None;
        let mut count = 0_u64;
        while !*self.stopped.borrow() {
            count += 1;
            if kept.as_ref().is_some_and(Connection::is_closed) {
                self.shared.report.lock().unwrap().closed_while_idle += 1;
                kept = None;
            }
            let (request, wanted) = self.request(count);
            let started = Instant::now();
            let result = timeout(self.within, self.ask(&mut kept, &request, &wanted)).await;
            match result.unwrap_or(Err(Failure::TimedOut)) {
                Ok(()) => self.note_ok(started.elapsed()),
                Err(failure) => {
                    self.note_failure(&failure);
                    kept = None;
                    self.rest(AFTER_FAILURE).await;
                }
            }
            self.rest(if self.kind == Kind::Idle { IDLE } else { self.pause }).await;
        }
    }

    /// The bytes of a request, and the body that must come back.
    fn request(&self, count: u64) -> (Vec<u8>, Vec<u8>) {
        let id = format!("{}-{count}", self.number);
        let get = |path: &str, headers: &str| {
            format!("GET {path}id={id} HTTP/1.1\r\nHost: app\r\n{headers}\r\n").into_bytes()
        };
        let ok = format!("ok {id}\n").into_bytes();
        match self.kind {
            Kind::NewConnection => (get("/?", "Connection: close\r\n"), ok),
            Kind::Slow => (get("/slow?ms=500&", ""), ok),
            Kind::Post => {
                let body = format!("{id} {}", "x".repeat(1000)).into_bytes();
                let length = body.len();
                let head = format!("POST /echo HTTP/1.1\r\nHost: app\r\nContent-Length: {length}");
                ([head.as_bytes(), b"\r\n\r\n", &body].concat(), body)
            }
            Kind::KeepAlive | Kind::Idle | Kind::WebSocket => (get("/?", ""), ok),
        }
    }

    async fn ask(
        &self,
        kept: &mut Option<Connection>,
        request: &[u8],
        wanted: &[u8],
    ) -> Result<(), Failure> {
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let answer = connection.exchange(request).await?;
        if answer.status != 200 {
            return Err(Failure::Status(answer.status));
        }
        if answer.body != wanted {
            return Err(Failure::Body);
        }
        self.note_origin(answer.release, answer.process);
        // A server need not repeat what the client said.
        if answer.keep && self.kind != Kind::NewConnection {
            *kept = Some(connection);
        }
        Ok(())
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        let connection = Connection::open(self.address).await?;
        self.shared.report.lock().unwrap().connections += 1;
        Ok(connection)
    }

    async fn rest(&self, pause: Duration) {
        if pause.is_zero() {
            return;
        }
        let mut stopped = self.stopped.clone();
        tokio::select! {
            () = sleep(pause) => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
    }

    fn note_ok(&self, took: Duration) {
        let mut report = self.shared.report.lock().unwrap();
        let tally = report.kinds.entry(self.kind).or_default();
        tally.sent += 1;
        tally.ok += 1;
        tally.latencies.record(took);
    }

    fn note_failure(&self, failure: &Failure) {
        let mut report = self.shared.report.lock().unwrap();
        report.kinds.entry(self.kind).or_default().sent += 1;
        *report.failures.entry(failure.to_string()).or_default() += 1;
        if report.described.len() < DESCRIBED_MAX {
            let after = self.shared.started.elapsed();
            report.described.push(format!("{after:.3?} {:?}: {failure}", self.kind));
        }
    }

    fn note_origin(&self, release: &str, process: &str) {
        let mut report = self.shared.report.lock().unwrap();
        count(&mut report.releases, release);
        count(&mut report.processes, process);
    }
}

// Longer than the 1 s after which many a proxy drops a quiet connection.
const IDLE: Duration = Duration::from_millis(1500);

fn count(counts: &mut BTreeMap<String, u64>, name: &str) {
    // `entry` would allocate the name for each answer.
    match counts.get_mut(name) {
        Some(count) => *count += 1,
        None => drop(counts.insert(name.to_owned(), 1)),
    }
}

#[cfg(test)]
mod tests;
