//! From lines to events: which lines belong together, when they were written, what of them must
//! not leave the host, and which may be dropped.
//!
//! Pure functions of bytes that anyone may have written, called for every line that is shipped.
//! They must never do IO, panic, or allocate for a line in which they find nothing to change.

pub mod emf;
pub mod grouping;
pub mod redact;
pub mod rules;
#[cfg(test)]
mod tests;
pub mod timestamp;
mod trace;

pub use emf::{is_emf, may_be_emf};
pub use grouping::{Grouper, Grouping};
pub use redact::Redactor;
pub use rules::Rules;
pub use timestamp::Clock;

use regex::bytes::{Regex, RegexBuilder};

/// Memory in which one regular expression remembers the states that it met: the agent is small, and
/// there may be many.
const CACHE_BYTES_MAX: usize = 256 * 1024;

/// Why patterns cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum PatternError {
    /// It is no regular expression, or too large a one.
    #[error("could not compile the pattern {pattern}")]
    Pattern {
        /// What was given.
        pattern: String,
        /// What is wrong with it.
        #[source]
        source: regex::Error,
    },
    /// Too many, or too long. Says nothing more, because the cause could quote them.
    #[error("could not compile {count} forms of secrets: together they are too large")]
    Secrets {
        /// How many there are.
        count: usize,
    },
}

fn compile(pattern: &str) -> Result<Regex, PatternError> {
    RegexBuilder::new(pattern)
        .dfa_size_limit(CACHE_BYTES_MAX)
        .build()
        .map_err(|source| PatternError::Pattern { pattern: pattern.to_owned(), source })
}
