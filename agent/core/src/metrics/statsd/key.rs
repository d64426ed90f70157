//! What tells a series apart: the type, the cleaned name and the cleaned tags in order, as bytes.
//! Two lines have the same key exactly when CloudWatch and Prometheus would call them the same.

use std::borrow::Cow;

use super::line::{Bad, Line, Type};
use super::{KEY_BYTES_MAX, NAME_BYTES_MAX, TAG_BYTES_MAX, TAGS_MAX};

/// Comes before each tag, and between its key and its value: in neither may be a control character.
const TAG: u8 = 0;
const VALUE: u8 = 1;
/// The value of a tag that has none: a label without one is no label.
const PRESENT: &[u8] = b"true";

/// Makes keys, in the same memory.
#[derive(Debug, Default)]
pub(super) struct Keys {
    key: Vec<u8>,
    tags: Vec<u8>,
}

/// Where a cleaned tag stands.
#[derive(Clone, Copy, Default)]
struct Span {
    from: usize,
    value: usize,
    to: usize,
}

impl Keys {
    /// The key of a line.
    pub(super) fn of(&mut self, line: &Line<'_>) -> Result<&[u8], Bad> {
        self.key.clear();
        self.key.push(match line.kind {
            Type::Counter => b'c',
            Type::Gauge => b'g',
            Type::Timer => b't',
            Type::Histogram => b'h',
            Type::Set => b's',
        });
        clean_name(line.name, &mut self.key)?;
        if line.tags.is_empty() && line.name_tags.0.is_empty() {
            return Ok(&self.key);
        }
        self.tags.clear();
        let mut spans = [Span::default(); TAGS_MAX];
        let mut count = 0;
        let (behind_name, separator) = line.name_tags;
        let lists = [(behind_name, separator, b'='), (line.tags, b',', b':')];
        for (list, separator, equals) in lists {
            for tag in list.split(|byte| *byte == separator).filter(|tag| !tag.is_empty()) {
                let Some(span) = clean_tag(tag, equals, &mut self.tags)? else { continue };
                insert(&self.tags, &mut spans, &mut count, span)?;
            }
        }
        for span in &spans[..count] {
            self.key.push(TAG);
            self.key.extend_from_slice(&self.tags[span.from..span.value]);
            self.key.push(VALUE);
            self.key.extend_from_slice(&self.tags[span.value..span.to]);
        }
        if self.key.len() > KEY_BYTES_MAX { Err(Bad::Tags) } else { Ok(&self.key) }
    }
}

/// Puts a tag where it belongs among those that are sorted by their keys. Of two with one key the
/// later is meant.
fn insert(
    tags: &[u8],
    spans: &mut [Span; TAGS_MAX],
    count: &mut usize,
    span: Span,
) -> Result<(), Bad> {
    let key = |span: &Span| &tags[span.from..span.value];
    match spans[..*count].binary_search_by(|known| key(known).cmp(key(&span))) {
        Ok(at) => spans[at] = span,
        Err(_) if *count == TAGS_MAX => return Err(Bad::Tags),
        Err(at) => {
            spans.copy_within(at..*count, at + 1);
            spans[at] = span;
            *count += 1;
        }
    }
    Ok(())
}

/// A name keeps what the reference daemon keeps of it: white space becomes `_`, `/` becomes `-`,
/// and whatever is neither a letter of ASCII, a digit, `_`, `-` nor `.` goes.
fn clean_name(name: &[u8], into: &mut Vec<u8>) -> Result<(), Bad> {
    let from = into.len();
    if name.len() > NAME_BYTES_MAX {
        return Err(Bad::Name);
    }
    let name = name.trim_ascii();
    let usual = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if name.iter().all(usual) {
        into.extend_from_slice(name);
    } else {
        let mut in_space = false;
        for byte in name {
            let is_space = byte.is_ascii_whitespace();
            match byte {
                byte if usual(byte) => into.push(*byte),
                b'/' => into.push(b'-'),
                _ if is_space && !in_space => into.push(b'_'),
                _ => {}
            }
            in_space = is_space;
        }
    }
    // A name of dots alone names nothing either.
    if into[from..].iter().any(u8::is_ascii_alphanumeric) { Ok(()) } else { Err(Bad::Name) }
}

/// A tag into `into`; `None`: there is nothing of it.
fn clean_tag(tag: &[u8], equals: u8, into: &mut Vec<u8>) -> Result<Option<Span>, Bad> {
    let equals = tag.iter().position(|byte| *byte == equals);
    let (key, value) = match equals {
        Some(at) => (&tag[..at], tag[at + 1..].trim_ascii()),
        None => (tag, PRESENT),
    };
    if key.len() > TAG_BYTES_MAX || value.len() > TAG_BYTES_MAX {
        return Err(Bad::Tags);
    }
    let from = into.len();
    clean_tag_key(key.trim_ascii(), into);
    let span = Span { from, value: into.len(), to: into.len() + value.len() };
    if span.value == from || value.is_empty() {
        into.truncate(from);
        return Ok(None);
    }
    if value.iter().all(|byte| (b' '..=b'~').contains(byte)) {
        into.extend_from_slice(value);
        return Ok(Some(span));
    }
    str::from_utf8(value).map_err(|_| Bad::Tags)?;
    // Neither a label nor a dimension may hold a control character.
    into.extend(value.iter().map(|byte| if byte.is_ascii_control() { b'_' } else { *byte }));
    Ok(Some(span))
}

/// The key as a label may be named: letters of ASCII, digits and `_`, beginning with a letter or,
/// before a digit, with one `_`. `le` belongs to the buckets of histograms, and names that begin
/// with two `_` to Prometheus.
fn clean_tag_key(key: &[u8], into: &mut Vec<u8>) {
    let from = into.len();
    for byte in key {
        let byte = if byte.is_ascii_alphanumeric() { *byte } else { b'_' };
        match (into.len() - from, byte) {
            (0, b'_') => {}
            (0, b'0'..=b'9') => into.extend_from_slice(&[b'_', byte]),
            _ => into.push(byte),
        }
    }
    if &into[from..] == b"le" {
        into.push(b'_');
    }
}

/// A key in its parts: the name, and the labels in order.
pub(super) fn parts(key: &[u8]) -> (String, Vec<(Cow<'static, str>, String)>) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut parts = key.split(|byte| *byte == TAG);
    let name = parts.next().and_then(|part| part.get(1..)).map(text).unwrap_or_default();
    let label = |part: &[u8]| {
        let at = part.iter().position(|byte| *byte == VALUE)?;
        Some((Cow::Owned(text(&part[..at])), text(&part[at + 1..])))
    };
    (name, parts.filter_map(label).collect())
}
