//! Which lines make one event.
//!
//! It looks at each line once, in the order of the source, and keeps no bytes: the caller puts the
//! event together. It must never let an event grow beyond its bounds, whatever is written.

use std::sync::Arc;

use groundcrew_core::logs::limits::{GROUPED_BYTES_MAX, GROUPED_LINES_MAX};
use groundcrew_core::logs::{Multiline, json};
use regex::bytes::Regex;

use super::emf::is_emf;
use super::timestamp::begins_with_time;
use super::trace::Trace;
use super::{PatternError, compile};

/// A rule by which lines are grouped, ready to be applied to any number of sources.
#[derive(Debug, Clone)]
pub struct Grouping {
    rule: Rule,
}

#[derive(Debug, Clone)]
enum Rule {
    Traces,
    Off,
    Timestamp,
    Indent,
    Pattern(Arc<Regex>),
}

impl Grouping {
    /// Fails when the pattern of `multiline` does not compile.
    pub fn new(multiline: &Multiline) -> Result<Self, PatternError> {
        let rule = match multiline {
            Multiline::Traces => Rule::Traces,
            Multiline::Off => Rule::Off,
            Multiline::Timestamp => Rule::Timestamp,
            Multiline::Indent => Rule::Indent,
            Multiline::Pattern(pattern) => Rule::Pattern(Arc::new(compile(pattern)?)),
        };
        Ok(Self { rule })
    }

    /// Every line stands alone.
    #[must_use]
    pub const fn off() -> Self {
        Self { rule: Rule::Off }
    }

    /// What applies the rule to one source.
    #[must_use]
    pub fn grouper(&self) -> Grouper {
        Grouper { rule: self.rule.clone(), trace: Trace::Closed, open: false, lines: 0, bytes: 0 }
    }
}

/// Groups the lines of one source.
#[derive(Debug, Clone)]
pub struct Grouper {
    rule: Rule,
    /// Only under [`Rule::Traces`].
    trace: Trace,
    open: bool,
    lines: usize,
    bytes: usize,
}

impl Grouper {
    /// An event begins with this line. Lines come without their newline.
    pub fn begin(&mut self, line: &[u8]) {
        (self.lines, self.bytes) = (1, line.len());
        self.open = match &self.rule {
            Rule::Off => false,
            // Whoever gives a pattern means all lines but metrics; a JSON object is otherwise
            // whole by itself.
            Rule::Pattern(_) => !is_emf(line),
            Rule::Timestamp | Rule::Indent => !json::is_object(line),
            Rule::Traces => {
                self.trace = Trace::begin(line);
                self.trace != Trace::Closed
            }
        };
    }

    /// Whether the next line belongs to the event that is under way. When it does not, the event
    /// is whole, and the line [begins](Self::begin) the next one.
    pub fn joins(&mut self, line: &[u8]) -> bool {
        let bytes = self.bytes.saturating_add(1).saturating_add(line.len());
        let fits = self.may_go_on() && bytes <= GROUPED_BYTES_MAX;
        // Of a line of metrics that is part of an event no metrics are made.
        let joins = fits && !is_emf(line) && self.belongs(line);
        if joins {
            (self.lines, self.bytes) = (self.lines + 1, bytes);
        } else {
            self.open = false;
        }
        joins
    }

    /// Whether another line could belong to the event. Whoever has come to the end of a file waits
    /// a moment then, because the rest may be about to be written.
    #[must_use]
    pub fn may_go_on(&self) -> bool {
        self.open && self.lines < GROUPED_LINES_MAX && self.bytes < GROUPED_BYTES_MAX
    }

    fn belongs(&mut self, line: &[u8]) -> bool {
        match &self.rule {
            Rule::Off => false,
            Rule::Timestamp => !begins_with_time(line) && !json::is_object(line),
            Rule::Indent => matches!(line, [b' ' | b'\t', ..]),
            Rule::Pattern(pattern) => !pattern.is_match(line),
            Rule::Traces => {
                let joined = self.trace.join(line);
                self.trace = joined.unwrap_or(Trace::Closed);
                self.open = self.trace != Trace::Closed;
                joined.is_some()
            }
        }
    }
}
