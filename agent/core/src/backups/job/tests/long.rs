//! What lasts longer than a night: old slots, doubts, orders, and what cannot be written down.

use super::quality::{error, gets_lease, gives_lease_back, night_of};
use super::*;
use crate::backups::call::CallErrorKind;
use crate::backups::proof::DumpFacts;

fn record(key: RecordKey, outcome: Outcome) -> Answer {
    let record = Record { version: 1, key, at: Wall(0), by: "i-9".into(), outcome };
    Answer::Record(Ok(Some(Box::new(record))))
}

fn dumped(slot: Slot) -> Outcome {
    let (id, target) = (slot.to_string(), Target::Instance);
    Outcome::Done { id, target, late: false, bytes: None }
}

#[test]
fn the_newest_slot_is_read_however_old_it_is_and_nothing_else_of_it() {
    let weekly = JobSettings {
        schedule: "20 0 * * 0".parse().unwrap(),
        copies: vec![],
        levels: vec![Level::L0],
        ..dumps(&[])
    };
    // Sunday was the 15th; this is Friday night.
    let mut host = Host::new(weekly, "2026-11-20T23:00");
    let sunday = slot("2026-11-15T00:20");
    let (ticket, call) = host.call();
    assert_eq!(call, Call::Read(RecordKey::Run(sunday)));
    let answer = record(RecordKey::Run(sunday), dumped(sunday));
    host.step(Event::Answered { ticket, answer });
    let status = host.job.describe();
    assert_eq!(status.last_good.unwrap().slot, Wall(sunday.at_ms()));
    assert_eq!((status.state, status.late_ms), (JobState::Ok, None));
    host.pass(Duration::from_hours(20));
    assert!(host.open.is_empty(), "{:?}", host.open);
    // An agent before this one, here or on a host that is gone, may have said that there is none.
    assert_eq!(host.told, ["backup shop: there is a good backup: 20261115"]);
}

#[test]
fn a_level_is_in_doubt_until_a_newer_backup_is_proved() {
    let mut host = night_of(dumps(&[Level::L0]));
    let (first, second) = (slot("2026-11-21T00:20"), slot("2026-11-22T00:20"));
    host.expect("Read(Run", record(RecordKey::Run(first), dumped(first)));
    let findings = vec!["it is empty".to_owned()];
    let refuted = Outcome::Refuted { findings };
    host.expect("Read(Proof", record(RecordKey::Proof(first, Level::L0), refuted));
    assert_eq!(host.job.describe().state, JobState::Failing);
    // The next night's is there, and not proved yet.
    host.expect("Read(Run", record(RecordKey::Run(second), dumped(second)));
    let status = host.job.describe();
    let why = "the backup of slot 20261121 is bad: L0 is refuted: it is empty";
    assert_eq!((status.state, status.reason.as_deref()), (JobState::Failing, Some(why)));
    let proved = Outcome::Proved { took_ms: 1 };
    host.expect("Read(Proof", record(RecordKey::Proof(second, Level::L0), proved));
    assert_eq!(host.job.describe().state, JobState::Ok);
    // And that it was proved is known as long as nothing newer is.
    for _ in 0..100 {
        host.open.clear();
        host.pass(Duration::from_hours(1));
    }
    assert_eq!(host.job.describe().last_verified.unwrap().slot, Wall(second.at_ms()));
}

#[test]
fn whoever_may_not_commit_gives_the_lease_back() {
    let mut host = night_of(dumps(&[]));
    host.reads_nothing();
    host.sees(None);
    gets_lease(&mut host);
    let facts = DumpFacts {
        exit_code: Some(0),
        complaint: None,
        bytes: 5000,
        stored_bytes: 1000,
        trailer: true,
        previous_bytes: None,
    };
    host.expect("Dump", Answer::Dumped(Ok(Box::new(facts))));
    host.expect("Commit", Answer::Committed(Err(error(CallErrorKind::Denied))));
    gives_lease_back(&mut host);
    let told = "backup shop: slot 20261121 cannot be dumped here: no";
    assert_eq!(host.told, [told]);
    host.reads_nothing();
}

#[test]
fn a_proof_is_written_down_again_and_not_made_again() {
    for kind in [CallErrorKind::Unclear, CallErrorKind::Denied] {
        let mut host = night_of(dumps(&[Level::L1]));
        let slot = slot("2026-11-21T00:20");
        host.expect("Read(Run", record(RecordKey::Run(slot), dumped(slot)));
        host.expect("Read(Proof", Answer::Record(Ok(None)));
        gets_lease(&mut host);
        host.expect("Prove", Answer::Proved(Ok(Vec::new())));
        host.expect("Write", Answer::Written(Err(error(kind))));
        let mut renewals = 0;
        loop {
            let (ticket, call) = host.call();
            let answer = match call {
                Call::Write(_) => Answer::Written(Ok(Put::Written)),
                Call::Lease(_) => {
                    renewals += 1;
                    let etag = Some(format!("e{renewals}"));
                    Answer::Lease(crate::backups::lease::LeaseAnswer::Put(Ok(etag)))
                }
                other => panic!("{other:?}"),
            };
            host.step(Event::Answered { ticket, answer });
            if host.job.describe().last_verified.is_some() {
                break;
            }
        }
        assert_eq!(renewals > 5, kind == CallErrorKind::Denied, "{renewals}");
    }
}

#[test]
fn only_so_many_orders_are_open_and_those_that_are_done_make_room() {
    let mut host = night_of(dumps(&[]));
    let mut orders = 0;
    while host.job.takes_orders() {
        host.step(Event::RunNow);
        host.now.at = host.now.at.plus(Duration::from_mins(1));
        host.now.wall.0 += 60_000;
        orders += 1;
    }
    assert_eq!(orders, limits::SLOTS_DUE_MAX);
    // What was asked before is lost by now.
    host.open.clear();
    let (ticket, call) = host.call();
    let Call::Read(RecordKey::Run(slot)) = call else { panic!("{call:?}") };
    let answer = record(RecordKey::Run(slot), dumped(slot));
    host.step(Event::Answered { ticket, answer });
    assert!(host.job.takes_orders());
}
