//! What systemd is told, and what it keeps for the next agent (sd_notify(3)). Where the agent was
//! not started by systemd, all of it does nothing.

use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use sd_notify::NotifyState;

/// What a socket is called in the fd store, in front of its port.
const PORT_NAME: &str = "port-";

/// Whether systemd started this process and wants to be told.
#[must_use]
pub fn listens() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// Says that the agent has looked around, and that units which wait for it may start.
pub fn ready() {
    notify(&[NotifyState::Ready]);
}

/// Says that the agent is about to leave.
pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Says that the event loop turns.
pub fn alive() {
    notify(&[NotifyState::Watchdog]);
}

/// The line that `systemctl status` shows.
pub fn status(line: &str) {
    notify(&[NotifyState::Status(line)]);
}

/// How often [`alive`] has to be said: half of `WatchdogSec=`. `None`: nobody listens.
#[must_use]
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|within| within / 2)
}

/// Gives systemd a copy of the listening socket of `port`, for the next agent.
pub fn store(port: u16, socket: BorrowedFd<'_>) {
    let name = format!("{PORT_NAME}{port}");
    let state = [NotifyState::FdStore, NotifyState::FdName(&name)];
    said(sd_notify::notify_with_fds(&state, &[socket]));
}

/// Lets systemd close its copy.
pub fn forget(port: u16) {
    let name = format!("{PORT_NAME}{port}");
    notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(&name)]);
}

/// The sockets that an earlier agent gave to [`store`]. Call it once: it takes them over.
#[must_use]
pub fn stored() -> Vec<(u16, OwnedFd)> {
    let passed = match sd_notify::listen_fds_with_names() {
        Ok(passed) => passed,
        Err(error) => {
            tracing::error!("what systemd passed on cannot be used: {error}");
            return Vec::new();
        }
    };
    passed
        .filter_map(|(fd, name)| {
            // SAFETY: systemd opened it for this process (LISTEN_PID was checked), and nothing else
            // knows of it: this is called once.
            let socket = unsafe { OwnedFd::from_raw_fd(fd) };
            let port = port(&name);
            if port.is_none() {
                tracing::warn!("systemd passed on {name:?}, which is no socket of a port");
            }
            Some((port?, socket))
        })
        .collect()
}

fn port(name: &str) -> Option<u16> {
    name.strip_prefix(PORT_NAME)?.parse().ok()
}

fn notify(state: &[NotifyState<'_>]) {
    said(sd_notify::notify(state));
}

/// A systemd that does not listen is a reason for a line, never for stopping.
fn said(result: io::Result<impl fmt::Debug>) {
    if let Err(error) = result {
        tracing::warn!("systemd could not be told: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_socket_is_known_by_its_port() {
        assert_eq!(port("port-8080"), Some(8080));
        for name in ["", "8080", "port-", "port-70000", "stored"] {
            assert_eq!(port(name), None, "{name:?}");
        }
    }
}
