//! What `/proc` says about processes. Everything read here was written by somebody else: it is
//! bounded, parsed without trust, and never acted upon without a pidfd that was opened before the
//! last look (a pid alone may name another process by now).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::time::Duration;

use groundcrew_core::types::Pid;

/// Bytes of an environment that are looked at. The kernel allows more; the marker the supervisor
/// looks for stands among what it passed itself, which is far smaller.
const ENVIRON_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Times an execve is waited for, and how long each time: it takes microseconds, and longer only
/// where nothing gets a CPU, or where the program comes from a slow disk.
const EXEC_LOOKS_MAX: u32 = 250;
const EXEC_PAUSE: Duration = Duration::from_millis(1);
/// Bytes of a stat line: 52 numbers and a name of 15 bytes (64 for the kernel's own threads).
const STAT_BYTES_MAX: usize = 2048;
/// Bytes of a command line shown to a person.
const COMMAND_LINE_BYTES_MAX: u64 = 4096;
/// `PF_KTHREAD` of `include/linux/sched.h`: threads of the kernel have no environment and no files.
const FLAG_KERNEL_THREAD: u64 = 0x0020_0000;

/// One line of `/proc/PID/stat` (proc_pid_stat(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// The process.
    pub pid: Pid,
    /// `R`, `S`, `D`, `Z` and so on.
    pub state: char,
    /// Its parent.
    pub ppid: Pid,
    /// Its process group.
    pub group: Pid,
    /// Its session.
    pub session: Pid,
    /// Whether it is a thread of the kernel.
    pub kernel: bool,
    /// Time on a CPU in user and kernel mode, in clock ticks.
    pub cpu_ticks: u64,
    /// When it started, in clock ticks since the boot. With the pid it names a process for good.
    pub start_ticks: u64,
    /// Resident memory, in pages.
    pub rss_pages: u64,
    /// Address space, in bytes.
    pub virtual_bytes: u64,
    /// Its threads.
    pub threads: u64,
    /// Whether its program is in place: not so in the middle of an execve(2).
    pub loaded: bool,
}

impl Stat {
    /// Whether it has ended and only waits for its parent to notice.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }
}

/// Reads `/proc/PID/stat`. `NotFound` when there is no such process.
pub fn stat(pid: Pid) -> io::Result<Stat> {
    // One read: the kernel makes the line anew for each, and a whole one is far shorter.
    let mut line = [0; STAT_BYTES_MAX];
    let mut file = File::open(format!("/proc/{pid}/stat"))?;
    let length = file.read(&mut line).map_err(gone_is_not_found)?;
    parse_stat(&line[..length])
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a stat line"))
}

// A process that ends between open and read answers ESRCH.
fn gone_is_not_found(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) if code == nix::errno::Errno::ESRCH as i32 => io::ErrorKind::NotFound.into(),
        _ => error,
    }
}

fn parse_stat(line: &[u8]) -> Option<Stat> {
    // The second field is the program's own name in parentheses: it may hold anything, also `) R
    // 1`.
    let open = line.iter().position(|&byte| byte == b'(')?;
    let close = line.iter().rposition(|&byte| byte == b')')?;
    let pid = std::str::from_utf8(line.get(..open)?).ok()?.trim().parse().ok()?;
    let rest = std::str::from_utf8(line.get(close + 1..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // Field n of the manual page is fields[n - 3].
    let number = |n: usize| fields.get(n - 3)?.parse::<u64>().ok();
    let id = |n: usize| fields.get(n - 3)?.parse::<Pid>().ok();
    Some(Stat {
        pid,
        state: fields.first()?.chars().next()?,
        ppid: id(4)?,
        group: id(5)?,
        session: id(6)?,
        kernel: number(9)? & FLAG_KERNEL_THREAD != 0,
        cpu_ticks: number(14)?.saturating_add(number(15)?),
        start_ticks: number(22)?,
        rss_pages: number(24)?,
        virtual_bytes: number(23)?,
        threads: number(20)?,
        loaded: number(26)? != 0,
    })
}

/// Every process of the host, in no order.
pub fn pids() -> io::Result<Vec<Pid>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        if let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
            pids.push(pid);
        }
    }
    Ok(pids)
}

/// How many files a process has open, and how many directory entries had to be looked at for that:
/// none since Linux 6.2, which tells the number. At most `max` are counted.
pub fn open_files(pid: Pid, max: usize) -> io::Result<(u64, usize)> {
    let directory = format!("/proc/{pid}/fd");
    let told = fs::metadata(&directory)?.len();
    if told > 0 {
        return Ok((told, 0));
    }
    let mut counted = 0;
    for entry in fs::read_dir(&directory)?.take(max) {
        entry.map_err(gone_is_not_found)?;
        counted += 1;
    }
    Ok((counted as u64, counted))
}

/// The environment a process was started with.
#[derive(Debug, Clone, Default)]
pub struct Environ(Vec<u8>);

impl Environ {
    /// The value of a variable; the first one when it stands there twice, as getenv(3) does.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.split(|&byte| byte == 0).find_map(|variable| {
            let value = variable.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
            std::str::from_utf8(value).ok()
        })
    }
}

