//! What a process uses, for `status` and the metrics: a look at `/proc`, nothing kept.

use std::io;
use std::time::Duration;

use groundcrew_core::types::Pid;

use crate::procfs;

/// What one process uses. Its children are not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory, in bytes.
    pub rss_bytes: u64,
    /// Address space, in bytes.
    pub virtual_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// Time on a CPU since it started. The share of a core is the difference of two looks over the
    /// time between them.
    pub cpu: Duration,
}

/// Looks at `pid`. `NotFound` when it is gone.
pub fn of(pid: Pid) -> io::Result<Usage> {
    let stat = procfs::stat(pid)?;
    let page_bytes = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    let ticks_per_second = rustix::param::clock_ticks_per_second().max(1);
    let cpu_ms = stat.cpu_ticks.saturating_mul(1000) / ticks_per_second;
    Ok(Usage {
        rss_bytes: stat.rss_pages.saturating_mul(page_bytes),
        virtual_bytes: stat.virtual_bytes,
        threads: stat.threads,
        cpu: Duration::from_millis(cpu_ms),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something_and_no_process_nothing() {
        let own = of(Pid::try_from(std::process::id()).unwrap()).unwrap();
        assert!(own.rss_bytes > 1024 * 1024, "{own:?}");
        assert!(own.virtual_bytes > own.rss_bytes && own.threads >= 1, "{own:?}");
        assert_eq!(of(i32::MAX).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
