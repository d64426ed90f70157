//! Clients that die, answers that are lost, hosts that are at it at the same time.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use groundcrew::backups::proof;
use groundcrew_core::backups::call::{Put, Ticket};
use groundcrew_core::backups::proof::{DumpRules, Level, judge};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{World, dumps, make, never, run, slot, tags_of};
use crate::harness::fault_proxy::Fault;
use crate::harness::wait_until;

const SOON: Duration = Duration::from_secs(30);

/// More than fits into all buffers, so that the client waits for the bucket.
pub(super) fn large() -> World {
    let world = World::postgres();
    world.server.sql(
        "shop",
        "set role app; create table noise as select n, string_agg(md5(random()::text), '') as v
         from generate_series(1, 4000) n, generate_series(1, 400) m group by n;",
    );
    world
}

/// The processes of clients of this test.
fn clients(world: &World) -> Vec<Pid> {
    let port = format!("PGPORT={}\0", world.server.port);
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let pids = entries.filter_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let environment = fs::read(entry.path().join("environ")).ok()?;
        let arguments = fs::read(entry.path().join("cmdline")).ok()?;
        let ours = String::from_utf8_lossy(&environment).contains(&port);
        let dumps = String::from_utf8_lossy(&arguments).contains("pg_dump");
        (ours && dumps).then_some(Pid::from_raw(pid))
    });
    pids.collect()
}

pub(super) fn wait_for_client(world: &World) -> Pid {
    wait_until(SOON, "the client runs, and parts are on their way", || {
        let parts = world.proxy.seen().iter().any(|seen| seen.path.contains("partNumber"));
        clients(world).first().copied().filter(|_| parts).ok_or(parts)
    })
}

#[test]
fn a_client_that_is_killed_leaves_nothing_that_is_committed() {
    let world = large();
    world.proxy.inject_for("PUT", "partNumber", Fault::Delay(Duration::from_secs(2)), None);
    let dumps = world.dumps();
    let facts = std::thread::scope(|scope| {
        let killer = scope.spawn(|| {
            kill(wait_for_client(&world), Signal::SIGKILL).unwrap();
            world.proxy.heal();
        });
        let facts = run(dumps.dump(Ticket(7), slot(), 1, never())).unwrap();
        killer.join().unwrap();
        facts
    });
    assert_eq!((facts.exit_code, facts.trailer), (None, false));
    let findings = judge(&facts, &DumpRules::default());
    assert!(findings.contains(&"the client was killed".to_owned()), "{findings:?}");
    assert_eq!(world.uploads(), 1);
    run(dumps.abort(Ticket(7)));
    assert_eq!((world.uploads(), world.keys()), (0, Vec::new()));
}

#[test]
fn a_dump_that_is_stopped_takes_its_client_and_its_upload_with_it() {
    let world = large();
    world.proxy.inject_for("PUT", "partNumber", Fault::Delay(Duration::from_secs(2)), None);
    let dumps = world.dumps();
    let stop = never();
    let error = std::thread::scope(|scope| {
        let stopper = scope.spawn(|| {
            wait_for_client(&world);
            world.proxy.heal();
            stop.cancel();
        });
        let error = run(dumps.dump(Ticket(7), slot(), 1, stop.clone())).unwrap_err();
        stopper.join().unwrap();
        error
    });
    assert!(error.text.contains("stopped"), "{error:?}");
    assert_eq!(world.uploads(), 0);
    assert_eq!(clients(&world), []);
    let error = run(dumps.commit(slot(), Ticket(7), tags_of(slot()))).unwrap_err();
    assert!(error.text.contains("nothing is uploaded"), "{error:?}");
}

#[test]
fn a_dump_that_is_stopped_while_its_last_part_waits_leaves_nothing() {
    // All of it is one part: nothing is left to be read when that is on its way.
    let world = World::postgres();
    world.proxy.inject_for("PUT", "partNumber", Fault::Hang, None);
    let dumps = world.dumps();
    let stop = never();
    let error = std::thread::scope(|scope| {
        let stopper = scope.spawn(|| {
            wait_until(SOON, "the last part is on its way, and the client has ended", || {
                let parts = world.proxy.seen().iter().any(|seen| seen.path.contains("partNumber"));
                let running = clients(&world).len();
                if parts && running == 0 { Ok(()) } else { Err((parts, running)) }
            });
            stop.cancel();
        });
        let error = run(dumps.dump(Ticket(7), slot(), 1, stop.clone())).unwrap_err();
        stopper.join().unwrap();
        error
    });
    assert!(error.text.contains("stopped"), "{error:?}");
    assert_eq!((world.uploads(), world.keys()), (0, Vec::new()));
}

