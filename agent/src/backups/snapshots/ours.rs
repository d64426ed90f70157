//! Which snapshots are a job's own, and what may be done to them. Pure. A slip here would delete
//! what is another's, or what somebody works with.

use groundcrew_core::backups::JobSettings;
use groundcrew_core::backups::backup::{Backup, InUse, Marks, TAG_IN_USE, Tag, rfc3339};
use groundcrew_core::backups::call::CallError;
use groundcrew_core::backups::database::Target;
use groundcrew_core::backups::limits::{ATTEMPTS_MAX, BACKUPS_MAX};
use groundcrew_core::backups::slot::{Slot, snapshot_id};

use super::super::calls::refused;
use super::backup;
use crate::aws::rds::Snapshot;

/// How all identifiers of groundcrew's snapshots begin.
const PREFIX: &str = "gc-";

/// Those of a database whose tags name a job, newest first, as many as are looked at.
pub(super) fn ours(all: Vec<Snapshot>, database: &str, job: &str) -> Vec<Backup> {
    let of_database = |one: &Snapshot| one.database.eq_ignore_ascii_case(database);
    let all = all.into_iter().filter(of_database).map(backup);
    let of_job = |one: &Backup| one.marks.as_ref().is_some_and(|marks| marks.job == job);
    let mut ours: Vec<_> = all.filter(of_job).collect();
    ours.sort_by_key(|one| std::cmp::Reverse(one.marks.as_ref().map(|marks| marks.at_s)));
    ours.truncate(BACKUPS_MAX);
    ours
}

/// Those that are named and tagged as the job's own. The name has the database's as the host's file
/// has it, so that what another fleet's job of the same name made is not among them.
pub(super) fn named(
    all: Vec<Snapshot>,
    target: &Target,
    job: &JobSettings,
) -> Vec<(Backup, Target)> {
    let is_named = |one: &Snapshot| {
        Marks::of(&one.tags).is_some_and(|marks| {
            let Marks { nominal, at_s, .. } = marks;
            let slots = [true, false].map(|daily| Slot { nominal, at_s, daily });
            let mut names = slots
                .into_iter()
                .flat_map(|slot| (0..ATTEMPTS_MAX).map(move |attempt| (slot, attempt)));
            let len_max = target.snapshot_id_max();
            let name =
                |(slot, attempt)| snapshot_id(&job.name, &job.database, slot, attempt, len_max);
            marks.job == job.name.as_str() && names.any(|of| name(of) == one.id)
        })
    };
    let target_of = |one: &Snapshot| match target {
        Target::Instance => Target::Instance,
        Target::Cluster(_) => Target::Cluster(one.database.clone()),
    };
    let all = all.into_iter().filter(is_named);
    let mut all: Vec<_> = all.map(|one| (target_of(&one), backup(one))).collect();
    all.sort_by_key(|(_, one)| std::cmp::Reverse(one.marks.as_ref().map(|marks| marks.at_s)));
    all.truncate(BACKUPS_MAX);
    all.into_iter().map(|(target, backup)| (backup, target)).collect()
}

/// The tags that say something new: a mark that somebody works with it is not made shorter.
pub(super) fn news(found: &Snapshot, tags: &[Tag]) -> Vec<Tag> {
    let longer = matches!((until(&found.tags), until(tags)), (Some(old), Some(new)) if old > new);
    let says = |(key, _): &&Tag| key != TAG_IN_USE || !longer;
    tags.iter().filter(says).cloned().collect()
}

/// Until when somebody works with it, by its tags alone.
fn until(tags: &[Tag]) -> Option<jiff::Timestamp> {
    let (_, value) = tags.iter().find(|(key, _)| key == TAG_IN_USE)?;
    value.rsplit_once('@')?.1.parse().ok()
}

