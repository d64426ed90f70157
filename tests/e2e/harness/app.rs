//! Releases of the example apps in `tests/apps`, and the apps run by themselves.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use toml::{Table, Value};

use super::reaper::Reaper;
use super::{fixture, http_client, poll_until};

/// A release in the making: what its `release.toml` says, and its files.
#[derive(Debug, Clone)]
pub struct Release {
    /// Such as `v1`; the apps answer with it in `X-Release`.
    pub version: String,
    document: Table,
    files: Vec<(String, Vec<u8>)>,
}

impl Release {
    /// Without a tier yet, on trial for a moment only.
    pub fn new(version: &str) -> Self {
        let release =
            Self { version: version.to_owned(), document: Table::new(), files: Vec::new() };
        release.set("trial.for", "300ms").file("VERSION", version.as_bytes())
    }

    /// The web app as tier `web`, two processes.
    pub fn web(version: &str, port: u16) -> Self {
        Self::new(version)
            .tier("web", &["node", "web.js"], "web.js")
            .set("tier.web.port", i64::from(port))
            .set("tier.web.processes", 2)
            .set("tier.web.ready.path", "/health")
            .set("tier.web.ready.within", "10s")
            .set("tier.web.bleed", "5s")
            .set("tier.web.stop", "2s")
    }

    /// A release of [`Release::web`] whose app has an `APP_*` variable; see `tests/apps/web.js`.
    #[must_use]
    pub fn app(self, name: &str, value: &str) -> Self {
        self.set(&format!("tier.web.env.APP_{name}"), value)
    }

    /// The queue worker as tier `worker`.
    #[must_use]
    pub fn with_worker(self) -> Self {
        self.tier("worker", &["node", "worker.js"], "worker.js")
            .set("tier.worker.processes", 1)
            .set("tier.worker.stop", "5s")
    }

    /// The Python server that takes fd 3 by itself, as tier `web`.
    pub fn listen_fds(version: &str, port: u16) -> Self {
        Self::new(version)
            .tier("web", &["python3", "listen_fds.py"], "listen_fds.py")
            .set("tier.web.port", i64::from(port))
            .set("tier.web.processes", 2)
            .set("tier.web.handoff", "listen-fds")
            .set("tier.web.ready.within", "10s")
            .set("tier.web.stop", "5s")
    }

    /// The bounded fork bomb as tier `bomb`.
    #[must_use]
    pub fn with_fork_bomb(self, forks: u32) -> Self {
        self.tier("bomb", &["node", "fork_bomb.js"], "fork_bomb.js")
            .set("tier.bomb.processes", 1)
            .set("tier.bomb.env.APP_FORKS", forks.to_string())
    }

    fn tier(self, name: &str, command: &[&str], app: &str) -> Self {
        let command: Vec<Value> = command.iter().map(|word| Value::from(*word)).collect();
        let source = fixture("apps").join(app);
        let content = fs::read(&source)
            .unwrap_or_else(|error| panic!("could not read {}: {error}", source.display()));
        self.set(&format!("tier.{name}.command"), command).file(app, &content)
    }

    /// Sets a key of `release.toml`, such as `tier.web.bleed`.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        set(&mut self.document, key, value.into());
        self
    }

    /// Adds a file, or replaces it.
    #[must_use]
    pub fn file(mut self, path: &str, content: &[u8]) -> Self {
        self.files.retain(|(known, _)| known != path);
        self.files.push((path.to_owned(), content.to_vec()));
        self
    }

    /// Writes the release's directory below `parent` and answers its path.
    pub fn write_below(&self, parent: &Path) -> PathBuf {
        let directory = parent.join(&self.version);
        let document = toml::to_string(&self.document).expect("a table is TOML");
        let own = [("release.toml".to_owned(), document.into_bytes())];
        for (path, content) in self.files.iter().chain(&own) {
            let path = directory.join(path);
            fs::create_dir_all(path.parent().expect("below the release")).unwrap();
            fs::write(&path, content).unwrap();
        }
        directory
    }
}

/// Sets `a.b.c` in a table, making the tables on the way.
pub fn set(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => drop(table.insert(key.to_owned(), value)),
        Some((first, rest)) => {
            let inner = table.entry(first).or_insert_with(|| Table::new().into());
            set(inner.as_table_mut().expect("a table on the way"), rest, value);
        }
    }
}

/// The web app run by itself, without an agent.
pub struct BareApp {
    /// Where it listens.
    pub port: u16,
    /// From its start to its first answer, to the millisecond.
    pub start_took: Duration,
    child: Child,
    _reaper: Reaper,
    _directory: tempfile::TempDir,
}

