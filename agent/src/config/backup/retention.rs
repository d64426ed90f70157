//! What is kept, where the database is and in other regions: `[backup.retention]` and
//! `[[backup.copy]]`.

use std::time::Duration;

use groundcrew_core::backups::retention::Policy;
use groundcrew_core::backups::{CopySettings, Kind, limits};

use crate::config::fields;
use crate::config::problem::shown;
use crate::config::reader::{Node, Read, Section};

const RETENTION: &[&str] = &[
    "keep_last",
    "keep_daily",
    "keep_weekly",
    "keep_monthly",
    "keep_yearly",
    "keep_within",
    "min_keep",
    "max_delete_per_pass",
];
const COPY: &[&str] = &[
    "region",
    "kms_key",
    "within",
    "in_flight_max",
    "keep_last",
    "keep_daily",
    "keep_weekly",
    "keep_monthly",
    "keep_yearly",
    "keep_within",
    "min_keep",
    "max_delete_per_pass",
];

/// More than there is room for anywhere.
const KEEP_MAX: u32 = 10_000;
const KEEP_WITHIN_MAX: Duration = Duration::from_hours(3650 * 24);
const DELETE_MAX: u32 = 1000;
/// A copy that did not begin within a week is of no use.
const WITHIN_MAX: Duration = Duration::from_hours(7 * 24);
/// What a region has ever taken at once.
const IN_FLIGHT_MAX: usize = 20;
/// Bytes of a key's name (API_CopyDBSnapshot).
const KEY_BYTES_MAX: usize = 2048;

/// Every key of both tables, with its path.
pub(super) fn keys() -> impl Iterator<Item = String> {
    fields::below("backup.retention", RETENTION).chain(fields::below("backup.copy", COPY))
}

/// `[[backup.copy]]`, with what only the call needs.
#[derive(Debug)]
pub(super) struct Copy {
    pub(super) settings: CopySettings,
    /// The KMS key there.
    pub(super) key: Option<String>,
}

/// What is kept when nothing is said: everything.
pub(super) fn usual() -> Policy {
    Policy::default()
}

/// `[backup.retention]`.
pub(super) fn retention(node: &Node<'_, '_>) -> Read<Policy> {
    policy(&node.section(RETENTION)?)
}

fn policy(section: &Section<'_, '_>) -> Read<Policy> {
    let usual = usual();
    let keep = |key| section.or(key, 0, |node| node.number(0..=KEEP_MAX));
    let (last, daily, weekly) = (keep("keep_last"), keep("keep_daily"), keep("keep_weekly"));
    let (monthly, yearly) = (keep("keep_monthly"), keep("keep_yearly"));
    let within = section.or("keep_within", usual.keep_within, |node| {
        fields::duration(node, Duration::ZERO..=KEEP_WITHIN_MAX)
    });
    let min_keep = section.or("min_keep", usual.min_keep, |node| node.number(1..=KEEP_MAX));
    let most = section
        .or("max_delete_per_pass", usual.max_delete_per_pass, |node| node.number(1..=DELETE_MAX));
    Ok(Policy {
        keep_last: last?,
        keep_daily: daily?,
        keep_weekly: weekly?,
        keep_monthly: monthly?,
        keep_yearly: yearly?,
        keep_within: within?,
        min_keep: min_keep?,
        max_delete_per_pass: most?,
    })
}

/// `[[backup.copy]]` of one job.
pub(super) fn copies(node: &Node<'_, '_>, kind: Kind) -> Read<Vec<Copy>> {
    if kind != Kind::RdsSnapshot {
        let hint = "replicate the bucket instead (S3 Cross-Region Replication)";
        return Err(node.refuse("only snapshots are copied to other regions", hint));
    }
    let items = node.items("[[backup.copy]] tables")?;
    if items.len() > limits::COPIES_MAX {
        let message = format!("{} are more than {}", items.len(), limits::COPIES_MAX);
        return Err(node.refuse(message, ""));
    }
    let read: Vec<_> = items.iter().map(copy).collect();
    let copies: Vec<_> = read.into_iter().collect::<Read<_>>()?;
    let regions: Vec<_> = copies.iter().map(|copy| &copy.settings.region).collect();
    if !super::distinct(&regions) {
        let message = "two of them are to the same region";
        return Err(node.refuse(message, "one copy of a snapshot in a region is enough"));
    }
    Ok(copies)
}

fn copy(node: &Node<'_, '_>) -> Read<Copy> {
    let section = node.section(COPY)?;
    let region = section
        .required("region", "say where to, such as region = \"eu-west-1\"")
        .and_then(|node| region(&node));
    let key = section.optional("kms_key", key);
    let within = section.or("within", limits::COPY_WITHIN_USUAL, |node| {
        fields::duration(node, Duration::from_mins(1)..=WITHIN_MAX)
    });
    let in_flight = section
        .or("in_flight_max", limits::COPIES_IN_FLIGHT_USUAL, |node| node.number(1..=IN_FLIGHT_MAX));
    let retention = policy(&section);
    let (region, key) = (region?, key?);
    let elsewhere = key.as_deref().and_then(region_of).filter(|known| *known != region);
    if let Some(known) = elsewhere {
        let message = format!("is a key of {known}, and the copy is in {region}");
        return Err(node.find(&["kms_key"]).refuse(message, "name a key of that region"));
    }
    let retention = retention?;
    if retention.is_empty() {
        node.warn(
            "no keep_... is set, so every copy is kept for ever",
            "set keep_daily and the like in [[backup.copy]]",
        );
    }
    let (within, in_flight_max) = (within?, in_flight?);
    Ok(Copy { settings: CopySettings { region, retention, within, in_flight_max }, key })
}

/// `eu-west-1`, `us-gov-east-1`: two letters, words, a number.
fn region(node: &Node<'_, '_>) -> Read<String> {
    let text = node.as_text().ok_or_else(|| node.wanted("a region, such as \"eu-west-1\""))?;
    let parts: Vec<_> = text.split('-').collect();
    let letters = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase());
    let number = |part: &&str| {
        (1..=2).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    let is_region = matches!(parts.as_slice(), [first, words @ .., last]
        if first.len() == 2 && letters(first) && !words.is_empty() && number(last)
            && words.iter().all(letters));
    if !is_region || text.len() > 32 {
        let message = format!("{} is not a region of AWS", shown(text));
        return Err(node.refuse(message, "write it like \"eu-west-1\""));
    }
    Ok(text.to_owned())
}

/// The name of a KMS key: its ARN, its id, or an alias.
pub(super) fn key(node: &Node<'_, '_>) -> Read<String> {
    let text = node.as_text().ok_or_else(|| node.wanted("a KMS key, such as \"alias/backups\""))?;
    let usual = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '/' | '-' | '_');
    let named = text.starts_with("alias/") || text.starts_with("arn:") || text.len() == 36;
    let key = named && text.len() <= KEY_BYTES_MAX && text.chars().all(usual);
    let multi = text.starts_with("mrk-") && text.chars().all(usual) && text.len() < 64;
    if key || multi {
        return Ok(text.to_owned());
    }
    let message = format!("{} is not the name of a KMS key", shown(text));
    Err(node.refuse(message, "write its ARN, its id, or an alias such as \"alias/backups\""))
}

/// The region in an ARN.
fn region_of(key: &str) -> Option<&str> {
    key.strip_prefix("arn:")?.split(':').nth(2)
}
