//! One look at the host, as plain numbers. What could not be read is absent.

/// What time on a CPU is spent for, as the semantic conventions name it.
pub const CPU_STATES: [&str; 7] =
    ["user", "nice", "system", "idle", "iowait", "interrupt", "steal"];

/// Of all CPUs together since the host was started, in milliseconds, by [`CPU_STATES`].
pub type CpuTime = [u64; CPU_STATES.len()];

/// Everything that a look found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reading {
    /// Time of the CPUs.
    pub cpu: Option<CpuTime>,
    /// Averages of the run queue's length over 1, 5 and 15 minutes.
    pub load: Option<[f64; 3]>,
    /// Memory and swap.
    pub memory: Option<Memory>,
    /// Pages that came and went.
    pub paging: Option<Paging>,
    /// Local filesystems.
    pub filesystems: Vec<Filesystem>,
    /// Whole disks. Absent is another thing than none: what is not in a list is gone.
    pub disks: Option<Vec<Disk>>,
    /// Network interfaces.
    pub interfaces: Option<Vec<Interface>>,
    /// Stalls, where the kernel measures them.
    pub pressure: Vec<Pressure>,
    /// File descriptors of the whole host.
    pub descriptors: Option<Descriptors>,
    /// The wall clock, where the agent may ask.
    pub clock: Option<Clock>,
    /// What could not be read.
    pub failed: Vec<Source>,
}

/// Where numbers come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Time of the CPUs.
    Cpu,
    /// Load averages.
    Load,
    /// Memory and swap.
    Memory,
    /// Pages that came and went.
    Paging,
    /// Filesystems.
    Filesystems,
    /// Disks.
    Disks,
    /// Network interfaces.
    Network,
    /// Stalls.
    Pressure,
    /// File descriptors.
    Descriptors,
    /// The wall clock.
    Clock,
}

impl Source {
    /// For labels.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Load => "load",
            Self::Memory => "memory",
            Self::Paging => "paging",
            Self::Filesystems => "filesystems",
            Self::Disks => "disks",
            Self::Network => "network",
            Self::Pressure => "pressure",
            Self::Descriptors => "descriptors",
            Self::Clock => "clock",
        }
    }
}

/// Memory and swap, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// All there is.
    pub total: u64,
    /// Not used for anything.
    pub free: u64,
    /// What processes can have without swapping; the kernel's estimate.
    pub available: Option<u64>,
    /// Of block devices.
    pub buffers: u64,
    /// Of files, and what the kernel can give back.
    pub cached: u64,
    /// All swap there is.
    pub swap_total: u64,
    /// Not used.
    pub swap_free: u64,
}

/// Pages since the host was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Paging {
    /// Read from swap.
    pub swapped_in: u64,
    /// Written to swap.
    pub swapped_out: u64,
    /// Faults of both kinds.
    pub faults: u64,
    /// Faults that had to wait for a disk.
    pub major_faults: u64,
}

/// A filesystem, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filesystem {
    /// Where it is mounted.
    pub mountpoint: String,
    /// Its size.
    pub total: u64,
    /// What nothing is in.
    pub free: u64,
    /// What users other than root can still have of that.
    pub available: u64,
    /// Files that there can be; 0 where there is no such limit.
    pub inodes: u64,
    /// Files that there can still be.
    pub inodes_free: u64,
}

/// A disk, since the host was started.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Disk {
    /// Such as `nvme0n1`.
    pub name: String,
    /// Bytes.
    pub read_bytes: u64,
    /// Bytes.
    pub written_bytes: u64,
    /// Reads that were completed.
    pub reads: u64,
    /// Writes that were completed.
    pub writes: u64,
    /// Time in which it had something to do, in milliseconds.
    pub busy_ms: u64,
}

/// A network interface, since it was made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Interface {
    /// Such as `ens5`.
    pub name: String,
    /// What came in.
    pub received: Traffic,
    /// What went out.
    pub transmitted: Traffic,
}

/// One direction of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Bytes.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
    /// Packets that were broken or could not be sent.
    pub errors: u64,
    /// Packets that there was no room for.
    pub dropped: u64,
}

/// Time in which work waited for a resource (Documentation/accounting/psi.rst), since the host was
/// started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pressure {
    /// `cpu`, `memory` or `io`.
    pub resource: &'static str,
    /// In which some of it waited, in microseconds.
    pub some_us: u64,
    /// In which all of it waited; absent for the CPU before Linux 5.13.
    pub full_us: Option<u64>,
}

/// File descriptors of the whole host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptors {
    /// That are open.
    pub allocated: u64,
    /// That there can be.
    pub max: u64,
}

/// What the kernel knows of the wall clock (adjtimex(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// What is still to be corrected, in nanoseconds.
    pub offset_ns: i64,
    /// How far it can be off at most, in microseconds.
    pub error_us: i64,
    /// Whether something keeps it right.
    pub synchronized: bool,
}
