//! What the demo plays on: a temporary directory, a source in it, the agent as a child process. It
//! owns all of it and takes it down again, whatever happened.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use groundcrew_core::status::StatusDocument;
use groundcrew_core::types::{Environment, Pid, Version};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::process::{Child, Command};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::DemoError;
use super::narrator::Narrator;
use crate::config::{self, SourceUrl};
use crate::control::client::{ClientError, ControlClient};
use crate::fsx::{self, About};
use crate::procfs;
use crate::releases::promote::{promote, rollback, who};
use crate::releases::publish::{Publication, publish};
use crate::releases::source::Source;

/// Pause between two looks at the status. The agent announces changes once a second at most, and a
/// story is told faster.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long one scene may take, on a machine that has other things to do.
const SCENE_WITHIN: Duration = Duration::from_secs(45);
/// How long the agent may take to stop everything and go.
const LEAVE_WITHIN: Duration = Duration::from_secs(20);
/// How long killed processes may take to be gone.
const SWEEP_WITHIN: Duration = Duration::from_secs(5);
/// Lines of the agent's log that an error shows.
const LOG_LINES: usize = 15;
/// Longer directories leave no room for the sockets in them: a unix socket's path has 107 bytes.
const TOP_BYTES_MAX: usize = 40;
/// In the environment of every process of a tier: its path begins with the run directory.
const MARK: &str = "GROUNDCREW_PROBE";
/// Below those from which the kernel takes the ports of outgoing connections, so that none can take
/// the app's between its choice and its use.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
const APP: &str = include_str!("app/server.js");
/// The name of the demo's environment.
const ENVIRONMENT: &str = "demo";

/// A release of the demo's app.
pub struct DemoRelease {
    /// Its name.
    pub version: &'static str,
    /// What is wrong with it; see `app/server.js`.
    pub fault: &'static str,
    /// How long it is watched after its cutover.
    pub trial: &'static str,
}

/// Everything the demo has made.
pub struct Stage {
    /// Tells.
    pub narrator: Narrator,
    /// Where the app listens.
    pub port: u16,
    node: Utf8PathBuf,
    top: Utf8PathBuf,
    source: SourceUrl,
    environment: Environment,
    agent: Option<Child>,
    client: ControlClient,
    // Last: processes end before their directory.
    directory: Option<tempfile::TempDir>,
}

impl Stage {
    /// Makes the directory and its configuration. Starts nothing.
    pub fn open(narrator: Narrator, node: Utf8PathBuf) -> Result<Self, DemoError> {
        let unusable = |source| DemoError::Directory { operation: "make", source };
        let directory = make_directory().map_err(unusable)?;
        let top = super::utf8(directory.path())
            .ok_or_else(|| unusable(io::ErrorKind::InvalidFilename.into()))?;
        let parse = |error: String| DemoError::Unexpected(error);
        let source = top.join("source");
        fsx::create_dirs(&source, 0o700)?;
        let source =
            format!("file://{source}").parse::<SourceUrl>().map_err(|e| parse(e.to_string()))?;
        let environment = ENVIRONMENT.parse::<Environment>().map_err(|e| parse(e.to_string()))?;
        let port = free_port().map_err(DemoError::Port)?;
        let host = format!(
            "environment = \"{environment}\"\nsource = \"{source}\"\nstate_dir = \"{top}/state\"\n\
             run_dir = \"{top}/run\"\ntiers = [\"web\"]\n\n[poll]\ninterval = \"1s\"\n\n\
             [http]\nlisten = \"none\"\n\n[logs.to]\nkind = \"none\"\n\n\
              [metrics.to]\nkind = \"none\"\n"
        );
        fsx::write_atomic(&top.join("groundcrew.toml"), host.as_bytes(), 0o600)?;
        let client = ControlClient::new(top.join("run/control.sock"));
        let directory = Some(directory);
        Ok(Self { narrator, port, node, top, source, environment, agent: None, client, directory })
    }

    /// Where everything is.
    pub fn top(&self) -> &Utf8Path {
        &self.top
    }

