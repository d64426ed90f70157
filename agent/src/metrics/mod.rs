//! What is measured of this host, for those who scrape it. Only counts and writes: nothing is
//! decided from a metric.

pub mod boards;
pub mod cloudwatch;
pub mod cost;
mod exposition;
pub mod history;
mod host;
mod node;
mod points;
mod rollouts;
pub mod statsd;
mod totals;

pub use exposition::{Format, exposition};
pub use history::History;
pub use host::HostReader;
pub use node::{NodeNumbers, of_collections, of_node};
pub use points::{of_emf, of_requests, of_status};
pub use rollouts::Rollouts;
pub use statsd::Statsd;
pub use totals::{Answered, Totals};
