//! Which backups go: grandfather, father, son, with a reason for each that stays. Pure: the list
//! comes in, and the result does not depend on its order.
//!
//! - Of each day, week, month and year the newest backup counts, by its slot's nominal date: when
//!   it was made, and in which zone it is looked at, does not matter. The rules add up.
//! - Another database of the same name (`resource`) is a group of its own.
//! - Only what is available counts, and only what has the job's tags is touched. What has failed
//!   goes two days later, by its own rule.
//! - `min_keep` is a rule, too: the newest so many stay. So raising any number never deletes more.
//! - What a proof has refuted counts as well as if it were not there: what either keeps stays.
//! - A group whose newest backup is older than `stale_after` keeps everything: its backups fail, or
//!   its database is gone, and both need what there is.
//! - A pass that would delete more than `max_delete_per_pass`, or more than half of what is
//!   available, deletes nothing: that is how a slip in the file looks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::JobSettings;
use super::backup::{Backup, BackupState, Marks, rfc3339};
use super::limits::{CLOSING_TIME, FAILED_KEPT};
use super::record::Place;
use super::slot::JobName;
use super::taking::seconds;
pub use refuted::Refuted;

mod refuted;

/// What to keep. All zero: everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The newest.
    pub keep_last: u32,
    /// The newest of each of so many days that have one.
    pub keep_daily: u32,
    /// Of each of so many weeks (ISO, from Monday).
    pub keep_weekly: u32,
    /// Of each of so many months.
    pub keep_monthly: u32,
    /// Of each of so many years.
    pub keep_yearly: u32,
    /// All that are not older.
    pub keep_within: Duration,
    /// The newest so many stay whatever else is said; one at least.
    pub min_keep: u32,
    /// More are not deleted at once.
    pub max_delete_per_pass: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            keep_last: 0,
            keep_daily: 0,
            keep_weekly: 0,
            keep_monthly: 0,
            keep_yearly: 0,
            keep_within: Duration::ZERO,
            min_keep: 3,
            max_delete_per_pass: 5,
        }
    }
}

impl Policy {
    /// Whether it says nothing about what to keep, so that nothing goes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let counts = [
            self.keep_last,
            self.keep_daily,
            self.keep_weekly,
            self.keep_monthly,
            self.keep_yearly,
        ];
        counts == [0; 5] && self.keep_within.is_zero()
    }

    /// How many backups of one database it keeps at most, those of the last hours aside: what to
    /// hold against the quota of snapshots.
    #[must_use]
    pub fn forecast(&self) -> u64 {
        let counts = [
            self.keep_last.max(self.min_keep),
            self.keep_daily,
            self.keep_weekly,
            self.keep_monthly,
            self.keep_yearly,
        ];
        counts.iter().copied().map(u64::from).sum()
    }
}

/// What a pass looks at.
#[derive(Debug, Clone)]
pub struct Pass<'a> {
    /// The job whose backups they are.
    pub job: &'a JobName,
    /// All backups of one place.
    pub backups: &'a [Backup],
    /// What to keep.
    pub policy: &'a Policy,
    /// When, in seconds since 1970-01-01 UTC.
    pub now_s: i64,
    /// How old the newest may be before everything stays.
    pub stale_after: Duration,
    /// Backups of slots since then may be under way to other regions, so they stay.
    pub copying_since_s: Option<i64>,
    /// Backups that are known to be bad.
    pub refuted: &'a Refuted,
    /// The job fails: why, as a clause. Then nothing goes.
    pub failing: Option<&'a str>,
    /// A person has seen how much goes, and wants it.
    pub allow_mass_delete: bool,
}

impl<'a> Pass<'a> {
    /// Over the backups that a job has in a place; `None`: it keeps none there.
    #[must_use]
    pub fn of(
        job: &'a JobSettings,
        place: &Place,
        backups: &'a [Backup],
        refuted: &'a Refuted,
        now_s: i64,
    ) -> Option<Self> {
        let policy = job.policy(place)?;
        let longest = job.copies.iter().map(|copy| copy.within).max();
        let from_home = longest.filter(|_| *place == Place::Home);
        let since = |within| now_s.saturating_sub(seconds(within + job.catch_up + CLOSING_TIME));
        Some(Self {
            job: &job.name,
            backups,
            policy,
            now_s,
            stale_after: job.stale_after(now_s),
            copying_since_s: from_home.map(since),
            refuted,
            failing: None,
            allow_mass_delete: false,
        })
    }
}

/// What a pass comes to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Plan {
    /// Each backup with what becomes of it, newest first.
    pub verdicts: Vec<Verdict>,
    /// What to delete now, oldest first.
    pub delete: Vec<String>,
    /// Why nothing is deleted although something would go.
    pub refused: Option<String>,
}

