//! The thread that receives: waits, fetches many packets at once, counts them, and lets the next
//! ones gather.

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;
use std::time::Duration;

use groundcrew_core::metrics::statsd::Registry;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::sockets::Sockets;
use super::{lock, tell};
use crate::clock;

/// The longest packet that UDP has, and more than any client sends over a unix socket.
const PACKET_BYTES_MAX: usize = 64 * 1024;
/// Packets of one call. Of the memory for them only what is written to is ever there.
const BATCH: usize = 64;
/// Calls in a row for one socket: what is left waits until others have had their turn, and the
/// thread can be told to end.
const CALLS_MAX: usize = 64;
/// Pause after the kernel refused, so that it is not asked without end.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// Receives until it is woken.
pub(super) fn receive(sockets: &Sockets, wake: &OwnedFd, registry: &Mutex<Registry>) {
    let mut batch = Batch::new();
    let mut failing = false;
    loop {
        if wait([sockets.udp(), sockets.unix()], wake, None) {
            return;
        }
        let mut got = [0, 0];
        let mut refused = None;
        for (packets, socket) in got.iter_mut().zip([sockets.udp(), sockets.unix()]) {
            let Some(socket) = socket else { continue };
            match batch.fetch_all(socket, registry) {
                Ok(fetched) => *packets = fetched,
                Err(error) => refused = Some(error),
            }
        }
        if let Some(error) = refused {
            if !std::mem::replace(&mut failing, true) {
                tracing::error!("StatsD: could not receive, trying again: {error}");
            }
            if wait([None, None], wake, Some(REFUSED_PAUSE)) {
                return;
            }
            continue;
        }
        failing = false;
        let [udp, unix] = got;
        // Who sends over the unix socket waits for room, of which there is little: nothing gathers
        // there.
        let is_behind = udp == BATCH * CALLS_MAX || unix > 0;
        if !is_behind && wait([sockets.unix(), None], wake, Some(sockets.pause())) {
            return;
        }
    }
}

/// Waits until there is something to read, or for so long; `true`: the thread is to end.
pub(super) fn wait(
    sockets: [Option<BorrowedFd<'_>>; 2],
    wake: &OwnedFd,
    within: Option<Duration>,
) -> bool {
    let mut fds = vec![PollFd::new(wake, PollFlags::IN)];
    fds.extend(sockets.into_iter().flatten().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
    let within = within.and_then(|within| Timespec::try_from(within).ok());
    // Interrupted is as good as woken by a packet: there may be none.
    match poll(&mut fds, within.as_ref()) {
        Ok(_) => !fds[0].revents().is_empty(),
        Err(_) => false,
    }
}

/// Memory for packets.
struct Batch {
    bytes: Vec<u8>,
    headers: MultiHeaders<()>,
}

impl Batch {
    fn new() -> Self {
        Self {
            bytes: vec![0; PACKET_BYTES_MAX * BATCH],
            headers: MultiHeaders::preallocate(BATCH, None),
        }
    }

    /// Fetches and counts what is there. Answers how many packets that was.
    fn fetch_all(
        &mut self,
        socket: BorrowedFd<'_>,
        registry: &Mutex<Registry>,
    ) -> Result<usize, Errno> {
        let mut all = 0;
        for _ in 0..CALLS_MAX {
            let fetched = match self.fetch(socket, registry) {
                Err(Errno::EAGAIN | Errno::EINTR) => 0,
                fetched => fetched?,
            };
            all += fetched;
            if fetched < BATCH {
                break;
            }
        }
        Ok(all)
    }

    fn fetch(
        &mut self,
        socket: BorrowedFd<'_>,
        registry: &Mutex<Registry>,
    ) -> Result<usize, Errno> {
        let mut places = self.bytes.chunks_exact_mut(PACKET_BYTES_MAX);
        let mut slices: [_; BATCH] =
            std::array::from_fn(|_| [IoSliceMut::new(places.next().unwrap_or_default())]);
        let (flags, headers) = (MsgFlags::MSG_DONTWAIT, &mut self.headers);
        let messages = recvmmsg(socket.as_raw_fd(), headers, slices.iter_mut(), flags, None)?;
        let now = clock::at();
        let mut fetched = 0;
        let notice = {
            let mut registry = lock(registry);
            registry.turn(now);
            for message in messages {
                let packet = message.iovs().next().unwrap_or_default();
                registry.packet(packet, message.flags.contains(MsgFlags::MSG_TRUNC), now);
                fetched += 1;
            }
            registry.take_notice()
        };
        if let Some(notice) = notice {
            tell(&notice);
        }
        Ok(fetched)
    }
}
