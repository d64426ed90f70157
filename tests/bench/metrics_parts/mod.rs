//! The parts of the benchmark of the metrics, and what they share.

pub mod cost;
mod receivers;
mod sender;
pub mod statsd;
pub mod steady;
