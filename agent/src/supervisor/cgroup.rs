//! Control groups, version 2: limits for each process and one write that kills all of it. Used
//! where the host delegates a group to the agent. Where it does not, or lacks a controller, the
//! reason is said once and the processes run without.
//!
//! It must never touch a group that is not below the agent's own or the one its unit names, nor
//! move a process that is not the agent itself.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};

use camino::{Utf8Path, Utf8PathBuf};
use groundcrew_core::spec::HostLimits;
use groundcrew_core::types::{Pid, ProcessId};

use crate::fsx::{About, FileError};

/// Tasks allowed per process where the host's config does not say: far above what Node needs, far
/// below what takes a host down.
pub const PIDS_MAX_DEFAULT: u32 = 4096;
/// `cpu.max`'s period, the kernel's default, in microseconds.
const CPU_PERIOD_US: u64 = 100_000;
/// The leaf the agent itself moves to: a group with controllers for its children may hold no
/// process.
const AGENT_LEAF: &str = "agent";
/// The leaf of the process that holds a group for the agent; see `hold`.
const HOLDER_LEAF: &str = "holder";
/// Names the group to work in, as `/proc/PID/cgroup` has it, where it is not the agent's own.
const VARIABLE: &str = "GROUNDCREW_CGROUP";
/// The controllers that are used, and what each is for.
const CONTROLLERS: [(&str, &str); 3] =
    [("memory", "memory_max"), ("pids", "the limit of tasks"), ("cpu", "cpu_max")];

/// The group below which each process gets its own.
#[derive(Debug, Clone)]
pub struct Base {
    directory: Utf8PathBuf,
    controllers: Vec<&'static str>,
}

/// Where to look for the agent's own group.
#[derive(Debug, Clone)]
pub struct Place {
    /// `/proc/self/cgroup`.
    pub own: String,
    /// `/proc/self/mountinfo`.
    pub mounts: String,
    /// Whether the group is another unit's, which nobody but its holder is moved in.
    pub held: bool,
}

impl Place {
    /// This process's own.
    pub fn current() -> io::Result<Self> {
        let own = fs::read_to_string("/proc/self/cgroup")?;
        Ok(Self { own, mounts: fs::read_to_string("/proc/self/mountinfo")?, held: false })
    }

    /// The one the agent's unit names, else this process's own.
    pub fn for_tiers() -> io::Result<Self> {
        let place = Self::current()?;
        match std::env::var(VARIABLE) {
            Ok(path) => Ok(Self { own: format!("0::{path}\n"), held: true, ..place }),
            Err(_) => Ok(place),
        }
    }

    /// The directory of the group, as (mount point, path below it).
    fn group(&self) -> Result<(Utf8PathBuf, Utf8PathBuf), String> {
        let path = self
            .own
            .lines()
            .find_map(|line| line.strip_prefix("0::"))
            .ok_or("the agent is in no cgroup v2 group")?;
        let (root, mount) =
            self.mounts.lines().find_map(cgroup2_mount).ok_or("cgroup v2 is not mounted")?;
        // In a container the mount may show only a part of the hierarchy.
        let below = Utf8Path::new(path)
            .strip_prefix(&root)
            .map_err(|_| format!("the mount at {mount} does not show the agent's group {path}"))?;
        if below.components().any(|part| part.as_str() == "..") {
            return Err(format!("the agent's group {path} is outside the mount at {mount}"));
        }
        Ok((mount, below.to_owned()))
    }
}

/// Root and mount point of a cgroup2 line in mountinfo (proc_pid_mountinfo(5)).
fn cgroup2_mount(line: &str) -> Option<(Utf8PathBuf, Utf8PathBuf)> {
    let (before, after) = line.split_once(" - ")?;
    if after.split(' ').next()? != "cgroup2" {
        return None;
    }
    let mut fields = before.split(' ').skip(3);
    Some((unescape(fields.next()?), unescape(fields.next()?)))
}

/// mountinfo writes blanks as `\040`.
fn unescape(field: &str) -> Utf8PathBuf {
    field.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\").into()
}

/// What preparing the base gave.
#[derive(Debug)]
pub struct Prepared {
    /// `None` where there is no group to work in.
    pub base: Option<Base>,
    /// What is missing and why, for one warning.
    pub missing: Vec<String>,
}

/// Prepares the group for the agent named `owner`: finds its own group, makes one below it, and
/// turns on the controllers that are there.
#[must_use]
pub fn prepare(place: &Place, owner: &str) -> Prepared {
    match try_prepare(place, owner) {
        Ok(prepared) => prepared,
        Err(reason) => Prepared {
            base: None,
            missing: vec![format!("processes run without control groups: {reason}")],
        },
    }
}

