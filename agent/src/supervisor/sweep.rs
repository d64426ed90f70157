//! Kills everything that belongs to a process, until none of it is left: its control group where it
//! has one; otherwise its session, its group, its descendants, and whatever carries its marker in
//! its environment. Blocking, bounded, and never by a bare pid: each kill goes through a pidfd that
//! was opened before the last look at who it is.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use groundcrew_core::types::{Pid, ProcessId};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::cgroup::Group;
use super::record::Identity;
use crate::clock;
use crate::procfs::{self, Stat};

/// The variable that names a process to the next agent.
pub const ENV_PROCESS: &str = "GROUNDCREW_PROCESS";
/// The variable that counts its starts.
pub const ENV_RUN: &str = "GROUNDCREW_RUN";
/// The variable that tells the processes of one agent from those of another on the same host.
pub const ENV_OWNER: &str = "GROUNDCREW_OWNER";

/// How long the killed may take to die. A process that hangs in the kernel takes longer, and is
/// reported instead of awaited.
const KILL_WITHIN: Duration = Duration::from_secs(5);
/// How long one look waits for what it killed.
const ROUND: Duration = Duration::from_millis(500);

/// What is to be killed.
#[derive(Debug, Clone)]
pub struct Target {
    /// Whose marker.
    pub id: ProcessId,
    /// Of which agent.
    pub owner: String,
    /// The process itself, where it is known.
    pub main: Option<Identity>,
    /// Its control group, where it has one.
    pub group: Option<Group>,
    /// When the first of it was started, in clock ticks since the boot: what is older is not looked
    /// into. `None` where only a record says so.
    pub since: Option<u64>,
}

/// One living process that belongs to a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Member {
    pid: Pid,
    start_ticks: u64,
}

/// Opens a pidfd of exactly this process; `None` when it is gone, or its number is another's by
/// now.
pub fn open(identity: Identity) -> io::Result<Option<OwnedFd>> {
    let Some(raw) = rustix::process::Pid::from_raw(identity.pid) else { return Ok(None) };
    let pidfd = match pidfd_open(raw, PidfdFlags::NONBLOCK) {
        Ok(pidfd) => pidfd,
        Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    match procfs::stat(identity.pid) {
        Ok(stat) if stat.start_ticks == identity.start_ticks => Ok(Some(pidfd)),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Kills what belongs to `target` and waits for its end. What is still there after
/// [`KILL_WITHIN`] is returned.
pub fn sweep(target: &Target) -> io::Result<Vec<Pid>> {
    let not_after = clock::at().plus(KILL_WITHIN);
    loop {
        let members = members(target)?;
        if members.is_empty() {
            return Ok(Vec::new());
        }
        if clock::at() >= not_after {
            return Ok(members.into_iter().map(|member| member.pid).collect());
        }
        if let Some(group) = &target.group {
            // One write kills all of them at once, also those that are just being forked.
            group.kill()?;
        }
        let mut dying = Vec::new();
        for Member { pid, start_ticks } in members {
            let Some(pidfd) = open(Identity { pid, start_ticks })? else { continue };
            match pidfd_send_signal(&pidfd, Signal::KILL) {
                Ok(()) => dying.push(pidfd),
                Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
        await_all(&dying)?;
    }
}

/// Waits until every one has ended, but no longer than a round.
fn await_all(pidfds: &[OwnedFd]) -> io::Result<()> {
    let not_after = clock::at().plus(ROUND);
    for pidfd in pidfds {
        let left = not_after.since(clock::at());
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut entry = [PollFd::new(pidfd, PollFlags::IN)];
        match poll(&mut entry, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn members(target: &Target) -> io::Result<BTreeSet<Member>> {
    let Some(group) = &target.group else { return scan(target) };
    let mut members = BTreeSet::new();
    for pid in group.pids()? {
        if let Some(stat) = living(pid)? {
            members.insert(Member { pid, start_ticks: stat.start_ticks });
        }
    }
    // The shim may not have joined yet.
    if let Some(main) = target.main
        && living(main.pid)?.is_some_and(|stat| stat.start_ticks == main.start_ticks)
    {
        members.insert(Member { pid: main.pid, start_ticks: main.start_ticks });
    }
    Ok(members)
}

fn living(pid: Pid) -> io::Result<Option<Stat>> {
    match procfs::stat(pid) {
        Ok(stat) => Ok(Some(stat).filter(|stat| !stat.is_dead())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Every process of the host except kernel threads, the dead included: a dead leader still names
/// its session.
pub fn all() -> io::Result<Vec<Stat>> {
    let mut stats = Vec::new();
    for pid in procfs::pids()? {
        match procfs::stat(pid) {
            Ok(stat) if !stat.kernel => stats.push(stat),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(stats)
}

fn scan(target: &Target) -> io::Result<BTreeSet<Member>> {
    let stats = all()?;
    let own = Pid::try_from(std::process::id()).map_err(io::Error::other)?;
    // Another process may have the main one's number by now, and lead a session that is not ours.
    let leader = target.main.filter(|main| {
        stats.iter().all(|s| s.pid != main.pid || s.start_ticks == main.start_ticks)
    });
    // What it started is no older than itself. It saves looking into most of the host's processes.
    let may_descend = |stat: &Stat| target.since.is_none_or(|since| stat.start_ticks >= since);
    let belongs = |stat: &Stat| {
        leader.is_some_and(|main| [stat.pid, stat.session, stat.group].contains(&main.pid))
            || (may_descend(stat) && is_marked(stat.pid, target))
    };
    let mut found: BTreeSet<Pid> =
        stats.iter().filter(|stat| stat.pid != own && belongs(stat)).map(|s| s.pid).collect();
    // Children of what was found, until there are no more: they may have cleared their environment.
    loop {
        let before = found.len();
        let children = stats.iter().filter(|s| s.pid != own && found.contains(&s.ppid));
        found.extend(children.map(|s| s.pid).collect::<Vec<_>>());
        if found.len() == before {
            break;
        }
    }
    let living = stats.iter().filter(|s| found.contains(&s.pid) && !s.is_dead());
    Ok(living.map(|s| Member { pid: s.pid, start_ticks: s.start_ticks }).collect())
}

fn is_marked(pid: Pid, target: &Target) -> bool {
    // What cannot be read has ended, or is somebody else's.
    let Ok(environ) = procfs::environ(pid) else { return false };
    environ.get(ENV_OWNER) == Some(&target.owner)
        && environ.get(ENV_PROCESS) == Some(&target.id.to_string())
}

/// Whether the process behind a pidfd has ended (it may still be a zombie).
pub fn has_ended(pidfd: impl AsFd) -> io::Result<bool> {
    let mut entry = [PollFd::new(&pidfd, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(poll(&mut entry, Some(&now))? > 0)
}
