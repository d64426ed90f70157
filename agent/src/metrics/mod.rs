//! What is measured of this host, for those who scrape it. Only counts and writes: nothing is
//! decided from a metric.

mod exposition;
mod points;
pub mod statsd;
mod totals;

pub use exposition::{Format, exposition};
pub use points::{of_emf, of_requests, of_status};
pub use statsd::Statsd;
pub use totals::{Answered, Totals};
