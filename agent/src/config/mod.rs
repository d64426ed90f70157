//! Configuration: TOML text in, checked types out, or every problem of the file at once.
//!
//! Two files: the host's ([`host`]) and the release's own `release.toml` ([`release`]). Both are
//! hostile: nothing here panics, and no value of an environment variable ever reaches a message.

mod backup;
pub mod fields;
pub mod host;
pub mod host_check;
pub mod http;
pub mod lifecycle;
mod logs;
mod metrics;
mod notify;
pub mod problem;
mod reader;
pub mod release;
pub mod statsd;
#[cfg(test)]
mod tests;
mod traces;
pub mod units;

pub use crate::source_url::{SourceUrl, SourceUrlError};
pub use host::{HostConfig, ReleasesConfig};
pub use http::{HttpConfig, PageAccess};
pub use lifecycle::LifecycleConfig;
pub use problem::{Position, Problem, Problems, Severity};
pub use release::ParsedRelease;
pub use statsd::StatsdConfig;
pub use traces::TracesConfig;

/// Bytes of a configuration file: far more than a person writes.
pub const CONFIG_BYTES_MAX: usize = 1024 * 1024;
