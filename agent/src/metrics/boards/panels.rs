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
    Row {
        title: "Requests",
        panels: &[
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
                series: &[of(
                    &catalog::REQUEST_DURATION,
                    &[Label::Tier, Label::Release],
                    Stat::P99,
                )],
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
        ],
    },
    Row {
        title: "Processes",
        panels: &[
            Panel {
                title: "Event-loop delay (p99 of a process)",
                series: &[
                    of(&catalog::EVENTLOOP_DELAY_P99, TIER, Stat::P50),
                    of(&catalog::EVENTLOOP_DELAY_P99, TIER, Stat::Maximum),
                ],
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
                title: "Restarts of the generation",
                series: &[of(&catalog::TIER_RESTARTS, TIER, Stat::Maximum)],
            },
        ],
    },
    Row {
        title: "Logs and metrics on their way",
        panels: &[
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
                title: "Disk used by releases and logs",
                series: &[of(&catalog::DISK_USAGE, &[Label::Kind], Stat::Maximum)],
            },
        ],
    },
];
