//! Everything end to end, in one test binary so that the SDKs link once.
//!
//! `harness` is what the tests stand on, each part with its own tests; the other modules are the
//! tests. A test owns its world (directories, ports, processes) and leaves nothing behind, also
//! when it fails or is killed.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test starts processes and waits for them, and panics when its world is not there"
)]

mod backups;
mod bad_releases;
mod channel;
mod cloudwatch;
mod cutover;
mod demo;
mod harness;
mod lifecycle;
mod logs;
mod logs_cli;
mod metrics;
mod notify;
mod page;
mod sources;
mod statsd;
mod supervision;
mod supervisor;
mod survival;
mod tidy;
mod traces;
