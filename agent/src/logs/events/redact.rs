//! What must not leave the host: what patterns match, and secrets, which the agent knows because it
//! injected them.
//!
//! It must never show a secret, not in its Debug output and not in an error. It may hide too much
//! rather than too little: matches that overlap are hidden together.

use std::fmt;
use std::ops::Range;

use memchr::memmem;
use regex::bytes::{Regex, RegexBuilder};

use super::emf::{is_emf, within_texts};
use super::{CACHE_BYTES_MAX, PatternError, compile};

/// What stands for whatever was hidden.
pub const MARK: &[u8] = b"[redacted]";

/// Bytes of a secret; a shorter one would hide half of every log.
pub const SECRET_BYTES_MIN: usize = 8;

/// Memory for the compiled form of all secrets together.
const SECRETS_COMPILED_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Hides what must not leave the host.
#[derive(Clone)]
pub struct Redactor {
    patterns: Vec<Regex>,
    /// All of them in all their forms, the longest first.
    secrets: Option<Regex>,
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redactor").field("patterns", &self.patterns).finish_non_exhaustive()
    }
}

impl Redactor {
    /// Hides what `patterns` match, and `secrets` of at least [`SECRET_BYTES_MIN`] bytes: as they
    /// are, as they stand in JSON, and line by line when they have several. Fails when a pattern
    /// does not compile, or the secrets together are too much.
    pub fn new(patterns: &[String], secrets: &[String]) -> Result<Self, PatternError> {
        let patterns = patterns.iter().map(|pattern| compile(pattern)).collect::<Result<_, _>>()?;
        let mut forms: Vec<String> = secrets.iter().flat_map(|secret| forms(secret)).collect();
        // Of two that begin at the same place, the first alternative is found.
        forms.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        forms.dedup();
        let forms: Vec<String> = forms.iter().map(|form| regex::escape(form)).collect();
        let compiled = RegexBuilder::new(&forms.join("|"))
            .size_limit(SECRETS_COMPILED_BYTES_MAX)
            .dfa_size_limit(CACHE_BYTES_MAX)
            .build()
            .map_err(|_| PatternError::Secrets { count: forms.len() })?;
        Ok(Self { patterns, secrets: (!forms.is_empty()).then_some(compiled) })
    }

    /// Whether nothing is ever hidden.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty() && self.secrets.is_none()
    }

    /// The line with [`MARK`] for what must not leave the host: the line itself when there is
    /// nothing of that in it, or else what is then in `scratch`. To patterns, bytes that are not
    /// UTF-8 are U+FFFD, as they will be when they are shipped: they end no match. Of a line of the
    /// embedded metric format patterns hide only texts, secrets are hidden everywhere; see
    /// [`within_texts`].
    pub fn apply<'a>(&self, line: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
        if self.is_empty() {
            return line;
        }
        let lossy;
        let text = if self.patterns.is_empty() || str::from_utf8(line).is_ok() {
            line
        } else {
            lossy = String::from_utf8_lossy(line);
            lossy.as_bytes()
        };
        let mut hidden = self.matched(text);
        if !hidden.is_empty() && is_emf(text) {
            // The service makes metrics of it: a pattern must not make it say something else.
            hidden = within_texts(text, &hidden);
        }
        hidden.extend(self.secrets(text));
        if hidden.is_empty() {
            return line;
        }
        // What was hidden before stays as it is, even where a pattern matches within the mark.
        hidden.extend(memmem::find_iter(text, MARK).map(|at| at..at + MARK.len()));
        hidden.sort_unstable_by_key(|range| (range.start, range.end));
        scratch.clear();
        let mut end = 0;
        for range in hidden {
            if range.start > end || scratch.is_empty() {
                scratch.extend_from_slice(&text[end..range.start]);
                scratch.extend_from_slice(MARK);
            }
            end = end.max(range.end);
        }
        scratch.extend_from_slice(&text[end..]);
        scratch
    }

    fn secrets(&self, text: &[u8]) -> Vec<Range<usize>> {
        let mut hidden = Vec::new();
        let Some(secrets) = &self.secrets else { return hidden };
        let mut at = 0;
        while let Some(found) = secrets.find_at(text, at) {
            hidden.push(found.range());
            // Another may begin within this one and reach beyond it.
            at = found.start() + 1;
        }
        hidden
    }

    /// What patterns match.
    fn matched(&self, text: &[u8]) -> Vec<Range<usize>> {
        let mut hidden = Vec::new();
        for pattern in &self.patterns {
            let found = pattern.find_iter(text).filter(|found| !found.is_empty());
            hidden.extend(found.map(|found| found.range()));
        }
        hidden
    }
}

/// The ways in which a secret may stand in a line.
fn forms(secret: &str) -> Vec<String> {
    let mut forms = vec![secret.to_owned()];
    forms.extend(secret.lines().map(|line| line.trim().to_owned()));
    let escaped: Vec<String> =
        forms.iter().flat_map(|form| [in_json(form), in_ascii(form)]).collect();
    forms.extend(escaped);
    let mark = String::from_utf8_lossy(MARK);
    // What is part of the mark cannot be hidden by it.
    forms.retain(|form| form.len() >= SECRET_BYTES_MIN && !mark.contains(form.as_str()));
    forms
}

