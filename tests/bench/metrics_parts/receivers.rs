//! Who receives StatsD: this agent, and the reference daemon from npm.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::unistd::Pid;

use crate::harness::agent::{Agent, World};
use crate::harness::{cache, free_port, http_client, wait_until};

const SOON: Duration = Duration::from_secs(30);

/// Receives packets, and says how many.
pub trait Receiver {
    /// Where.
    fn address(&self) -> SocketAddr;
    /// Its process.
    fn pid(&self) -> Pid;
    /// How many packets up to now.
    fn received(&self) -> Result<u64, String>;
}

/// Nobody listens there yet.
pub fn free_address() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// The agent.
pub struct Ours<'a> {
    agent: Agent<'a>,
    address: SocketAddr,
}

impl<'a> Ours<'a> {
    pub fn start(world: &'a World) -> Self {
        let address = free_address();
        let listen = address.to_string();
        let agent = Agent::start_with(world, &[("metrics.statsd.listen", listen.into())]);
        let ours = Self { agent, address };
        wait_until(SOON, "the agent answers", || ours.received());
        ours
    }
}

impl Receiver for Ours<'_> {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn pid(&self) -> Pid {
        self.agent.pid()
    }

    fn received(&self) -> Result<u64, String> {
        let answer = http_client::get(&self.agent.http_address(), "/metrics");
        let answer = answer.map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let count = |line: &str| {
            let count = line.strip_prefix("groundcrew_statsd_packets_total ")?;
            count.strip_suffix(".0")?.parse().ok()
        };
        text.lines().find_map(count).ok_or(text)
    }
}

/// The `statsd` of npm, without a backend, so that it receives and counts and nothing else.
pub struct Reference {
    child: Child,
    address: SocketAddr,
    management: u16,
}

impl Reference {
    pub fn start(world: &World) -> Self {
        let (address, management) = (free_address(), free_port());
        let config = world.path().join("statsd.js");
        let port = address.port();
        let settings = format!(
            "{{ address: '127.0.0.1', port: {port}, mgmt_address: '127.0.0.1', \
             mgmt_port: {management}, backends: [], flushInterval: 3600000 }}\n"
        );
        std::fs::write(&config, settings).unwrap();
        let daemon = cache().join("bench-node/node_modules/statsd/stats.js");
        assert!(daemon.exists(), "{} is missing: run scripts/setup --bench", daemon.display());
        let child = Command::new("node")
            .arg(daemon)
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("node");
        let reference = Self { child, address, management };
        wait_until(SOON, "the reference daemon answers", || reference.received());
        reference
    }
}

impl Receiver for Reference {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    fn received(&self) -> Result<u64, String> {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.management))?;
            stream.set_read_timeout(Some(SOON))?;
            stream.write_all(b"counters\n")?;
            let lines = BufReader::new(stream).lines().map_while(Result::ok);
            Ok(lines.take_while(|line| line != "END").collect::<Vec<_>>().join("\n"))
        };
        let said = ask().map_err(|error| error.to_string())?;
        let (_, rest) = said.split_once("packets_received': ").ok_or(&said)?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().map_err(|_| said)
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
