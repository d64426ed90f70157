//! Dumps that are kept, read, half deleted or never committed: what goes, what stays, and that a
//! manifest is written once.

use groundcrew_core::backups::backup::BackupState;
use groundcrew_core::backups::call::{CallErrorKind, Ticket};
use groundcrew_core::backups::proof::Level;
use groundcrew_core::backups::slot::Slot;
use serde_json::{Value, json};

use super::{World, make, never, run, slot, tags_of};
use crate::harness::fault_proxy::Fault;

const HOLD: &str = "groundcrew:hold";
const MANIFEST: &str = "acme/dumps/shop/20261121/manifest.json";
const MARKS: &str = "acme/dumps/shop/20261121/marks.json";

fn tag(value: &str) -> [(String, String); 1] {
    [(HOLD.into(), value.into())]
}

fn other_slot() -> Slot {
    Slot { nominal: "2026-11-22T00:20".parse().unwrap(), ..slot() }
}

/// The marks of the dump, with a change.
fn put_marks(world: &World, field: &str, value: Value) {
    let mut marks: Value = serde_json::from_slice(&world.object(MARKS)).unwrap();
    marks[field] = value;
    world.put(MARKS, marks.to_string().as_bytes());
}

#[test]
fn what_is_kept_or_read_is_not_deleted_and_its_manifest_never_changes() {
    let world = World::postgres();
    let dumps = world.dumps();
    let kind = |result: Result<(), groundcrew_core::backups::call::CallError>| {
        result.map_err(|error| error.kind)
    };
    run(async {
        make(&dumps, slot()).await;
        let manifest = world.object(MANIFEST);
        dumps.mark("20261121", &tag("audit")).await.unwrap();
        // The answer to this one is lost, and it is done all the same.
        world.proxy.inject_for("PUT", "marks.json", Fault::AnswerLost, Some(1));
        dumps.mark("20261121", &tag("audit 2026")).await.unwrap();
        let hold = async || dumps.list().await.unwrap()[0].marks.clone().unwrap().hold;
        assert_eq!(hold().await.as_deref(), Some("audit 2026"));
        let error = dumps.delete("20261121").await.unwrap_err();
        assert!(error.text.contains("is kept: audit 2026"), "{error:?}");
        assert_eq!(error.kind, CallErrorKind::Refused);
        dumps.mark("20261121", &tag("")).await.unwrap();
        assert_eq!(hold().await, None);
        let other = [("groundcrew:job".to_owned(), "x".to_owned())];
        assert_eq!(kind(dumps.mark("20261121", &other).await), Err(CallErrorKind::Refused));
        assert_eq!(kind(dumps.mark("20261120", &tag("x")).await), Err(CallErrorKind::Refused));
        // Somebody reads it, for a while.
        put_marks(&world, "in_use", json!({"i-9": 32_503_680_000_i64}));
        assert_eq!(kind(dumps.delete("20261121").await), Err(CallErrorKind::Unclear));
        let in_use = dumps.list().await.unwrap()[0].marks.clone().unwrap().in_use.unwrap();
        assert_eq!((in_use.run.as_str(), in_use.until_s), ("i-9", 32_503_680_000));
        put_marks(&world, "in_use", json!({"i-9": 5}));
        // What cannot be read keeps.
        let marks = world.object(MARKS);
        world.put(MARKS, b"{}");
        assert!(hold().await.unwrap().contains("cannot be read"));
        assert_eq!(kind(dumps.delete("20261121").await), Err(CallErrorKind::Refused));
        world.put(MARKS, &marks);
        assert_eq!(world.object(MANIFEST), manifest);
        dumps.delete("20261121").await.unwrap();
    });
    assert_eq!(world.keys(), Vec::<String>::new());
    let writes = |name: &str| {
        let seen = world.proxy.seen();
        seen.iter().filter(|seen| seen.method == "PUT" && seen.path.contains(name)).count()
    };
    assert_eq!(writes("manifest.json"), 1);
}

#[test]
fn a_dump_is_marked_while_it_is_read_and_not_after() {
    let world = World::postgres();
    let dumps = world.dumps();
    run(async {
        make(&dumps, slot()).await;
        assert_eq!(dumps.prove(Level::L1, "20261121", &|_, _| {}, &never()).await, Ok(vec![]));
        let seen = world.proxy.seen();
        let order = |what: &str| seen.iter().position(|seen| seen.path.contains(what)).unwrap();
        let marked =
            seen.iter().position(|seen| seen.method == "PUT" && seen.path.contains("marks.json"));
        let read =
            seen.iter().rposition(|seen| seen.method == "GET" && seen.path.contains(".dump"));
        assert!(order("manifest.json") < marked.unwrap() && marked < read);
        let marks: Value = serde_json::from_slice(&world.object(MARKS)).unwrap();
        assert_eq!(marks["in_use"], json!({}));
        // Who cannot mark may read nevertheless.
        world.proxy.inject_for("PUT", "marks.json", Fault::SlowDown, None);
        assert_eq!(dumps.prove(Level::L1, "20261121", &|_, _| {}, &never()).await, Ok(vec![]));
        world.proxy.heal();
        dumps.delete("20261121").await.unwrap();
    });
}

#[test]
fn a_deletion_that_was_cut_off_is_seen_and_finished() {
    let world = World::postgres();
    let dumps = world.dumps();
    run(async {
        make(&dumps, slot()).await;
        dumps.dump(Ticket(8), other_slot(), 1, never()).await.unwrap();
        dumps.commit(other_slot(), Ticket(8), tags_of(other_slot())).await.unwrap();
        dumps.mark("20261121", &tag("x")).await.unwrap();
        dumps.mark("20261121", &tag("")).await.unwrap();
        put_marks(&world, "deleting", json!(true));
        let listed = dumps.list().await.unwrap();
        let states: Vec<_> = listed.iter().map(|backup| backup.state.clone()).collect();
        assert_eq!(states, [BackupState::Deleting, BackupState::Available]);
        // It is too late to keep it, or to begin with it.
        let error = dumps.mark("20261121", &tag("audit")).await.unwrap_err();
        assert!(error.text.contains("is being deleted"), "{error:?}");
        let error = dumps.prove(Level::L1, "20261121", &|_, _| {}, &never()).await.unwrap_err();
        assert!(error.text.contains("is being deleted"), "{error:?}");
        dumps.delete("20261122").await.unwrap();
    });
    assert_eq!(world.keys(), Vec::<String>::new());
}
