//! The clients' processes: each in a group of its own, nicer than the application, ended with its
//! group, and with what it says bounded. Nothing secret is ever among its arguments.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use crate::procfs;

/// What is kept of a client's complaints, in bytes, from their beginning.
const STDERR_BYTES_MAX: usize = 16 * 1024;
/// What a client may answer to a question, in bytes.
const STDOUT_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// The application on the same host comes first. Between control groups this says nothing: there
/// the weights of systemd/groundcrew-tiers.service do.
const NICE: i32 = 10;
/// Where memory runs out, a dump that is made again is a smaller loss than a tier.
const OOM_SCORE_ADJ: i32 = 500;
/// How much of a complaint people are shown, in characters.
const COMPLAINT_CHARS_MAX: usize = 300;

/// A client that could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// It was not started, or could not be spoken to.
    #[error("could not run {program}")]
    Run {
        /// The program.
        program: Utf8PathBuf,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// It did not end in time.
    #[error("{program} did not answer within {} s", within.as_secs())]
    Slow {
        /// The program.
        program: Utf8PathBuf,
        /// How long it had.
        within: Duration,
    },
    /// It answered more than anybody asked for.
    #[error("{program} answered more than {STDOUT_BYTES_MAX} bytes")]
    TooMuch {
        /// The program.
        program: Utf8PathBuf,
    },
    /// It failed.
    #[error("{program} failed: {said}")]
    Failed {
        /// The program.
        program: Utf8PathBuf,
        /// What it said, or how it ended.
        said: String,
        /// Its exit code; `None`: a signal ended it.
        code: Option<i32>,
    },
    /// It was stopped on request.
    #[error("{program} was stopped")]
    Stopped {
        /// The program.
        program: Utf8PathBuf,
    },
}

/// A client at work. It ends, with everything that it started, when this is dropped.
#[derive(Debug)]
pub struct Client {
    program: Utf8PathBuf,
    child: Child,
}

