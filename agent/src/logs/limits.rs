//! The bounds of the log files and of what reads them.

use std::time::Duration;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// How much of the logs stays on disk. Sizes are bytes on disk, not file lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// Bytes of one file.
    pub file_bytes_max: u64,
    /// Bytes of all files.
    pub total_bytes_max: u64,
    /// Older lines go.
    pub age_max: Duration,
    /// The end of each file that goes only when everything together is too much.
    pub tail_bytes_kept: u64,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self {
            file_bytes_max: FILE_BYTES_MAX,
            total_bytes_max: TOTAL_BYTES_MAX,
            age_max: AGE_MAX,
            tail_bytes_kept: TAIL_BYTES_KEPT,
        }
    }
}

const FILE_BYTES_MAX: u64 = 64 * MIB;
const TOTAL_BYTES_MAX: u64 = 2048 * MIB;
const AGE_MAX: Duration = Duration::from_hours(7 * 24);
const TAIL_BYTES_KEPT: u64 = MIB;

/// A limit that is hit is undercut by this share, so that a slow writer at its limit costs one
/// punch in a while and not one a second.
pub(super) const SLACK_DIVISOR: u64 = 8;
/// A file without hole punching is put aside at the restart of its process from this share on.
pub(super) const ROTATE_DIVISOR: u64 = 4;

/// Marks of one index. At one mark a second the newest quarter of an hour is known to the second.
pub(super) const MARKS_MAX: usize = 1024;
/// The shortest time between two marks of one file, and between two looks at one that grows.
pub(super) const MARK_EVERY: Duration = Duration::from_secs(1);
/// The longest time between two looks at everything, which find what events did not tell.
pub(super) const SWEEP_EVERY: Duration = Duration::from_hours(1);
/// The shortest time until a look that only age asks for.
pub(super) const SWEEP_EVERY_MIN: Duration = Duration::from_mins(1);
/// A file of a process that is gone is left alone for this long after its last write: the process
/// may be so new that the keeper does not know it yet.
pub(super) const GONE_GRACE: Duration = Duration::from_mins(1);

/// Bytes of a line; a longer one comes in pieces.
pub const LINE_BYTES_MAX: usize = 64 * 1024;
/// Lines a query without `since` and `tail_lines` answers with.
pub const TAIL_LINES_DEFAULT: usize = 100;
/// Readers at once. Each that follows holds one inotify object of the 128 a user has by default.
pub const READERS_MAX: usize = 32;

/// Bytes read from a file at once.
pub(super) const CHUNK_BYTES_MAX: usize = 64 * 1024;
pub(super) const CHUNK_BYTES_MIN: usize = 4 * 1024;
/// Bytes of all chunks of one reader together, unless it reads more than a thousand files.
pub(super) const CHUNKS_BYTES: usize = 4 * 1024 * 1024;
/// Lines that wait for a slow consumer.
pub(super) const QUEUE_LINES: usize = 64;
/// Lines and bytes a reader takes from the files at once.
pub(super) const BATCH_LINES: usize = 256;
pub(super) const BATCH_BYTES: usize = 256 * 1024;
/// Rotations that wait for the keeper.
pub(super) const REQUESTS_QUEUE: usize = 64;

const _: () = assert!(TAIL_BYTES_KEPT < FILE_BYTES_MAX / 2);
const _: () = assert!(FILE_BYTES_MAX < TOTAL_BYTES_MAX);
const _: () = assert!(CHUNK_BYTES_MIN < CHUNK_BYTES_MAX && CHUNK_BYTES_MAX <= LINE_BYTES_MAX);
const _: () = assert!(MARKS_MAX.is_multiple_of(4));
