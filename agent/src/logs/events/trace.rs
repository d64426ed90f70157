//! Stack traces as Node, Python, Java and Go print them, told line by line.
//!
//! A line joins only where it must belong to the trace before it: what programs print otherwise,
//! indented or not, stands alone. A line is never seen twice, and the one after it not at all, so
//! what cannot be told apart by then is left apart.

use groundcrew_core::logs::{Level, json, level};
use memchr::memmem;

use super::timestamp::begins_with_time;

/// What the lines of an event so far are the beginning of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trace {
    /// Of nothing: no line joins any more.
    Closed,
    /// A line of text, which a trace may belong to. `failed`: it says that something went wrong,
    /// so that also the head of a trace belongs to it.
    Text { failed: bool },
    /// Node is about to end: the file and the line.
    Uncaught,
    /// The line of source after [`Self::Uncaught`].
    UncaughtSource,
    /// The carets under it; then comes the error, and any lines its message has.
    UncaughtError,
    /// Frames of Node or Java. `uncaught`: Node's version comes at the end.
    Frames { uncaught: bool },
    /// The properties of an error of Node, between braces.
    Properties { uncaught: bool },
    /// Nothing but an empty line and Node's version.
    UncaughtEnd,
    /// Frames of Python, all indented.
    Python,
    /// An exception group of Python, all behind a margin.
    PythonGroup,
    /// The line that names the exception.
    PythonRaised,
    /// The empty line after it.
    PythonRaisedEnd,
    /// The sentence that leads to the next exception.
    PythonChain,
    /// A panic of Go: what it says.
    GoPanic,
    /// The frames of a goroutine.
    Goroutine,
    /// The empty line after them.
    GoroutineEnd,
}

impl Trace {
    /// What an event begins that has `line` as its first.
    pub(super) fn begin(line: &[u8]) -> Self {
        let line = line.trim_ascii_end();
        if json::is_object(line) {
            Self::Closed
        } else if is_uncaught(line) {
            Self::Uncaught
        } else if is_frame(line) || opens_properties(line) {
            Self::frames(line, false)
        } else if line.ends_with(PYTHON_HEAD) {
            Self::python(line)
        } else if is_python_frame(line) {
            Self::Python
        } else if line.starts_with(b"panic: ") || line.starts_with(b"fatal error: ") {
            Self::GoPanic
        } else if is_goroutine(line) {
            Self::Goroutine
        } else {
            let thread = line.starts_with(b"Exception in thread ");
            Self::Text { failed: thread || level(line) >= Some(Level::Warn) }
        }
    }

    /// What there is with `line` joined; `None` when it does not belong to what there was.
    pub(super) fn join(self, line: &[u8]) -> Option<Self> {
        let line = line.trim_ascii_end();
        match self {
            Self::Closed => None,
            Self::Text { failed } => text(failed, line),
            Self::Uncaught => (!is_of_another(line)).then_some(Self::UncaughtSource),
            Self::UncaughtSource => is_carets(line).then_some(Self::UncaughtError),
            Self::UncaughtError => uncaught_error(line),
            Self::Frames { uncaught } => frames(uncaught, line),
            Self::Properties { uncaught } if line.starts_with(b"}") => {
                Some(if uncaught { Self::UncaughtEnd } else { Self::Closed })
            }
            Self::Properties { .. } => (is_indented(line) || line.is_empty()).then_some(self),
            Self::UncaughtEnd if line.is_empty() => Some(Self::UncaughtEnd),
            Self::UncaughtEnd => line.starts_with(NODE_END).then_some(Self::Closed),
            Self::Python if is_indented(line) => Some(Self::Python),
            Self::Python => {
                (!line.is_empty() && !is_of_another(line)).then_some(Self::PythonRaised)
            }
            Self::PythonGroup if line.is_empty() => Some(Self::PythonRaisedEnd),
            // The next group that fails begins with a margin as well.
            Self::PythonGroup if is_python_head(line) => None,
            Self::PythonGroup => is_in_group(line).then_some(Self::PythonGroup),
            Self::PythonRaised => line.is_empty().then_some(Self::PythonRaisedEnd),
            Self::PythonRaisedEnd => {
                let chains = PYTHON_CHAINS.iter().any(|chain| line.starts_with(chain));
                chains.then_some(Self::PythonChain)
            }
            Self::PythonChain if line.is_empty() => Some(Self::PythonChain),
            Self::PythonChain => is_python_head(line).then(|| Self::python(line)),
            Self::GoPanic => go_panic(line),
            Self::Goroutine => goroutine(line),
            Self::GoroutineEnd if is_goroutine(line) => Some(Self::Goroutine),
            Self::GoroutineEnd => line.starts_with(GO_END).then_some(Self::Closed),
        }
    }

