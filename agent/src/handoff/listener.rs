//! The listening sockets. Each port is bound once, handed to process after process, and never
//! closed while a tier wants it: the kernel goes on queueing connections while nobody accepts.
//! After a crash of the agent a socket comes back from systemd's fd store or, by `pidfd_getfd`,
//! from a living process of the tier.
//!
//! The agent never accepts from them.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use groundcrew_core::types::Pid;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::procfs;

/// Connections that wait for a process to accept them. Through a cutover or a crash they wait here,
/// unharmed. The kernel takes the lesser of this and `net.core.somaxconn` (4096 since 5.4).
pub const BACKLOG: i32 = 4096;
/// Where a process finds its listening socket.
const LISTEN_FD: i32 = 3;

/// Why there is no listening socket.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody else has the port.
    #[error("port {port} is in use{}", by(.holder.as_ref()))]
    InUse {
        /// The port.
        port: u16,
        /// Who has it, when that can be seen.
        holder: Option<Holder>,
    },
    /// Anything else.
    #[error("could not {operation} port {port}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The port.
        port: u16,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// What was offered as a tier's socket is not one.
    #[error("the socket that was kept for port {port} {why}")]
    Unfit {
        /// The port.
        port: u16,
        /// What is wrong with it.
        why: String,
    },
}

/// The process that has a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its number.
    pub pid: Pid,
    /// Program and arguments.
    pub command: String,
}

fn by(holder: Option<&Holder>) -> String {
    match holder {
        None => String::new(),
        // What else it listens on, it was told by nobody but the host's file.
        Some(Holder { pid, .. }) if u32::try_from(*pid) == Ok(std::process::id()) => {
            " by the agent itself: give http.listen of the host's file another port".to_owned()
        }
        Some(Holder { pid, command }) => format!(" by pid {pid} ({command})"),
    }
}

/// Binds a port of all addresses, IPv6 and IPv4, and listens. Port 0 takes a free one.
pub fn bind(port: u16) -> Result<OwnedFd, ListenError> {
    let six = SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0));
    let four = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port));
    // A host without IPv6 has no such family, or no such address.
    let bound = match try_bind(six) {
        Err((_, Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL)) => try_bind(four),
        result => result,
    };
    bound.map_err(|(operation, error)| match error {
        Errno::ADDRINUSE => ListenError::InUse { port, holder: holder(port) },
        error => ListenError::Io { operation, port, source: error.into() },
    })
}

fn try_bind(address: SocketAddr) -> Result<OwnedFd, (&'static str, Errno)> {
    let (family, six) = match address {
        SocketAddr::V6(_) => (AddressFamily::INET6, true),
        SocketAddr::V4(_) => (AddressFamily::INET, false),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)
        .map_err(|error| ("open a socket for", error))?;
    let configure = || {
        // Connections of an earlier agent may linger in TIME_WAIT.
        sockopt::set_socket_reuseaddr(&socket, true)?;
        if six {
            sockopt::set_ipv6_v6only(&socket, false)?;
        }
        rustix::io::Result::Ok(())
    };
    configure().map_err(|error| ("set up the socket for", error))?;
    rustix::net::bind(&socket, &address).map_err(|error| ("bind", error))?;
    rustix::net::listen(&socket, BACKLOG).map_err(|error| ("listen on", error))?;
    Ok(socket)
}

/// The port a socket is bound to, when it is a listening TCP socket.
pub fn listening_port(socket: impl AsFd) -> io::Result<u16> {
    let not = |what| io::Error::new(io::ErrorKind::InvalidInput, what);
    let is_tcp = sockopt::socket_type(&socket)? == SocketType::STREAM
        && matches!(sockopt::socket_domain(&socket)?, AddressFamily::INET | AddressFamily::INET6);
    if !is_tcp {
        return Err(not("is no TCP socket"));
    }
    if !sockopt::socket_acceptconn(&socket)? {
        return Err(not("does not listen"));
    }
    let address = SocketAddr::try_from(rustix::net::getsockname(&socket)?)?;
    Ok(address.port())
}

