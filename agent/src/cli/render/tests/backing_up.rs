//! Backups: how they are, what there is, and what is about to happen to it.

use groundcrew_core::backups::Kind;
use groundcrew_core::backups::backup::BackupState;
use groundcrew_core::backups::proof::Level;
use groundcrew_core::backups::record::Place;
use groundcrew_core::backups::retention::{Plan, Verdict};
use groundcrew_core::backups::status::*;

use super::*;
use crate::cli::backups::{DrPlan, Elsewhere, JobPlan, Planned, RestorePlan, Verified};
use crate::cli::render::backups;

fn job(name: &str, state: JobState) -> JobStatus {
    JobStatus {
        name: name.to_owned(),
        kind: Kind::RdsSnapshot,
        database: "shop-production".to_owned(),
        state,
        reason: None,
        last_good: Some(GoodStatus {
            id: "gc-shop-nightly-shop-production-20260821".to_owned(),
            slot: before(11 * 3600 + 4 * 60 + 7),
            level: Some(Level::L0),
            refuted: Vec::new(),
        }),
        last_verified: Some(VerifiedStatus {
            level: Level::L3,
            at: before(3 * 86_400),
            slot: before(4 * 86_400),
            took_ms: 5,
        }),
        next: Some(Wall(NOW.0 + 46_553_000)),
        late_ms: None,
        copies: Vec::new(),
        clock_ahead_ms: None,
    }
}

