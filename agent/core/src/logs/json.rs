//! The top level of a JSON object on one line: its members in order, without building anything.
//!
//! This is on the way of every line that is shipped, and lines are anyone's bytes. So it must never
//! recurse, allocate, or look at a byte twice; it does not validate, and ends where it is lost.

/// How much of a line is searched for its time and level: whoever writes more before them has to
/// live with the time of reading.
pub const HEAD_BYTES_MAX: usize = 4096;

/// The part of a line that is searched.
#[must_use]
pub fn head(line: &[u8]) -> &[u8] {
    &line[..line.len().min(HEAD_BYTES_MAX)]
}

/// Whether the line is a JSON object, judged by its two ends: a document is not read for that.
#[must_use]
pub fn is_object(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    line.len() > 1 && line[0] == b'{' && line[line.len() - 1] == b'}'
}

/// The value of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// What is between the quotes, its escapes as they are written.
    Text(&'a [u8]),
    /// A number, `true`, `false` or `null`.
    Bare(&'a [u8]),
    /// An object or an array.
    Nested,
}

/// The members of the object that `line` is. None for anything else; where the line is cut off or
/// no JSON, those before.
#[must_use]
pub fn members(line: &[u8]) -> Members<'_> {
    let rest = line.trim_ascii_start().strip_prefix(b"{").unwrap_or_default();
    Members { rest }
}

/// See [`members`].
#[derive(Debug, Clone)]
pub struct Members<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a [u8], Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let member = member(self.rest);
        self.rest = member.map_or(&[], |(_, _, rest)| rest);
        member.map(|(key, value, _)| (key, value))
    }
}

type Member<'a> = (&'a [u8], Value<'a>, &'a [u8]);

/// The first member of `rest`, and what comes after it and its comma.
fn member(rest: &[u8]) -> Option<Member<'_>> {
    let (key, rest) = text(after(rest, b'"')?)?;
    let rest = after(rest, b':')?.trim_ascii_start();
    let (value, rest) = match rest.first()? {
        b'"' => {
            let (value, rest) = text(&rest[1..])?;
            (Value::Text(value), rest)
        }
        b'{' | b'[' => (Value::Nested, after_nested(rest)?),
        _ => {
            let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']') || byte.is_ascii_whitespace();
            // A value that the end of the line cuts off is not known.
            let (value, rest) = rest.split_at(rest.iter().position(ends)?);
            (Value::Bare(value), rest)
        }
    };
    Some((key, value, after(rest, b',').unwrap_or_default()))
}

/// What comes after white space and `byte`; `None` when anything else does.
fn after(rest: &[u8], byte: u8) -> Option<&[u8]> {
    match rest {
        [first, rest @ ..] if *first == byte => Some(rest),
        _ => rest.trim_ascii_start().strip_prefix(&[byte]),
    }
}

/// The text up to its closing quote, and what comes after that.
fn text(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = 0;
    loop {
        at += plain(rest.get(at..)?);
        if at >= rest.len() {
            return None;
        }
        if rest[at] == b'"' {
            return Some((&rest[..at], &rest[at + 1..]));
        }
        at += 2;
    }
}

/// How many bytes come before the first quote or backslash. Eight at a time: most of a line is
/// text.
fn plain(text: &[u8]) -> usize {
    let (words, _) = text.as_chunks::<8>();
    let special = |word: &&[u8; 8]| {
        let word = u64::from_le_bytes(**word);
        has(word, b'"') || has(word, b'\\')
    };
    let skipped = words.iter().take_while(|word| !special(word)).count() * 8;
    let rest = text[skipped..].iter().take_while(|byte| !matches!(byte, b'"' | b'\\'));
    skipped + rest.count()
}

/// Whether one of the bytes of `word` is `byte`: only a byte that became zero borrows its highest
/// bit in the subtraction without having had it.
fn has(word: u64, byte: u8) -> bool {
    const LOW: u64 = u64::from_le_bytes([0x01; 8]);
    const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
    let zeroed = word ^ (LOW * u64::from(byte));
    zeroed.wrapping_sub(LOW) & !zeroed & HIGH != 0
}

