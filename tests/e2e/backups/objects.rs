//! Records and leases: conditional writes that race, answers that are lost, and what others wrote.

use std::time::Duration;

use futures_util::future::join_all;
use groundcrew::backups::objects::Objects;
use groundcrew::clock;
use groundcrew_core::backups::call::{CallErrorKind, Put};
use groundcrew_core::backups::lease::{LeaseAction, LeaseAnswer, LeaseBody, LeaseCall, LeaseSeen};
use groundcrew_core::backups::record::{Outcome, Record, RecordKey, Skip, VERSION};
use groundcrew_core::backups::settings::Store;
use groundcrew_core::backups::slot::JobName;

use super::aws::{Aws, BUCKET, JOB, run, run_with, slot, store};
use crate::harness::fault_proxy::{Fault, FaultProxy};

fn record(day: &str, by: &str) -> Record {
    Record {
        version: VERSION,
        key: RecordKey::Run(slot(day)),
        at: clock::wall(),
        by: by.to_owned(),
        outcome: Outcome::Skipped(Skip::Stopped),
    }
}

fn body(run: &str, epoch: u64) -> LeaseBody {
    LeaseBody { holder: "i-1".to_owned(), run: run.to_owned(), ttl_s: 180, epoch }
}

async fn put(objects: &Objects, path: &str, action: LeaseAction) -> Option<String> {
    match objects.lease(&LeaseCall { path: path.to_owned(), action }).await {
        LeaseAnswer::Put(Ok(etag)) => etag,
        other => panic!("{other:?}"),
    }
}

