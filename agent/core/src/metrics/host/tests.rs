//! What looks at a host say one after the other.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::metrics::{Kind, Unit, Value};

/// By name and labels.
fn values(host: &Host) -> BTreeMap<String, f64> {
    let named = |point: Point| {
        let labels: Vec<_> = point.labels.iter().map(|(_, value)| value.as_str()).collect();
        let Value::Number(value) = point.value else { panic!("{point:?}") };
        (format!("{} {}", point.about.name(), labels.join(" ")).trim_end().to_owned(), value)
    };
    host.points().map(named).collect()
}

#[track_caller]
fn check(host: &Host, expected: &[(&str, Option<f64>)]) {
    let values = values(host);
    for (name, expected) in expected {
        let found = values.get(*name).copied();
        let same = match (found, expected) {
            (Some(found), Some(expected)) => (found - expected).abs() < 1e-9,
            (found, expected) => found.is_none() && expected.is_none(),
        };
        assert!(same, "{name} is {found:?}, not {expected:?}: {values:#?}");
    }
}

#[test]
fn shares_of_the_cpu_are_those_since_the_last_look() {
    let mut host = Host::default();
    let cpu = |cpu| Reading { cpu: Some(cpu), ..Reading::default() };
    host.take(Moment(0), cpu([1000, 0, 500, 9000, 100, 10, 0]));
    check(
        &host,
        &[
            ("system.cpu.time user", Some(0.0)),
            ("system.cpu.utilization user", None),
            ("groundcrew.host.cpu.utilization", None),
        ],
    );
    host.take(Moment(10_000), cpu([3000, 0, 1500, 15_000, 1000, 60, 50]));
    check(
        &host,
        &[
            ("system.cpu.time user", Some(2.0)),
            ("system.cpu.utilization user", Some(0.2)),
            ("system.cpu.utilization steal", Some(0.005)),
            ("groundcrew.host.cpu.utilization", Some(0.31)),
        ],
    );
    // iowait goes back; nothing passes; the file cannot be read, and can again.
    host.take(Moment(20_000), cpu([4000, 0, 1500, 15_000, 900, 60, 50]));
    check(
        &host,
        &[
            ("system.cpu.time iowait", Some(0.9)),
            ("system.cpu.utilization iowait", Some(0.0)),
            ("groundcrew.host.cpu.utilization", Some(1.0)),
        ],
    );
    host.take(Moment(20_000), cpu([4000, 0, 1500, 15_000, 900, 60, 50]));
    check(&host, &[("groundcrew.host.cpu.utilization", None)]);
    host.take(Moment(30_000), Reading { failed: vec![Source::Cpu], ..Reading::default() });
    check(
        &host,
        &[
            ("system.cpu.time user", None),
            ("groundcrew.host.readings.left_out cpu", Some(1.0)),
            ("system.uptime", Some(30.0)),
        ],
    );
    host.take(Moment(40_000), cpu([5000, 0, 1500, 15_000, 900, 60, 50]));
    check(&host, &[("system.cpu.time user", Some(4.0)), ("system.cpu.utilization user", None)]);
}

#[test]
fn memory_is_used_where_it_is_not_available() {
    let mut host = Host::default();
    let memory = Memory {
        total: 1000,
        free: 100,
        available: Some(400),
        buffers: 50,
        cached: 350,
        swap_total: 200,
        swap_free: 150,
    };
    host.take(Moment(0), Reading { memory: Some(memory), ..Reading::default() });
    check(
        &host,
        &[
            ("system.memory.usage used", Some(500.0)),
            ("system.memory.usage cached", Some(350.0)),
            ("system.memory.utilization", Some(0.6)),
            ("system.memory.linux.available", Some(400.0)),
            ("system.paging.usage used", Some(50.0)),
            ("system.paging.utilization", Some(0.25)),
        ],
    );
    let memory = Memory { available: None, swap_total: 0, swap_free: 0, ..memory };
    host.take(Moment(0), Reading { memory: Some(memory), ..Reading::default() });
    let none = ("system.memory.utilization", None);
    check(&host, &[none, ("system.paging.utilization", Some(0.0))]);
}

