//! What the host's file says about backups: `backup_store` and `[[backup]]`. Names where secrets
//! are and never holds one. Which instance and which life of the agent a job runs in is not known
//! here: the runtime fills that in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use groundcrew_core::backups::proof::{DumpRules, Level};
use groundcrew_core::backups::schedule::Schedule;
use groundcrew_core::backups::settings::{BackupSettings, Connection, Encryption, Store};
use groundcrew_core::backups::slot::JobName;
use groundcrew_core::backups::zone::Zone;
use groundcrew_core::backups::{JobSettings, Kind, limits};

use super::problem::shown;
use super::reader::{Node, Read, Section};
use super::{SourceUrl, fields};

mod connection;
mod dump;
mod period;
mod retention;
mod together;
mod verify;
mod zone;

/// The keys of `[[backup]]`.
const BACKUP: &[&str] = &[
    "name",
    "kind",
    "database",
    "schedule",
    "timezone",
    "catch_up",
    "spread",
    "stale_after",
    "retention",
    "copy",
    "connection",
    "encryption",
    "dump",
    "verify",
];
const TABLES: [&str; 6] = ["retention", "copy", "connection", "encryption", "dump", "verify"];

/// More spread than that would make a fleet late.
const SPREAD_MAX: Duration = Duration::from_hours(1);
const STALE_AFTER_MAX: Duration = Duration::from_hours(3650 * 24);
/// Letters of an identifier of RDS (API_CreateDBInstance).
const IDENTIFIER_MAX: usize = 63;
/// Letters of a database's name that dumps connect to.
const DATABASE_MAX: usize = 63;

/// Every key of `[[backup]]` and of its tables, with its path.
pub(super) fn keys() -> impl Iterator<Item = String> {
    let plain = BACKUP.iter().filter(|key| !TABLES.contains(key));
    plain
        .map(|key| format!("backup.{key}"))
        .chain(retention::keys())
        .chain(connection::keys("backup.connection", connection::CONNECTION))
        .chain(dump::keys())
        .chain(verify::keys())
}

/// `backup_store` of the host's file.
pub(super) fn store(node: &Node<'_, '_>) -> Read<Store> {
    let wanted = "a bucket and a prefix, such as \"s3://acme-backups/shop\"";
    match node.parse(wanted, str::parse::<SourceUrl>)? {
        SourceUrl::S3 { bucket, prefix } => Ok(Store { bucket, prefix }),
        SourceUrl::Directory { .. } => {
            let hint = "instances come and go, so they need memory that they share: s3://...";
            Err(node.refuse("is on this host alone", hint))
        }
    }
}

/// `[[backup]]` of the host's file.
pub(super) fn backups(top: &Section<'_, '_>) -> Read<Vec<BackupSettings>> {
    let Some(node) = top.get("backup") else { return Ok(Vec::new()) };
    let items = node.items("[[backup]] tables")?;
    if items.len() > limits::JOBS_MAX {
        let message = format!("{} are more than {}", items.len(), limits::JOBS_MAX);
        return Err(node.refuse(message, ""));
    }
    let read: Vec<_> = items.iter().map(backup).collect();
    let backups: Vec<_> = read.into_iter().collect::<Read<_>>()?;
    let mut stored = Ok(());
    if !backups.is_empty() && top.get("backup_store").is_none() {
        let hint = "say where the fleet remembers its backups and keeps its dumps: \
                    backup_store = \"s3://acme-backups/shop\"";
        stored = top.required("backup_store", hint).map(drop);
    }
    let apart = together::check(&items, &backups);
    together::warn(&node, &items, &backups);
    stored.and(apart).map(|()| backups)
}

