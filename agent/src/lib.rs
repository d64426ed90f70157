//! groundcrew: one agent for a Node product on EC2.
//!
//! Imports point one way: cli -> demo -> runtime -> features -> aws -> leaves. Features
//! (supervisor, handoff, releases, logs, metrics, traces, lifecycle, backups) never import each
//! other; runtime introduces them. Everything may import `groundcrew_core`, which decides; this
//! package does. See ARCHITECTURE.md.

use std::process::ExitCode;

pub mod aws;
pub mod backups;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod credential;
pub mod demo;
pub mod errors;
pub mod fsx;
pub mod handoff;
pub mod https;
pub mod lifecycle;
pub mod logs;
pub mod memory;
pub mod metrics;
pub mod notify;
pub mod pattern;
pub mod procfs;
pub mod random;
pub mod releases;
pub mod runtime;
pub mod source_url;
pub mod supervisor;
pub mod systemd;
pub mod telemetry;
pub mod traces;
pub mod wording;

/// The binary. Starting a tier's process comes before everything else: it is the same binary under
/// a hidden subcommand, and each millisecond spent here is one longer without that process.
pub fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == supervisor::shim::SUBCOMMAND) {
        return supervisor::shim::exec(arguments);
    }
    memory::give_back_what_is_freed();
    cli::main()
}
