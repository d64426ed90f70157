//! The agent under test: the world it lives in, and the agent itself.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::app::{Release, set};
use super::reaper::{Reaper, processes_of};
use super::{http_client, wait_until};

const BINARY: &str = env!("CARGO_BIN_EXE_groundcrew-under-test");
/// The environment every world promotes to.
pub const ENVIRONMENT: &str = "test";
// Lines of the agent's log that a failed test prints.
const LOG_LINES_SHOWN: usize = 200;

/// A directory for one test: the source, the releases in the making, state and run directory.
/// Dropping it kills every process that belongs to it.
pub struct World {
    /// What the agent and the CLI are told.
    pub source: String,
    /// Where tier `web` listens, if the test uses it.
    pub port: u16,
    program: PathBuf,
    environment: Vec<(String, String)>,
    // The order matters: processes end before their directory.
    _reaper: Reaper,
    directory: tempfile::TempDir,
}

/// How a command ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl World {
    /// A world whose source is a directory.
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("gc-").tempdir().expect("no directory");
        // Processes of a tier may run as another user.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(directory.path().join("source")).unwrap();
        Self {
            source: format!("file://{}/source", directory.path().display()),
            port: super::free_port(),
            program: BINARY.into(),
            environment: Vec::new(),
            _reaper: Reaper::new(directory.path()).expect("no reaper"),
            directory,
        }
    }

    /// A world whose source is elsewhere, such as `s3://bucket/prefix`, with the variables that
    /// lead there.
    pub fn with_source(source: &str, environment: Vec<(String, String)>) -> Self {
        Self { source: source.to_owned(), environment, ..Self::new() }
    }

    /// Gives this world a copy of the binary, which a test may replace. Its path.
    pub fn install(&mut self) -> PathBuf {
        let program = self.path().join("groundcrew");
        fs::copy(&self.program, &program).expect("could not copy the binary");
        self.program.clone_from(&program);
        program
    }

    /// The world's directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A variable for the agent and the CLI from now on.
    pub fn set_environment(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Packs and uploads a release.
    #[track_caller]
    pub fn publish(&self, release: &Release) {
        let home = release.write_below(&self.path().join("build"));
        let home = home.to_str().expect("UTF-8");
        let ended =
            self.cli(&["publish", home, "--source", &self.source, "--version", &release.version]);
        assert_eq!(ended.code, Some(0), "publish: {ended:#?}");
    }

    /// Moves the channel to a release.
    #[track_caller]
    pub fn promote(&self, version: &str) {
        let source = &self.source;
        let ended =
            self.cli(&["promote", version, "--source", source, "--environment", ENVIRONMENT]);
        assert_eq!(ended.code, Some(0), "promote {version}: {ended:#?}");
    }

    /// Both.
    #[track_caller]
    pub fn release(&self, release: &Release) {
        self.publish(release);
        self.promote(&release.version);
    }

    /// Runs a command of the CLI to its end.
    pub fn cli(&self, arguments: &[&str]) -> Ended {
        let output = self.command().args(arguments).output().expect("could not start the CLI");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ended {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// As if the host had booted since the last agent ended.
    pub fn forget_boot(&self) {
        let path = self.path().join("state/ledger.json");
        let mut ledger: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        ledger["boot_id"] = "another boot".into();
        fs::write(&path, ledger.to_string()).unwrap();
    }

    /// A command of the CLI, not started yet.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .current_dir(self.path())
            .env("GROUNDCREW_SOCKET", self.socket())
            .env("GROUNDCREW_TEST", self.path())
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null());
        command
    }

    fn socket(&self) -> PathBuf {
        self.path().join("run/control.sock")
    }
}

/// One process of a tier, as the status shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierProcess {
    /// Such as `web.17.1`.
    pub id: String,
    /// `None` while it does not run.
    pub pid: Option<Pid>,
    /// Such as `accepting`.
    pub state: String,
    /// How often it was started again.
    pub restarts: u64,
}

impl TierProcess {
    fn read(value: &Value) -> Self {
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        let pid = value["pid"].as_i64().map(|pid| Pid::from_raw(i32::try_from(pid).unwrap()));
        let restarts = value["restarts"].as_u64().unwrap_or_default();
        Self { id: text("id"), pid, state: text("state"), restarts }
    }
}

/// A running (or killed) agent.
pub struct Agent<'a> {
    world: &'a World,
    config: toml::Table,
    child: Option<Child>,
}

impl<'a> Agent<'a> {
    /// Starts one with the config of most tests.
    pub fn start(world: &'a World) -> Self {
        Self::start_with(world, &[])
    }

