//! The parts of the benchmark of the logs, and the rig that they share.

pub mod bulk;
pub mod faults;
pub mod floor;
pub mod printing;
mod rig;
pub mod steady;
