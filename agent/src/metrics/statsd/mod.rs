//! Receives what applications say about themselves as StatsD, over UDP and a unix socket, and keeps
//! what it adds up to for whoever asks for points.
//!
//! One thread receives, so that neither a flood nor a slow scrape is in anybody's way. What comes
//! is anyone's bytes: what is made of it, and its bounds, are the core's. It must never answer, and
//! never hold up who sends; and whoever takes its port first must not stop the agent: it is tried
//! again.

mod drops;
mod receive;
mod sockets;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use camino::Utf8PathBuf;
use groundcrew_core::metrics::Point;
use groundcrew_core::metrics::statsd::{Notice, Registry};
use rustix::event::{EventfdFlags, eventfd};

use crate::clock;
use crate::errors::chain;
use crate::fsx::FileError;
use drops::Drops;
use receive::{receive, wait};
use sockets::Sockets;

/// Pause before a port that is taken is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// Where to receive, and how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Over UDP.
    pub listen: Option<SocketAddr>,
    /// Over a unix datagram socket.
    pub socket: Option<Utf8PathBuf>,
    /// Series at once.
    pub series_max: usize,
}

/// Why nothing can be received.
#[derive(Debug, thiserror::Error)]
pub enum StatsdError {
    /// An address that cannot be had.
    #[error("could not listen for StatsD on {address}")]
    Listen {
        /// The UDP address or the socket's path.
        address: String,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// Something stands where the socket belongs.
    #[error("{path} is in the way of the socket for StatsD, and is no socket; remove it")]
    InTheWay {
        /// Where.
        path: Utf8PathBuf,
    },
    /// The socket's file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The thread, or what wakes it.
    #[error("could not start the thread that receives StatsD")]
    Thread(#[source] io::Error),
}

/// What the thread and who asks have in common.
#[derive(Debug)]
struct Shared {
    registry: Mutex<Registry>,
    opened: Mutex<Opened>,
}

/// How the sockets are.
#[derive(Debug, Default)]
struct Opened {
    address: Option<SocketAddr>,
    drops: Option<Drops>,
    /// Why nothing is received.
    reason: Option<String>,
}

impl Shared {
    fn note(&self, sockets: &Result<Sockets, StatsdError>) {
        let opened = match sockets {
            Ok(sockets) => {
                Opened { address: sockets.address(), drops: sockets.drops(), reason: None }
            }
            Err(error) => Opened { reason: Some(chain(error)), ..Opened::default() },
        };
        let mut known = lock(&self.opened);
        match &opened.reason {
            None if known.reason.is_some() => tracing::info!("StatsD is received now"),
            Some(reason) if known.reason.as_ref() != Some(reason) => {
                tracing::error!("StatsD is not received: {reason}; tried again");
            }
            _ => {}
        }
        *known = opened;
    }
}

/// Receives until it is shut down or dropped.
#[derive(Debug)]
pub struct Statsd {
    shared: Arc<Shared>,
    /// Written to when the thread is to end.
    wake: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Statsd {
    /// Opens the sockets and begins to receive; sockets that cannot be had are tried again.
    pub fn start(settings: Settings) -> Result<Self, StatsdError> {
        Self::start_trying(settings, AGAIN_AFTER)
    }

    fn start_trying(settings: Settings, again_after: Duration) -> Result<Self, StatsdError> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let wake = Arc::new(wake.map_err(|error| StatsdError::Thread(error.into()))?);
        let shared = Arc::new(Shared {
            registry: Mutex::new(Registry::new(settings.series_max)),
            opened: Mutex::default(),
        });
        // Open before anybody is started who would send.
        let sockets = Sockets::open(settings.listen, settings.socket.as_deref());
        shared.note(&sockets);
        let (with, woken) = (Arc::clone(&shared), Arc::clone(&wake));
        let thread = thread::Builder::new()
            .name("statsd".to_owned())
            .spawn(move || run(&settings, again_after, sockets, &with, &woken))
            .map_err(StatsdError::Thread)?;
        Ok(Self { shared, wake, thread: Some(thread) })
    }

    /// Where it receives over UDP: the port is known also when any was asked for.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        lock(&self.shared.opened).address
    }

    /// Why nothing is received; `None`: it is.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        lock(&self.shared.opened).reason.clone()
    }

    /// Everything that was counted, and how the counting itself goes.
    #[must_use]
    pub fn points(&self) -> Vec<Point> {
        let dropped = lock(&self.shared.opened).drops.as_ref().and_then(Drops::read);
        let mut registry = lock(&self.shared.registry);
        if let Some(dropped) = dropped {
            registry.set_dropped_by_kernel(dropped);
        }
        registry.turn(clock::at());
        registry.points()
    }

    /// Ends the thread, and waits until it has: no longer than it takes to count one batch.
    pub fn shutdown(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        // An eventfd refuses a write only when it is full of them.
        if let Err(error) = rustix::io::write(&self.wake, &1_u64.to_ne_bytes()) {
            tracing::error!("the thread that receives StatsD could not be told to end: {error}");
            return;
        }
        if thread.join().is_err() {
            tracing::error!("the thread that receives StatsD failed");
        }
    }
}

impl Drop for Statsd {
    fn drop(&mut self) {
        self.end();
    }
}

/// The thread: receives as soon as it can, until it is woken.
fn run(
    settings: &Settings,
    again_after: Duration,
    first: Result<Sockets, StatsdError>,
    shared: &Shared,
    woken: &OwnedFd,
) {
    let mut sockets = first;
    loop {
        if let Ok(sockets) = &sockets {
            return receive(sockets, woken, &shared.registry);
        }
        if wait([None, None], woken, Some(again_after)) {
            return;
        }
        sockets = Sockets::open(settings.listen, settings.socket.as_deref());
        shared.note(&sockets);
    }
}

/// A registry whose holder failed half-way has counted half a packet, and is good otherwise.
fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn tell(notice: &Notice) {
    match notice {
        Notice::Bad { bad, line, lines } => {
            let reason = bad.word();
            tracing::warn!(
                "StatsD: {lines} lines are not counted; of the last the {reason} is wrong: {line}"
            );
        }
        Notice::Full { series_max } => {
            tracing::warn!(
                "StatsD: there are {series_max} series, and new ones are not counted: \
                 look for tags with too many values, or raise metrics.statsd.series_max"
            );
        }
    }
}
