//! Regular expressions as people write them, for the configuration and the command line alike.
//! Bounded: the `regex` crate never takes more than linear time, and here a pattern cannot take
//! more than [`COMPILED_BYTES_MAX`] of memory either.

use std::fmt;
use std::str::FromStr;

use regex::bytes::{Regex, RegexBuilder};

/// Bytes of a compiled pattern. A Unicode class in a counted repetition is what takes many.
pub const COMPILED_BYTES_MAX: usize = 1 << 20;

/// A regular expression over bytes, which need not be UTF-8.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

/// Why a text is no regular expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It breaks the syntax.
    #[error("is not a regular expression: {why}, at character {character}")]
    Syntax {
        /// What is wrong there.
        why: String,
        /// Where, counted from 1.
        character: usize,
    },
    /// It is correct, and too much.
    #[error("takes more than {COMPILED_BYTES_MAX} bytes when it is compiled")]
    Large,
}

impl Pattern {
    /// Whether it matches anywhere in `bytes`.
    #[must_use]
    pub fn is_match(&self, bytes: &[u8]) -> bool {
        self.0.is_match(bytes)
    }

    /// The expression itself, for more than a yes or no.
    #[must_use]
    pub fn regex(&self) -> &Regex {
        &self.0
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let compiled = RegexBuilder::new(text).size_limit(COMPILED_BYTES_MAX).build();
        compiled.map(Self).map_err(|_| syntax_error(text).unwrap_or(PatternError::Large))
    }
}

/// What is wrong with the syntax, by the parser that `regex` uses itself: the error of `regex` has
/// the place only as a drawing of several lines.
fn syntax_error(text: &str) -> Option<PatternError> {
    let parsed = regex_syntax::ParserBuilder::new().utf8(false).build().parse(text);
    let (why, offset) = match parsed.err()? {
        regex_syntax::Error::Parse(error) => (error.kind().to_string(), error.span().start.offset),
        regex_syntax::Error::Translate(error) => {
            (error.kind().to_string(), error.span().start.offset)
        }
        other => (other.to_string().replace('\n', " "), 0),
    };
    let character = text.get(..offset).map_or(0, |before| before.chars().count()) + 1;
    Some(PatternError::Syntax { why, character })
}

/// By their texts.
impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_match_bytes() {
        let check = |pattern: &str, bytes: &[u8], matches: bool| {
            assert_eq!(pattern.parse::<Pattern>().unwrap().is_match(bytes), matches, "{pattern}");
        };
        check(r"(?i)authorization: \S+", b"x AUTHORIZATION: abc", true);
        check(r"^\d{4}-\d\d", b"2026-08", true);
        check(r"^\d{4}-\d\d", b" 2026-08", false);
        check(r"a.b", b"\xffa\xc3\xa9b", true);
        check(r"(?-u)\xff", b"\xff", true);
        check("", b"anything", true);
    }

    #[test]
    fn what_is_no_pattern_says_where_and_why() {
        let check = |text: &str, why: &str| {
            assert_eq!(text.parse::<Pattern>().unwrap_err().to_string(), why, "{text}");
        };
        check("(a", "is not a regular expression: unclosed group, at character 1");
        check("é+(?<a", "is not a regular expression: unclosed capture group name, at character 7");
        check(
            r"ab\p{Nope}",
            "is not a regular expression: Unicode property not found, at character 3",
        );
        check("a**{", "is not a regular expression: unclosed counted repetition, at character 4");
        check(r"\w{1000}", "takes more than 1048576 bytes when it is compiled");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*", near in "[a-z(){}\\[\\]*+?|\\\\^$.0-9é]{0,20}") {
            for text in [&text, &near] {
                let _ = text.parse::<Pattern>();
            }
        }
    }
}
