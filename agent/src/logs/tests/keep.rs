//! The keeper: marks, limits, removal, file systems without holes, its own cost.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use camino::Utf8PathBuf;
use groundcrew_core::time::{Moment, Now};
use tokio::sync::watch as value;
use tokio_util::sync::CancellationToken;

use super::super::index::Marks;
use super::super::keeper::{Keeper, Pause, Woken};
use super::super::ship::Progress;
use super::super::{LogUsage, watch};
use super::*;
use crate::clock;

const MIB: u64 = 1024 * 1024;
const DAY_MS: i64 = 24 * 3600 * 1000;

/// Small limits: a quarter of a MiB for a file, one for all, 64 KiB kept at the end.
fn small() -> LogLimits {
    LogLimits {
        file_bytes_max: MIB / 4,
        total_bytes_max: MIB,
        age_max: Duration::from_hours(7 * 24),
        tail_bytes_kept: 64 * 1024,
    }
}

fn cannot(_: &fs::File, _: u64, _: u64) -> io::Result<()> {
    Err(io::Error::from_raw_os_error(95)) // EOPNOTSUPP
}

/// A keeper whose looks happen when the test says so.
struct World {
    keeper: Keeper,
    files: LogFiles,
    events: watch::Events,
    usage: value::Receiver<LogUsage>,
    at: u64,
    wall: i64,
    living: Option<Arc<BTreeSet<groundcrew_core::types::ProcessId>>>,
    state: Utf8PathBuf,
    _keep: tempfile::TempDir,
}

impl World {
    fn new(limits: LogLimits, punch: sparse::Punch) -> Self {
        let (keep, state) = scratch();
        let files = LogFiles::new(&state);
        let (watches, events) = watch::watch().unwrap();
        let (sender, usage) = value::channel(LogUsage::default());
        let keeper =
            Keeper::new(files.clone(), limits, (punch, Progress::default()), watches, sender);
        let wall = clock::wall().0;
        let living = None;
        Self { keeper, files, events, usage, at: 1_000_000, wall, living, state, _keep: keep }
    }

    fn log(&self, id: &str) -> Utf8PathBuf {
        self.files.paths(&process(id)).unwrap().stdout
    }

    fn pass(&mut self, woken: Woken) -> Pause {
        let living = self.living.clone();
        let now = Now { at: Moment(self.at), wall: Wall(self.wall) };
        self.keeper.pass(Woken { living, ..woken }, now)
    }

    fn sweep(&mut self) -> LogUsage {
        self.pass(Woken { sweep: true, ..Woken::default() });
        self.usage.borrow().clone()
    }

    async fn events(&mut self) -> Pause {
        let happened = self.events.next().await.unwrap();
        self.pass(Woken { happened, ..Woken::default() })
    }

    fn later(&mut self, by: Duration) {
        self.at += groundcrew_core::time::ms(by);
        self.wall += i64::try_from(by.as_millis()).unwrap();
    }

    fn living(&mut self, ids: &[&str]) {
        self.living = Some(Arc::new(ids.iter().map(|id| process(id)).collect()));
    }

    fn allocated(path: &Utf8Path) -> u64 {
        sparse::Facts::of(&fs::metadata(path).unwrap()).allocated
    }
}

fn lines(count: usize) -> Vec<u8> {
    // 64 bytes each.
    (0..count).flat_map(|at| format!("{at:063}\n").into_bytes()).collect()
}

#[tokio::test]
async fn growth_is_marked_once_a_second_and_a_quiet_file_costs_nothing() {
    let mut world = World::new(small(), sparse::punch);
    let log = world.log("web.1.1");
    world.sweep();
    append(&log, "first\n");
    let pause = world.events().await;
    assert_eq!((pause.lasts, pause.for_sweep), (Duration::from_secs(1), false));
    for _ in 0..100 {
        append(&log, "more\n");
    }
    world.later(Duration::from_secs(1));
    let tick = || Woken { tick: true, ..Woken::default() };
    assert!(!world.pass(tick()).for_sweep, "it has grown: looked at again");
    let marks = Marks::read(&log, 506);
    assert_eq!(marks.time_at(6), Some(Wall(world.wall - 1000)));
    assert_eq!(marks.time_at(7), Some(Wall(world.wall)));
    world.later(Duration::from_secs(1));
    let pause = world.pass(tick());
    assert!(pause.for_sweep && pause.lasts > Duration::from_mins(50), "{pause:?}: idle");
    append(&log, "again\n");
    assert!(!world.events().await.for_sweep, "the kernel's watch is set again");
}

#[tokio::test]
async fn what_grew_while_the_agent_was_away_is_marked_with_the_last_write() {
    let mut world = World::new(small(), sparse::punch);
    let log = world.log("web.1.1");
    append(&log, "written while away\n");
    let file = opened(&log);
    let then = std::time::SystemTime::now() - Duration::from_hours(3);
    file.set_modified(then).unwrap();
    world.sweep();
    let ms = then.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    assert_eq!(Marks::read(&log, 19).time_at(19), Some(Wall(i64::try_from(ms).unwrap())));
}

