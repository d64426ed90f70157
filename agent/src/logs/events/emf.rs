//! The embedded metric format: lines of which CloudWatch makes metrics
//! (CloudWatch_Embedded_Metric_Format_Specification).
//!
//! A line of it must arrive as one event, and as a document that says the same: nothing may join
//! it, drop it, or change it, except that what must not leave the host is hidden in its texts.

use std::ops::Range;

use groundcrew_core::logs::json::{Value, members};
use memchr::memmem;

/// The member that says which of the others are metrics.
const METADATA: &[u8] = b"\"_aws\"";

/// Whether the line is one of the embedded metric format: a JSON object with a member `_aws` that
/// is an object. It may stand at the end of a long line, so all of it is looked at.
#[must_use]
pub fn is_emf(line: &[u8]) -> bool {
    let emf = |(key, value): (&[u8], Value<'_>)| key == b"_aws" && value == Value::Nested;
    may_be_emf(line) && members(line).any(emf)
}

/// Whether a part of a line may be of such a line.
#[must_use]
pub fn may_be_emf(part: &[u8]) -> bool {
    memmem::find(part, METADATA).is_some()
}

/// Of what is to be hidden in a line: what stands in a text that is a value, with its escapes
/// whole. Hidden there, the line is still JSON. Not in `_aws`, where a word is the name of another
/// member, and not in a number, which may be the metric.
#[must_use]
pub fn within_texts(line: &[u8], hidden: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut within = Vec::new();
    for text in texts(line) {
        let mut at = text.start;
        let mut last: Option<Range<usize>> = None;
        while at < text.end {
            let unit = at..(at + unit_bytes(&line[at..text.end])).min(text.end);
            at = unit.end;
            if !hidden.iter().any(|range| range.start < unit.end && unit.start < range.end) {
                continue;
            }
            match &mut last {
                Some(last) if last.end == unit.start => last.end = unit.end,
                _ => within.extend(last.replace(unit)),
            }
        }
        within.extend(last);
    }
    within
}

/// Bytes of the character or the escape that `text` begins with, or a part of a character.
fn unit_bytes(text: &[u8]) -> usize {
    match text {
        [b'\\', b'u', ..] => 6,
        [b'\\', ..] => 2,
        _ => 1,
    }
}

/// Where the texts stand that are values, without their quotes and outside of `_aws`.
fn texts(line: &[u8]) -> Vec<Range<usize>> {
    let (mut texts, mut depth, mut is_metadata, mut at) = (Vec::new(), 0_u32, false, 0);
    while let Some(byte) = line.get(at) {
        match byte {
            b'{' | b'[' => depth = depth.saturating_add(1),
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' if depth == 1 => is_metadata = false,
            b'"' => {
                let text = at + 1..end_of_text(line, at + 1);
                at = text.end;
                let rest = line.get(at + 1..).unwrap_or_default().trim_ascii_start();
                let is_key = rest.first() == Some(&b':');
                is_metadata |= is_key && depth == 1 && &line[text.clone()] == b"_aws";
                if !is_key && !is_metadata {
                    texts.push(text);
                }
            }
            _ => {}
        }
        at += 1;
    }
    texts
}

/// The closing quote of the text that begins at `from`; the end of the line when there is none.
fn end_of_text(line: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(byte) = line.get(at) {
        match byte {
            b'"' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    line.len()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use groundcrew_core::logs::{Level, LogRules, Multiline};
    use groundcrew_core::time::Moment;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::logs::events::{Grouping, Redactor, Rules};

    /// As `aws-embedded-metrics` prints them, and what the specification allows beside.
    fn lines() -> Vec<String> {
        let metadata = json!({
            "Timestamp": 1_787_392_801_123_i64,
            "CloudWatchMetrics": [{
                "Namespace": "shop", "Dimensions": [["service"]],
                "Metrics": [{"Name": "latency", "Unit": "Milliseconds"}]
            }]
        });
        let hundred: Vec<f64> = (0..100).map(|i| f64::from(i) * 1.25).collect();
        let first = json!({"_aws": metadata, "service": "web", "latency": 12.5});
        let spaced = first.to_string().replace(':', " : ").replace(',', " , ");
        vec![
            first.to_string(),
            json!({"service": "web", "latency": hundred, "_aws": metadata}).to_string(),
            json!({"level": "debug", "service": "web", "latency": 1, "at": {"_aws": 1},
                   "text": "a \"quoted\" \\ line\n and \u{e9}", "_aws": metadata})
            .to_string(),
            format!("  {spaced}"),
            json!({"service": "x".repeat(200_000), "latency": 1, "_aws": metadata}).to_string(),
        ]
    }

    #[test]
    fn no_rule_drops_one() {
        for line in lines() {
            let sample_ppm = BTreeMap::from([(Level::Debug, 0), (Level::Info, 0)]);
            let rules = LogRules { rate_max: Some(1), sample_ppm, ..LogRules::default() };
            let mut rules = Rules::new(&rules, 7);
            assert!((0..100).all(|_| rules.admit(line.as_bytes(), Moment(0))), "{line}");
        }
    }

    #[test]
    fn nothing_joins_one_and_it_joins_nothing() {
        let others = [
            "text",
            "ERROR: it failed",
            "Error: x\n    at f (/app/x.js:1:2) {",
            "Traceback (most recent call last):",
            "panic: x",
            "/app/x.js:2",
            "2026-08-22 10:00:01 x",
            "  indented",
            "",
        ];
        let pattern = Multiline::Pattern("^never".to_owned());
        let rules = [Multiline::Traces, Multiline::Timestamp, Multiline::Indent, pattern];
        for (multiline, line, other) in rules.iter().flat_map(|rule| {
            lines()
                .into_iter()
                .flat_map(move |line| others.map(|other| (rule, line.clone(), other)))
        }) {
            let mut grouper = Grouping::new(multiline).unwrap().grouper();
            let mut before = other.split('\n');
            grouper.begin(before.next().unwrap().as_bytes());
            assert!(before.all(|line| grouper.joins(line.as_bytes())) || multiline == &rules[1]);
            assert!(!grouper.joins(line.as_bytes()), "{multiline:?}: {line} joins {other}");
            grouper.begin(line.as_bytes());
            assert!(!grouper.may_go_on(), "{multiline:?}: {line}");
            assert!(!grouper.joins(other.as_bytes()), "{multiline:?}: {other} joins {line}");
        }
    }

    #[test]
    fn what_holds_nothing_to_hide_is_not_touched() {
        let patterns = ["\\d{13}".to_owned(), "latency".to_owned(), "[0-9.]+".to_owned()];
        let redactor = Redactor::new(&patterns, &["injected".to_owned()]).unwrap();
        for line in lines() {
            let mut scratch = Vec::new();
            let found = redactor.apply(line.as_bytes(), &mut scratch);
            assert_eq!(String::from_utf8_lossy(found), line);
        }
    }

    #[test]
    fn a_secret_in_a_text_is_hidden_and_the_metrics_stay() {
        let patterns = ["password\":\"[^\"]*".to_owned(), "card \\d+".to_owned(), "n".to_owned()];
        let redactor = Redactor::new(&patterns, &["hunter2hunter2".to_owned()]).unwrap();
        let check = |line: &str, expected: &str| {
            let mut scratch = Vec::new();
            let found = redactor.apply(line.as_bytes(), &mut scratch).to_vec();
            assert_eq!(String::from_utf8_lossy(&found), expected);
            serde_json::from_slice::<Value>(&found).unwrap();
        };
        check(
            r#"{"_aws":{"at":1,"x":"card 1"},"password":"abc","n":5,"u":"hunter2hunter2"}"#,
            r#"{"_aws":{"at":1,"x":"card 1"},"password":"[redacted]","n":5,"u":"[redacted]"}"#,
        );
        check(
            r#"{"a":{"b":["x card 77 y","\\n\nz"]},"card 5":"c","_aws":{}}"#,
            r#"{"a":{"b":["x [redacted] y","\\[redacted]z"]},"card 5":"c","_aws":{}}"#,
        );
        check(r#"{"a":"\u000acard 1","_aws":{}}"#, r#"{"a":"\u000a[redacted]","_aws":{}}"#);
        // What the agent itself gave to a process leaves it nowhere.
        check(
            r#"{"hunter2hunter2":1,"_aws":{"a":"hunter2hunter2"}}"#,
            r#"{"[redacted]":1,"_aws":{"a":"[redacted]"}}"#,
        );
    }

    #[test]
    fn one_is_told_by_its_metadata() {
        for line in lines() {
            assert!(is_emf(line.as_bytes()), "{line}");
        }
        for line in [r#"{"a":{"_aws":{}}}"#, r#"{"_aws":"x"}"#, r#"text "_aws" {}"#, "", "{}"] {
            assert!(!is_emf(line.as_bytes()), "{line}");
        }
    }

    proptest! {
        #[test]
        fn hiding_leaves_a_document(
            texts in prop::collection::vec("[ab\"\\\\\n{}:,\\[\\]é\u{1}]{0,8}", 1..5),
            pattern in "[ab\"\\\\n:{},u0]{1,2}",
        ) {
            let mut document = json!({"n": 12, "nested": {"a": texts, "b": [texts]}});
            document["_aws"] = json!({"Timestamp": 1, "a": "ab"});
            let line = document.to_string();
            let redactor = Redactor::new(&[regex::escape(&pattern)], &[]).unwrap();
            let mut scratch = Vec::new();
            let found = redactor.apply(line.as_bytes(), &mut scratch);
            let found: Value = serde_json::from_slice(found).unwrap();
            prop_assert_eq!(&found["_aws"], &document["_aws"]);
            prop_assert_eq!(&found["n"], &document["n"]);
            prop_assert_eq!(found["nested"]["a"].as_array().unwrap().len(), texts.len());
        }
    }
}
