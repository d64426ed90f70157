//! How a process ended.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a process ended. Displays as a clause: `exited with code 1`, `killed by SIGKILL`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// It called exit, or returned from main.
    Code(i32),
    /// A signal ended it: the signal's name, such as `SIGSEGV`.
    Signal(String),
    /// The kernel ended it because its memory limit (bytes) was reached.
    MemoryLimit(Option<u64>),
    /// It ended while the agent was away, and only a parent is told how.
    Unknown,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(name) => write!(f, "killed by {name}"),
            Self::MemoryLimit(Some(bytes)) => {
                write!(f, "killed by SIGKILL (memory limit {} MiB)", bytes / (1024 * 1024))
            }
            Self::MemoryLimit(None) => write!(f, "killed by SIGKILL (memory limit)"),
            Self::Unknown => write!(f, "ended while the agent was away"),
        }
    }
}
