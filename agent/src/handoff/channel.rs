//! The server of the process channel (see [`super::protocol`]). It knows who speaks from the kernel
//! and believes only what is that process's own business; what it is told goes into one bounded
//! queue. It never waits for a process: one that does not read is disconnected, one that does not
//! stop writing is read no faster than the queue is emptied.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use groundcrew_core::types::{Pid, ProcessId, Run};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::protocol::{FromProcess, LINE_BYTES_MAX, ToProcess};
use crate::fsx::{self, About, FileError};
use crate::procfs;

/// News waiting for the agent; when it is full, processes wait with theirs.
const EVENTS_MAX: usize = 1024;
/// Orders waiting for one process. It gets a handful in its life.
const ORDERS_MAX: usize = 16;
/// Connections at once: far above what the most processes there can be need.
const CONNECTIONS_MAX: usize = 1024;
/// Connections of the children of one process at once.
const CHILDREN_MAX: usize = 8;
/// How long a connection may take to say hello.
const HELLO_WITHIN: Duration = Duration::from_secs(5);
/// Lines that are no message, after which a connection is closed.
const BAD_LINES_MAX: u32 = 16;
/// Pause after a failed accept: what runs out (files, memory) is not back at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why there is no channel.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The file of the socket.
    #[error(transparent)]
    File(#[from] FileError),
    /// The socket.
    #[error("could not listen on {path}")]
    Listen {
        /// The socket.
        path: Utf8PathBuf,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
}

/// What a process said. Never [`FromProcess::Unknown`].
#[derive(Debug, Clone, PartialEq)]
pub struct ChannelEvent {
    /// Who, as far as the kernel knows.
    pub id: ProcessId,
    /// Which of its starts.
    pub run: Run,
    /// What.
    pub message: FromProcess,
}

/// A process that may speak.
#[derive(Debug)]
struct Known {
    run: Run,
    pid: Pid,
    /// Ended with the process: a child may have inherited the connection.
    gone: CancellationToken,
    children: usize,
    connection: Option<Connection>,
}

#[derive(Debug)]
struct Connection {
    serial: u64,
    orders: mpsc::Sender<ToProcess>,
    replaced: CancellationToken,
}

/// Who may speak: filled as processes start and end.
#[derive(Debug, Default)]
pub struct Registry {
    known: Mutex<BTreeMap<ProcessId, Known>>,
    serial: AtomicU64,
}

/// Who a connection comes from.
#[derive(Debug, Clone)]
struct Peer {
    id: ProcessId,
    run: Run,
    gone: CancellationToken,
    /// Not the process itself but one that it started.
    child: bool,
}

impl Registry {
    fn known(&self) -> MutexGuard<'_, BTreeMap<ProcessId, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A process runs. One that was known under this id is gone.
    pub fn insert(&self, id: ProcessId, run: Run, pid: Pid) {
        let gone = CancellationToken::new();
        let known = Known { run, pid, gone, children: 0, connection: None };
        if let Some(before) = self.known().insert(id, known) {
            before.gone.cancel();
        }
    }

    /// A process has ended, and its connection with it. Another run of it is left alone.
    pub fn remove(&self, id: &ProcessId, run: Run) {
        let mut known = self.known();
        if known.get(id).is_some_and(|known| known.run == run)
            && let Some(known) = known.remove(id)
        {
            known.gone.cancel();
        }
    }

    /// Whether a process is connected.
    pub fn is_connected(&self, id: &ProcessId) -> bool {
        self.known().get(id).is_some_and(|known| known.connection.is_some())
    }

    /// Tells a process something; `false` when it is not connected. It is told its state's order
    /// again when it says hello, so nothing is kept for it.
    pub fn send(&self, id: &ProcessId, order: ToProcess) -> bool {
        let mut known = self.known();
        let Some(known) = known.get_mut(id) else { return false };
        let Some(connection) = &known.connection else { return false };
        match connection.orders.try_send(order) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Closed(_)) => false,
            Err(mpsc::error::TrySendError::Full(_)) => {
                tracing::warn!("{id} does not read its channel and is disconnected");
                connection.replaced.cancel();
                known.connection = None;
                false
            }
        }
    }

    /// Finds out who connects. A child is believed to be one when it is in the session of the
    /// process, or carries its marker and is the same user.
    fn who(&self, pid: Pid, uid: u32) -> Option<Peer> {
        if let Some(found) = self.peer(pid, |_, known| known.pid == pid) {
            return Some(found);
        }
        let session = procfs::stat(pid).ok()?.session;
        let found = self.peer(pid, |_, known| known.pid == session);
        found.or_else(|| self.marked(pid, uid))
    }

    /// Who carries the marker of a process.
    fn marked(&self, pid: Pid, uid: u32) -> Option<Peer> {
        let marker: ProcessId =
            procfs::environ(pid).ok()?.get("GROUNDCREW_PROCESS")?.parse().ok()?;
        let user = |known: &Known| std::fs::metadata(format!("/proc/{}", known.pid)).ok();
        self.peer(pid, |id, known| {
            *id == marker && user(known).is_some_and(|main| main.uid() == uid)
        })
    }

    /// The peer with this number that is, or is of, the process which `is_it`. A process may become
    /// known while it is looked for, so what it is found by does not say that it is a child.
    fn peer(&self, pid: Pid, is_it: impl Fn(&ProcessId, &Known) -> bool) -> Option<Peer> {
        let known = self.known();
        let (id, known) = known.iter().find(|(id, known)| is_it(id, known))?;
        let (run, gone) = (known.run, known.gone.clone());
        Some(Peer { id: id.clone(), run, gone, child: known.pid != pid })
    }

    fn connect(&self, peer: &Peer) -> Option<(u64, mpsc::Receiver<ToProcess>, CancellationToken)> {
        let mut known = self.known();
        let known = known.get_mut(&peer.id).filter(|known| known.run == peer.run)?;
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let (orders, receiver) = mpsc::channel(ORDERS_MAX);
        let replaced = CancellationToken::new();
        let connection = Connection { serial, orders, replaced: replaced.clone() };
        if let Some(before) = known.connection.replace(connection) {
            before.replaced.cancel();
        }
        Some((serial, receiver, replaced))
    }

    fn disconnect(&self, id: &ProcessId, serial: u64) {
        if let Some(known) = self.known().get_mut(id)
            && known.connection.as_ref().is_some_and(|connection| connection.serial == serial)
        {
            known.connection = None;
        }
    }

    /// Takes one of the places of a process's children.
    fn child_enters(&self, peer: &Peer) -> bool {
        let mut known = self.known();
        let known = known.get_mut(&peer.id).filter(|known| known.run == peer.run);
        known.is_some_and(|known| {
            let free = known.children < CHILDREN_MAX;
            known.children += usize::from(free);
            free
        })
    }

    fn child_leaves(&self, peer: &Peer) {
        if let Some(known) = self.known().get_mut(&peer.id).filter(|known| known.run == peer.run) {
            known.children = known.children.saturating_sub(1);
        }
    }
}

