//! What is wrong with a configuration file, for the person who has to mend it.

use std::error::Error;
use std::fmt;

/// Where in a file, both counted from 1; columns are characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
}

impl Position {
    /// The position of byte `offset` of `text`; past the end counts as the end.
    #[must_use]
    pub fn of(text: &str, offset: usize) -> Self {
        let mut offset = offset.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &text[..offset];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

/// Whether a problem stops the file from being used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is taken, but a person should look.
    Warning,
}

/// One thing that is wrong. Displays as `groundcrew.toml:12: tier.web.port: message; hint`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file as it was named to us.
    pub file: String,
    /// Where; `None` for what is missing, and for what only the host can tell.
    pub position: Option<Position>,
    /// Dotted path of the key, such as `tier.web.port`; empty when the file is not TOML.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Whether it stops the file from being used.
    pub severity: Severity,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file)?;
        if let Some(position) = self.position {
            write!(f, "{}:", position.line)?;
        }
        if self.severity == Severity::Warning {
            write!(f, " warning:")?;
        }
        if !self.key.is_empty() {
            write!(f, " {}:", self.key)?;
        }
        write!(f, " {}", self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

/// Every problem that makes a file unusable, and its warnings; at least one error. Displays one per
/// line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// In the order of the file; what has no position comes last.
    #[must_use]
    pub fn new(mut problems: Vec<Problem>) -> Self {
        sort(&mut problems);
        Self(problems)
    }

    /// Each problem, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    /// The problems as a list.
    #[must_use]
    pub fn into_vec(self) -> Vec<Problem> {
        self.0
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(i, problem)| {
            let separator = if i == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")
        })
    }
}

impl Error for Problems {}

pub(super) fn sort(problems: &mut [Problem]) {
    problems.sort_by_key(|problem| (problem.position.is_none(), problem.position));
}

/// A value from the file in quotes: control characters escaped, long ones cut.
pub(super) fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    if text.chars().count() <= CHARS_MAX {
        return format!("{text:?}");
    }
    let start: String = text.chars().take(CHARS_MAX).collect();
    format!("{start:?}...")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let text = "aä\nb";
        let check = |offset, line, column| {
            assert_eq!(Position::of(text, offset), Position { line, column }, "{offset}");
        };
        check(0, 1, 1);
        check(1, 1, 2);
        check(2, 1, 2); // inside the ä
        check(3, 1, 3);
        check(4, 2, 1);
        check(99, 2, 2);
    }

    #[test]
    fn shown_values_cannot_write_to_the_terminal() {
        assert_eq!(shown("a\u{1b}[2Jb\n"), r#""a\u{1b}[2Jb\n""#);
        assert!(shown(&"x".repeat(500)).len() < 80);
    }
}