/// Refuses what is not this job's, what a person holds, and what somebody works with.
pub(super) fn may_delete(found: &Snapshot, job: &str, now_s: i64) -> Result<(), CallError> {
    let id = &found.id;
    let Some(marks) = Marks::of(&found.tags).filter(|_| id.starts_with(PREFIX)) else {
        return Err(refused(format!("snapshot {id} is not groundcrew's")));
    };
    if marks.job != job {
        return Err(refused(format!("snapshot {id} is of job {:?}", marks.job)));
    }
    if let Some(hold) = marks.hold {
        return Err(refused(format!("snapshot {id} is held: {hold}")));
    }
    match marks.in_use.filter(|in_use| in_use.until_s > now_s) {
        Some(InUse { run, until_s }) => {
            let until = rfc3339(until_s);
            Err(refused(format!("snapshot {id} is in use by {run} until {until}")))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use groundcrew_core::backups::Kind;
    use groundcrew_core::backups::backup::{TAG_HOLD, tags};
    use groundcrew_core::backups::call::CallErrorKind;
    use groundcrew_core::backups::civil::DateTime;
    use groundcrew_core::backups::proof::DumpRules;
    use groundcrew_core::backups::retention::Policy;
    use groundcrew_core::backups::zone::Zone;

    use super::*;

    pub fn slot(day: &str) -> Slot {
        let nominal: DateTime = format!("{day}T00:20").parse().unwrap();
        Slot { nominal, at_s: nominal.seconds(), daily: true }
    }

    pub fn job(name: &str, database: &str) -> JobSettings {
        JobSettings {
            name: name.parse().unwrap(),
            kind: Kind::RdsSnapshot,
            database: database.into(),
            schedule: "20 0 * * *".parse().unwrap(),
            zone: Zone::utc(),
            catch_up: Duration::from_hours(20),
            spread: Duration::ZERO,
            stale_after: None,
            retention: Policy::default(),
            copies: Vec::new(),
            levels: Vec::new(),
            elsewhere: Vec::new(),
            encrypted: false,
            restore_within: Duration::from_hours(3),
            dump: DumpRules::default(),
            instance: "i-1".into(),
            run: "i-1.1".into(),
        }
    }

    fn shown(id: &str, database: &str, job: &str, day: &str) -> Snapshot {
        let slot = slot(day);
        Snapshot {
            id: id.into(),
            arn: format!("arn:aws:rds:us-east-1:1:snapshot:{id}"),
            status: "available".into(),
            database: database.into(),
            resource: "db-A".into(),
            engine: "postgres".into(),
            encrypted: true,
            key: None,
            created_s: Some(1),
            bytes: None,
            tags: tags(&job.parse().unwrap(), slot, 0, "i-1", false),
        }
    }

    #[test]
    fn a_list_holds_what_is_of_this_job_and_this_database() {
        let bare = Snapshot { tags: Vec::new(), ..shown("gc-e", "shop", "a", "2026-11-20") };
        let all = vec![
            shown("gc-a", "shop", "nightly", "2026-11-19"),
            shown("gc-b", "SHOP", "nightly", "2026-11-21"),
            shown("gc-c", "staging", "nightly", "2026-11-20"),
            shown("gc-d", "shop", "hourly", "2026-11-20"),
            bare,
        ];
        let found: Vec<_> = ours(all, "shop", "nightly").into_iter().map(|one| one.id).collect();
        assert_eq!(found, ["gc-b", "gc-a"]);
    }

    #[test]
    fn only_this_jobs_snapshots_are_deleted() {
        const NOW_S: i64 = 1_795_220_400;
        let good = || shown("gc-a", "shop", "nightly", "2026-11-19");
        let check = |snapshot: Snapshot, expected: Option<&str>| {
            let error = may_delete(&snapshot, "nightly", NOW_S).err();
            assert_eq!(error.as_ref().map(|error| error.text.as_str()), expected);
            assert!(error.is_none_or(|error| error.kind == CallErrorKind::Refused));
        };
        check(good(), None);
        let mut held = good();
        held.tags.push((TAG_HOLD.into(), "audit".into()));
        check(held, Some("snapshot gc-a is held: audit"));
        let bare = Snapshot { tags: Vec::new(), ..good() };
        check(bare, Some("snapshot gc-a is not groundcrew's"));
        let named = Snapshot { id: "before-upgrade".into(), ..good() };
        check(named, Some("snapshot before-upgrade is not groundcrew's"));
        let other = shown("gc-a", "shop", "hourly", "2026-11-19");
        check(other, Some("snapshot gc-a is of job \"hourly\""));
        let used = |until_s| {
            let run = "restore-shop-restored".to_owned();
            let value = InUse { run, until_s }.value();
            let mut used = good();
            used.tags.push((TAG_IN_USE.into(), value));
            used
        };
        check(used(NOW_S), None);
        let words = "snapshot gc-a is in use by restore-shop-restored until 2026-11-21T00:20:01Z";
        check(used(NOW_S + 1), Some(words));
        let mark =
            |until_s| vec![(TAG_IN_USE.to_owned(), InUse { run: "b".into(), until_s }.value())];
        assert_eq!(news(&used(NOW_S), &mark(NOW_S - 1)), [], "somebody needs it for longer");
        assert_eq!(news(&used(NOW_S), &mark(NOW_S + 1)), mark(NOW_S + 1));
        assert_eq!(news(&good(), &mark(NOW_S)), mark(NOW_S));
    }

    #[test]
    fn copies_are_found_by_name_when_nobody_knows_the_database() {
        // The host's file names a member: RDS names what its snapshots are of as the cluster.
        let nightly = job("nightly", "shop-1");
        let one = |id: &str, database: &str, day: &str| shown(id, database, "nightly", day);
        let mut late = one("gc-nightly-shop-1-20261121t0020", "shop", "2026-11-21");
        late.tags = tags(&nightly.name, Slot { daily: false, ..slot("2026-11-21") }, 0, "i", false);
        let all = vec![
            one("gc-nightly-shop-1-20261119", "shop", "2026-11-19"),
            one("gc-nightly-shop-1-20261120-r1", "shop", "2026-11-20"),
            late,
            // Another fleet's, a person's name for one, and one whose name tells another night.
            one("gc-nightly-staging-1-20261121", "staging", "2026-11-21"),
            one("before-upgrade", "shop", "2026-11-21"),
            one("gc-nightly-shop-1-20261118", "shop", "2026-11-21"),
        ];
        let found = named(all, &Target::Cluster(String::new()), &nightly);
        let ids: Vec<_> = found.iter().map(|(one, _)| one.id.as_str()).collect();
        let newest_first = ["gc-nightly-shop-1-20261121t0020", "gc-nightly-shop-1-20261120-r1"];
        assert_eq!(ids[..2], newest_first);
        assert_eq!(ids[2..], ["gc-nightly-shop-1-20261119"]);
        assert!(found.iter().all(|(_, of)| *of == Target::Cluster("shop".into())));
    }
}