/// The server. Dropping it closes every connection; processes reconnect to the next one.
pub struct Channel {
    cancel: CancellationToken,
    tasks: JoinSet<()>,
}

impl Channel {
    /// Listens on `path`, which everybody on the host may connect to. Needs the runtime.
    pub fn open(
        path: &Utf8Path,
        registry: Arc<Registry>,
    ) -> Result<(Self, mpsc::Receiver<ChannelEvent>), ChannelError> {
        // Left by the agent before, which did not live to remove it.
        fsx::remove_if_exists(path)?;
        let listener = UnixListener::bind(path)
            .map_err(|source| ChannelError::Listen { path: path.to_owned(), source })?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))
            .about("open up", path)?;
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let cancel = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Shared { registry, events }, cancel.clone()));
        Ok((Self { cancel, tasks }, receiver))
    }

    /// Closes every connection and waits until that is done.
    pub async fn shutdown(mut self) {
        self.cancel.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

#[derive(Clone)]
struct Shared {
    registry: Arc<Registry>,
    events: mpsc::Sender<ChannelEvent>,
}

async fn accept(listener: UnixListener, shared: Shared, cancel: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        let room = connections.len() < CONNECTIONS_MAX;
        tokio::select! {
            () = cancel.cancelled() => break,
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!("a connection of the channel failed: {error}");
                }
            }
            accepted = listener.accept(), if room => match accepted {
                Ok((stream, _)) => match identify(&shared.registry, &stream) {
                    Ok(peer) => {
                        connections.spawn(serve(shared.clone(), stream, peer));
                    }
                    Err(reason) => tracing::warn!("refused a connection to the channel: {reason}"),
                },
                Err(error) => {
                    tracing::error!("could not accept from the channel: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
    connections.shutdown().await;
}

fn identify(registry: &Registry, stream: &UnixStream) -> Result<Peer, String> {
    let credentials = stream.peer_cred().map_err(|error| error.to_string())?;
    let pid = credentials.pid().ok_or("the kernel does not say who it is")?;
    let uid = credentials.uid();
    registry.who(pid, uid).ok_or_else(|| format!("pid {pid} of uid {uid} is no tier's process"))
}

async fn serve(shared: Shared, stream: UnixStream, peer: Peer) {
    let (read, write) = stream.into_split();
    let lines = Lines { reader: BufReader::new(read), line: Vec::new() };
    let session = async {
        if peer.child {
            if !shared.registry.child_enters(&peer) {
                return Err(Closed::TooManyChildren);
            }
            let result = hear_child(&shared, &peer, lines).await;
            shared.registry.child_leaves(&peer);
            result
        } else {
            hear_process(&shared, &peer, lines, write).await
        }
    };
    let closed = tokio::select! {
        result = session => result,
        () = peer.gone.cancelled() => Ok(()),
    };
    if let Err(reason) = closed {
        tracing::warn!("closed the channel of {}: {reason}", peer.id);
    }
}

/// Why a connection is closed by the agent.
#[derive(Debug, thiserror::Error)]
enum Closed {
    #[error("it said no hello in {} s", HELLO_WITHIN.as_secs())]
    NoHello,
    #[error("its hello speaks of {0}")]
    OtherHello(String),
    #[error("more than {BAD_LINES_MAX} lines were no messages")]
    BadLines,
    #[error("more than {CHILDREN_MAX} of its children are connected")]
    TooManyChildren,
    #[error(transparent)]
    Io(#[from] io::Error),
}

async fn hear_process(
    shared: &Shared,
    peer: &Peer,
    mut lines: Lines<OwnedReadHalf>,
    write: OwnedWriteHalf,
) -> Result<(), Closed> {
    let Some(hello) = hello(peer, &mut lines).await? else { return Ok(()) };
    // Connected before its hello is told: the answer may be an order.
    let Some((serial, orders, replaced)) = shared.registry.connect(peer) else { return Ok(()) };
    let hear = async {
        emit(shared, peer, hello).await;
        hear(shared, peer, lines, |_| true).await
    };
    let result = tokio::select! {
        result = hear => result,
        result = tell(write, orders) => result,
        () = replaced.cancelled() => Ok(()),
    };
    shared.registry.disconnect(&peer.id, serial);
    result
}

async fn hear_child(
    shared: &Shared,
    peer: &Peer,
    mut lines: Lines<OwnedReadHalf>,
) -> Result<(), Closed> {
    if hello(peer, &mut lines).await?.is_none() {
        return Ok(());
    }
    let own_business =
        |message: &FromProcess| matches!(message, FromProcess::Elsewhere { child: true, .. });
    hear(shared, peer, lines, own_business).await
}

/// The first line. `None`: the peer hung up first.
async fn hello(
    peer: &Peer,
    lines: &mut Lines<OwnedReadHalf>,
) -> Result<Option<FromProcess>, Closed> {
    let first = tokio::time::timeout(HELLO_WITHIN, lines.next()).await;
    let Some(line) = first.map_err(|_| Closed::NoHello)?? else { return Ok(None) };
    match FromProcess::parse(line) {
        Ok(message) => check_hello(peer, &message).map(|()| Some(message)),
        Err(_) => Err(Closed::OtherHello("nobody".to_owned())),
    }
}

fn check_hello(peer: &Peer, message: &FromProcess) -> Result<(), Closed> {
    match message {
        FromProcess::Hello(hello) if hello.process == peer.id && hello.run == peer.run => Ok(()),
        FromProcess::Hello(hello) => {
            Err(Closed::OtherHello(format!("{} run {}", hello.process, hello.run)))
        }
        _ => Err(Closed::OtherHello("nobody".to_owned())),
    }
}

/// Hears lines to their end, and passes on what `allowed` takes.
async fn hear(
    shared: &Shared,
    peer: &Peer,
    mut lines: Lines<OwnedReadHalf>,
    allowed: impl Fn(&FromProcess) -> bool,
) -> Result<(), Closed> {
    let mut bad = 0;
    while let Some(line) = lines.next().await? {
        match FromProcess::parse(line) {
            Ok(FromProcess::Unknown) => {}
            Ok(message) if matches!(message, FromProcess::Hello(_)) => {
                check_hello(peer, &message)?;
            }
            Ok(message) if allowed(&message) => emit(shared, peer, message).await,
            Ok(_) | Err(_) => {
                bad += 1;
                if bad == 1 {
                    tracing::warn!("{} sent a line that is no message of its own", peer.id);
                }
                if bad > BAD_LINES_MAX {
                    return Err(Closed::BadLines);
                }
            }
        }
    }
    Ok(())
}

async fn emit(shared: &Shared, peer: &Peer, message: FromProcess) {
    let event = ChannelEvent { id: peer.id.clone(), run: peer.run, message };
    // A receiver that is gone wants no more news.
    drop(shared.events.send(event).await);
}

async fn tell(
    mut write: OwnedWriteHalf,
    mut orders: mpsc::Receiver<ToProcess>,
) -> Result<(), Closed> {
    while let Some(order) = orders.recv().await {
        write.write_all(order.to_line().as_bytes()).await?;
    }
    Ok(())
}

/// Lines of a bounded length.
struct Lines<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// The next line without its newline; `None` at the end. What is not ended by a newline is no
    /// line: the writer died over it.
    async fn next(&mut self) -> io::Result<Option<&[u8]>> {
        self.line.clear();
        loop {
            let buffer = match self.reader.fill_buf().await {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
            };
            if buffer.is_empty() {
                return Ok(None);
            }
            let newline = buffer.iter().position(|&byte| byte == b'\n');
            let taken = newline.unwrap_or(buffer.len());
            if self.line.len() + taken >= LINE_BYTES_MAX {
                let message = format!("a line is longer than {LINE_BYTES_MAX} bytes");
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
            self.line.extend_from_slice(&buffer[..taken]);
            self.reader.consume(taken + usize::from(newline.is_some()));
            if newline.is_some() {
                return Ok(Some(&self.line));
            }
        }
    }
}

#[cfg(test)]
mod tests;