fn backup(node: &Node<'_, '_>) -> Read<BackupSettings> {
    let section = node.section(BACKUP)?;
    let name = section
        .required("name", "name it, such as name = \"shop-nightly\"")
        .and_then(|node| node.parse("a name, such as \"shop-nightly\"", str::parse::<JobName>));
    let kinds = [
        ("rds-snapshot", Kind::RdsSnapshot),
        ("pg-dump", Kind::PgDump),
        ("mysql-dump", Kind::MysqlDump),
    ];
    let kind = section
        .required("kind", "say how it is made, such as kind = \"rds-snapshot\"")
        .and_then(|node| fields::one_of(&node, &kinds));
    let zone = section.or("timezone", Zone::utc(), zone::zone);
    let schedule = section
        .required("schedule", "say when, such as schedule = \"20 0 * * *\"")
        .and_then(|node| schedule(&node));
    let retention = section.or("retention", retention::usual(), retention::retention);
    // What follows is read by the kind, and without one nothing can be said about it.
    let kind = kind?;
    let database = section
        .required("database", "say which database, such as database = \"shop-production\"")
        .and_then(|node| database(&node, kind));
    let copies = section.or("copy", Vec::new(), |node| retention::copies(node, kind));
    let connection = connection(&section, kind);
    let encryption =
        section.or("encryption", Encryption::None, |node| dump::encryption(node, kind));
    let dump = section.or("dump", DumpRules::default(), |node| dump::rules(node, kind));
    let verify = section.or("verify", verify::Verify::usual(), |node| verify::verify(node, kind));
    let (zone, schedule) = (zone?, schedule?);
    let times = times(&section, &schedule, &zone)?;
    let (copies, encryption, verify) = (copies?, encryption?, verify?);
    let encrypted = kind == Kind::RdsSnapshot || encryption != Encryption::None;
    let job = JobSettings {
        name: name?,
        kind,
        database: database?,
        schedule,
        zone,
        catch_up: times.catch_up,
        spread: times.spread,
        stale_after: times.stale_after,
        retention: retention?,
        copies: copies.iter().map(|copy| copy.settings.clone()).collect(),
        levels: verify.levels,
        encrypted: verify.encrypted.unwrap_or(encrypted),
        dump: dump?,
        instance: String::new(),
        run: String::new(),
    };
    let copy_keys: BTreeMap<_, _> =
        copies.into_iter().filter_map(|copy| Some((copy.settings.region, copy.key?))).collect();
    let settings = BackupSettings {
        job,
        copy_keys,
        connection: connection?,
        encryption,
        proof: verify.settings,
    };
    look(node, &settings);
    Ok(settings)
}

/// What will perhaps not work as meant.
fn look(node: &Node<'_, '_>, settings: &BackupSettings) {
    let job = &settings.job;
    let dumps = job.kind != Kind::RdsSnapshot;
    if dumps && settings.encryption == Encryption::None {
        node.warn(
            "its dumps are not encrypted: whoever reads the bucket reads the database",
            "add [backup.encryption] with age_recipients or kms_key",
        );
    }
    let reads = |level: &Level| matches!(level, Level::L1 | Level::L2);
    let sealed = matches!(settings.encryption, Encryption::Age(_));
    if dumps && sealed && settings.proof.identity_file.is_none() && job.levels.iter().any(reads) {
        node.find(&["verify", "levels"]).warn(
            "L1 and L2 read the dump, and this host has no identity for it: they are not proved \
             here",
            "set verify.identity_file where dumps may be read",
        );
    }
    let sql = settings.proof.assertions.is_empty();
    if sql && job.levels.contains(&Level::L2) && Level::L2.applies_to(job.kind) {
        node.find(&["verify", "levels"]).warn(
            "L2 restores the dump, and nothing is asked of what was restored but its rows",
            "add assertions to [backup.verify]",
        );
    }
    if job.retention.is_empty() {
        node.find(&["retention"]).warn(
            "no keep_... is set, so every backup is kept for ever",
            "set keep_daily and the like in [backup.retention]",
        );
    }
}

fn schedule(node: &Node<'_, '_>) -> Read<Schedule> {
    let wanted = "a schedule, such as \"20 0 * * *\" or \"every 6h\"";
    let text = node.as_text().ok_or_else(|| node.wanted(wanted))?;
    text.parse().map_err(|error| node.refuse(format!("{}: {error}", shown(text)), ""))
}

/// What is counted from a slot.
struct Times {
    catch_up: Duration,
    spread: Duration,
    stale_after: Option<Duration>,
}

