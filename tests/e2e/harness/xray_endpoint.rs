//! A stand-in for X-Ray: takes `PutTraceSegments`, holds to its limits, and keeps what came.
//! Nothing that comes in can make it panic; what goes wrong was ordered.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

const DOCUMENTS_MAX: usize = 50;
const DOCUMENT_BYTES_MAX: usize = 64 * 1024;
const BODY_BYTES_MAX: usize = 4 << 20;
const HEAD_LINES_MAX: usize = 64;
const READ_WITHIN: Duration = Duration::from_secs(20);

/// What the next request meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is throttled as a whole.
    Throttled,
    /// Its first document is not processed, now.
    FirstNotNow,
    /// Its first document is not processed, ever.
    FirstInvalid,
}

#[derive(Default)]
struct State {
    faults: VecDeque<Fault>,
    documents: Vec<Value>,
    requests: usize,
    problems: Vec<String>,
}

/// The endpoint, on a thread of its own; dropping it joins that.
pub struct XrayEndpoint {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl XrayEndpoint {
    /// Listens on a free port; the next requests meet the faults, one each.
    pub fn start(faults: &[Fault]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("could not listen");
        let address = listener.local_addr().expect("no address");
        let faults = faults.iter().copied().collect();
        let state = Arc::new(Mutex::new(State { faults, ..State::default() }));
        let ending = Arc::new(AtomicBool::new(false));
        let (shared, told) = (Arc::clone(&state), Arc::clone(&ending));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if told.load(Ordering::SeqCst) {
                    break;
                }
                if let Err(error) = stream.and_then(|stream| answer(stream, &shared)) {
                    lock(&shared).problems.push(format!("a connection failed: {error}"));
                }
            }
        });
        Self { address, state, ending, thread: Some(thread) }
    }

    /// Variables that lead an agent here.
    pub fn environment(&self) -> Vec<(String, String)> {
        let endpoint = format!("http://{}", self.address);
        let variables = [
            ("AWS_ENDPOINT_URL_XRAY", endpoint.as_str()),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
        ];
        variables.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    }

    /// Documents that were taken, in the order in which they came.
    pub fn documents(&self) -> Vec<Value> {
        lock(&self.state).documents.clone()
    }

    /// Requests that were made.
    pub fn requests(&self) -> usize {
        lock(&self.state).requests
    }

    /// What no client should do.
    pub fn problems(&self) -> Vec<String> {
        lock(&self.state).problems.clone()
    }
}

impl Drop for XrayEndpoint {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::SeqCst);
        // The thread is in `accept`: this is what wakes it.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// One request, one answer.
fn answer(stream: TcpStream, state: &Mutex<State>) -> io::Result<()> {
    stream.set_read_timeout(Some(READ_WITHIN))?;
    let mut reader = BufReader::new(stream);
    let Some((head, body)) = read(&mut reader)? else { return Ok(()) };
    let (status, answer) = reply(&head, &body, &mut lock(state));
    let text = answer.to_string();
    let length = text.len();
    let head = format!(
        "HTTP/1.1 {status} ok\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n"
    );
    reader.get_mut().write_all(format!("{head}{text}").as_bytes())
}

/// Head and body; `None`: the connection was closed.
fn read(reader: &mut BufReader<TcpStream>) -> io::Result<Option<(String, Vec<u8>)>> {
    let mut head = String::new();
    for _ in 0..HEAD_LINES_MAX {
        let before = head.len();
        reader.read_line(&mut head)?;
        if head.is_empty() {
            return Ok(None);
        }
        if &head[before..] == "\r\n" {
            break;
        }
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0).min(BODY_BYTES_MAX)];
    reader.read_exact(&mut body)?;
    Ok(Some((head, body)))
}

fn reply(head: &str, body: &[u8], state: &mut State) -> (u16, Value) {
    state.requests += 1;
    if !head.starts_with("POST /TraceSegments ") {
        state.problems.push(format!("no PutTraceSegments: {head}"));
        return (404, json!({}));
    }
    if !head.to_ascii_lowercase().contains("authorization: aws4-hmac-sha256") {
        state.problems.push("a request is not signed".to_owned());
    }
    let fault = state.faults.pop_front();
    if fault == Some(Fault::Throttled) {
        return (429, json!({"__type": "ThrottledException", "Message": "Rate exceeded"}));
    }
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    let texts: Vec<&str> = (request["TraceSegmentDocuments"].as_array().into_iter().flatten())
        .filter_map(Value::as_str)
        .collect();
    let too_long = texts.iter().any(|text| text.len() > DOCUMENT_BYTES_MAX);
    if texts.is_empty() || texts.len() > DOCUMENTS_MAX || too_long {
        state.problems.push(format!("{} documents, too long: {too_long}", texts.len()));
        return (400, json!({"__type": "InvalidRequestException", "Message": "limits"}));
    }
    let mut documents: Vec<Value> =
        texts.iter().map(|text| serde_json::from_str(text).unwrap_or_default()).collect();
    let code = match fault {
        Some(Fault::FirstNotNow) => "ThrottledException",
        Some(Fault::FirstInvalid) => "InvalidSegment",
        _ => "",
    };
    let mut unprocessed = Vec::new();
    if !code.is_empty() {
        let first = documents.remove(0);
        unprocessed.push(json!({"Id": first["id"], "ErrorCode": code, "Message": "as ordered"}));
    }
    state.documents.extend(documents);
    (200, json!({ "UnprocessedTraceSegments": unprocessed }))
}
