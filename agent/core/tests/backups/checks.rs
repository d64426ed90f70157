//! What must hold at every call, and in the end.

use groundcrew_core::backups::Kind;
use groundcrew_core::backups::backup::{BackupState, Marks};
use groundcrew_core::backups::call::{Answer, Call, CallError, Make, Put};
use groundcrew_core::backups::lease::{LeaseAction, LeaseAnswer};
use groundcrew_core::backups::limits::SCRATCH_TTL;
use groundcrew_core::backups::proof::Level;
use groundcrew_core::backups::record::{Outcome, Place, RecordKey, Skip};
use groundcrew_core::backups::slot::Slot;

use crate::world::{QUIET, START, World};

/// What a call works on for long, if it does.
pub fn work(call: &Call) -> Option<RecordKey> {
    match call {
        Call::Dump { slot, .. } => Some(RecordKey::Run(*slot)),
        Call::Prove { level, id, .. } => {
            // Only for telling works apart: the id is as good as the slot.
            let date = groundcrew_core::backups::civil::DateTime::from_seconds(0);
            let at_s = id.bytes().fold(0_i64, |sum, byte| sum * 31 % 1_000_003 + i64::from(byte));
            Some(RecordKey::Proof(Slot { nominal: date, at_s, daily: true }, *level))
        }
        _ => None,
    }
}

/// Before a call leaves its host.
pub fn before(world: &World, host: usize, call: &Call) {
    if let Some(key) = work(call) {
        let other = world.working.iter().find(|(_, other)| **other == key);
        assert!(other.is_none(), "i-{host} and {other:?} work on {key:?}\n{}", world.tail());
    }
    if let Call::Destroy { id } = call {
        assert!(id.starts_with("gc-verify-shop-"), "{id}");
    }
}

/// After the server has done what it was asked for.
pub fn after(world: &mut World, call: &Call, answer: &Answer) {
    match (call, answer) {
        (Call::Write(record), Answer::Written(Ok(Put::Written))) => {
            let outcome = record.outcome.clone();
            written(world, &record.key, &outcome);
        }
        (Call::Delete { place, id, .. }, Answer::Deleted(Ok(()))) => deleted(world, place, id),
        (Call::Snapshot { .. }, Answer::Made(Ok(Make::Begun))) => one_for_each_slot(world),
        (Call::Lease(lease), Answer::Lease(LeaseAnswer::Put(Ok(Some(_)))))
            if matches!(lease.action, LeaseAction::Replace { .. }) =>
        {
            world.counts.taken_over = world.server.takeovers;
        }
        (Call::Destroy { .. }, _) => world.counts.reaped_or_cleaned += 1,
        _ => {}
    }
}

fn written(world: &mut World, key: &RecordKey, outcome: &Outcome) {
    match (key, outcome) {
        (RecordKey::Run(_), Outcome::Done { id, late, .. }) => {
            world.counts.done += 1;
            world.counts.late += u64::from(*late);
            world.counts.dumped += u64::from(world.settings.kind == Kind::PgDump);
            let there = world.server.list(world.now, &Place::Home);
            let found = there.iter().find(|backup| backup.id == *id);
            let available = found.is_some_and(|it| it.state == BackupState::Available);
            assert!(available, "{id} is recorded and {found:?}\n{}", world.tail());
        }
        (RecordKey::Copy(..), Outcome::Done { .. }) => world.counts.copied += 1,
        (RecordKey::Proof(..), Outcome::Proved { .. }) => world.counts.proved += 1,
        (RecordKey::Proof(..) | RecordKey::Unproved(_), Outcome::Refuted { .. }) => {
            world.counts.refuted += 1;
        }
        (RecordKey::Proof(..) | RecordKey::Unproved(_), Outcome::Abandoned { reason }) => {
            // Half of the hosts can, so somebody did, but where the fleet was gone or RDS slow.
            let faults = key.slot().at_s < START / 1000 + 4 * 86_400;
            assert!(faults, "{key:?} was not proved: {reason}\n{}", world.tail());
        }
        (RecordKey::Retention(slot, place), Outcome::Planned { delete, .. }) => {
            assert!(delete.len() <= 5, "{delete:?}");
            let good = |id: &String| {
                let snapshot = world.server.snapshots.get(&(place.clone(), id.clone()));
                snapshot.is_none_or(|snapshot| !snapshot.fails)
            };
            let bad = |level| {
                let outcome = world.outcome(&RecordKey::Proof(*slot, level));
                outcome.is_some_and(Outcome::is_bad)
            };
            let doubt = [Level::L0, Level::L1, Level::L2].into_iter().any(bad);
            let goes = delete.iter().filter(|id| good(id)).count();
            assert!(!doubt || goes == 0, "{delete:?} goes, and {slot} is bad\n{}", world.tail());
        }
        _ => {}
    }
}

/// Of each slot and place one is available at most, that was and will be.
fn one_for_each_slot(world: &World) {
    let mut seen = std::collections::BTreeMap::new();
    for ((place, id), snapshot) in &world.server.snapshots {
        let nominal = Marks::of(&snapshot.tags).unwrap().nominal;
        // One by hand may be of the same minute; its name has the time.
        let timed = id.split('-').any(|part| part.len() == "20261121t0020".len());
        if !snapshot.fails
            && let Some(other) = seen.insert((place, nominal, timed), id)
        {
            panic!("{other} and {id} are of one slot\n{}", world.tail());
        }
    }
}

