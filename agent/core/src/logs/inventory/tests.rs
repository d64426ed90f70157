//! Decisions by table: a look, the answers, and what follows.

use std::time::Duration;

use super::*;

const NOW: Moment = Moment(1_000_000);
const LATER: Moment = Moment(NOW.0 + 30_000);

fn identity(inode: u64) -> Identity {
    Identity { device: 1, inode, born_ns: Some(i64::try_from(inode).unwrap() * 10) }
}

fn seen(name: &str, inode: u64, size: u64) -> Seen {
    let path = format!("/l/{name}");
    let (at, compressed) = (path.clone(), is_compressed(name));
    let rule = name.starts_with("app.log").then_some(0);
    Seen { path, at, rule, identity: identity(inode), size, modified_ns: 0, compressed }
}

fn look(held: &[(u64, u64, bool)], seen: &[Seen]) -> Look {
    let held = held
        .iter()
        .map(|(id, size, intact)| (SourceId(*id), Held { size: *size, intact: *intact }));
    let mut seen = seen.to_vec();
    seen.sort_by(|a, b| a.path.cmp(&b.path));
    Look { held: held.collect(), seen, listed: BTreeSet::from(["/l".to_owned()]) }
}

/// An inventory that reads one file of 500 bytes, and has read 300 of them.
fn reading() -> Inventory {
    let mut inventory = Inventory::new(vec!["/l/app.log*".to_owned()]);
    let first = look(&[], &[seen("app.log", 7, 500)]);
    let opened = inventory.decide(&first, &Alike::new(), NOW);
    assert_eq!(opened, [Change::Open { id: SourceId(1), seen: 0, from: 0, last: false }]);
    let head = Print { start: 0, length: 500, hash: 1 };
    inventory.printed(SourceId(1), head, Print { start: 0, length: 300, hash: 2 });
    inventory.read_to(SourceId(1), 300);
    inventory.accepted(SourceId(1), 200);
    inventory
}

fn restarted(inventory: &Inventory) -> Inventory {
    let mut next = Inventory::new(vec!["/l/app.log*".to_owned()]);
    next.restore(inventory.known());
    next
}

fn decide(inventory: &mut Inventory, look: &Look, alike: &[(u64, usize)]) -> Vec<Change> {
    let alike = alike.iter().map(|(id, seen)| (SourceId(*id), *seen)).collect();
    inventory.decide(look, &alike, NOW)
}

#[test]
fn a_renamed_file_goes_on_until_it_is_quiet_and_the_new_one_is_opened() {
    let mut inventory = reading();
    let after = look(&[(1, 500, true)], &[seen("app.log", 8, 0), seen("app.log.1", 7, 500)]);
    let moved = Change::Moved { id: SourceId(1), to: Some("/l/app.log.1".to_owned()) };
    let opened = Change::Open { id: SourceId(2), seen: 0, from: 0, last: false };
    assert_eq!(decide(&mut inventory, &after, &[]), [moved, opened]);
    assert_eq!(inventory.look_at(), Some(LATER));
    let after =
        look(&[(1, 500, true), (2, 0, true)], &[seen("app.log", 8, 0), seen("app.log.1", 7, 500)]);
    let last = inventory.decide(&after, &Alike::new(), LATER);
    assert_eq!(last, [Change::Final { id: SourceId(1) }]);
    inventory.accepted(SourceId(1), 500);
    inventory.closed(SourceId(1));
    let after = look(&[(2, 0, true)], &[seen("app.log", 8, 0), seen("app.log.1", 7, 510)]);
    let again = Change::Open { id: SourceId(1), seen: 1, from: 500, last: false };
    assert_eq!(decide(&mut inventory, &after, &[(1, 1)]), [again], "it grew after all");
}

#[test]
fn a_truncated_file_goes_on_in_its_copy_and_begins_anew() {
    let mut inventory = reading();
    let after = look(&[(1, 20, false)], &[seen("app.log", 7, 20), seen("app.log.1", 8, 500)]);
    let asked = inventory.pairs(&after);
    let pair = Pair { id: SourceId(1), seen: 1, against: Against::Prints, own: false };
    assert_eq!(asked, [pair]);
    let goes_on = Change::Continue { id: SourceId(1), seen: 1, from: 300 };
    let anew = Change::Open { id: SourceId(2), seen: 0, from: 0, last: false };
    assert_eq!(decide(&mut inventory, &after, &[(1, 1)]), [goes_on, anew]);
    let file = inventory.file(SourceId(1)).unwrap();
    assert_eq!((file.identity, file.offset), (Some(identity(8)), 200), "also after a crash");
}

#[test]
fn a_truncated_file_without_a_copy_ends_and_the_loss_is_told() {
    let mut inventory = reading();
    let after = look(&[(1, 20, false)], &[seen("app.log", 7, 20)]);
    let end = Change::End { id: SourceId(1), lost_bytes: 200 };
    let anew = Change::Open { id: SourceId(2), seen: 0, from: 0, last: false };
    assert_eq!(decide(&mut inventory, &after, &[]), [end, anew]);
    inventory.closed(SourceId(1));
    assert_eq!(inventory.file(SourceId(1)), None);
}

