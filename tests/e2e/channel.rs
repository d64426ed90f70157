//! The process channel with real peers: the kernel says who they are, so they are real processes.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use camino::Utf8PathBuf;
use groundcrew::handoff::channel::{Channel, ChannelEvent, Registry};
use groundcrew::handoff::protocol::{FromProcess, State, ToProcess};
use groundcrew_core::types::{Pid, ProcessId};
use tokio::sync::mpsc;

const SOON: Duration = Duration::from_secs(20);

/// A channel; this test process plays the tier's process.
struct Server {
    registry: Arc<Registry>,
    channel: Channel,
    events: mpsc::Receiver<ChannelEvent>,
    path: Utf8PathBuf,
    _keep: tempfile::TempDir,
}

fn own_pid() -> Pid {
    Pid::try_from(std::process::id()).unwrap()
}

fn id() -> ProcessId {
    "web.1.1".parse().unwrap()
}

const HELLO: &str =
    "{\"type\":\"hello\",\"process\":\"web.1.1\",\"run\":3,\"pid\":1,\"state\":\"listening\"}\n";

impl Server {
    fn new() -> Self {
        let keep = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(keep.path().join("channel.sock")).unwrap();
        let registry = Arc::new(Registry::default());
        registry.insert(id(), 3, own_pid());
        let (channel, events) = Channel::open(&path, Arc::clone(&registry)).unwrap();
        Self { registry, channel, events, path, _keep: keep }
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.path).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream
    }

    /// Connects and says hello, as far as the server has taken it.
    async fn hello(&mut self) -> UnixStream {
        let mut stream = self.connect();
        stream.write_all(HELLO.as_bytes()).unwrap();
        assert!(matches!(self.next().await, FromProcess::Hello(_)));
        stream
    }

    async fn next(&mut self) -> FromProcess {
        let event =
            tokio::time::timeout(SOON, self.events.recv()).await.expect("an event").unwrap();
        assert_eq!((event.id, event.run), (id(), 3));
        event.message
    }

    fn silent(&mut self) -> bool {
        self.events.try_recv().is_err()
    }
}

/// Waits, off the runtime, until the server hangs up.
async fn hangs_up(mut stream: UnixStream) -> bool {
    let read = move || {
        let mut rest = Vec::new();
        // A server that drops a connection with unread bytes resets it.
        match stream.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    };
    tokio::task::spawn_blocking(read).await.unwrap()
}

#[tokio::test]
async fn a_process_speaks_and_is_told() {
    let mut server = Server::new();
    assert!(!server.registry.send(&id(), ToProcess::Accept), "it is not connected yet");
    let mut stream = server.connect();
    stream.write_all(HELLO.as_bytes()).unwrap();
    let FromProcess::Hello(hello) = server.next().await else { panic!() };
    assert_eq!(hello.state, State::Listening);
    assert!(server.registry.is_connected(&id()));
    assert!(server.registry.send(&id(), ToProcess::Accept));
    assert!(server.registry.send(&id(), ToProcess::Bleed { within_ms: 5, quiet: None }));
    let mut copy = BufReader::new(stream.try_clone().unwrap());
    let lines = tokio::task::spawn_blocking(move || {
        [(); 2].map(|()| {
            let mut line = String::new();
            copy.read_line(&mut line).unwrap();
            line
        })
    });
    assert_eq!(
        lines.await.unwrap(),
        ["{\"type\":\"accept\"}\n", "{\"type\":\"bleed\",\"within_ms\":5}\n"]
    );
    stream.write_all(b"{\"type\":\"accepting\"}\n{\"type\":\"news\"}\n").unwrap();
    stream.write_all(b"{\"type\":\"drained\",\"cut\":0,\"websockets\":1}\n").unwrap();
    assert_eq!(server.next().await, FromProcess::Accepting);
    assert_eq!(server.next().await, FromProcess::Drained { cut: 0, websockets: 1 });
    server.channel.shutdown().await;
    assert!(hangs_up(stream).await);
}

#[tokio::test]
async fn a_hello_of_another_process_or_run_or_none_is_refused() {
    let mut server = Server::new();
    for first in [
        HELLO.replace("web.1.1", "web.1.2"),
        HELLO.replace("\"run\":3", "\"run\":2"),
        "{\"type\":\"accepting\"}\n".to_owned(),
        "GET / HTTP/1.1\n".to_owned(),
        "\n".to_owned(),
        "x".repeat(100_000),
    ] {
        let mut stream = server.connect();
        // The server may have hung up in the middle of a long one.
        drop(stream.write_all(first.as_bytes()));
        assert!(hangs_up(stream).await, "{first:.80}");
        assert!(server.silent() && !server.registry.is_connected(&id()));
    }
}

