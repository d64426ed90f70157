//! Walks a TOML document and collects what is wrong with it instead of stopping at the first.
//!
//! A [`Reported`] can only be made by writing a problem down, so a walk that fails has always said
//! why.

use std::cell::RefCell;
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::CONFIG_BYTES_MAX;
use super::problem::{Position, Problem, Problems, Severity, shown, sort};

/// Syntax errors shown of one file: after that many the file is something else than TOML.
const SYNTAX_ERRORS_MAX: usize = 10;

/// Longer names are near to none of ours, and measuring costs their length times that of all keys.
const NAME_BYTES_MEASURED_MAX: usize = 64;

/// Proof that a problem was written down.
#[derive(Debug)]
pub(super) struct Reported(());

/// What a walk came to: the value, or the knowledge that the reason is written down.
pub(super) type Read<T> = Result<T, Reported>;

/// What was read, and the warnings on the way.
pub(super) type WithWarnings<T> = (T, Vec<Problem>);

/// Reads `text` with `walk`, which gets the top of the document and may use `keys` of it.
pub(super) fn read<T>(
    file: &str,
    text: &str,
    keys: &'static [&'static str],
    walk: impl FnOnce(&Section<'_, '_>) -> Read<T>,
) -> Result<WithWarnings<T>, Problems> {
    let reader = Reader { file, text, problems: RefCell::default() };
    let walked = reader.document().and_then(|document| {
        let top = Node { reader: &reader, path: String::new(), span: None, value: &document };
        walk(&top.section(keys)?)
    });
    let mut problems = reader.problems.into_inner();
    let refused = problems.iter().any(|problem| problem.severity == Severity::Error);
    match walked {
        Ok(value) if !refused => {
            sort(&mut problems);
            Ok((value, problems))
        }
        _ => Err(Problems::new(problems)),
    }
}

/// The position of `key` (a dotted path) in `text`, or of the nearest table around it.
pub(super) fn locate(text: &str, key: &str) -> Option<Position> {
    let (document, _) = DeTable::parse_recoverable(text);
    let mut table = document.get_ref();
    let mut found = None;
    for part in key.split('.') {
        let Some((name, value)) = table.get_key_value(part) else { break };
        found = Some(Position::of(text, name.span().start));
        let Some(inner) = value.get_ref().as_table() else { break };
        table = inner;
    }
    found
}

struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    problems: RefCell<Vec<Problem>>,
}

impl<'a> Reader<'a> {
    fn document(&self) -> Read<DeValue<'a>> {
        if self.text.len() > CONFIG_BYTES_MAX {
            let message = format!("is longer than {CONFIG_BYTES_MAX} bytes");
            return Err(self.report(Severity::Error, None, "", message, None));
        }
        let (document, errors) = DeTable::parse_recoverable(self.text);
        let mut refused = None;
        for error in errors.iter().take(SYNTAX_ERRORS_MAX) {
            // The message alone: the parser's own display quotes the line, which may hold a secret.
            let message = error.message().replace('\n', "; ");
            refused = Some(self.report(Severity::Error, error.span(), "", message, None));
        }
        // What the parser guessed around an error would only lead to wrong complaints.
        refused.map_or(Ok(DeValue::Table(document.into_inner())), Err)
    }

    fn report(
        &self,
        severity: Severity,
        span: Option<Range<usize>>,
        key: &str,
        message: String,
        hint: Option<String>,
    ) -> Reported {
        self.problems.borrow_mut().push(Problem {
            file: self.file.to_owned(),
            position: span.map(|span| Position::of(self.text, span.start)),
            key: key.to_owned(),
            message,
            hint,
            severity,
        });
        Reported(())
    }
}

/// A value and where it stands.
#[derive(Clone)]
pub(super) struct Node<'r, 'i> {
    reader: &'r Reader<'i>,
    path: String,
    span: Option<Range<usize>>,
    value: &'r DeValue<'i>,
}

impl<'r, 'i> Node<'r, 'i> {
    /// Writes an error about this value down.
    pub(super) fn refuse(&self, message: impl Into<String>, hint: &str) -> Reported {
        self.report(Severity::Error, message.into(), hint)
    }