#[test]
fn a_filesystem_is_as_full_as_its_users_see_it_and_the_fullest_counts() {
    let mut host = Host::default();
    let root = Filesystem {
        mountpoint: "/".to_owned(),
        total: 1000,
        free: 250,
        available: 200,
        inodes: 100,
        inodes_free: 50,
    };
    let data = Filesystem { mountpoint: "/data".to_owned(), inodes_free: 3, ..root.clone() };
    let empty = Filesystem { mountpoint: "/odd".to_owned(), ..Filesystem::default() };
    let filesystems = vec![root, data, empty];
    host.take(Moment(0), Reading { filesystems, ..Reading::default() });
    check(
        &host,
        &[
            ("system.filesystem.usage / used", Some(750.0)),
            ("system.filesystem.usage / reserved", Some(50.0)),
            ("system.filesystem.utilization /", Some(750.0 / 950.0)),
            ("groundcrew.host.filesystem.inodes.utilization /data", Some(0.97)),
            ("system.filesystem.utilization /odd", None),
            ("groundcrew.host.filesystem.utilization", Some(0.97)),
        ],
    );
}

#[test]
fn a_disk_that_comes_and_goes_counts_on() {
    let mut host = Host::default();
    let disks = |disks: &[(&str, u64)]| {
        let disk = |&(name, read_bytes): &(&str, u64)| Disk {
            name: name.to_owned(),
            read_bytes,
            busy_ms: 2000,
            ..Disk::default()
        };
        Reading { disks: Some(disks.iter().map(disk).collect()), ..Reading::default() }
    };
    host.take(Moment(0), disks(&[("vda", 1000)]));
    host.take(Moment(1), disks(&[("vda", 1500), ("vdb", 70)]));
    check(
        &host,
        &[
            ("system.disk.io vda read", Some(500.0)),
            ("system.disk.io vdb read", Some(70.0)),
            ("system.disk.io_time vdb", Some(2.0)),
        ],
    );
    host.take(Moment(2), disks(&[("vda", 1500)]));
    check(&host, &[("system.disk.io vdb read", None)]);
    // What cannot be read is not gone.
    host.take(Moment(3), Reading { failed: vec![Source::Disks], ..Reading::default() });
    host.take(Moment(4), disks(&[("vda", 1600), ("vdb", 100)]));
    let expected =
        [("system.disk.io vda read", Some(600.0)), ("system.disk.io vdb read", Some(170.0))];
    check(&host, &expected);
}

#[test]
fn pressure_is_a_share_of_the_time_between_two_looks() {
    let mut host = Host::default();
    let pressure = |cpu: (u64, Option<u64>), more: &[Pressure]| {
        let cpu = Pressure { resource: "cpu", some_us: cpu.0, full_us: cpu.1 };
        Reading { pressure: [&[cpu], more].concat(), ..Reading::default() }
    };
    let io = Pressure { resource: "io", some_us: 0, full_us: Some(0) };
    host.take(Moment(0), pressure((1_000_000, None), &[]));
    check(&host, &[("groundcrew.host.pressure.some cpu", None)]);
    host.take(Moment(10_000), pressure((3_500_000, None), &[io]));
    check(
        &host,
        &[
            ("groundcrew.host.pressure.some cpu", Some(0.25)),
            ("groundcrew.host.pressure.full cpu", None),
            ("groundcrew.host.pressure.some io", None),
        ],
    );
    let io = Pressure { some_us: 90_000_000, full_us: Some(1_000_000), ..io };
    host.take(Moment(20_000), pressure((0, Some(5)), &[io]));
    check(
        &host,
        &[
            ("groundcrew.host.pressure.some cpu", None),
            ("groundcrew.host.pressure.full cpu", None),
            ("groundcrew.host.pressure.some io", Some(1.0)),
            ("groundcrew.host.pressure.full io", Some(0.1)),
        ],
    );
}

