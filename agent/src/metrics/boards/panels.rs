//! The panels, in the order in which a person looks at them.

use groundcrew_core::metrics::{Label, Metric, catalog};

use super::{Panel, Row, Series, Stat};

/// A series without a condition.
const fn of(metric: &'static Metric, by: &'static [Label], stat: Stat) -> Series {
    Series { metric, by, only: None, stat }
}

/// A series of one value of a label.
const fn only(
    metric: &'static Metric,
    by: &'static [Label],
    (label, value): (Label, &'static str),
    stat: Stat,
) -> Series {
    Series { metric, by, only: Some((label, value)), stat }
}

const TIER: &[Label] = &[Label::Tier];

/// Every row.
pub(super) static ROWS: &[Row] = &[
    Row { title: "Requests", panels: REQUESTS },
    Row { title: "Processes", panels: PROCESSES },
    Row { title: "Hosts", panels: HOSTS },
    Row { title: "Deployments", panels: DEPLOYMENTS },
    Row { title: "Ways out of the hosts", panels: PIPELINES },
    Row { title: "Backups", panels: BACKUPS },
    Row { title: "The agent", panels: AGENT },
];

static REQUESTS: &[Panel] = &[
    Panel {
        title: "Requests by status",
        series: &[of(&catalog::REQUESTS, &[Label::Tier, Label::StatusClass], Stat::Sum)],
    },
    Panel {
        title: "Server errors",
        series: &[only(&catalog::REQUESTS, TIER, (Label::StatusClass, "5xx"), Stat::Sum)],
    },
    Panel {
        title: "Latency",
        series: &[
            of(&catalog::REQUEST_DURATION, TIER, Stat::P50),
            of(&catalog::REQUEST_DURATION, TIER, Stat::P90),
            of(&catalog::REQUEST_DURATION, TIER, Stat::P99),
        ],
    },
    Panel {
        title: "Latency by release",
        series: &[of(&catalog::REQUEST_DURATION, &[Label::Tier, Label::Release], Stat::P99)],
    },
    Panel {
        title: "In flight, per host",
        series: &[
            of(&catalog::ACTIVE_REQUESTS, TIER, Stat::Average),
            of(&catalog::ACTIVE_REQUESTS, TIER, Stat::Maximum),
        ],
    },
    Panel {
        title: "Open connections, per host",
        series: &[
            of(&catalog::OPEN_CONNECTIONS, TIER, Stat::Average),
            of(&catalog::OPEN_CONNECTIONS, TIER, Stat::Maximum),
        ],
    },
];

static PROCESSES: &[Panel] = &[
    Panel {
        title: "Event-loop delay (p99 of a process)",
        series: &[
            of(&catalog::EVENTLOOP_DELAY_P99, TIER, Stat::P50),
            of(&catalog::EVENTLOOP_DELAY_P99, TIER, Stat::Maximum),
        ],
    },
    Panel {
        title: "Event-loop utilization",
        series: &[
            of(&catalog::EVENTLOOP_UTILIZATION, TIER, Stat::Average),
            of(&catalog::EVENTLOOP_UTILIZATION, TIER, Stat::Maximum),
        ],
    },
    Panel {
        title: "Garbage collection",
        series: &[of(&catalog::GC_DURATION, &[Label::Tier, Label::GcType], Stat::P99)],
    },
    Panel {
        title: "CPU, of one core",
        series: &[
            of(&catalog::PROCESS_CPU, TIER, Stat::Average),
            of(&catalog::PROCESS_CPU, TIER, Stat::Maximum),
        ],
    },
    Panel {
        title: "Memory",
        series: &[
            of(&catalog::PROCESS_MEMORY, TIER, Stat::Average),
            of(&catalog::PROCESS_MEMORY, TIER, Stat::Maximum),
        ],
    },
    Panel {
        title: "Heap in use",
        series: &[
            of(&catalog::HEAP_USED, TIER, Stat::Average),
            of(&catalog::HEAP_USED, TIER, Stat::Maximum),
        ],
    },
    Panel {
        title: "Ends of processes",
        series: &[of(&catalog::PROCESS_EXITS, &[Label::Tier, Label::Reason], Stat::Sum)],
    },
    Panel {
        title: "Processes ready, least of a host",
        series: &[of(&catalog::PROCESSES_READY, TIER, Stat::Minimum)],
    },
    Panel {
        title: "Open files",
        series: &[of(&catalog::PROCESS_DESCRIPTORS, TIER, Stat::Maximum)],
    },
];

static HOSTS: &[Panel] = &[
    Panel { title: "Hosts ready", series: &[of(&catalog::READY, &[], Stat::Average)] },
    Panel {
        title: "CPU",
        series: &[
            of(&catalog::HOST_CPU, &[], Stat::Average),
            of(&catalog::HOST_CPU, &[], Stat::Maximum),
        ],
    },
    Panel {
        title: "Memory",
        series: &[
            of(&catalog::HOST_MEMORY_SHARE, &[], Stat::Average),
            of(&catalog::HOST_MEMORY_SHARE, &[], Stat::Maximum),
        ],
    },
    Panel { title: "Swap", series: &[of(&catalog::SWAP_SHARE, &[], Stat::Maximum)] },
    Panel {
        title: "Fullest filesystem",
        series: &[
            of(&catalog::FILESYSTEM_FULLEST, &[], Stat::Average),
            of(&catalog::FILESYSTEM_FULLEST, &[], Stat::Maximum),
        ],
    },
    Panel {
        title: "Time spent waiting",
        series: &[of(&catalog::PRESSURE_SOME, &[Label::Kind], Stat::Maximum)],
    },
    Panel {
        title: "Disk of releases and logs",
        series: &[of(&catalog::DISK_USAGE, &[Label::Kind], Stat::Maximum)],
    },
    Panel {
        title: "Network",
        series: &[of(&catalog::NETWORK_IO, &[Label::Device, Label::Direction], Stat::Sum)],
    },
    Panel {
        title: "Clock's offset",
        series: &[
            of(&catalog::CLOCK_OFFSET, &[], Stat::Minimum),
            of(&catalog::CLOCK_OFFSET, &[], Stat::Maximum),
        ],
    },
];

static DEPLOYMENTS: &[Panel] = &[
    Panel {
        title: "Deployments by outcome",
        series: &[of(&catalog::DEPLOYMENTS, &[Label::Reason], Stat::Sum)],
    },
    Panel {
        title: "From promote to settled",
        series: &[of(&catalog::LEAD_TIME, &[], Stat::P50), of(&catalog::LEAD_TIME, &[], Stat::P99)],
    },
    Panel {
        title: "Time to restore",
        series: &[
            of(&catalog::TIME_TO_RESTORE, &[], Stat::P50),
            of(&catalog::TIME_TO_RESTORE, &[], Stat::P99),
        ],
    },
    Panel { title: "Stages", series: &[of(&catalog::ROLLOUT_STAGE, &[Label::Stage], Stat::P90)] },
    Panel { title: "Drains", series: &[of(&catalog::DRAINS, &[Label::Reason], Stat::Sum)] },
    Panel {
        title: "How long drains take",
        series: &[
            of(&catalog::DRAIN_DURATION, &[], Stat::P50),
            of(&catalog::DRAIN_DURATION, &[], Stat::P99),
        ],
    },
];

static PIPELINES: &[Panel] = &[
    Panel {
        title: "Oldest that waits",
        series: &[of(&catalog::PIPELINE_OLDEST, &[Label::Pipeline], Stat::Maximum)],
    },
    Panel {
        title: "Backlog",
        series: &[of(&catalog::PIPELINE_BACKLOG, &[Label::Pipeline], Stat::Maximum)],
    },
    Panel {
        title: "Dropped and refused",
        series: &[
            of(&catalog::PIPELINE_DROPPED, &[Label::Pipeline], Stat::Sum),
            of(&catalog::PIPELINE_REJECTED, &[Label::Pipeline], Stat::Sum),
        ],
    },
    Panel {
        title: "Accepted",
        series: &[of(&catalog::PIPELINE_SENT, &[Label::Pipeline], Stat::Sum)],
    },
    Panel {
        title: "Messages to people",
        series: &[of(&catalog::NOTIFICATIONS, &[Label::Pipeline, Label::Reason], Stat::Sum)],
    },
];

static BACKUPS: &[Panel] = &[
    Panel {
        title: "Age of the newest, as a share of what is allowed",
        series: &[of(&catalog::BACKUP_STALENESS, &[Label::Backup], Stat::Minimum)],
    },
    Panel {
        title: "Failing",
        series: &[of(&catalog::BACKUP_FAILING, &[Label::Backup], Stat::Minimum)],
    },
    Panel {
        title: "Since the last proof",
        series: &[of(&catalog::BACKUP_VERIFIED_AGE, &[Label::Backup, Label::Level], Stat::Minimum)],
    },
    Panel {
        title: "Slots that ended",
        series: &[of(&catalog::BACKUP_RUNS, &[Label::Backup, Label::Reason], Stat::Sum)],
    },
    Panel {
        title: "How long copies take",
        series: &[of(&catalog::BACKUP_COPY_LAG, &[Label::Backup, Label::Region], Stat::Maximum)],
    },
    Panel {
        title: "Size of the newest dump",
        series: &[of(&catalog::BACKUP_SIZE, &[Label::Backup], Stat::Maximum)],
    },
];

static AGENT: &[Panel] = &[
    Panel {
        title: "CPU, of one core",
        series: &[
            of(&catalog::AGENT_CPU, &[], Stat::Average),
            of(&catalog::AGENT_CPU, &[], Stat::Maximum),
        ],
    },
    Panel {
        title: "Memory",
        series: &[
            of(&catalog::AGENT_MEMORY, &[], Stat::Average),
            of(&catalog::AGENT_MEMORY, &[], Stat::Maximum),
        ],
    },
    Panel {
        title: "Lines of applications that were not counted",
        series: &[
            of(&catalog::STATSD_BAD, &[Label::Reason], Stat::Sum),
            of(&catalog::STATSD_DROPPED, &[Label::Reason], Stat::Sum),
        ],
    },
];
