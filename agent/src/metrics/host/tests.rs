//! Readers against golden trees, against what no kernel should write, and against this host.

use std::fs::{self, File};
use std::io::Write;

use groundcrew_core::metrics::host::{Descriptors, Host, Memory, Paging};

use super::*;
use crate::clock;

/// What a tree of `testdata` says. Its mount points are not this host's, so they are not asked.
fn golden(name: &str) -> Reading {
    let root = Utf8PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/metrics/host/testdata");
    let mut reading = HostReader::at(root.join(name), Utf8Path::new("/var/lib/groundcrew")).read();
    reading.filesystems.clear();
    reading.failed.retain(|source| !matches!(source, Source::Filesystems | Source::Clock));
    reading
}

fn mountpoints(tree: &str, state_dir: &str) -> Vec<String> {
    let root = Utf8PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/metrics/host/testdata");
    let text = fs::read_to_string(root.join(tree).join("proc/self/mountinfo")).unwrap();
    filesystems::to_measure(&text, Utf8Path::new(state_dir))
}

#[test]
fn an_instance_of_today() {
    let reading = golden("ec2");
    assert_eq!(reading.failed, []);
    let ms = [1_200_340, 3120, 402_110, 50_102_220, 30_210, 8010, 15_020];
    assert_eq!(reading.cpu, Some(ms));
    assert_eq!(reading.load, Some([0.52, 0.48, 0.4]));
    let memory = Memory {
        total: 3_926_304 * 1024,
        free: 412_340 * 1024,
        available: Some(2_404_112 * 1024),
        buffers: 2108 * 1024,
        cached: (1_980_016 + 110_224) * 1024,
        swap_total: 1_048_572 * 1024,
        swap_free: 786_432 * 1024,
    };
    assert_eq!(reading.memory, Some(memory));
    let paging =
        Paging { swapped_in: 1201, swapped_out: 66_213, faults: 90_211_344, major_faults: 4022 };
    assert_eq!(reading.paging, Some(paging));
    let disks = reading.disks.unwrap();
    assert_eq!(disks.iter().map(|disk| &*disk.name).collect::<Vec<_>>(), ["nvme0n1", "nvme1n1"]);
    assert_eq!(
        (disks[0].read_bytes, disks[0].written_bytes, disks[0].reads, disks[0].writes),
        (2_011_322 * 512, 40_112_333 * 512, 61_201, 902_111)
    );
    assert_eq!(disks[0].busy_ms, 401_222);
    let interfaces = reading.interfaces.unwrap();
    assert_eq!(interfaces.iter().map(|one| &*one.name).collect::<Vec<_>>(), ["ens5"]);
    let (received, transmitted) = (interfaces[0].received, interfaces[0].transmitted);
    assert_eq!((received.bytes, received.errors, received.dropped), (4_011_233_321, 1, 2));
    assert_eq!((transmitted.packets, transmitted.errors, transmitted.dropped), (3_011_322, 3, 4));
    let stalls = reading.pressure.iter().map(|one| (one.resource, one.some_us, one.full_us));
    assert_eq!(
        stalls.collect::<Vec<_>>(),
        [
            ("cpu", 81_223_344, Some(0)),
            ("memory", 12_033, Some(8022)),
            ("io", 5_021_333, Some(4_021_333))
        ]
    );
    let descriptors = Descriptors { allocated: 2112, max: u64::MAX / 2 };
    assert_eq!(reading.descriptors, Some(descriptors));
}

#[test]
fn an_old_kernel_says_less() {
    let reading = golden("old");
    assert_eq!(reading.failed, []);
    assert_eq!(reading.cpu, Some([10_000, 0, 5000, 200_000, 0, 0, 0]));
    assert_eq!(reading.memory.unwrap().available, None);
    let paging = Paging { faults: 10, major_faults: 3, ..Paging::default() };
    assert_eq!(reading.paging, Some(paging));
    // Xen's partition without a disk counts, that of a disk that is there does not.
    let disks: Vec<_> = reading.disks.unwrap().into_iter().map(|disk| disk.name).collect();
    assert_eq!(disks, ["xvda1", "xvdf", "sda", "sdaa"]);
    assert_eq!(reading.pressure, []);
}

#[test]
fn local_filesystems_are_asked_once_each_and_nothing_that_may_hang() {
    let state_dir = "/var/lib/groundcrew";
    let usual = ["/", "/boot/efi", "/srv/a b", "/var/lib/groundcrew"];
    assert_eq!(mountpoints("ec2", state_dir), usual);
    // One in memory is asked only when it is the agent's own, one of a server never.
    let with_run = ["/", "/boot/efi", "/run", "/srv/a b", "/var/lib/groundcrew"];
    assert_eq!(mountpoints("ec2", "/run/state"), with_run);
    assert_eq!(mountpoints("ec2", "/mnt/efs/state"), usual);
    let container = "1 0 0:30 / / rw - overlay overlay rw,lowerdir=/a\n\
                     garbage\n\n2 1 0:31 /x\n\
                     3 1 0:32 / /a rw - fuse.sshfs host:/ rw\n";
    assert_eq!(filesystems::to_measure(container, Utf8Path::new("/a/b")), ["/"]);
}

/// A tree with one file, and what was found in it.
fn tree(path: &str, content: &[u8]) -> Reading {
    let dir = tempfile::tempdir().unwrap();
    let root = Utf8Path::from_path(dir.path()).unwrap();
    let path = root.join("proc").join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    File::create(path).unwrap().write_all(content).unwrap();
    HostReader::at(root.to_owned(), Utf8Path::new("/")).read()
}

