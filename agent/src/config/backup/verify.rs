//! How well backups are proved: `[backup.verify]`.

use std::time::Duration;

use groundcrew_core::backups::Kind;
use groundcrew_core::backups::limits::{RESTORE_WITHIN_MAX, RESTORE_WITHIN_USUAL};
use groundcrew_core::backups::proof::Level;
use groundcrew_core::backups::settings::{Assertion, ProofSettings, RestoreSettings};

use super::connection;
use crate::config::fields;
use crate::config::problem::shown;
use crate::config::reader::{Node, Read};

const VERIFY: &[&str] = &[
    "levels",
    "encrypted",
    "identity_file",
    "directory",
    "rows_percent_min",
    "assertions",
    "restore",
];
const ASSERTION: &[&str] = &["name", "sql"];
const RESTORE: &[&str] = &[
    "subnet_group",
    "security_groups",
    "class",
    "parameter_group",
    "within",
    "engine",
    "database",
    "connection",
];

const ASSERTIONS_MAX: usize = 100;
const SQL_BYTES_MAX: usize = 16 * 1024;
const NAME_BYTES_MAX: usize = 100;
const GROUPS_MAX: usize = 16;
/// Estimates of a server are rough, and tables change while they are dumped.
const ROWS_PERCENT_USUAL: u8 = 80;

/// Every key of the table, with its path.
pub(super) fn keys() -> impl Iterator<Item = String> {
    let plain = |key: &String| !key.ends_with(".restore") && !key.ends_with(".connection");
    let assertions = fields::below("backup.verify.assertions", ASSERTION);
    fields::below("backup.verify", VERIFY)
        .filter(|key| key != "backup.verify.assertions")
        .chain(assertions)
        .chain(fields::below("backup.verify.restore", RESTORE))
        .filter(plain)
        .chain(connection::keys("backup.verify.restore.connection", connection::RESTORED))
}

/// `[backup.verify]`.
#[derive(Debug)]
pub(super) struct Verify {
    pub(super) levels: Vec<Level>,
    /// `None`: what is usual for the kind.
    pub(super) encrypted: Option<bool>,
    pub(super) settings: ProofSettings,
    /// How long a restored instance may take until it is available.
    pub(super) restore_within: Duration,
}

impl Verify {
    /// What is proved when nothing is said.
    pub(super) fn usual() -> Self {
        let settings = ProofSettings {
            identity_file: None,
            directory: None,
            rows_percent_min: ROWS_PERCENT_USUAL,
            assertions: Vec::new(),
            restore: None,
        };
        Self {
            levels: vec![Level::L0],
            encrypted: None,
            settings,
            restore_within: RESTORE_WITHIN_USUAL,
        }
    }
}

pub(super) fn verify(node: &Node<'_, '_>, kind: Kind) -> Read<Verify> {
    let section = node.section(VERIFY)?;
    let usual = Verify::usual();
    let levels = section.or("levels", usual.levels, |node| levels(node, kind));
    let encrypted = section.optional("encrypted", Node::boolean);
    let identity_file = section.optional("identity_file", super::secret_file);
    let directory = section.optional("directory", super::path);
    let rows = section
        .or("rows_percent_min", usual.settings.rows_percent_min, |node| node.number(0..=100));
    let assertions = section.or("assertions", Vec::new(), assertions);
    let restore = section.optional("restore", |node| restore(node, kind));
    let (levels, restore) = (levels?, restore?);
    let (restore, restore_within) = restore.unzip();
    let restores = levels.contains(&Level::L3) && Level::L3.applies_to(kind);
    if restores && restore.is_none() {
        let hint = "say where to in [backup.verify.restore]: subnet_group, security_groups, class";
        return Err(node.find(&["levels"]).refuse("L3 restores a snapshot", hint));
    }
    let assertions = assertions?;
    let silent = restore.as_ref().is_some_and(|restore| restore.connection.is_none());
    if restores && silent && !assertions.is_empty() {
        let hint = "say who asks the assertions in [backup.verify.restore.connection]";
        return Err(node.find(&["restore"]).refuse("has no connection", hint));
    }
    let settings = ProofSettings {
        identity_file: identity_file?,
        directory: directory?,
        rows_percent_min: rows?,
        assertions,
        restore,
    };
    let restore_within = restore_within.unwrap_or(usual.restore_within);
    Ok(Verify { levels, encrypted: encrypted?, settings, restore_within })
}

fn levels(node: &Node<'_, '_>, kind: Kind) -> Read<Vec<Level>> {
    let items = node.items("an array of levels, such as [\"L0\", \"L1\"]")?;
    let read: Vec<_> =
        items.iter().map(|item| item.parse("a level, such as \"L1\"", str::parse)).collect();
    let levels: Vec<Level> = read.into_iter().collect::<Read<_>>()?;
    if !super::distinct(&levels) {
        return Err(node.refuse("names a level twice", ""));
    }
    let (made, proved) = match kind {
        Kind::RdsSnapshot => ("snapshots", "L0 and L3"),
        Kind::PgDump => ("dumps", "L0, L1 and L2"),
        Kind::MysqlDump => ("dumps of MySQL", "L0 and L1"),
    };
    for (level, item) in levels.iter().zip(&items) {
        if !level.applies_to(kind) {
            let message = format!("{level} is not proved of {made}");
            item.warn(message, &format!("{made} are proved at {proved}"));
        }
    }
    Ok(levels)
}

