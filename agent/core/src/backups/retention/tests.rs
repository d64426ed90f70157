//! Policies against golden files, and what holds for all of them.

use std::fmt::Write;
use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::backups::backup::InUse;
use crate::backups::civil::{DAY_S, Date, DateTime};
use crate::backups::proof::Level;
use crate::backups::record::{Outcome, Record, RecordKey};
use crate::time::Wall;

const HOUR_S: i64 = 3600;

fn job() -> JobName {
    "shop".parse().unwrap()
}

fn days(text: &str) -> i64 {
    format!("{text}T00:00").parse::<DateTime>().unwrap().date.days()
}

/// The backup of a night, at 00:20 in a zone an hour ahead.
fn nightly(day: i64) -> Backup {
    let nominal = DateTime { date: Date::from_days(day), minute: 20 };
    let date = nominal.date;
    let marks = Marks {
        by_hand: false,
        job: "shop".into(),
        nominal,
        at_s: nominal.seconds() - HOUR_S,
        attempt: 0,
        hold: None,
        in_use: None,
    };
    Backup {
        id: format!("gc-shop-{:04}{:02}{:02}", date.year, date.month, date.day),
        arn: String::new(),
        state: BackupState::Available,
        marks: Some(marks),
        resource: "db-A".into(),
        created_s: None,
        bytes: None,
    }
}

fn marks(backup: &mut Backup) -> &mut Marks {
    backup.marks.as_mut().unwrap()
}

/// An hour after the last night's slot, over two days old being stale.
fn pass<'a>(job: &'a JobName, backups: &'a [Backup], policy: &'a Policy, day: i64) -> Pass<'a> {
    static NOTHING: LazyLock<Refuted> = LazyLock::new(Refuted::default);
    Pass {
        refuted: &NOTHING,
        job,
        backups,
        policy,
        now_s: day * DAY_S,
        stale_after: Duration::from_hours(68),
        copying_since_s: None,
        failing: None,
        allow_mass_delete: false,
    }
}

/// What stays with its reasons, what goes, and what is done about it.
fn render(plan: &Plan) -> String {
    let mut text = String::new();
    for verdict in plan.verdicts.iter().filter(|verdict| verdict.keep) {
        writeln!(text, "keep {}  {}", verdict.id, verdict.reasons.join(", ")).unwrap();
    }
    let goes = plan.verdicts.iter().filter(|verdict| !verdict.keep);
    for verdict in goes {
        writeln!(text, "go   {}  {}", verdict.id, verdict.reasons.join(", ")).unwrap();
    }
    let delete = if plan.delete.is_empty() { "nothing".into() } else { plan.delete.join(" ") };
    writeln!(text, "delete {delete}").unwrap();
    writeln!(text, "refused {}", plan.refused.as_deref().unwrap_or("no")).unwrap();
    text
}

/// Night after night, each with its pass, as a fleet lives. Some nights have no backup.
fn live(policy: &Policy, first: i64, last: i64, missed: impl Fn(i64) -> bool) -> Vec<Backup> {
    let job = job();
    let mut backups = Vec::new();
    for day in first..=last {
        if missed(day) {
            continue;
        }
        backups.push(nightly(day));
        let plan = plan(&pass(&job, &backups, policy, day));
        assert_eq!(plan.refused, None, "{}", Date::from_days(day));
        backups.retain(|backup| !plan.delete.contains(&backup.id));
    }
    backups
}

fn shop() -> Policy {
    Policy { keep_daily: 35, keep_weekly: 12, keep_monthly: 36, ..Policy::default() }
}

fn five_rules() -> Policy {
    Policy {
        keep_last: 3,
        keep_daily: 7,
        keep_weekly: 5,
        keep_monthly: 12,
        keep_yearly: 3,
        keep_within: Duration::from_hours(48),
        ..Policy::default()
    }
}

