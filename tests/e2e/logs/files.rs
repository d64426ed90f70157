//! Files that others write: rotated in every way, while CloudWatch fails and the agent is killed.

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use super::*;
use crate::harness::log_endpoint::Faults;
use crate::harness::log_endpoint::lines::{Rotation, Writer};

const RATE: u64 = 300_000;

/// A setting that names the files of a directory of the world.
fn files_of(world: &World) -> Setting {
    let directory = world.path().join("named");
    fs::create_dir_all(&directory).unwrap();
    let mut rule = toml::Table::new();
    let path = directory.join("*.log").to_str().expect("UTF-8").to_owned();
    rule.insert("path".to_owned(), path.into());
    rule.insert("multiline".to_owned(), "off".into());
    ("logs.file", vec![toml::Value::Table(rule)].into())
}

fn file_of(world: &World, name: &str) -> PathBuf {
    world.path().join("named").join(name)
}

/// An agent that has nothing but files.
fn agent_of(world: &World) -> Agent<'_> {
    let agent = Agent::start_with(world, &to_cloudwatch(&[files_of(world)]));
    agent.wait_for(SOON, "the agent answers", |_| true);
    agent
}

#[track_caller]
fn nothing_is_lost_when_rotated(how: Rotation) {
    let endpoint = LogEndpoint::start_tls();
    let world = world_of(&endpoint);
    let mut agent = agent_of(&world);
    let mut writer = Writer::new(&file_of(&world, "app.log"), 0).unwrap();
    for second in 0..12 {
        match second {
            2 => endpoint.set_faults(Faults { error_percent: 100, ..Faults::default() }),
            6 => {
                agent.kill();
                agent.restart();
            }
            9 => endpoint.heal(),
            _ => {}
        }
        if second % 3 == 2 {
            writer.rotate(how).unwrap();
        }
        writer.write_at(RATE, Duration::from_secs(1)).unwrap();
    }
    let lines = writer.lines().count();
    let counts = assert_paid(&endpoint, &BTreeMap::from([(0, lines)]));
    let delivery = endpoint.delivery(0);
    assert_eq!(delivery.checksum, writer.lines().checksum(), "a line was altered");
    assert!(counts.repeated_batches <= 1, "{how:?}: {counts:#?}");
    let sums = audit(&world);
    assert_eq!((sums["rejected"], sums["dropped"]), (0, 0), "{how:?}: {sums:?}");
}

#[test]
fn nothing_is_lost_when_renamed() {
    nothing_is_lost_when_rotated(Rotation::Rename);
}

#[test]
fn nothing_is_lost_when_copied_and_truncated() {
    nothing_is_lost_when_rotated(Rotation::CopyTruncate);
}

#[test]
fn nothing_is_lost_when_the_writer_goes_on_elsewhere() {
    nothing_is_lost_when_rotated(Rotation::Create);
}

#[test]
fn files_come_and_go_and_come_back() {
    let endpoint = LogEndpoint::start_tls();
    let world = world_of(&endpoint);
    let _agent = agent_of(&world);
    let path = file_of(&world, "app.log");
    // The inode is likely to be used again, and the length is the same.
    for source in 0..4 {
        Writer::new(&path, source).unwrap().write(500).unwrap();
        assert_paid(&endpoint, &BTreeMap::from([(source, 500)]));
        fs::remove_file(&path).unwrap();
    }
    assert_eq!(endpoint.counts().repeated_batches, 0);
}

#[test]
fn a_file_that_is_removed_before_it_was_shipped_is_shipped() {
    let endpoint = LogEndpoint::start_tls();
    let world = world_of(&endpoint);
    let agent = agent_of(&world);
    let path = file_of(&world, "app.log");
    let mut writer = Writer::new(&path, 0).unwrap();
    writer.write(100).unwrap();
    assert_paid(&endpoint, &BTreeMap::from([(0, 100)]));
    endpoint.set_faults(Faults { error_percent: 100, ..Faults::default() });
    writer.write(1000).unwrap();
    wait_for_pipeline(&agent, "a backlog", |logs| logs["backlog_bytes"].as_u64() > Some(0));
    fs::remove_file(&path).unwrap();
    endpoint.heal();
    assert_paid(&endpoint, &BTreeMap::from([(0, 1100)]));
}