/// A command for `program` with nothing in its environment but what every client needs.
pub fn command(program: &Utf8Path) -> Command {
    #[expect(clippy::disallowed_methods, reason = "clients of databases are no tier's processes")]
    let mut command = Command::new(program);
    command.env_clear().env("LC_ALL", "C.UTF-8").env("HOME", "/nonexistent");
    command.env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
    command.current_dir("/").process_group(0).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

impl Client {
    /// Starts it.
    pub fn start(program: &Utf8Path, mut command: Command) -> Result<Self, ChildError> {
        let failed = |source| ChildError::Run { program: program.to_owned(), source };
        let child = command.spawn().map_err(failed)?;
        let client = Self { program: program.to_owned(), child };
        if let Some(pid) = client.pid().and_then(rustix::process::Pid::from_raw) {
            // It may have ended already, which its exit status tells.
            let _ = rustix::process::setpriority_process(Some(pid), NICE);
            let _ = procfs::adjust_oom_score(pid.as_raw_pid(), OOM_SCORE_ADJ);
        }
        Ok(client)
    }

    /// The process, until it was waited for.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        self.child.id().and_then(|pid| i32::try_from(pid).ok())
    }

    /// Kills it and its group.
    pub fn kill(&self) {
        if let Some(pid) = self.pid() {
            // Its number is its own until it was waited for, so this can only miss what has ended.
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }

    /// Asks it to end, itself alone: a server tells its own processes.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            // See above.
            let _ = nix::sys::signal::kill(Pid::from_raw(pid), signal);
        }
    }

    /// Waits for its end, and reads what it says until then.
    pub async fn wait(&mut self) -> Result<(ExitStatus, String), ChildError> {
        let said = read_start(self.child.stderr.take());
        let (status, said) = tokio::join!(self.child.wait(), said);
        let failed = |source| ChildError::Run { program: self.program.clone(), source };
        Ok((status.map_err(failed)?, said))
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Asks a client something: `input` is what it reads, its whole output the answer. An exit code
/// other than zero is an error, unless `lenient`.
pub async fn ask(
    program: &Utf8Path,
    mut command: Command,
    input: String,
    within: Duration,
    stop: &CancellationToken,
) -> Result<String, ChildError> {
    let failed = |source| ChildError::Run { program: program.to_owned(), source };
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut client = Client::start(program, command)?;
    let (stdin, stdout) = (client.child.stdin.take(), client.child.stdout.take());
    let feed = async move {
        let Some(mut stdin) = stdin else { return };
        // A client that does not read on says by its exit status why.
        drop(stdin.write_all(input.as_bytes()).await);
    };
    let work = async {
        let answer = async {
            let mut answer = Vec::new();
            let Some(stdout) = stdout else { return Ok(answer) };
            stdout.take(STDOUT_BYTES_MAX + 1).read_to_end(&mut answer).await?;
            Ok(answer)
        };
        let (ended, answer, ()) = tokio::join!(client.wait(), answer, feed);
        let ((status, said), answer) = (ended?, answer.map_err(failed)?);
        if answer.len() as u64 > STDOUT_BYTES_MAX {
            return Err(ChildError::TooMuch { program: program.to_owned() });
        }
        if !status.success() {
            let said = complaint(&said, false).unwrap_or_else(|| status.to_string());
            let code = status.code();
            return Err(ChildError::Failed { program: program.to_owned(), said, code });
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    tokio::select! {
        done = tokio::time::timeout(within, work) => {
            done.unwrap_or_else(|_| Err(ChildError::Slow { program: program.to_owned(), within }))
        }
        () = stop.cancelled() => Err(ChildError::Stopped { program: program.to_owned() }),
    }
}

/// The beginning of what is said; the rest is read and dropped, so that nobody waits for a reader.
async fn read_start(from: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut from) = from else { return String::new() };
    let mut start = Vec::new();
    let mut buffer = [0; 4096];
    // An error of the pipe ends what is said, as its end does.
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let room = STDERR_BYTES_MAX.saturating_sub(start.len()).min(read);
        start.extend_from_slice(&buffer[..room]);
    }
    String::from_utf8_lossy(&start).into_owned()
}

/// The first thing a client said that is an error, cut. Of one that succeeded, only what it calls
/// an error counts: it may warn as much as it likes.
#[must_use]
pub fn complaint(said: &str, succeeded: bool) -> Option<String> {
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    let line = lines().find(|line| is_error(line));
    let line = line.or_else(|| if succeeded { None } else { lines().next() });
    line.map(|line| {
        let visible = line.chars().map(|c| if c.is_control() { ' ' } else { c });
        visible.take(COMPLAINT_CHARS_MAX).collect()
    })
}

/// How PostgreSQL (`pg_dump: error: `, `FATAL:  `), MySQL and MariaDB (`mysqldump: Got error: `,
/// `ERROR 1045 (28000)`, `mysqldump: Couldn't execute`) begin what is an error.
fn is_error(line: &str) -> bool {
    let said = line.split_once(": ").map_or(line, |(_, said)| said);
    let begins = |text: &str| {
        let text = text.trim_start();
        ["error:", "ERROR:", "Error:", "ERROR ", "FATAL:", "PANIC:", "Got error", "Couldn't"]
            .iter()
            .any(|word| text.starts_with(word))
    };
    begins(line) || begins(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_from_warnings() {
        let check = |said: &str, succeeded, expected: Option<&str>| {
            assert_eq!(complaint(said, succeeded).as_deref(), expected, "{said}");
        };
        check("", true, None);
        check("", false, None);
        check("pg_dump: warning: there are circular foreign-key constraints", true, None);
        let mismatch = "pg_dump: error: aborting because of server version mismatch";
        check(&format!("pg_dump: detail: x\n{mismatch}\n"), true, Some(mismatch));
        let fatal = "psql: error: connection failed: FATAL:  password authentication failed";
        check(fatal, false, Some(fatal));
        let denied = "mysqldump: Got error: 1045: \"Access denied\" when trying to connect";
        check(denied, false, Some(denied));
        check("mysqldump: [Warning] Using a password can be insecure.", true, None);
        check("odd words", false, Some("odd words"));
        check("ERROR 1064 (42000) at line 1", true, Some("ERROR 1064 (42000) at line 1"));
    }

    #[tokio::test]
    async fn answers_are_bounded_in_time_and_length_and_failures_say_why() {
        let run = async |script: &str, within: Duration, stop: &CancellationToken| {
            let shell = Utf8Path::new("/bin/sh");
            let mut command = command(shell);
            command.args(["-c", script]);
            ask(shell, command, "in".to_owned(), within, stop).await
        };
        let (long, never) = (Duration::from_secs(20), CancellationToken::new());
        let last = "cat; nice; cat /proc/self/oom_score_adj";
        assert_eq!(run(last, long, &never).await.unwrap(), "in10\n500\n");
        let error = run("echo 'x: error: no' >&2; exit 3", long, &never).await.unwrap_err();
        assert_eq!(error.to_string(), "/bin/sh failed: x: error: no");
        let error = run("kill -9 $$", long, &never).await.unwrap_err();
        assert!(error.to_string().contains("signal: 9"), "{error}");
        let error = run("yes", long, &never).await.unwrap_err();
        assert!(matches!(error, ChildError::TooMuch { .. }), "{error}");
        let slow = run("sleep 60 & wait", Duration::from_millis(50), &never).await;
        assert!(matches!(slow, Err(ChildError::Slow { .. })));
        let stop = CancellationToken::new();
        stop.cancel();
        let stopped = run("sleep 60", long, &stop).await;
        assert!(matches!(stopped, Err(ChildError::Stopped { .. })));
    }
}