#[tokio::test]
async fn a_file_above_its_limit_loses_its_oldest_lines() {
    let mut world = World::new(small(), sparse::punch);
    let log = world.log("web.1.1");
    append(&log, lines(16_384));
    let usage = world.sweep();
    assert!(World::allocated(&log) <= MIB / 4);
    assert_eq!(usage.bytes_punched, MIB - World::allocated(&log));
    assert_eq!((usage.files, usage.files_over_limit, usage.over_limit), (2, 0, false));
    let left = read(&world.files, everything());
    assert!(left.len() > 3000 && left.last().unwrap().line.ends_with("16383"));
    assert_eq!(world.sweep().bytes_punched, usage.bytes_punched, "nothing more to do");
}

#[tokio::test]
async fn too_much_in_all_takes_the_oldest_first_and_spares_the_ends() {
    let mut world = World::new(small(), sparse::punch);
    let ids: Vec<String> = (1..=8).map(|ordinal| format!("web.1.{ordinal}")).collect();
    for id in &ids {
        let log = world.log(id);
        append(&log, lines(3072)); // 192 KiB, 1.5 MiB in all
        mark(&log, world.wall);
        world.later(Duration::from_secs(10));
    }
    let usage = world.sweep();
    assert!(usage.bytes <= MIB && usage.bytes > MIB * 3 / 4, "{usage:?}");
    let sizes: Vec<u64> = ids.iter().map(|id| World::allocated(&world.log(id)) / 1024).collect();
    assert_eq!(sizes, [64, 64, 64, 64, 64, 192, 192, 192], "KiB");
}

#[tokio::test]
async fn far_too_much_takes_the_ends_too() {
    let limits = LogLimits { total_bytes_max: 128 * 1024, ..small() };
    let mut world = World::new(limits, sparse::punch);
    for ordinal in 1..=8 {
        append(&world.log(&format!("web.1.{ordinal}")), lines(1024)); // 64 KiB
    }
    let usage = world.sweep();
    assert!(usage.bytes <= 128 * 1024 && !usage.over_limit, "{usage:?}");
    assert_eq!((usage.files, usage.files_removed), (16, 0), "they live");
}

#[tokio::test]
async fn what_is_too_old_goes_and_the_ends_of_living_logs_stay() {
    let mut world = World::new(small(), sparse::punch);
    let log = world.log("web.1.1");
    append(&log, lines(1024));
    mark(&log, world.wall - 8 * DAY_MS);
    append(&log, lines(1024));
    mark(&log, world.wall - 6 * DAY_MS);
    let usage = world.sweep();
    assert_eq!((usage.bytes_punched, World::allocated(&log)), (64 * 1024, 64 * 1024));
    world.later(Duration::from_hours(48));
    let pause = world.pass(Woken { sweep: true, ..Woken::default() });
    assert_eq!(world.usage.borrow().bytes_punched, 64 * 1024);
    assert!(pause.lasts > Duration::from_mins(50), "{pause:?}: its age asks for nothing more");
}

#[tokio::test]
async fn files_of_processes_that_are_gone_are_removed_when_empty_or_too_old() {
    let mut world = World::new(small(), sparse::punch);
    let log = world.log("web.1.1");
    let alive = world.log("web.2.1");
    append(&log, lines(1000));
    append(&alive, "alive\n");
    world.later(Duration::from_mins(2));
    assert_eq!(world.sweep().files_removed, 0, "nobody said who lives");
    world.living(&["web.2.1"]);
    let fresh = world.log("web.3.1");
    opened(&fresh).set_modified(std::time::SystemTime::now() + Duration::from_mins(2)).unwrap();
    let fresh_stderr = world.files.paths(&process("web.3.1")).unwrap().stderr;
    opened(&fresh_stderr)
        .set_modified(std::time::SystemTime::now() + Duration::from_mins(2))
        .unwrap();
    let usage = world.sweep();
    assert_eq!(usage.files_removed, 1, "its stderr, which is empty");
    assert!(log.exists() && fresh.exists(), "one has lines, one is too new to tell");
    assert!(super::super::files::index_path(&log).exists());
    world.later(Duration::from_hours(8 * 24));
    world.living(&["web.2.1", "web.3.1"]);
    let usage = world.sweep();
    assert!(!log.exists() && !super::super::files::index_path(&log).exists());
    assert_eq!((usage.files_removed, usage.bytes_removed), (2, 64 * 1024));
    assert!(alive.exists() && fresh.exists());
}

