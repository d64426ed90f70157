//! The sockets that StatsD comes in through.

use std::fs;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use camino::Utf8Path;
use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::StatsdError;
use super::drops::Drops;
use crate::fsx::{self, About};

/// Bytes of the kernel's buffer that are asked for; it gives `net.core.rmem_max` at most.
const BUFFER_BYTES: usize = 8 * 1024 * 1024;
/// What a small packet costs in it: its own bytes are the least (`truesize` of the kernel's skb).
const PACKET_COST_BYTES: usize = 1280;
/// Packets a second that the buffer must be able to hold while nobody reads.
const RATE_MAX: u64 = 400_000;
/// Packets wait no longer, however large the buffer is.
const PAUSE_MAX: Duration = Duration::from_millis(10);
/// Whoever is on the host may send: tiers run as users of their own, and over UDP anybody may.
const SOCKET_MODE: u32 = 0o666;

/// The open sockets.
#[derive(Debug)]
pub(super) struct Sockets {
    udp: Option<UdpSocket>,
    unix: Option<UnixDatagram>,
    /// See [`pause`](Self::pause).
    pause: Duration,
}

impl Sockets {
    pub(super) fn open(
        listen: Option<SocketAddr>,
        path: Option<&Utf8Path>,
    ) -> Result<Self, StatsdError> {
        let udp = match listen {
            Some(address) => Some(udp(address).map_err(|source| {
                let address = address.to_string();
                StatsdError::Listen { address, source }
            })?),
            None => None,
        };
        let unix = match path {
            Some(path) => Some(unix(path)?),
            None => None,
        };
        let pause = udp.as_ref().map_or(PAUSE_MAX, pause_of);
        Ok(Self { udp, unix, pause })
    }

    pub(super) fn udp(&self) -> Option<BorrowedFd<'_>> {
        self.udp.as_ref().map(AsFd::as_fd)
    }

    pub(super) fn unix(&self) -> Option<BorrowedFd<'_>> {
        self.unix.as_ref().map(AsFd::as_fd)
    }

    /// How long packets of UDP may be left to gather, so that few look-ups fetch many: half of what
    /// fills the kernel's buffer at the highest rate.
    pub(super) fn pause(&self) -> Duration {
        self.pause
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.udp.as_ref().and_then(|socket| socket.local_addr().ok())
    }

    pub(super) fn drops(&self) -> Option<Drops> {
        self.udp.as_ref().and_then(Drops::of)
    }
}

fn udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    setsockopt(&socket, sockopt::RcvBuf, &BUFFER_BYTES)?;
    Ok(socket)
}

fn unix(path: &Utf8Path) -> Result<UnixDatagram, StatsdError> {
    // One of an agent that is no more; nothing else that somebody may want.
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => fsx::remove_if_exists(path)?,
        Ok(_) => return Err(StatsdError::InTheWay { path: path.to_owned() }),
        // Whatever it is, binding finds it out too.
        Err(_) => {}
    }
    let bind = || {
        let socket = UnixDatagram::bind(path)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    let address = path.to_string();
    let socket = bind().map_err(|source| StatsdError::Listen { address, source })?;
    open_up(path).about("open up", path)?;
    Ok(socket)
}

/// Lets everybody send. The directory may be somebody else's, who could put a link to any file
/// where the socket was: what is changed is what was looked at, and no link is followed.
fn open_up(path: &Utf8Path) -> io::Result<()> {
    let what = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = fs::File::from(openat(CWD, path.as_str(), what, Mode::empty())?);
    if !file.metadata()?.file_type().is_socket() {
        return Err(io::Error::other("somebody has put something else in its place"));
    }
    let same = format!("/proc/self/fd/{}", file.as_raw_fd());
    fs::set_permissions(same, fs::Permissions::from_mode(SOCKET_MODE))
}

fn pause_of(socket: &UdpSocket) -> Duration {
    // Without an answer as for the kernel's smallest buffer.
    let bytes = getsockopt(socket, sockopt::RcvBuf).unwrap_or(0);
    pause_for(bytes)
}

fn pause_for(buffer_bytes: usize) -> Duration {
    let packets = u64::try_from(buffer_bytes / PACKET_COST_BYTES).unwrap_or(u64::MAX);
    Duration::from_micros(packets.saturating_mul(1_000_000) / RATE_MAX).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_wait_as_long_as_the_buffer_holds_them() {
        let check = |bytes, micros| assert_eq!(pause_for(bytes), Duration::from_micros(micros));
        check(0, 0);
        // What net.core.rmem_max is where nobody has raised it, doubled by the kernel.
        check(2 * 212_992, 830);
        check(16 << 20, 10_000);
    }

    #[test]
    fn a_link_in_the_place_of_the_socket_opens_nothing_up() {
        let (_keep, directory) = crate::fsx::scratch();
        let precious = directory.join("precious");
        fsx::write_atomic(&precious, b"precious", 0o600).unwrap();
        let link = directory.join("statsd.sock");
        std::os::unix::fs::symlink(&precious, &link).unwrap();
        assert!(open_up(&link).is_err());
        assert_eq!(fs::metadata(&precious).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn only_a_socket_makes_way() {
        let (_keep, directory) = crate::fsx::scratch();
        let path = directory.join("statsd.sock");
        drop(unix(&path).unwrap());
        let socket = unix(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
        drop(socket);
        fs::remove_file(&path).unwrap();
        fsx::write_atomic(&path, b"precious", 0o600).unwrap();
        let error = unix(&path).unwrap_err().to_string();
        assert!(error.contains("statsd.sock is in the way"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        let error = unix(&directory.join("no/such.sock")).unwrap_err().to_string();
        assert!(error.contains("could not listen for StatsD on"), "{error}");
    }
}
