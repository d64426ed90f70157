//! Who waits for whom.

use super::*;
use crate::backups::lease::{LeaseAction, LeaseAnswer, LeaseBody, LeaseCall, LeaseSeen};

/// A host, `up` after it began, that finds a lease of `holder` written `age` ago: what it does next
/// about it, and how long it waits before.
fn found(holder: &str, age: u64, up: u64) -> (LeaseAction, Duration) {
    let dumps = JobSettings { kind: Kind::PgDump, spread: Duration::ZERO, ..settings() };
    let mut host = Host::new(dumps, "2026-11-21T00:10");
    host.open.clear();
    host.pass(Duration::from_secs(up));
    host.open.clear();
    host.step(Event::RunNow);
    let mut ages = std::iter::once(age);
    loop {
        let before = host.now.at;
        let (ticket, call) = host.call();
        let answer = match call {
            Call::Read(_) => Answer::Record(Ok(None)),
            Call::Look { .. } => Answer::Seen(Ok(None)),
            Call::Lease(LeaseCall { action: LeaseAction::Read, .. }) => match ages.next() {
                Some(age) => {
                    let body = LeaseBody {
                        holder: holder.into(),
                        run: "i-1.0".into(),
                        ttl_s: limits::LEASE_TTL.as_secs(),
                        epoch: 4,
                    };
                    let age = Duration::from_secs(age);
                    let seen = LeaseSeen { body, etag: "a".into(), age };
                    Answer::Lease(LeaseAnswer::Read(Ok(Some(Box::new(seen)))))
                }
                None => return (LeaseAction::Read, host.now.at.since(before)),
            },
            Call::Lease(LeaseCall { action, .. }) => return (action, host.now.at.since(before)),
            // The night before was missed.
            Call::Write(_) => Answer::Written(Ok(Put::Written)),
            other => panic!("{other:?}"),
        };
        host.step(Event::Answered { ticket, answer });
    }
}

#[test]
fn what_an_earlier_life_held_is_taken_at_once_and_what_others_hold_is_not() {
    let (action, waited) = found("i-1", 20, 10);
    let LeaseAction::Replace { etag, body } = action else { panic!("{action:?}") };
    assert_eq!((etag.as_str(), body.epoch, body.run.as_str()), ("a", 5, "i-1.1"));
    assert_eq!(waited, Duration::ZERO);
    // Another host's, and that of a host which shares the name and took it in this life's time.
    for (holder, age) in [("i-2", 20), ("i-1", 9), ("i-1", 12)] {
        assert!(matches!(found(holder, age, 10).0, LeaseAction::Read), "{holder} {age}");
    }
}
