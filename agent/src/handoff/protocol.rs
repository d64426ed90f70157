//! The process channel, version 1: what the agent and the preload (`node.cjs`) say to each other.
//! This file is the contract's home.
//!
//! Newline-delimited JSON over the unix stream socket `$GROUNDCREW_CHANNEL`, one message a line, at
//! most [`LINE_BYTES_MAX`] bytes. Both sides ignore types and fields they do not know. The process
//! is the client: it reconnects for as long as it lives (50 ms, doubling to 2 s, with jitter), says
//! `hello` first with its true state, and never waits for the agent. The agent knows who speaks
//! from the kernel (`SO_PEERCRED`), not from what is said.
//!
//! The environment that goes with it:
//!
//! - `GROUNDCREW_PROCESS`, `GROUNDCREW_RUN`, `GROUNDCREW_RELEASE`: `web.17.1`, the count of its
//!   starts, `v42`;
//! - `GROUNDCREW_CHANNEL`, `GROUNDCREW_PROBE`: the channel's socket; where the process opens its
//!   probe socket;
//! - `GROUNDCREW_CRASH`: `exit` or `bleed`;
//! - `GROUNDCREW_TRACES`, where something is traced: `50000` of a million requests, and `follow`
//!   behind it when the flag of `X-Amzn-Trace-Id` decides;
//! - `PORT`, `TMPDIR`: the tier's port, the process's own directory;
//! - `LISTEN_FDS`, `LISTEN_PID`, `LISTEN_FDNAMES`: sd_listen_fds(3), fd 3 is the listening socket;
//! - `NODE_OPTIONS`: `--require` of the preload, behind what was there.
//!
//! Children inherit the variables; `LISTEN_PID` and fd 3 are right in the process itself alone.

use groundcrew_core::types::{Pid, ProcessId, Run};
use serde::{Deserialize, Serialize};

pub use super::notes::Notes;
pub use super::report::{Gc, GcKind, Stats, StatusCounts};

/// Bytes of one line, its newline included.
pub const LINE_BYTES_MAX: usize = 64 * 1024;
/// How a report begins as the preload writes it. Nearly all lines are reports, and one whose type
/// is known is read in one go, where others are kept as a tree until their type is found.
const STATS_BEGIN: &[u8] = br#"{"type":"stats","#;
/// Bytes of a crash message that are kept.
pub const CRASH_BYTES_MAX: usize = 500;
/// Bytes of an exception's stack that are kept.
pub const STACK_BYTES_MAX: usize = 16 * 1024;
/// Lines of it.
const STACK_LINES_MAX: usize = 200;
/// Bytes of an exception's name.
const NAME_BYTES_MAX: usize = 100;

/// What a process says.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromProcess {
    /// The first line of every connection.
    Hello(Hello),
    /// The app has called listen on `PORT`, and the probe socket answers.
    Listening {
        /// The port the app asked for.
        port: u16,
    },
    /// The app listens where it gets no connections. Once for each port.
    Elsewhere {
        /// The port it listens on.
        port: u16,
        /// The process that does.
        pid: Pid,
        /// `true`: a child listens on `PORT` itself, and children do not get the socket.
        #[serde(default)]
        child: bool,
    },
    /// It accepts: the answer to [`ToProcess::Accept`], also when it did before.
    Accepting,
    /// The bleed is over: no connection is left.
    Drained {
        /// Requests that had no answer when the deadline passed.
        #[serde(default)]
        cut: u64,
        /// WebSocket connections closed at the deadline.
        #[serde(default)]
        websockets: u64,
    },
    /// An uncaught exception is about to end it, or to make it bleed.
    Crash {
        /// The first line of the exception.
        message: String,
        /// Its name, such as `TypeError`.
        #[serde(default)]
        name: Option<String>,
        /// Where it was thrown. With `GROUNDCREW_CRASH=bleed` it comes with a second such line,
        /// when the process ends.
        #[serde(default)]
        stack: Option<String>,
    },
    /// What it did since the last such line.
    Stats(Stats),
    /// Requests to tell X-Ray about.
    Traces(Notes),
    /// A type this version does not know.
    #[serde(other)]
    Unknown,
}

/// Who connects, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Hello {
    /// `GROUNDCREW_PROCESS`.
    pub process: ProcessId,
    /// `GROUNDCREW_RUN`.
    pub run: Run,
    /// Its own idea of its number. The kernel's counts.
    pub pid: Pid,
    /// Its state now, whatever was said on an earlier connection.
    pub state: State,
    /// `node v20.20.2`.
    #[serde(default)]
    pub runtime: String,
}