    /// Starts one with more in its config, such as `("tier.web.memory_max", "64 MiB".into())`.
    pub fn start_with(world: &'a World, more: &[(&str, toml::Value)]) -> Self {
        let mut config = toml::Table::new();
        let directory = |name: &str| world.path().join(name).to_str().expect("UTF-8").to_owned();
        set(&mut config, "environment", ENVIRONMENT.into());
        set(&mut config, "source", world.source.as_str().into());
        set(&mut config, "state_dir", directory("state").into());
        set(&mut config, "run_dir", directory("run").into());
        set(&mut config, "poll.interval", "1s".into());
        set(&mut config, "http.listen", format!("127.0.0.1:{}", super::free_port()).into());
        // Most tests have nobody to take logs and metrics, and no credentials to look for.
        set(&mut config, "logs.to.kind", "none".into());
        set(&mut config, "metrics.to.kind", "none".into());
        for (key, value) in more {
            set(&mut config, key, value.clone());
        }
        let mut agent = Self { world, config, child: None };
        agent.restart();
        agent
    }

    /// Changes a key of its config; the next start reads it.
    pub fn configure(&mut self, key: &str, value: impl Into<toml::Value>) {
        set(&mut self.config, key, value.into());
    }

    /// Starts it (again).
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "the agent is still running");
        fs::write(self.world.path().join("config.toml"), self.config.to_string()).unwrap();
        let log = File::options().create(true).append(true).open(self.log_path()).unwrap();
        let child = self
            .world
            .command()
            .args(["agent", "--config", "config.toml"])
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("could not start the agent");
        self.child = Some(child);
    }

    /// The agent's process.
    pub fn pid(&self) -> Pid {
        let child = self.child.as_ref().expect("the agent is not running");
        Pid::from_raw(i32::try_from(child.id()).unwrap())
    }

    /// Sends it a signal: SIGSTOP and SIGCONT, for example.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("could not signal the agent");
    }

    /// SIGKILL, and waits for its end.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.wait();
    }

    /// The processes of a tier, those of an old generation included.
    #[track_caller]
    pub fn processes(&self, tier: &str) -> Vec<TierProcess> {
        self.try_processes(tier).expect("no status")
    }

    fn try_processes(&self, tier: &str) -> Result<Vec<TierProcess>, String> {
        let status = self.status()?;
        let tiers = status["tiers"].as_array().expect("tiers");
        let tier = tiers.iter().find(|known| known["name"] == tier).ok_or("no such tier")?;
        let processes = tier["processes"].as_array().expect("processes");
        Ok(processes.iter().map(TierProcess::read).collect())
    }

    /// Waits until only one generation of a tier is left, all of it accepting, and answers it.
    #[track_caller]
    pub fn wait_for_one_generation(&self, tier: &str, processes: usize) -> Vec<TierProcess> {
        let what = format!("{processes} processes of {tier} accept and no other is left");
        wait_until(Duration::from_secs(30), &what, || {
            let found = self.try_processes(tier)?;
            let accepting = found.iter().all(|process| process.state == "accepting");
            if accepting && found.len() == processes {
                Ok(found)
            } else {
                Err(format!("{found:#?}"))
            }
        })
    }

    /// Waits until no process of the world is left but the agent and those its status shows.
    #[track_caller]
    pub fn wait_for_no_strays(&self) {
        wait_until(Duration::from_secs(20), "no stray process is left", || {
            let status = self.status()?;
            let tiers = status["tiers"].as_array().expect("tiers");
            let known: Vec<_> = (tiers.iter())
                .flat_map(|tier| tier["processes"].as_array().expect("processes"))
                .filter_map(|process| TierProcess::read(process).pid)
                .chain([self.pid()])
                .collect();
            let strays = processes_of(self.world.path()).into_iter();
            let strays: Vec<_> = strays.filter(|pid| !known.contains(pid)).collect();
            if strays.is_empty() { Ok(()) } else { Err(format!("{strays:?}")) }
        });
    }

    /// Waits for an event whose text contains `part`, and answers it: its time and its text.
    #[track_caller]
    pub fn wait_for_event(&self, part: &str) -> (i64, String) {
        wait_until(Duration::from_secs(30), &format!("an event with {part:?}"), || {
            let events = events(&self.status()?);
            events
                .iter()
                .find(|(_, text)| text.contains(part))
                .cloned()
                .ok_or(format!("{events:#?}"))
        })
    }

    /// The status of `GET /ready`.
    #[track_caller]
    pub fn ready(&self) -> u16 {
        self.try_ready().expect("/ready does not answer")
    }

    /// The same of an agent that may not be there.
    pub fn try_ready(&self) -> std::io::Result<u16> {
        Ok(http_client::get(&self.http_address(), "/ready")?.status)
    }

    /// Where `/ready` and `/metrics` answer.
    pub fn http_address(&self) -> String {
        self.config["http"]["listen"].as_str().expect("an address").to_owned()
    }

    /// Waits until it has ended by itself and answers its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        let mut child = self.child.take().expect("the agent is not running");
        wait_until(Duration::from_mins(1), "the agent ends", || match child.try_wait() {
            Ok(Some(status)) => Ok(status.code()),
            other => Err(other),
        })
    }

    /// What `status --json` shows, asked over the control socket.
    pub fn status(&self) -> Result<Value, String> {
        self.ask("/v1/status")
    }

    /// What the control socket answers to a GET.
    pub fn ask(&self, path: &str) -> Result<Value, String> {
        let answer =
            http_client::get_unix(&self.world.socket(), path).map_err(|error| error.to_string())?;
        if answer.status != 200 {
            return Err(format!("{}: {}", answer.status, answer.text()));
        }
        serde_json::from_slice(&answer.body).map_err(|error| error.to_string())
    }

    /// Waits until the status is as wanted, and answers it.
    #[track_caller]
    pub fn wait_for(&self, within: Duration, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        wait_until(within, what, || {
            let status = self.status();
            match status {
                Ok(status) if wanted(&status) => Ok(status),
                other => Err(other),
            }
        })
    }

    /// Waits until a release serves with all its processes.
    #[track_caller]
    pub fn wait_for_release(&self, version: &str) -> Value {
        self.wait_for_release_within(version, Duration::from_secs(30))
    }

    /// The same with another limit.
    #[track_caller]
    pub fn wait_for_release_within(&self, version: &str, within: Duration) -> Value {
        let what = format!("release {version} is serving");
        self.wait_for(within, &what, |status| {
            status["state"] == "serving"
                && of_version(&status["release"], version)
                && status["tiers"].as_array().is_some_and(|tiers| {
                    tiers.iter().all(|tier| {
                        of_version(&tier["release"], version) && tier["ready"] == tier["wanted"]
                    })
                })
        })
    }

    /// Waits until a release serves and its trial is over.
    #[track_caller]
    pub fn wait_for_settled(&self, version: &str) -> Value {
        self.wait_for_release(version);
        self.wait_for(Duration::from_secs(30), "the trial is over", |status| {
            of_version(&status["release"], version) && status["rollout"].is_null()
        })
    }

    /// Waits until a release was tried here and given up, and answers the status.
    #[track_caller]
    pub fn wait_for_rejected(&self, version: &str) -> Value {
        let what = format!("release {version} is rejected");
        self.wait_for(Duration::from_secs(30), &what, |status| {
            of_version(&status["rejected"], version) && status["rollout"].is_null()
        })
    }

    /// What the agent has printed.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.world.path().join("agent.log")
    }
}