/// Whether a reading has no numbers of a tree. The clock is always this host's.
fn is_empty(mut reading: Reading) -> bool {
    reading.disks = reading.disks.filter(|disks| !disks.is_empty());
    reading.interfaces = reading.interfaces.filter(|interfaces| !interfaces.is_empty());
    reading
        == Reading { clock: reading.clock, failed: reading.failed.clone(), ..Reading::default() }
}

#[test]
fn what_is_missing_is_left_out_and_counted() {
    let reading = tree("nothing", b"");
    assert!(is_empty(reading.clone()), "{reading:?}");
    for source in [
        Source::Cpu,
        Source::Load,
        Source::Memory,
        Source::Paging,
        Source::Filesystems,
        Source::Disks,
        Source::Network,
        Source::Descriptors,
    ] {
        assert!(reading.failed.contains(&source), "{source:?}");
    }
    assert!(!reading.failed.contains(&Source::Pressure));
}

/// Damages a file of the golden tree in many ways: nothing panics, and nothing is made of garbage.
#[track_caller]
fn check_garbage(source: Source, path: &str) {
    let golden = Utf8PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("src/metrics/host/testdata/ec2/proc")
        .join(path);
    let whole = fs::read(golden).unwrap();
    let reading = tree(path, &whole);
    assert!(!reading.failed.contains(&source) && !is_empty(reading), "{path}");
    let (long, too_long) = (b"x".repeat(4096), b"1 ".repeat(600 * 1024));
    let odd: [&[u8]; 8] = [
        b"",
        b"\n\n",
        b"\0\0\0",
        b"some",
        "x\u{e9}: 1 kB\nMemTotal\u{e9} 1 kB\nsom\u{e9}\n".as_bytes(),
        b"\xff\xfe cpu 1 2 3",
        &long,
        &too_long,
    ];
    for content in odd {
        let reading = tree(path, content);
        assert!(is_empty(reading.clone()), "{path}: {reading:?}");
    }
    assert!(tree(path, &too_long).failed.contains(&source), "{path}");
    for length in (0..whole.len().min(600)).step_by(13) {
        tree(path, &whole[..length]);
    }
    // Numbers that there is no room for.
    let huge = String::from_utf8_lossy(&whole).replace(|c: char| c.is_ascii_digit(), "99999");
    tree(path, huge.as_bytes());
}

#[test]
fn garbage_is_left_out() {
    check_garbage(Source::Cpu, "stat");
    check_garbage(Source::Load, "loadavg");
    check_garbage(Source::Memory, "meminfo");
    check_garbage(Source::Paging, "vmstat");
    check_garbage(Source::Disks, "diskstats");
    check_garbage(Source::Network, "self/net/dev");
    check_garbage(Source::Descriptors, "sys/fs/file-nr");
    check_garbage(Source::Pressure, "pressure/io");
}

#[test]
fn this_host_says_what_others_say_of_it() {
    let mut reader = HostReader::new(Utf8Path::new("/"));
    let (before, first) = (clock::at(), reader.read());
    assert!(first.failed.is_empty(), "{first:?}");
    // Time of all CPUs together is, for each that there is, the time since the start.
    let cpus = nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_ONLN).unwrap().unwrap();
    let spent_ms: u64 = first.cpu.unwrap().iter().sum();
    let of_each = spent_ms as f64 / before.0 as f64 / cpus as f64;
    assert!((0.5..1.2).contains(&of_each), "{of_each}");
    // sysinfo(2) is another way to the same numbers.
    let info = sysinfo();
    let memory = first.memory.unwrap();
    assert_eq!(memory.total, info.0);
    assert!(memory.free <= memory.total && memory.available.unwrap() <= memory.total);
    assert_eq!(memory.swap_total, info.1);
    let load = first.load.unwrap();
    assert!((load[2] - info.2).abs() < 1.0, "{load:?} {}", info.2);
    // statvfs(3) by another path to the same filesystem.
    let root = first.filesystems.iter().find(|one| one.mountpoint == "/").unwrap();
    let space = rustix::fs::statvfs("/proc/self/root/").unwrap();
    assert_eq!(root.total, space.f_blocks * space.f_frsize);
    assert_eq!(root.inodes, space.f_files);
    for disk in first.disks.as_ref().unwrap() {
        let size = fs::read_to_string(format!("/sys/block/{}/size", disk.name)).unwrap();
        assert!(size.trim().parse::<u64>().is_ok(), "{disk:?}");
    }
    let descriptors = first.descriptors.unwrap();
    assert!(descriptors.allocated > 0 && descriptors.allocated <= descriptors.max);

    let second = reader.read();
    let states = first.cpu.unwrap().into_iter().zip(second.cpu.unwrap());
    for (state, (before, now)) in groundcrew_core::metrics::host::CPU_STATES.iter().zip(states) {
        assert!(now >= before || *state == "iowait" || *state == "idle", "{state}");
    }
    assert!(second.paging.unwrap().faults >= first.paging.unwrap().faults);
    for (before, now) in first.interfaces.iter().flatten().zip(second.interfaces.iter().flatten()) {
        assert!(now.name == before.name && now.received.bytes >= before.received.bytes);
    }
    let mut host = Host::default();
    host.take(before, first);
    host.take(clock::at(), second);
    assert!(host.points().count() > 30);
}

/// Bytes of memory and of swap, and the load of the last 15 minutes.
fn sysinfo() -> (u64, u64, f64) {
    let info = rustix::system::sysinfo();
    let bytes = |units: u64| units * u64::from(info.mem_unit);
    (bytes(info.totalram), bytes(info.totalswap), info.loads[2] as f64 / 65_536.0)
}
