//! What one host cannot do, and what is not as good as it should be.

use super::*;
use crate::backups::call::CallErrorKind;
use crate::backups::lease::{LeaseAction, LeaseAnswer};

pub(super) fn error(kind: CallErrorKind) -> CallError {
    CallError { kind, text: "no".into() }
}

/// A host with a job like that, in a night; the slot before has its record.
pub(super) fn night_of(settings: JobSettings) -> Host {
    let mut host = Host::new(settings, "2026-11-21T00:10");
    let before = RecordKey::Run(slot("2026-11-20T00:20"));
    let outcome = Outcome::Skipped(Skip::Stopped);
    let record = Record { version: 1, key: before, at: Wall(0), by: "i-9".into(), outcome };
    host.expect("Read", Answer::Record(Ok(Some(Box::new(record)))));
    host
}

pub(super) fn gets_lease(host: &mut Host) {
    host.expect("Lease", Answer::Lease(LeaseAnswer::Read(Ok(None))));
    host.expect("Lease", Answer::Lease(LeaseAnswer::Put(Ok(Some("e".into())))));
}

#[track_caller]
pub(super) fn gives_lease_back(host: &mut Host) {
    let (ticket, call) = host.call();
    let Call::Lease(lease) = &call else { panic!("{call:?}") };
    let LeaseAction::Replace { body, .. } = &lease.action else { panic!("{lease:?}") };
    assert_eq!(body.ttl_s, 0);
    let answer = Answer::Lease(LeaseAnswer::Put(Ok(Some("f".into()))));
    host.step(Event::Answered { ticket, answer });
}

#[test]
fn what_cannot_be_dumped_here_is_left_to_others_and_tried_again() {
    let least = [
        (CallErrorKind::Unclear, Duration::from_mins(2)),
        (CallErrorKind::Denied, Duration::from_mins(29)),
    ];
    for (kind, least) in least {
        let mut host = night_of(JobSettings { kind: Kind::PgDump, ..settings() });
        // The night goes on like that, and nothing is given up.
        for _ in 0..5 {
            host.reads_nothing();
            host.sees(None);
            gets_lease(&mut host);
            host.expect("Dump", Answer::Dumped(Err(error(kind))));
            gives_lease_back(&mut host);
            let begin = host.now.at;
            let (ticket, call) = host.call();
            assert!(matches!(call, Call::Read(_)), "{call:?}");
            assert!(host.now.at.since(begin) > least, "{:?}", host.now.at.since(begin));
            host.open.insert(0, (ticket, call));
        }
        let told = host.told.iter().filter(|told| told.contains("cannot be dumped here"));
        assert_eq!(told.count(), 1, "{:?}", host.told);
    }
}

/// A snapshot that is there.
fn taken(levels: &[Level], elsewhere: &[Level]) -> Host {
    let retention = Policy { keep_daily: 7, ..Policy::default() };
    let (levels, elsewhere) = (levels.to_vec(), elsewhere.to_vec());
    let mut host = night_of(JobSettings { retention, levels, elsewhere, ..settings() });
    host.round();
    host.expect("Snapshot", Answer::Made(Ok(Make::Begun)));
    host.reads_nothing();
    host.sees(Some(backup(ID, slot("2026-11-21T00:20"), BackupState::Available)));
    host.writes(done(false));
    host
}

fn inspection(encrypted: bool) -> Answer {
    let backup = backup(ID, slot("2026-11-21T00:20"), BackupState::Available);
    let backup = Some(backup);
    let copies = Vec::new();
    let inspection =
        super::super::super::proof::Inspection { backup, encrypted, key_state: None, copies };
    Answer::Inspected(Ok(Box::new(inspection)))
}

#[test]
fn nothing_goes_while_the_newest_is_bad() {
    for encrypted in [true, false] {
        let mut host = taken(&[Level::L0], &[]);
        host.expect("Read(Proof", Answer::Record(Ok(None)));
        let findings = vec!["it is not encrypted".to_owned()];
        if encrypted {
            host.expect("Inspect", inspection(true));
            host.writes(Outcome::Proved { took_ms: 0 });
        } else {
            (0..4).for_each(|_| host.expect("Inspect", inspection(false)));
            host.writes(Outcome::Refuted { findings });
        }
        // Forty nights, and nothing has gone for long.
        let nights = (0..9).map(|night| {
            let nominal = DateTime { date: slot("2026-11-21T00:20").nominal.date, minute: 20 };
            let date = crate::backups::civil::Date::from_days(nominal.date.days() - night);
            let nominal = DateTime { date, ..nominal };
            let slot = Slot { nominal, at_s: nominal.seconds(), daily: true };
            backup(&format!("gc-{slot}"), slot, BackupState::Available)
        });
        host.expect("Read(Retention", Answer::Record(Ok(None)));
        host.expect("List", Answer::Listed(Ok(nights.collect())));
        if encrypted {
            let delete = vec!["gc-20261113".to_owned(), "gc-20261114".to_owned()];
            host.writes(Outcome::Planned { delete, refused: None });
            assert_eq!(host.job.describe().state, JobState::Ok);
        } else {
            let why = "is bad: L0 is refuted: it is not encrypted";
            let refused = Some(format!("the job fails ({ID} {why}), and 2 would go"));
            host.writes(Outcome::Planned { delete: Vec::new(), refused });
            let status = host.job.describe();
            assert_eq!(status.state, JobState::Failing);
            assert_eq!(status.reason, Some(format!("{ID} {why}")));
        }
    }
}

#[test]
fn what_others_have_to_prove_is_looked_for_and_never_leased() {
    let mut host = night_of(JobSettings {
        kind: Kind::PgDump,
        levels: vec![Level::L1],
        elsewhere: vec![Level::L1],
        ..settings()
    });
    let slot = slot("2026-11-21T00:20");
    let outcome =
        Outcome::Done { id: "20261121".into(), target: Target::Instance, late: false, bytes: None };
    let key = RecordKey::Run(slot);
    let run = Record { version: 1, key, at: host.now.wall, by: "i-9".into(), outcome };
    host.expect("Read(Run", Answer::Record(Ok(Some(Box::new(run)))));
    for _ in 0..100 {
        host.expect("Read(Proof", Answer::Record(Ok(None)));
    }
    let mut abandoned = false;
    for _ in 0..5000 {
        let (ticket, call) = host.call();
        let answer = match call {
            Call::Read(_) => Answer::Record(Ok(None)),
            Call::Write(record) if matches!(record.key, RecordKey::Proof(of, _) if of == slot) => {
                let reason = "no host proved it in time".to_owned();
                assert_eq!(record.outcome, Outcome::Abandoned { reason });
                abandoned = true;
                break;
            }
            // The next night's dump is nobody's here.
            _ => Answer::Dumped(Err(error(CallErrorKind::Unclear))),
        };
        host.step(Event::Answered { ticket, answer });
    }
    assert!(abandoned, "{:?}", host.told);
    assert_eq!(
        host.told.iter().filter(|told| told.contains("proved")).count(),
        0,
        "{:?}",
        host.told
    );
}
