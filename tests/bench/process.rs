//! What a process costs.

use std::fs;

use nix::unistd::{Pid, SysconfVar, sysconf};

/// Seconds in user and kernel mode, all threads.
pub fn cpu_seconds(pid: Pid) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process has ended");
    // The name in parentheses may hold anything; utime and stime are fields 14 and 15.
    let (_, rest) = stat.rsplit_once(") ").expect("a name in parentheses");
    let ticks: u64 = rest.split(' ').skip(11).take(2).map(|f| f.parse::<u64>().unwrap()).sum();
    let ticks_per_second = sysconf(SysconfVar::CLK_TCK).unwrap().expect("a clock has ticks");
    ticks as f64 / ticks_per_second as f64
}

/// Memory in MiB: `VmRSS` for what is resident now, `VmHWM` for the most that ever was.
pub fn memory_mib(pid: Pid, which: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process has ended");
    let found = status.lines().find_map(|line| line.strip_prefix(which)?.strip_prefix(':'));
    let kib = found.and_then(|rest| rest.split_whitespace().next()).expect("a line with memory");
    kib.parse::<f64>().unwrap() / 1024.0
}
