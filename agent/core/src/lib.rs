//! Everything groundcrew decides, without doing any of it.
//!
//! [`controller::Controller::step`] takes the time and one [`event::Event`] and answers with
//! [`effect::Effect`]s; the shell (package `groundcrew`) carries them out. This crate does no IO,
//! reads no clock and cannot fail, which is what lets the simulator in `tests/sim` live thousands
//! of agent lifetimes a second.

pub mod limits;
pub mod spec;
pub mod status;
pub mod time;
pub mod types;