fn try_prepare(place: &Place, owner: &str) -> Result<Prepared, String> {
    let (mount, mut below) = place.group()?;
    // An agent that was started again inside its own leaf, or that systemd put there itself
    // (DelegateSubgroup=agent).
    if below.file_name() == Some(AGENT_LEAF) {
        below.pop();
    }
    let top = mount.join(&below);
    // Two agents may share a group (tests, a container): each has its own directory in it.
    let directory = top.join(format!("groundcrew-{owner}"));
    make(&directory).map_err(|error| crate::errors::chain(&error))?;
    let available = read_words(&top.join("cgroup.controllers"))?;
    let mut missing = Vec::new();
    let mut controllers = Vec::new();
    for (name, purpose) in CONTROLLERS {
        if !available.iter().any(|word| word == name) {
            missing.push(format!(
                "{purpose} has no effect: the {name} controller is not available in {top}"
            ));
            continue;
        }
        let movable = !place.held && !below.as_str().is_empty();
        let enabled = enable(&top, movable, name)
            .and_then(|()| write(&directory.join("cgroup.subtree_control"), &format!("+{name}")));
        match enabled {
            Ok(()) => controllers.push(name),
            Err(error) => {
                let reason = crate::errors::chain(&error);
                missing.push(format!("{purpose} has no effect: {reason}"));
            }
        }
    }
    Ok(Prepared { base: Some(Base { directory, controllers }), missing })
}

/// Moves this process into a leaf of its group, so that the group may have controllers for others.
pub fn step_aside(place: &Place) -> Result<(), String> {
    let (mount, below) = place.group()?;
    if below.as_str().is_empty() {
        return Err("the agent's group is the root".to_owned());
    }
    enter_leaf(&mount.join(&below), HOLDER_LEAF).map_err(|error| crate::errors::chain(&error))
}

fn enter_leaf(top: &Utf8Path, name: &str) -> Result<(), FileError> {
    let leaf = top.join(name);
    make(&leaf)?;
    write(&leaf.join("cgroup.procs"), "0")
}

/// Turns a controller on for the children of `top`. `movable`: the agent may be in the way there,
/// and step aside.
fn enable(top: &Utf8Path, movable: bool, controller: &str) -> Result<(), FileError> {
    let control = top.join("cgroup.subtree_control");
    let on = format!("+{controller}");
    match write(&control, &on) {
        // EBUSY: the group has processes of its own. Only the agent may be moved by the agent. The
        // root group is free of that rule.
        Err(error)
            if error.source.raw_os_error() == Some(nix::errno::Errno::EBUSY as i32) && movable =>
        {
            enter_leaf(top, AGENT_LEAF)?;
            write(&control, &on)
        }
        result => result,
    }
}

fn read_words(path: &Utf8Path) -> Result<Vec<String>, String> {
    let text = fs::read_to_string(path).about("read", path);
    let text = text.map_err(|error| crate::errors::chain(&error))?;
    Ok(text.split_ascii_whitespace().map(str::to_owned).collect())
}

fn make(directory: &Utf8Path) -> Result<(), FileError> {
    match fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result.about("create", directory),
    }
}

// The kernel wants one write, and no truncation or creation.
fn write(path: &Utf8Path, text: &str) -> Result<(), FileError> {
    let written = OpenOptions::new().write(true).open(path);
    written.and_then(|mut file| file.write_all(text.as_bytes())).about("write", path)
}

impl Base {
    /// Its directory.
    #[must_use]
    pub fn directory(&self) -> &Utf8Path {
        &self.directory
    }

    /// Makes the group of a process and sets its limits. The same id gets the same group again.
    pub fn group(&self, id: &ProcessId, limits: &HostLimits) -> Result<Group, FileError> {
        let tier = self.directory.join(id.tier.as_str());
        make(&tier)?;
        for controller in &self.controllers {
            write(&tier.join("cgroup.subtree_control"), &format!("+{controller}"))?;
        }
        let group = Group { directory: tier.join(id.to_string()) };
        make(&group.directory)?;
        for (controller, file, value) in settings(limits) {
            if self.controllers.contains(&controller) {
                write(&group.directory.join(file), &value)?;
            }
        }
        Ok(group)
    }