    /// Writes a warning about this value down.
    pub(super) fn warn(&self, message: impl Into<String>, hint: &str) {
        self.report(Severity::Warning, message.into(), hint);
    }

    fn report(&self, severity: Severity, message: String, hint: &str) -> Reported {
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        self.reader.report(severity, self.span.clone(), &self.path, message, hint)
    }

    /// Refuses a value of another type than wanted, saying both.
    pub(super) fn wanted(&self, wanted: &str) -> Reported {
        self.refuse(format!("found {}, wanted {wanted}", self.found()), "")
    }

    fn found(&self) -> String {
        match self.value {
            DeValue::String(text) => format!("the string {}", shown(text)),
            DeValue::Integer(number) => format!("the number {number}"),
            DeValue::Float(number) => format!("the number {number}"),
            DeValue::Boolean(truth) => truth.to_string(),
            DeValue::Datetime(_) => "a date".to_owned(),
            DeValue::Array(_) => "an array".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        }
    }

    /// The type alone, for values that must not be shown.
    pub(super) fn wanted_unseen(&self, wanted: &str) -> Reported {
        let kind = self.value.type_str();
        self.refuse(format!("found a value of type {kind}, wanted {wanted}"), "")
    }

    /// The text of a string; `None` for any other type.
    pub(super) fn as_text(&self) -> Option<&'r str> {
        self.value.as_str()
    }

    /// The text of a string or the digits of a number, as they were written.
    pub(super) fn as_text_or_number(&self) -> Option<&'r str> {
        match self.value {
            DeValue::String(text) => Some(text),
            DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str()),
            DeValue::Float(number) => Some(number.as_str()),
            _ => None,
        }
    }

    /// A string that `parse` understands; `wanted` says what to write, such as `a duration, such as
    /// "30s"`.
    pub(super) fn parse<T, E: Display>(
        &self,
        wanted: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Read<T> {
        let text = self.as_text().ok_or_else(|| self.wanted(wanted))?;
        parse(text).map_err(|error| self.refuse(error.to_string(), ""))
    }

    /// A whole number within `range`; `None` when it is no integer at all.
    pub(super) fn integer<T>(&self, range: RangeInclusive<T>) -> Option<Read<T>>
    where
        T: TryFrom<i128> + PartialOrd + Clone + Display,
    {
        let DeValue::Integer(number) = self.value else { return None };
        let value = i128::from_str_radix(number.as_str(), number.radix())
            .ok()
            .and_then(|value| T::try_from(value).ok())
            .filter(|value| range.contains(value));
        Some(value.ok_or_else(|| {
            let (from, to) = (range.start(), range.end());
            self.refuse(format!("{number} is not within {from} to {to}"), "")
        }))
    }

    /// A whole number within `range`.
    pub(super) fn number<T>(&self, range: RangeInclusive<T>) -> Read<T>
    where
        T: TryFrom<i128> + PartialOrd + Clone + Display,
    {
        self.integer(range.clone()).unwrap_or_else(|| {
            let (from, to) = (range.start(), range.end());
            Err(self.wanted(&format!("a whole number from {from} to {to}")))
        })
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self) -> Read<bool> {
        match self.value {
            DeValue::Boolean(truth) => Ok(*truth),
            _ => Err(self.wanted("true or false")),
        }
    }

    /// The elements of an array.
    pub(super) fn items(&self, wanted: &str) -> Read<Vec<Node<'r, 'i>>> {
        let array = self.value.as_array().ok_or_else(|| self.wanted(wanted))?;
        Ok((array.iter().enumerate())
            .map(|(i, item)| self.child(&format!("[{i}]"), item.span(), item))
            .collect())
    }

    /// The entries of a table whose keys are names a person chose, with the node of each key's
    /// value.
    pub(super) fn entries(&self, wanted: &str) -> Read<Vec<(&'r str, Node<'r, 'i>)>> {
        let table = self.value.as_table().ok_or_else(|| self.wanted(wanted))?;
        Ok((table.iter())
            .map(|(key, value)| {
                let name: &str = key.get_ref();
                (name, self.child(&dotted(name), key.span(), value))
            })
            .collect())
    }

    /// The value at `path` below this one, or the nearest that exists on the way.
    pub(super) fn find(&self, path: &[&str]) -> Node<'r, 'i> {
        path.iter()
            .try_fold(self.clone(), |node, step| {
                let entry = node.value.as_table().and_then(|table| table.get_key_value(*step));
                match entry {
                    Some((key, value)) => Ok(node.child(&dotted(step), key.span(), value)),
                    None => Err(node),
                }
            })
            .unwrap_or_else(|nearest| nearest)
    }

    /// The table with these keys and no others.
    pub(super) fn section(&self, keys: &'static [&'static str]) -> Read<Section<'r, 'i>> {
        let table = self.value.as_table().ok_or_else(|| self.wanted("a table"))?;
        for (key, value) in table {
            let name: &str = key.get_ref();
            if !keys.contains(&name) {
                let node = self.child(&dotted(name), key.span(), value);
                node.refuse("unknown key", &near_or_all(name, keys));
            }
        }
        Ok(Section { node: self.clone(), table, keys })
    }

    fn child(
        &self,
        step: &str,
        span: Range<usize>,
        value: &'r Spanned<DeValue<'i>>,
    ) -> Node<'r, 'i> {
        let dot = if self.path.is_empty() || step.starts_with('[') { "" } else { "." };
        let path = format!("{}{dot}{step}", self.path);
        Node { reader: self.reader, path, span: Some(span), value: value.get_ref() }
    }
}

