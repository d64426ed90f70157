//! One line of StatsD into its parts, which still point into it. Pure.
//!
//! The form is that of the reference daemon (docs/metric_types.md of statsd/statsd), of
//! b/statsd_spec, and of DogStatsD's datagrams up to protocol 1.4:
//! `NAME[;k=v][,k=v]:VALUE[:VALUE...]|TYPE[|@RATE][|#k:v,k][|anything else]`.

use super::{RATE_MIN, VALUE_MAX};

/// What kind of metric a line is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// `c`, and the meter `m` of b/statsd_spec, which is one.
    Counter,
    /// `g`.
    Gauge,
    /// `ms`: milliseconds.
    Timer,
    /// `h` and `d`: values of any unit.
    Histogram,
    /// `s`.
    Set,
}

/// Why a line is not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bad {
    /// It has no value or no type.
    Syntax,
    /// It has no name, or a name that is too long.
    Name,
    /// There is no such type.
    Type,
    /// A value is no number, too large, or negative where it may not be.
    Value,
    /// The sample rate is not above 0 and at most 1.
    Rate,
    /// There are too many tags, or one is too long or no UTF-8.
    Tags,
    /// The name is one of the agent's own.
    Reserved,
    /// The name is that of a metric of another type, or differs from another only in what
    /// Prometheus does not tell apart.
    Conflict,
}

impl Bad {
    /// All of them, in their order.
    pub const ALL: [Self; 8] = [
        Self::Syntax,
        Self::Name,
        Self::Type,
        Self::Value,
        Self::Rate,
        Self::Tags,
        Self::Reserved,
        Self::Conflict,
    ];

    /// The word for it, as a label has it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::Name => "name",
            Self::Type => "type",
            Self::Value => "value",
            Self::Rate => "rate",
            Self::Tags => "tags",
            Self::Reserved => "reserved",
            Self::Conflict => "conflict",
        }
    }
}

/// What a line is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Parsed<'a> {
    /// Of a metric.
    Metric(Line<'a>),
    /// DogStatsD's `_e{`.
    Event,
    /// DogStatsD's `_sc`.
    ServiceCheck,
}

/// A line of a metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line<'a> {
    /// As it was written, without tags.
    pub name: &'a [u8],
    /// The tags behind the name, and what parts them: `;` or `,`.
    pub name_tags: (&'a [u8], u8),
    /// The tags behind `#`.
    pub tags: &'a [u8],
    /// All values; see [`numbers`](Self::numbers).
    pub values: &'a [u8],
    /// Of what kind.
    pub kind: Type,
    /// Which share of all that happened was sent.
    pub rate: f64,
}

/// Reads a line without its newline.
pub fn parse(line: &[u8]) -> Result<Parsed<'_>, Bad> {
    if line.starts_with(b"_e{") {
        return Ok(Parsed::Event);
    }
    if line.starts_with(b"_sc|") {
        return Ok(Parsed::ServiceCheck);
    }
    let (name, rest) = split(line, b':').ok_or(Bad::Syntax)?;
    let (values, rest) = split(rest, b'|').ok_or(Bad::Syntax)?;
    let mut sections = rest.split(|byte| *byte == b'|');
    let kind = match sections.next().unwrap_or_default().trim_ascii() {
        b"c" | b"m" => Type::Counter,
        b"g" => Type::Gauge,
        b"ms" => Type::Timer,
        b"h" | b"d" => Type::Histogram,
        b"s" => Type::Set,
        _ => return Err(Bad::Type),
    };
    let (mut rate, mut tags): (_, &[u8]) = (1.0, &[]);
    for section in sections {
        match section {
            [b'@', text @ ..] => rate = sample_rate(text)?,
            [b'#', text @ ..] => tags = text,
            // A container, a time, or what a later protocol adds: nothing that changes the value.
            _ => {}
        }
    }
    let end = name.iter().position(|byte| matches!(byte, b';' | b','));
    let (name, name_tags): (_, (&[u8], u8)) = match end {
        Some(end) => (&name[..end], (&name[end + 1..], name[end])),
        None => (name, (&[], b',')),
    };
    let line = Line { name, name_tags, tags, values, kind, rate };
    line.check()?;
    Ok(Parsed::Metric(line))
}

impl<'a> Line<'a> {
    /// Every value of one that is no set, which are all numbers of the right kind.
    pub fn numbers(&self) -> impl Iterator<Item = f64> + use<'a> {
        self.texts().filter_map(number)
    }

    /// Every value of a gauge, and whether it is to be added to what the gauge had.
    pub fn steps(&self) -> impl Iterator<Item = (f64, bool)> + use<'a> {
        let signed = |text: &[u8]| matches!(text.trim_ascii_start(), [b'+' | b'-', ..]);
        self.texts().filter_map(move |text| Some((number(text)?, signed(text))))
    }

    fn texts(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.values.split(|byte| *byte == b':')
    }

    /// All or none of the values are counted.
    fn check(&self) -> Result<(), Bad> {
        let least = match self.kind {
            // Whatever it is: one of a set is no number.
            Type::Set => return if self.values.is_empty() { Err(Bad::Value) } else { Ok(()) },
            Type::Gauge => f64::NEG_INFINITY,
            // A counter only grows: what went back would look like a restart of the application.
            Type::Counter | Type::Timer | Type::Histogram => 0.0,
        };
        let is_good = |text| number(text).is_some_and(|value| value >= least);
        if self.texts().all(is_good) { Ok(()) } else { Err(Bad::Value) }
    }
}

fn split(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|byte| *byte == at)?;
    Some((&text[..end], &text[end + 1..]))
}

/// A number that is neither infinite nor above [`VALUE_MAX`].
fn number(text: &[u8]) -> Option<f64> {
    let text = text.trim_ascii();
    // Most are a few digits.
    if !text.is_empty() && text.len() <= 9 && text.iter().all(u8::is_ascii_digit) {
        let value = text.iter().fold(0, |value, digit| value * 10 + u32::from(digit - b'0'));
        return Some(f64::from(value));
    }
    let value: f64 = str::from_utf8(text).ok()?.parse().ok()?;
    (value.is_finite() && value.abs() <= VALUE_MAX).then_some(value)
}

fn sample_rate(text: &[u8]) -> Result<f64, Bad> {
    number(text).filter(|rate| (RATE_MIN..=1.0).contains(rate)).ok_or(Bad::Rate)
}