/// Gets the socket of `port` back from one of the processes that were given it. `None`: none of
/// them has it. The file description is the same one: nothing that waits in its queue is lost.
#[must_use]
pub fn recover(pids: &[Pid], port: u16) -> Option<OwnedFd> {
    pids.iter().find_map(|&pid| {
        let found = recover_from(pid, port);
        // A process may have ended, or hide from an agent without the right to look into it.
        found.unwrap_or_else(|error| {
            tracing::debug!("could not look for port {port} in pid {pid}: {error}");
            None
        })
    })
}

fn recover_from(pid: Pid, port: u16) -> io::Result<Option<OwnedFd>> {
    let Some(raw) = rustix::process::Pid::from_raw(pid) else { return Ok(None) };
    let pidfd = pidfd_open(raw, PidfdFlags::empty())?;
    let fits = |fd: i32| {
        let copy = pidfd_getfd(&pidfd, fd, PidfdGetfdFlags::empty()).ok()?;
        listening_port(&copy).is_ok_and(|found| found == port).then_some(copy)
    };
    if let Some(socket) = fits(LISTEN_FD) {
        return Ok(Some(socket));
    }
    // The runtime may have moved it. Links are only a hint for what to look at.
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let entry = entry?;
        let link = fs::read_link(entry.path()).unwrap_or_default();
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let (true, Some(number)) = (is_socket(&link), number)
            && let Some(socket) = fits(number)
        {
            return Ok(Some(socket));
        }
    }
    Ok(None)
}

fn is_socket(link: &std::path::Path) -> bool {
    link.to_str().is_some_and(|link| link.starts_with("socket:["))
}

/// Who listens on a port, from `/proc/net/tcp*` and the open files of every process.
fn holder(port: u16) -> Option<Holder> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let inodes: Vec<String> = tables
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| table.lines().filter_map(|row| listening(row, port)).collect::<Vec<_>>())
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let has_it = |pid: &Pid| {
        let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        let links = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        links
            .filter_map(|link| link.into_os_string().into_string().ok())
            .any(|l| inodes.contains(&l))
    };
    if inodes.is_empty() {
        return None;
    }
    let pid = procfs::pids().ok()?.into_iter().find(has_it)?;
    Some(Holder { pid, command: procfs::command_line(pid).unwrap_or_else(|| "?".to_owned()) })
}

/// The inode of a row that is a socket listening on `port` (proc_net_tcp in the kernel's
/// documentation: local address, remote address, state `0A`, ..., inode as the tenth).
fn listening(row: &str, port: u16) -> Option<u64> {
    let fields: Vec<&str> = row.split_ascii_whitespace().collect();
    let (_, local_port) = fields.get(1)?.rsplit_once(':')?;
    let matches = *fields.get(3)? == "0A" && u16::from_str_radix(local_port, 16) == Ok(port);
    if matches { fields.get(9)?.parse().ok() } else { None }
}

/// The sockets the agent holds, one for each port.
#[derive(Default)]
pub struct Listeners(BTreeMap<u16, OwnedFd>);

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Listeners").field(&self.0.keys()).finish()
    }
}

