//! Limits of what people are told elsewhere.

use std::time::Duration;

/// Targets of one host.
pub const TARGETS_MAX: usize = 16;
/// Messages that wait for one target. The oldest goes when another comes.
pub const PENDING_MAX: usize = 64;
/// Subjects of which one target remembers that it was told; the one told longest ago is forgotten.
pub const RECENT_MAX: usize = 256;
/// Alarms of one target that are to be ended.
pub const OPEN_MAX: usize = 64;
/// Bytes of one message's text; what is longer is cut.
pub const TEXT_BYTES_MAX: usize = 2048;

/// Pause after the first failure of a target; doubles up to [`RETRY_MAX`].
pub const RETRY_MIN: Duration = Duration::from_secs(1);
/// The longest pause that is not asked for by the other side.
pub const RETRY_MAX: Duration = Duration::from_mins(5);
/// The longest pause that the other side may ask for.
pub const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);
/// What waits for longer is given up: nobody wants the alarms of yesterday.
pub const AGE_MAX: Duration = Duration::from_hours(6);

/// The same is not told twice within this time, unless the configuration says otherwise.
pub const DEDUPE: Duration = Duration::from_mins(10);
