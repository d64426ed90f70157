//! The handoff of connections from one generation to the next: the agent holds the listening
//! sockets, never the traffic, and tells processes over a channel when to accept and when to bleed.
//!
//! When they are told is decided by `groundcrew_core`.

pub mod balance;
pub mod channel;
pub mod listener;
mod notes;
pub mod preload;
pub mod protocol;
mod report;
pub mod stats;