/// What comes after the object or array that `rest` begins with.
fn after_nested(rest: &[u8]) -> Option<&[u8]> {
    let mut depth = 0u32;
    let mut rest = rest;
    loop {
        let special = |byte: &u8| matches!(byte, b'{' | b'[' | b'}' | b']' | b'"');
        let at = rest.iter().position(special)?;
        let byte = rest[at];
        rest = &rest[at + 1..];
        match byte {
            b'{' | b'[' => depth = depth.saturating_add(1),
            b'"' => rest = text(rest)?.1,
            _ => depth -= 1,
        }
        if depth == 0 {
            return Some(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(line: &str, expected: &[(&str, Value<'_>)]) {
        let found: Vec<_> = members(line.as_bytes()).collect();
        let expected: Vec<_> =
            expected.iter().map(|(key, value)| (key.as_bytes(), *value)).collect();
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn the_members_of_the_top_level() {
        let (text, bare) = (|text: &'static str| Value::Text(text.as_bytes()), Value::Bare);
        check(r#"{"a":"b"}"#, &[("a", text("b"))]);
        check(" { \"a\" : \"b\" , \"c\"\t:1 }\r", &[("a", text("b")), ("c", bare(b"1"))]);
        check(
            r#"{"a":{"time":"x","b":[{}]},"c":[1,"]"],"d":null,"e":-1.5e3}"#,
            &[
                ("a", Value::Nested),
                ("c", Value::Nested),
                ("d", bare(b"null")),
                ("e", bare(b"-1.5e3")),
            ],
        );
        check(r#"{"a":"\"}\\","b":""}"#, &[("a", text(r#"\"}\\"#)), ("b", text(""))]);
    }

    #[test]
    fn what_is_cut_off_or_no_object_ends() {
        for line in ["", "{", "{}", "[1]", "text {\"a\":1}", "{\"a", "{\"a\"", "{\"a\":", "{a:1}"] {
            check(line, &[]);
        }
        check(r#"{"a":1,"b":"cut"#, &[("a", Value::Bare(b"1"))]);
        check(r#"{"a":1,"b":2"#, &[("a", Value::Bare(b"1"))]);
        check(r#"{"a":1,"b":"\"#, &[("a", Value::Bare(b"1"))]);
        check(r#"{"a":1 "b":2}"#, &[("a", Value::Bare(b"1"))]);
        check(&format!("{{\"a\":{}", "[".repeat(100_000)), &[]);
    }

    #[test]
    fn an_object_is_told_by_its_ends() {
        for (line, expected) in [
            (r#"{"a":1}"#, true),
            (" {}\r", true),
            ("{", false),
            ("}", false),
            ("{ code: 1,", false),
            ("", false),
        ] {
            assert_eq!(is_object(line.as_bytes()), expected, "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_object_is_read_as_serde_reads_it(
            entries in prop::collection::vec(("[a-c\"\\\\é]{0,3}", value(), "[ \t]?"), 0..6)
        ) {
            let line: Vec<_> = entries.iter().map(|(key, value, space)| {
                let key = serde_json::to_string(key).unwrap();
                format!("{space}{key}{space}:{space}{value}{space}")
            }).collect();
            let line = format!("{{{}}}", line.join(","));
            let found: Vec<_> = members(line.as_bytes()).collect();
            prop_assert_eq!(found.len(), entries.len());
            for ((found_key, found), (key, value, _)) in found.into_iter().zip(&entries) {
                let key = serde_json::to_string(key).unwrap();
                prop_assert_eq!(found_key, &key.as_bytes()[1..key.len() - 1]);
                let value = value.to_string();
                let expected = match value.as_bytes() {
                    [b'"', text @ .., b'"'] => Value::Text(text),
                    [b'{' | b'[', ..] => Value::Nested,
                    bare => Value::Bare(bare),
                };
                prop_assert_eq!(found, expected);
            }
        }

        #[test]
        fn any_bytes_end(line in prop::collection::vec(prop::sample::select(
            b"{}[]\":,\\a1 \n\x00\xff".to_vec()), 0..200)) {
            prop_assert!(members(&line).count() <= line.len());
        }
    }

    fn value() -> impl Strategy<Value = serde_json::Value> {
        use serde_json::Value;
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-c\"\\\\{}\\[\\],:é\n]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c]{1,5}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }
}
