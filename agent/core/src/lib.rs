//! Everything groundcrew decides, without doing any of it.
//!
//! [`controller::Controller::step`] takes the time and one [`event::Event`] and answers with
//! [`effect::Effect`]s; the shell (package `groundcrew`) carries them out. This crate does no IO,
//! reads no clock and cannot fail, which is what lets the simulator in `tests/sim` live thousands
//! of agent lifetimes a second.

pub mod backups;
pub mod controller;
pub mod doctor;
pub mod effect;
pub mod event;
pub mod ledger;
pub mod lifecycle;
pub mod limits;
pub mod logs;
pub mod measured;
pub mod metrics;
pub mod notify;
pub mod process;
pub mod restart;
pub mod retention;
pub mod rollout;
pub mod spec;
pub mod status;
pub mod tier;
pub mod time;
pub mod traces;
pub mod types;
