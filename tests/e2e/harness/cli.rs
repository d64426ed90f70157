//! A command of the CLI that stays, such as `logs -f`, and what it has printed so far.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::agent::World;
use super::wait_until;

const WITHIN: Duration = Duration::from_secs(20);

/// A running command; killed when this is dropped.
pub struct RunningCli {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    stderr: PathBuf,
    reader: Option<JoinHandle<()>>,
}

impl RunningCli {
    /// Starts `groundcrew ARGUMENTS`.
    pub fn start(world: &World, arguments: &[&str]) -> Self {
        let stderr = world.path().join(format!("{}.stderr", arguments.join("-").replace('/', "")));
        let mut child = world
            .command()
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(File::create(&stderr).expect("could not make a file for stderr"))
            .spawn()
            .expect("could not start the CLI");
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&lines);
        let reader = std::thread::spawn(move || {
            for line in stdout.lines() {
                shared.lock().unwrap().push(line.expect("the CLI prints UTF-8"));
            }
        });
        Self { child, lines, stderr, reader: Some(reader) }
    }

    /// What it has printed.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// What it has complained about.
    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).expect("stderr is a file")
    }

    /// Ctrl-C.
    pub fn interrupt(&self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(pid, Signal::SIGINT).expect("the command runs");
    }

    /// Waits for a line that contains `part`, and answers the first.
    #[track_caller]
    pub fn wait_for_line(&self, part: &str) -> String {
        wait_until(WITHIN, &format!("a line with {part:?}"), || {
            let lines = self.lines();
            lines.iter().find(|line| line.contains(part)).cloned().ok_or(lines)
        })
    }

    /// Waits until it ends by itself, and answers its exit code.
    #[track_caller]
    pub fn wait(&mut self) -> Option<i32> {
        let child = &mut self.child;
        wait_until(WITHIN, "the command ends", || match child.try_wait() {
            Ok(Some(status)) => Ok(status.code()),
            other => Err(other),
        })
    }
}

impl Drop for RunningCli {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if let Some(reader) = self.reader.take() {
            drop(reader.join());
        }
    }
}
