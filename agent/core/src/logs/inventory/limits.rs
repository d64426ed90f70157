//! The bounds of what is known of named files.

use std::time::Duration;

/// Files that are open at once. More wait until others are idle, which is counted and shown.
pub const OPEN_MAX: usize = 1_000;
/// Files that are remembered: more are left alone, because whatever is forgotten would be shipped
/// again.
pub const KNOWN_MAX: usize = 10_000;
/// A file that is there when its rule is new is read from its start up to this size, because what
/// was logged at boot before the agent began is wanted; a larger one only from its end.
pub const FIRST_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// A rotated file is final when nothing was written to it for so long: its writer has the new one.
pub const ROTATED_QUIET: Duration = Duration::from_secs(30);
/// When files wait, one that was read to its end gives up its place after so long.
pub const IDLE: Duration = Duration::from_mins(5);
/// A file that is not to be found is remembered for so long after it was last missed.
pub const MISSING_MAX: Duration = Duration::from_hours(1);
/// Bytes of the head that a file is known by.
pub const HEAD_BYTES: u64 = 1024;
/// Bytes before the offset that a content is known by.
pub const TAIL_BYTES: u64 = 1024;

const _: () = assert!(OPEN_MAX < KNOWN_MAX);