#[track_caller]
fn check(backups: &[Backup], policy: &Policy, day: i64, golden: &str) {
    let job = job();
    let text = render(&plan(&pass(&job, backups, policy, day)));
    assert_eq!(text, golden, "\n{text}");
}

#[test]
fn the_policy_of_a_shop_over_four_years() {
    let last = days("2026-11-21");
    let backups = live(&shop(), days("2022-11-01"), last, |_| false);
    check(&backups, &shop(), last, include_str!("golden/shop.txt"));
}

#[test]
fn all_rules_over_five_years_with_nights_missed() {
    let last = days("2026-11-21");
    let missed = |day: i64| day % 11 == 3 || (day % 97) < 2;
    let backups = live(&five_rules(), days("2021-06-01"), last, missed);
    check(&backups, &five_rules(), last, include_str!("golden/five-rules.txt"));
}

#[test]
fn what_is_special_has_its_own_reasons() {
    let last = days("2026-11-21");
    let mut backups: Vec<_> = (last - 9..=last).map(nightly).collect();
    marks(&mut backups[0]).hold = Some("audit".into());
    let until_s = last * DAY_S + HOUR_S;
    marks(&mut backups[1]).in_use = Some(InUse { run: "i-1".into(), until_s });
    marks(&mut backups[2]).in_use = Some(InUse { run: "i-2".into(), until_s: until_s - 7200 });
    backups[3].state = BackupState::Failed("failed".into());
    backups[4].state = BackupState::Deleting;
    backups[9].state = BackupState::Underway;
    backups[8].state = BackupState::Failed("incompatible-restore".into());
    let mut old = nightly(last - 400);
    old.resource = "db-OLD".into();
    let mut foreign = nightly(last - 500);
    foreign.marks = None;
    let mut tomorrow = nightly(last + 1);
    tomorrow.id = "gc-shop-tomorrow".into();
    backups.extend([old, foreign, tomorrow]);
    let policy = Policy { keep_last: 1, min_keep: 2, ..Policy::default() };
    check(&backups, &policy, last, include_str!("golden/special.txt"));
}

/// That a dump could not be read.
fn unreadable(key: &RecordKey) -> Record {
    let outcome = Outcome::Refuted { findings: vec!["it ends early".into()] };
    Record { version: 1, key: key.clone(), at: Wall(0), by: "i-1".into(), outcome }
}

/// What is known of proofs: of these nights the dump could not be read.
fn refuted(nights: &[i64]) -> Refuted {
    let mut refuted = Refuted::default();
    for night in nights {
        let key = RecordKey::Proof(nightly(*night).slot(&job()).unwrap(), Level::L1);
        let record = unreadable(&key);
        refuted.answer(key, Some(&record));
    }
    refuted
}

/// The ends of two months: the days, what there is, and what of it is to stay.
fn two_months() -> (i64, i64, Vec<Backup>, Policy) {
    let (last, ends) = (days("2026-12-10"), days("2026-11-30"));
    let backups = (ends - 3..=ends).chain(last - 2..=last).map(nightly).collect();
    let policy = Policy { keep_daily: 3, keep_monthly: 2, ..Policy::default() };
    (last, ends, backups, policy)
}

#[test]
fn a_bad_backup_does_not_take_a_good_ones_place() {
    let (last, ends, backups, policy) = two_months();
    let job = job();
    let of = |refuted: &Refuted| {
        let pass = Pass { refuted, ..pass(&job, &backups, &policy, last) };
        plan(&pass)
    };
    let kept = |plan: &Plan, day: i64| {
        let id = nightly(day).id;
        plan.verdicts.iter().find(|verdict| verdict.id == id).unwrap().clone()
    };
    let plain = of(&Refuted::default());
    assert_eq!((plain.delete.len(), kept(&plain, ends).keep), (3, true));
    // November's last night is bad: it stays, and the one before as well.
    let plan = of(&refuted(&[ends]));
    assert_eq!(plan.delete, [nightly(ends - 3).id, nightly(ends - 2).id]);
    assert_eq!(kept(&plan, ends - 1).reasons, ["monthly 2026-11, as a newer one is bad"]);
    assert_eq!(kept(&plan, ends).reasons, ["monthly 2026-11"]);
    // Never does more go because something is bad.
    let all: Vec<_> = (ends - 3..=ends).chain(last - 2..=last).collect();
    assert!(of(&refuted(&all)).delete.len() <= plain.delete.len());
}