#[test]
fn an_offset_is_applied_to_the_same_content_only() {
    // What the file is now; whether its content agrees; from where it is read, by whom.
    for (file, alike, id, from) in [
        (seen("app.log", 7, 500), true, 1, 200),
        (seen("app.log", 7, 500), false, 2, 0),
        (seen("app.log", 7, 150), true, 2, 0),
        (Seen { identity: identity(9), ..seen("app.log", 7, 500) }, true, 2, 0),
        // The inode is given to another file.
        (
            Seen {
                identity: Identity { born_ns: Some(1), ..identity(7) },
                ..seen("app.log", 7, 500)
            },
            true,
            2,
            0,
        ),
        // The device has another number after a reboot.
        (
            Seen { identity: Identity { device: 5, ..identity(7) }, ..seen("app.log", 7, 500) },
            true,
            1,
            200,
        ),
        // Born at no known time: the device has to agree.
        (
            Seen {
                identity: Identity { device: 5, born_ns: None, ..identity(7) },
                ..seen("app.log", 7, 500)
            },
            true,
            2,
            0,
        ),
    ] {
        let mut inventory = restarted(&reading());
        let look = look(&[], std::slice::from_ref(&file));
        let answers: Vec<(u64, usize)> = inventory
            .pairs(&look)
            .iter()
            .filter(|_| alike)
            .map(|pair| (pair.id.0, pair.seen))
            .collect();
        let opened = Change::Open { id: SourceId(id), seen: 0, from, last: false };
        assert_eq!(decide(&mut inventory, &look, &answers), [opened], "{file:?}");
    }
}

#[test]
fn a_copy_of_what_is_read_is_not_read_until_it_differs() {
    let mut inventory = reading();
    let held = [(1, 500, true)];
    let files = [seen("app.log", 7, 500), seen("app.log.1", 8, 400)];
    let both = look(&held, &files);
    let content = Pair { id: SourceId(1), seen: 1, against: Against::Content, own: false };
    assert_eq!(inventory.pairs(&both), [content]);
    assert_eq!(decide(&mut inventory, &both, &[(1, 1)]), []);
    assert_eq!(inventory.copies().count(), 1);
    let opened = Change::Open { id: SourceId(3), seen: 1, from: 0, last: false };
    assert_eq!(decide(&mut inventory, &both, &[(2, 1)]), [opened]);
}

#[test]
fn compressed_files_are_asked_about_when_nothing_else_is_left() {
    let inventory = restarted(&reading());
    let files = [seen("app.log.1.gz", 8, 90), seen("app.log.2", 9, 500), seen("b.gz", 10, 90)];
    let look = look(&[], &files);
    let plain = inventory.pairs(&look);
    assert_eq!(plain.iter().map(|pair| pair.seen).collect::<Vec<_>>(), [1]);
    let leftovers = inventory.leftovers(&look, &Alike::new());
    assert_eq!(leftovers.iter().map(|pair| pair.seen).collect::<Vec<_>>(), [0]);
    assert_eq!(inventory.leftovers(&look, &Alike::from([(SourceId(1), 1)])), []);
}

#[test]
fn files_beyond_the_bound_wait_and_the_newest_come_first() {
    let mut inventory = Inventory::new(vec!["/l/app.log*".to_owned()]);
    let files: Vec<Seen> = (0..limits::OPEN_MAX + 10)
        .map(|at| {
            let inode = u64::try_from(at).unwrap() + 1;
            let file = seen(&format!("app.log.x{at}x"), inode, 1);
            Seen { modified_ns: i64::try_from(at).unwrap(), ..file }
        })
        .collect();
    let all = look(&[], &files);
    let opened = decide(&mut inventory, &all, &[]);
    assert_eq!((opened.len(), inventory.waiting()), (limits::OPEN_MAX, 10));
    let first = opened.first().and_then(|change| match change {
        Change::Open { seen, .. } => all.seen.get(*seen),
        _ => None,
    });
    assert_eq!(first.map(|file| file.modified_ns), Some(1009));
}

#[test]
fn large_files_are_begun_at_their_end_only_when_their_rule_is_new() {
    let mut inventory = Inventory::new(vec!["/l/app.log*".to_owned()]);
    let large = limits::FIRST_BYTES_MAX + 1;
    let open = |id, seen, from| Change::Open { id: SourceId(id), seen, from, last: false };
    let files = [seen("app.log", 1, large), seen("app.log_a", 2, large - 1)];
    let mut first = decide(&mut inventory, &look(&[], &files), &[]);
    first.sort_by_key(|change| matches!(change, Change::Open { seen: 1, .. }));
    assert_eq!(first, [open(1, 0, large), open(2, 1, 0)]);
    let held = [(1, large, true), (2, large - 1, true)];
    let files = [&files[..], &[seen("app.log_b", 3, large)]].concat();
    assert_eq!(decide(&mut inventory, &look(&held, &files), &[]), [open(3, 2, 0)]);
}

#[test]
fn a_source_that_is_not_found_is_forgotten_only_after_a_while() {
    let mut inventory = restarted(&reading());
    let nothing = look(&[], &[]);
    let hidden = Look { listed: BTreeSet::new(), ..nothing.clone() };
    let at = |ms: u64| NOW.plus(Duration::from_millis(ms));
    let hour = 3_600_000;
    assert_eq!(inventory.decide(&hidden, &Alike::new(), at(0)), []);
    assert_eq!(inventory.decide(&nothing, &Alike::new(), at(hour)), [], "missed from now on");
    assert_eq!(inventory.decide(&nothing, &Alike::new(), at(2 * hour - 1)), []);
    let forget = Change::Forget { id: SourceId(1), path: "/l/app.log".to_owned() };
    assert_eq!(inventory.decide(&nothing, &Alike::new(), at(2 * hour)), [forget]);
}

#[test]
fn the_checkpoint_is_read_as_it_was_written() {
    let known = reading().known();
    let text = serde_json::to_string(&known).unwrap();
    assert_eq!(serde_json::from_str::<Known>(&text).unwrap(), known);
}
