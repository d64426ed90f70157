//! How well a backup is proved. A backup is good only at the level that was proved, and each level
//! is a record of its own.
//!
//! - L0: what RDS and KMS say about a snapshot is as it should be; of a dump, its manifest.
//! - L1: a dump was fetched, decrypted, compared with its manifest and read to its end.
//! - L2: a dump was restored to a scratch server on the host, and the assertions hold.
//! - L3: a snapshot was restored to an isolated instance, and the assertions hold.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Kind;
use super::backup::{Backup, BackupState, reason};

/// How well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Level {
    /// It is there, and as it should be.
    L0,
    /// It can be read.
    L1,
    /// It can be restored here.
    L2,
    /// It can be restored by RDS.
    L3,
}

/// A word that is no level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no level; there are L0, L1, L2, L3")]
pub struct LevelError(String);

impl Level {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::L0, Self::L1, Self::L2, Self::L3];

    /// Whether a backup of this kind can be proved at the level. What cannot is not done, and
    /// `check` says so.
    #[must_use]
    pub const fn applies_to(self, kind: Kind) -> bool {
        match (self, kind) {
            (Self::L0, Kind::RdsSnapshot | Kind::PgDump | Kind::MysqlDump)
            | (Self::L1, Kind::PgDump | Kind::MysqlDump)
            | (Self::L2, Kind::PgDump)
            | (Self::L3, Kind::RdsSnapshot) => true,
            (Self::L1 | Self::L2, Kind::RdsSnapshot)
            | (Self::L2, Kind::MysqlDump)
            | (Self::L3, Kind::PgDump | Kind::MysqlDump) => false,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::L0 => "L0",
            Self::L1 => "L1",
            Self::L2 => "L2",
            Self::L3 => "L3",
        })
    }
}

impl FromStr for Level {
    type Err = LevelError;

    fn from_str(text: &str) -> Result<Self, LevelError> {
        let level = Self::ALL.into_iter().find(|level| level.to_string() == text);
        level.ok_or_else(|| LevelError(text.chars().take(40).collect()))
    }
}

/// What L0 asks about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The backup itself; `None`: it is not there.
    pub backup: Option<Backup>,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// The state of its KMS key, such as `Enabled`; `None`: it has none.
    pub key_state: Option<String>,
    /// Its copies, by region; `None`: there is none.
    pub copies: Vec<(String, Option<Copied>)>,
}

/// A copy, as L0 sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// The copy.
    pub backup: Backup,
    /// Whether it is encrypted.
    pub encrypted: bool,
}

/// What is wrong at L0, as clauses; nothing: it is proved. `encrypted` is whether it has to be.
#[must_use]
pub fn inspect(inspection: &Inspection, encrypted: bool) -> Vec<String> {
    let mut findings = Vec::new();
    let one = |backup: Option<&Backup>, what: &str, findings: &mut Vec<String>| {
        let Some(backup) = backup else {
            findings.push(format!("{what} is not there"));
            return;
        };
        match &backup.state {
            BackupState::Available => {}
            BackupState::Underway => findings.push(format!("{what} is not available")),
            BackupState::Deleting => findings.push(format!("{what} is being deleted")),
            BackupState::Failed(word) => findings.push(format!("{what} is {word}")),
        }
        if backup.marks.is_none() {
            findings.push(format!("{what} has lost its tags, and retention does not see it"));
        }
        if backup.bytes == Some(0) {
            findings.push(format!("{what} is empty"));
        }
    };
    one(inspection.backup.as_ref(), "it", &mut findings);
    if encrypted && !inspection.encrypted {
        findings.push("it is not encrypted".to_owned());
    }
    match inspection.key_state.as_deref() {
        None | Some("Enabled") => {}
        Some(state) => findings.push(format!("its KMS key is {}", reason(state))),
    }
    for (region, copy) in &inspection.copies {
        let what = format!("the copy in {region}");
        one(copy.as_ref().map(|copy| &copy.backup), &what, &mut findings);
        if encrypted && copy.as_ref().is_some_and(|copy| !copy.encrypted) {
            findings.push(format!("{what} is not encrypted"));
        }
    }
    findings
}

/// What a dump has to be before it is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DumpRules {
    /// A dump of less is none: an empty one has a header, too.
    pub bytes_min: u64,
    /// By how much it may be smaller than the one before, in percent.
    pub shrink_percent_max: u8,
}

impl Default for DumpRules {
    fn default() -> Self {
        Self { bytes_min: 1024, shrink_percent_max: 50 }
    }
}

/// How a dump ended. It is uploaded and not committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DumpFacts {
    /// The exit code of the client; `None`: a signal ended it.
    pub exit_code: Option<i32>,
    /// What it printed that is an error by the rules of its kind, cut.
    pub complaint: Option<String>,
    /// What it wrote, before compression.
    pub bytes: u64,
    /// What is stored.
    pub stored_bytes: u64,
    /// Its own mark of the end was seen.
    pub trailer: bool,
    /// [`DumpFacts::bytes`] of the newest dump before it, if there is one.
    pub previous_bytes: Option<u64>,
}

