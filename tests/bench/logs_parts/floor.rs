//! The least that a Rust program must do to ship one file, and no agent: one thread reads, splits,
//! checks UTF-8, escapes, compresses, hashes, sends, waits for the answer and writes down how far
//! it is. No TLS, no order among sources, no second try.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde_json::{Value, json};

use crate::harness::log_endpoint::LogEndpoint;
use crate::harness::log_endpoint::client::Client;
use crate::harness::log_endpoint::lines::Writer;
use crate::report::rounded;

pub const BATCH_BYTES_MAX: usize = 1_048_576;
pub const BATCH_EVENTS_MAX: usize = 10_000;
pub const EVENT_OVERHEAD_BYTES: usize = 26;
const HEAD: &[u8] = br#"{"logGroupName":"floor","logStreamName":"s","logEvents":["#;
const GZIP_LEVEL: u32 = 1;

/// A batch in the making.
struct Batch {
    body: Vec<u8>,
    packed: Vec<u8>,
    bytes: usize,
    events: usize,
    gzip: bool,
}

/// The figures of so many lines.
pub fn of_lines(lines: u64) -> Value {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("prepared");
    Writer::new(&file, 0).unwrap().write(lines).unwrap();
    run(&file)
}

/// The figures with and without compression.
pub fn run(file: &Path) -> Value {
    json!({"plain": one(file, false), "gzip": one(file, true)})
}

fn one(path: &Path, gzip: bool) -> Value {
    let endpoint = LogEndpoint::start();
    let mut client = Client::connect(&endpoint.address()).unwrap();
    client.call("CreateLogGroup", br#"{"logGroupName":"floor"}"#, false).unwrap();
    let stream = br#"{"logGroupName":"floor","logStreamName":"s"}"#;
    client.call("CreateLogStream", stream, false).unwrap();
    let (mine, all) = (UsageWho::RUSAGE_THREAD, UsageWho::RUSAGE_SELF);
    let (before, all_before, started) = (cpu_seconds(mine), cpu_seconds(all), Instant::now());
    let bytes = ship(path, &mut client, gzip) as f64;
    let (cpu, took) = (cpu_seconds(mine) - before, started.elapsed());
    let endpoint_cpu = cpu_seconds(all) - all_before - cpu;
    let counts = endpoint.counts();
    assert_eq!(counts.invalid, 0, "{counts:?}");
    json!({
        "mb_per_s": rounded(bytes / 1e6 / took.as_secs_f64()),
        "cpu_s_per_gb": rounded(cpu / (bytes / 1e9)),
        "endpoint_cpu_s_per_gb": rounded(endpoint_cpu / (bytes / 1e9)),
        "requests": counts.puts,
        "wire_mb": rounded(counts.wire_bytes as f64 / 1e6),
    })
}

/// Of this thread, or of the endpoint's as well.
fn cpu_seconds(who: UsageWho) -> f64 {
    let usage = getrusage(who).expect("a thread has a usage");
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    micros as f64 / 1e6
}

fn ship(path: &Path, client: &mut Client<TcpStream>, gzip: bool) -> u64 {
    let offset_path = path.with_extension("offset");
    let mut file = BufReader::with_capacity(256 * 1024, File::open(path).unwrap());
    let mut batch = Batch {
        body: HEAD.to_vec(),
        packed: Vec::with_capacity(BATCH_BYTES_MAX),
        bytes: 0,
        events: 0,
        gzip,
    };
    let (mut line, mut offset) = (Vec::with_capacity(4096), 0);
    loop {
        line.clear();
        let read = file.read_until(b'\n', &mut line).unwrap();
        let message = line.strip_suffix(b"\n").unwrap_or(&line);
        let full = batch.bytes + message.len() + EVENT_OVERHEAD_BYTES > BATCH_BYTES_MAX
            || batch.events == BATCH_EVENTS_MAX;
        if (read == 0 || full) && batch.events > 0 {
            batch.send(client);
            std::fs::write(&offset_path, offset.to_string()).unwrap();
        }
        if read == 0 {
            return offset;
        }
        offset += read as u64;
        batch.push(std::str::from_utf8(message).expect("the lines are UTF-8"));
    }
}

impl Batch {
    fn push(&mut self, message: &str) {
        if self.events > 0 {
            self.body.push(b',');
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        write!(self.body, "{{\"timestamp\":{now},\"message\":").unwrap();
        serde_json::to_writer(&mut self.body, message).unwrap();
        self.body.push(b'}');
        self.events += 1;
        self.bytes += message.len() + EVENT_OVERHEAD_BYTES;
    }

    fn send(&mut self, client: &mut Client<TcpStream>) {
        self.body.extend_from_slice(b"]}");
        let body = if self.gzip {
            self.packed.clear();
            let level = flate2::Compression::new(GZIP_LEVEL);
            let mut encoder = flate2::write::GzEncoder::new(&mut self.packed, level);
            encoder.write_all(&self.body).unwrap();
            encoder.finish().unwrap();
            &self.packed
        } else {
            &self.body
        };
        let (status, answer) = client.call("PutLogEvents", body, self.gzip).unwrap();
        assert_eq!(status, 200, "{answer}");
        self.body.truncate(HEAD.len());
        (self.bytes, self.events) = (0, 0);
    }
}
