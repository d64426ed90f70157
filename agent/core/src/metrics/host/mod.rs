//! What a look at the host found, and what it says together with the looks before: shares of the
//! time since then, counters that only grow. Pure; the shell reads. Whatever is missing or makes no
//! sense has no point, and never one that is wrong.

use std::collections::BTreeMap;

use super::counters::{Backwards, Counters};
use super::{Metric, Point, catalog};
use crate::time::{Moment, ms};

mod reading;
#[cfg(test)]
mod tests;

pub use reading::{
    CPU_STATES, Clock, CpuTime, Descriptors, Disk, Filesystem, Interface, Memory, Paging, Pressure,
    Reading, Source, Traffic,
};

/// Disks, interfaces or filesystems that are told apart. More are left out, and counted.
pub const DEVICES_MAX: usize = 32;
const NONE: [&str; 0] = [];
/// Places of `idle` and `iowait` in [`CPU_STATES`]: time in which nothing ran.
const IDLE: [usize; 2] = [3, 4];

/// Metric, device, direction or state.
type Key = (&'static str, String, &'static str);

/// What is known of the host.
#[derive(Debug)]
pub struct Host {
    cpu: Counters<Key>,
    paging: Counters<Key>,
    disks: Counters<Key>,
    interfaces: Counters<Key>,
    before: Option<Before>,
    left_out: BTreeMap<Source, u64>,
    points: Vec<Point>,
}

/// What shares are taken from.
#[derive(Debug)]
struct Before {
    at: Moment,
    cpu: Option<CpuTime>,
    pressure: Vec<Pressure>,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            cpu: Counters::new(Backwards::Inexact),
            paging: Counters::new(Backwards::Restarted),
            disks: Counters::new(Backwards::Restarted),
            interfaces: Counters::new(Backwards::Restarted),
            before: None,
            left_out: BTreeMap::new(),
            points: Vec::new(),
        }
    }
}

impl Host {
    /// Takes a look.
    pub fn take(&mut self, at: Moment, reading: Reading) {
        self.points.clear();
        for &source in &reading.failed {
            self.leave_out(source, 1);
        }
        if let Some(cpu) = &reading.cpu {
            self.take_cpu(cpu);
        }
        if let Some(load) = reading.load {
            self.take_load(load);
        }
        if let Some(memory) = &reading.memory {
            self.take_memory(memory);
        }
        if let Some(paging) = &reading.paging {
            self.take_paging(paging);
        }
        self.take_filesystems(&reading.filesystems);
        if let Some(disks) = &reading.disks {
            self.take_disks(disks);
        }
        if let Some(interfaces) = &reading.interfaces {
            self.take_interfaces(interfaces);
        }
        self.take_pressure(at, &reading.pressure);
        if let Some(Descriptors { allocated, max }) = reading.descriptors {
            self.gauge(&catalog::HOST_DESCRIPTORS, NONE, allocated as f64);
            self.gauge(&catalog::HOST_DESCRIPTORS_LIMIT, NONE, max as f64);
        }
        if let Some(clock) = reading.clock {
            let synchronized = f64::from(u8::from(clock.synchronized));
            self.gauge(&catalog::CLOCK_OFFSET, NONE, clock.offset_ns as f64 / 1e9);
            self.gauge(&catalog::CLOCK_ERROR, NONE, clock.error_us as f64 / 1e6);
            self.gauge(&catalog::CLOCK_SYNCHRONIZED, NONE, synchronized);
        }
        self.gauge(&catalog::HOST_UPTIME, NONE, at.0 as f64 / 1000.0);
        self.before = Some(Before { at, cpu: reading.cpu, pressure: reading.pressure });
    }

    /// What the last look said.
    pub fn points(&self) -> impl Iterator<Item = Point> {
        let groups = [&self.cpu, &self.paging, &self.disks, &self.interfaces];
        let sources = [Source::Cpu, Source::Paging, Source::Disks, Source::Network];
        let refused = sources.into_iter().zip(groups.map(Counters::refused));
        let mut left_out = self.left_out.clone();
        for (source, count) in refused.filter(|&(_, count)| count > 0) {
            let sum = left_out.entry(source).or_default();
            *sum = sum.saturating_add(count);
        }
        let left_out = left_out.into_iter().map(|(source, count)| {
            Point::new(&catalog::READINGS_LEFT_OUT, [source.word()], count as f64)
        });
        self.points.iter().cloned().chain(left_out)
    }