#[test]
fn what_would_stay_is_asked_for_until_a_plan_stands() {
    let (last, ends, backups, policy) = two_months();
    let settings = crate::backups::job::tests::dumps(&[Level::L0, Level::L1]);
    let (mut known, mut asked) = (Refuted::default(), Vec::new());
    let (name, bad) = (job(), refuted(&[ends, ends - 1]));
    loop {
        let plan = plan(&Pass { refuted: &known, ..pass(&name, &backups, &policy, last) });
        let Some(key) = known.question(&settings, &backups, &plan) else { break };
        let slot = key.slot();
        asked.push(slot.to_string());
        let record = bad.contains(slot.at_s).then(|| unreadable(&key));
        known.answer(key, record.as_ref());
    }
    // Those that stay by themselves, and then those that stay in their place.
    let expected = ["20261210", "20261209", "20261208", "20261130", "20261129", "20261128"];
    assert_eq!(asked, expected);
    // Where nothing would go, nothing is asked.
    let nothing = Plan::default();
    assert_eq!(Refuted::default().question(&settings, &backups, &nothing), None);
}

#[test]
fn a_slip_in_the_file_deletes_nothing() {
    let last = days("2026-11-21");
    let backups: Vec<_> = (last - 35..last).map(nightly).collect();
    let job = job();
    let slip = Policy { keep_daily: 3, ..Policy::default() };
    let typo = pass(&job, &backups, &slip, last);
    let refused = plan(&typo);
    let why = "32 would go, more than max_delete_per_pass = 5";
    assert_eq!((refused.delete.len(), refused.refused.as_deref()), (0, Some(why)));
    let meant = plan(&Pass { allow_mass_delete: true, ..typo.clone() });
    assert_eq!((meant.delete.len(), meant.refused), (32, None));
    // Eight of ten are less than the cap of ten, and more than half.
    let wide = Policy { keep_last: 2, min_keep: 1, max_delete_per_pass: 10, ..Policy::default() };
    let half = plan(&Pass { backups: &backups[25..], policy: &wide, ..typo.clone() });
    assert_eq!(half.refused.as_deref(), Some("8 of 10 would go, more than half"));
    let nothing = plan(&Pass { policy: &Policy::default(), ..typo });
    assert_eq!((nothing.delete.len(), nothing.refused), (0, None), "an empty policy");
}

#[test]
fn a_job_that_fails_keeps_everything() {
    let last = days("2026-11-21");
    let backups: Vec<_> = (last - 9..last).map(nightly).collect();
    let (job, policy) = (job(), Policy { keep_last: 5, ..Policy::default() });
    let now = pass(&job, &backups, &policy, last);
    assert_eq!(plan(&now).delete.len(), 4);
    let later = plan(&Pass { now_s: now.now_s + 4 * DAY_S, ..now.clone() });
    assert!(later.delete.is_empty() && later.verdicts.iter().all(|verdict| verdict.keep));
    let failing = plan(&Pass { failing: Some("the database is storage-full"), ..now });
    let why = "the job fails (the database is storage-full), and 4 would go";
    assert_eq!((failing.delete.len(), failing.refused.as_deref()), (0, Some(why)));
}

#[test]
fn what_may_be_on_its_way_elsewhere_stays() {
    let last = days("2026-11-21");
    let backups: Vec<_> = (last - 9..last).map(nightly).collect();
    let (job, policy) = (job(), Policy { keep_last: 5, ..Policy::default() });
    let now = pass(&job, &backups, &policy, last);
    let since = now.now_s - 7 * DAY_S - DAY_S / 2;
    let copying = plan(&Pass { copying_since_s: Some(since), ..now });
    assert_eq!(copying.delete, ["gc-shop-20261112", "gc-shop-20261113"]);
}

