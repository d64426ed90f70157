//! Templates of titles and texts. A leaf: they make strings, never documents, so whatever they make
//! is escaped by whoever puts it into one. Bounded in steps and in bytes.

use std::io::{self, Write};

use minijinja::{Environment, Error, UndefinedBehavior};
use serde::Serialize;

/// Steps of one rendering.
const FUEL: u64 = 10_000;
/// Bytes that it makes; more is cut off.
const BYTES_MAX: usize = 8 * 1024;

/// What a template can name. What is not known is empty, so that it can be asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Words {
    /// What happened, as a sentence.
    pub text: String,
    /// What it is about, such as `deployment-settled`.
    pub topic: String,
    /// The topic's group, such as `deployment`.
    pub group: String,
    /// `normal`, `warning` or `error`.
    pub level: String,
    /// `inform`, `trigger` or `resolve`.
    pub action: String,
    /// The environment.
    pub environment: String,
    /// The host's name.
    pub host: String,
    /// The EC2 instance.
    pub instance: String,
    /// The tier.
    pub tier: String,
    /// The process.
    pub process: String,
    /// The release.
    pub release: String,
    /// The way out of the host.
    pub pipeline: String,
    /// The job of backups.
    pub backup: String,
    /// When, as RFC 3339 writes it.
    pub at: String,
    /// Events of the same subject that were not told.
    pub suppressed: u32,
    /// Events that were over the rate.
    pub more: u32,
}

impl Words {
    /// An event as there may be one: what templates are checked with.
    #[must_use]
    pub fn sample() -> Self {
        let word = str::to_owned;
        Self {
            text: word("v43 rejected: web.17.1 exited with code 1"),
            topic: word("deployment-rejected"),
            group: word("deployment"),
            level: word("error"),
            action: word("trigger"),
            environment: word("production"),
            host: word("ip-10-0-0-1"),
            instance: word("i-0a1b2c3d4e5f67890"),
            tier: word("web"),
            process: word("web.17.1"),
            release: word("v43"),
            pipeline: word("logs"),
            backup: word("shop-nightly"),
            at: word("2026-08-20T09:14:07Z"),
            suppressed: 1,
            more: 1,
        }
    }
}

/// Why a template makes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the template: {what}")]
pub struct WordingError {
    line: usize,
    what: String,
}

/// What a template makes of an event.
pub fn render(template: &str, words: &Words) -> Result<String, WordingError> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    let mut made = Bounded(Vec::new());
    let rendered = environment
        .template_from_str(template)
        .and_then(|template| template.render_captured_to(minijinja::value::Serde(words), &mut made))
        .map(drop);
    match rendered {
        Ok(()) => Ok(made.text()),
        Err(_) if made.0.len() == BYTES_MAX => Ok(made.text()),
        Err(error) => Err(refusal(&error)),
    }
}

fn refusal(error: &Error) -> WordingError {
    let what = error
        .detail()
        .map_or_else(|| error.kind().to_string(), |detail| format!("{}: {detail}", error.kind()));
    WordingError { line: error.line().unwrap_or(1), what }
}

/// Takes so much and no more.
struct Bounded(Vec<u8>);

impl Bounded {
    fn text(self) -> String {
        let text = String::from_utf8_lossy(&self.0);
        text.trim_end_matches(char::REPLACEMENT_CHARACTER).to_owned()
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = BYTES_MAX - self.0.len();
        if room == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let taken = &bytes[..bytes.len().min(room)];
        self.0.extend_from_slice(taken);
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_name_what_happened() {
        let check = |template: &str, expected: &str| {
            assert_eq!(render(template, &Words::sample()).unwrap(), expected);
        };
        check("{{ release }} on {{ host }}", "v43 on ip-10-0-0-1");
        check("{% if pipeline %}[{{ level|upper }}]{% endif %}", "[ERROR]");
        check("{{ '\"<&' }}", "\"<&");
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let said = |template: &str| render(template, &Words::sample()).unwrap_err().to_string();
        assert!(said("{{ text }}\n{{ relaese }}").starts_with("line 2 of the template: undefined"));
        assert!(said("{% if %}").starts_with("line 1 of the template: syntax error"));
        assert!(said("{% for i in range(9999) %}{{ i }}{% endfor %}").contains("fuel"));
    }

    #[test]
    fn what_it_makes_is_bounded() {
        let words = Words { text: "é".repeat(5000), ..Words::sample() };
        assert_eq!(render("{{ text }}", &words).unwrap().len(), BYTES_MAX);
    }
}
