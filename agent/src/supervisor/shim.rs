//! `groundcrew exec-process`: the few steps between the agent and a tier's command, in a process of
//! their own, so that nothing has to run between fork and exec and the agent needs no unsafe code.
//!
//! It gets the listening socket as stdin, its orders as arguments and the command's environment as
//! its own, and ends by becoming the command. It must never hold a secret in its arguments, never
//! start a second process and never carry on after a step that failed: a process that runs as the
//! wrong user or outside its limits is worse than none.

use std::ffi::{CString, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use groundcrew_core::types::Pid;
use nix::fcntl::FcntlArg;
use nix::unistd::{AccessFlags, Gid, Uid};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::procfs;

/// The hidden subcommand of the agent's own binary.
pub const SUBCOMMAND: &str = "exec-process";
/// Exit code: a step before the command failed.
pub const EXIT_SETUP: u8 = 125;
/// Exit code: the command is there and cannot be run. The shell's number for it.
pub const EXIT_NOT_EXECUTABLE: u8 = 126;
/// Exit code: there is no such command. The shell's number for it.
pub const EXIT_NOT_FOUND: u8 = 127;

/// What the command finds the listening socket at: `SD_LISTEN_FDS_START` of sd_listen_fds(3).
const LISTEN_FD: i32 = 3;

/// Who the command runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunAs {
    /// The name, for its supplementary groups.
    pub name: String,
    /// The user.
    pub uid: u32,
    /// Its primary group.
    pub gid: u32,
}

/// What the shim does before it becomes the command.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Orders {
    /// The agent that asks. When it is gone, nobody knows of this process and it must not go on.
    pub agent: Pid,
    /// The directory of the release.
    pub directory: String,
    /// Where the reason is written when a step fails. Nobody but the agent may write there.
    pub failure: String,
    /// `cgroup.procs` files to join.
    pub cgroups: Vec<String>,
    /// Absent: stay who the agent is.
    pub run_as: Option<RunAs>,
    /// Open files allowed.
    pub nofile: Option<u64>,
    /// The listening socket's name; absent: stdin is no socket.
    pub listen: Option<String>,
    /// Program and arguments.
    pub command: Vec<String>,
}

impl Orders {
    /// As arguments, the subcommand first.
    #[must_use]
    pub fn to_arguments(&self) -> Vec<String> {
        let mut arguments = vec![SUBCOMMAND.to_owned()];
        let mut option = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        option("--agent", self.agent.to_string());
        option("--directory", self.directory.clone());
        option("--failure", self.failure.clone());
        for path in &self.cgroups {
            option("--cgroup", path.clone());
        }
        if let Some(user) = &self.run_as {
            option("--user", user.name.clone());
            option("--uid", user.uid.to_string());
            option("--gid", user.gid.to_string());
        }
        if let Some(nofile) = self.nofile {
            option("--nofile", nofile.to_string());
        }
        if let Some(name) = &self.listen {
            option("--listen", name.clone());
        }
        arguments.push("--".to_owned());
        arguments.extend(self.command.iter().cloned());
        arguments
    }

    /// Reads what follows the subcommand.
    fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Self, Failure> {
        let bad =
            |what: &str| Failure::setup(format!("{SUBCOMMAND} is for the agent only: {what}"));
        let mut arguments = arguments.map(OsString::into_string);
        let mut next = || arguments.next().transpose().map_err(|_| bad("not UTF-8"));
        let mut orders = Self::default();
        let (mut name, mut uid, mut gid) = (None, None, None);
        loop {
            let Some(option) = next()? else { return Err(bad("no command")) };
            if option == "--" {
                break;
            }
            let Some(value) = next()? else { return Err(bad("a value is missing")) };
            let number = || value.parse::<u64>().map_err(|_| bad("not a number"));
            let id = || value.parse::<u32>().map_err(|_| bad("not an id"));
            match option.as_str() {
                "--agent" => orders.agent = value.parse().map_err(|_| bad("not a pid"))?,
                "--directory" => orders.directory = value,
                "--failure" => orders.failure = value,
                "--cgroup" => orders.cgroups.push(value),
                "--user" => name = Some(value),
                "--uid" => uid = Some(id()?),
                "--gid" => gid = Some(id()?),
                "--nofile" => orders.nofile = Some(number()?),
                "--listen" => orders.listen = Some(value),
                _ => return Err(bad("an unknown option")),
            }
        }
        while let Some(argument) = next()? {
            orders.command.push(argument);
        }
        orders.run_as = match (name, uid, gid) {
            (Some(name), Some(uid), Some(gid)) => Some(RunAs { name, uid, gid }),
            (None, None, None) => None,
            // Half a user would leave the command with the other half of root.
            _ => return Err(bad("a user needs --user, --uid and --gid")),
        };
        if orders.command.is_empty() || orders.directory.is_empty() {
            return Err(bad("no command or no directory"));
        }
        Ok(orders)
    }
}