    fn leave_out(&mut self, source: Source, count: usize) {
        if count > 0 {
            let sum = self.left_out.entry(source).or_default();
            *sum = sum.saturating_add(count as u64);
        }
    }

    fn gauge<const N: usize>(&mut self, metric: &'static Metric, labels: [&str; N], value: f64) {
        if value.is_finite() {
            self.points.push(Point::new(metric, labels, value));
        }
    }

    fn take_cpu(&mut self, cpu: &CpuTime) {
        self.cpu.begin();
        for (state, ms) in CPU_STATES.into_iter().zip(cpu) {
            let key = (catalog::HOST_CPU_TIME.name, String::new(), state);
            if let Some(total) = self.cpu.see(key, *ms) {
                self.gauge(&catalog::HOST_CPU_TIME, [state], total as f64 / 1000.0);
            }
        }
        let before = self.before.as_ref().and_then(|before| before.cpu);
        let Some(shares) = before.and_then(|before| shares(&before, cpu)) else { return };
        for (state, share) in CPU_STATES.into_iter().zip(shares) {
            self.gauge(&catalog::HOST_CPU_STATES, [state], share);
        }
        let idle: f64 = IDLE.into_iter().map(|state| shares[state]).sum();
        self.gauge(&catalog::HOST_CPU, NONE, (1.0 - idle).clamp(0.0, 1.0));
    }

    fn take_load(&mut self, [one, five, fifteen]: [f64; 3]) {
        self.gauge(&catalog::LOAD_1, NONE, one);
        self.gauge(&catalog::LOAD_5, NONE, five);
        self.gauge(&catalog::LOAD_15, NONE, fifteen);
    }

    fn take_memory(&mut self, memory: &Memory) {
        let Memory { total, free, available, buffers, cached, .. } = *memory;
        let used = [free, buffers, cached].into_iter().fold(total, u64::saturating_sub);
        let states = [("used", used), ("free", free), ("buffers", buffers), ("cached", cached)];
        for (state, bytes) in states {
            self.gauge(&catalog::HOST_MEMORY, [state], bytes as f64);
        }
        self.gauge(&catalog::HOST_MEMORY_LIMIT, NONE, total as f64);
        // Kernels since 3.14 say what is available; 0 of 0 is nothing to say.
        if let Some(available) = available {
            self.gauge(&catalog::HOST_MEMORY_AVAILABLE, NONE, available as f64);
            if let Some(share) = share(total.saturating_sub(available), total) {
                self.gauge(&catalog::HOST_MEMORY_SHARE, NONE, share);
            }
        }
        let swap_used = memory.swap_total.saturating_sub(memory.swap_free);
        self.gauge(&catalog::SWAP, ["used"], swap_used as f64);
        self.gauge(&catalog::SWAP, ["free"], memory.swap_free as f64);
        // Where there is no swap, none of it is used: an alarm has its number.
        let swap_share = share(swap_used, memory.swap_total).unwrap_or(0.0);
        self.gauge(&catalog::SWAP_SHARE, NONE, swap_share);
    }

    fn take_paging(&mut self, paging: &Paging) {
        self.paging.begin();
        let minor = paging.faults.saturating_sub(paging.major_faults);
        let counts: [(&'static Metric, &'static str, u64); 4] = [
            (&catalog::PAGING_OPERATIONS, "in", paging.swapped_in),
            (&catalog::PAGING_OPERATIONS, "out", paging.swapped_out),
            (&catalog::PAGING_FAULTS, "major", paging.major_faults),
            (&catalog::PAGING_FAULTS, "minor", minor),
        ];
        for (metric, which, raw) in counts {
            if let Some(total) = self.paging.see((metric.name, String::new(), which), raw) {
                self.gauge(metric, [which], total as f64);
            }
        }
    }

    fn take_filesystems(&mut self, filesystems: &[Filesystem]) {
        self.leave_out(Source::Filesystems, filesystems.len().saturating_sub(DEVICES_MAX));
        let mut fullest: Option<f64> = None;
        for filesystem in filesystems.iter().take(DEVICES_MAX) {
            let Filesystem { mountpoint, total, free, available, inodes, inodes_free } = filesystem;
            let used = total.saturating_sub(*free);
            let reserved = free.saturating_sub(*available);
            for (state, bytes) in [("used", used), ("free", *available), ("reserved", reserved)] {
                self.gauge(&catalog::FILESYSTEM, [mountpoint, state], bytes as f64);
            }
            // As df(1) has it: of what users other than root may have.
            let bytes = share(used, used.saturating_add(*available));
            let inodes = share(inodes.saturating_sub(*inodes_free), *inodes);
            if let Some(share) = bytes {
                self.gauge(&catalog::FILESYSTEM_SHARE, [mountpoint], share);
            }
            if let Some(share) = inodes {
                self.gauge(&catalog::FILESYSTEM_INODES_SHARE, [mountpoint], share);
            }
            fullest = [fullest, bytes, inodes].into_iter().flatten().reduce(f64::max);
        }
        if let Some(fullest) = fullest {
            self.gauge(&catalog::FILESYSTEM_FULLEST, NONE, fullest);
        }
    }