fn times(section: &Section<'_, '_>, schedule: &Schedule, zone: &Zone) -> Read<Times> {
    let period = period::shortest(schedule, zone);
    // Just short of it: what comes later belongs to the next slot.
    let longest = period.saturating_sub(Duration::from_secs(1));
    let usual = limits::CATCH_UP_USUAL.min(period / 6 * 5);
    let catch_up =
        section.or("catch_up", usual, |node| fields::duration(node, Duration::ZERO..=longest));
    let spread_max = SPREAD_MAX.min(longest);
    let spread = section.or("spread", limits::SPREAD_USUAL.min(spread_max), |node| {
        fields::duration(node, Duration::ZERO..=spread_max)
    });
    let stale_after = section.optional("stale_after", |node| {
        let stale_after = fields::duration(node, Duration::ZERO..=STALE_AFTER_MAX)?;
        if stale_after < period {
            let between = groundcrew_core::time::text(period);
            let message = format!("is less than the {between} between two slots");
            return Err(node.refuse(message, "every backup would be too old before the next"));
        }
        Ok(stale_after)
    });
    Ok(Times { catch_up: catch_up?, spread: spread?, stale_after: stale_after? })
}

fn database(node: &Node<'_, '_>, kind: Kind) -> Read<String> {
    let text = node.as_text().ok_or_else(|| node.wanted("the name of a database"))?;
    match kind {
        Kind::RdsSnapshot => {
            let usual = |c: char| c.is_ascii_alphanumeric() || c == '-';
            let begins = text.starts_with(|c: char| c.is_ascii_alphabetic());
            let hyphens = text.ends_with('-') || text.contains("--");
            if !begins || hyphens || text.len() > IDENTIFIER_MAX || !text.chars().all(usual) {
                let message = format!("{} is not an identifier of RDS", shown(text));
                let hint = "name the instance or the cluster, such as \"shop-production\"";
                return Err(node.refuse(message, hint));
            }
            // RDS keeps it like that, and answers with it.
            Ok(text.to_ascii_lowercase())
        }
        Kind::PgDump | Kind::MysqlDump => {
            // The clients take a name with = or :// for a connection, and one with - for an option.
            let usual = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '$');
            let option = text.starts_with('-');
            if text.is_empty() || text.len() > DATABASE_MAX || option || !text.chars().all(usual) {
                let message = format!("{} is not the name of a database", shown(text));
                let hint = "the server, the user and the password stand in [backup.connection]";
                return Err(node.refuse(message, hint));
            }
            Ok(text.to_owned())
        }
    }
}

fn connection(section: &Section<'_, '_>, kind: Kind) -> Read<Option<Connection>> {
    if kind == Kind::RdsSnapshot {
        let Some(node) = section.get("connection") else { return Ok(None) };
        return Err(node.refuse("belongs to dumps", "a snapshot is made by RDS alone: remove it"));
    }
    section
        .required("connection", "say how to connect: [backup.connection] with host and user")
        .and_then(|node| connection::connection(&node, kind))
        .map(Some)
}

/// A file of its own for a secret: an absolute path, or the name of a systemd credential.
fn secret_file(node: &Node<'_, '_>) -> Read<String> {
    let wanted = "an absolute path, or the name of a systemd credential";
    let text = node.as_text().ok_or_else(|| node.wanted_unseen(wanted))?;
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let credential = !text.is_empty() && text.chars().all(name) && !text.starts_with('.');
    let path = text.starts_with('/') && !text.contains(['\0', '\n']);
    if (credential || path) && text.len() < 4096 {
        return Ok(text.to_owned());
    }
    // Whoever put the secret itself here must not find it in a log.
    Err(node.refuse(format!("is not {wanted}"), "put the secret into a file of its own"))
}

/// An absolute path that is no secret.
fn path(node: &Node<'_, '_>) -> Read<String> {
    let text = node.as_text().ok_or_else(|| node.wanted("an absolute path"))?;
    if !text.starts_with('/') || text.contains('\0') || text.len() >= 4096 {
        return Err(node.refuse(format!("{} is not an absolute path", shown(text)), ""));
    }
    Ok(text.to_owned())
}

/// Each of them once.
fn distinct<T: Ord + Clone>(items: &[T]) -> bool {
    items.iter().collect::<BTreeSet<_>>().len() == items.len()
}
