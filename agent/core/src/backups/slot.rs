//! Slots and the names that follow from them. A slot is the *nominal* time of a schedule, never the
//! time the code runs, so that all instances give the same backup the same name: RDS has no other
//! key that would keep it from being made twice.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::civil::DateTime;
use super::limits::{
    ATTEMPTS_MAX, CLUSTER_SNAPSHOT_ID_MAX, INSTANCE_ID_MAX, JOB_NAME_MAX, MULTI_AZ_CLUSTER_ID_MAX,
};
use super::zone::Zone;
use crate::time::Wall;

/// One due time of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Slot {
    /// What the clock in the job's zone shows, if it shows it.
    pub nominal: DateTime,
    /// When that is, in seconds since 1970-01-01 UTC.
    pub at_s: i64,
    /// The schedule has one slot a day at most, so the date names it.
    pub daily: bool,
}

impl Slot {
    /// That of a backup which somebody asks for at `wall`: named by its minute, as one of several
    /// a day.
    #[must_use]
    pub fn by_hand(zone: &Zone, wall: Wall) -> Self {
        let at_s = wall.0.div_euclid(60_000) * 60;
        Self { nominal: zone.local(at_s), at_s, daily: false }
    }

    /// When it is, in milliseconds since 1970-01-01 UTC.
    #[must_use]
    pub const fn at_ms(self) -> i64 {
        self.at_s.saturating_mul(1000)
    }

    /// When it is, as RFC 3339 in UTC: the value of the tag `groundcrew:slot`.
    #[must_use]
    pub fn rfc3339(self) -> String {
        format!("{}:{:02}Z", DateTime::from_seconds(self.at_s), self.at_s.rem_euclid(60))
    }
}

/// `20261121`, or `20261121t0020` when the schedule has several a day. Never an offset: what the
/// clocks show twice is one slot.
impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DateTime { date, minute } = self.nominal;
        write!(f, "{:04}{:02}{:02}", date.year, date.month, date.day)?;
        if self.daily { Ok(()) } else { write!(f, "t{:02}{:02}", minute / 60, minute % 60) }
    }
}

/// A job's name: what RDS takes in an identifier, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobName(String);

/// A name that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("backup name {value:?} {why}")]
pub struct JobNameError {
    value: String,
    why: &'static str,
}

impl JobName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for JobName {
    type Err = JobNameError;

    fn from_str(text: &str) -> Result<Self, JobNameError> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let why = if text.len() > JOB_NAME_MAX {
            "has more than 32 letters"
        } else if !text.starts_with(|c: char| c.is_ascii_lowercase()) {
            "must begin with a letter from a to z"
        } else if !text.chars().all(allowed) {
            "may hold only a to z, digits and hyphens"
        } else if text.ends_with('-') || text.contains("--") {
            "must not end with a hyphen, nor hold two in a row"
        } else {
            return Ok(Self(text.to_owned()));
        };
        Err(JobNameError { value: text.chars().take(80).collect(), why })
    }
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Serialize for JobName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for JobName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What is between a database's name cut short and its print.
const PRINT_LETTERS: usize = 8;
/// Room for `-r3`, whether or not it is used: all attempts of a slot cut the same.
const ATTEMPT_LETTERS: usize = 3;
const SLOT_LETTERS: usize = "-20261121t0020".len();
const PREFIX: &str = "gc-";
/// What an instance restored for proof is named by, and what the policy of its deletion names.
pub const SCRATCH_PREFIX: &str = "gc-verify-";
/// Letters of a job's name in that of what is restored for proof: the rest is in the print.
const SCRATCH_JOB_LETTERS: usize =
    MULTI_AZ_CLUSTER_ID_MAX - SCRATCH_PREFIX.len() - 1 - PRINT_LETTERS - SLOT_LETTERS;

const _: () = assert!(ATTEMPTS_MAX <= 10, "an attempt is one digit");
// The longest job's name leaves a letter of the database's, a hyphen and the print.
const _: () = assert!(
    MULTI_AZ_CLUSTER_ID_MAX <= INSTANCE_ID_MAX
        && PREFIX.len() + JOB_NAME_MAX + 1 + 2 + PRINT_LETTERS + SLOT_LETTERS + ATTEMPT_LETTERS
            <= CLUSTER_SNAPSHOT_ID_MAX
);

/// The identifier of a slot's snapshot: `gc-JOB-DATABASE-SLOT`, and `-r1` and so on after it when
/// the one before failed. `len_max` is RDS's: 255 for instances, 63 for clusters. What does not fit
/// is cut from the database's part and replaced by a print of all of it, never from the slot's.
#[must_use]
pub fn snapshot_id(
    job: &JobName,
    database: &str,
    slot: Slot,
    attempt: u8,
    len_max: usize,
) -> String {
    let plain = normal(database);
    let around = PREFIX.len() + job.0.len() + 1 + SLOT_LETTERS + ATTEMPT_LETTERS;
    let room = len_max.saturating_sub(around);
    // A name that had to be changed might now be another database's.
    let fits = !plain.is_empty() && plain.len() <= room && plain == database.to_ascii_lowercase();
    let database = if fits {
        plain
    } else {
        let cut: String = plain.chars().take(room.saturating_sub(PRINT_LETTERS + 1)).collect();
        let print = print(database.to_ascii_lowercase().as_bytes()) & u64::from(u32::MAX);
        format!("{}-{print:08x}", cut.trim_end_matches('-'))
    };
    let suffix = if attempt == 0 { String::new() } else { format!("-r{attempt}") };
    format!("{PREFIX}{job}-{}-{slot}{suffix}", database.trim_start_matches('-'))
}