    fn take_disks(&mut self, disks: &[Disk]) {
        self.leave_out(Source::Disks, disks.len().saturating_sub(DEVICES_MAX));
        self.disks.begin();
        for disk in disks.iter().take(DEVICES_MAX) {
            let counts: [(&'static Metric, &'static str, u64); 4] = [
                (&catalog::DISK_IO, "read", disk.read_bytes),
                (&catalog::DISK_IO, "write", disk.written_bytes),
                (&catalog::DISK_OPERATIONS, "read", disk.reads),
                (&catalog::DISK_OPERATIONS, "write", disk.writes),
            ];
            for (metric, direction, raw) in counts {
                let key = (metric.name, disk.name.clone(), direction);
                if let Some(total) = self.disks.see(key, raw) {
                    self.gauge(metric, [&disk.name, direction], total as f64);
                }
            }
            let key = (catalog::DISK_IO_TIME.name, disk.name.clone(), "");
            if let Some(total) = self.disks.see(key, disk.busy_ms) {
                self.gauge(&catalog::DISK_IO_TIME, [&disk.name], total as f64 / 1000.0);
            }
        }
    }

    fn take_interfaces(&mut self, interfaces: &[Interface]) {
        self.leave_out(Source::Network, interfaces.len().saturating_sub(DEVICES_MAX));
        self.interfaces.begin();
        for interface in interfaces.iter().take(DEVICES_MAX) {
            let ways = [("receive", interface.received), ("transmit", interface.transmitted)];
            for (direction, traffic) in ways {
                let counts: [(&'static Metric, u64); 4] = [
                    (&catalog::NETWORK_IO, traffic.bytes),
                    (&catalog::NETWORK_PACKETS, traffic.packets),
                    (&catalog::NETWORK_ERRORS, traffic.errors),
                    (&catalog::NETWORK_DROPPED, traffic.dropped),
                ];
                for (metric, raw) in counts {
                    let key = (metric.name, interface.name.clone(), direction);
                    if let Some(total) = self.interfaces.see(key, raw) {
                        self.gauge(metric, [&interface.name, direction], total as f64);
                    }
                }
            }
        }
    }

    fn take_pressure(&mut self, at: Moment, pressure: &[Pressure]) {
        let Some(before) = &self.before else { return };
        let passed_us = ms(at.since(before.at)).saturating_mul(1000);
        let mut found = Vec::new();
        for now in pressure {
            let known = |before: &&Pressure| before.resource == now.resource;
            let Some(before) = before.pressure.iter().find(known) else { continue };
            let stalled = |now: u64, before: u64| share(now.checked_sub(before)?, passed_us);
            let some = stalled(now.some_us, before.some_us);
            found.extend(some.map(|share| (&catalog::PRESSURE_SOME, now.resource, share)));
            let full = now.full_us.zip(before.full_us).and_then(|(now, old)| stalled(now, old));
            found.extend(full.map(|share| (&catalog::PRESSURE_FULL, now.resource, share)));
        }
        for (metric, resource, share) in found {
            self.gauge(metric, [resource], share);
        }
    }
}

/// Of a whole, at most all of it; `None` when there is nothing to have a share of.
fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| (part as f64 / whole as f64).clamp(0.0, 1.0))
}

/// The share of each state in the time that passed; `None` when none did.
fn shares(before: &CpuTime, now: &CpuTime) -> Option<[f64; CPU_STATES.len()]> {
    let mut passed = [0; CPU_STATES.len()];
    for (passed, (now, before)) in passed.iter_mut().zip(now.iter().zip(before)) {
        *passed = now.saturating_sub(*before);
    }
    let all = passed.iter().fold(0, |sum: u64, more| sum.saturating_add(*more));
    (all > 0).then(|| passed.map(|passed| passed as f64 / all as f64))
}