    /// The group of a process as a record names it, if it is one of this base and still there.
    #[must_use]
    pub fn existing(&self, directory: &Utf8Path) -> Option<Group> {
        let below = directory.strip_prefix(&self.directory).ok()?;
        let plain = below.components().all(|part| part.as_str() != "..");
        (plain && directory.join("cgroup.procs").exists())
            .then(|| Group { directory: directory.to_owned() })
    }

    /// Removes the group of a process, which must be empty. One that is not there is fine.
    pub fn remove(&self, id: &ProcessId) -> io::Result<()> {
        Group { directory: self.directory.join(id.tier.as_str()).join(id.to_string()) }.remove()
    }

    /// Every group of a process there is, with the id it is named after.
    pub fn groups(&self) -> io::Result<Vec<(ProcessId, Group)>> {
        let mut groups = Vec::new();
        for tier in directories(&self.directory)? {
            for directory in directories(&tier)? {
                let name = directory.file_name().unwrap_or_default();
                if let Ok(id) = name.parse() {
                    groups.push((id, Group { directory }));
                }
            }
        }
        Ok(groups)
    }
}

fn settings(limits: &HostLimits) -> [(&'static str, &'static str, String); 4] {
    let or_max = |value: Option<u64>| value.map_or_else(|| "max".to_owned(), |v| v.to_string());
    let pids = u64::from(limits.pids_max.unwrap_or(PIDS_MAX_DEFAULT));
    let quota = limits.cpu_max_milli.map(|milli| u64::from(milli) * CPU_PERIOD_US / 1000);
    [
        ("memory", "memory.max", or_max(limits.memory_max)),
        // Half a process group left after the OOM killer is of no use to anybody.
        ("memory", "memory.oom.group", "1".to_owned()),
        ("pids", "pids.max", or_max(Some(pids))),
        ("cpu", "cpu.max", format!("{} {CPU_PERIOD_US}", or_max(quota))),
    ]
}

fn directories(parent: &Utf8Path) -> io::Result<Vec<Utf8PathBuf>> {
    let mut found = Vec::new();
    for entry in parent.read_dir_utf8()? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.into_path());
        }
    }
    Ok(found)
}

/// The group of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    directory: Utf8PathBuf,
}

impl Group {
    /// Its directory.
    #[must_use]
    pub fn directory(&self) -> &Utf8Path {
        &self.directory
    }

    /// The file to write a pid to, to put it into the group.
    #[must_use]
    pub fn procs(&self) -> Utf8PathBuf {
        self.directory.join("cgroup.procs")
    }

