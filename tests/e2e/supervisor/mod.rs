//! The supervisor with real processes: the binary under test is the shim, as it is on a host.

mod adopt;
mod speed;
mod start;
mod stop;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use groundcrew::handoff::listener;
use groundcrew::procfs;
use groundcrew::supervisor::cgroup::Place;
use groundcrew::supervisor::{
    Adoption, PATH_DEFAULT, Settings, StartRequest, Supervisor, SupervisorEvent, usage,
};
use groundcrew_core::logs::LogRules;
use groundcrew_core::spec::{
    CrashMode, Handoff, HostLimits, ProcessCount, ReadySpec, TierPlan, TierSpec,
};
use groundcrew_core::types::{Digest, Exit, Pid, ProcessId, ReleaseRef, Run};
use tokio::sync::mpsc;

/// Far longer than anything here takes on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// A host: directories, and whether processes get control groups.
struct Host {
    top: Utf8PathBuf,
    run_dir: Utf8PathBuf,
    groups: bool,
    group: RefCell<Option<Utf8PathBuf>>,
    _keep: [tempfile::TempDir; 2],
}

/// One agent's supervisor on it.
struct Agent {
    supervisor: Supervisor,
    events: mpsc::Receiver<SupervisorEvent>,
}

impl Host {
    fn new(groups: bool) -> Self {
        // In memory, as /run is.
        let memory = fs::metadata("/dev/shm").map_or("/tmp", |_| "/dev/shm");
        let keep = [tempfile::tempdir().unwrap(), tempfile::tempdir_in(memory).unwrap()];
        let [top, run_dir] = keep.each_ref().map(|directory| {
            let path = directory.path().canonicalize().unwrap();
            // Passable for the user a process is dropped to.
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            Utf8PathBuf::from_path_buf(path).unwrap()
        });
        fs::create_dir(top.join("release")).unwrap();
        Self { top, run_dir, groups, group: RefCell::default(), _keep: keep }
    }

    fn settings(&self) -> Settings {
        Settings {
            run_dir: self.run_dir.clone(),
            state_dir: self.top.join("state"),
            program: env!("CARGO_BIN_EXE_groundcrew-under-test").into(),
            path: PATH_DEFAULT.to_owned(),
            cgroup: self.groups.then(|| Place::current().unwrap()),
        }
    }

    fn agent(&self) -> Agent {
        let (supervisor, events) = Supervisor::open(&self.settings()).unwrap();
        self.group.borrow_mut().clone_from(&supervisor.cgroup().map(Utf8Path::to_owned));
        Agent { supervisor, events }
    }

    fn request(&self, id: &str, run: Run, command: &[&str]) -> StartRequest {
        let spec = TierSpec {
            command: command.iter().map(|&word| word.to_owned()).collect(),
            port: None,
            processes: ProcessCount::Exactly(1),
            ready: ReadySpec { path: None, within: SOON, successes: 1 },
            bleed: SOON,
            stop: SOON,
            env: BTreeMap::new(),
            handoff: Handoff::ListenFds,
            crash: CrashMode::Exit,
            logs: LogRules::default(),
        };
        let digest = Digest::from_bytes([1; 32]);
        StartRequest {
            id: id.parse().unwrap(),
            run,
            release: ReleaseRef { version: "v1".parse().unwrap(), digest },
            directory: self.top.join("release"),
            plan: TierPlan { spec, processes: 1, host: HostLimits::default() },
            socket: None,
            environment: Vec::new(),
            stdout: self.out(id),
            stderr: self.top.join(format!("{id}.err")),
        }
    }

    fn out(&self, id: &str) -> Utf8PathBuf {
        self.top.join(format!("{id}.out"))
    }

    fn record(&self, id: &str) -> Utf8PathBuf {
        self.run_dir.join(format!("records/{id}.json"))
    }

    /// Rewrites a record's JSON.
    fn edit_record(&self, id: &str, edit: impl FnOnce(&mut serde_json::Value)) {
        let path = self.record(id);
        let mut record = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        edit(&mut record);
        write(&path, &serde_json::to_vec(&record).unwrap());
    }

    /// Waits until the process has printed a line that starts with `start`; returns the rest.
    async fn printed(&self, id: &str, start: &str) -> String {
        let path = self.out(id);
        until(&format!("{id} prints {start}"), || {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let whole = text.rsplit_once('\n')?.0;
            whole.lines().find_map(|line| line.strip_prefix(start).map(str::to_owned))
        })
        .await
    }
}

impl Drop for Host {
    /// Leaves no control group behind, nor what a failed test left in one.
    fn drop(&mut self) {
        if let Some(group) = self.group.take() {
            remove_group(&group);
        }
    }
}

fn remove_group(directory: &Utf8Path) {
    for entry in directory.read_dir_utf8().into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_group(entry.path());
        }
    }
    let kill = fs::OpenOptions::new().write(true).open(directory.join("cgroup.kill"));
    drop(kill.and_then(|mut file| file.write_all(b"1")));
    // What was killed just now is not gone at once.
    let started = clock();
    while fs::remove_dir(directory).is_err() && started.elapsed() < Duration::from_secs(2) {
        std::thread::yield_now();
    }
}

fn write(path: &Utf8Path, bytes: &[u8]) {
    fs::File::create(path).unwrap().write_all(bytes).unwrap();
}

/// Looks again until there is an answer: for what only the file system or `/proc` can tell.
async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = clock();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < SOON, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[expect(clippy::disallowed_methods, reason = "the tests measure with a finer clock")]
fn clock() -> Instant {
    Instant::now()
}

impl Agent {
    async fn next(&mut self) -> SupervisorEvent {
        tokio::time::timeout(SOON, self.events.recv()).await.expect("an event").unwrap()
    }

    async fn start(&mut self, request: StartRequest) -> Pid {
        self.supervisor.start(request);
        match self.next().await {
            SupervisorEvent::Started { pid, .. } => pid,
            other => panic!("{other:?}"),
        }
    }

    async fn exit(&mut self) -> (Exit, Option<String>) {
        match self.next().await {
            SupervisorEvent::Exited { exit, reason, .. } => (exit, reason),
            other => panic!("{other:?}"),
        }
    }

    /// Runs a command to its end.
    async fn run(&mut self, request: StartRequest) -> (Exit, Option<String>) {
        self.start(request).await;
        self.exit().await
    }

    async fn kill(&mut self, id: &str) -> Exit {
        assert!(self.supervisor.kill(&id.parse().unwrap()));
        self.exit().await.0
    }

    async fn adopt(&self) -> Adoption {
        self.supervisor.adopt().await.unwrap()
    }
}

fn is_root() -> bool {
    nix::unistd::Uid::effective().is_root()
}

/// A process that lives and is not only a zombie.
fn lives(pid: Pid) -> bool {
    procfs::stat(pid).is_ok_and(|stat| !stat.is_dead())
}

fn sh(script: &str) -> [&str; 3] {
    ["sh", "-c", script]
}
