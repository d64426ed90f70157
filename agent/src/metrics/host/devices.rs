//! Disks and network interfaces: those that there is hardware for, seen once each. Text in, numbers
//! out.

use ::procfs::net::InterfaceDeviceStatus;
use ::procfs::{DiskStats, FromBufRead, ProcError};
use groundcrew_core::metrics::host::{Disk, Interface, Traffic};

/// `/proc/diskstats` counts in these whatever the disk's own are.
const SECTOR_BYTES: u64 = 512;
/// Beginnings of the names of what is made of other disks, of files or of memory: its traffic is
/// theirs.
const DERIVED: [&str; 8] = ["loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd"];
/// The same of interfaces.
const VIRTUAL: [&str; 15] = [
    "veth", "ifb", "docker", "br-", "virbr", "cni", "cali", "flannel", "tunl", "dummy", "sit",
    "ip6tnl", "vxlan", "kube-", "gre",
];

/// `/proc/diskstats`, without partitions.
pub(super) fn disks(text: &str) -> Result<Vec<Disk>, ProcError> {
    let mut stats = DiskStats::from_buf_read(text.as_bytes())?.0;
    stats.retain(|stat| !DERIVED.iter().any(|prefix| stat.name.starts_with(prefix)));
    let names: Vec<_> = stats.iter().map(|stat| stat.name.clone()).collect();
    stats.retain(|stat| !names.iter().any(|disk| is_partition(&stat.name, disk)));
    let disk = |stat: ::procfs::DiskStat| Disk {
        name: stat.name,
        read_bytes: stat.sectors_read.saturating_mul(SECTOR_BYTES),
        written_bytes: stat.sectors_written.saturating_mul(SECTOR_BYTES),
        reads: stat.reads,
        writes: stat.writes,
        busy_ms: stat.time_in_progress,
    };
    Ok(stats.into_iter().map(disk).collect())
}

/// `sda1` of `sda`, `nvme0n1p1` of `nvme0n1`, but not `nvme0n10`. Xen has partitions without a
/// disk, which count as disks.
fn is_partition(name: &str, disk: &str) -> bool {
    let Some(rest) = name.strip_prefix(disk) else { return false };
    let number = if disk.ends_with(|last: char| last.is_ascii_digit()) {
        rest.strip_prefix('p')
    } else {
        Some(rest)
    };
    number.is_some_and(|number| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// `/proc/net/dev`.
pub(super) fn interfaces(text: &str) -> Result<Vec<Interface>, ProcError> {
    let all = InterfaceDeviceStatus::from_buf_read(text.as_bytes())?.0;
    let virtually =
        |name: &str| name == "lo" || VIRTUAL.iter().any(|prefix| name.starts_with(prefix));
    let real = all.into_values().filter(|status| !virtually(&status.name));
    let interface = |status: ::procfs::net::DeviceStatus| Interface {
        name: status.name,
        received: Traffic {
            bytes: status.recv_bytes,
            packets: status.recv_packets,
            errors: status.recv_errs,
            dropped: status.recv_drop,
        },
        transmitted: Traffic {
            bytes: status.sent_bytes,
            packets: status.sent_packets,
            errors: status.sent_errs,
            dropped: status.sent_drop,
        },
    };
    let mut found: Vec<_> = real.map(interface).collect();
    // The crate's map has another order each time.
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}