/// Why there is no command, and the exit code that goes with it.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    fn setup(message: impl Into<String>) -> Self {
        Self { code: EXIT_SETUP, message: message.into() }
    }
}

/// Names the step that failed.
trait Step<T> {
    fn step(self, what: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: std::fmt::Display> Step<T> for Result<T, E> {
    fn step(self, what: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure::setup(format!("could not {}: {error}", what())))
    }
}

/// Becomes the command that `arguments` (those behind the subcommand) describe. Returns only when
/// that failed; the reason is then the last line on stderr, which is the process's own log, and in
/// the file that the orders name.
pub fn exec(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    close_all_but_stdio();
    let mut failure_file = None;
    let failure = Orders::parse(arguments)
        .and_then(|orders| become_command(&orders, &mut failure_file))
        .map_or_else(|failure| failure, |never| match never {});
    eprintln!("groundcrew: {}", failure.message);
    if let Some(file) = &mut failure_file
        && let Err(error) = file.write_all(failure.message.as_bytes())
    {
        eprintln!("groundcrew: could not write the reason for the agent: {error}");
    }
    ExitCode::from(failure.code)
}

enum Never {}

fn become_command(orders: &Orders, failure_file: &mut Option<File>) -> Result<Never, Failure> {
    // Before any other file is opened, so that fd 3 is free.
    if orders.listen.is_some() {
        take_socket()?;
    }
    // Opened first: afterwards this process may be somebody who cannot write there.
    let file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(&orders.failure)
        .step(|| format!("open {}", orders.failure))?;
    *failure_file = Some(file);
    nix::unistd::setsid().step(|| "start a session".to_owned())?;
    // From here on a new agent finds this process by its session and its environment. An agent that
    // died before this line may have been followed by one that looked too early: then nobody would
    // ever know of this process.
    if nix::unistd::getppid().as_raw() != orders.agent {
        return Err(Failure::setup("the agent went away while this process was being started"));
    }
    for path in &orders.cgroups {
        // 0 is the writer itself (cgroups(7)).
        let joined = OpenOptions::new().write(true).open(path).and_then(|mut f| f.write_all(b"0"));
        joined.step(|| format!("join the control group {path}"))?;
    }
    set_limits(orders)?;
    if let Some(user) = &orders.run_as {
        drop_to(user)?;
    }
    // Also without a change of user: the agent's unit may have given it ambient capabilities. A
    // kernel or a container without them answers EINVAL, and then there are none to pass on.
    match rustix::thread::clear_ambient_capability_set() {
        Ok(()) | Err(rustix::io::Errno::INVAL) => {}
        Err(error) => return Err(error).step(|| "drop ambient capabilities".to_owned()),
    }
    rustix::thread::set_no_new_privs(true).step(|| "set no_new_privs".to_owned())?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    std::env::set_current_dir(&orders.directory)
        .step(|| format!("enter {} as {}", orders.directory, who(orders)))?;
    reset_signals();
    Err(run(orders))
}

fn who(orders: &Orders) -> String {
    orders.run_as.as_ref().map_or_else(|| "the agent's user".to_owned(), |user| user.name.clone())
}

/// Moves the socket from stdin to fd 3, and puts /dev/null in its place.
fn take_socket() -> Result<(), Failure> {
    let taken = nix::fcntl::fcntl(io::stdin(), FcntlArg::F_DUPFD(LISTEN_FD))
        .step(|| "take the listening socket".to_owned())?;
    if taken != LISTEN_FD {
        return Err(Failure::setup(format!("the listening socket came to fd {taken}, not 3")));
    }
    let null = File::open("/dev/null").step(|| "open /dev/null".to_owned())?;
    nix::unistd::dup2_stdin(&null).step(|| "open /dev/null as stdin".to_owned())
}

fn set_limits(orders: &Orders) -> Result<(), Failure> {
    // A core file holds the process's secrets, and fills the disk in a crash loop.
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).step(|| "turn core files off".to_owned())?;
    if let Some(wanted) = orders.nofile {
        allow_files(wanted).step(|| format!("allow {wanted} open files"))?;
    }
    // The unit protects the agent from the OOM killer; what it starts gets no share in that.
    let adjustment = "/proc/self/oom_score_adj";
    let current = std::fs::read_to_string(adjustment).step(|| format!("read {adjustment}"))?;
    if current.trim().parse::<i32>().is_ok_and(|score| score < 0) {
        let own = rustix::process::getpid().as_raw_pid();
        procfs::adjust_oom_score(own, 0).step(|| format!("write {adjustment}"))?;
    }
    Ok(())
}