#[test]
fn the_job_that_fails_comes_first_and_says_why() {
    let copy = |region: &str, done, reason: Option<&str>| CopyStatus {
        region: region.to_owned(),
        done,
        lag_ms: 252_000,
        reason: reason.map(str::to_owned),
    };
    let fine = JobStatus {
        copies: vec![
            copy("eu-west-1", Some(true), None),
            copy("us-east-1", None, Some("3 copies are under way")),
        ],
        ..job("shop-nightly", JobState::Ok)
    };
    let mut bad = JobStatus {
        reason: Some("gc-a is bad: L1 is refuted".to_owned()),
        late_ms: Some(252_000),
        next: None,
        last_verified: None,
        ..job("shop-dump", JobState::Failing)
    };
    bad.last_good.as_mut().unwrap().refuted = vec![Level::L1];
    let new = JobStatus { last_good: None, last_verified: None, ..job("new", JobState::Unknown) };
    let document = StatusDocument { backups: vec![fine, new, bad], ..fresh(State::Serving) };
    assert!(document.is_failing() && !document.is_degraded());
    insta::assert_snapshot!(status::render(&document, PLAIN), @r"
    ● serving since Fri 2026-08-21 11:24:04 UTC; 3s ago
      Host      web-1
      Release   none yet; s3://acme-releases/shop/production has not been read yet

    JOB           STATE    LAST GOOD             PROVED  VERIFIED        NEXT   LATE
    shop-dump     failing  2026-08-21 00:20 UTC  not L1  -                  -  4m12s
      gc-a is bad: L1 is refuted
    shop-nightly  ok       2026-08-21 00:20 UTC  L0      L3 3d ago  in 12h55m      -
      on its way to us-east-1 for 4m12s: 3 copies are under way
    new           unknown  -                     -       -          in 12h55m      -

    Next: groundcrew backups list
    ");
}

#[test]
fn what_there_is() {
    let one = |id: &str, place, state, keep: bool, reasons: &[&str]| BackupStatus {
        job: "shop".to_owned(),
        id: id.to_owned(),
        slot: before(40_000),
        place,
        state,
        bytes: None,
        level: None,
        hold: None,
        keep,
        reasons: reasons.iter().map(|reason| (*reason).to_owned()).collect(),
    };
    let good = BackupStatus {
        level: Some(Level::L2),
        bytes: Some(12 << 30),
        ..one("gc-a", Place::Home, BackupState::Available, true, &["last 1", "daily 2026-08-21"])
    };
    let region = Place::Region("eu-west-1".to_owned());
    let failed = BackupState::Failed("incompatible-restore".to_owned());
    let goes = one("gc-b\u{1b}[2J", region, failed, false, &["no rule keeps it"]);
    insta::assert_snapshot!(backups::list(&[good, goes], NOW, PLAIN), @r"
    JOB   BACKUP         SLOT                    AGE  PLACE      STATE                   SIZE  PROVED  RETENTION
    shop  gc-a           2026-08-21 00:17 UTC  11h6m  home       available             12 GiB  L2      last 1, daily 2026-08-21
    shop  gc-b\u{1b}[2J  2026-08-21 00:17 UTC  11h6m  eu-west-1  incompatible-restore       -  -       goes: no rule keeps it
    ");
    assert_eq!(backups::list(&[], NOW, PLAIN), "no backups\n");
}

#[test]
fn a_plan_says_what_goes_and_why_nothing_does() {
    let verdict = |id: &str, keep, reason: &str| Verdict {
        id: id.to_owned(),
        keep,
        reasons: vec![reason.to_owned()],
    };
    let verdicts = vec![
        verdict("gc-c", true, "daily 2026-08-21"),
        verdict("gc-b", false, "no rule keeps it"),
        verdict("gc-a", false, "no rule keeps it"),
    ];
    let plan = Plan { verdicts, delete: vec!["gc-a".to_owned()], refused: None };
    let planned = |plan, deleted: &[&str], failed: &[&str]| Planned {
        job: "shop".to_owned(),
        place: Place::Home,
        plan,
        deleted: deleted.iter().map(|id| (*id).to_owned()).collect(),
        failed: failed.iter().map(|text| (*text).to_owned()).collect(),
    };
    insta::assert_snapshot!(backups::plan(&planned(plan.clone(), &[], &[]), false, PLAIN), @r"
    shop, home
      BACKUP  VERDICT        WHY
      gc-c    keep           daily 2026-08-21
      gc-b    goes, not now  no rule keeps it
      gc-a    delete         no rule keeps it
      1 of 3 stay, 1 to delete; --apply deletes them
    ");
    let refused = Plan { refused: Some("2 of 3 would go, more than half".to_owned()), ..plan };
    let text = backups::plan(
        &planned(refused, &[], &["gc-a: DeleteDBSnapshot is not allowed"]),
        true,
        PLAIN,
    );
    insta::assert_snapshot!(text, @r"
    shop, home
      BACKUP  VERDICT        WHY
      gc-c    keep           daily 2026-08-21
      gc-b    goes, not now  no rule keeps it
      gc-a    delete         no rule keeps it
      1 of 3 stay, 1 to delete; 0 deleted
      Refused: 2 of 3 would go, more than half
      Failed: gc-a: DeleteDBSnapshot is not allowed
    ");
}

#[test]
fn a_proof_a_restore_and_the_day_on_which_the_region_is_gone() {
    let proof = |findings: &[&str]| Verified {
        job: "shop".to_owned(),
        id: "gc-a".to_owned(),
        level: Level::L1,
        findings: findings.iter().map(|finding| (*finding).to_owned()).collect(),
        took_ms: 252_000,
    };
    assert_eq!(backups::verified(&proof(&[]), PLAIN), "● proved at L1: gc-a, in 4m12s\n");
    let text = backups::verified(&proof(&["its hash is another"]), PLAIN);
    assert_eq!(text, "● refuted at L1: gc-a, in 4m12s\n  its hash is another\n");
    let plan = RestorePlan {
        job: "shop".to_owned(),
        id: "gc-a".to_owned(),
        slot: Some("2026-08-21T00:20:00Z".to_owned()),
        to: "shop-new".to_owned(),
        steps: vec!["refuse, if it is there".to_owned(), "restore".to_owned()],
    };
    insta::assert_snapshot!(backups::restore_plan(&plan, PLAIN), @r"
    gc-a (shop of 2026-08-21T00:20:00Z) to shop-new
      1. refuse, if it is there
      2. restore
    ");
    let copies = vec![
        Elsewhere {
            place: "eu-west-1".to_owned(),
            id: Some("gc-a".to_owned()),
            slot: Some(before(40_000)),
            problem: None,
            commands: vec!["aws rds restore-db-instance-from-db-snapshot ...".to_owned()],
        },
        Elsewhere {
            place: "us-east-1".to_owned(),
            id: None,
            slot: None,
            problem: Some("there is no copy that can be restored".to_owned()),
            commands: Vec::new(),
        },
    ];
    let plan = |job: &str, copies| JobPlan {
        job: job.to_owned(),
        kind: Kind::RdsSnapshot,
        database: "shop-production".to_owned(),
        copies,
    };
    let plan = DrPlan { now: NOW, jobs: vec![plan("shop", copies), plan("lone", Vec::new())] };
    insta::assert_snapshot!(backups::dr_plan(&plan, PLAIN), @r"
    shop of shop-production
      eu-west-1: gc-a of 2026-08-21 00:17 UTC, 11h6m ago
        aws rds restore-db-instance-from-db-snapshot ...
      us-east-1: there is no copy that can be restored
    lone of shop-production
      nothing outside its region: add [[backup.copy]]
    Then point the application to what was restored, and look at it.
    ");
}