    fn frames(line: &[u8], uncaught: bool) -> Self {
        if line.ends_with(b" {") {
            Self::Properties { uncaught }
        } else {
            Self::Frames { uncaught }
        }
    }

    fn python(head: &[u8]) -> Self {
        if head.trim_ascii_start().starts_with(b"+ ") { Self::PythonGroup } else { Self::Python }
    }
}

const NODE_END: &[u8] = b"Node.js v";
const NODE_HINT: &[u8] = b"(Use `node --trace-";
const NODE_EMITTED: &[u8] = b"Emitted 'error' event ";
const NODE_FILES: [&[u8]; 6] = [b".js", b".cjs", b".mjs", b".ts", b".cts", b".mts"];
const PYTHON_HEAD: &[u8] = b"Traceback (most recent call last):";
const PYTHON_CHAINS: [&[u8]; 2] = [
    b"During handling of the above exception, another exception occurred:",
    b"The above exception was the direct cause of the following exception:",
];
const GO_END: &[u8] = b"exit status ";

fn text(failed: bool, line: &[u8]) -> Option<Trace> {
    if is_frame(line) {
        Some(Trace::frames(line, false))
    } else if line.starts_with(NODE_HINT) {
        Some(Trace::Closed)
    } else if failed && is_python_head(line) {
        Some(Trace::python(line))
    } else if failed && is_java_exception(line) {
        // Only one: two such lines without frames between them are two failures.
        Some(Trace::Text { failed: false })
    } else {
        None
    }
}

fn uncaught_error(line: &[u8]) -> Option<Trace> {
    if line.starts_with(NODE_END) {
        Some(Trace::Closed)
    } else if is_frame(line) || opens_properties(line) {
        Some(Trace::frames(line, true))
    } else {
        (!is_of_another(line)).then_some(Trace::UncaughtError)
    }
}

fn frames(uncaught: bool, line: &[u8]) -> Option<Trace> {
    let text = line.trim_ascii_start();
    if line.is_empty() {
        return uncaught.then_some(Trace::UncaughtEnd);
    }
    if line.starts_with(NODE_HINT) {
        return Some(Trace::Closed);
    }
    let omitted =
        text.strip_prefix(b"... ").is_some_and(|more| more.first().is_some_and(u8::is_ascii_digit));
    let frame = is_frame(line) || (omitted && is_indented(line));
    let more = [&b"Caused by: "[..], b"Suppressed: ", b"Wrapped by: ", NODE_EMITTED];
    let joins = frame || more.iter().any(|more| text.starts_with(more));
    joins.then(|| Trace::frames(line, uncaught))
}

fn go_panic(line: &[u8]) -> Option<Trace> {
    if is_goroutine(line) {
        return Some(Trace::Goroutine);
    }
    let more = line.is_empty() || line.starts_with(b"[signal ") || line.starts_with(b"\tpanic: ");
    more.then_some(Trace::GoPanic)
}

fn goroutine(line: &[u8]) -> Option<Trace> {
    if line.is_empty() {
        return Some(Trace::GoroutineEnd);
    }
    if line.starts_with(GO_END) {
        return Some(Trace::Closed);
    }
    let call = line.ends_with(b")") && line.contains(&b'(') && !begins_with_time(line);
    let more = call
        || line.starts_with(b"\t")
        || line.starts_with(b"created by ")
        || line.starts_with(b"...additional frames elided");
    more.then_some(Trace::Goroutine)
}