/// Why a dump must not be committed, as clauses; nothing: it may.
#[must_use]
pub fn judge(facts: &DumpFacts, rules: &DumpRules) -> Vec<String> {
    let mut findings = Vec::new();
    match facts.exit_code {
        Some(0) => {}
        Some(code) => findings.push(format!("the client ended with code {code}")),
        None => findings.push("the client was killed".to_owned()),
    }
    if let Some(complaint) = &facts.complaint {
        findings.push(format!("the client said: {}", reason(complaint)));
    }
    if !facts.trailer {
        findings.push("the end of the dump is missing".to_owned());
    }
    if facts.bytes < rules.bytes_min {
        findings.push(format!("it has {} bytes, less than {}", facts.bytes, rules.bytes_min));
    }
    let kept_percent = u128::from(100_u8.saturating_sub(rules.shrink_percent_max));
    if let Some(previous) = facts.previous_bytes
        && u128::from(facts.bytes) * 100 < u128::from(previous) * kept_percent
    {
        let rule = rules.shrink_percent_max;
        findings.push(format!(
            "it has {} bytes, and the one before {previous}: more than {rule} % less",
            facts.bytes
        ));
    }
    findings
}

/// The status of a cluster that is available and has no instance: RDS makes none when it restores
/// one of Aurora, so the restore is asked for again.
pub const EMPTY: &str = "empty";

/// An instance that was restored for proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scratch {
    /// Its identifier.
    pub id: String,
    /// Its status, in RDS's word; of a cluster, that of its instances once it is available, or
    /// [`EMPTY`].
    pub status: String,
    /// Until when it may live, by its tag, in seconds since 1970-01-01 UTC; `None`: the tag cannot
    /// be read.
    pub until_s: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> DumpFacts {
        DumpFacts {
            exit_code: Some(0),
            complaint: None,
            bytes: 10_000,
            stored_bytes: 2000,
            trailer: true,
            previous_bytes: Some(12_000),
        }
    }

    #[test]
    fn only_a_dump_that_ended_well_is_committed() {
        let check = |facts: DumpFacts, findings: &[&str]| {
            assert_eq!(judge(&facts, &DumpRules::default()), findings);
        };
        check(good(), &[]);
        check(DumpFacts { previous_bytes: None, ..good() }, &[]);
        check(DumpFacts { previous_bytes: Some(20_000), ..good() }, &[]);
        let shrunk = "it has 10000 bytes, and the one before 20001: more than 50 % less";
        check(DumpFacts { previous_bytes: Some(20_001), ..good() }, &[shrunk]);
        check(DumpFacts { exit_code: None, ..good() }, &["the client was killed"]);
        check(DumpFacts { exit_code: Some(1), ..good() }, &["the client ended with code 1"]);
        check(DumpFacts { trailer: false, ..good() }, &["the end of the dump is missing"]);
        let mismatch = "aborting because of server version mismatch".to_owned();
        let said = format!("the client said: {mismatch}");
        check(DumpFacts { complaint: Some(mismatch), ..good() }, &[&said]);
        // What `pg_dump | gzip` leaves of a database that does not exist.
        let empty = DumpFacts { bytes: 20, previous_bytes: None, ..good() };
        check(empty, &["it has 20 bytes, less than 1024"]);
    }

    #[test]
    fn levels_are_read_as_written() {
        for level in Level::ALL {
            assert_eq!(level.to_string().parse(), Ok(level));
        }
        assert!("l0".parse::<Level>().is_err());
        assert!(Level::L2.applies_to(Kind::PgDump) && !Level::L2.applies_to(Kind::RdsSnapshot));
        assert!(!Level::L2.applies_to(Kind::MysqlDump), "there is no scratch server of MySQL");
        assert!(Level::L3.applies_to(Kind::RdsSnapshot) && !Level::L3.applies_to(Kind::PgDump));
    }

    #[test]
    fn what_is_wrong_with_a_snapshot_is_found() {
        let job = "shop".parse().unwrap();
        let nominal: super::super::civil::DateTime = "2026-11-21T00:20".parse().unwrap();
        let slot = super::super::slot::Slot { nominal, at_s: nominal.seconds(), daily: true };
        let tags = super::super::backup::tags(&job, slot, 0, "i-1", false);
        let backup = Backup {
            id: "gc-a".into(),
            arn: String::new(),
            state: BackupState::Available,
            marks: super::super::backup::Marks::of(&tags),
            resource: "db-A".into(),
            created_s: None,
            bytes: Some(5),
        };
        let copied = |encrypted| Some(Copied { backup: backup.clone(), encrypted });
        let copies = vec![("eu-west-1".to_owned(), copied(true))];
        let key_state = Some("Enabled".to_owned());
        let good = Inspection { backup: Some(backup.clone()), encrypted: true, key_state, copies };
        assert_eq!(inspect(&good, true), Vec::<String>::new());
        let bad = Inspection {
            backup: Some(Backup {
                marks: None,
                bytes: Some(0),
                state: BackupState::Failed("incompatible-restore".into()),
                ..backup.clone()
            }),
            encrypted: false,
            key_state: Some("PendingDeletion".into()),
            copies: vec![("eu-west-1".into(), None), ("eu-west-2".into(), copied(false))],
        };
        assert_eq!(
            inspect(&bad, true),
            [
                "it is incompatible-restore",
                "it has lost its tags, and retention does not see it",
                "it is empty",
                "it is not encrypted",
                "its KMS key is PendingDeletion",
                "the copy in eu-west-1 is not there",
                "the copy in eu-west-2 is not encrypted",
            ]
        );
    }
}