#[test]
fn devices_have_a_bound_and_what_is_beyond_it_is_counted() {
    let mut host = Host::default();
    let names = (0..DEVICES_MAX + 3).map(|number| format!("eth{number}"));
    let interfaces = names.map(|name| Interface { name, ..Interface::default() }).collect();
    host.take(Moment(0), Reading { interfaces: Some(interfaces), ..Reading::default() });
    let last = format!("system.network.io eth{} receive", DEVICES_MAX - 1);
    let beyond = format!("system.network.io eth{DEVICES_MAX} receive");
    let left_out = "groundcrew.host.readings.left_out network";
    check(&host, &[(&last, Some(0.0)), (&beyond, None), (left_out, Some(3.0))]);
}

/// Numbers of all sizes, and small ones that are often the same.
fn number() -> impl Strategy<Value = u64> + Clone {
    prop_oneof![0..5_u64, any::<u64>()]
}

fn device() -> impl Strategy<Value = String> {
    prop_oneof![Just("a".to_owned()), Just("b".to_owned())]
}

fn reading() -> impl Strategy<Value = Reading> {
    let cpu = prop::option::of(prop::array::uniform7(number()));
    let memory = prop::option::of(prop::array::uniform7(number()));
    let disks = prop::option::of(prop::collection::btree_map(device(), number(), 0..3));
    let load = prop::option::of(prop::array::uniform3(any::<f64>()));
    let stalls = prop::collection::vec((number(), prop::option::of(number())), 0..2);
    let filesystem = prop::option::of(prop::array::uniform5(number()));
    (cpu, memory, disks, load, stalls, filesystem).prop_map(
        |(cpu, memory, disks, load, stalls, filesystem)| Reading {
            cpu,
            load,
            memory: memory.map(
                |[total, free, available, buffers, cached, swap_total, swap_free]| {
                    let available = Some(available);
                    Memory { total, free, available, buffers, cached, swap_total, swap_free }
                },
            ),
            disks: disks.map(|disks| {
                let disk = |(name, raw)| Disk {
                    name,
                    read_bytes: raw,
                    reads: raw,
                    busy_ms: raw,
                    ..Disk::default()
                };
                disks.into_iter().map(disk).collect()
            }),
            pressure: stalls
                .into_iter()
                .map(|(some_us, full_us)| Pressure { resource: "io", some_us, full_us })
                .collect(),
            filesystems: filesystem.into_iter().map(of_filesystem).collect(),
            ..Reading::default()
        },
    )
}

fn of_filesystem([total, free, available, inodes, inodes_free]: [u64; 5]) -> Filesystem {
    Filesystem { mountpoint: "/".to_owned(), total, free, available, inodes, inodes_free }
}

proptest! {
    #[test]
    fn whatever_is_read_shares_are_shares_and_counters_do_not_go_back(
        looks in prop::collection::vec((0..20_000_u64, reading()), 1..12),
    ) {
        let mut host = Host::default();
        let mut at = 0;
        let mut counters: BTreeMap<String, f64> = BTreeMap::new();
        for (after, reading) in looks {
            at += after;
            host.take(Moment(at), reading);
            for point in host.points() {
                let Value::Number(value) = point.value else { panic!("{point:?}") };
                prop_assert!(value.is_finite(), "{point:?}");
                if point.about.unit() == Unit::Ratio {
                    prop_assert!((0.0..=1.0).contains(&value), "{point:?}");
                }
                if point.about.kind() == Kind::Counter {
                    let key = format!("{} {:?}", point.about.name(), point.labels);
                    let before = counters.insert(key, value).unwrap_or(0.0);
                    prop_assert!(value >= before, "{point:?} was {before}");
                }
            }
        }
    }
}
