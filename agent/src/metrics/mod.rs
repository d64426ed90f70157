//! What is measured of this host, for those who scrape it. Only counts and writes: nothing is
//! decided from a metric.

mod exposition;
mod points;
mod rollouts;
mod totals;

pub use exposition::{Format, exposition};
pub use points::{of_requests, of_status};
pub use rollouts::Rollouts;
pub use totals::{Answered, Totals};