    /// The living processes in it. Zombies are not listed (cgroup v2).
    pub fn pids(&self) -> io::Result<Vec<Pid>> {
        match fs::read_to_string(self.procs()) {
            Ok(text) => Ok(text.lines().filter_map(|line| line.parse().ok()).collect()),
            Err(error) if is_gone(&error) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Kills every process in it with one write. Kernels before 5.14 have no such file; the caller
    /// kills them one by one as well.
    pub fn kill(&self) -> io::Result<()> {
        let path = self.directory.join("cgroup.kill");
        match OpenOptions::new().write(true).open(path).and_then(|mut f| f.write_all(b"1")) {
            Err(error) if !is_gone(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// How often the OOM killer has killed in this group; 0 without the memory controller.
    #[must_use]
    pub fn oom_kills(&self) -> u64 {
        let text = fs::read_to_string(self.directory.join("memory.events")).unwrap_or_default();
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
    }

    /// Removes the group; one that is not empty stays, and is said to.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_dir(&self.directory) {
            Err(error) if !is_gone(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

// ENODEV: the group was removed while its file was open.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(nix::errno::Errno::ENODEV as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(own: &str, mounts: &str) -> Place {
        Place { own: own.to_owned(), mounts: mounts.to_owned(), held: false }
    }

    #[test]
    fn finds_the_agents_group_under_any_mount() {
        let unified = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw";
        let hybrid = "36 31 0:33 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";
        let part = "41 31 0:38 /docker/abc /sys/fs/cg\\040x rw shared:1 - cgroup2 cgroup2 rw";
        for (own, mounts, expected) in [
            (
                "0::/system.slice/a.service\n",
                unified,
                Ok(("/sys/fs/cgroup", "system.slice/a.service")),
            ),
            ("4:memory:/x\n0::/\n", hybrid, Ok(("/sys/fs/cgroup/unified", ""))),
            ("0::/docker/abc/x\n", part, Ok(("/sys/fs/cg x", "x"))),
            ("0::/../other\n", unified, Err("outside")),
            ("0::/elsewhere\n", part, Err("does not show")),
            ("4:memory:/x\n", unified, Err("no cgroup v2")),
            ("0::/\n", "", Err("not mounted")),
        ] {
            match (place(own, mounts).group(), expected) {
                (Ok((mount, below)), Ok((at, path))) => {
                    assert_eq!((mount.as_str(), below.as_str()), (at, path));
                }
                (Err(reason), Err(part)) => assert!(reason.contains(part), "{reason}"),
                (got, wanted) => panic!("{own:?}: {got:?}, not {wanted:?}"),
            }
        }
    }

    #[test]
    fn limits_are_written_in_the_kernels_words() {
        let all = HostLimits {
            user: None,
            memory_max: Some(512 * 1024 * 1024),
            pids_max: Some(64),
            cpu_max_milli: Some(1500),
        };
        let values = |limits| settings(limits).map(|(_, _, value)| value);
        assert_eq!(values(&all), ["536870912", "1", "64", "150000 100000"]);
        assert_eq!(values(&HostLimits::default()), ["max", "1", "4096", "max 100000"]);
    }

    #[test]
    fn a_host_without_a_group_says_why_and_goes_on() {
        let prepared = prepare(&place("1:cpu:/\n", ""), "x");
        assert!(prepared.base.is_none());
        assert_eq!(prepared.missing.len(), 1);
        assert!(prepared.missing[0].contains("no cgroup v2"), "{:?}", prepared.missing);
    }

    /// Directories and files as the kernel would make them, for an agent in `/x` with
    /// `controllers`.
    fn hierarchy(controllers: &str) -> (tempfile::TempDir, Place, Utf8PathBuf) {
        let keep = tempfile::tempdir().unwrap();
        let mount = Utf8PathBuf::from_path_buf(keep.path().to_owned()).unwrap();
        let own = mount.join("x/groundcrew-me");
        let group = own.join("web/web.1.1");
        fs::create_dir_all(&group).unwrap();
        let file = |path: Utf8PathBuf, text: &str| {
            OpenOptions::new()
                .create(true)
                .truncate(true)
                .write(true)
                .open(path)
                .and_then(|mut file| file.write_all(text.as_bytes()))
                .unwrap();
        };
        file(mount.join("x/cgroup.controllers"), controllers);
        for directory in [mount.join("x"), own.clone(), own.join("web")] {
            file(directory.join("cgroup.subtree_control"), "");
        }
        for name in ["memory.max", "memory.oom.group", "pids.max", "cpu.max", "cgroup.procs"] {
            file(group.join(name), "");
        }
        file(group.join("memory.events"), "low 0\noom 3\noom_kill 2\noom_group_kill 1\n");
        let mounts = format!("41 31 0:38 / {mount} rw - cgroup2 cgroup2 rw");
        (keep, place("0::/x\n", &mounts), group)
    }

    #[test]
    fn limits_are_set_where_there_are_controllers_and_missed_where_there_are_none() {
        let limits =
            HostLimits { memory_max: Some(1024), pids_max: Some(7), ..HostLimits::default() };
        let id: ProcessId = "web.1.1".parse().unwrap();
        for (controllers, missing, expected) in [
            ("cpuset cpu io memory pids", 0, ["1024", "1", "7", "max 100000"]),
            ("memory", 2, ["1024", "1", "", ""]),
            ("hugetlb", 3, ["", "", "", ""]),
        ] {
            let (_keep, place, directory) = hierarchy(controllers);
            let prepared = prepare(&place, "me");
            assert_eq!(prepared.missing.len(), missing, "{:?}", prepared.missing);
            let base = prepared.base.unwrap();
            let group = base.group(&id, &limits).unwrap();
            assert_eq!(group.directory(), directory);
            let files = ["memory.max", "memory.oom.group", "pids.max", "cpu.max"];
            let read = |file| fs::read_to_string(directory.join(file)).unwrap();
            assert_eq!(files.map(read), expected, "{controllers}");
            assert_eq!(group.oom_kills(), 2);
            assert_eq!(base.groups().unwrap(), [(id.clone(), group.clone())]);
            assert_eq!(base.existing(&directory), Some(group));
        }
    }

    #[test]
    fn a_record_cannot_name_a_group_that_is_not_the_agents() {
        let (_keep, place, directory) = hierarchy("memory");
        let base = prepare(&place, "me").base.unwrap();
        let outside = directory.join("../../../x");
        fs::create_dir(outside.parent().unwrap().join("y")).unwrap();
        for path in ["/sys/fs/cgroup", "/", outside.as_str()] {
            assert_eq!(base.existing(Utf8Path::new(path)), None, "{path}");
        }
    }
}
