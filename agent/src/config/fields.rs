//! The fields that both files share: names, environments, counts, and the bounds of each.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use groundcrew_core::limits;
use groundcrew_core::spec::ProcessCount;
use groundcrew_core::types::TierName;

use super::problem::shown;
use super::reader::{Node, Read, Reported, Section};
use super::units;

/// Bytes of one `NAME=value`; the kernel refuses longer ones (MAX_ARG_STRLEN, 32 pages, execve(2)).
pub const ENV_ENTRY_BYTES_MAX: usize = 128 * 1024 - 1;
/// Environment variables of one tier.
pub const ENV_ENTRIES_MAX: usize = 1024;

/// Beginnings of names of variables that the agent sets itself, with what to do instead.
const ENV_RESERVED: [(&str, &str); 3] = [
    ("PORT", "the agent sets PORT from the tier's port: set port instead"),
    ("LISTEN_", "the agent sets LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES for the socket"),
    ("GROUNDCREW_", "names that start with GROUNDCREW_ belong to the agent"),
];

/// The keys of a table, with their paths.
pub(super) fn below(
    table: &'static str,
    keys: &'static [&'static str],
) -> impl Iterator<Item = String> {
    keys.iter().map(move |key| format!("{table}.{key}"))
}

pub(super) fn duration(node: &Node<'_, '_>, range: RangeInclusive<Duration>) -> Read<Duration> {
    let time = node.parse("a duration, such as \"30s\"", units::duration)?;
    if range.contains(&time) {
        return Ok(time);
    }
    let [time, from, to] = [time, *range.start(), *range.end()].map(units::duration_text);
    Err(node.refuse(format!("{time} is not within {from} to {to}"), ""))
}

pub(super) fn size(node: &Node<'_, '_>, least: u64) -> Read<u64> {
    let bytes = node.parse("a size, such as \"512 MiB\"", units::size)?;
    if bytes >= least {
        return Ok(bytes);
    }
    let [bytes, least] = [bytes, least].map(units::size_text);
    Err(node.refuse(format!("{bytes} is less than {least}"), ""))
}

pub(super) fn port(node: &Node<'_, '_>) -> Read<u16> {
    node.number(1..=u16::MAX)
}

pub(super) fn processes(node: &Node<'_, '_>) -> Read<ProcessCount> {
    if node.as_text() == Some("per-core") {
        return Ok(ProcessCount::PerCore);
    }
    let most = limits::PROCESSES_PER_TIER_MAX;
    let count = node
        .integer(1..=most)
        .unwrap_or_else(|| Err(node.wanted(&format!("\"per-core\" or a number, 1 to {most}"))))?;
    Ok(ProcessCount::Exactly(count))
}

/// Environment variables. The values may be secrets: no message holds one.
pub(super) fn env(node: &Node<'_, '_>) -> Read<BTreeMap<String, String>> {
    let mut env = BTreeMap::new();
    let entries = node.entries("a table of strings, such as { NODE_ENV = \"production\" }")?;
    if entries.len() > ENV_ENTRIES_MAX {
        return Err(node.refuse(format!("has more than {ENV_ENTRIES_MAX} variables"), ""));
    }
    let mut refused = None;
    for (name, value) in entries {
        match env_value(name, &value) {
            Ok(text) => drop(env.insert(name.to_owned(), text.to_owned())),
            Err(reported) => refused = Some(reported),
        }
    }
    refused.map_or(Ok(env), Err)
}

fn env_value<'r>(name: &str, value: &Node<'r, '_>) -> Read<&'r str> {
    let reserved = ENV_RESERVED.iter().find(|(start, _)| match start.strip_suffix('_') {
        Some(_) => name.starts_with(start),
        None => name == *start,
    });
    if let Some((_, why)) = reserved {
        return Err(value.refuse("is reserved", why));
    }
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(
            value.refuse("cannot be the name of a variable", "it is empty or holds = or NUL")
        );
    }
    let text = value.as_text().ok_or_else(|| value.wanted_unseen("a string in quotes"))?;
    if text.contains('\0') {
        return Err(value.refuse("holds a NUL character", "no process can be given one"));
    }
    if name.len() + text.len() + 2 > ENV_ENTRY_BYTES_MAX {
        let message = format!("is longer than {ENV_ENTRY_BYTES_MAX} bytes");
        return Err(value.refuse(message, "the kernel takes no longer ones: use a file"));
    }
    Ok(text)
}

/// The `[tier.NAME]` tables, each read by `read`. Every tier is looked at, also after a bad one.
pub(super) fn tiers<T>(
    top: &Section<'_, '_>,
    keys: &'static [&'static str],
    read: impl Fn(&Section<'_, '_>) -> Read<T>,
) -> Read<BTreeMap<TierName, T>> {
    let Some(node) = top.get("tier") else { return Ok(BTreeMap::new()) };
    let entries = node.entries("tables such as [tier.web]")?;
    if entries.len() > limits::TIERS_MAX {
        let message = format!("{} tiers are more than {}", entries.len(), limits::TIERS_MAX);
        return Err(node.refuse(message, ""));
    }
    let mut tiers = BTreeMap::new();
    let mut refused = None;
    for (name, node) in entries {
        let tier = tier_name(name, &node);
        match (tier, node.section(keys).and_then(|section| read(&section))) {
            (Ok(name), Ok(tier)) => drop(tiers.insert(name, tier)),
            (Err(reported), _) | (_, Err(reported)) => refused = Some(reported),
        }
    }
    refused.map_or(Ok(tiers), Err)
}

pub(super) fn tier_name(text: &str, node: &Node<'_, '_>) -> Read<TierName> {
    text.parse().map_err(|error| node.refuse(format!("{error}"), ""))
}

/// One word of a few, each with its meaning.
pub(super) fn one_of<T: Copy>(node: &Node<'_, '_>, words: &[(&str, T)]) -> Read<T> {
    let list = || words.iter().map(|(word, _)| shown(word)).collect::<Vec<_>>().join(" or ");
    let text = node.as_text().ok_or_else(|| node.wanted(&list()))?;
    let word = words.iter().find(|(word, _)| *word == text);
    word.map(|(_, meaning)| *meaning)
        .ok_or_else(|| node.refuse(format!("{} is not {}", shown(text), list()), ""))
}

/// Two tiers cannot listen on one port; `ports` in the order of the names.
pub(super) fn distinct_ports(
    top: &Section<'_, '_>,
    ports: impl Iterator<Item = (TierName, u16)>,
) -> Read<()> {
    let mut taken: BTreeMap<u16, TierName> = BTreeMap::new();
    let mut refused: Option<Reported> = None;
    for (tier, port) in ports {
        if let Some(other) = taken.get(&port) {
            let message = format!("port {port} is that of tier {other} too");
            refused = Some(tier_port_node(top, &tier).refuse(message, "each tier needs its own"));
        } else {
            taken.insert(port, tier);
        }
    }
    refused.map_or(Ok(()), Err)
}

/// The `port` of a tier, or the nearest thing around it, to complain about.
fn tier_port_node<'r, 'i>(top: &Section<'r, 'i>, tier: &TierName) -> Node<'r, 'i> {
    top.node().find(&["tier", tier.as_str(), "port"])
}