#[tokio::test]
async fn a_process_that_is_not_the_tiers_is_refused() {
    let mut server = Server::new();
    // Known under another number than this one's, in another session.
    server.registry.insert(id(), 3, 1);
    assert!(hangs_up(server.connect()).await);
    assert!(server.silent());
}

/// A child of this process that says its lines and waits.
#[expect(clippy::disallowed_methods, reason = "a peer of the channel, not a tier's process")]
fn child(server: &Server, marker: &str, session: bool, lines: &str) -> Child {
    let script = "import os, socket, sys
if sys.argv[2] == 'own': os.setsid()
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.sendall(sys.argv[3].encode())
s.recv(1)";
    Command::new("python3")
        .args(["-c", script, server.path.as_str(), if session { "own" } else { "same" }, lines])
        .env("GROUNDCREW_PROCESS", marker)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

async fn ends(mut child: Child) {
    tokio::task::spawn_blocking(move || child.wait()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_child_may_say_where_it_listens_and_nothing_else() {
    let mut server = Server::new();
    let lines = format!(
        "{HELLO}{}{}{}",
        "{\"type\":\"accepting\"}\n",
        "{\"type\":\"elsewhere\",\"port\":9,\"pid\":5,\"child\":false}\n",
        "{\"type\":\"elsewhere\",\"port\":8080,\"pid\":5,\"child\":true}\n"
    );
    let main = server.hello().await;
    let peer = child(&server, "web.1.1", true, &lines);
    let said = server.next().await;
    assert_eq!(said, FromProcess::Elsewhere { port: 8080, pid: 5, child: true });
    assert!(server.registry.is_connected(&id()) && server.silent());
    assert!(server.registry.send(&id(), ToProcess::Accept), "the process's own connection stays");
    drop(main);
    let stranger = child(&server, "web.9.9", true, &lines);
    ends(stranger).await;
    assert!(server.silent(), "another process's child is refused");
    server.registry.remove(&id(), 3);
    ends(peer).await;
}

#[tokio::test]
async fn the_latest_connection_counts() {
    let mut server = Server::new();
    let first = server.hello().await;
    let second = server.hello().await;
    assert!(hangs_up(first).await);
    assert!(server.registry.send(&id(), ToProcess::Accept));
    drop(second);
    server.registry.insert(id(), 4, own_pid());
    assert!(!server.registry.send(&id(), ToProcess::Accept), "a new run has to say hello itself");
}

#[tokio::test]
async fn a_connection_ends_with_its_process() {
    let mut server = Server::new();
    let stream = server.hello().await;
    server.registry.remove(&id(), 2);
    assert!(server.registry.is_connected(&id()), "that was another run");
    server.registry.remove(&id(), 3);
    assert!(hangs_up(stream).await, "a child may have inherited it");
}

#[tokio::test]
async fn a_process_that_does_not_read_blocks_nobody() {
    let mut server = Server::new();
    let stream = server.hello().await;
    let mut sent = 0_u32;
    // Orders fill the socket's buffers, then the queue; then the connection is given up.
    while server.registry.send(&id(), ToProcess::Shed { connections: sent }) {
        sent += 1;
        assert!(sent < 1_000_000, "no end of what is kept for it");
        tokio::task::yield_now().await;
    }
    assert!(sent >= 16 && !server.registry.is_connected(&id()));
    drop(stream);
    server.hello().await;
}

#[tokio::test]
async fn some_garbage_is_borne_and_much_is_not() {
    let mut server = Server::new();
    let mut stream = server.hello().await;
    stream.write_all("nonsense\n".repeat(16).as_bytes()).unwrap();
    stream.write_all(b"{\"type\":\"accepting\"}\n").unwrap();
    assert_eq!(server.next().await, FromProcess::Accepting);
    stream.write_all(b"\xff\xfe\n").unwrap();
    assert!(hangs_up(stream).await);
    let mut long = server.hello().await;
    drop(long.write_all(&vec![b' '; 70_000]));
    assert!(hangs_up(long).await);
}

#[tokio::test]
async fn a_flood_is_heard_in_order_and_at_the_listeners_pace() {
    let mut server = Server::new();
    let mut stream = server.hello().await;
    let flood = std::thread::spawn(move || {
        for port in 1..=10_000 {
            let line = format!("{{\"type\":\"listening\",\"port\":{port}}}\n");
            stream.write_all(line.as_bytes()).unwrap();
        }
        stream
    });
    for port in 1..=10_000 {
        assert_eq!(server.next().await, FromProcess::Listening { port });
    }
    drop(flood.join().unwrap());
    assert!(server.silent());
}