/// The same rules without a thought for speed: a backup stays if it is the newest of its bucket
/// and fewer than the number have a newer bucket.
fn naive_keeps(backups: &[Backup], one: &Backup, policy: &Policy, now_s: i64) -> bool {
    let key = |backup: &Backup| {
        let marks = backup.marks.as_ref().unwrap();
        (marks.at_s, marks.nominal, marks.attempt, backup.id.clone())
    };
    let newer: Vec<_> = backups.iter().filter(|other| key(other) > key(one)).collect();
    let date = |backup: &Backup| backup.marks.as_ref().unwrap().nominal.date;
    let bucket = |backup: &Backup, rule: usize| match rule {
        0 => date(backup).days(),
        1 => {
            i64::from(date(backup).iso_week().year) * 100 + i64::from(date(backup).iso_week().week)
        }
        2 => i64::from(date(backup).year) * 100 + i64::from(date(backup).month),
        _ => i64::from(date(backup).year),
    };
    let counts = [policy.keep_daily, policy.keep_weekly, policy.keep_monthly, policy.keep_yearly];
    let by_bucket = counts.iter().enumerate().any(|(rule, count)| {
        let newer: BTreeSet<_> = newer.iter().map(|other| bucket(other, rule)).collect();
        !newer.contains(&bucket(one, rule)) && newer.len() < usize_of(*count)
    });
    let last = newer.len() < usize_of(policy.keep_last.max(policy.min_keep).max(1));
    let age_s = now_s - key(one).0;
    let within =
        !policy.keep_within.is_zero() && age_s <= policy.keep_within.as_secs().cast_signed();
    policy.is_empty() || last || by_bucket || within
}

#[test]
fn night_after_night_keeps_what_one_pass_over_all_nights_would() {
    let (first, last) = (days("2021-11-01"), days("2026-11-21"));
    for (policy, seed) in [(shop(), 7), (five_rules(), 5), (five_rules(), 3)] {
        let missed = |day: i64| day % (seed * 4) == 1 || (day / 5) % (seed * 9) == 2;
        let left = live(&policy, first, last, missed);
        let all: Vec<_> = (first..=last).filter(|day| !missed(*day)).map(nightly).collect();
        let kept = all.iter().filter(|one| naive_keeps(&all, one, &policy, last * DAY_S));
        assert_eq!(left, kept.cloned().collect::<Vec<_>>());
    }
}

fn policies() -> impl Strategy<Value = Policy> {
    let numbers = (0..5_u32, 0..9_u32, 0..6_u32, 0..6_u32, 0..4_u32);
    (numbers, 0..100_u64, 0..5_u32).prop_map(|(keep, within_h, min_keep)| Policy {
        keep_last: keep.0,
        keep_daily: keep.1,
        keep_weekly: keep.2,
        keep_monthly: keep.3,
        keep_yearly: keep.4,
        keep_within: Duration::from_hours(within_h.saturating_sub(50)),
        min_keep,
        max_delete_per_pass: 5,
    })
}

const LAST: i64 = 20_778;

fn histories() -> impl Strategy<Value = Vec<Backup>> {
    let one = (0..900_i64, 0..4_u16, 0..12_u8).prop_map(|(ago, quarter, kind)| {
        let mut backup = nightly(LAST - ago * ago / 900);
        let marks = marks(&mut backup);
        marks.nominal.minute += quarter * 360;
        marks.at_s += i64::from(quarter) * 6 * HOUR_S;
        backup.id = format!("{}-{quarter}", backup.id);
        match kind {
            0 => backup.state = BackupState::Failed("failed".into()),
            1 => backup.state = BackupState::Underway,
            2 => backup.resource = "db-B".into(),
            3 => backup.marks.as_mut().unwrap().hold = Some("audit".into()),
            _ => {}
        }
        backup
    });
    proptest::collection::btree_map(0..u32::MAX, one, 0..60).prop_map(|backups| {
        let mut ids = BTreeSet::new();
        backups.into_values().filter(|backup| ids.insert(backup.id.clone())).collect()
    })
}