/// What becomes of one backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The backup.
    pub id: String,
    /// Whether it stays.
    pub keep: bool,
    /// Why, such as `daily 2026-11-20`; never empty.
    pub reasons: Vec<String>,
}

/// A backup with its marks at hand.
#[derive(Clone, Copy)]
struct Ours<'a> {
    backup: &'a Backup,
    marks: &'a Marks,
}

impl Ours<'_> {
    /// Newest last; a total order, so that the order of the list does not matter.
    fn age_key(&self) -> (i64, super::civil::DateTime, u8, &str) {
        (self.marks.at_s, self.marks.nominal, self.marks.attempt, &self.backup.id)
    }
}

type Reasons<'a> = BTreeMap<&'a str, Vec<String>>;

/// What goes, what stays, and why.
#[must_use]
pub fn plan(pass: &Pass<'_>) -> Plan {
    let mut ours: Vec<Ours<'_>> = pass.backups.iter().filter_map(|it| of_job(pass, it)).collect();
    ours.sort_by(|a, b| b.age_key().cmp(&a.age_key()));
    let mut keep = Reasons::new();
    let counts = |one: &&Ours<'_>| {
        one.backup.state == BackupState::Available && one.marks.at_s <= pass.now_s
    };
    let available: Vec<_> = ours.iter().filter(counts).copied().collect();
    for resource in available.iter().map(|one| &one.backup.resource).collect::<BTreeSet<_>>() {
        let of_group = |one: &&Ours<'_>| one.backup.resource == *resource;
        let group: Vec<_> = available.iter().filter(of_group).copied().collect();
        by_rules(pass, &group, &mut keep);
        without_refuted(pass, &group, &mut keep);
    }
    let mut goes = Reasons::new();
    for one in &ours {
        protect(pass, *one, &mut keep, &mut goes);
    }
    let verdict = |one: &Ours<'_>| {
        let id = one.backup.id.clone();
        let why_goes = || vec!["no rule keeps it".to_owned()];
        match (keep.get(id.as_str()), goes.get(id.as_str())) {
            (Some(reasons), _) => Verdict { id, keep: true, reasons: reasons.clone() },
            (None, why) => {
                Verdict { id, keep: false, reasons: why.cloned().unwrap_or_else(why_goes) }
            }
        }
    };
    let mut verdicts: Vec<_> = ours.iter().map(verdict).collect();
    let theirs = pass.backups.iter().filter(|backup| of_job(pass, backup).is_none());
    let mut theirs: Vec<_> = theirs.map(|backup| backup.id.clone()).collect();
    theirs.sort();
    let reasons = || vec!["not of this job".to_owned()];
    verdicts.extend(theirs.into_iter().map(|id| Verdict { id, keep: true, reasons: reasons() }));
    decide(pass, verdicts, available.len())
}

fn of_job<'a>(pass: &Pass<'_>, backup: &'a Backup) -> Option<Ours<'a>> {
    let marks = backup.marks.as_ref().filter(|marks| marks.job == pass.job.as_str())?;
    Some(Ours { backup, marks })
}

/// What stays in the place of what is bad, beside it.
fn without_refuted<'a>(pass: &Pass<'_>, group: &[Ours<'a>], keep: &mut Reasons<'a>) {
    if pass.refuted.is_empty() {
        return;
    }
    let is_good = |one: &&Ours<'_>| !pass.refuted.contains(one.marks.at_s);
    let good: Vec<_> = group.iter().filter(is_good).copied().collect();
    let mut instead = Reasons::new();
    by_rules(pass, &good, &mut instead);
    for (id, reasons) in instead {
        let all = keep.entry(id).or_default();
        let new: Vec<_> = reasons.into_iter().filter(|reason| !all.contains(reason)).collect();
        all.extend(new.into_iter().map(|reason| format!("{reason}, as a newer one is bad")));
    }
}

