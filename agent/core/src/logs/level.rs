//! How much a line matters, from the line itself. It decides what may be dropped where a tier says
//! so; hence it must rather find nothing than guess, and never reads far.

use super::Level;
use super::json::{Value, head, is_object, members};

/// How much of a line that is no JSON is searched: its time and the logger's name come first.
const TEXT_BYTES_MAX: usize = 96;

/// Bytes of the longest name of a level.
const NAME_BYTES_MAX: usize = 11;

/// The members and fields that hold a level; the last is that of the Elastic Common Schema.
const KEYS: [&[u8]; 5] = [b"level", b"severity", b"lvl", b"levelname", b"log.level"];

/// The level that a line gives itself: the member `level`, `severity`, `lvl` or `levelname` of a
/// JSON object, as text or as pino's number; or else a word near the line's head, such as `ERROR`,
/// `[warn]`, `info:` or `level=info`.
#[must_use]
pub fn level(line: &[u8]) -> Option<Level> {
    if !is_object(line) {
        return of_text(&line[..line.len().min(TEXT_BYTES_MAX)]);
    }
    members(head(line)).filter(|(key, _)| KEYS.contains(key)).find_map(|(_, value)| match value {
        Value::Text(text) => named(text),
        Value::Bare(number) => numbered(number),
        Value::Nested => None,
    })
}

/// The names that syslog, log4j, Python, winston and pino give.
fn named(name: &[u8]) -> Option<Level> {
    let mut lower = [0; NAME_BYTES_MAX];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    match &*lower {
        b"trace" | b"silly" => Some(Level::Trace),
        b"debug" | b"verbose" | b"http" => Some(Level::Debug),
        b"info" | b"information" | b"notice" => Some(Level::Info),
        b"warn" | b"warning" => Some(Level::Warn),
        b"error" | b"err" | b"severe" => Some(Level::Error),
        b"fatal" | b"critical" | b"crit" | b"alert" | b"emerg" | b"emergency" | b"panic" => {
            Some(Level::Fatal)
        }
        _ => None,
    }
}

/// Pino's numbers; a level of one's own counts as the one below it.
fn numbered(number: &[u8]) -> Option<Level> {
    let [tens @ b'1'..=b'9', b'0'..=b'9'] = number else { return None };
    Some(match tens {
        b'1' => Level::Trace,
        b'2' => Level::Debug,
        b'3' => Level::Info,
        b'4' => Level::Warn,
        b'5' => Level::Error,
        _ => Level::Fatal,
    })
}

