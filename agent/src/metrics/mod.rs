//! What is measured of this host, for those who scrape it. Only counts and writes: nothing is
//! decided from a metric.

mod exposition;
mod totals;

pub use exposition::{Format, exposition};
pub use totals::{Answered, LATENCY_BOUNDS_S, Totals};