/// How far a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The app has not called listen on `PORT`.
    Starting,
    /// The probe socket answers.
    Listening,
    /// It takes connections from the listening socket.
    Accepting,
    /// It answers what it has.
    Bleeding,
    /// It has no connection left, and takes none.
    Drained,
}

/// What the agent says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToProcess {
    /// Take connections from the listening socket. Saying it twice is fine.
    Accept,
    /// Take no more, answer what is there and what still comes on open connections with
    /// `Connection: close`, and end WebSockets at the deadline. A second one may only shorten both
    /// times.
    Bleed {
        /// The deadline, from receipt.
        within_ms: u64,
        /// The host leaves: take what still comes, until nothing has come for so long.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        quiet: Option<Quiet>,
    },
    /// Answer the next request on up to so many connections with `Connection: close`, so that their
    /// peers connect anew, to any process.
    Shed {
        /// How many.
        connections: u32,
    },
}

/// The silence after which nothing is expected any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quiet {
    /// How long.
    pub lasts_ms: u64,
    /// Whether the time counts that was silent before the receipt.
    pub past_counts: bool,
}

impl ToProcess {
    /// As a line, its newline included.
    #[must_use]
    pub fn to_line(&self) -> String {
        // Numbers and names: there is nothing in it that could fail to be written.
        let mut line = serde_json::to_string(self).unwrap_or_default();
        line.push('\n');
        line
    }
}

