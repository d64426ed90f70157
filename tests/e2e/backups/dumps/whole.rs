//! What is dumped is there again: everything of it, for those who may read it, and by nobody's
//! password being seen on the way.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use groundcrew::backups::dump::restore::Target;
use groundcrew_core::backups::call::{CallErrorKind, Put, Ticket};
use groundcrew_core::backups::proof::{Level, inspect};
use groundcrew_core::backups::settings::{Assertion, Encryption};
use serde_json::{Value, json};

use super::{World, dumps, make, never, run, servers::PASSWORD, slot, tags_of};
use crate::harness::emulator::Services;
use crate::harness::http_client;

#[test]
fn a_dump_is_made_once_proved_restored_and_deleted() {
    let world = World::postgres();
    let dumps = world.dumps();
    run(async {
        let facts = make(&dumps, slot()).await;
        assert!(facts.bytes > 1_000_000 && facts.stored_bytes < facts.bytes, "{facts:?}");
        assert_eq!(facts.previous_bytes, None);
        // Once more is the same.
        let again = dumps.commit(slot(), Ticket(7), tags_of(slot())).await;
        assert_eq!(again, Ok(Put::Exists));
        let backup = dumps.look("20261121").await.unwrap().unwrap();
        assert_eq!(backup.bytes, Some(facts.bytes));
        assert!(backup.marks.as_ref().unwrap().is_of(&"shop".parse().unwrap(), slot()));
        assert_eq!(backup.arn, "s3://backups/acme/dumps/shop/20261121/manifest.json");
        assert_eq!(dumps.list().await.unwrap(), [*backup]);
        let inspection = dumps.inspect("20261121").await.unwrap();
        assert_eq!(inspect(&inspection, true), Vec::<String>::new());
        for level in [Level::L1, Level::L2] {
            assert_eq!(
                dumps.prove(level, "20261121", &|_, _| {}, &never()).await,
                Ok(vec![]),
                "{level}"
            );
        }
        assert_eq!(fs::read_dir(world.directory.join("proof")).unwrap().count(), 0);
        // The next one knows how large it was, and a wrong name deletes nothing.
        let next = groundcrew_core::backups::slot::Slot {
            nominal: "2026-11-22T00:20".parse().unwrap(),
            ..slot()
        };
        let facts = dumps.dump(Ticket(8), next, 1, never()).await.unwrap();
        assert_eq!(facts.previous_bytes, Some(facts.bytes));
        dumps.abort(Ticket(8)).await;
        assert_eq!(world.uploads(), 0);
        assert!(dumps.delete("../shop/20261121").await.is_err());
        dumps.delete("20261121").await.unwrap();
        dumps.delete("20261121").await.unwrap();
        assert_eq!(dumps.look("20261121").await, Ok(None));
    });
    assert_eq!(world.keys(), Vec::<String>::new());
}

#[test]
fn what_is_restored_is_what_was_dumped_and_nothing_is_overwritten() {
    let world = World::postgres();
    world.server.sql("postgres", "alter role app createdb");
    let dumps = world.dumps();
    let target = |database: &str| {
        let port = world.server.port;
        let url = format!("postgres://app@127.0.0.1:{port}/{database}?sslmode=disable");
        Target::parse(&url).unwrap()
    };
    run(async {
        make(&dumps, slot()).await;
        let told = std::sync::Mutex::new(Vec::new());
        let progress = |done, all| told.lock().unwrap().push((done, all));
        let restored =
            dumps.restore_to("20261121", &target("again"), &progress, &never()).await.unwrap();
        assert_eq!(restored.tables, 2);
        let &(done, all) = told.lock().unwrap().last().unwrap();
        assert!(done == all && all > 0);
        for taken in ["shop", "again"] {
            let error = dumps.restore_to("20261121", &target(taken), &|_, _| {}, &never()).await;
            let text = error.unwrap_err().text;
            assert!(text.contains(taken) && text.contains("over what is there"), "{text}");
        }
        assert!(dumps.restore_to("20261120", &target("x"), &|_, _| {}, &never()).await.is_err());
    });
    assert_eq!(world.server.text_of("again"), world.server.text_of("shop"));
}

#[test]
fn nobody_but_the_server_sees_the_password() {
    let world = World::postgres();
    let dumps = world.dumps();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let (mut seen, mut clients) = (Vec::new(), 0);
            while !done.load(Ordering::Relaxed) {
                for entry in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
                    let read = |file| fs::read(entry.path().join(file)).unwrap_or_default();
                    let command_line = read("cmdline");
                    let is_client = command_line.windows(7).any(|piece| piece == b"pg_dump");
                    clients += usize::from(is_client);
                    let both = [command_line, read("environ")].concat();
                    if both.windows(7).any(|piece| piece == &PASSWORD.as_bytes()[..7]) {
                        seen.push(entry.path());
                    }
                }
            }
            (seen, clients)
        });
        run(make(&dumps, slot()));
        done.store(true, Ordering::Relaxed);
        let (seen, clients) = watch.join().unwrap();
        assert!(clients > 0, "the client was never seen");
        assert_eq!(seen, Vec::<std::path::PathBuf>::new());
    });
    for key in world.keys() {
        assert!(!String::from_utf8_lossy(&world.object(&key)).contains(&PASSWORD[..7]), "{key}");
    }
    fs::write(world.directory.join("password"), "wrong-secret").unwrap();
    let error = run(dumps.dump(Ticket(9), slot(), 1, never())).unwrap_err();
    assert!(error.text.contains("password authentication failed"), "{error:?}");
    assert!(!error.text.contains("wrong-secret"), "{error:?}");
}

