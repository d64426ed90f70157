//! What systemd is told, and what it keeps for the next agent (sd_notify(3)). Where the agent was
//! not started by systemd, all of that does nothing. An agent that becomes another binary passes
//! the same sockets on to it, under the same names.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use sd_notify::NotifyState;

/// What a socket is called in the fd store, in front of its port.
const PORT_NAME: &str = "port-";
/// Names the sockets that an agent passes on to the binary it becomes: the number of the process,
/// then each socket's name and descriptor. Not `LISTEN_FDS`, which would have them at 3 and up,
/// where something else of the process is, and that would be lost if the kernel then refused.
const PASSED: &str = "GROUNDCREW_SOCKETS";

/// Whether systemd started this process and wants to be told.
#[must_use]
pub fn listens() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// Says that the agent has looked around, and that units which wait for it may start.
pub fn ready() {
    notify(&[NotifyState::Ready]);
}

/// Says that the agent is about to become another binary; [`ready`] ends it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(_) => notify(&[NotifyState::Reloading]),
    }
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

/// Sockets that stay open while this process becomes another binary; closed again with this value.
pub struct Passed {
    named: String,
    _copies: Vec<OwnedFd>,
}

impl Passed {
    /// Name and value of the environment variable by which [`stored`] finds them again.
    #[must_use]
    pub fn variable(&self) -> (&str, &str) {
        (PASSED, &self.named)
    }
}

/// Makes the listening sockets outlive an `execve` of this process.
pub fn pass_on<'a>(sockets: impl Iterator<Item = (u16, BorrowedFd<'a>)>) -> io::Result<Passed> {
    let mut words = vec![std::process::id().to_string()];
    let mut copies = Vec::new();
    for (port, socket) in sockets {
        // A duplicate is not close-on-exec, and nobody else starts a process now.
        let copy = rustix::io::dup(socket)?;
        words.push(format!("{PORT_NAME}{port}={}", copy.as_raw_fd()));
        copies.push(copy);
    }
    Ok(Passed { named: words.join(" "), _copies: copies })
}

/// The sockets that an earlier agent gave to [`store`] or [`pass_on`]. Call it once: it takes them
/// over.
#[must_use]
pub fn stored() -> Vec<(u16, OwnedFd)> {
    let passed = std::env::var(PASSED).ok();
    let passed = passed.and_then(|value| named(&value, std::process::id()));
    passed.map_or_else(from_store, |named| named.into_iter().filter_map(take).collect())
}

/// What [`PASSED`] says, when it says it to the process `own`.
fn named(value: &str, own: u32) -> Option<Vec<(u16, RawFd)>> {
    let (pid, sockets) = value.split_once(' ').unwrap_or((value, ""));
    let socket = |text: &str| {
        let (name, fd) = text.split_once('=')?;
        Some((port(name)?, fd.parse().ok().filter(|fd| *fd > 2)?))
    };
    (pid.parse() == Ok(own)).then(|| sockets.split_ascii_whitespace().filter_map(socket).collect())
}

/// `None`: nothing is open there.
fn take((port, fd): (u16, RawFd)) -> Option<(u16, OwnedFd)> {
    // SAFETY: only asks the kernel about the number.
    if unsafe { nix::libc::fcntl(fd, nix::libc::F_GETFD) } == -1 {
        tracing::error!("the socket of port {port} was not passed on");
        return None;
    }
    // SAFETY: it is open, and the agent before opened it for this one: it named it, with this
    // process's number, as its last deed. Nothing else knows of it: this is called once.
    Some((port, unsafe { OwnedFd::from_raw_fd(fd) }))
}

fn from_store() -> Vec<(u16, OwnedFd)> {
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
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn sockets_are_passed_on_to_the_same_process_only() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let passed = pass_on([(8080, socket.as_fd()), (9090, socket.as_fd())].into_iter()).unwrap();
        let (_, value) = passed.variable();
        let found = named(value, std::process::id()).unwrap();
        assert_eq!(found.iter().map(|(port, _)| *port).collect::<Vec<_>>(), [8080, 9090]);
        for (_, fd) in found {
            // SAFETY: `passed` holds it open.
            let socket = unsafe { BorrowedFd::borrow_raw(fd) };
            assert!(rustix::io::fcntl_getfd(socket).unwrap().is_empty(), "it outlives an execve");
        }
        assert_eq!(named(value, 1), None);
        assert_eq!(named("7", 7), Some(vec![]));
        assert_eq!(named("7 port-1=0 port-2=x port-3 nonsense", 7), Some(vec![]));
    }

    #[test]
    fn a_stored_socket_is_known_by_its_port() {
        assert_eq!(port("port-8080"), Some(8080));
        for name in ["", "8080", "port-", "port-70000", "stored"] {
            assert_eq!(port(name), None, "{name:?}");
        }
    }
}