fn assertions(node: &Node<'_, '_>) -> Read<Vec<Assertion>> {
    let items = node.items("an array of tables, each with name and sql")?;
    if items.len() > ASSERTIONS_MAX {
        let message = format!("{} are more than {ASSERTIONS_MAX}", items.len());
        return Err(node.refuse(message, ""));
    }
    let read: Vec<_> = items.iter().map(assertion).collect();
    read.into_iter().collect()
}

fn assertion(node: &Node<'_, '_>) -> Read<Assertion> {
    let section = node.section(ASSERTION)?;
    let text = |key, hint: &str, bytes_max: usize| {
        section.required(key, hint).and_then(|node| {
            let text = node.as_text().ok_or_else(|| node.wanted("a text in quotes"))?;
            let text = text.trim();
            if text.is_empty() || text.len() > bytes_max || text.contains('\0') {
                let message = format!("is empty or has more than {bytes_max} bytes");
                return Err(node.refuse(message, ""));
            }
            Ok(text.to_owned())
        })
    };
    let name = text("name", "say what people are told when it does not hold", NAME_BYTES_MAX);
    let sql = text(
        "sql",
        "write a statement whose first column must be true, such as \"SELECT count(*) > 0 ...\"",
        SQL_BYTES_MAX,
    );
    Ok(Assertion { name: name?, sql: sql? })
}

/// Where to, and how long that may take.
fn restore(node: &Node<'_, '_>, kind: Kind) -> Read<(RestoreSettings, Duration)> {
    if kind != Kind::RdsSnapshot {
        let hint = "L3 restores snapshots; dumps are restored on this host, by L2";
        return Err(node.refuse("belongs to snapshots", hint));
    }
    let section = node.section(RESTORE)?;
    let subnet_group = section
        .required("subnet_group", "name a DB subnet group that nothing of the application is in")
        .and_then(|node| word(&node));
    let security_groups = section
        .required("security_groups", "name those that let this fleet in, and nobody else")
        .and_then(|node| security_groups(&node));
    let class = section
        .required("class", "say how large, such as class = \"db.t4g.medium\"")
        .and_then(|node| class(&node));
    let parameter_group = section.optional("parameter_group", word);
    // What is restored lives no longer than its tag says, proof and deletion included.
    let within = section.or("within", RESTORE_WITHIN_USUAL, |node| {
        fields::duration(node, Duration::from_mins(10)..=RESTORE_WITHIN_MAX)
    });
    let engines = [("postgres", Kind::PgDump), ("mysql", Kind::MysqlDump)];
    let engine = section.or("engine", Kind::PgDump, |node| fields::one_of(node, &engines));
    let database = section.optional("database", |node| super::database(node, Kind::PgDump));
    let connection = section.optional("connection", connection::restored);
    let speaks = engine?;
    // What every server has, for assertions that name a schema of their own.
    let usual = if speaks == Kind::MysqlDump { "mysql" } else { "postgres" };
    let settings = RestoreSettings {
        subnet_group: subnet_group?,
        security_groups: security_groups?,
        class: class?,
        parameter_group: parameter_group?,
        connection: connection?,
        database: database?.unwrap_or_else(|| usual.to_owned()),
        speaks,
    };
    Ok((settings, within?))
}

fn security_groups(node: &Node<'_, '_>) -> Read<Vec<String>> {
    let wanted = "an array of security groups, such as [\"sg-0123456789abcdef0\"]";
    let items = node.items(wanted)?;
    if items.is_empty() || items.len() > GROUPS_MAX {
        let message = format!("names {} groups, wanted 1 to {GROUPS_MAX}", items.len());
        return Err(node.refuse(message, "without one RDS takes the default group of the VPC"));
    }
    let one = |item: &Node<'_, '_>| {
        let text = item.as_text().ok_or_else(|| item.wanted("the id of a security group"))?;
        let id = text.strip_prefix("sg-").filter(|id| !id.is_empty() && id.len() <= 32);
        if id.is_some_and(|id| id.bytes().all(|byte| byte.is_ascii_alphanumeric())) {
            return Ok(text.to_owned());
        }
        Err(item.refuse(format!("{} is not the id of a security group", shown(text)), ""))
    };
    let read: Vec<_> = items.iter().map(one).collect();
    read.into_iter().collect()
}

fn class(node: &Node<'_, '_>) -> Read<String> {
    let text = node.as_text().ok_or_else(|| node.wanted("a class, such as \"db.t4g.medium\""))?;
    let usual = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-');
    if !text.starts_with("db.") || text.len() > 64 || !text.chars().all(usual) {
        let message = format!("{} is not a class of instances", shown(text));
        return Err(node.refuse(message, "write it like \"db.t4g.medium\""));
    }
    Ok(text.to_owned())
}

/// The name of a group of RDS.
fn word(node: &Node<'_, '_>) -> Read<String> {
    let text = node.as_text().ok_or_else(|| node.wanted("a name"))?;
    let usual = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ' ');
    if text.is_empty() || text.len() > 255 || !text.chars().all(usual) {
        return Err(node.refuse(format!("{} is not the name of a group", shown(text)), ""));
    }
    Ok(text.to_owned())
}