    /// Publishes a release and promotes it.
    pub async fn release(&mut self, release: &DemoRelease) -> Result<(), DemoError> {
        let DemoRelease { version, .. } = release;
        self.narrator.typed(&format!(
            "groundcrew publish ./shop --source {} --version {version} --promote {}",
            self.source, self.environment
        ))?;
        let directory = self.write_release(release)?;
        let source = Source::open(&self.source).await;
        let version: Version =
            version.parse().map_err(|e| DemoError::Unexpected(format!("{version}: {e}")))?;
        let threads = NonZero::<usize>::MIN;
        let publication = Publication { directory, version: version.clone(), threads };
        let validate = |text: &str| {
            config::release::parse(text).map(drop).map_err(|problems| problems.to_string())
        };
        let cancel = CancellationToken::new();
        publish(&source, publication, &validate, Arc::new(|_| {}), &cancel).await?;
        promote(&source, &self.environment, &version, &who()).await?;
        Ok(())
    }

    /// Moves the channel back.
    pub async fn roll_back(&mut self, to: &str) -> Result<(), DemoError> {
        self.narrator.typed(&format!(
            "groundcrew rollback --source {} --environment {} --to {to}",
            self.source, self.environment
        ))?;
        let to: Version = to.parse().map_err(|e| DemoError::Unexpected(format!("{to}: {e}")))?;
        let source = Source::open(&self.source).await;
        rollback(&source, &self.environment, Some(&to), &who()).await?;
        Ok(())
    }

    fn write_release(&self, release: &DemoRelease) -> Result<Utf8PathBuf, DemoError> {
        let DemoRelease { version, fault, trial } = release;
        let directory = self.top.join("shop").join(version);
        fsx::create_dirs(&directory, 0o700)?;
        let write = |name: &str, text: &str| {
            fsx::write_atomic(&directory.join(name), text.as_bytes(), 0o600)
        };
        write("server.js", APP)?;
        let about = serde_json::json!({ "release": version, "fault": fault });
        write("release.json", &about.to_string())?;
        // JSON's strings of ASCII are TOML's as well.
        let node = serde_json::Value::from(self.node.as_str());
        let toml = format!(
            "[tier.web]\ncommand = [{node}, \"server.js\"]\nport = {}\nprocesses = 2\n\
             ready = {{ path = \"/health\" }}\nhandoff = \"node\"\n\n\
             [trial]\nfor = \"{trial}\"\n",
            self.port
        );
        write("release.toml", &toml)?;
        Ok(directory)
    }

    /// Starts the agent, for the first time or again.
    pub fn start_agent(&mut self) -> Result<(), DemoError> {
        let config = self.top.join("groundcrew.toml");
        self.narrator.typed(&format!("groundcrew agent --config {config}"))?;
        let path = self.log_path();
        let log = File::options().create(true).append(true).open(&path).about("open", &path)?;
        let errors = log.try_clone().about("open", &path)?;
        #[expect(clippy::disallowed_methods, reason = "the demo plays systemd")]
        let mut command = Command::new("/proc/self/exe");
        // In a group of its own: Ctrl-C is for the demo, which then ends the agent in order.
        command.arg0("groundcrew").args(["agent", "--config", config.as_str()]).process_group(0);
        command.stdin(Stdio::null()).stdout(log).stderr(errors).kill_on_drop(true);
        let child = command.spawn();
        let child = child.map_err(|source| DemoError::Agent { operation: "start", source })?;
        self.agent = Some(child);
        Ok(())
    }

    /// SIGKILL.
    pub async fn kill_agent(&mut self) -> Result<(), DemoError> {
        let Some(mut agent) = self.agent.take() else { return Ok(()) };
        let pid = agent.id().unwrap_or_default();
        self.narrator.typed(&format!("kill -9 {pid}    # the agent"))?;
        agent.kill().await.map_err(|source| DemoError::Agent { operation: "kill", source })
    }

