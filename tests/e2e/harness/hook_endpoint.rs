//! Plays the services that people are told by, over TLS: it keeps what is posted, checks the
//! signature of webhooks, and answers as it is told to. Each path is a service of its own.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use super::wait_until;

/// The secret by which webhooks are signed.
pub const SECRET: &str = "a secret of this test";

/// What SNS answers (API_Publish).
const PUBLISHED: &str = "<PublishResponse><PublishResult><MessageId>1</MessageId></PublishResult>\
                         </PublishResponse>";
const BODY_BYTES_MAX: usize = 1024 * 1024;
const READ_WITHIN: Duration = Duration::from_secs(30);

/// What was posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posted {
    /// Such as `/slack`.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The text.
    pub body: String,
    /// What was answered; 0 for nothing.
    pub status: u16,
}

impl Posted {
    /// A header.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value.as_str())
    }

    /// The document.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("what is posted is JSON")
    }
}

/// What is answered next instead of 200.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// That status.
    Status(u16),
    /// 400, as SNS has it, with that code.
    Sns(&'static str),
    /// 429, and the seconds to wait.
    RetryAfter(u32),
    /// It is taken in, and the connection breaks.
    ReplyLost,
    /// It is taken in, and never answered.
    Hangs,
}

#[derive(Default)]
struct State {
    posted: Vec<Posted>,
    /// With how the paths begin that they are for.
    faults: VecDeque<(String, Fault)>,
}

impl State {
    fn fault_for(&mut self, path: &str) -> Option<Fault> {
        let at = self.faults.iter().position(|(begin, _)| path.starts_with(begin))?;
        self.faults.remove(at).map(|(_, fault)| fault)
    }
}

/// The endpoint; dropping it closes everything.
pub struct HookEndpoint {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    tls: Arc<ServerConfig>,
    pem: PathBuf,
    directory: tempfile::TempDir,
    server: Option<Server>,
}

struct Server {
    ending: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    thread: JoinHandle<()>,
}

