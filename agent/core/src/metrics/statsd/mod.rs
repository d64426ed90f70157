//! StatsD: what applications say about themselves, line by line, and the series it adds up to.
//! Speaks the dialects that clients speak: StatsD, DogStatsD, and tags as Graphite and InfluxDB
//! write them.
//!
//! Lines are anyone's bytes. Nothing here may grow without a bound, panic, or allocate for a line
//! of a series that is known.

mod distinct;
mod key;
mod line;
mod registry;
#[cfg(test)]
mod tests;

pub use line::{Bad, Line, Parsed, Type, parse};
pub use registry::{Counts, Dropped, Notice, Registry};

use std::time::Duration;

/// Series at once, unless the host's file says otherwise. Each costs up to [`KEY_BYTES_MAX`] and
/// its value.
pub const SERIES_USUAL: u32 = 2000;
/// Buckets of all histograms together, of about 20 bytes each, twice while somebody reads them. A
/// usual one has 100 to 300 of the 2,401 that it may have.
pub const BUCKETS_MAX: usize = 500_000;
/// More would be a price that nobody meant to pay.
pub const SERIES_MAX: u32 = 20_000;
/// Bytes of a metric's name: CloudWatch takes 255, and whoever writes it adds units to it.
pub const NAME_BYTES_MAX: usize = 200;
/// Tags of one line: CloudWatch takes 30 dimensions, and some are the agent's.
pub const TAGS_MAX: usize = 20;
/// Bytes of a tag's key and of its value, each.
pub const TAG_BYTES_MAX: usize = 200;
/// Bytes of a name and its tags together.
pub const KEY_BYTES_MAX: usize = 1024;
/// The largest value: 2 to the power of 64, as the specification of b/statsd_spec has it.
pub const VALUE_MAX: f64 = 18_446_744_073_709_551_616.0;
/// The smallest sample rate: one of a million.
pub const RATE_MIN: f64 = 1e-6;
/// Over which time the values of a set are told apart.
pub const SET_INTERVAL: Duration = Duration::from_mins(1);
/// A series that was not heard of for so long is forgotten.
pub const IDLE_MAX: Duration = Duration::from_hours(1);
/// A bad line is shown no more often.
pub const NOTICE_EVERY: Duration = Duration::from_mins(1);