fn of_text(text: &[u8]) -> Option<Level> {
    let mut at = 0;
    while at < text.len() {
        if text[at] == 0x1b {
            at = after_colour(text, at);
            continue;
        }
        let length = text[at..].iter().take_while(|byte| is_word(**byte)).count();
        let end = at + length;
        // A word that is cut off is not known.
        if length > 0 && end < TEXT_BYTES_MAX {
            let found = of_word(text, at, end);
            if found.is_some() {
                return found;
            }
        }
        at = end + usize::from(length == 0);
    }
    None
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

/// Behind the escape sequence at `at`, such as `ESC [ 3 1 m`, or behind the escape alone.
fn after_colour(text: &[u8], at: usize) -> usize {
    let inside = |byte: &&u8| byte.is_ascii_digit() || matches!(byte, b'[' | b';');
    let end = at + 1 + text[at + 1..].iter().take_while(inside).count();
    if text.get(end) == Some(&b'm') { end + 1 } else { at + 1 }
}

/// The level that the word from `start` to `end` says, where it stands as loggers put one: in
/// capitals, before a colon, in brackets, or as the value of a field. Prose is not meant.
fn of_word(text: &[u8], start: usize, end: usize) -> Option<Level> {
    let word = &text[start..end];
    let before = start.checked_sub(1).map_or(b' ', |at| text[at]);
    let after = text.get(end).copied().unwrap_or(b' ');
    let field = if before == b'"' { start - 1 } else { start };
    if let Some(key) = text[..field].strip_suffix(b"=") {
        return named(word).filter(|_| KEYS.iter().any(|known| key.ends_with(known)));
    }
    let opened = matches!(before, b'[' | b'(' | b'<' | b'|' | b':');
    // No letter comes before a word, except the last one of a colour.
    let coloured = before == b'm';
    let stands = match after {
        _ if !opened && !coloured && !matches!(before, b' ' | b'\t') => false,
        b':' => true,
        b']' | b')' | b'>' | b'|' => opened || is_capital(word),
        0x1b => coloured || is_capital(word),
        b' ' | b'\t' | b',' | b'-' => is_capital(word),
        _ => false,
    };
    // Words that are names of levels only to some loggers mean something else in a text.
    let other = [&b"http"[..], b"silly", b"verbose"];
    let meant = stands && !other.iter().any(|other| other.eq_ignore_ascii_case(word));
    if meant { named(word) } else { None }
}

fn is_capital(word: &[u8]) -> bool {
    word.iter().all(u8::is_ascii_uppercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(lines: &[&str], expected: Option<Level>) {
        for line in lines {
            assert_eq!(level(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn json_says_it_in_a_member() {
        check(
            &[
                r#"{"level":50,"time":1755856801123,"pid":1,"msg":"failed"}"#,
                r#"{"time":"2026-08-22T10:00:01Z","severity":"ERROR"}"#,
                r#"{"lvl":"err"}"#,
                r#"{"levelname": "Error"}"#,
                r#"{"log.level":"error"}"#,
                r#"{"level":{"of":"water"},"severity":"error"}"#,
            ],
            Some(Level::Error),
        );
        check(&[r#"{"level":10}"#, r#"{"level":"silly"}"#], Some(Level::Trace));
        check(&[r#"{"level":20}"#, r#"{"level":"verbose"}"#], Some(Level::Debug));
        check(&[r#"{"level":30}"#, r#"{"level":35}"#, r#"{"level":"info"}"#], Some(Level::Info));
        check(&[r#"{"level":40}"#, r#"{"level":"warning"}"#], Some(Level::Warn));
        check(&[r#"{"level":60}"#, r#"{"level":"CRITICAL"}"#], Some(Level::Fatal));
    }

    #[test]
    fn json_that_does_not_say_it() {
        let far = format!("{{\"a\":\"{}\",\"level\":\"error\"}}", "x".repeat(5000));
        check(
            &[
                r#"{"msg":"ERROR: no","nested":{"level":"error"}}"#,
                r#"{"level":3}"#,
                r#"{"level":100}"#,
                r#"{"level":"high"}"#,
                r#"{"level":null}"#,
                r#"{"level"}"#,
                "{}",
                &far,
            ],
            None,
        );
    }

    #[test]
    fn text_says_it_near_its_head() {
        check(
            &[
                "ERROR something",
                "ERROR",
                "[error] x",
                "error: x",
                "Error: connect ECONNREFUSED",
                "ERROR:root:request failed",
                "2026-08-22T10:00:01.123Z ERROR app: x",
                "2026-08-22 10:00:01,123 - app.db - ERROR - x",
                "2026/08/22 10:00:01 [error] 123#0: *1 open() failed",
                "[Sat Aug 22 10:00:01.123456 2026] [core:error] [pid 1] x",
                "ts=2026-08-22T10:00:01Z level=error msg=x",
                "lvl=\"error\" msg=x",
                "\u{1b}[31merror\u{1b}[39m: x",
                "10:00:01 [main] ERROR c.e.App - x",
                "SEVERE: request failed",
                "10:00:01 |ERROR| x",
            ],
            Some(Level::Error),
        );
        check(&["WARN  x", "[warn] x", "<warning> x", "(node:1) Warning: x"], Some(Level::Warn));
        check(&["level=info msg=\"ERROR\"", "INFO: ERROR", "info: x"], Some(Level::Info));
        check(&["panic: runtime error: index out of range", "[CRITICAL] x"], Some(Level::Fatal));
    }

    #[test]
    fn text_that_does_not_say_it() {
        let far = format!("{} ERROR", "x ".repeat(50));
        check(
            &[
                "",
                "W0813 10:00:01.123456 1 x.go:1] y",
                "no errors found",
                "an error occurred",
                "GET /ERROR/info HTTP/1.1",
                "HTTP 200",
                "ERROR_CODE 1",
                "myERROR x",
                "élERROR x",
                "ERRORS=0",
                "mode=error x",
                "x.error] y",
                "<br>info</br>",
                "\u{1b}[31",
                "\u{1b}",
                &far,
            ],
            None,
        );
    }
}