/// As `JSON.stringify` writes it, without the quotes.
fn in_json(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// As Python's `json.dumps` writes it: every other character escaped as well.
fn in_ascii(text: &str) -> String {
    let mut escaped = String::new();
    for character in in_json(text).chars() {
        if character.is_ascii() {
            escaped.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            let digits = [12, 8, 4, 0].map(|shift| u32::from(*unit >> shift) & 0xf);
            escaped.push_str("\\u");
            escaped.extend(digits.iter().filter_map(|digit| char::from_digit(*digit, 16)));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn redactor(patterns: &[&str], secrets: &[&str]) -> Redactor {
        let owned =
            |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        Redactor::new(&owned(patterns), &owned(secrets)).unwrap()
    }

    #[track_caller]
    fn check(redactor: &Redactor, line: impl AsRef<[u8]>, expected: &str) {
        let mut scratch = b"of the line before".to_vec();
        let found = redactor.apply(line.as_ref(), &mut scratch).to_vec();
        assert_eq!(String::from_utf8_lossy(&found), expected);
        assert_eq!(redactor.apply(&found, &mut scratch), found, "again");
    }

    #[test]
    fn what_patterns_match_is_hidden() {
        let redactor = redactor(&["(?i)authorization: \\S+", "\\b\\d{16}\\b", "x*"], &[]);
        check(&redactor, "nothing here", "nothing here");
        check(&redactor, "Authorization: abc", "[redacted]");
        check(
            &redactor,
            "a authorization: abc b 1234567812345678 c",
            "a [redacted] b [redacted] c",
        );
        check(&redactor, "a [redacted] xx b", "a [redacted] [redacted] b");
        check(&redactor, b"AUTHORIZATION: a\xffb \xff", "[redacted] \u{fffd}");
        check(&redactor, b"\xff nothing", "\u{fffd} nothing");
    }

    #[test]
    fn what_overlaps_is_hidden_together() {
        let redactor =
            redactor(&["key=\\w{3}", "\\w+@\\w+", "red|acte"], &["secret-12", "12-secret"]);
        check(&redactor, "key=secret-12", "[redacted]");
        check(&redactor, "key=abc@host end", "[redacted] end");
        check(&redactor, "a secret-12-secret b", "a [redacted] b");
        check(&redactor, "a secret-12secret-12 b", "a [redacted] b");
        check(&redactor, "red [redacted] ", "[redacted] [redacted] ");
    }

    #[test]
    fn secrets_are_hidden_however_they_are_written() {
        let secret = "pass\"w\\örd1";
        let redactor =
            redactor(&[], &[secret, "line one\n  line two\n  x\n", "short", "(a+)+b|c*"]);
        check(&redactor, format!("it is {secret}!"), "it is [redacted]!");
        check(&redactor, r#"{"a":"pass\"w\\örd1"}"#, r#"{"a":"[redacted]"}"#);
        check(&redactor, r#"{"a": "pass\"w\\\u00f6rd1"}"#, r#"{"a": "[redacted]"}"#);
        check(&redactor, r#"{"a":"line one\n  line two\n  x\n"}"#, r#"{"a":"[redacted]"}"#);
        check(&redactor, "line two", "[redacted]");
        check(&redactor, "short x and aab", "short x and aab");
        check(&redactor, "(a+)+b|c*", "[redacted]");
        check(&redactor, b"\xff line one", "\u{fffd} [redacted]");
    }

    #[test]
    fn nothing_to_hide_and_what_cannot_be_hidden() {
        assert!(redactor(&[], &["short", "redacted"]).is_empty());
        assert!(!redactor(&["x"], &[]).is_empty() && !redactor(&[], &["12345678"]).is_empty());
        let line = b"\xff the same";
        let mut scratch = Vec::new();
        let same = redactor(&["x"], &["12345678"]).apply(line, &mut scratch).as_ptr();
        assert_eq!(same, line.as_ptr(), "not copied");
        let error = Redactor::new(&["(".to_owned()], &[]).unwrap_err();
        assert_eq!(error.to_string(), "could not compile the pattern (");
        let secrets: Vec<String> = (0..20).map(|i| format!("{i:019999}")).collect();
        let error = Redactor::new(&[], &secrets).unwrap_err();
        let text = format!("{error:?} {error}");
        assert!(text.contains("20 forms") && !text.contains("0000"), "{text}");
        let debug = format!("{:?}", redactor(&["token"], &["12345678"]));
        assert!(debug.contains("token") && !debug.contains("1234"), "{debug}");
    }

    proptest! {
        #[test]
        fn no_secret_leaks_and_twice_is_once(
            secrets in prop::collection::vec("[ab\"\\\\é\n]{8,10}", 1..4),
            pieces in prop::collection::vec(("[ab\"\\\\é ]{0,4}", 0..8usize), 0..8),
        ) {
            let redactor = Redactor::new(&["b{2,}a".to_owned()], &secrets).unwrap();
            let mut line = String::new();
            for (text, which) in &pieces {
                let secret = &secrets[which % secrets.len()];
                line.push_str(text);
                line.push_str(&if *which < 4 { secret.clone() } else { in_json(secret) });
            }
            let (mut once, mut twice) = (Vec::new(), Vec::new());
            let once = redactor.apply(line.as_bytes(), &mut once);
            let found = String::from_utf8(once.to_vec()).unwrap();
            for secret in &secrets {
                prop_assert!(!found.contains(secret) && !found.contains(&in_json(secret)));
            }
            prop_assert_eq!(redactor.apply(once, &mut twice), once);
        }
    }
}