#[test]
fn a_line_that_is_written_in_two_pieces_is_one_event() {
    let endpoint = LogEndpoint::start_tls();
    endpoint.keep("named");
    let world = world_of(&endpoint);
    let _agent = agent_of(&world);
    let path = file_of(&world, "app.log");
    Writer::new(&path, 0).unwrap().write(10).unwrap();
    assert_paid(&endpoint, &BTreeMap::from([(0, 10)]));
    append(&path, br#"{"src":1,"seq":0,"#);
    // Long enough for a reader to see the first piece by itself.
    Writer::new(&file_of(&world, "other.log"), 2).unwrap().write(10).unwrap();
    assert_paid(&endpoint, &BTreeMap::from([(2, 10)]));
    append(&path, b"\"msg\":\"two pieces\"}\n");
    assert_paid(&endpoint, &BTreeMap::from([(1, 1)]));
    let whole = |(_, message): &(i64, String)| message.ends_with("\"msg\":\"two pieces\"}");
    assert!(endpoint.kept().values().flatten().any(whole), "{:#?}", endpoint.kept());
    assert_eq!(endpoint.counts().unnumbered, 0);
}

fn append(path: &Path, bytes: &[u8]) {
    let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

#[test]
fn events_that_cloudwatch_rejects_are_counted_and_kept() {
    let endpoint = LogEndpoint::start_tls();
    let world = world_of(&endpoint);
    let agent = agent_of(&world);
    let day = Duration::from_hours(24);
    let now = jiff::Timestamp::now();
    let line = |sequence: u64, time: jiff::Timestamp| {
        format!("{{\"ts\":\"{time}\",\"src\":1,\"seq\":{sequence},\"msg\":\"x\"}}\n")
    };
    let mut text = String::new();
    for sequence in 0..10 {
        text += &line(sequence, now - 20 * day);
    }
    for sequence in 10..20 {
        text += &line(sequence, now);
    }
    let path = file_of(&world, "old.log");
    fs::write(path.with_extension("new"), text).unwrap();
    fs::rename(path.with_extension("new"), path).unwrap();
    let rejected = |logs: &Value| logs["rejected"].as_u64() == Some(10);
    wait_for_pipeline(&agent, "ten rejected events", rejected);
    wait_until(PAID_WITHIN, "the other ten", || match endpoint.delivery(1).lines {
        10 => Ok(()),
        other => Err(other),
    });
    let sums = audit(&world);
    assert_eq!((sums["rejected"], sums["dropped"], sums["acknowledged"]), (10, 0, 10), "{sums:?}");
    assert_eq!(endpoint.counts().invalid, 0, "{:#?}", endpoint.counts());
}

#[test]
fn a_hundred_files_of_a_busy_host_cost_little_memory() {
    const MIB_MAX: u64 = 64;
    let endpoint = LogEndpoint::start_tls();
    endpoint.set_faults(Faults { error_percent: 100, ..Faults::default() });
    let world = world_of(&endpoint);
    let agent = agent_of(&world);
    for source in 0..100 {
        let path = file_of(&world, &format!("{source}.log"));
        Writer::new(&path, source).unwrap().write(2_000).unwrap();
    }
    // One request at a time finds out whether the service is well again.
    let failing = |counts: &Counts| counts.failed > 5;
    endpoint.wait_for_counts(PAID_WITHIN, "requests failed", failing);
    endpoint.heal();
    let started = Instant::now();
    assert_paid(&endpoint, &(0..100).map(|source| (source, 2_000)).collect());
    println!("42 MB of 100 files after {:?}", started.elapsed());
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    let kib: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kib < MIB_MAX * 1024, "{peak}");
}