/// The events of a status, newest first: milliseconds since 1970, and the text.
pub fn events(status: &Value) -> Vec<(i64, String)> {
    let read = |event: &Value| {
        let text = event["text"].as_str().unwrap_or_default().to_owned();
        (event["at"].as_i64().unwrap_or_default(), text)
    };
    status["events"].as_array().into_iter().flatten().map(read).collect()
}

/// Whether a release in the status, which is its version or has one, is this.
pub fn of_version(release: &Value, version: &str) -> bool {
    release == version || release["version"] == version
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
            eprintln!("--- status\n{:#?}", self.status());
            eprintln!("--- the agent's last lines\n{}", shown.join("\n"));
        }
        if let Some(mut child) = self.child.take() {
            // Its processes are the reaper's, with the world.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world_of_the_double() -> World {
        World { program: super::super::fixture("apps/agent_double.js"), ..World::new() }
    }

    #[test]
    fn an_agent_is_started_asked_killed_and_started_again() {
        let world = world_of_the_double();
        world.publish(&Release::web("v1", world.port));
        let mut agent = Agent::start_with(
            &world,
            &[("double.release", "v1".into()), ("double.rejected", "v2".into())],
        );
        let status = agent.wait_for_settled("v1");
        assert_eq!(status["tiers"][0]["processes"][0]["id"], "web.1.1");
        agent.wait_for_rejected("v2");
        let [process] = agent.processes("web").try_into().unwrap();
        assert_eq!((process.id.as_str(), process.restarts), ("web.1.1", 0));
        agent.kill();
        assert!(agent.status().is_err());
        assert!(kill(process.pid.unwrap(), None).is_ok(), "a tier's process outlives the agent");
        agent.restart();
        agent.wait_for_settled("v1");
        assert_eq!(agent.log(), "the double listens\n".repeat(2));
        assert_eq!(world.cli(&["status"]).code, Some(64));

        let directory = world.path().to_owned();
        drop(agent);
        drop(world);
        assert_eq!(super::super::reaper::processes_of(&directory), []);
        assert!(!directory.exists());
    }

    #[test]
    #[should_panic(expected = "release v9 is serving: not within")]
    fn a_status_that_never_comes_is_shown() {
        let world = world_of_the_double();
        let agent = Agent::start_with(&world, &[("double.release", "v1".into())]);
        agent.wait_for_release_within("v9", Duration::from_millis(200));
    }
}