fn deletes(backups: &[Backup], policy: &Policy) -> BTreeSet<String> {
    let job = job();
    let pass = Pass {
        stale_after: Duration::from_hours(24 * 2000),
        allow_mass_delete: true,
        now_s: (LAST + 1) * DAY_S,
        ..pass(&job, backups, policy, LAST)
    };
    let good = |id: &String| {
        let found = backups.iter().find(|backup| backup.id == *id).unwrap();
        found.state == BackupState::Available
    };
    plan(&pass).delete.into_iter().filter(good).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_pass_is_idempotent_order_free_and_above_the_floor(
        backups in histories(),
        policy in policies(),
        turn in any::<Index>(),
    ) {
        let first = deletes(&backups, &policy);
        let mut turned = backups.clone();
        if !turned.is_empty() {
            let by = turn.index(turned.len());
            turned.rotate_left(by);
            turned.reverse();
        }
        prop_assert_eq!(&deletes(&turned, &policy), &first);
        // Whatever part of it is done, the rest is what still goes, and then nothing.
        let half: BTreeSet<_> = first.iter().take(first.len() / 2).cloned().collect();
        let mut left = backups.clone();
        left.retain(|backup| !half.contains(&backup.id));
        prop_assert_eq!(deletes(&left, &policy), first.difference(&half).cloned().collect());
        left.retain(|backup| !first.contains(&backup.id));
        prop_assert_eq!(deletes(&left, &policy), BTreeSet::new());
        for resource in ["db-A", "db-B"] {
            let count = |backups: &[Backup]| {
                let good = |backup: &&Backup| {
                    backup.resource == resource && backup.state == BackupState::Available
                };
                backups.iter().filter(good).count()
            };
            let floor = usize_of(policy.min_keep.max(1)).min(count(&backups));
            prop_assert!(count(&left) >= floor);
        }
        let held = |backup: &&Backup| backup.marks.as_ref().unwrap().hold.is_some();
        let held_goes = backups.iter().filter(held).any(|backup| first.contains(&backup.id));
        prop_assert!(!held_goes);
    }

    #[test]
    fn raising_a_number_never_deletes_more(
        backups in histories(),
        policy in policies(),
        which in 0..7_u8,
        by in 1..4_u32,
    ) {
        let mut more = policy.clone();
        match which {
            0 => more.keep_last += by,
            1 => more.keep_daily += by,
            2 => more.keep_weekly += by,
            3 => more.keep_monthly += by,
            4 => more.keep_yearly += by,
            5 => more.min_keep += by,
            _ => more.keep_within += Duration::from_hours(u64::from(by) * 24),
        }
        // The first rule of all makes the difference between "keep everything" and "keep this".
        prop_assume!(!policy.is_empty());
        prop_assert!(deletes(&backups, &more).is_subset(&deletes(&backups, &policy)));
    }

    #[test]
    fn it_is_the_same_as_the_naive_one(backups in histories(), policy in policies()) {
        let now_s = (LAST + 1) * DAY_S;
        let goes = deletes(&backups, &policy);
        for resource in ["db-A", "db-B"] {
            let group = |backup: &&Backup| {
                backup.resource == resource
                    && backup.state == BackupState::Available
                    && backup.marks.as_ref().unwrap().at_s <= now_s
            };
            let group: Vec<_> = backups.iter().filter(group).cloned().collect();
            for one in &group {
                let held = one.marks.as_ref().unwrap().hold.is_some();
                let keeps = held || naive_keeps(&group, one, &policy, now_s);
                prop_assert_eq!(keeps, !goes.contains(&one.id), "{}", &one.id);
            }
        }
    }
}