async fn look(objects: &Objects, path: &str) -> Option<LeaseSeen> {
    let call = LeaseCall { path: path.to_owned(), action: LeaseAction::Read };
    match objects.lease(&call).await {
        LeaseAnswer::Read(Ok(seen)) => seen.map(|seen| *seen),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_record_is_written_once() {
    run(async |_| {
        let (objects, job) = (Objects::connect(&store()), JOB.parse::<JobName>().unwrap());
        let first = record("2026-11-21", "i-1");
        assert_eq!(objects.read(&job, &first.key).await, Ok(None));
        assert_eq!(objects.write(&job, &first).await, Ok(Put::Written));
        assert_eq!(objects.write(&job, &record("2026-11-21", "i-2")).await, Ok(Put::Exists));
        let read = objects.read(&job, &first.key).await.unwrap();
        assert_eq!(read.as_deref(), Some(&first));

        let racing: Vec<_> = (0..8).map(|n| record("2026-11-22", &format!("i-{n}"))).collect();
        let put = join_all(racing.iter().map(|record| objects.write(&job, record))).await;
        let written: Vec<_> = (0..8).filter(|n| put[*n] == Ok(Put::Written)).collect();
        assert_eq!(written.len(), 1, "{put:?}");
        assert!(put.iter().all(Result::is_ok), "{put:?}");
        let winner = objects.read(&job, &racing[0].key).await.unwrap().unwrap();
        assert_eq!(winner.by, racing[written[0]].by);

        let keys: Vec<_> = objects.list("runs/", 10).await.unwrap();
        let keys: Vec<_> = keys.iter().map(|head| head.key.as_str()).collect();
        assert_eq!(keys, ["runs/nightly/20261121.json", "runs/nightly/20261122.json"]);
        let error = objects.list("runs/", 1).await.unwrap_err();
        assert!(error.text.contains("more than 1 objects"), "{}", error.text);

        let server = objects.server_time().expect("S3 says what time it is");
        assert!((server.0 - clock::wall().0).abs() < 30_000, "{server:?}");
    });
}

#[test]
fn a_lease_has_one_holder() {
    run(async |_| {
        let objects = Objects::connect(&store());
        let path = "leases/nightly/20261121";
        assert_eq!(look(&objects, path).await, None);
        let etag = put(&objects, path, LeaseAction::Create(body("i-1.1", 1))).await.unwrap();
        assert_eq!(put(&objects, path, LeaseAction::Create(body("i-2.1", 1))).await, None);
        let seen = look(&objects, path).await.unwrap();
        assert_eq!((seen.body, &seen.etag), (body("i-1.1", 1), &etag));
        assert!(seen.age < Duration::from_secs(30), "{:?}", seen.age);

        let replace = |etag: &str, run: &str| {
            let (etag, body) = (etag.to_owned(), body(run, 2));
            LeaseAction::Replace { etag, body }
        };
        let renewed = put(&objects, path, replace(&etag, "i-1.1")).await.unwrap();
        assert_eq!(put(&objects, path, replace(&etag, "i-2.1")).await, None, "an old etag");
        assert_eq!(put(&objects, "leases/nightly/gone", replace(&etag, "i-1.1")).await, None);
        let racing = (0..8).map(|n| {
            let action = replace(&renewed, &format!("i-{n}.2"));
            let objects = &objects;
            async move { put(objects, path, action).await }
        });
        let won = join_all(racing).await.into_iter().flatten().count();
        assert_eq!(won, 1);
        let racing = (0..8).map(|n| {
            let action = LeaseAction::Create(body(&format!("i-{n}.3"), 1));
            let objects = &objects;
            async move { put(objects, "leases/nightly/20261122", action).await }
        });
        let won = join_all(racing).await.into_iter().flatten().count();
        assert_eq!(won, 1);
    });
}

#[test]
fn what_others_wrote_is_not_believed() {
    run(async |aws: Aws| {
        let (objects, job) = (Objects::connect(&store()), JOB.parse::<JobName>().unwrap());
        let good = serde_json::to_vec(&record("2026-11-20", "i-1")).unwrap();
        let long = vec![b' '; 2 * 1024 * 1024];
        let newer = String::from_utf8(good.clone()).unwrap();
        let newer = newer.replace("\"version\":1", "\"version\":2");
        for (body, why) in [
            (&b"not json"[..], "not a record"),
            (&good[..], "it is about runs/nightly/20261120.json"),
            (&long[..], "more than 1048576 bytes"),
            (newer.as_bytes(), "version 2"),
        ] {
            aws.put("runs/nightly/20261121.json", body);
            let key = RecordKey::Run(slot("2026-11-21"));
            let error = objects.read(&job, &key).await.unwrap_err();
            assert_eq!(error.kind, CallErrorKind::Refused, "{}", error.text);
            assert!(error.text.contains(why), "{}", error.text);
        }
        aws.put("leases/nightly/20261121", b"{\"holder\":1}");
        let path = "leases/nightly/20261121".to_owned();
        let answer = objects.lease(&LeaseCall { path, action: LeaseAction::Read }).await;
        let LeaseAnswer::Read(Err(error)) = answer else { panic!("{answer:?}") };
        assert_eq!(error.kind, CallErrorKind::Refused);

        let nowhere = Store { bucket: "not-there".to_owned(), ..store() };
        let nowhere = Objects::connect(&nowhere);
        let key = RecordKey::Run(slot("2026-11-21"));
        let error = nowhere.read(&job, &key).await.unwrap_err();
        assert_eq!(error.kind, CallErrorKind::Refused, "no bucket is not no record");
    });
}

#[test]
fn a_write_is_sent_once_and_looked_for() {
    let faults = |proxy: &FaultProxy| {
        let path = format!("/{BUCKET}/{}", store().prefix);
        let lost = format!("{path}/runs/nightly/20261121");
        proxy.inject_for("PUT", &lost, Fault::AnswerLost, Some(1));
        let slow = format!("{path}/runs/nightly/20261122");
        proxy.inject_for("PUT", &slow, Fault::SlowDown, Some(1));
        let lease = format!("{path}/leases/nightly/20261121");
        proxy.inject_for("PUT", &lease, Fault::AnswerLost, Some(1));
        // Reads are tried again by the SDK.
        let read = format!("{path}/runs/nightly/20261123");
        proxy.inject_for("GET", &read, Fault::SlowDown, Some(1));
    };
    run_with(faults, async |_| {
        let (objects, job) = (Objects::connect(&store()), JOB.parse::<JobName>().unwrap());
        let lost = record("2026-11-21", "i-1");
        let error = objects.write(&job, &lost).await.unwrap_err();
        assert_eq!(error.kind, CallErrorKind::Unclear, "{}", error.text);
        let read = objects.read(&job, &lost.key).await.unwrap();
        assert_eq!(read.as_deref(), Some(&lost), "it was written");
        assert_eq!(objects.write(&job, &lost).await, Ok(Put::Exists));

        let slow = record("2026-11-22", "i-1");
        let error = objects.write(&job, &slow).await.unwrap_err();
        assert_eq!(error.kind, CallErrorKind::Throttled, "{}", error.text);
        assert_eq!(objects.read(&job, &slow.key).await, Ok(None));
        assert_eq!(objects.write(&job, &slow).await, Ok(Put::Written));

        let path = "leases/nightly/20261121";
        let action = LeaseAction::Create(body("i-1.1", 1));
        let call = LeaseCall { path: path.to_owned(), action };
        let LeaseAnswer::Put(Err(error)) = objects.lease(&call).await else { panic!("no error") };
        assert_eq!(error.kind, CallErrorKind::Unclear, "{}", error.text);
        let seen = look(&objects, path).await.unwrap();
        assert_eq!(seen.body.run, "i-1.1", "whoever looks knows its own run");

        let key = RecordKey::Run(slot("2026-11-23"));
        assert_eq!(objects.read(&job, &key).await, Ok(None));
    });
}

#[test]
fn of_a_long_listing_the_last_are_there() {
    run(async |_| {
        let (objects, job) = (Objects::connect(&store()), JOB.parse::<JobName>().unwrap());
        for day in 10..15 {
            let record = record(&format!("2026-11-{day}"), "i-1");
            assert_eq!(objects.write(&job, &record).await, Ok(Put::Written));
        }
        let path = format!("runs/{JOB}/");
        let last = async |count_max| {
            let (last, before) = objects.list_last(&path, count_max).await.unwrap();
            let names = last.into_iter().map(|object| object.key.replace(&path, ""));
            (names.collect::<Vec<_>>(), before)
        };
        let names = |days: std::ops::Range<u32>| {
            days.map(|day| format!("202611{day}.json")).collect::<Vec<_>>()
        };
        assert_eq!(last(2).await, (names(13..15), 3));
        assert_eq!(last(5).await, (names(10..15), 0));
        assert_eq!(last(6).await, (names(10..15), 0));
        assert_eq!(objects.list("runs/other/", 2).await, Ok(Vec::new()));
        let error = objects.list(&path, 4).await.unwrap_err();
        assert!(error.text.contains("more than 4 objects"), "{error:?}");
    });
}
