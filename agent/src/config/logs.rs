//! What the two files say about logs: `[logs]` of the host's, `[tier.NAME.logs]` of the release's.
//! Patterns and globs are compiled here to be refused in time; whoever uses them compiles them
//! again.

use std::collections::BTreeMap;

use camino::{Utf8Component, Utf8Path};
use globset::{Glob, GlobBuilder};
use groundcrew_core::logs::limits::RETENTION_DAYS;
use groundcrew_core::logs::{
    Destination, FileRule, JournalRule, Level, LogRules, LogSettings, Multiline, Template,
    TemplateError,
};

use super::problem::shown;
use super::reader::{Node, Read};
use super::{fields, units};
use crate::pattern::{Pattern, PatternError};

/// The keys of `[logs]`.
const LOGS: &[&str] =
    &["group", "stream", "create", "retention_days", "disk_max", "file", "journal", "redact", "to"];
const FILE: &[&str] = &["path", "multiline", "group", "stream"];
const JOURNAL: &[&str] = &["units", "group", "stream"];
const REDACT: &[&str] = &["patterns"];
const TO: &[&str] = &["kind", "path"];
/// The keys of `[tier.NAME.logs]`.
const TIER: &[&str] = &["multiline", "rate_max", "sample"];
const SAMPLE: &[&str] = &["trace", "debug", "info", "warn", "error", "fatal"];
const LEVELS: [Level; 6] =
    [Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error, Level::Fatal];

/// Less does not hold what a busy host writes in a minute.
const DISK_MAX_MIN: u64 = 64 << 20;
/// `[[logs.file]]` and `[[logs.journal]]` tables, units of one of them, and patterns: each of them
/// is looked at for every line or every directory.
const RULES_MAX: usize = 64;
/// More is not a limit but a way to write none.
const RATE_MAX_MAX: u32 = 1_000_000;
/// Bytes of a unit's name, and the types of units (systemd.unit(5)).
const UNIT_BYTES_MAX: usize = 255;
const UNIT_TYPES: [&str; 11] = [
    "service",
    "socket",
    "device",
    "mount",
    "automount",
    "swap",
    "target",
    "path",
    "timer",
    "slice",
    "scope",
];

/// Every key of `[logs]`, with its path.
pub(super) fn keys() -> impl Iterator<Item = String> {
    let tables = ["file", "journal", "redact", "to"];
    fields::below("logs", LOGS)
        .filter(move |key| !tables.iter().any(|table| key.ends_with(&format!(".{table}"))))
        .chain(fields::below("logs.file", FILE))
        .chain(fields::below("logs.journal", JOURNAL))
        .chain(fields::below("logs.redact", REDACT))
        .chain(fields::below("logs.to", TO))
}

/// Every key of `[tier.NAME.logs]`, with its path.
pub(super) fn tier_keys() -> impl Iterator<Item = String> {
    fields::below("tier.NAME.logs", TIER)
}

/// `[logs]` of the host's file.
pub(super) fn logs(node: &Node<'_, '_>) -> Read<LogSettings> {
    let section = node.section(LOGS)?;
    let usual = LogSettings::default();
    let group = section.or("group", usual.group, group);
    let stream = section.or("stream", usual.stream, stream);
    let create = section.or("create", usual.create, Node::boolean);
    let retention_days = section.or("retention_days", usual.retention_days, retention_days);
    let disk_max =
        section.or("disk_max", usual.disk_bytes_max, |node| fields::size(node, DISK_MAX_MIN));
    let files = section.or("file", Vec::new(), |node| each(node, "[[logs.file]] tables", file));
    let journals =
        section.or("journal", Vec::new(), |node| each(node, "[[logs.journal]] tables", journal));
    let redact = section.or("redact", Vec::new(), redact);
    let to = section.or("to", usual.to, to);
    let settings = LogSettings {
        group: group?,
        stream: stream?,
        create: create?,
        retention_days: retention_days?,
        disk_bytes_max: disk_max?,
        files: files?,
        journals: journals?,
        redact: redact?,
        to: to?,
    };
    check_circle(node, &settings)?;
    Ok(settings)
}

/// `[tier.NAME.logs]` of the release's file.
pub(super) fn tier_logs(node: &Node<'_, '_>) -> Read<LogRules> {
    let section = node.section(TIER)?;
    let multiline = section.or("multiline", Multiline::default(), multiline);
    let rate_max = section.optional("rate_max", rate_max);
    let sample_ppm = section.or("sample", BTreeMap::new(), sample);
    Ok(LogRules { multiline: multiline?, rate_max: rate_max?, sample_ppm: sample_ppm? })
}

/// What `read` makes of each element; every one is looked at, also after a bad one.
fn each<'r, 'i, T>(
    node: &Node<'r, 'i>,
    wanted: &str,
    read: impl Fn(&Node<'r, 'i>) -> Read<T>,
) -> Read<Vec<T>> {
    let items = node.items(wanted)?;
    if items.len() > RULES_MAX {
        return Err(node.refuse(format!("{} are more than {RULES_MAX}", items.len()), ""));
    }
    let read: Vec<_> = items.iter().map(read).collect();
    read.into_iter().collect()
}

