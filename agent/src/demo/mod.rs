//! `groundcrew demo`: shows on this machine what groundcrew does, with the real agent as a child
//! process, a directory as source, and an example app under load.
//!
//! It plays the person: it publishes, promotes, looks at the status, kills the agent. It must never
//! touch what is not its own: everything happens in a temporary directory and on free ports, and
//! nothing is left, however it ends.

mod load;
mod narrator;
mod node;
mod report;
mod stage;
mod story;

use std::io::{self, Write};
use std::process::ExitStatus;
use std::time::Duration;

use camino::Utf8PathBuf;
use tokio::signal::unix::{SignalKind, signal};

use crate::control::client::ClientError;
use crate::fsx::FileError;
use crate::releases::promote::MoveError;
use crate::releases::publish::PublishError;
use narrator::Narrator;
use stage::Stage;

/// Why the demo ended early.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// There is no Node to run the app with.
    #[error(
        "the demo's app needs Node {} or newer and {found}; {HOW_TO_GET_NODE}",
        node::MAJOR_MIN
    )]
    Node {
        /// What there is instead.
        found: String,
    },
    /// The terminal, or whatever reads the demo.
    #[error("could not print")]
    Print(#[source] io::Error),
    /// A file in the temporary directory.
    #[error(transparent)]
    File(#[from] FileError),
    /// The temporary directory.
    #[error("could not {operation} a temporary directory")]
    Directory {
        /// `make` or `remove`.
        operation: &'static str,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// A port.
    #[error("could not find a free port on 127.0.0.1")]
    Port(#[source] io::Error),
    /// The agent's process.
    #[error("could not {operation} the agent")]
    Agent {
        /// `start`, `signal` or `wait for`.
        operation: &'static str,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// The agent went by itself.
    #[error("the agent ended by itself ({status}); it said last:\n{log}")]
    AgentEnded {
        /// How.
        status: ExitStatus,
        /// Its last lines.
        log: String,
    },
    /// Something did not happen.
    #[error("{what}: not within {within:?}; the agent said last:\n{log}")]
    Late {
        /// What was waited for.
        what: String,
        /// How long.
        within: Duration,
        /// The agent's last lines.
        log: String,
    },
    /// Something else happened.
    #[error("{0}")]
    Unexpected(String),
    /// The agent could not be asked.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A release could not be published.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// A channel could not be moved.
    #[error(transparent)]
    Move(#[from] MoveError),
    /// A signal handler.
    #[error("could not wait for signals")]
    Signal(#[source] io::Error),
    /// Processes that will not go.
    #[error("processes of the demo are left: {0:?}")]
    Left(Vec<groundcrew_core::types::Pid>),
    /// Ctrl-C, or another wish to end.
    #[error("interrupted by {0}; everything was stopped and removed")]
    Interrupted(&'static str),
}

const HOW_TO_GET_NODE: &str =
    "install it with your system's packages (apt-get install nodejs) or from https://nodejs.org";

/// Runs the demo and tells it to `out`. Whether everything was as it should be, no request failed
/// above all.
pub async fn run(out: Box<dyn Write + Send>) -> Result<bool, DemoError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(DemoError::Signal)?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(DemoError::Signal)?;
    let node = node::find()?;
    let mut stage = Stage::open(Narrator::new(out), node.path.clone())?;
    let told = tokio::select! {
        told = story::tell(&mut stage, &node) => told,
        waited = tokio::signal::ctrl_c() => match waited {
            Ok(()) => Err(DemoError::Interrupted("Ctrl-C")),
            Err(error) => Err(DemoError::Signal(error)),
        },
        _ = terminate.recv() => Err(DemoError::Interrupted("SIGTERM")),
        _ = hang_up.recv() => Err(DemoError::Interrupted("SIGHUP")),
    };
    // Before the outcome is looked at: whatever it is, nothing stays.
    let closed = stage.close().await;
    let all_well = told?;
    closed?;
    Ok(all_well)
}

/// The temporary directory as UTF-8; `None` for one that is not.
fn utf8(path: &std::path::Path) -> Option<Utf8PathBuf> {
    Utf8PathBuf::from_path_buf(path.to_owned()).ok()
}