#[test]
fn a_restore_that_lacks_something_is_found() {
    let world = World::postgres();
    let mut settings = world.settings();
    settings.encryption = Encryption::None;
    let assertion = |name: &str, sql: &str| Assertion { name: name.into(), sql: sql.into() };
    settings.proof.assertions = vec![
        assertion("true", "select true"),
        assertion("empty", "select count(*) = 0 from customers"),
        assertion("two", "select true union all select true"),
        assertion("shell", "\\! touch /tmp/x"),
        assertion("wrong", "select 1/0"),
    ];
    let gone = "select pg_terminate_backend(pg_backend_pid())";
    let mut other = settings.clone();
    other.proof.assertions = vec![assertion("gone", gone)];
    let other = super::dumps(other);
    let dumps = dumps(settings);
    run(async {
        make(&dumps, slot()).await;
        let findings = dumps.prove(Level::L2, "20261121", &|_, _| {}, &never()).await.unwrap();
        assert_eq!(findings.len(), 4, "{findings:?}");
        assert_eq!(findings[0], "\"empty\" is not so: it is \"f\"");
        assert!(findings[3].contains("division by zero"), "{findings:?}");
        // A server that goes away says nothing about the dump.
        let error = other.prove(Level::L2, "20261121", &|_, _| {}, &never()).await.unwrap_err();
        assert_eq!(error.kind, CallErrorKind::Unclear, "{error:?}");
        // The server had thought that there were more rows than came: that is an estimate.
        let key = "acme/dumps/shop/20261121/manifest.json";
        let manifest = String::from_utf8(world.object(key)).unwrap();
        let more = manifest.replace("\"rows\":20000", "\"rows\":30000");
        assert_ne!(manifest, more);
        world.put(key, more.as_bytes());
        let findings = dumps.prove(Level::L2, "20261121", &|_, _| {}, &never()).await.unwrap();
        assert_eq!(findings.len(), 4, "{findings:?}");
        let gone = manifest.replace("customers", "customerz");
        world.put(key, gone.as_bytes());
        let findings = dumps.prove(Level::L2, "20261121", &|_, _| {}, &never()).await.unwrap();
        assert_eq!(findings[0], "table public.customerz is missing");
    });
}

#[test]
fn extensions_in_schemas_of_their_own_refute_nothing() {
    let world = World::postgres();
    // Neither is one that anybody but a superuser may make, and the first needs the second.
    world.server.sql(
        "shop",
        "create schema \"ext \"\" a\"; create schema zz;
         create extension cube schema zz; create extension earthdistance schema \"ext \"\" a\";
         create extension pg_stat_statements schema zz;
         create table places (at zz.cube); grant usage on schema zz, \"ext \"\" a\" to app;
         grant select on places to app; insert into places values ('(1,2)'); analyze",
    );
    let mut settings = world.settings();
    settings.proof.assertions =
        vec![Assertion { name: "places".into(), sql: "select count(*) = 1 from places".into() }];
    let dumps = dumps(settings);
    run(async {
        make(&dumps, slot()).await;
        assert_eq!(dumps.prove(Level::L2, "20261121", &|_, _| {}, &never()).await, Ok(vec![]));
    });
}

/// One request to KMS, as the SDKs make it.
fn kms(world: &World, action: &str, said: &Value) -> Value {
    let scope = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/kms/aws4_request";
    let target = format!("TrentService.{action}");
    let headers = [
        ("Authorization", scope),
        ("X-Amz-Target", target.as_str()),
        ("Content-Type", "application/x-amz-json-1.1"),
    ];
    let address = world.emulator.address();
    let answer =
        http_client::request(address, "POST", "/", &headers, said.to_string().as_bytes()).unwrap();
    assert_eq!(answer.status, 200, "{action}: {}", answer.text());
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

#[test]
fn a_dump_is_sealed_with_a_data_key_that_opens_it_and_no_other() {
    let world = World::postgres_with(Services::All);
    let key = kms(&world, "CreateKey", &json!({}))["KeyMetadata"]["KeyId"].clone();
    let mut settings = world.settings();
    settings.encryption = Encryption::Kms(key.as_str().unwrap().to_owned());
    settings.proof.identity_file = None;
    let dumps = dumps(settings);
    run(async {
        make(&dumps, slot()).await;
        let sealed = world.object(&world.data_key());
        assert!(sealed.starts_with(b"groundcrew-frames-1\n"));
        assert!(!sealed.windows(4).any(|piece| piece == b"\x28\xb5\x2f\xfd"), "zstd in the clear");
        for level in [Level::L1, Level::L2] {
            assert_eq!(
                dumps.prove(level, "20261121", &|_, _| {}, &never()).await,
                Ok(vec![]),
                "{level}"
            );
        }
        let inspection = dumps.inspect("20261121").await.unwrap();
        assert_eq!(inspection.key_state.as_deref(), Some("Enabled"));
        // Under another slot's name the key is not given out.
        for key in world.keys() {
            let bytes = world.object(&key);
            let moved = String::from_utf8_lossy(&bytes).replace("\"20261121\"", "\"20261120\"");
            let bytes = if key.ends_with("json") { moved.into_bytes() } else { bytes };
            world.put(&key.replace("20261121", "20261120"), &bytes);
        }
        assert!(dumps.look("20261120").await.unwrap().is_some());
        let error = dumps.prove(Level::L1, "20261120", &|_, _| {}, &never()).await.unwrap_err();
        assert!(error.text.contains("decrypt"), "{error:?}");
        kms(&world, "DisableKey", &json!({"KeyId": key}));
        let inspection = dumps.inspect("20261121").await.unwrap();
        assert_eq!(inspect(&inspection, true), ["its KMS key is Disabled"]);
    });
}