fn group(node: &Node<'_, '_>) -> Read<Template> {
    template(node, "/groundcrew/{environment}", Template::group)
}

fn stream(node: &Node<'_, '_>) -> Read<Template> {
    template(node, "{instance}/{process}", Template::stream)
}

fn template(
    node: &Node<'_, '_>,
    like: &str,
    parse: fn(&str) -> Result<Template, TemplateError>,
) -> Read<Template> {
    let text = node.as_text().ok_or_else(|| node.wanted(&format!("a name such as \"{like}\"")))?;
    parse(text).map_err(|error| {
        node.refuse(format!("{} {error}", shown(text)), &format!("write it like \"{like}\""))
    })
}

fn retention_days(node: &Node<'_, '_>) -> Read<Option<u16>> {
    if node.as_text() == Some("never") {
        return Ok(None);
    }
    let days = node.integer(0..=u16::MAX).unwrap_or_else(|| {
        Err(node.wanted("a number of days that CloudWatch takes, such as 30, or \"never\""))
    })?;
    if RETENTION_DAYS.contains(&days) {
        return Ok(Some(days));
    }
    let next = RETENTION_DAYS.partition_point(|known| *known < days);
    let near = next.saturating_sub(1)..RETENTION_DAYS.len().min(next + 1);
    let near: Vec<_> = RETENTION_DAYS[near].iter().map(ToString::to_string).collect();
    let hint = format!("the nearest that it takes: {}; for ever is \"never\"", near.join(", "));
    Err(node.refuse(format!("CloudWatch does not take {days} days"), &hint))
}

fn file(node: &Node<'_, '_>) -> Read<FileRule> {
    let section = node.section(FILE)?;
    let path = section
        .required("path", "say which files, such as path = \"/var/log/nginx/*.log\"")
        .and_then(|node| glob(&node));
    let multiline = section.or("multiline", Multiline::default(), multiline);
    let group = section.optional("group", group);
    let stream = section.optional("stream", stream);
    Ok(FileRule { path: path?, multiline: multiline?, group: group?, stream: stream? })
}

fn glob(node: &Node<'_, '_>) -> Read<String> {
    let like = "\"/var/log/nginx/*.log\"";
    let text = node.as_text().ok_or_else(|| node.wanted(&format!("a path such as {like}")))?;
    let path = absolute(node, text)?;
    match parse_glob(path) {
        Ok(_) => Ok(path.to_owned()),
        Err(error) => {
            let message = format!("{} is no glob: {}", shown(text), error.kind());
            Err(node.refuse(message, &format!("write it like {like}")))
        }
    }
}

/// As a shell does: `*` stops at a slash.
fn parse_glob(path: &str) -> Result<Glob, globset::Error> {
    GlobBuilder::new(path).literal_separator(true).build()
}

fn absolute<'t>(node: &Node<'_, '_>, text: &'t str) -> Read<&'t str> {
    let path = Utf8Path::new(text);
    let climbs = path.components().any(|part| part == Utf8Component::ParentDir);
    if !path.is_absolute() || climbs || text.contains('\0') || text.ends_with('/') {
        let message = format!("{} is not the absolute path of a file", shown(text));
        return Err(node.refuse(message, "begin with / and leave \"..\" out"));
    }
    Ok(text)
}

fn multiline(node: &Node<'_, '_>) -> Read<Multiline> {
    let wanted = "\"traces\", \"off\", \"timestamp\", \"indent\" or a regular expression";
    let text = node.as_text().ok_or_else(|| node.wanted(wanted))?;
    Ok(match text {
        "traces" => Multiline::Traces,
        "off" => Multiline::Off,
        "timestamp" => Multiline::Timestamp,
        "indent" => Multiline::Indent,
        // Of a word that is misspelt no line would begin an event.
        word if word.chars().all(|c| c.is_ascii_alphabetic()) => {
            let message = format!("{} is not {wanted}", shown(word));
            return Err(node.refuse(message, "begin an expression with ^"));
        }
        expression => Multiline::Pattern(pattern(node, expression)?),
    })
}

/// A regular expression that compiles.
fn pattern(node: &Node<'_, '_>, text: &str) -> Read<String> {
    match text.parse::<Pattern>() {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => {
            let hint = match error {
                PatternError::Syntax { .. } => {
                    "in TOML a pattern is best put in single quotes: '\\d+ ms'"
                }
                PatternError::Large => "make its repetitions smaller, or put (?-u) in front",
            };
            Err(node.refuse(format!("{} {error}", shown(text)), hint))
        }
    }
}