/// Reads `/proc/PID/environ`. Empty for a process that has ended. In the middle of an execve(2) the
/// old memory is gone and the new one has no environment yet: that is waited for.
pub fn environ(pid: Pid) -> io::Result<Environ> {
    let read = || read_bounded(&format!("/proc/{pid}/environ"), ENVIRON_BYTES_MAX).map(Environ);
    for _ in 0..EXEC_LOOKS_MAX {
        let environ = read()?;
        if !environ.0.is_empty() {
            return Ok(environ);
        }
        // The kernel fills in the arguments, then the environment, then where the code is
        // (`load_elf_binary` of `fs/binfmt_elf.c`): with code there, the next look is the last.
        if stat(pid).is_ok_and(|stat| stat.loaded || stat.is_dead() || stat.kernel) {
            break;
        }
        #[expect(clippy::disallowed_methods, reason = "nothing tells when an execve is done")]
        std::thread::sleep(EXEC_PAUSE);
    }
    read()
}

/// Program and arguments as one line for people; the bare name when a process hides them.
#[must_use]
pub fn command_line(pid: Pid) -> Option<String> {
    let mut bytes = read_bounded(&format!("/proc/{pid}/cmdline"), COMMAND_LINE_BYTES_MAX).ok()?;
    if bytes.iter().all(|&byte| byte == 0) {
        bytes = read_bounded(&format!("/proc/{pid}/comm"), COMMAND_LINE_BYTES_MAX).ok()?;
    }
    let text = String::from_utf8_lossy(&bytes);
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    let line: String = text.chars().map(printable).collect();
    Some(line.trim().to_owned()).filter(|line| !line.is_empty())
}

fn read_bounded(path: &str, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max).read_to_end(&mut bytes).map_err(gone_is_not_found)?;
    Ok(bytes)
}

/// Has the kernel end a process sooner, or later, than others where memory runs out: -1000 to 1000
/// (proc_pid_oom_score_adj(5)). Less than it was takes a right.
pub fn adjust_oom_score(pid: Pid, to: i32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(format!("/proc/{pid}/oom_score_adj"))?;
    file.write_all(to.to_string().as_bytes()).map_err(gone_is_not_found)
}

/// What this host is called, also in a container; `unknown` where nobody may know.
#[must_use]
pub fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "unknown" } else { name }.to_owned()
}

/// Tells one boot of this host from the next (random(4)).
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_name_cannot_forge_the_fields_behind_it() {
        let tail =
            "S 7 8 9 0 -1 4194560 1 0 0 0 11 22 0 0 20 0 1 0 4242 999 55 18446744073709551615 4096";
        for name in ["node", "a b", ") R 1 1 1", "((", "\u{1}) Z"] {
            let stat = parse_stat(format!("123 ({name}) {tail}").as_bytes()).unwrap();
            assert_eq!((stat.pid, stat.state, stat.ppid), (123, 'S', 7), "{name}");
            assert_eq!((stat.group, stat.session, stat.kernel), (8, 9, false));
            assert_eq!((stat.cpu_ticks, stat.start_ticks, stat.rss_pages), (33, 4242, 55));
            assert_eq!((stat.virtual_bytes, stat.threads, stat.loaded), (999, 1, true));
        }
        for line in ["", "1", "1 (x)", "1 (x) S 1", ") 1 (", "x (y) S 1 1 1 1 1 1 1 1 1"] {
            assert_eq!(parse_stat(line.as_bytes()), None, "{line:?}");
        }
    }

    #[test]
    fn finds_this_process() {
        let own = Pid::try_from(std::process::id()).unwrap();
        assert!(pids().unwrap().contains(&own));
        let stat = stat(own).unwrap();
        assert_eq!(stat.pid, own);
        assert!(!stat.is_dead() && !stat.kernel && stat.loaded && stat.start_ticks > 0);
        assert!(environ(own).unwrap().get("PATH").is_some());
        assert!(!command_line(own).unwrap().is_empty());
        assert_eq!(boot_id().unwrap().len(), 36);
        assert_eq!(host_name(), rustix::system::uname().nodename().to_str().unwrap());
    }

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "it is another program's execve that is looked at"
    )]
    fn an_environment_is_found_while_the_program_is_being_executed() {
        // spawn() returns when the old memory is gone, not when the new one is filled.
        for _ in 0..500 {
            let mut child = Command::new("sleep").arg("9").env("MARK", "x").spawn().unwrap();
            let environ = environ(Pid::try_from(child.id()).unwrap()).unwrap();
            child.kill().unwrap();
            child.wait().unwrap();
            assert_eq!(environ.get("MARK"), Some("x"));
        }
    }

    #[test]
    fn open_files_are_those_of_the_directory() {
        let own = Pid::try_from(std::process::id()).unwrap();
        let count = || open_files(own, usize::MAX).unwrap().0;
        let before = count();
        let files: Vec<_> = (0..100).map(|_| File::open("/dev/null").unwrap()).collect();
        // Other threads of the test program open and close some.
        let with_them = count();
        assert!(with_them.abs_diff(before + 100) < 50, "{before} {with_them}");
        drop(files);
    }

    #[test]
    fn what_is_gone_is_not_found() {
        assert_eq!(open_files(i32::MAX, 1).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(stat(i32::MAX).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(command_line(i32::MAX), None);
    }

    #[test]
    fn the_first_of_two_values_counts_and_prefixes_do_not() {
        let environ = Environ(b"AB=no\0A=1\0A=2\0C=\0".to_vec());
        assert_eq!(environ.get("A"), Some("1"));
        assert_eq!(environ.get("C"), Some(""));
        assert_eq!(environ.get("B"), None);
    }
}
