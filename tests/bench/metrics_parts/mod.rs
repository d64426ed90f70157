//! The parts of the benchmark of the metrics, and the rig that they share.

pub mod cost;
mod receivers;
mod rig;
mod sender;
pub mod statsd;
pub mod steady;
