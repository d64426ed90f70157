//! `groundcrew demo` from start to end, interrupted, and on a machine without Node: it says so, and
//! leaves nothing behind.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::reaper::{Reaper, processes_of};

/// A place of its own for everything the demo makes: its temporary directory is made in here.
struct Place {
    // The order matters: processes end before their directory.
    _reaper: Reaper,
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("gc-").tempdir().unwrap();
        Self { _reaper: Reaper::new(directory.path()).unwrap(), directory }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn demo(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_groundcrew-under-test"));
        command.arg("demo").env("TMPDIR", self.path()).stdin(Stdio::null());
        command
    }

    #[track_caller]
    fn assert_nothing_is_left(&self) {
        assert_eq!(processes_of(self.path()), []);
        let left: Vec<_> = fs::read_dir(self.path()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn the_demo_tells_its_story_and_no_request_fails() {
    let place = Place::new();
    let output = place.demo().output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    let complaints = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{told}\n{complaints}");
    let scenes = [
        "v1 settled",
        "v2 settled",
        "# the agent",
        "v3 settled",
        "started by the old one",
        "v4 rejected",
        "v5 rejected",
        "rolled back to v3",
        "No request failed.",
    ];
    let mut rest = told.as_str();
    for scene in scenes {
        let at = rest.find(scene).unwrap_or_else(|| panic!("no {scene:?} in its place:\n{told}"));
        rest = &rest[at..];
    }
    let table: Vec<Vec<&str>> =
        told.lines().map(|line| line.split_whitespace().collect()).collect();
    let header = ["REQUESTS", "FAILED", "P50", "P99"];
    let at = table.iter().position(|line| *line == header).expect("the table of requests");
    let [sent, failed, _, _] = table[at + 1][..] else { panic!("{told}") };
    assert!(sent.parse::<u64>().unwrap() > 1000, "{told}");
    assert_eq!(failed, "0", "{told}");
    place.assert_nothing_is_left();
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    let place = Place::new();
    let mut demo = place.demo().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The worst moment: the agent is dead, and its processes are on their own.
    let seen = read_until(&mut demo, "# the agent");
    kill(Pid::from_raw(i32::try_from(demo.id()).unwrap()), Signal::SIGINT).unwrap();
    let mut complaints = String::new();
    demo.stderr.take().unwrap().read_to_string(&mut complaints).unwrap();
    assert_eq!(demo.wait().unwrap().code(), Some(1), "{seen}\n{complaints}");
    assert!(complaints.contains("interrupted by Ctrl-C"), "{complaints}");
    place.assert_nothing_is_left();
}

#[test]
fn without_node_the_demo_says_what_to_install() {
    let place = Place::new();
    let output = place.demo().env("PATH", place.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let complaints = String::from_utf8(output.stderr).unwrap();
    assert!(complaints.contains("needs Node 18 or newer"), "{complaints}");
    assert!(complaints.contains("apt-get install nodejs"), "{complaints}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
    place.assert_nothing_is_left();
}

/// Reads what the demo tells until a line has `wanted`; the rest is read and dropped elsewhere, so
/// that the demo never waits for this test.
fn read_until(demo: &mut Child, wanted: &str) -> String {
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let mut seen = String::new();
    for line in lines.by_ref() {
        let line = line.unwrap();
        let found = line.contains(wanted);
        seen.push_str(&line);
        seen.push('\n');
        if found {
            std::thread::spawn(move || lines.for_each(drop));
            return seen;
        }
    }
    panic!("the demo ended before {wanted:?}:\n{seen}");
}
