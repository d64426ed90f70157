//! How many packets the kernel has dropped for want of room, as `/proc/net/udp` has it
//! (proc_net_udp: the last column of the socket's row). Not by `SO_RXQ_OVFL`, which says it only
//! with the next packet that comes.

use std::fs::File;
use std::io::Read;
use std::net::UdpSocket;
use std::os::fd::AsFd;

/// Bytes of the table that are read: 8,000 sockets.
const TABLE_BYTES_MAX: u64 = 1024 * 1024;
/// The columns of a socket's inode and of its drops, in words.
const INODE: usize = 9;
const DROPS: usize = 12;

/// Where one socket's count stands.
#[derive(Debug)]
pub(super) struct Drops {
    table: &'static str,
    inode: u64,
}

impl Drops {
    /// `None`: the socket has no inode or address, which no open one lacks.
    pub(super) fn of(socket: &UdpSocket) -> Option<Self> {
        let is_v6 = socket.local_addr().ok()?.is_ipv6();
        let inode = nix::sys::stat::fstat(socket.as_fd()).ok()?.st_ino;
        let table = if is_v6 { "/proc/self/net/udp6" } else { "/proc/self/net/udp" };
        Some(Self { table, inode })
    }

    /// The count; `None`: it cannot be read now.
    pub(super) fn read(&self) -> Option<u64> {
        let mut table = String::new();
        File::open(self.table).ok()?.take(TABLE_BYTES_MAX).read_to_string(&mut table).ok()?;
        find(&table, self.inode)
    }
}

fn find(table: &str, inode: u64) -> Option<u64> {
    let row = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let is_it = words.nth(INODE)?.parse() == Ok(inode);
        is_it.then(|| words.nth(DROPS - INODE - 1)?.parse().ok())?
    };
    table.lines().skip(1).find_map(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_column_of_the_sockets_row() {
        let rows = [
            "sl local_address rem_address st tx_queue rx_queue tr tm->when retrnsmt uid timeout \
             inode ref pointer drops",
            "  317: 0100007F:1FBD 00000000:0000 07 00000000:00000000 00:00000000 00000000     0 \
             0 123456 2 0000000000000000 42",
            " 1102: 3500007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000   101 \
             0 20551 2 0000000000000000 0",
        ];
        let table = &rows.join("\n");
        assert_eq!(find(table, 123_456), Some(42));
        assert_eq!(find(table, 20_551), Some(0));
        assert_eq!(find(table, 1), None);
        assert_eq!(find("", 1), None);
        assert_eq!(find("x\n1 2 3 4 5 6 7 8 9 10\n", 10), None);
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let socket = UdpSocket::bind(address).unwrap();
            let drops = Drops::of(&socket).unwrap();
            assert_eq!(drops.read(), Some(0));
            nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBuf, &1).unwrap();
            let sender = UdpSocket::bind(address).unwrap();
            for _ in 0..100 {
                sender.send_to(b"a:1|c", socket.local_addr().unwrap()).unwrap();
            }
            assert!(drops.read().unwrap() > 50, "{:?}", drops.read());
        }
    }
}