impl BareApp {
    /// Starts it and waits until it answers.
    pub fn start(release: &Release, environment: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().expect("no temporary directory");
        let reaper = Reaper::new(directory.path()).expect("no reaper");
        let home = release.write_below(directory.path());
        let port = super::free_port();
        let started = Instant::now();
        let child = Command::new("node")
            .arg("web.js")
            .current_dir(home)
            .env("PORT", port.to_string())
            .envs(environment.iter().copied())
            .stdout(Stdio::null())
            .spawn()
            .expect("could not start node");
        let start_took = Duration::ZERO;
        let mut app = Self { port, start_took, child, _reaper: reaper, _directory: directory };
        let every = Duration::from_millis(1);
        poll_until(every, Duration::from_secs(20), "the app listens", || app.get("/version"));
        app.start_took = started.elapsed();
        app
    }

    /// One GET.
    pub fn get(&self, path: &str) -> std::io::Result<http_client::Answer> {
        http_client::get(&format!("127.0.0.1:{}", self.port), path)
    }

    /// Sends SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().expect("could not kill node");
        self.child.wait().expect("could not wait for node");
    }
}

impl Drop for BareApp {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[cfg(test)]
mod tests {
    use super::super::wait_until;
    use super::*;

    #[test]
    fn a_release_is_written_as_it_was_described() {
        let directory = tempfile::tempdir().unwrap();
        let release = Release::web("v7", 3000).app("BOOT", "throw").with_worker();
        let home = release.write_below(directory.path());
        let text = fs::read_to_string(home.join("release.toml")).unwrap();
        let document: Table = text.parse().unwrap();
        assert_eq!(document["tier"]["web"]["port"].as_integer(), Some(3000));
        assert_eq!(document["tier"]["web"]["env"]["APP_BOOT"].as_str(), Some("throw"));
        assert_eq!(document["tier"]["worker"]["command"][0].as_str(), Some("node"));
        assert_eq!(fs::read(home.join("VERSION")).unwrap(), b"v7");
        assert!(home.join("web.js").exists() && home.join("worker.js").exists());
    }

    #[test]
    fn the_web_app_answers_and_fails_on_command() {
        let directory = tempfile::tempdir().unwrap();
        let control = directory.path().join("control.json");
        let app =
            BareApp::start(&Release::web("v3", 0), &[("APP_CONTROL", control.to_str().unwrap())]);
        let version = app.get("/version").unwrap();
        assert_eq!(version.header("x-release"), Some("v3"));
        assert_eq!(app.get("/health").unwrap().status, 200);
        fs::write(&control, r#"{"health": "fail"}"#).unwrap();
        assert_eq!(app.get("/health").unwrap().status, 503);
        assert_eq!(app.get("/error").unwrap().status, 500);
        assert_eq!(app.get("/stream?kb=100").unwrap().body.len(), 100 * 1024);
        assert_eq!(app.get("/slow?ms=1&id=5").unwrap().text(), "ok 5\n");
        assert!(app.get("/crash").is_err());
        assert!(app.get("/version").is_err(), "the app outlived an uncaught exception");
    }

    #[test]
    fn the_listen_fds_app_serves_the_socket_it_is_given() {
        let directory = tempfile::tempdir().unwrap();
        let _reaper = Reaper::new(directory.path()).unwrap();
        let home = Release::listen_fds("v1", 1).write_below(directory.path());
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        // The shell moves the socket from stdin to fd 3 and says whose it is, as the agent does.
        let script = "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec python3 listen_fds.py";
        let mut child = Command::new("sh")
            .args(["-c", script])
            .current_dir(home)
            .stdin(std::os::fd::OwnedFd::from(listener))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let answer = http_client::get(&address, "/?id=9").unwrap();
        assert_eq!((answer.text().as_str(), answer.header("x-release")), ("ok 9\n", Some("v1")));
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        assert!(child.wait().unwrap().success());
    }

    #[test]
    fn the_fork_bomb_is_bounded_and_the_worker_finishes_its_job() {
        let directory = tempfile::tempdir().unwrap();
        let _reaper = Reaper::new(directory.path()).unwrap();
        let home = Release::new("v1").with_fork_bomb(5).with_worker().write_below(directory.path());
        let node = |app: &str| {
            let mut command = Command::new("node");
            command.arg(app).current_dir(&home).env("APP_FORKS", "5").stdout(Stdio::null());
            command
        };
        let mut bomb = node("fork_bomb.js").spawn().unwrap();
        let count = || super::super::reaper::processes_of(directory.path()).len();
        // The reaper's watcher does not count: it names the directory nowhere.
        wait_until(Duration::from_secs(20), "five bombs", || match count() {
            5 => Ok(()),
            other => Err(other),
        });
        super::super::reaper::kill_all(directory.path());
        bomb.wait().unwrap();

        let jobs = directory.path().join("jobs");
        let mut worker = node("worker.js").env("APP_JOBS", &jobs).spawn().unwrap();
        let read = || fs::read_to_string(&jobs).unwrap_or_default();
        wait_until(Duration::from_secs(20), "a job is begun", || {
            if read().contains("began") { Ok(()) } else { Err(read()) }
        });
        let pid = nix::unistd::Pid::from_raw(i32::try_from(worker.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        assert!(worker.wait().unwrap().success());
        assert_eq!(read().matches("began").count(), read().matches("finished").count());
    }
}
