//! The kernel's own counts: CPU time, load, memory, paging, stalls, file descriptors. Text in,
//! numbers out.
//!
//! Lists of names and numbers are read here and not by the crate, which slices names without
//! looking where their characters end, and wants lines that older kernels do not write.

use ::procfs::{ExplicitSystemInfo, FromBufReadSI, FromRead, KernelStats, LoadAverage, ProcError};
use groundcrew_core::metrics::host::{CpuTime, Descriptors, Memory, Paging};

const INCOMPLETE: ProcError = ProcError::Incomplete(None);

/// `/proc/stat`.
pub(super) fn cpu(text: &str) -> Result<CpuTime, ProcError> {
    let ticks_per_second = rustix::param::clock_ticks_per_second().max(1);
    // The crate asks for more than it needs here.
    let system = ExplicitSystemInfo {
        boot_time_secs: 0,
        ticks_per_second,
        page_size: 4096,
        is_little_endian: cfg!(target_endian = "little"),
    };
    let total = KernelStats::from_buf_read(text.as_bytes(), &system)?.total;
    let or_none = |ticks: Option<u64>| ticks.unwrap_or(0);
    let interrupt = or_none(total.irq).saturating_add(or_none(total.softirq));
    let ticks = [
        total.user,
        total.nice,
        total.system,
        total.idle,
        or_none(total.iowait),
        interrupt,
        or_none(total.steal),
    ];
    Ok(ticks.map(|ticks| ticks.saturating_mul(1000) / ticks_per_second))
}

/// `/proc/loadavg`.
pub(super) fn load(text: &str) -> Result<[f64; 3], ProcError> {
    let LoadAverage { one, five, fifteen, .. } = LoadAverage::from_read(text.as_bytes())?;
    // The crate's 32 bits would show as 0.5199999809.
    let load = [one, five, fifteen].map(|load| (f64::from(load) * 100.0).round() / 100.0);
    let sane = load.iter().all(|load| load.is_finite() && *load >= 0.0);
    sane.then_some(load).ok_or(INCOMPLETE)
}

/// `/proc/meminfo`.
pub(super) fn memory(text: &str) -> Result<Memory, ProcError> {
    // Kibibytes, whatever the unit is called.
    let bytes = |name| number(text, name, ':').map(|kib| kib.saturating_mul(1024));
    let need = |name| bytes(name).ok_or(INCOMPLETE);
    Ok(Memory {
        total: need("MemTotal")?,
        free: need("MemFree")?,
        available: bytes("MemAvailable"),
        buffers: need("Buffers")?,
        cached: need("Cached")?.saturating_add(bytes("SReclaimable").unwrap_or(0)),
        swap_total: need("SwapTotal")?,
        swap_free: need("SwapFree")?,
    })
}

/// `/proc/vmstat`.
pub(super) fn paging(text: &str) -> Result<Paging, ProcError> {
    let count = |name| number(text, name, ' ');
    Ok(Paging {
        // Absent in a kernel without swap.
        swapped_in: count("pswpin").unwrap_or(0),
        swapped_out: count("pswpout").unwrap_or(0),
        faults: count("pgfault").ok_or(INCOMPLETE)?,
        major_faults: count("pgmajfault").ok_or(INCOMPLETE)?,
    })
}

/// `/proc/pressure/*`: in how many microseconds some work waited, and all of it.
pub(super) fn pressure(text: &str) -> Result<(u64, Option<u64>), ProcError> {
    let total = |kind: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(kind)?.strip_prefix(' '))?;
        let word = line.split_ascii_whitespace().find_map(|word| word.strip_prefix("total="))?;
        word.parse().ok()
    };
    Ok((total("some").ok_or(INCOMPLETE)?, total("full")))
}

/// `/proc/sys/fs/file-nr`: open, free (always 0), and how many there can be.
pub(super) fn descriptors(text: &str) -> Result<Descriptors, ProcError> {
    let mut numbers = text.split_ascii_whitespace().map(|word| word.parse().ok());
    let mut next = || numbers.next().flatten().ok_or(INCOMPLETE);
    let (allocated, _, max) = (next()?, next()?, next()?);
    Ok(Descriptors { allocated, max })
}

/// The number behind a name at the beginning of a line.
fn number(text: &str, name: &str, separator: char) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(separator))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}