    /// Tells what the agent says until the status is as wanted.
    pub async fn until(
        &mut self,
        what: &str,
        wanted: impl Fn(&StatusDocument) -> bool,
    ) -> Result<StatusDocument, DemoError> {
        let not_after = Instant::now() + SCENE_WITHIN;
        loop {
            let asked = self.client.get::<StatusDocument>("/v1/status").await;
            match asked {
                Ok(status) => {
                    self.narrator.events(&status)?;
                    if wanted(&status) {
                        return Ok(status);
                    }
                }
                // It is starting, or has ended.
                Err(ClientError::NotRunning { .. } | ClientError::Broken { .. }) => {
                    self.check_agent()?;
                }
                Err(error) => return Err(error.into()),
            }
            if Instant::now() >= not_after {
                let log = self.log_tail();
                return Err(DemoError::Late { what: what.to_owned(), within: SCENE_WITHIN, log });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn check_agent(&mut self) -> Result<(), DemoError> {
        let Some(agent) = &mut self.agent else { return Ok(()) };
        let ended = agent.try_wait();
        match ended.map_err(|source| DemoError::Agent { operation: "wait for", source })? {
            None => Ok(()),
            Some(status) => Err(DemoError::AgentEnded { status, log: self.log_tail() }),
        }
    }

    fn log_path(&self) -> Utf8PathBuf {
        self.top.join("agent.log")
    }

    fn log_tail(&self) -> String {
        let log = fs::read_to_string(self.log_path()).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    /// Lets the agent end everything and go.
    pub async fn stop_agent(&mut self) -> Result<(), DemoError> {
        let Some(mut agent) = self.agent.take() else { return Ok(()) };
        let Some(pid) = agent.id().and_then(|pid| Pid::try_from(pid).ok()) else { return Ok(()) };
        let signalled = open(pid).and_then(|pidfd| Ok(pidfd_send_signal(pidfd, Signal::TERM)?));
        signalled.map_err(|source| DemoError::Agent { operation: "signal", source })?;
        match tokio::time::timeout(LEAVE_WITHIN, agent.wait()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(source)) => Err(DemoError::Agent { operation: "wait for", source }),
            Err(_) => {
                let what = "the agent leaves after SIGTERM".to_owned();
                // Dropped, and thereby killed; what is left of it the sweep finds.
                Err(DemoError::Late { what, within: LEAVE_WITHIN, log: self.log_tail() })
            }
        }
    }

    /// Ends everything and removes the directory.
    pub async fn close(mut self) -> Result<(), DemoError> {
        let stopped = self.stop_agent().await;
        let swept = self.sweep();
        let removed = self.directory.take().map_or(Ok(()), tempfile::TempDir::close);
        stopped?;
        swept?;
        removed.map_err(|source| DemoError::Directory { operation: "remove", source })
    }

    /// Kills what an agent that is not there any more has left.
    fn sweep(&self) -> Result<(), DemoError> {
        let not_after = crate::clock::at().plus(SWEEP_WITHIN);
        loop {
            let left = self.left();
            if left.is_empty() {
                return Ok(());
            }
            if crate::clock::at() >= not_after {
                return Err(DemoError::Left(left.into_iter().map(|(pid, _)| pid).collect()));
            }
            for (_, pidfd) in left {
                // One that has ended since is as good as killed.
                if pidfd_send_signal(&pidfd, Signal::KILL).is_ok() {
                    let within = Timespec { tv_sec: 1, tv_nsec: 0 };
                    // However it ends, the next look says what is left.
                    let _ = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&within));
                }
            }
        }
    }

    /// The living processes of the tier, with a handle opened before the look at who they are.
    fn left(&self) -> Vec<(Pid, OwnedFd)> {
        let belongs = |pid: Pid| {
            let environ = procfs::environ(pid).unwrap_or_default();
            let marked =
                environ.get(MARK).is_some_and(|path| Utf8Path::new(path).starts_with(&self.top));
            marked && procfs::stat(pid).is_ok_and(|stat| !stat.is_dead())
        };
        let pids = procfs::pids().unwrap_or_default();
        let open = |pid| Some((pid, open(pid).ok()?));
        pids.into_iter().filter_map(open).filter(|(pid, _)| belongs(*pid)).collect()
    }
}

impl Drop for Stage {
    /// For a panic; [`Stage::close`] has done all of it before.
    fn drop(&mut self) {
        if self.directory.is_some() {
            drop(self.agent.take());
            drop(self.sweep());
        }
    }
}

fn open(pid: Pid) -> io::Result<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// Where temporary files go, if that is not too deep for sockets.
fn make_directory() -> io::Result<tempfile::TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("gc-demo-");
    let usual = std::env::temp_dir();
    let fits =
        usual.is_absolute() && usual.as_os_str().len() + "/gc-demo-123456".len() <= TOP_BYTES_MAX;
    builder.tempdir_in(if fits { usual.as_path() } else { std::path::Path::new("/tmp") })
}

/// Free now; the agent binds it a moment later, on all addresses.
fn free_port() -> io::Result<u16> {
    let span = u32::from(PORTS.end - PORTS.start);
    // Two demos at once begin at different ones.
    let skipped = u16::try_from(std::process::id() % span).unwrap_or(0);
    let first = PORTS.start + skipped;
    for port in (first..PORTS.end).chain(PORTS.start..first) {
        match TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)) {
            Ok(_) => return Ok(port),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}