fn journal(node: &Node<'_, '_>) -> Read<JournalRule> {
    let section = node.section(JOURNAL)?;
    let units = section
        .required("units", "say which units, such as units = [\"sshd.service\"]")
        .and_then(|node| {
            let units = each(&node, "an array of units, such as [\"sshd.service\"]", unit)?;
            if units.is_empty() {
                return Err(node.refuse("names no unit", "name one, such as \"sshd.service\""));
            }
            Ok(units)
        });
    let group = section.optional("group", group);
    let stream = section.optional("stream", stream);
    Ok(JournalRule { units: units?, group: group?, stream: stream? })
}

fn unit(node: &Node<'_, '_>) -> Read<String> {
    let text = node.as_text().ok_or_else(|| node.wanted("a unit, such as \"sshd.service\""))?;
    let usual =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_' | '.' | '\\' | '@');
    let typed = text.rsplit_once('.');
    let typed = typed.is_some_and(|(name, kind)| !name.is_empty() && UNIT_TYPES.contains(&kind));
    if typed && text.len() <= UNIT_BYTES_MAX && text.chars().all(usual) {
        return Ok(text.to_owned());
    }
    let message = format!("{} is not the name of a unit", shown(text));
    Err(node.refuse(message, "write it in full, like \"sshd.service\""))
}

fn redact(node: &Node<'_, '_>) -> Read<Vec<String>> {
    let section = node.section(REDACT)?;
    section.or("patterns", Vec::new(), |node| {
        let wanted = "an array of regular expressions, such as ['token=\\w+']";
        each(node, wanted, |item| {
            let text = item.as_text().ok_or_else(|| item.wanted("a regular expression"))?;
            if text.parse::<Pattern>().is_ok_and(|pattern| pattern.is_match(b"")) {
                let message = format!("{} also matches where there is nothing", shown(text));
                return Err(item.refuse(message, "let it match at least one character"));
            }
            pattern(item, text)
        })
    })
}

/// The words of `logs.to.kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    CloudWatch,
    Stdout,
    File,
    Nowhere,
}

fn to(node: &Node<'_, '_>) -> Read<Destination> {
    let section = node.section(TO)?;
    let words = [
        ("cloudwatch", Kind::CloudWatch),
        ("stdout", Kind::Stdout),
        ("file", Kind::File),
        ("none", Kind::Nowhere),
    ];
    let kind = section
        .required("kind", "say where to, such as kind = \"cloudwatch\"")
        .and_then(|node| fields::one_of(&node, &words));
    let path = section.optional("path", |node| {
        let text = node.as_text().ok_or_else(|| node.wanted("the path of a file"))?;
        absolute(node, text).map(str::to_owned)
    });
    match (kind?, path?) {
        (Kind::File, Some(path)) => Ok(Destination::File(path)),
        (Kind::File, None) => {
            let hint = "say which file, such as path = \"/var/log/all.ndjson\"";
            Err(node.refuse("has kind = \"file\" and no path", hint))
        }
        (_, Some(_)) => {
            let node = node.find(&["path"]);
            Err(node.refuse("belongs to kind = \"file\" alone", "remove it"))
        }
        (Kind::CloudWatch, None) => Ok(Destination::CloudWatch),
        (Kind::Stdout, None) => Ok(Destination::Stdout),
        (Kind::Nowhere, None) => Ok(Destination::Nowhere),
    }
}

/// A file that is both read and written would be read for ever.
fn check_circle(node: &Node<'_, '_>, settings: &LogSettings) -> Read<()> {
    let Destination::File(to) = &settings.to else { return Ok(()) };
    let reads = |rule: &&FileRule| {
        parse_glob(&rule.path).is_ok_and(|glob| glob.compile_matcher().is_match(to))
    };
    match settings.files.iter().find(reads) {
        Some(rule) => {
            let message = format!("{to} is one of the files {}", rule.path);
            let node = node.find(&["to", "path"]);
            Err(node.refuse(message, "what is written there would be read again, for ever"))
        }
        None => Ok(()),
    }
}

/// `"5000/s"` or `5000`, in events a second.
fn rate_max(node: &Node<'_, '_>) -> Read<u32> {
    let wanted = || node.wanted("events a second, such as \"5000/s\"");
    let text = node.as_text_or_number().ok_or_else(wanted)?;
    let digits = text.strip_suffix("/s").unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wanted());
    }
    let rate = digits.parse().ok().filter(|rate| (1..=RATE_MAX_MAX).contains(rate));
    rate.ok_or_else(|| {
        let message = format!("{digits} events a second are not within 1 to {RATE_MAX_MAX}");
        node.refuse(message, "leave it out for any number")
    })
}

/// The share of events of each level that is kept.
fn sample(node: &Node<'_, '_>) -> Read<BTreeMap<Level, u32>> {
    let section = node.section(SAMPLE)?;
    let mut kept = BTreeMap::new();
    let mut refused = None;
    for (word, level) in SAMPLE.iter().zip(LEVELS) {
        let share = section
            .optional(word, |node| node.parse("a percentage, such as \"1%\"", units::percent));
        match share {
            Ok(share) => kept.extend(share.map(|share| (level, share))),
            Err(reported) => refused = Some(reported),
        }
    }
    refused.map_or(Ok(kept), Err)
}
