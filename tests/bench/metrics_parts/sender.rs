//! Sends packets of StatsD at a steady rate, many with one call, so that the sender is not what is
//! measured.

use std::io::IoSlice;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::sys::socket::{MsgFlags, MultiHeaders, sendmmsg};

/// Packets of one call.
const BATCH: usize = 64;
/// Different series.
const SERIES: usize = 256;
/// Between two bursts.
const EVERY: Duration = Duration::from_millis(1);
/// What the machine held the sender up for longer is not caught up with: that would be a burst that
/// nobody asked for.
const CATCH_UP_MAX: Duration = Duration::from_millis(10);

/// What was sent.
pub struct Sent {
    /// Packets.
    pub packets: u64,
    /// For how long.
    pub took: Duration,
}

impl Sent {
    /// Packets a second.
    pub fn rate(&self) -> f64 {
        self.packets as f64 / self.took.as_secs_f64()
    }
}

/// Sends so many packets a second, each of one counter.
pub fn send(to: SocketAddr, rate: u64, during: Duration) -> Sent {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(to).unwrap();
    let lines: Vec<String> = (0..SERIES)
        .map(|n| format!("shop.requests.{}:1|c|#route:/cart/{},status:2xx", n % 16, n / 16))
        .collect();
    let mut headers = MultiHeaders::<()>::preallocate(BATCH, None);
    let (began, mut paced_from) = (Instant::now(), Instant::now());
    let (mut packets, mut paced) = (0_u64, 0_u64);
    while began.elapsed() < during {
        let mut due = packets_of(rate, paced_from.elapsed());
        let late = Duration::from_secs_f64(due.saturating_sub(paced) as f64 / rate as f64);
        if late > CATCH_UP_MAX {
            paced_from += late.saturating_sub(CATCH_UP_MAX);
            due = packets_of(rate, paced_from.elapsed());
        }
        while paced < due {
            let count = usize::try_from(due - paced).unwrap().min(BATCH);
            let from = usize::try_from(packets).unwrap() % (SERIES - BATCH + 1);
            let slices: Vec<[IoSlice<'_>; 1]> =
                lines[from..from + count].iter().map(|l| [IoSlice::new(l.as_bytes())]).collect();
            let (fd, flags) = (socket.as_raw_fd(), MsgFlags::empty());
            let addresses = vec![None; count];
            let sent = sendmmsg(fd, &mut headers, &slices, &addresses, [], flags).unwrap().count();
            paced += sent as u64;
            packets += sent as u64;
        }
        // The pause is the pace.
        std::thread::sleep(EVERY);
    }
    Sent { packets, took: began.elapsed() }
}

/// How many come in a time at a rate.
fn packets_of(rate: u64, time: Duration) -> u64 {
    u64::try_from(time.as_micros() * u128::from(rate) / 1_000_000).unwrap()
}
