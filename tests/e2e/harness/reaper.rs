//! Kills what a test leaves behind, also when the test itself was killed.
//!
//! The processes of a tier live in sessions of their own and outlive the agent: that is a feature.
//! What belongs to a test is recognised by the test's directory, which is in the environment, the
//! arguments or the working directory of all that it starts, directly or not.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::wait_until;

/// Every process that has `directory` in its environment, arguments or working directory; zombies
/// and this process excepted.
pub fn processes_of(directory: &Path) -> Vec<Pid> {
    let own = Pid::this();
    let entries = fs::read_dir("/proc").expect("could not read /proc");
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok().map(Pid::from_raw))
        .filter(|pid| *pid != own && belongs(*pid, directory))
        .collect()
}

fn belongs(pid: Pid, directory: &Path) -> bool {
    let proc = PathBuf::from(format!("/proc/{pid}"));
    let holds = |file: &str| {
        // A process that has ended meanwhile does not belong to anybody.
        let content = fs::read(proc.join(file)).unwrap_or_default();
        let wanted = directory.as_os_str().as_bytes();
        content.windows(wanted.len()).any(|window| window == wanted)
    };
    let works_there =
        || fs::read_link(proc.join("cwd")).is_ok_and(|path| path.starts_with(directory));
    works_there() || holds("environ") || holds("cmdline")
}

/// Kills every process of `directory` until none is left: one that forks may be ahead for a while.
pub fn kill_all(directory: &Path) {
    wait_until(Duration::from_secs(10), "no process of the test is left", || {
        let found = processes_of(directory);
        for pid in &found {
            match kill(*pid, Signal::SIGKILL) {
                // It may have ended by itself since it was listed.
                Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
                Err(error) => panic!("could not kill {pid}: {error}"),
            }
        }
        if found.is_empty() { Ok(()) } else { Err(found) }
    });
}

/// A process that waits for the end of this one and kills what is left then. It is in a group of
/// its own: nextest kills the whole group of a test that takes too long.
pub struct Reaper {
    directory: PathBuf,
    watcher: Child,
}

// Reads until the pipe from the test closes, which no way of dying can prevent. The directory comes
// in by that pipe and goes to grep by another, so that neither matches itself.
const WATCHER: &str = r#"
cd / && read -r directory && cat >/dev/null
found() {
  printf '%s\n' "$directory" |
    grep -alsF -f - /proc/[0-9]*/environ /proc/[0-9]*/cmdline
  ls -ld /proc/[0-9]*/cwd 2>/dev/null | while read -r line; do
    case "$line" in *" -> $directory"*) line=${line% -> *}; echo "${line##* }" ;; esac
  done
}
for round in 1 2 3 4 5 6 7 8 9 10; do
  files=$(found)
  [ "$files" ] || break
  for file in $files; do
    process=${file#/proc/}
    kill -9 "${process%%/*}" 2>/dev/null
  done
done
rm -rf "$directory"
"#;

impl Reaper {
    /// Watches over everything that will belong to `directory`, and over the directory itself.
    pub fn new(directory: &Path) -> io::Result<Self> {
        use std::io::Write;
        use std::os::unix::process::CommandExt;
        let mut watcher = Command::new("sh")
            .args(["-c", WATCHER])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut pipe = watcher.stdin.take().expect("stdin is piped");
        writeln!(pipe, "{}", directory.display())?;
        watcher.stdin = Some(pipe);
        Ok(Self { directory: directory.to_owned(), watcher })
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        kill_all(&self.directory);
        // Nothing is left to do for the watcher, and the directory may be wanted by a person.
        drop(self.watcher.kill());
        drop(self.watcher.wait());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watcher_finds_a_process_by_its_working_directory_too() {
        let directory = tempfile::tempdir().unwrap();
        let mut mine =
            Command::new("sleep").arg("600").current_dir(directory.path()).spawn().unwrap();
        let mut reaper = Reaper::new(directory.path()).unwrap();
        drop(reaper.watcher.stdin.take());
        assert!(!mine.wait().unwrap().success());
        reaper.watcher.wait().unwrap();
    }

    fn sleeper(directory: &Path) -> Child {
        use std::os::unix::process::CommandExt;
        Command::new("sleep").arg("600").env("MARK", directory).process_group(0).spawn().unwrap()
    }

    #[test]
    fn what_belongs_to_the_directory_is_killed_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        let mut mine = [sleeper(directory.path()), sleeper(directory.path())];
        let mut stranger = sleeper(other.path());
        drop(Reaper::new(directory.path()).unwrap());
        assert!(mine.iter_mut().all(|child| !child.wait().unwrap().success()));
        assert!(stranger.try_wait().unwrap().is_none(), "another test's process was killed");
        kill_all(other.path());
        stranger.wait().unwrap();
    }

    #[test]
    fn the_watcher_kills_when_the_test_cannot() {
        let directory = tempfile::tempdir().unwrap();
        let mut mine = sleeper(directory.path());
        let mut reaper = Reaper::new(directory.path()).unwrap();
        // What the kernel does to the pipe of a test that was killed.
        drop(reaper.watcher.stdin.take());
        assert!(!mine.wait().unwrap().success());
        reaper.watcher.wait().unwrap();
        assert!(!directory.path().exists());
    }
}
