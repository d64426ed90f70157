//! Errors of applications, for a tracker of errors: an exception that was not caught, or an end
//! that was not asked for. Pure.

use serde::{Deserialize, Serialize};

use super::cut;
use super::queue::Pace;
use crate::time::Wall;
use crate::types::{ProcessId, TierName, Version};

/// The tracker's name among the targets.
pub const NAME: &str = "errors";
/// Lines of stderr that go along.
pub const LINES_MAX: usize = 20;
/// Frames of a stack.
pub const FRAMES_MAX: usize = 50;

/// Which errors go to the tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorRules {
    /// The share that goes, in parts per million.
    pub sample_ppm: u32,
    /// How often.
    pub pace: Pace,
}

/// An error of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReport {
    /// When.
    pub at: Wall,
    /// Of which tier.
    pub tier: TierName,
    /// Of which process.
    pub process: ProcessId,
    /// What it ran.
    pub release: Version,
    /// The exception as the runtime printed it, such as `TypeError: x is not a function`; or how
    /// the process ended.
    pub message: String,
    /// The stack as V8 writes it; empty without one.
    pub stack: String,
    /// The last lines of stderr.
    pub lines: Vec<String>,
}

/// A line of a stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Frame {
    /// The function, if it has a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// The file, or what the runtime calls it.
    pub filename: String,
    /// From 1.
    pub lineno: u32,
    /// From 1.
    pub colno: u32,
    /// It is the application's own, neither the runtime's nor a dependency's.
    pub in_app: bool,
}

impl ErrorReport {
    /// The kind of exception and what it says: `TypeError`, `x is not a function`.
    #[must_use]
    pub fn exception(&self) -> (&str, &str) {
        let message = self.message.strip_prefix("Uncaught ").unwrap_or(&self.message);
        let named = |kind: &str| {
            let usual = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '.');
            !kind.is_empty() && kind.len() <= 100 && kind.chars().all(usual)
        };
        match message.split_once(": ") {
            Some((kind, value)) if named(kind) => (kind, value),
            _ => ("Crash", message),
        }
    }

    /// The stack, the innermost frame last, as trackers want it.
    #[must_use]
    pub fn frames(&self) -> Vec<Frame> {
        let mut frames: Vec<_> = self.stack.lines().filter_map(frame).take(FRAMES_MAX).collect();
        frames.reverse();
        frames
    }

    /// What is the same for the same error, also on other hosts and in other processes: the kind,
    /// where it was thrown, and without a stack what it says, numbers aside.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let (kind, value) = self.exception();
        let frames = self.frames();
        let thrown = frames.iter().rev().find(|frame| frame.in_app).or(frames.last());
        let place = thrown.map_or_else(
            || value.chars().filter(|c| !c.is_ascii_digit()).take(200).collect(),
            |frame| format!("{}:{}", frame.filename, frame.lineno),
        );
        format!("{}/{kind}/{place}", self.tier)
    }

    /// Bytes of its texts.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let lines: usize = self.lines.iter().map(String::len).sum();
        (self.message.len() + self.stack.len() + lines) as u64
    }

    /// Cuts everything off at its bound.
    pub(super) fn bound(&mut self) {
        cut(&mut self.message);
        let over = self.lines.len().saturating_sub(LINES_MAX);
        self.lines.drain(..over);
        self.lines.iter_mut().for_each(cut);
        let lines: Vec<_> = self.stack.lines().take(FRAMES_MAX * 2).collect();
        self.stack = lines.join("\n");
        let mut end = self.stack.len().min(16 * 1024);
        while !self.stack.is_char_boundary(end) {
            end -= 1;
        }
        self.stack.truncate(end);
    }
}

/// `    at handle (/srv/app/web.js:12:34)`, `at /srv/app/web.js:1:2`, `at async f (node:fs:1:2)`.
fn frame(line: &str) -> Option<Frame> {
    let line = line.trim().strip_prefix("at ")?;
    let (function, place) = match line.strip_suffix(')').and_then(|line| line.rsplit_once(" (")) {
        Some((function, place)) => (Some(function.trim_start_matches("async ")), place),
        None => (None, line.trim_start_matches("async ")),
    };
    let (rest, column) = place.rsplit_once(':')?;
    let (file, number) = rest.rsplit_once(':')?;
    let filename = file.strip_prefix("file://").unwrap_or(file).to_owned();
    let own = filename.starts_with('/') && !filename.contains("/node_modules/");
    Some(Frame {
        function: function.filter(|name| !name.is_empty()).map(str::to_owned),
        lineno: number.parse().ok()?,
        colno: column.parse().ok()?,
        in_app: own,
        filename,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn report(message: &str, stack: &str) -> ErrorReport {
        ErrorReport {
            at: Wall(0),
            tier: "web".parse().unwrap(),
            process: "web.1.1".parse().unwrap(),
            release: "v1".parse().unwrap(),
            message: message.to_owned(),
            stack: stack.to_owned(),
            lines: Vec::new(),
        }
    }

    #[test]
    fn exceptions_and_stacks_are_read_as_v8_writes_them() {
        let stack = "TypeError: x is not a function\n    at handle (/srv/app/web.js:12:34)\n    \
                     at async Server.<anonymous> (/srv/app/node_modules/x/y.js:1:2)\n    at \
                     node:internal/http:7:8\n    at new Promise (<anonymous>)";
        let error = report("Uncaught TypeError: x is not a function", stack);
        assert_eq!(error.exception(), ("TypeError", "x is not a function"));
        let frames = error.frames();
        assert_eq!(frames.len(), 3);
        let innermost = &frames[2];
        assert_eq!(innermost.function.as_deref(), Some("handle"));
        assert_eq!((innermost.lineno, innermost.colno, innermost.in_app), (12, 34, true));
        assert_eq!(frames[1].function.as_deref(), Some("Server.<anonymous>"));
        assert_eq!((frames[0].in_app, frames[1].in_app), (false, false));
        assert_eq!(error.fingerprint(), "web/TypeError//srv/app/web.js:12");
        let ended = report("exited with code 1", "");
        assert_eq!(ended.exception(), ("Crash", "exited with code 1"));
        let other = report("exited with code 2", "");
        assert_eq!(ended.fingerprint(), other.fingerprint());
    }

    proptest! {
        #[test]
        fn nothing_a_process_says_panics(message in ".*", stack in "(at |[a-z(:0-9)\n é])*") {
            let mut error = report(&message, &stack);
            error.bound();
            prop_assert!(error.frames().len() <= FRAMES_MAX);
            prop_assert!(!error.fingerprint().is_empty() && !error.exception().0.is_empty());
        }
    }
}
