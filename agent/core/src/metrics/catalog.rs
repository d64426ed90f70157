//! The one list of metrics: what scrapers, CloudWatch, dashboards, alarms and the documentation
//! show comes from here, and a test holds them together.

use super::{Kind, Label, Metric, Unit};

/// `NAME = kind "otel.name" unit [labels] cloudwatch [[labels]...] "help";`
macro_rules! metrics {
    ($($name:ident = $kind:ident $otel:literal $unit:ident [$($label:ident),*]
       cloudwatch [$([$($dimension:ident),*]),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub static $name: Metric = Metric {
                name: $otel,
                kind: Kind::$kind,
                unit: Unit::$unit,
                labels: &[$(Label::$label),*],
                cloudwatch: &[$(&[$(Label::$dimension),*]),*],
                help: $help,
            };
        )*
        /// All of them.
        pub static ALL: &[&Metric] = &[$(&$name),*];
    };
}

metrics! {
    // The host, as groundcrew sees it.
    READY = Gauge "groundcrew.ready" Count [] cloudwatch [[]]
        "Whether GET /ready says so.";
    STATE = Gauge "groundcrew.state" Count [State] cloudwatch []
        "1 for the state that the host is in.";
    RELEASE = Gauge "groundcrew.release" Count [Role, Release] cloudwatch []
        "1 for each release and what it is to the host.";
    DISK_USAGE = Gauge "groundcrew.disk.usage" Bytes [Kind] cloudwatch [[Kind]]
        "What is kept on disk.";

    // The machine: names of the semantic conventions, or of the collector's hostmetrics receiver.
    HOST_UPTIME = Gauge "system.uptime" Seconds [] cloudwatch []
        "Time since the host was started.";
    HOST_CPU_TIME = Counter "system.cpu.time" Seconds [State] cloudwatch []
        "Time of all CPUs, by what they did.";
    HOST_CPU_STATES = Gauge "system.cpu.utilization" Ratio [State] cloudwatch []
        "Share of all CPUs' time, by what they did.";
    HOST_CPU = Gauge "groundcrew.host.cpu.utilization" Ratio [] cloudwatch [[]]
        "Share of all CPUs' time in which they were not idle.";
    LOAD_1 = Gauge "system.cpu.load_average.1m" Count [] cloudwatch []
        "Processes that run or wait to, on average over a minute.";
    LOAD_5 = Gauge "system.cpu.load_average.5m" Count [] cloudwatch []
        "Processes that run or wait to, on average over 5 minutes.";
    LOAD_15 = Gauge "system.cpu.load_average.15m" Count [] cloudwatch []
        "Processes that run or wait to, on average over 15 minutes.";
    HOST_MEMORY = Gauge "system.memory.usage" Bytes [State] cloudwatch []
        "Memory, by what it is used for.";
    HOST_MEMORY_LIMIT = Gauge "system.memory.limit" Bytes [] cloudwatch []
        "All memory.";
    HOST_MEMORY_AVAILABLE = Gauge "system.memory.linux.available" Bytes [] cloudwatch []
        "Memory that processes can have without swapping.";
    HOST_MEMORY_SHARE = Gauge "system.memory.utilization" Ratio [] cloudwatch [[]]
        "Share of the memory that is not available.";
    SWAP = Gauge "system.paging.usage" Bytes [State] cloudwatch []
        "Swap, used and free.";
    SWAP_SHARE = Gauge "system.paging.utilization" Ratio [] cloudwatch [[]]
        "Share of the swap that is used; 0 where there is none.";
    PAGING_OPERATIONS = Counter "system.paging.operations" Count [Direction] cloudwatch []
        "Pages read from swap and written to it.";
    PAGING_FAULTS = Counter "system.paging.faults" Count [Kind] cloudwatch []
        "Page faults; major ones waited for a disk.";
    FILESYSTEM = Gauge "system.filesystem.usage" Bytes [Mountpoint, State] cloudwatch []
        "Space of local filesystems.";
    FILESYSTEM_SHARE = Gauge "system.filesystem.utilization" Ratio [Mountpoint] cloudwatch []
        "Share of the space for all users that is used.";
    FILESYSTEM_INODES_SHARE = Gauge "groundcrew.host.filesystem.inodes.utilization" Ratio
        [Mountpoint] cloudwatch []
        "Share of the files that there can be.";
    FILESYSTEM_FULLEST = Gauge "groundcrew.host.filesystem.utilization" Ratio [] cloudwatch [[]]
        "Of the fullest local filesystem, by space or by number of files.";
    DISK_IO = Counter "system.disk.io" Bytes [Device, Direction] cloudwatch []
        "Bytes read from disks and written to them.";
    DISK_OPERATIONS = Counter "system.disk.operations" Count [Device, Direction] cloudwatch []
        "Reads and writes that disks completed.";
    DISK_IO_TIME = Counter "system.disk.io_time" Seconds [Device] cloudwatch []
        "Time in which a disk had something to do.";
    NETWORK_IO = Counter "system.network.io" Bytes [Device, Direction] cloudwatch []
        "Bytes received and transmitted.";
    NETWORK_PACKETS = Counter "system.network.packets" Count [Device, Direction] cloudwatch []
        "Packets received and transmitted.";
    NETWORK_ERRORS = Counter "system.network.errors" Count [Device, Direction] cloudwatch []
        "Packets that were broken or could not be sent.";
    NETWORK_DROPPED = Counter "system.network.dropped" Count [Device, Direction] cloudwatch []
        "Packets that there was no room for.";
    PRESSURE_SOME = Gauge "groundcrew.host.pressure.some" Ratio [Kind] cloudwatch [[Kind]]
        "Share of the time in which something waited for the CPU, for memory, for a disk.";
    PRESSURE_FULL = Gauge "groundcrew.host.pressure.full" Ratio [Kind] cloudwatch []
        "Share of the time in which everything that had to run waited.";
    HOST_DESCRIPTORS = Gauge "groundcrew.host.file_descriptors.open" Count [] cloudwatch []
        "File descriptors that are open on the host.";
    HOST_DESCRIPTORS_LIMIT = Gauge "groundcrew.host.file_descriptors.limit" Count [] cloudwatch []
        "File descriptors that there can be on the host.";
    CLOCK_OFFSET = Gauge "groundcrew.host.clock.offset" Seconds [] cloudwatch [[]]
        "What the kernel still corrects of the clock.";
    CLOCK_ERROR = Gauge "groundcrew.host.clock.error" Seconds [] cloudwatch []
        "How far the clock can be off at most.";
    CLOCK_SYNCHRONIZED = Gauge "groundcrew.host.clock.synchronized" Count [] cloudwatch []
        "Whether something keeps the clock right.";
    READINGS_LEFT_OUT = Counter "groundcrew.host.readings.left_out" Count [Kind] cloudwatch []
        "Numbers of the host that could not be read, or that there was no room for.";

    // Requests, by tier and release.
    REQUESTS = Counter "http.server.requests" Count [Tier, Release, StatusClass]
        cloudwatch [[Tier, StatusClass]]
        "Requests that tiers answered.";
    REQUEST_DURATION = Histogram "http.server.request.duration" Seconds [Tier, Release]
        cloudwatch [[Tier], [Tier, Release]]
        "How long answers took.";
    ACTIVE_REQUESTS = Gauge "http.server.active_requests" Count [Tier] cloudwatch [[Tier]]
        "Requests being answered.";
    OPEN_CONNECTIONS = Gauge "http.server.open_connections" Count [Tier] cloudwatch []
        "Open connections.";
    WEBSOCKETS = Gauge "groundcrew.tier.websockets" Count [Tier] cloudwatch []
        "Open WebSocket connections.";
    PROCESSES_READY = Gauge "groundcrew.tier.processes.ready" Count [Tier] cloudwatch [[Tier]]
        "Processes that are ready.";
    PROCESSES_WANTED = Gauge "groundcrew.tier.processes.wanted" Count [Tier] cloudwatch []
        "Processes there should be.";
    TIER_RESTARTS = Gauge "groundcrew.tier.restarts" Count [Tier] cloudwatch []
        "Restarts since the generation began.";

    // Processes.
    PROCESS_MEMORY = Gauge "process.memory.usage" Bytes [Tier, Process] cloudwatch [[Tier]]
        "Resident memory.";
    PROCESS_CPU = Gauge "process.cpu.utilization" Ratio [Tier, Process] cloudwatch [[Tier]]
        "Share of one core.";
    EVENTLOOP_DELAY_P99 = Gauge "nodejs.eventloop.delay.p99" Seconds [Tier, Process]
        cloudwatch [[Tier]]
        "Delay of the event loop that 99 of 100 do not exceed.";
    PROCESS_RESTARTS = Gauge "groundcrew.process.restarts" Count [Tier, Process] cloudwatch []
        "Restarts of the process.";
    PROCESS_CPU_TIME = Counter "process.cpu.time" Seconds [Tier, Process] cloudwatch []
        "Time on a CPU.";
    PROCESS_VIRTUAL = Gauge "process.memory.virtual" Bytes [Tier, Process] cloudwatch []
        "Address space, most of which no process uses.";
    PROCESS_DESCRIPTORS = Gauge "process.open_file_descriptor.count" Count [Tier, Process]
        cloudwatch []
        "Open file descriptors.";
    PROCESS_THREADS = Gauge "process.thread.count" Count [Tier, Process] cloudwatch []
        "Threads.";
    PROCESS_EXITS = Counter "groundcrew.process.exits" Count [Tier, Reason]
        cloudwatch [[Tier, Reason]]
        "Processes that ended: success, error, memory_limit, unknown or a signal.";
    EVENTLOOP_DELAY_P50 = Gauge "nodejs.eventloop.delay.p50" Seconds [Tier, Process]
        cloudwatch []
        "Delay of the event loop that half do not exceed.";
    HEAP_USED = Gauge "v8js.memory.heap.used" Bytes [Tier, Process] cloudwatch []
        "Heap that is used.";

    // The agent itself.
    AGENT_INFO = Gauge "groundcrew.agent.info" Count [Version] cloudwatch []
        "1, with the agent's version.";
    AGENT_UPTIME = Gauge "groundcrew.agent.uptime" Seconds [] cloudwatch []
        "Time since the agent was started or reloaded.";
    AGENT_CPU_TIME = Counter "groundcrew.agent.cpu.time" Seconds [] cloudwatch []
        "Time on a CPU.";
    AGENT_CPU = Gauge "groundcrew.agent.cpu.utilization" Ratio [] cloudwatch []
        "Share of one core.";
    AGENT_MEMORY = Gauge "groundcrew.agent.memory.usage" Bytes [] cloudwatch []
        "Resident memory.";
    AGENT_DESCRIPTORS = Gauge "groundcrew.agent.open_file_descriptor.count" Count [] cloudwatch []
        "Open file descriptors.";
    AGENT_THREADS = Gauge "groundcrew.agent.thread.count" Count [] cloudwatch []
        "Threads.";
    AGENT_STEP = Histogram "groundcrew.agent.step.duration" Seconds [] cloudwatch []
        "How long its loop took to deal with an event.";
    AGENT_WAITING = Gauge "groundcrew.agent.events.waiting" Count [] cloudwatch []
        "Events that its loop has not dealt with.";
    AGENT_SAMPLING = Gauge "groundcrew.agent.sampling.duration" Seconds [] cloudwatch []
        "How long it took to measure everything, the last time.";

    // What the Node of each process says of itself.
    EVENTLOOP_UTILIZATION = Gauge "nodejs.eventloop.utilization" Ratio [Tier, Process]
        cloudwatch []
        "Share of the time that the event loop was not waiting.";
    HEAP_TOTAL = Gauge "v8js.memory.heap.total" Bytes [Tier, Process] cloudwatch []
        "Heap that V8 has taken.";
    HEAP_LIMIT = Gauge "v8js.memory.heap.limit" Bytes [Tier, Process] cloudwatch []
        "Heap that V8 may take.";
    MEMORY_EXTERNAL = Gauge "v8js.memory.external" Bytes [Tier, Process] cloudwatch []
        "Memory beside the heap that objects in it hold, buffers included.";
    GC_DURATION = Histogram "v8js.gc.duration" Seconds [Tier, GcType] cloudwatch [[Tier]]
        "How long garbage collections took.";

    // Deployments and drains.
    DEPLOYMENTS = Counter "groundcrew.deployments" Count [Reason] cloudwatch [[Reason]]
        "Deployments that came so far: started, settled, rejected, rolled_back.";
    ROLLOUT_STAGE = Histogram "groundcrew.rollout.stage.duration" Seconds [Stage]
        cloudwatch []
        "How long the parts of rollouts took: fetch, ready, cutover, bleed, trial.";
    LEAD_TIME = Histogram "groundcrew.deployment.lead_time" Seconds [] cloudwatch [[]]
        "From the channel's wish to the end of the trial.";
    TIME_TO_RESTORE = Histogram "groundcrew.deployment.time_to_restore" Seconds []
        cloudwatch [[]]
        "From the first sign that a release is bad to the one before serving again.";
    DRAINS = Counter "groundcrew.drains" Count [Reason] cloudwatch [[Reason]]
        "Drains that ended: complete, or incomplete when requests were cut.";
    DRAIN_DURATION = Histogram "groundcrew.drain.duration" Seconds [] cloudwatch []
        "How long drains took until the last process had ended.";

    // What people are told.
    NOTIFICATIONS = Counter "groundcrew.notifications" Count [Pipeline, Reason]
        cloudwatch []
        "Messages by target, and what became of them: sent, failed, suppressed, dropped.";

    // Backups, as this host knows them.
    BACKUP_AGE = Gauge "groundcrew.backup.last_good.age" Seconds [Backup] cloudwatch [[Backup]]
        "Age of the newest backup that is there, by its slot.";
    BACKUP_STALENESS = Gauge "groundcrew.backup.staleness" Ratio [Backup] cloudwatch [[Backup]]
        "The same as a share of stale_after: above 1 it is too old.";
    BACKUP_VERIFIED_AGE = Gauge "groundcrew.backup.last_verified.age" Seconds [Backup, Level]
        cloudwatch [[Backup, Level]]
        "Time since a backup was last proved at a level.";
    BACKUP_STATE = Gauge "groundcrew.backup.state" Count [Backup, State] cloudwatch []
        "1 for the state that the job is in: ok, running, failing, unknown.";
    BACKUP_FAILING = Gauge "groundcrew.backup.failing" Count [Backup] cloudwatch [[Backup]]
        "Whether there is no good backup, or a bad one.";
    BACKUP_LATE = Gauge "groundcrew.backup.late" Seconds [Backup] cloudwatch [[Backup]]
        "How long the newest slot that is due waits for its backup.";
    BACKUP_SIZE = Gauge "groundcrew.backup.last_good.size" Bytes [Backup] cloudwatch [[Backup]]
        "What the newest dump holds; of snapshots RDS does not tell.";
    BACKUP_COPY_LAG = Gauge "groundcrew.backup.copy.lag" Seconds [Backup, Region]
        cloudwatch [[Backup, Region]]
        "How long the copy of the newest backup took, or takes until now.";
    BACKUP_RUNS = Counter "groundcrew.backup.runs" Count [Backup, Reason]
        cloudwatch [[Backup, Reason]]
        "Slots whose end this host wrote down: done, skipped, failed, abandoned.";
    BACKUP_CALLS = Gauge "groundcrew.backup.calls.open" Count [Backup] cloudwatch []
        "Calls for a job that are not answered yet.";

    // Ways out of the host.
    PIPELINE_SENT = Counter "groundcrew.pipeline.sent" Count [Pipeline] cloudwatch [[Pipeline]]
        "Events that were accepted.";
    PIPELINE_DROPPED = Counter "groundcrew.pipeline.dropped" Count [Pipeline]
        cloudwatch [[Pipeline]]
        "Events that were given up.";
    PIPELINE_REJECTED = Counter "groundcrew.pipeline.rejected" Count [Pipeline]
        cloudwatch [[Pipeline]]
        "Events that were refused.";
    PIPELINE_BACKLOG = Gauge "groundcrew.pipeline.backlog" Bytes [Pipeline] cloudwatch [[Pipeline]]
        "What waits to be accepted.";
    PIPELINE_OLDEST = Gauge "groundcrew.pipeline.oldest" Seconds [Pipeline] cloudwatch [[Pipeline]]
        "How long the oldest of it waits.";

    EMF_CUT = Counter "groundcrew.logs.emf.cut" Count [] cloudwatch []
        "Pieces of EMF lines that were too long for one event: no metrics are made of them.";

    // What applications send as StatsD, and how the counting of it goes.
    STATSD_PACKETS = Counter "groundcrew.statsd.packets" Count [] cloudwatch []
        "Packets that applications sent.";
    STATSD_LINES = Counter "groundcrew.statsd.lines" Count [] cloudwatch []
        "Lines of them that were counted.";
    STATSD_BAD = Counter "groundcrew.statsd.bad" Count [Reason] cloudwatch [[]]
        "Lines that were not counted, because something is wrong with them.";
    STATSD_DROPPED = Counter "groundcrew.statsd.dropped" Count [Reason] cloudwatch [[]]
        "Lines and packets that there was no room for.";
    STATSD_IGNORED = Counter "groundcrew.statsd.ignored" Count [Kind] cloudwatch []
        "Events and service checks of DogStatsD.";
    STATSD_SERIES = Gauge "groundcrew.statsd.series" Count [] cloudwatch []
        "Series that applications send.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_dimensions_are_labels() {
        let names: BTreeSet<_> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len());
        for metric in ALL {
            let usual = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._".contains(c);
            assert!(metric.name.chars().all(usual), "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}", metric.name);
            for set in metric.cloudwatch {
                assert!(set.iter().all(|label| metric.labels.contains(label)), "{}", metric.name);
            }
        }
    }
}