/// The identifier of the instance that a slot's snapshot is restored to for proof:
/// `gc-verify-JOB-PRINT-SLOT`, with a job's name cut to what a Multi-AZ cluster's name leaves.
#[must_use]
pub fn scratch_id(job: &JobName, database: &str, snapshot: &str, slot: Slot) -> String {
    format!("{}{slot}", scratch_stem(job, database, snapshot))
}

/// How the identifiers begin of what is restored of a job's snapshot for proof. Two fleets of one
/// account may have a job of the same name, and neither may prove or delete what is the other's:
/// the print is of the job, its database and the snapshot.
#[must_use]
pub fn scratch_stem(job: &JobName, database: &str, snapshot: &str) -> String {
    let of = format!("{job}/{}/{snapshot}", database.to_ascii_lowercase());
    let print = print(of.as_bytes()) & u64::from(u32::MAX);
    let cut: String = job.0.chars().take(SCRATCH_JOB_LETTERS).collect();
    format!("{SCRATCH_PREFIX}{}-{print:08x}-", cut.trim_end_matches('-'))
}

/// Letters, digits and single hyphens, in lower case.
fn normal(text: &str) -> String {
    let mut normal = String::with_capacity(text.len());
    for c in text.chars() {
        let c = if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        if c != '-' || !normal.ends_with('-') {
            normal.push(c);
        }
    }
    normal.trim_matches('-').to_owned()
}

/// FNV-1a, mixed: the same on every host and in every version, and no secret.
#[must_use]
pub(super) fn print(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::limits::INSTANCE_SNAPSHOT_ID_MAX;
    use super::*;

    fn slot(nominal: &str, daily: bool) -> Slot {
        let nominal: DateTime = nominal.parse().unwrap();
        Slot { nominal, at_s: nominal.seconds(), daily }
    }

    #[test]
    fn names_are_those_that_people_and_policies_know() {
        let job: JobName = "shop-nightly".parse().unwrap();
        let daily = slot("2026-11-21T00:20", true);
        let id = |database, slot, attempt| snapshot_id(&job, database, slot, attempt, 63);
        assert_eq!(id("Shop-DB", daily, 0), "gc-shop-nightly-shop-db-20261121");
        assert_eq!(id("shop-db", daily, 2), "gc-shop-nightly-shop-db-20261121-r2");
        let hourly = slot("2026-11-21T13:00", false);
        assert_eq!(id("shop-db", hourly, 0), "gc-shop-nightly-shop-db-20261121t1300");
        let scratch = |database| scratch_id(&job, database, "gc-shop-a", hourly);
        assert_eq!(scratch("shop-db"), "gc-verify-shop-nightly-82550634-20261121t1300");
        assert_eq!(scratch("Shop-DB"), scratch("shop-db"));
        // A fleet of the same account, with a job of the same name.
        assert_ne!(scratch("staging-db"), scratch("shop-db"));
        let long = |name: &str| scratch_id(&name.parse().unwrap(), "shop-db", "gc-a", hourly);
        let (one, other) = (long("a-name-that-is-cut-here-a"), long("a-name-that-is-cut-here-b"));
        assert_ne!(one, other, "what is cut is in the print");
        assert_eq!(daily.rfc3339(), "2026-11-21T00:20:00Z");
    }

    #[test]
    fn names_that_rds_would_refuse_are_refused() {
        for bad in ["", "1a", "-a", "a-", "a--b", "Shop", "shop_db", "ä", &"a".repeat(33)] {
            assert!(bad.parse::<JobName>().is_err(), "{bad}");
        }
        assert!("a".repeat(32).parse::<JobName>().is_ok());
    }

    fn is_identifier(id: &str, len_max: usize) -> bool {
        id.len() <= len_max
            && id.starts_with(|c: char| c.is_ascii_lowercase())
            && id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            && !id.ends_with('-')
            && !id.contains("--")
    }

    proptest! {
        #[test]
        fn every_identifier_is_one_that_rds_takes(
            job in "[a-z][a-z0-9]{0,31}",
            database in "\\PC{0,80}",
            other in "[a-z][a-z0-9-]{0,62}",
            daily: bool,
            attempt in 0..ATTEMPTS_MAX,
        ) {
            let job: JobName = job.parse().unwrap();
            let slot = slot("2026-11-21T13:00", daily);
            for len_max in [CLUSTER_SNAPSHOT_ID_MAX, INSTANCE_SNAPSHOT_ID_MAX] {
                let id = snapshot_id(&job, &database, slot, attempt, len_max);
                prop_assert!(is_identifier(&id, len_max), "{}", id);
                prop_assert!(id.contains(&slot.to_string()));
                let differs = database.to_ascii_lowercase() != other;
                let other = snapshot_id(&job, &other, slot, attempt, len_max);
                prop_assert_eq!(id != other, differs);
            }
            let scratch = scratch_id(&job, &database, &other, slot);
            prop_assert!(is_identifier(&scratch, 52), "{}", scratch);
        }
    }
}
