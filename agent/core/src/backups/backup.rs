//! A backup as RDS or the bucket shows it, and the tags that say whose it is.

use serde::{Deserialize, Serialize};

use super::civil::DateTime;
use super::limits::{REASON_MAX, TAGS_MAX};
use super::slot::{JobName, Slot};

/// One snapshot, or one dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// The snapshot's identifier; of a dump, its slot as in the key.
    pub id: String,
    /// How to name it elsewhere: the snapshot's ARN, the manifest's `s3://` URL.
    pub arn: String,
    /// How far it is.
    pub state: BackupState,
    /// What its tags say; `None`: it is not groundcrew's.
    pub marks: Option<Marks>,
    /// The database it is of (`DbiResourceId`, `DbClusterResourceId`; of a dump, the system's
    /// identifier from its manifest): another database of the same name has another one.
    pub resource: String,
    /// When it was made (`OriginalSnapshotCreateTime`), in seconds since 1970-01-01 UTC.
    pub created_s: Option<i64>,
    /// How much it holds, if that is told.
    pub bytes: Option<u64>,
}

/// How far a backup is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackupState {
    /// It is being made or copied, or the word is not known.
    Underway,
    /// It can be restored, as far as RDS says.
    Available,
    /// It goes.
    Deleting,
    /// It will never be available: RDS's word.
    Failed(String),
}

impl BackupState {
    /// What RDS's word for the status of a snapshot means.
    #[must_use]
    pub fn of(status: &str) -> Self {
        match status {
            "available" => Self::Available,
            "deleting" | "deleted" => Self::Deleting,
            "failed" | "incompatible-restore" | "incompatible-parameters" => {
                Self::Failed(status.to_owned())
            }
            _ => Self::Underway,
        }
    }
}

/// What the tags of a backup say. A dump has the same in its manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marks {
    /// The job it is of.
    pub job: String,
    /// The slot's nominal time.
    pub nominal: DateTime,
    /// When that was, in seconds since 1970-01-01 UTC.
    pub at_s: i64,
    /// How many before it have failed.
    pub attempt: u8,
    /// Why it must not be deleted, if a person said so.
    pub hold: Option<String>,
    /// A person asked for it: it stands for no slot of the schedule.
    pub by_hand: bool,
    /// Who restores or verifies it.
    pub in_use: Option<InUse>,
}

/// Somebody works with a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InUse {
    /// Who.
    pub run: String,
    /// Until when at most, in seconds since 1970-01-01 UTC: who died does not hold it for ever.
    pub until_s: i64,
}

/// Says that a backup is groundcrew's. Policies of deletion name it.
pub const TAG_MANAGED_BY: &str = "groundcrew:managed-by";
/// The value of [`TAG_MANAGED_BY`].
pub const MANAGED_BY: &str = "groundcrew";
/// The job.
pub const TAG_JOB: &str = "groundcrew:job";
/// When the slot was, RFC 3339 in UTC.
pub const TAG_SLOT: &str = "groundcrew:slot";
/// What the clock in the job's zone showed then.
pub const TAG_NOMINAL: &str = "groundcrew:nominal";
/// How many before it have failed.
pub const TAG_ATTEMPT: &str = "groundcrew:attempt";
/// The instance that asked for it.
pub const TAG_RUN: &str = "groundcrew:run-id";
/// It was made long after its slot.
pub const TAG_LATE: &str = "groundcrew:late";
/// A person asked for it.
pub const TAG_BY_HAND: &str = "groundcrew:by-hand";
/// Why it must not be deleted.
pub const TAG_HOLD: &str = "groundcrew:hold";
/// Who works with it until when: `RUN@2026-11-21T00:20:00Z`. A tag may hold no comma.
pub const TAG_IN_USE: &str = "groundcrew:in-use";
/// Until when an instance that was restored for proof may live, RFC 3339 in UTC. Policies of
/// deletion name it.
pub const TAG_VERIFY_TTL: &str = "groundcrew:verify-ttl";
/// The snapshot that a person had restored.
pub const TAG_RESTORED_FROM: &str = "groundcrew:restored-from";

/// A tag.
pub type Tag = (String, String);

impl Backup {
    /// Its slot, if it is of that job. What a person asked for is named with its time, also where
    /// the schedule has one slot a day.
    #[must_use]
    pub fn slot(&self, job: &JobName) -> Option<Slot> {
        let Marks { job: of, nominal, at_s, .. } = self.marks.as_ref()?;
        let timed = Slot { nominal: *nominal, at_s: *at_s, daily: false };
        let daily = !self.id.contains(&timed.to_string());
        (of == job.as_str()).then_some(Slot { daily, ..timed })
    }
}

impl Marks {
    /// The marks that `tags` make, if they are groundcrew's and whole.
    #[must_use]
    pub fn of(tags: &[Tag]) -> Option<Self> {
        let tags = &tags[..tags.len().min(TAGS_MAX)];
        let tag = |key| tags.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
        if tag(TAG_MANAGED_BY) != Some(MANAGED_BY) {
            return None;
        }
        Some(Self {
            job: tag(TAG_JOB)?.to_owned(),
            nominal: tag(TAG_NOMINAL)?.parse().ok()?,
            at_s: seconds(tag(TAG_SLOT)?)?,
            attempt: tag(TAG_ATTEMPT).map_or(Some(0), |text| text.parse().ok())?,
            // Who may set tags may not always take them away: an empty one holds nothing.
            hold: tag(TAG_HOLD).filter(|hold| !hold.is_empty()).map(str::to_owned),
            by_hand: tag(TAG_BY_HAND) == Some("true"),
            in_use: tag(TAG_IN_USE).and_then(InUse::of),
        })
    }