#[test]
fn a_commit_whose_answers_are_lost_is_done_once() {
    let world = World::postgres();
    let dumps = world.dumps();
    run(async {
        dumps.dump(Ticket(7), slot(), 1, never()).await.unwrap();
        // Once of the completion, once of the manifest; the SDK itself tries again.
        world.proxy.inject_for("POST", "uploadId=", Fault::AnswerLost, Some(1));
        world.proxy.inject_for("PUT", "manifest.json", Fault::AnswerLost, Some(1));
        let mut answers = Vec::new();
        while answers.len() < 5 && !matches!(answers.last(), Some(Ok(_))) {
            answers.push(dumps.commit(slot(), Ticket(7), tags_of(slot())).await);
        }
        assert!(matches!(answers.last(), Some(Ok(_))), "{answers:?}");
        assert_eq!(dumps.prove(Level::L1, "20261121", &|_, _| {}, &never()).await, Ok(vec![]));
    });
    assert_eq!(world.keys().len(), 3, "data, manifest and marks");
}

#[test]
fn of_two_hosts_one_commits_and_nothing_is_left_of_the_other() {
    let world = World::postgres();
    let (one, other) = (world.dumps(), world.dumps());
    run(async {
        let (first, second) = tokio::join!(
            one.dump(Ticket(7), slot(), 1, never()),
            other.dump(Ticket(7), slot(), 2, never())
        );
        assert_eq!((first.unwrap().exit_code, second.unwrap().exit_code), (Some(0), Some(0)));
        assert_eq!(other.commit(slot(), Ticket(7), tags_of(slot())).await, Ok(Put::Written));
        assert_eq!(one.commit(slot(), Ticket(7), tags_of(slot())).await, Ok(Put::Exists));
        assert_eq!(one.prove(Level::L1, "20261121", &|_, _| {}, &never()).await, Ok(vec![]));
        assert_eq!(world.keys().len(), 4, "two tries, a manifest and marks");
        one.delete("20261121").await.unwrap();
    });
    assert_eq!(world.keys(), Vec::<String>::new());
}

#[test]
fn a_server_that_is_newer_than_every_client_is_refused_by_name() {
    let world = World::postgres();
    let stand_in = |name: &str, script: &str| {
        let path = world.directory.join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    stand_in("pg_dump", "echo 'pg_dump (PostgreSQL) 14.2'");
    stand_in("psql", "cat >/dev/null; echo '{\"version\":\"99.1\",\"number\":990001}'");
    let path = format!("{}:/usr/bin:/bin", world.directory);
    // SAFETY: every test is a process of its own, and no other thread of it reads the environment.
    unsafe { std::env::set_var("PATH", path) };
    let error = run(world.dumps().dump(Ticket(7), slot(), 1, never())).unwrap_err();
    assert!(error.text.contains("99") && error.text.contains("pg_dump"), "{error:?}");
    assert_eq!((world.uploads(), world.keys()), (0, Vec::new()));
}

#[test]
fn a_disk_without_room_is_told_before_anything_is_restored() {
    let world = World::postgres();
    let full = world.directory.join("full");
    fs::create_dir(&full).unwrap();
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=4m,mode=755", "none", full.as_str()])
        .output();
    if !mount.is_ok_and(|output| output.status.success()) {
        println!("no tmpfs may be mounted here");
        return;
    }
    let mut settings = world.settings();
    settings.proof.directory = Some(full.to_string());
    let dumps = dumps(settings);
    let error = run(async {
        make(&dumps, slot()).await;
        dumps.prove(Level::L2, "20261121", &|_, _| {}, &never()).await.unwrap_err()
    });
    let left = fs::read_dir(&full).unwrap().count();
    assert!(Command::new("umount").arg(&full).status().unwrap().success());
    assert!(error.text.contains("bytes free"), "{error:?}");
    assert_eq!(left, 0);
}

#[test]
fn what_a_dead_agent_left_of_a_scratch_server_goes() {
    let world = World::postgres();
    let left = world.directory.join("proof/groundcrew-proof-abcdef");
    let kept = world.directory.join("proof/other");
    fs::create_dir_all(left.join("data")).unwrap();
    fs::create_dir_all(&kept).unwrap();
    // It waits for its stdin, and has nobody else to wait for.
    let mut server = Command::new("sh")
        .args(["-c", "read line", left.join("data").as_str()])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stranger = Command::new("sleep").arg("600").spawn().unwrap();
    fs::write(left.join("data/postmaster.pid"), format!("{}\n", server.id())).unwrap();
    let other = world.directory.join("proof/groundcrew-proof-ghijkl");
    fs::create_dir_all(other.join("data")).unwrap();
    fs::write(other.join("data/postmaster.pid"), format!("{}\n", stranger.id())).unwrap();
    proof::clean_up(&world.settings());
    assert!(!left.exists() && !other.exists() && kept.exists());
    assert!(!server.wait().unwrap().success());
    assert_eq!(stranger.try_wait().unwrap(), None, "its number is somebody else's");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}