/// Allows `wanted` open files, or as many as this process may have: only root may go above the hard
/// limit, and in a container not even root.
fn allow_files(wanted: u64) -> rustix::io::Result<()> {
    let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let limits = |soft, hard| Rlimit { current: Some(soft), maximum: Some(hard) };
    if hard < wanted {
        match setrlimit(Resource::Nofile, limits(wanted, wanted)) {
            Err(rustix::io::Errno::PERM) => {}
            result => return result,
        }
    }
    setrlimit(Resource::Nofile, limits(wanted.min(hard), hard))
}

/// Becomes the user for good: groups first, while there is still the right to change them.
fn drop_to(user: &RunAs) -> Result<(), Failure> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    let what = || format!("run as {}", user.name);
    let name = CString::new(user.name.clone()).step(what)?;
    nix::unistd::initgroups(&name, gid).step(what)?;
    nix::unistd::setresgid(gid, gid, gid).step(what)?;
    nix::unistd::setresuid(uid, uid, uid).step(what)?;
    if Uid::current() != uid || Uid::effective() != uid || Gid::effective() != gid {
        return Err(Failure::setup(format!("could not {}: it had no effect", what())));
    }
    Ok(())
}

fn run(orders: &Orders) -> Failure {
    let program = match find(&orders.command[0]) {
        Ok(program) => program,
        Err(failure) => return failure,
    };
    #[expect(clippy::disallowed_methods, reason = "the supervisor's own: this becomes the process")]
    let mut command = Command::new(&program);
    command.arg0(&orders.command[0]).args(&orders.command[1..]);
    // Whatever the agent itself was given by systemd is not the command's.
    command.env_remove("LISTEN_PID").env_remove("LISTEN_FDS").env_remove("LISTEN_FDNAMES");
    if let Some(name) = &orders.listen {
        command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", name);
        command.env("LISTEN_PID", std::process::id().to_string());
    }
    let error = command.exec();
    let message = if error.kind() == io::ErrorKind::NotFound {
        format!("could not run {program}: the interpreter in its first line does not exist")
    } else {
        format!("could not run {program}: {error}")
    };
    Failure { code: EXIT_NOT_EXECUTABLE, message }
}