/// The rules over one database's available backups, newest first.
fn by_rules<'a>(pass: &Pass<'_>, group: &[Ours<'a>], keep: &mut Reasons<'a>) {
    let policy = pass.policy;
    let mut stays = |one: &Ours<'a>, reason: String| {
        keep.entry(&one.backup.id).or_default().push(reason);
    };
    for one in group.iter().filter(|_| policy.is_empty()) {
        stays(one, "there is no rule by which any would go".to_owned());
    }
    let within_s = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    if let Some(newest) = group.first()
        && pass.now_s.saturating_sub(newest.marks.at_s) > within_s(pass.stale_after)
    {
        let since = rfc3339(newest.marks.at_s);
        for one in group {
            stays(one, format!("no newer backup of this database since {since}"));
        }
    }
    for (number, one) in group.iter().take(usize_of(policy.keep_last)).enumerate() {
        stays(one, format!("last {}", number + 1));
    }
    let date = |one: &Ours<'_>| one.marks.nominal.date;
    type Bucket<'b> = (&'b str, u32, &'b dyn Fn(&Ours<'_>) -> String);
    let buckets: [Bucket<'_>; 4] = [
        ("daily", policy.keep_daily, &|one| date(one).to_string()),
        ("weekly", policy.keep_weekly, &|one| date(one).iso_week().to_string()),
        ("monthly", policy.keep_monthly, &|one| {
            format!("{:04}-{:02}", date(one).year, date(one).month)
        }),
        ("yearly", policy.keep_yearly, &|one| format!("{:04}", date(one).year)),
    ];
    for (name, count, bucket) in buckets {
        let mut seen = BTreeSet::new();
        for one in group {
            let bucket = bucket(one);
            if seen.len() < usize_of(count) && seen.insert(bucket.clone()) {
                stays(one, format!("{name} {bucket}"));
            }
        }
    }
    let young = |one: &&Ours<'_>| {
        !policy.keep_within.is_zero() && pass.now_s - one.marks.at_s <= within_s(policy.keep_within)
    };
    for one in group.iter().filter(young) {
        stays(one, format!("within {}", crate::time::text(policy.keep_within)));
    }
    for one in group.iter().take(usize_of(policy.min_keep.max(1))) {
        stays(one, format!("min_keep {}", policy.min_keep.max(1)));
    }
}

/// What stays whatever the rules say, and what has a rule of its own.
fn protect<'a>(pass: &Pass<'_>, one: Ours<'a>, keep: &mut Reasons<'a>, goes: &mut Reasons<'a>) {
    let mut stays = |reason: String| keep.entry(&one.backup.id).or_default().push(reason);
    if let Some(hold) = &one.marks.hold {
        stays(format!("held: {hold}"));
    }
    if let Some(in_use) = one.marks.in_use.as_ref().filter(|in_use| in_use.until_s > pass.now_s) {
        stays(format!("in use by {} until {}", in_use.run, rfc3339(in_use.until_s)));
    }
    if one.marks.at_s > pass.now_s {
        stays("its slot is still to come".to_owned());
    }
    match &one.backup.state {
        BackupState::Available => {
            if pass.copying_since_s.is_some_and(|since_s| one.marks.at_s >= since_s) {
                stays("it may be under way to another region".to_owned());
            }
        }
        BackupState::Underway => stays("it is being made".to_owned()),
        BackupState::Deleting => stays("it is being deleted".to_owned()),
        BackupState::Failed(word) => {
            let kept_s = i64::try_from(FAILED_KEPT.as_secs()).unwrap_or(i64::MAX);
            if pass.now_s.saturating_sub(one.marks.at_s) <= kept_s {
                stays(format!("{word}, and kept for two days"));
            } else {
                goes.entry(&one.backup.id).or_default().push(format!("{word} for over two days"));
            }
        }
    }
}

/// From what would go to what does.
fn decide(pass: &Pass<'_>, verdicts: Vec<Verdict>, available: usize) -> Plan {
    let is_available = |id: &str| {
        let mut backups = pass.backups.iter();
        backups.any(|backup| backup.id == id && backup.state == BackupState::Available)
    };
    let oldest_first = verdicts.iter().rev().filter(|verdict| !verdict.keep);
    let (good, failed): (Vec<String>, Vec<String>) =
        oldest_first.map(|verdict| verdict.id.clone()).partition(|id| is_available(id));
    let max = usize_of(pass.policy.max_delete_per_pass);
    let going = good.len();
    let refused = match pass.failing {
        Some(why) if going > 0 => Some(format!("the job fails ({why}), and {going} would go")),
        Some(_) | None if pass.allow_mass_delete || going == 0 => None,
        Some(_) | None if going > max => {
            Some(format!("{going} would go, more than max_delete_per_pass = {max}"))
        }
        Some(_) | None if going * 2 > available => {
            Some(format!("{going} of {available} would go, more than half"))
        }
        Some(_) | None => None,
    };
    let mut delete = if refused.is_some() { Vec::new() } else { good };
    // What has failed is no backup, so the guards of backups do not count it; the cap does.
    let room = max.saturating_sub(delete.len());
    delete.extend(failed.into_iter().take(room));
    Plan { verdicts, delete, refused }
}

fn usize_of(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