fn deleted(world: &mut World, place: &Place, id: &str) {
    world.counts.deleted += 1;
    let planned = world.server.records.values().any(|record| {
        matches!((&record.key, &record.outcome),
            (RecordKey::Retention(_, of), Outcome::Planned { delete, .. })
                if of == place && delete.iter().any(|it| it == id))
    });
    assert!(planned, "{id} was deleted and nobody wrote that down\n{}", world.tail());
    let failed = world.server.snapshots.get(&(place.clone(), id.to_owned()));
    if failed.is_some_and(|snapshot| snapshot.fails) {
        return;
    }
    let left = world.server.list(world.now, place);
    let left = left.iter().filter(|backup| backup.state == BackupState::Available).count();
    assert!(left >= 3, "{left} are left in {place}\n{}", world.tail());
    if *place == Place::Home {
        // What the policy keeps of a history as long as this one: seven days and two weeks.
        assert!(left >= world.before.min(8) - 1, "{left} are left\n{}", world.tail());
    }
}

/// The answer of a server that did not do it.
pub fn failed(call: &Call, error: CallError) -> Answer {
    match call {
        Call::Read(_) => Answer::Record(Err(error)),
        Call::Write(_) => Answer::Written(Err(error)),
        Call::Database => Answer::Database(Err(error)),
        Call::Look { .. } => Answer::Seen(Err(error)),
        Call::List { .. } => Answer::Listed(Err(error)),
        Call::Snapshot { .. } | Call::Copy { .. } | Call::Restore { .. } => {
            Answer::Made(Err(error))
        }
        Call::Delete { .. } | Call::Destroy { .. } => Answer::Deleted(Err(error)),
        Call::Lease(lease) => Answer::Lease(match lease.action {
            LeaseAction::Read => LeaseAnswer::Read(Err(error)),
            LeaseAction::Create(_) | LeaseAction::Replace { .. } => LeaseAnswer::Put(Err(error)),
        }),
        Call::Dump { .. } => Answer::Dumped(Err(error)),
        Call::Commit { .. } => Answer::Committed(Err(error)),
        Call::Inspect { .. } => Answer::Inspected(Err(error)),
        Call::Prove { .. } => Answer::Proved(Err(error)),
        Call::Mark { .. } => Answer::Marked(Err(error)),
        Call::Scratches => Answer::Scratches(Err(error)),
    }
}

/// In peace everything ends well.
pub fn at_the_end(world: &World) {
    let tail = || world.tail();
    assert_eq!(world.living().len(), 50);
    let peace = START / 1000 + 4 * 86_400;
    for slot in world.slots() {
        let key = RecordKey::Run(slot);
        let outcome = world.outcome(&key);
        let Some(outcome) = outcome else { panic!("slot {slot} has no record\n{}", tail()) };
        let quiet = slot.at_s > peace;
        let there = world.server.snapshots.iter().filter(|((place, _), snapshot)| {
            let marks = Marks::of(&snapshot.tags).unwrap();
            let of_slot = marks.nominal == slot.nominal && !marks.by_hand;
            *place == Place::Home && !snapshot.fails && of_slot
        });
        let made = there.count();
        match outcome {
            Outcome::Done { .. } if world.settings.kind == Kind::RdsSnapshot => {
                assert_eq!(made, 1, "slot {slot}\n{}", tail());
            }
            Outcome::Done { .. } => {}
            Outcome::Skipped(Skip::Stopped) if !world.easy && !quiet => {}
            Outcome::Failed { reason } if !quiet && reason.contains("killed") => {}
            Outcome::Failed { reason } if !quiet && reason.starts_with("4 snapshots") => {}
            Outcome::Failed { .. } | Outcome::Abandoned { .. } if !world.easy && !quiet => {}
            other => panic!("slot {slot} ended with {other:?}\n{}", tail()),
        }
        if quiet {
            followers(world, slot);
        }
    }
    let l3 = world.settings.levels.contains(&Level::L3);
    if l3 && world.settings.kind == Kind::RdsSnapshot {
        // Two nights of peace are enough for the month's.
        let slot = world.slots()[0];
        let month = world.outcome(&RecordKey::Proof(slot, Level::L3));
        assert!(matches!(month, Some(Outcome::Proved { .. })), "{month:?}\n{}", tail());
    }
    no_scratch_is_left(world);
}

/// What follows from a backup in peace: its copies, its proofs, its retention.
fn followers(world: &World, slot: Slot) {
    let snapshots = world.settings.kind == Kind::RdsSnapshot;
    let has = |key: RecordKey, good: fn(&Outcome) -> bool| {
        // The last slot's may still be under way.
        let over = slot.at_s < world.now / 1000 - 86_400;
        let outcome = world.outcome(&key);
        assert!(outcome.map_or(!over, good), "{key:?} ended with {outcome:?}\n{}", world.tail());
    };
    has(RecordKey::Retention(slot, Place::Home), |it| matches!(it, Outcome::Planned { .. }));
    for copy in world.settings.copies.iter().filter(|_| snapshots) {
        let key = RecordKey::Copy(slot, copy.region.clone());
        has(key, |it| matches!(it, Outcome::Done { .. }));
    }
    for level in &world.settings.levels {
        if level.applies_to(world.settings.kind) && *level != Level::L3 {
            has(RecordKey::Proof(slot, *level), |it| matches!(it, Outcome::Proved { .. }));
        }
    }
}

fn no_scratch_is_left(world: &World) {
    assert!(QUIET / 1000 > i64::try_from(SCRATCH_TTL.as_secs()).unwrap());
    for (id, scratch) in &world.server.scratches {
        // Nobody's time is over by more than an hour and what a deletion takes.
        let overdue = world.now / 1000 - scratch.until_s;
        let gone = scratch.gone.is_some();
        assert!(gone || overdue < 2 * 3600, "{id} is left: {scratch:?}\n{}", world.tail());
    }
}