/// Finds the program as a shell would: a name with a slash as it is, any other in `PATH`.
fn find(name: &str) -> Result<String, Failure> {
    let path = std::env::var("PATH").unwrap_or_default();
    let candidates: Vec<String> = if name.contains('/') {
        vec![name.to_owned()]
    } else {
        // An empty entry would mean the release's directory: nobody asks for that on purpose.
        path.split(':').filter(|entry| !entry.is_empty()).map(|at| format!("{at}/{name}")).collect()
    };
    let mut refused = None;
    for candidate in candidates {
        match std::fs::metadata(&candidate) {
            Ok(file) if !file.is_file() => {
                refused.get_or_insert(format!("{candidate} is not a file"));
            }
            Ok(_) if nix::unistd::access(Path::new(&candidate), AccessFlags::X_OK).is_ok() => {
                return Ok(candidate);
            }
            Ok(file) => {
                let mode = file.permissions().mode() & 0o7777;
                refused.get_or_insert(format!("{candidate} is not executable (mode {mode:03o})"));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                refused.get_or_insert(format!("could not look at {candidate}: {error}"));
            }
        }
    }
    if let Some(message) = refused {
        return Err(Failure { code: EXIT_NOT_EXECUTABLE, message });
    }
    let place = if name.contains('/') {
        "no such file in the release".to_owned()
    } else {
        format!("it is not in PATH ({path})")
    };
    let message = format!("command not found: {name}; {place}");
    Err(Failure { code: EXIT_NOT_FOUND, message })
}

/// Every signal back to its default: what the agent, or whoever started it, ignores or blocks is
/// not the command's business.
fn reset_signals() {
    // Only an unknown `how` is an error.
    let _ = nix::sys::signal::SigSet::empty().thread_set_mask();
    for signal in nix::sys::signal::Signal::iterator() {
        // SAFETY: SIG_DFL runs no code of this process, so no handler can meet a broken invariant.
        // SIGKILL and SIGSTOP answer EINVAL: they are always at their default.
        let _ = unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::SigDfl) };
    }
}

/// Closes what was inherited by mistake. The agent opens everything close-on-exec; this is for
/// libraries and for whoever started the agent.
fn close_all_but_stdio() {
    // SAFETY: called first thing in this process, before it opened anything: no value owns a
    // descriptor above 2 that this could close under it.
    let closed = unsafe { nix::libc::syscall(nix::libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
    // Kernels before 5.9 do not know it, and they have no pidfd_getfd either; a seccomp filter may
    // refuse it. What is still open is then what the agent opened, all of it close-on-exec.
    if closed != 0 {
        eprintln!("groundcrew: could not close inherited files: {}", io::Error::last_os_error());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[String]) -> Result<Orders, Failure> {
        Orders::parse(arguments.iter().map(OsString::from))
    }

    #[test]
    fn arguments_are_read_as_they_were_written() {
        let full = Orders {
            agent: 7,
            directory: "/srv/a b".to_owned(),
            failure: "/x/web.1.1.failure".to_owned(),
            cgroups: vec!["/a/cgroup.procs".to_owned(), "/b/cgroup.procs".to_owned()],
            run_as: Some(RunAs { name: "app".to_owned(), uid: 1000, gid: 1001 }),
            nofile: Some(65_536),
            listen: Some("web".to_owned()),
            command: ["node", "--", "--uid", "0", ""].map(str::to_owned).to_vec(),
        };
        let bare = Orders {
            directory: "/".to_owned(),
            command: vec!["sh".to_owned()],
            ..Orders::default()
        };
        for orders in [full, bare] {
            let arguments = orders.to_arguments();
            assert_eq!(arguments[0], SUBCOMMAND);
            assert_eq!(parse(&arguments[1..]).unwrap(), orders);
        }
    }

    #[test]
    fn half_a_user_and_other_nonsense_is_refused() {
        let cases: [&[&str]; 6] = [
            &[],
            &["--directory", "/", "--"],
            &["--directory", "/", "--uid", "5", "--", "sh"],
            &["--directory", "/", "--user", "app", "--uid", "-5", "--gid", "1", "--", "sh"],
            &["--what", "x", "--", "sh"],
            &["--directory"],
        ];
        for case in cases {
            let arguments: Vec<String> = case.iter().map(|&text| text.to_owned()).collect();
            assert_eq!(parse(&arguments).unwrap_err().code, EXIT_SETUP, "{case:?}");
        }
    }
}