impl Listeners {
    /// Takes a socket that was kept: by systemd's fd store, or by a process. Refused when it is not
    /// the listening socket of that port, or there is one already (which stays).
    pub fn keep(&mut self, port: u16, socket: OwnedFd) -> Result<(), ListenError> {
        let unfit = |why: String| Err(ListenError::Unfit { port, why });
        match listening_port(&socket) {
            Ok(found) if found == port => {}
            Ok(found) => return unfit(format!("is bound to port {found}")),
            Err(error) => return unfit(error.to_string()),
        }
        if self.0.contains_key(&port) {
            return unfit("is a second one".to_owned());
        }
        rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)
            .map_err(|e| ListenError::Io { operation: "keep", port, source: e.into() })?;
        self.0.insert(port, socket);
        Ok(())
    }

    /// Makes sure that the port is held: keeps what it has, else takes it back from one of `pids`,
    /// else binds it. Returns the socket when the agent did not hold it before.
    pub fn ensure(
        &mut self,
        port: u16,
        pids: &[Pid],
    ) -> Result<Option<BorrowedFd<'_>>, ListenError> {
        if self.0.contains_key(&port) {
            return Ok(None);
        }
        let socket = match recover(pids, port) {
            Some(socket) => socket,
            None => bind(port)?,
        };
        self.keep(port, socket)?;
        Ok(self.0.get(&port).map(AsFd::as_fd))
    }

    /// A duplicate for a process.
    pub fn duplicate(&self, port: u16) -> Result<OwnedFd, ListenError> {
        let socket = self.0.get(&port);
        let socket =
            socket.ok_or_else(|| ListenError::Unfit { port, why: "is not there".into() })?;
        let copy = socket.try_clone();
        copy.map_err(|source| ListenError::Io {
            operation: "duplicate the socket of",
            port,
            source,
        })
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = (u16, BorrowedFd<'_>)> {
        self.0.iter().map(|(port, socket)| (*port, socket.as_fd()))
    }

    /// Closes the agent's hold on a port that no tier wants any more. Processes that have the
    /// socket keep it.
    pub fn release(&mut self, port: u16) {
        self.0.remove(&port);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn own_pid() -> Pid {
        Pid::try_from(std::process::id()).unwrap()
    }

    #[test]
    fn takes_connections_of_both_families_while_nobody_accepts() {
        let socket = bind(0).unwrap();
        let port = listening_port(&socket).unwrap();
        let mut four = TcpStream::connect(("127.0.0.1", port)).unwrap();
        four.write_all(b"waited").unwrap();
        if TcpListener::bind("[::1]:0").is_ok() {
            TcpStream::connect(("::1", port)).unwrap();
        }
        let listener = TcpListener::from(socket);
        listener.set_nonblocking(false).unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        let mut read = [0; 6];
        accepted.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"waited");
    }

    #[test]
    fn a_port_in_use_is_named_with_its_holder() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = other.local_addr().unwrap().port();
        let error = bind(port).unwrap_err().to_string();
        let expected = format!("port {port} is in use by the agent itself: give http.listen");
        assert!(error.starts_with(&expected), "{error}");
        let other = Holder { pid: 1, command: "/sbin/init".to_owned() };
        assert_eq!(by(Some(&other)), " by pid 1 (/sbin/init)");
    }

    #[test]
    fn a_socket_comes_back_from_a_process_with_what_waits_in_it() {
        let socket = bind(0).unwrap();
        let port = listening_port(&socket).unwrap();
        let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        client.write_all(b"hello").unwrap();
        let back = recover(&[i32::MAX, own_pid()], port).unwrap();
        drop(socket);
        let listener = TcpListener::from(back);
        listener.set_nonblocking(false).unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        let mut read = [0; 5];
        accepted.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"hello");
        assert!(recover(&[i32::MAX], port).is_none());
    }

    #[test]
    fn keeps_one_socket_for_each_port_and_only_the_right_one() {
        let mut listeners = Listeners::default();
        let socket = bind(0).unwrap();
        let port = listening_port(&socket).unwrap();
        let copy = socket.try_clone().unwrap();
        listeners.keep(port, socket).unwrap();
        let second = listeners.keep(port, copy).unwrap_err().to_string();
        assert!(second.ends_with("is a second one"), "{second}");
        listeners.ensure(port, &[]).unwrap();
        assert_eq!(listening_port(listeners.duplicate(port).unwrap()).unwrap(), port);
        let other = bind(0).unwrap();
        let unfit = listeners.keep(1, other).unwrap_err().to_string();
        assert!(unfit.contains("port 1 is bound to port"), "{unfit}");
        let file = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        assert!(listeners.keep(1, file).is_err());
        let udp = OwnedFd::from(std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
        let udp = listeners.keep(1, udp).unwrap_err().to_string();
        assert!(udp.ends_with("is no TCP socket"), "{udp}");
        listeners.release(port);
        assert!(listeners.duplicate(port).is_err());
        bind(port).unwrap();
    }
}