/// A table whose keys are known.
pub(super) struct Section<'r, 'i> {
    node: Node<'r, 'i>,
    table: &'r DeTable<'i>,
    keys: &'static [&'static str],
}

impl<'r, 'i> Section<'r, 'i> {
    /// The table itself, to complain about as a whole.
    pub(super) fn node(&self) -> &Node<'r, 'i> {
        &self.node
    }

    /// The value of `key`, when it is there.
    pub(super) fn get(&self, key: &'static str) -> Option<Node<'r, 'i>> {
        debug_assert!(self.keys.contains(&key), "{key} would be refused as unknown");
        let (name, value) = self.table.get_key_value(key)?;
        Some(self.node.child(key, name.span(), value))
    }

    /// The value of `key`, or a problem that says what it is for.
    pub(super) fn required(&self, key: &'static str, hint: &str) -> Read<Node<'r, 'i>> {
        self.get(key).ok_or_else(|| {
            let dot = if self.node.path.is_empty() { "" } else { "." };
            let path = format!("{}{dot}{key}", self.node.path);
            Node { path, ..self.node.clone() }.refuse("is missing", hint)
        })
    }

    /// What `read` makes of `key`; `None` when it is not there.
    pub(super) fn optional<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&Node<'r, 'i>) -> Read<T>,
    ) -> Read<Option<T>> {
        self.get(key).map(|node| read(&node)).transpose()
    }

    /// What `read` makes of `key`, or `default`.
    pub(super) fn or<T>(
        &self,
        key: &'static str,
        default: T,
        read: impl FnOnce(&Node<'r, 'i>) -> Read<T>,
    ) -> Read<T> {
        Ok(self.optional(key, read)?.unwrap_or(default))
    }
}

/// A key as TOML would write it in a path: bare, or quoted when it holds anything unusual.
fn dotted(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !key.is_empty() && key.chars().all(bare) { key.to_owned() } else { shown(key) }
}

/// `did you mean port?` when one key is near, else all of them.
fn near_or_all(name: &str, keys: &[&str]) -> String {
    let near = (keys.iter().filter(|_| name.len() <= NAME_BYTES_MEASURED_MAX))
        .map(|key| (strsim::damerau_levenshtein(name, key), key))
        .min()
        .filter(|(distance, key)| *distance <= (key.len() / 3).max(1));
    match near {
        Some((_, key)) => format!("did you mean {key}?"),
        None => format!("the keys here are {}", keys.join(", ")),
    }
}
