//! What the host's file says about being told: `[[notify]]` and `[errors]`. Secrets are in files;
//! the one address that may stand here is not shown again. Templates are tried out on a sample.

use std::collections::BTreeSet;
use std::time::Duration;

use groundcrew_core::effect::{Level, Topic};
use groundcrew_core::notify::errors::ErrorRules;
use groundcrew_core::notify::limits::{DEDUPE, TARGETS_MAX};
use groundcrew_core::notify::settings::{ErrorSettings, Kind, Secret, TargetSettings};
use groundcrew_core::notify::{Pace, Rate, Rules, errors};

use super::problem::shown;
use super::reader::{Node, Read, Section};
use super::{fields, units};
use crate::https::Address;
use crate::wording::{self, Words};

/// The keys of `[[notify]]`.
const NOTIFY: &[&str] = &[
    "name",
    "kind",
    "topics",
    "min_level",
    "rate",
    "dedupe",
    "title",
    "text",
    "url",
    "url_file",
    "key_file",
    "secret_file",
    "topic_arn",
];
/// The keys of `[errors]`.
const ERRORS: &[&str] = &["dsn_file", "sample", "environment", "rate", "dedupe"];

const NAME_BYTES_MAX: usize = 32;
const DEDUPE_MAX: Duration = Duration::from_hours(24);
const RATE: Rate = Rate { count: 30, per: Duration::from_hours(1) };
const RATE_COUNT_MAX: u32 = 10_000;
const PAGERDUTY: &str = "https://events.pagerduty.com";
const OPSGENIE: &str = "https://api.opsgenie.com";

/// Every key of both tables, with its path.
pub(super) fn keys() -> impl Iterator<Item = String> {
    fields::below("notify", NOTIFY).chain(fields::below("errors", ERRORS))
}

/// `[[notify]]` of the host's file.
pub(super) fn targets(node: &Node<'_, '_>) -> Read<Vec<TargetSettings>> {
    let items = node.items("[[notify]] tables")?;
    if items.len() > TARGETS_MAX {
        return Err(node.refuse(format!("{} are more than {TARGETS_MAX}", items.len()), ""));
    }
    let read: Vec<_> = items.iter().map(target).collect();
    let targets: Vec<_> = read.into_iter().collect::<Read<_>>()?;
    let mut names = BTreeSet::new();
    let mut refused = None;
    for (target, item) in targets.iter().zip(&items) {
        let name = &target.rules.name;
        if !names.insert(name) {
            let message = format!("{} is the name of another one too", shown(name));
            refused = Some(item.find(&["name"]).refuse(message, "each needs its own"));
        }
    }
    refused.map_or(Ok(targets), Err)
}

/// `[errors]` of the host's file.
pub(super) fn errors(node: &Node<'_, '_>) -> Read<ErrorSettings> {
    let section = node.section(ERRORS)?;
    let dsn = section
        .required("dsn_file", "say which file has the DSN, such as \"/etc/groundcrew/dsn\"")
        .and_then(|node| secret_file(&node));
    let sample_ppm = section.or("sample", 1_000_000, |node| {
        node.parse("a percentage, such as \"10%\"", units::percent)
    });
    let environment = section.optional("environment", |node| {
        let text = node.as_text().ok_or_else(|| node.wanted("a name"))?;
        Ok(text.to_owned())
    });
    let pace = pace(&section);
    let rules = ErrorRules { sample_ppm: sample_ppm?, pace: pace? };
    Ok(ErrorSettings { dsn: dsn?, rules, environment: environment? })
}

fn target(node: &Node<'_, '_>) -> Read<TargetSettings> {
    let section = node.section(NOTIFY)?;
    let kind = kind(&section);
    let keeps_alarms = matches!(kind, Ok(Kind::PagerDuty { .. } | Kind::Opsgenie { .. }));
    let least = if keeps_alarms { Level::Error } else { Level::Normal };
    let name =
        section.required("name", "name it, such as name = \"ops\"").and_then(|node| name(&node));
    let topics = section.or("topics", all_topics(), topics);
    let levels = [("normal", Level::Normal), ("warning", Level::Warning), ("error", Level::Error)];
    let min_level = section.or("min_level", least, |node| fields::one_of(node, &levels));
    let pace = pace(&section);
    let title = section.optional("title", template);
    let text = section.optional("text", template);
    let rules =
        Rules { name: name?, topics: topics?, min_level: min_level?, pace: pace?, keeps_alarms };
    Ok(TargetSettings { rules, kind: kind?, title: title?, text: text? })
}

