//! One restore by RDS for proof, answer by answer.

use super::super::lease::{LeaseAction, LeaseAnswer, LeaseCall};
use super::super::limits::RESTORE_WITHIN_USUAL;
use super::super::slot::Slot;
use super::super::{JobSettings, Kind, civil::DateTime, zone::Zone};
use super::*;
use crate::time::{Now, Wall};

fn settings() -> JobSettings {
    JobSettings {
        name: "shop".parse().unwrap(),
        kind: Kind::RdsSnapshot,
        database: "shop-db".into(),
        schedule: "20 0 * * *".parse().unwrap(),
        zone: Zone::utc(),
        catch_up: Duration::from_hours(20),
        spread: Duration::ZERO,
        stale_after: None,
        retention: super::super::retention::Policy::default(),
        copies: Vec::new(),
        levels: vec![Level::L3],
        elsewhere: Vec::new(),
        encrypted: true,
        restore_within: RESTORE_WITHIN_USUAL,
        dump: super::super::proof::DumpRules::default(),
        instance: "i-1".into(),
        run: "i-1.1".into(),
    }
}

/// What RDS shows of the restored instance; `None`: it does not exist.
type Shown = Option<&'static str>;

/// A bucket and an RDS of one snapshot.
struct Aws<S> {
    /// The state of the restored instance, so long after it was asked for.
    status: S,
    id: String,
    slot: Slot,
    restored: Option<Moment>,
    gone: bool,
    calls: Vec<String>,
}

impl<S: Fn(Duration) -> Shown> Aws<S> {
    fn answer(&mut self, now: Moment, call: &Call) -> Answer {
        if matches!(call, Call::Restore { .. } | Call::Prove { .. } | Call::Destroy { .. }) {
            self.calls.push(format!("{call:?}").split(' ').next().unwrap().to_owned());
        }
        match call {
            Call::Read(_) => Answer::Record(Ok(None)),
            Call::Write(record) => {
                // The next slot's is tried when this one was not proved.
                let proved = matches!(record.outcome, Outcome::Proved { .. });
                assert_eq!(record.key == RecordKey::Unproved(self.slot), !proved, "{record:?}");
                Answer::Written(Ok(Put::Written))
            }
            Call::Lease(LeaseCall { action: LeaseAction::Read, .. }) => {
                Answer::Lease(LeaseAnswer::Read(Ok(None)))
            }
            Call::Lease(_) => Answer::Lease(LeaseAnswer::Put(Ok(Some("e".into())))),
            Call::Scratches => {
                let since = self.restored.filter(|_| !self.gone).map(|at| now.since(at));
                let (id, shown) = (self.id.clone(), since.and_then(&self.status));
                let scratch = |status: &str| Scratch { id, status: status.into(), until_s: None };
                Answer::Scratches(Ok(shown.map(scratch).into_iter().collect()))
            }
            Call::Mark { .. } => Answer::Marked(Ok(())),
            Call::Restore { .. } => {
                self.restored.get_or_insert(now);
                Answer::Made(Ok(Make::Begun))
            }
            Call::Prove { .. } => Answer::Proved(Ok(Vec::new())),
            Call::Destroy { .. } => {
                self.gone = true;
                Answer::Deleted(Ok(()))
            }
            other => panic!("{other:?} is nothing of a proof at L3"),
        }
    }
}

/// Proves one snapshot, whose restored instance is in the state that `status` says so long after it
/// was asked for, and gives the outcome with the calls that change something.
fn proved(status: impl Fn(Duration) -> Shown) -> (Outcome, Vec<String>) {
    let (job, mut tickets, mut database) = (settings(), 0, None);
    let nominal: DateTime = "2026-11-21T00:20".parse().unwrap();
    let slot = Slot { nominal, at_s: nominal.seconds(), daily: true };
    let id = scratch_id(&job.name, &job.database, "gc-shop", slot);
    let mut aws = Aws { status, id, slot, restored: None, gone: false, calls: Vec::new() };
    let mut now = Now { at: Moment(1_000_000), wall: Wall(nominal.seconds() * 1000) };
    let mut out = Vec::new();
    let mut proving: Option<Proving> = None;
    for _ in 0..20_000 {
        let mut turn = Turn {
            now,
            begun: now.at,
            job: &job,
            out: &mut out,
            tickets: &mut tickets,
            random: 0,
            database: &mut database,
            target: Some(Target::Instance),
            clock_ok: true,
        };
        let key = RecordKey::Proof(slot, Level::L3);
        let backup = ("gc-shop".to_owned(), Target::Instance);
        let proving = proving
            .get_or_insert_with(|| Proving::new(&turn, key, Level::L3, backup, vec![], now.at));
        proving.go(&mut turn);
        if let Some(record) = proving.ended() {
            return (record.outcome.clone(), aws.calls);
        }
        for effect in std::mem::take(turn.out) {
            let Effect::Call { ticket, call } = effect else { continue };
            let answer = aws.answer(now.at, &call);
            assert!(proving.takes(ticket));
            proving.answered(&mut turn, answer);
        }
        now = Now { at: now.at.plus(Duration::from_secs(1)), wall: Wall(now.wall.0 + 1000) };
    }
    panic!("it does not end");
}

#[test]
fn what_is_restored_in_time_is_proved_and_goes() {
    let status = |since: Duration| {
        Some(if since < Duration::from_hours(2) { "creating" } else { "available" })
    };
    let (outcome, calls) = proved(status);
    assert!(matches!(outcome, Outcome::Proved { .. }), "{outcome:?}");
    assert_eq!(calls, ["Restore", "Prove", "Destroy"]);
}

#[test]
fn what_is_not_available_in_time_goes_unproved() {
    for word in ["creating", super::super::proof::EMPTY] {
        let (outcome, calls) = proved(|_| Some(word));
        let reason = "what was restored is not available after 3h".to_owned();
        assert_eq!(outcome, Outcome::Abandoned { reason });
        assert_eq!(calls.last().unwrap(), "Destroy");
        assert!(!calls.contains(&"Prove".to_owned()));
    }
}