    /// Whether it is the backup of this slot.
    #[must_use]
    pub fn is_of(&self, job: &JobName, slot: Slot) -> bool {
        let same = if slot.daily {
            self.nominal.date == slot.nominal.date
        } else {
            self.nominal == slot.nominal
        };
        self.job == job.as_str() && same
    }
}

impl InUse {
    fn of(text: &str) -> Option<Self> {
        let (run, until) = text.rsplit_once('@')?;
        Some(Self { run: run.to_owned(), until_s: seconds(until)? })
    }

    /// The value of [`TAG_IN_USE`].
    #[must_use]
    pub fn value(&self) -> String {
        format!("{}@{}", tag_value(&self.run), rfc3339(self.until_s))
    }
}

/// The tags of a slot's backup. They are passed in full to copies, too: a copy of the source's own
/// tags may name what only AWS may set.
#[must_use]
pub fn tags(job: &JobName, slot: Slot, attempt: u8, run: &str, late: bool) -> Vec<Tag> {
    let mut tags = vec![
        (TAG_MANAGED_BY, MANAGED_BY.to_owned()),
        (TAG_JOB, job.to_string()),
        (TAG_SLOT, slot.rfc3339()),
        (TAG_NOMINAL, slot.nominal.to_string()),
        (TAG_ATTEMPT, attempt.to_string()),
        (TAG_RUN, tag_value(run)),
    ];
    if late {
        tags.push((TAG_LATE, "true".to_owned()));
    }
    tags.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// What a tag of RDS may hold (rdsdocs: tags): letters, digits, spaces and `_.:/=+-@`, 256 of them.
#[must_use]
pub fn tag_value(text: &str) -> String {
    let allowed = |c: char| c.is_alphanumeric() || " _.:/=+-@".contains(c);
    text.chars().take(256).map(|c| if allowed(c) { c } else { '-' }).collect()
}

/// A moment as RFC 3339 in UTC.
#[must_use]
pub fn rfc3339(at_s: i64) -> String {
    format!("{}:{:02}Z", DateTime::from_seconds(at_s), at_s.rem_euclid(60))
}

/// The moment that [`rfc3339`] wrote.
fn seconds(text: &str) -> Option<i64> {
    let (minute, seconds) = text.strip_suffix('Z')?.rsplit_once(':')?;
    let minute: DateTime = minute.parse().ok()?;
    let seconds: u8 = seconds.parse().ok()?;
    (seconds < 60).then(|| minute.seconds() + i64::from(seconds))
}

/// A reason, cut to what is remembered.
#[must_use]
pub(super) fn reason(text: &str) -> String {
    text.chars().take(REASON_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot() -> Slot {
        let nominal: DateTime = "2026-11-21T00:20".parse().unwrap();
        Slot { nominal, at_s: nominal.seconds() - 3600, daily: true }
    }

    #[test]
    fn what_is_tagged_is_read_again() {
        let job: JobName = "shop".parse().unwrap();
        let mut tags = tags(&job, slot(), 2, "i-1", true);
        let in_use = InUse { run: "i-2".into(), until_s: 1_790_000_001 };
        tags.push((TAG_IN_USE.into(), in_use.value()));
        tags.push((TAG_HOLD.into(), tag_value("audit, until May")));
        let marks = Marks::of(&tags).unwrap();
        assert!(marks.is_of(&job, slot()) && marks.attempt == 2);
        assert_eq!((marks.nominal, marks.at_s), (slot().nominal, slot().at_s));
        assert_eq!(marks.hold.as_deref(), Some("audit- until May"));
        assert_eq!(marks.in_use, Some(in_use));
        let hourly = Slot { daily: false, ..slot() };
        let later = Slot { nominal: DateTime { minute: 21, ..slot().nominal }, ..hourly };
        assert!(marks.is_of(&job, hourly) && !marks.is_of(&job, later));
        assert!(!marks.is_of(&"other".parse().unwrap(), slot()));
    }

    #[test]
    fn tags_that_are_not_whole_or_not_ours_are_nobodys() {
        let job: JobName = "shop".parse().unwrap();
        for gone in [TAG_MANAGED_BY, TAG_JOB, TAG_SLOT, TAG_NOMINAL] {
            let tags = tags(&job, slot(), 0, "i-1", false);
            let tags: Vec<_> = tags.into_iter().filter(|(key, _)| key != gone).collect();
            assert_eq!(Marks::of(&tags), None, "{gone}");
        }
        let mut other = tags(&job, slot(), 0, "i-1", false);
        other[0].1 = "terraform".into();
        assert_eq!(Marks::of(&other), None);
    }

    #[test]
    fn words_that_are_not_known_are_waited_for() {
        assert_eq!(BackupState::of("copying"), BackupState::Underway);
        assert_eq!(BackupState::of("a-new-word"), BackupState::Underway);
        assert_eq!(BackupState::of("available"), BackupState::Available);
        let failed = BackupState::Failed("incompatible-restore".into());
        assert_eq!(BackupState::of("incompatible-restore"), failed);
    }
}