fn name(node: &Node<'_, '_>) -> Read<String> {
    let text = node.as_text().ok_or_else(|| node.wanted("a name, such as \"ops\""))?;
    let usual = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.bytes().all(usual) {
        let message = format!("{} is not a name", shown(text));
        let hint = "use 1 to 32 lower-case letters, digits and hyphens";
        return Err(node.refuse(message, hint));
    }
    if text == errors::NAME {
        return Err(node.refuse("is the name of the tracker of errors", "take another"));
    }
    Ok(text.to_owned())
}

fn all_topics() -> BTreeSet<Topic> {
    Topic::ALL.iter().copied().collect()
}

fn topics(node: &Node<'_, '_>) -> Read<BTreeSet<Topic>> {
    let items = node.items("an array of topics, such as [\"deployment\", \"crash-loop\"]")?;
    if items.is_empty() {
        return Err(node.refuse("names no topic", "leave it out for all of them"));
    }
    let mut topics = BTreeSet::new();
    let mut refused = None;
    for item in &items {
        let text = item.as_text().ok_or_else(|| item.wanted("a topic, such as \"deployment\""));
        let named = text.map(|text| {
            let all = Topic::ALL.iter().copied();
            let named = all.filter(|topic| topic.group() == text || topic.word() == text);
            (text, named.collect::<Vec<_>>())
        });
        match named {
            Ok((text, named)) if named.is_empty() => {
                let groups: BTreeSet<_> = Topic::ALL.iter().map(|topic| topic.group()).collect();
                let groups: Vec<_> = groups.into_iter().collect();
                let hint = format!("the groups are {}", groups.join(", "));
                refused = Some(item.refuse(format!("{} is no topic", shown(text)), &hint));
            }
            Ok((_, named)) => topics.extend(named),
            Err(reported) => refused = Some(reported),
        }
    }
    refused.map_or(Ok(topics), Err)
}

fn pace(section: &Section<'_, '_>) -> Read<Pace> {
    let rate = section.or("rate", RATE, rate);
    let dedupe =
        section.or("dedupe", DEDUPE, |node| fields::duration(node, Duration::ZERO..=DEDUPE_MAX));
    Ok(Pace { rate: rate?, dedupe: dedupe? })
}

/// `10/h`: so many in a second, minute, hour or day.
fn rate(node: &Node<'_, '_>) -> Read<Rate> {
    let wanted = "a rate, such as \"10/h\"";
    let text = node.as_text().ok_or_else(|| node.wanted(wanted))?;
    let refuse = || node.refuse(format!("{} is not {wanted}", shown(text)), "");
    let (count, unit) = text.split_once('/').ok_or_else(refuse)?;
    let per = match unit {
        "s" => Duration::from_secs(1),
        "m" => Duration::from_mins(1),
        "h" => Duration::from_hours(1),
        "d" => Duration::from_hours(24),
        _ => return Err(refuse()),
    };
    let digits = count.bytes().all(|b| b.is_ascii_digit());
    let count = count.parse().ok().filter(|count| digits && (1..=RATE_COUNT_MAX).contains(count));
    count.map(|count| Rate { count, per }).ok_or_else(refuse)
}

fn template(node: &Node<'_, '_>) -> Read<String> {
    let text = node.as_text().ok_or_else(|| node.wanted("a template, such as \"{{ text }}\""))?;
    match wording::render(text, &Words::sample()) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(node.refuse(error.to_string(), "see docs/notify.md for its words")),
    }
}

/// The words of `kind`, and which of the keys belong to each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Sns,
    Slack,
    PagerDuty,
    Opsgenie,
    Webhook,
}

