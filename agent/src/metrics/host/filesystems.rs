//! Which filesystems are measured, and how full they are. Asking one that needs a server, or that
//! is reached through such a one, may take for ever; so only local ones are asked.

use std::collections::BTreeMap;

use ::procfs::process::MountInfo;
use camino::Utf8Path;
use groundcrew_core::metrics::host::Filesystem;

use super::HostError;

/// Types that are kept on a disk of this host and can be written.
const LOCAL: [&str; 10] =
    ["bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "jfs", "vfat", "xfs", "zfs"];
/// Types that the root or the agent's own state may have beside these.
const ALSO_OWN: [&str; 2] = ["overlay", "tmpfs"];
/// Types, or their beginnings, that wait for a server or for a process: nothing below a directory
/// that is one of these is asked.
const MAY_HANG: [&str; 13] = [
    "9p", "afs", "autofs", "beegfs", "ceph", "cifs", "fuse", "gfs", "gluster", "lustre", "nfs",
    "smb", "virtiofs",
];

/// Mount points of the filesystems that are measured, each once, the shortest path to it.
pub(super) fn to_measure(mountinfo: &str, state_dir: &Utf8Path) -> Vec<String> {
    // A line that makes no sense costs only itself.
    let mounts: Vec<Mount> = mountinfo.lines().filter_map(Mount::of).collect();
    let reachable: Vec<&Mount> =
        mounts.iter().filter(|mount| mount.is_reachable(&mounts)).collect();
    let own = reachable
        .iter()
        .filter(|mount| is_at_or_below(state_dir.as_str(), &mount.point))
        .max_by_key(|mount| mount.point.len());
    let is_own = |mount: &Mount| mount.point == "/" || own.is_some_and(|own| own.id == mount.id);
    let mut chosen: BTreeMap<&str, &str> = BTreeMap::new();
    for mount in &reachable {
        let kind = mount.kind.as_str();
        let is_asked = LOCAL.contains(&kind) || (ALSO_OWN.contains(&kind) && is_own(mount));
        if !is_asked {
            continue;
        }
        let known = chosen.entry(&mount.device).or_insert(&mount.point);
        if mount.point.len() < known.len() {
            *known = &mount.point;
        }
    }
    let mut points: Vec<_> = chosen.into_values().map(str::to_owned).collect();
    points.sort();
    points
}

/// How full a filesystem is.
pub(super) fn space(mountpoint: String) -> Result<Filesystem, HostError> {
    let space = match rustix::fs::statvfs(mountpoint.as_str()) {
        Ok(space) => space,
        Err(error) => return Err(HostError::Space { mountpoint, source: error.into() }),
    };
    let bytes = |blocks: u64| blocks.saturating_mul(space.f_frsize);
    Ok(Filesystem {
        mountpoint,
        total: bytes(space.f_blocks),
        free: bytes(space.f_bfree),
        available: bytes(space.f_bavail),
        inodes: space.f_files,
        inodes_free: space.f_ffree,
    })
}

/// A line of proc_pid_mountinfo(5), as far as it matters.
#[derive(Debug)]
struct Mount {
    id: i32,
    parent: i32,
    device: String,
    point: String,
    kind: String,
}

impl Mount {
    fn of(line: &str) -> Option<Self> {
        let info = MountInfo::from_line(line).ok()?;
        Some(Self {
            id: info.mnt_id,
            // The crate's name for the second field, which is no process.
            parent: info.pid,
            device: info.majmin,
            point: unescaped(info.mount_point.to_str()?),
            kind: info.fs_type,
        })
    }

    /// Whether its path leads to it, and not through what may hang.
    fn is_reachable(&self, mounts: &[Self]) -> bool {
        let covered =
            mounts.iter().any(|other| other.parent == self.id && other.point == self.point);
        let hangs = |mount: &Self| {
            let kind = mount.kind.as_str();
            MAY_HANG.iter().any(|prefix| kind.starts_with(prefix))
        };
        let through =
            mounts.iter().any(|other| hangs(other) && is_at_or_below(&self.point, &other.point));
        !covered && !through
    }
}

fn is_at_or_below(path: &str, directory: &str) -> bool {
    Utf8Path::new(path).starts_with(directory)
}

/// Undoes the kernel's `\040` for a space; also tab, newline and backslash.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..3).and_then(|octal| u8::from_str_radix(octal, 8).ok());
        match code.filter(u8::is_ascii) {
            Some(byte) => {
                plain.push(char::from(byte));
                plain.push_str(&part[3..]);
            }
            None => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain
}
