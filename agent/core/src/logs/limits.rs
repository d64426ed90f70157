//! What CloudWatch Logs takes (API_PutLogEvents, API_InputLogEvent), and what a source may cost.

use std::time::Duration;

/// Bytes of one request: those of its messages as UTF-8 and [`EVENT_OVERHEAD_BYTES`] for each.
pub const BATCH_BYTES_MAX: usize = 1_048_576;
/// What each event counts beside its message.
pub const EVENT_OVERHEAD_BYTES: usize = 26;
/// Events of one request.
pub const BATCH_EVENTS_MAX: usize = 10_000;
/// Bytes of one message.
pub const EVENT_BYTES_MAX: usize = BATCH_BYTES_MAX - EVENT_OVERHEAD_BYTES;
/// The time between the first and the last event of a request.
pub const BATCH_SPAN_MAX: Duration = Duration::from_hours(24);
/// Older events are rejected.
pub const EVENT_AGE_MAX: Duration = Duration::from_hours(14 * 24);
/// Events further ahead are rejected.
pub const EVENT_AHEAD_MAX: Duration = Duration::from_hours(2);
/// Bytes of a group's and of a stream's name.
pub const NAME_BYTES_MAX: usize = 512;
/// The days a group may keep its events (API_PutRetentionPolicy).
pub const RETENTION_DAYS: [u16; 22] = [
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
];
/// The days a group keeps its events, unless the host's file says otherwise.
pub const RETENTION_DAYS_USUAL: u16 = 30;
/// Bytes of logs on disk, unless the host's file says otherwise.
pub const DISK_BYTES_USUAL: u64 = 2 << 30;

/// Bytes of an event of several lines; more begin a new event.
pub const GROUPED_BYTES_MAX: usize = 256 * 1024;
/// Lines of an event of several lines.
pub const GROUPED_LINES_MAX: usize = 1_000;

const _: () = assert!(GROUPED_BYTES_MAX < EVENT_BYTES_MAX);