impl Word {
    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Sns => &["topic_arn"],
            Self::Slack => &["url_file"],
            Self::PagerDuty | Self::Opsgenie => &["key_file", "url"],
            Self::Webhook => &["url", "url_file", "secret_file"],
        }
    }
}

fn kind(section: &Section<'_, '_>) -> Read<Kind> {
    let words = [
        ("sns", Word::Sns),
        ("slack", Word::Slack),
        ("pagerduty", Word::PagerDuty),
        ("opsgenie", Word::Opsgenie),
        ("webhook", Word::Webhook),
    ];
    let word = section
        .required("kind", "say what it is, such as kind = \"slack\"")
        .and_then(|node| fields::one_of(&node, &words))?;
    let mut refused = None;
    for key in ["url", "url_file", "key_file", "secret_file", "topic_arn"] {
        if let Some(node) = section.get(key).filter(|_| !word.keys().contains(&key)) {
            let has = word.keys().join(", ");
            refused = Some(node.refuse("does not belong to this kind", &format!("it has {has}")));
        }
    }
    refused.map_or(Ok(()), Err)?;
    let file = |key, hint: &str| section.required(key, hint).and_then(|node| secret_file(&node));
    match word {
        Word::Sns => {
            let hint = "name the topic, such as \"arn:aws:sns:eu-west-1:123456789012:ops\"";
            let topic = section.required("topic_arn", hint).and_then(|node| arn(&node))?;
            Ok(Kind::Sns { topic })
        }
        Word::Slack => {
            Ok(Kind::Slack { url: file("url_file", "say which file has the webhook's address")? })
        }
        Word::PagerDuty => {
            let key = file("key_file", "say which file has the integration's key");
            let url = section.or("url", PAGERDUTY.to_owned(), address);
            Ok(Kind::PagerDuty { key: key?, url: url? })
        }
        Word::Opsgenie => {
            let key = file("key_file", "say which file has the integration's key");
            let url = section.or("url", OPSGENIE.to_owned(), address);
            Ok(Kind::Opsgenie { key: key?, url: url? })
        }
        Word::Webhook => {
            let secret = section.optional("secret_file", secret_file);
            let url = match (section.get("url"), section.get("url_file")) {
                (Some(node), Some(_)) => Err(node.refuse("stands beside url_file", "keep one")),
                (Some(node), None) => address(&node).map(Secret::Inline),
                (None, _) => file("url_file", "say where to, by url or url_file"),
            };
            Ok(Kind::Webhook { url: url?, secret: secret? })
        }
    }
}

fn arn(node: &Node<'_, '_>) -> Read<String> {
    let text = node.as_text().ok_or_else(|| node.wanted("the ARN of a topic"))?;
    let parts: Vec<_> = text.split(':').collect();
    let usual = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_' | '.');
    let whole = parts.len() == 6 && parts.iter().all(|part| !part.is_empty());
    if whole && parts[0] == "arn" && parts[2] == "sns" && text.chars().all(usual) {
        return Ok(text.to_owned());
    }
    let message = format!("{} is not the ARN of a topic", shown(text));
    Err(node.refuse(message, "write it like \"arn:aws:sns:eu-west-1:123456789012:ops\""))
}

/// An address; it may be a secret, so no message holds it.
fn address(node: &Node<'_, '_>) -> Read<String> {
    let text = node.as_text().ok_or_else(|| node.wanted_unseen("an address in quotes"))?;
    match Address::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(node.refuse(error.to_string(), "")),
    }
}

/// An absolute path, or the name of a systemd credential.
fn secret_file(node: &Node<'_, '_>) -> Read<Secret> {
    let wanted = "an absolute path, or the name of a systemd credential";
    let text = node.as_text().ok_or_else(|| node.wanted_unseen(wanted))?;
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let credential = !text.is_empty() && text.chars().all(name) && !text.starts_with('.');
    let path = text.starts_with('/') && !text.contains(['\0', '\n']);
    if (credential || path) && text.len() < 4096 {
        return Ok(Secret::File(text.to_owned()));
    }
    // Whoever put the secret itself here must not find it in a log.
    Err(node.refuse(format!("is not {wanted}"), "put the secret into a file of its own"))
}