impl HookEndpoint {
    /// Listens on a free port.
    pub fn start() -> Self {
        let names = vec![Ipv4Addr::LOCALHOST.to_string(), "localhost".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).expect("could not make a certificate");
        let directory = tempfile::Builder::new().prefix("gc-hook-").tempdir().expect("a directory");
        let pem = directory.path().join("ca.pem");
        std::fs::write(&pem, made.cert.pem()).expect("could not write the certificate");
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der())
            .expect("a key that was just made is one");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has them")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("the key is the certificate's");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, super::free_port()));
        let (state, tls) = (Arc::default(), Arc::new(tls));
        let mut endpoint = Self { address, state, tls, pem, directory, server: None };
        endpoint.come_back();
        endpoint
    }

    /// What clients trust.
    pub fn certificate(&self) -> &str {
        self.pem.to_str().expect("UTF-8")
    }

    /// The address of a service, such as `slack`.
    pub fn url(&self, service: &str) -> String {
        format!("https://{}/{service}", self.address)
    }

    /// A file with a secret in it.
    pub fn file(&self, name: &str, content: &str) -> String {
        let path = self.directory.path().join(name);
        std::fs::write(&path, format!("{content}\n")).expect("could not write a secret");
        path.to_str().expect("UTF-8").to_owned()
    }

    /// What is answered to the next requests.
    pub fn fail(&self, faults: &[Fault]) {
        self.fail_at("", faults);
    }

    /// What is answered to the next requests to a path that begins so.
    pub fn fail_at(&self, path: &str, faults: &[Fault]) {
        self.state().faults.extend(faults.iter().map(|fault| (path.to_owned(), *fault)));
    }

    /// What came to a path that begins so.
    pub fn posted(&self, path: &str) -> Vec<Posted> {
        let state = self.state();
        state.posted.iter().filter(|posted| posted.path.starts_with(path)).cloned().collect()
    }

    /// Waits until something with this text in it was taken in there, and answers the first.
    #[track_caller]
    pub fn wait_for(&self, path: &str, part: &str) -> Posted {
        let what = format!("{part:?} was posted to {path}");
        wait_until(Duration::from_secs(40), &what, || {
            let posted = self.posted(path);
            let found = posted.iter().find(|p| p.status == 200 && p.body.contains(part));
            found.cloned().ok_or(format!("{posted:#?}"))
        })
    }

    /// Refuses connections until [`Self::come_back`].
    pub fn go_away(&mut self) {
        let Some(server) = self.server.take() else { return };
        server.ending.store(true, Ordering::SeqCst);
        // The thread is in `accept`: this is what wakes it.
        drop(TcpStream::connect(self.address));
        for stream in lock(&server.open).drain(..) {
            // Its client may have closed it.
            drop(stream.shutdown(Shutdown::Both));
        }
        drop(server.thread.join());
    }

    /// Listens again.
    pub fn come_back(&mut self) {
        let listener = TcpListener::bind(self.address).expect("could not listen");
        let ending = Arc::new(AtomicBool::new(false));
        let open: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let (tls, state) = (Arc::clone(&self.tls), Arc::clone(&self.state));
        let (is_ending, opened) = (Arc::clone(&ending), Arc::clone(&open));
        let thread = std::thread::spawn(move || {
            std::thread::scope(|scope| {
                for stream in listener.incoming().map_while(Result::ok) {
                    if is_ending.load(Ordering::SeqCst) {
                        break;
                    }
                    lock(&opened).extend(stream.try_clone());
                    let (tls, state) = (Arc::clone(&tls), &state);
                    // A connection ends as its client likes: there is nobody to tell.
                    scope.spawn(move || drop(serve(stream, tls, state)));
                }
            });
        });
        self.server = Some(Server { ending, open, thread });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for HookEndpoint {
    fn drop(&mut self) {
        self.go_away();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(stream: TcpStream, tls: Arc<ServerConfig>, state: &Mutex<State>) -> io::Result<()> {
    stream.set_read_timeout(Some(READ_WITHIN))?;
    let tls = ServerConnection::new(tls).map_err(io::Error::other)?;
    let mut stream = BufReader::new(StreamOwned::new(tls, stream));
    while let Some(mut posted) = read(&mut stream)? {
        let fault = lock(state).fault_for(&posted.path);
        let (status, more) = match fault {
            None => (200, String::new()),
            Some(Fault::Status(status)) => (status, String::new()),
            Some(Fault::Sns(_)) => (400, String::new()),
            Some(Fault::RetryAfter(seconds)) => (429, format!("Retry-After: {seconds}\r\n")),
            Some(Fault::ReplyLost | Fault::Hangs) => (0, String::new()),
        };
        let body = match fault {
            Some(Fault::Sns(code)) => format!(
                "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code></Error>\
                 <RequestId>1</RequestId></ErrorResponse>"
            ),
            _ if posted.path.starts_with("/sns") => PUBLISHED.to_owned(),
            _ => "ok".to_owned(),
        };
        posted.status = status;
        lock(state).posted.push(posted);
        if fault == Some(Fault::Hangs) {
            // Until the client gives up.
            io::copy(&mut stream, &mut io::sink())?;
        }
        if status == 0 {
            return Ok(());
        }
        let length = body.len();
        let answer =
            format!("HTTP/1.1 {status} Said\r\n{more}Content-Length: {length}\r\n\r\n{body}");
        stream.get_mut().write_all(answer.as_bytes())?;
        stream.get_mut().flush()?;
    }
    Ok(())
}

/// A request; `None` at the end of the connection.
fn read(stream: &mut impl BufRead) -> io::Result<Option<Posted>> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let mut posted = Posted { path, headers, body: String::new(), status: 0 };
    let length: usize = posted.header("content-length").parse().unwrap_or(0);
    let mut body = vec![0; length.min(BODY_BYTES_MAX)];
    stream.read_exact(&mut body)?;
    posted.body = String::from_utf8(body).map_err(io::Error::other)?;
    Ok(Some(posted))
}