#[tokio::test]
async fn without_holes_the_gone_are_removed_oldest_first_and_the_living_reported() {
    let mut world = World::new(small(), cannot);
    for ordinal in 1..=6 {
        let log = world.log(&format!("web.1.{ordinal}"));
        append(&log, lines(4096)); // 256 KiB, 1.5 MiB in all
        mark(&log, world.wall);
        world.later(Duration::from_secs(10));
    }
    let live = world.log("web.2.1");
    append(&live, lines(8192));
    let usage = world.sweep();
    assert_eq!((usage.punching, usage.over_limit, usage.files_over_limit), (false, true, 1));
    world.later(Duration::from_mins(5));
    world.living(&["web.2.1", "web.1.6"]);
    let usage = world.sweep();
    assert!(!usage.over_limit && usage.bytes_punched == 0, "{usage:?}");
    assert_eq!(World::allocated(&live), MIB / 2, "a living log is left alone");
    assert_eq!(fs::metadata(world.log("web.1.1")).unwrap().len(), 0, "removed, and new by asking");
    assert_eq!(fs::metadata(world.log("web.1.6")).unwrap().len(), MIB / 4);
}

#[tokio::test]
async fn without_holes_a_restart_puts_a_large_log_aside_and_followers_go_along() {
    let (_keep, state) = scratch();
    let files = LogFiles::new(&state);
    let id = process("web.1.1");
    let log = files.paths(&id).unwrap().stdout;
    append(&log, lines(8192));
    let cancellation = CancellationToken::new();
    let logs =
        Logs::start_with(files.clone(), small(), (cannot, Progress::default()), &cancellation)
            .unwrap();
    let query = LogQuery { tail_lines: Some(1), follow: true, ..LogQuery::default() };
    let mut stream = logs.read(query).unwrap();
    assert_eq!(next(&mut stream).await.line, format!("{:063}", 8191));
    append(&log, "last of the first run\n");
    assert!(logs.rotate(&id).await.unwrap());
    assert!(!logs.rotate(&id).await.unwrap(), "the new one is small");
    assert_eq!(files.paths(&id).unwrap().stdout, log);
    append(&log, "second run\n");
    assert_eq!(next(&mut stream).await.line, "last of the first run");
    assert_eq!(next(&mut stream).await.line, "second run");
    let last = read(&files, tail(2));
    assert_eq!(texts(&last), ["last of the first run", "second run"]);
    assert_eq!(logs.usage().files_rotated, 1);
    logs.shutdown().await;
}

#[tokio::test]
async fn with_holes_a_restart_goes_on_in_the_same_file() {
    let (_keep, state) = scratch();
    let files = LogFiles::new(&state);
    let log = files.paths(&process("web.1.1")).unwrap().stdout;
    append(&log, lines(8192));
    let logs = Logs::start(files, small(), &CancellationToken::new()).unwrap();
    assert!(!logs.rotate(&process("web.1.1")).await.unwrap());
    assert_eq!(fs::metadata(&log).unwrap().len(), MIB / 2);
    logs.shutdown().await;
}

#[tokio::test]
async fn an_error_is_counted_told_and_tried_again() {
    let mut world = World::new(small(), |_, _, _| Err(io::Error::from_raw_os_error(5)));
    append(&world.log("web.1.1"), lines(8192));
    let usage = world.sweep();
    let text = usage.last_error.unwrap();
    assert!(text.contains("could not punch a hole into") && text.contains("error"), "{text}");
    world.keeper.punch = sparse::punch;
    world.later(Duration::from_secs(1));
    let usage = world.sweep();
    assert_eq!((usage.errors, usage.files_over_limit), (1, 0));
    assert!(world.state.exists());
}

/// Writes as fast as it can for a while; answers the keeper's looks and the seconds it took.
async fn wakeups_while(busy: bool) -> (u64, f64, LogUsage) {
    let (_keep, state) = scratch();
    let files = LogFiles::new(&state);
    let log = files.paths(&process("web.1.1")).unwrap().stdout;
    let limits = LogLimits { file_bytes_max: 8 * MIB, total_bytes_max: 64 * MIB, ..small() };
    let mut logs = Logs::start(files, limits, &CancellationToken::new()).unwrap();
    logs.usage.wait_for(|usage| usage.files == 2).await.unwrap();
    let before = logs.usage().wakeups;
    let started = clock::at();
    let until = Duration::from_millis(3500);
    if busy {
        tokio::task::spawn_blocking(move || {
            use std::io::Write;
            let (mut file, chunk) = (opened(&log), lines(64));
            while clock::at().since(started) < until {
                for _ in 0..64 {
                    file.write_all(&chunk).unwrap();
                }
            }
        })
        .await
        .unwrap();
    } else {
        let changed = tokio::time::timeout(until, logs.usage.changed()).await;
        assert!(changed.is_err() || logs.usage().wakeups == before + 1, "nothing happens");
    }
    let usage = logs.usage();
    let seconds = clock::at().since(started).as_secs_f64();
    logs.shutdown().await;
    (usage.wakeups - before, seconds, usage)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_costs_a_few_looks_a_second_and_silence_none() {
    let (busy, seconds, usage) = wakeups_while(true).await;
    assert!(usage.bytes_punched > 16 * MIB, "{usage:?}");
    assert!((busy as f64) < 3.0 * seconds + 2.0, "{busy} looks in {seconds} s");
    let (idle, _, _) = wakeups_while(false).await;
    assert!(idle <= 1, "{idle} looks while nothing was written");
}