fn is_indented(line: &[u8]) -> bool {
    matches!(line, [b' ' | b'\t', ..])
}

/// Whether the line cannot belong to what a program that fails says: it is a JSON object, or begins
/// with a time.
fn is_of_another(line: &[u8]) -> bool {
    !is_indented(line) && (json::is_object(line) || begins_with_time(line))
}

/// `    at Server.listen (node:net:2067:7)`, `    at /app/x.js:1:2`,
/// `\tat App.main(App.java:6) ~[app.jar:1.0]`. Prose that happens to begin with "at" ends
/// otherwise.
fn is_frame(line: &[u8]) -> bool {
    let text = line.trim_ascii_start();
    let Some(call) = text.strip_prefix(b"at ").filter(|_| is_indented(line)) else { return false };
    let call = call.strip_suffix(b" {").or_else(|| call.strip_suffix(b",")).unwrap_or(call);
    let call = match memmem::rfind(call, b"[") {
        Some(at) if call.ends_with(b"]") => {
            let call = &call[..at];
            call.strip_suffix(b"~").unwrap_or(call).trim_ascii_end()
        }
        _ => call,
    };
    let Some(call) = call.strip_suffix(b")") else {
        let position = without_number(call).and_then(without_number);
        return position.is_some() || call == b"<anonymous>" || call.starts_with(b"wasm://");
    };
    let Some(at) = call.iter().rposition(|byte| *byte == b'(') else { return false };
    let (function, place) = (&call[..at], &call[at + 1..]);
    let java = function.contains(&b'.') && !function.contains(&b' ');
    let named = place == b"<anonymous>" || place == b"native" || place.starts_with(b"index ");
    java || named || without_number(place).is_some() || memmem::find(place, b"wasm://").is_some()
}

/// What comes before the colon and the number that `text` ends with.
fn without_number(text: &[u8]) -> Option<&[u8]> {
    let digits = text.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let rest = text[..text.len() - digits].strip_suffix(b":")?;
    (digits > 0).then_some(rest)
}

/// `[Error: no such file] {`, where there are no frames between an error and its properties.
fn opens_properties(line: &[u8]) -> bool {
    let names = |name: &&[u8]| memmem::find(line, name).is_some();
    line.ends_with(b" {") && [&b"Error"[..], b"Exception", b"Rejection"].iter().any(names)
}

/// `/app/x.js:10`, `node:internal/process/promises:389`.
fn is_uncaught(line: &[u8]) -> bool {
    let Some(file) = without_number(line) else { return false };
    let path = file.starts_with(b"/") || file.starts_with(b"file:///");
    file.starts_with(b"node:")
        || file.starts_with(b"[eval]")
        || path && NODE_FILES.iter().any(|ending| file.ends_with(ending))
}

fn is_carets(line: &[u8]) -> bool {
    let carets = line.trim_ascii_start();
    !carets.is_empty() && carets.iter().all(|byte| *byte == b'^')
}

fn is_python_head(line: &[u8]) -> bool {
    let group = line.trim_ascii_start().strip_prefix(b"+ Exception Group ");
    group.unwrap_or(line) == PYTHON_HEAD
}

/// `  File "x.py", line 1`: what Python says of a script that it cannot read begins with it.
fn is_python_frame(line: &[u8]) -> bool {
    line.starts_with(b"  File \"") && memmem::find(line, b"\", line ").is_some()
}

fn is_in_group(line: &[u8]) -> bool {
    is_indented(line) && matches!(line.trim_ascii_start(), [b'|' | b'+', ..])
}

/// `goroutine 1 [running]:`.
fn is_goroutine(line: &[u8]) -> bool {
    line.starts_with(b"goroutine ") && line.ends_with(b"]:")
}

/// `java.lang.IllegalStateException: no connection`.
fn is_java_exception(line: &[u8]) -> bool {
    let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'$');
    let endings = [&b"Exception"[..], b"Error", b"Throwable"];
    name.contains(&b'.')
        && name.iter().all(is_name)
        && endings.iter().any(|ending| name.ends_with(ending))
}