/// A line that is no message.
#[derive(Debug, thiserror::Error)]
#[error("not a message of the channel")]
pub struct LineError(#[source] serde_json::Error);

impl FromProcess {
    /// Reads a line, with or without its newline. Text in it is shortened to its limit.
    pub fn parse(line: &[u8]) -> Result<Self, LineError> {
        let read = if line.starts_with(STATS_BEGIN) {
            serde_json::from_slice(line).map(Self::Stats)
        } else {
            serde_json::from_slice(line)
        };
        let mut message = read.map_err(LineError)?;
        match &mut message {
            Self::Crash { message, name, stack } => {
                shorten(message, CRASH_BYTES_MAX);
                if let Some(name) = name {
                    shorten(name, NAME_BYTES_MAX);
                }
                if let Some(stack) = stack {
                    *stack = printable_lines(stack);
                }
            }
            Self::Hello(hello) => shorten(&mut hello.runtime, 64),
            _ => {}
        }
        Ok(message)
    }
}

/// One line of printable text: it ends up on terminals.
fn shorten(text: &mut String, bytes_max: usize) {
    let first = text.lines().next().unwrap_or_default();
    let mut short: String = first.chars().filter(|c| !c.is_control()).collect();
    short.truncate(short.floor_char_boundary(bytes_max));
    *text = short;
}

/// The first lines of a stack, printable.
fn printable_lines(stack: &str) -> String {
    let lines = stack.lines().take(STACK_LINES_MAX);
    let printable = |line: &str| line.chars().filter(|c| !c.is_control()).collect::<String>();
    let mut kept = lines.map(printable).collect::<Vec<_>>().join("\n");
    kept.truncate(kept.floor_char_boundary(STACK_BYTES_MAX));
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: &FromProcess) {
        assert_eq!(&FromProcess::parse(line.as_bytes()).unwrap(), expected, "{line}");
    }

    #[test]
    fn reads_each_message_as_the_contract_writes_it() {
        check(
            r#"{"type":"hello","process":"web.17.1","run":3,"pid":123,"state":"accepting",
                "runtime":"node v20.20.2"}"#,
            &FromProcess::Hello(Hello {
                process: "web.17.1".parse().unwrap(),
                run: 3,
                pid: 123,
                state: State::Accepting,
                runtime: "node v20.20.2".to_owned(),
            }),
        );
        check(r#"{"type":"listening","port":3000}"#, &FromProcess::Listening { port: 3000 });
        check(
            r#"{"type":"elsewhere","port":8080,"pid":124,"child":true}"#,
            &FromProcess::Elsewhere { port: 8080, pid: 124, child: true },
        );
        check(r#"{"type":"accepting"}"#, &FromProcess::Accepting);
        check(
            r#"{"type":"drained","cut":1,"websockets":2}"#,
            &FromProcess::Drained { cut: 1, websockets: 2 },
        );
        let stats = r#"{"type":"stats","interval_ms":1000,"status":{"2xx":9,"5xx":1},
            "latency":[[17,4],[18,6]],"in_flight":2,"connections":64,"websockets":0,
            "lag_p50_us":120,"lag_p99_us":900,"heap_bytes":12345678}"#;
        let FromProcess::Stats(stats) = FromProcess::parse(stats.as_bytes()).unwrap() else {
            panic!("not stats")
        };
        assert_eq!((stats.status.total(), stats.status.server_error), (10, 1));
        assert_eq!((stats.latency.count(), stats.connections), (10, 64));
    }

    #[test]
    fn a_report_is_read_alike_wherever_its_type_stands() {
        let rest = r#""status":{"2xx":9},"scale":40,"latency":[[400,9]],"connections":3,"new":[1]"#;
        let usual = format!(r#"{{"type":"stats",{rest}}}"#);
        assert!(usual.as_bytes().starts_with(STATS_BEGIN));
        let other = FromProcess::parse(format!(r#"{{{rest},"type":"stats"}}"#).as_bytes()).unwrap();
        check(&usual, &other);
        assert!(FromProcess::parse(br#"{"type":"stats","connections":-1}"#).is_err());
    }

    #[test]
    fn ignores_types_and_fields_it_does_not_know() {
        check(r#"{"type":"lunch","at":[1,{"x":null}]}"#, &FromProcess::Unknown);
        check(r#"{"type":"accepting","since":1}"#, &FromProcess::Accepting);
        check(r#"{"type":"stats"}"#, &FromProcess::Stats(Stats::default()));
    }

    #[test]
    fn text_is_one_short_printable_line() {
        let message = format!("Error: \\u001b[31m{}\\nat x", "ä".repeat(400));
        let line = format!(r#"{{"type":"crash","message":"{message}"}}"#);
        let FromProcess::Crash { message, name, stack } =
            FromProcess::parse(line.as_bytes()).unwrap()
        else {
            panic!("not a crash")
        };
        assert!(message.starts_with("Error: [31mää") && message.len() <= CRASH_BYTES_MAX);
        assert!(!message.contains(['\n', '\u{1b}']));
        assert_eq!((name, stack), (None, None), "as preloads of before say it");
    }

    #[test]
    fn a_stack_keeps_its_lines_and_its_bounds() {
        let check = |stack: &str, expected: &str| {
            let crash = serde_json::json!({
                "type": "crash", "message": "E", "name": "Type\u{1b}Error", "stack": stack,
            });
            let line = crash.to_string();
            let FromProcess::Crash { name, stack, .. } =
                FromProcess::parse(line.as_bytes()).unwrap()
            else {
                panic!("not a crash")
            };
            assert_eq!(name.as_deref(), Some("TypeError"));
            assert_eq!(stack.as_deref(), Some(expected));
        };
        check("E: \u{1b}x\r\n    at a.js:1:1\n", "E: x\n    at a.js:1:1");
        check(&"ä".repeat(STACK_BYTES_MAX), &"ä".repeat(STACK_BYTES_MAX / 2));
        check(&"x\n".repeat(1000), "x\n".repeat(STACK_LINES_MAX).trim_end());
    }

    #[test]
    fn refuses_what_is_no_message() {
        for line in [
            "",
            "{}",
            "null",
            "accept",
            r#"{"type":"listening"}"#,
            r#"{"type":"listening","port":70000}"#,
            r#"{"type":"hello","process":"../x","run":1,"pid":1,"state":"starting"}"#,
            r#"{"type":"stats","connections":-1}"#,
            "{\"type\":\"accepting\"",
            "\u{feff}{\"type\":\"accepting\"}",
        ] {
            assert!(FromProcess::parse(line.as_bytes()).is_err(), "{line}");
        }
        let deep = format!(r#"{{"type":"accepting","x":{}"#, "[".repeat(60_000));
        assert!(FromProcess::parse(deep.as_bytes()).is_err());
    }

    #[test]
    fn writes_each_message_as_the_contract_reads_it() {
        let lines = [ToProcess::Accept, ToProcess::Bleed { within_ms: 30_000, quiet: None }];
        assert_eq!(
            lines.map(|message| message.to_line()),
            ["{\"type\":\"accept\"}\n", "{\"type\":\"bleed\",\"within_ms\":30000}\n"]
        );
        let shed = ToProcess::Shed { connections: 3 }.to_line();
        assert_eq!(shed, "{\"type\":\"shed\",\"connections\":3}\n");
    }
}
