//! groundcrew: one agent for a Node product on EC2.
//!
//! Imports point one way: cli -> runtime -> features -> aws -> leaves. Features (supervisor,
//! handoff, releases, logs) never import each other; runtime introduces them. Everything may import
//! `groundcrew_core`, which decides; this package does. See ARCHITECTURE.md.

pub mod cli;
pub mod clock;
pub mod config;
pub mod errors;
pub mod fsx;
