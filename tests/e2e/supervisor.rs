//! The supervisor with real processes: the binary under test is the shim, as it is on a host.

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
        Self { top, run_dir, groups, _keep: keep }
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

#[tokio::test]
async fn a_process_gets_its_own_environment_and_nothing_of_the_agents() {
    let host = Host::new(true);
    let mut agent = host.agent();
    let mut request = host.request("web.1.1", 3, &["env"]);
    request.plan.spec.port = Some(3000);
    let env = [("A", "spec"), ("B", "spec"), ("PORT", "1"), ("GROUNDCREW_RUN", "9")];
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    request.plan.spec.env = env.iter().map(owned).collect();
    request.environment = vec![owned(&("B", "handoff"))];
    assert_eq!(agent.run(request).await, (Exit::Code(0), None));
    let text = fs::read_to_string(host.out("web.1.1")).unwrap();
    let seen: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let names: Vec<&str> = seen.keys().copied().collect();
    assert_eq!(
        names,
        [
            "A",
            "B",
            "GROUNDCREW_OWNER",
            "GROUNDCREW_PROBE",
            "GROUNDCREW_PROCESS",
            "GROUNDCREW_RELEASE",
            "GROUNDCREW_RUN",
            "HOME",
            "LANG",
            "LOGNAME",
            "PATH",
            "PORT",
            "SHELL",
            "TMPDIR",
            "USER"
        ],
        "CARGO_*, HOME of the tests and AWS_* are not passed on"
    );
    assert_eq!((seen["A"], seen["B"], seen["PORT"]), ("spec", "handoff", "3000"));
    assert_eq!((seen["GROUNDCREW_PROCESS"], seen["GROUNDCREW_RUN"]), ("web.1.1", "3"));
    assert_eq!(seen["PATH"], PATH_DEFAULT);
    let probe = agent.supervisor.probe_socket(&"web.1.1".parse().unwrap());
    assert_eq!(seen["GROUNDCREW_PROBE"], probe);
    let temporary = fs::metadata(seen["TMPDIR"]).unwrap();
    assert_eq!(temporary.permissions().mode() & 0o777, 0o700);
    agent.supervisor.shutdown().await;
}

#[tokio::test]
async fn a_process_runs_as_its_user_with_no_way_back() {
    if !is_root() {
        return;
    }
    let host = Host::new(true);
    let mut agent = host.agent();
    let script = "id -u; id -G; grep -E '^(NoNewPrivs|CapEff|CapPrm|SigIgn|SigBlk):' \
        /proc/self/status; umask; ulimit -c; ulimit -n; echo x > $TMPDIR/x && echo wrote; \
        touch ${GROUNDCREW_PROBE} && echo probe; pwd; cat /proc/self/oom_score_adj; echo $HOME; \
        ls $TMPDIR/../ 2>&1 | head -1";
    let mut request = host.request("web.1.1", 1, &sh(script));
    request.plan.host.user = Some("nobody".to_owned());
    assert_eq!(agent.run(request).await, (Exit::Code(0), None));
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    let text = fs::read_to_string(host.out("web.1.1")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let (uid, gid) = (nobody.uid.to_string(), nobody.gid.to_string());
    assert_eq!(lines[..2], [uid.as_str(), gid.as_str()], "no group of root's is left: {text}");
    for status in [
        "SigBlk:\t0000000000000000",
        "CapPrm:\t0000000000000000",
        "CapEff:\t0000000000000000",
        "NoNewPrivs:\t1",
    ] {
        assert!(lines.contains(&status), "{status}: {text}");
    }
    // 32 and 33 are the C library's own and cannot be changed through it.
    let ignored = text.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
    assert_eq!(u64::from_str_radix(ignored, 16).unwrap() & 0x7fff_ffff, 0, "{text}");
    let release = host.top.join("release");
    // 65,536, or as many as the machine of the tests allows.
    let files = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE);
    let files = files.unwrap().1.min(65_536).to_string();
    let expected = ["0022", "0", &files, "wrote", "probe", release.as_str(), "0", "/nonexistent"];
    assert_eq!(lines[7..15], expected, "{text}");
    assert!(lines[15].contains("Permission denied"), "others' directories are not listed: {text}");
    let log = fs::metadata(host.out("web.1.1")).unwrap();
    assert_eq!((log.uid(), log.permissions().mode() & 0o777), (0, 0o640));
}

#[tokio::test]
async fn a_process_has_the_socket_at_3_and_no_other_file() {
    let host = Host::new(true);
    let mut agent = host.agent();
    let socket = listener::bind(0).unwrap();
    let port = listener::listening_port(&socket).unwrap();
    // Inherited by mistake: not close-on-exec.
    let leak = fs::File::open("/etc/hostname").unwrap();
    nix::fcntl::fcntl(&leak, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    let script = "echo $LISTEN_FDS $LISTEN_FDNAMES $$ $LISTEN_PID; exec sleep 1000";
    let mut request = host.request("web.1.1", 1, &sh(script));
    request.socket = Some(socket.try_clone().unwrap());
    let pid = agent.start(request).await;
    assert_eq!(host.printed("web.1.1", "1 web ").await, format!("{pid} {pid}"));
    let files = files(pid);
    assert_eq!(files.len(), 4, "{files:?}");
    assert_eq!((files[0].as_str(), files[1].as_str()), ("/dev/null", host.out("web.1.1").as_str()));
    assert!(files[3].starts_with("socket:["), "{files:?}");

    // The agent is gone, and a client waits in the queue that only this process still holds.
    drop(socket);
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    client.write_all(b"ping").unwrap();
    let back = listener::recover(&[pid], port).unwrap();
    assert_eq!(answer(back, &mut client), *b"pong");
    assert_eq!(agent.kill("web.1.1").await, Exit::Signal("SIGKILL".to_owned()));

    let without = host.request("web.1.2", 1, &sh("env; echo end; exec sleep 1000"));
    let pid = agent.start(without).await;
    host.printed("web.1.2", "end").await;
    assert_eq!(self::files(pid).len(), 3);
    assert!(!fs::read_to_string(host.out("web.1.2")).unwrap().contains("LISTEN_"));
    agent.kill("web.1.2").await;
}

/// What a process has open, by number.
fn files(pid: Pid) -> Vec<String> {
    let path = |n: usize| fs::read_link(format!("/proc/{pid}/fd/{n}"));
    let files =
        (0..100).map_while(|n| Some(path(n).ok()?.to_str()?.to_owned())).collect::<Vec<_>>();
    let all = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    assert_eq!(files.len(), all, "no gaps");
    files
}

/// Accepts one connection and answers it.
fn answer(socket: OwnedFd, client: &mut TcpStream) -> [u8; 4] {
    let listener = std::net::TcpListener::from(socket);
    listener.set_nonblocking(false).unwrap();
    let (mut accepted, _) = listener.accept().unwrap();
    accepted.write_all(b"pong").unwrap();
    let mut read = [0; 4];
    client.read_exact(&mut read).unwrap();
    read
}

#[tokio::test]
async fn what_cannot_be_run_says_why() {
    let host = Host::new(true);
    let mut agent = host.agent();
    let release = host.top.join("release");
    write(&release.join("plain"), b"#!/bin/sh\n");
    write(&release.join("lost"), b"#!/no/such/interpreter\n");
    fs::set_permissions(release.join("lost"), fs::Permissions::from_mode(0o755)).unwrap();
    for (command, code, reason) in [
        ("nod", 127, "command not found: nod; it is not in PATH (/usr/local/sbin:"),
        ("bin/www", 127, "command not found: bin/www; no such file in the release"),
        ("./plain", 126, "./plain is not executable (mode 644)"),
        ("./lost", 126, "could not run ./lost: the interpreter in its first line does not exist"),
        ("/tmp", 126, "/tmp is not a file"),
    ] {
        let (exit, said) = agent.run(host.request("web.1.1", 1, &[command])).await;
        let said = said.unwrap();
        assert_eq!(exit, Exit::Code(code), "{command}");
        assert!(said.starts_with(reason), "{said}");
        let log = fs::read_to_string(host.top.join("web.1.1.err")).unwrap();
        assert!(log.ends_with(&format!("groundcrew: {said}\n")), "{log}");
    }
    let mut gone = host.request("web.1.1", 1, &["true"]);
    gone.directory = host.top.join("nowhere");
    let (exit, said) = agent.run(gone).await;
    assert_eq!(exit, Exit::Code(125));
    assert!(said.unwrap().contains("could not enter"));

    let mut stranger = host.request("web.1.1", 1, &["true"]);
    stranger.plan.host.user = Some("no-such-user".to_owned());
    agent.supervisor.start(stranger);
    let SupervisorEvent::StartFailed { reason, .. } = agent.next().await else { panic!() };
    assert_eq!(reason, "there is no user \"no-such-user\" on this host");
}

#[tokio::test]
async fn the_apps_own_exit_codes_and_signals_are_its_own() {
    let host = Host::new(true);
    let mut agent = host.agent();
    for (script, exit) in [
        ("exit 0", Exit::Code(0)),
        ("exit 3", Exit::Code(3)),
        ("exit 127", Exit::Code(127)),
        ("kill -SEGV $$", Exit::Signal("SIGSEGV".to_owned())),
        ("kill -TERM $$", Exit::Signal("SIGTERM".to_owned())),
    ] {
        assert_eq!(agent.run(host.request("web.1.1", 1, &sh(script))).await, (exit, None));
    }
}

#[tokio::test]
async fn a_second_start_of_a_living_id_is_refused() {
    let host = Host::new(true);
    let mut agent = host.agent();
    let pid = agent.start(host.request("web.1.1", 1, &["sleep", "1000"])).await;
    agent.supervisor.start(host.request("web.1.1", 2, &["sleep", "1000"]));
    let refused = agent.next().await;
    let SupervisorEvent::StartFailed { run: 2, reason, .. } = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(reason, "web.1.1 is running already");
    assert!(lives(pid) && usage::of(pid).unwrap().rss_bytes > 0);
    agent.kill("web.1.1").await;
    assert!(!agent.supervisor.kill(&"web.1.1".parse().unwrap()), "there is nothing to kill");
}

#[tokio::test]
async fn a_stop_that_comes_before_the_start_is_done_is_not_lost() {
    let host = Host::new(true);
    let mut agent = host.agent();
    let id: ProcessId = "web.1.1".parse().unwrap();
    agent.supervisor.start(host.request("web.1.1", 1, &["sleep", "1000"]));
    assert!(agent.supervisor.terminate(&id) && agent.supervisor.kill(&id));
    assert!(matches!(agent.next().await, SupervisorEvent::Started { .. }));
    assert_eq!(agent.exit().await.0, Exit::Signal("SIGKILL".to_owned()));
}

/// Grandchildren that try to get away: own session, ignored signals, no environment.
const ESCAPE: &str = "trap '' TERM HUP INT
    setsid sh -c 'trap \"\" TERM HUP; echo child $$; sleep 1000' &
    env -i sh -c 'trap \"\" TERM; echo cleared $$; sleep 1000' &
    (setsid sh -c 'echo orphan $$; exec sleep 1000' &)
    echo ready; ";

async fn no_orphan(groups: bool, main_ends_itself: bool) {
    let host = Host::new(groups);
    let mut agent = host.agent();
    let script =
        format!("{ESCAPE} {}", if main_ends_itself { "read x < $TMPDIR/go" } else { "wait" });
    let fifo = host.top.join("state/tmp/web.1.1/go");
    fs::create_dir_all(fifo.parent().unwrap()).unwrap();
    nix::unistd::mkfifo(fifo.as_std_path(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let pid = agent.start(host.request("web.1.1", 1, &sh(&script))).await;
    let mut pids = vec![pid];
    for name in ["child ", "cleared ", "orphan "] {
        pids.push(host.printed("web.1.1", name).await.parse().unwrap());
    }
    assert!(pids.iter().all(|&pid| lives(pid)));
    if main_ends_itself {
        write(&fifo, b"x\n");
        assert_eq!(agent.exit().await.0, Exit::Code(0));
    } else {
        assert!(agent.supervisor.terminate(&"web.1.1".parse().unwrap()));
        assert!(pids.iter().all(|&pid| lives(pid)), "SIGTERM is ignored");
        assert_eq!(agent.kill("web.1.1").await, Exit::Signal("SIGKILL".to_owned()));
    }
    let left: Vec<Pid> = pids.into_iter().filter(|&pid| lives(pid)).collect();
    assert_eq!(left, [0; 0], "groups: {groups}, by itself: {main_ends_itself}");
}

#[tokio::test]
async fn a_kill_leaves_no_orphan_in_a_control_group() {
    no_orphan(true, false).await;
}

#[tokio::test]
async fn a_kill_leaves_no_orphan_without_one() {
    no_orphan(false, false).await;
}

#[tokio::test]
async fn an_end_leaves_no_orphan_in_a_control_group() {
    no_orphan(true, true).await;
}

#[tokio::test]
async fn a_fork_bomb_is_killed_whole() {
    let host = Host::new(true);
    let mut agent = host.agent();
    // Bounded by its own tasks, so that it is only dangerous to itself: 200 that keep forking.
    let bomb = "f() { sleep 0.01; f & f; }; i=0; ulimit -u 4000; \
        while [ $i -lt 50 ]; do (while :; do sleep 0.02 & wait; done) & i=$((i+1)); done; \
        echo ready; wait";
    let pid = agent.start(host.request("web.1.1", 1, &sh(bomb))).await;
    host.printed("web.1.1", "ready").await;
    assert_eq!(agent.kill("web.1.1").await, Exit::Signal("SIGKILL".to_owned()));
    let session =
        |other: &Pid| procfs::stat(*other).is_ok_and(|s| s.session == pid && !s.is_dead());
    assert_eq!(procfs::pids().unwrap().into_iter().filter(session).count(), 0);
}

#[tokio::test]
async fn output_that_nobody_reads_does_not_block() {
    let host = Host::new(true);
    let mut agent = host.agent();
    let mut request = host.request("web.1.1", 1, &sh("head -c 5000000 /dev/zero; echo end >&2"));
    request.stderr = request.stdout.clone();
    write(&request.stdout, b"before");
    assert_eq!(agent.run(request).await.0, Exit::Code(0));
    let out = fs::read(host.out("web.1.1")).unwrap();
    assert_eq!(
        (out.len(), &out[..6], &out[out.len() - 4..]),
        (5_000_010, &b"before"[..], &b"end\n"[..])
    );
}

#[tokio::test]
async fn a_retired_id_leaves_nothing() {
    let host = Host::new(true);
    let mut agent = host.agent();
    agent.run(host.request("web.1.1", 1, &sh("mkdir -p $TMPDIR/a/b; cat /proc/self/cgroup"))).await;
    assert!(host.record("web.1.1").exists() && host.top.join("state/tmp/web.1.1/a/b").exists());
    agent.supervisor.retire(&"web.1.1".parse().unwrap());
    agent.supervisor.shutdown().await;
    for directory in
        [host.top.join("state/tmp"), host.run_dir.join("processes"), host.run_dir.join("records")]
    {
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0, "{directory}");
    }
    let groups = fs::read_to_string(host.out("web.1.1")).unwrap();
    if let Some(path) = groups.lines().find_map(|line| line.strip_prefix("0::/groundcrew-")) {
        let unified = format!("/sys/fs/cgroup/unified/groundcrew-{path}");
        assert!(!Utf8Path::new(&unified).exists(), "{unified}");
    }
}

#[tokio::test]
async fn the_next_agent_adopts_what_runs() {
    for groups in [true, false] {
        let host = Host::new(groups);
        let mut first = host.agent();
        let pid = first.start(host.request("web.1.1", 4, &["sleep", "1000"])).await;
        // Dropped, not shut down: as near to kill -9 as one process gets.
        drop(first);
        let mut second = host.agent();
        let adoption = second.adopt().await;
        assert_eq!((adoption.found.len(), adoption.lost.len()), (1, 0), "{adoption:?}");
        let found = &adoption.found[0];
        assert_eq!((found.pid, found.record.run), (pid, 4));
        assert_eq!(found.record.plan.spec.command, ["sleep", "1000"]);
        assert!(lives(pid));
        // Still a child of this test, so its exit can be learnt; see the next test.
        assert_eq!(second.kill("web.1.1").await, Exit::Signal("SIGKILL".to_owned()));
        assert!(procfs::stat(pid).is_err(), "no zombie stays");
    }
}

/// Starts a process under an agent that is killed with SIGKILL at once: the shim's parent is a
/// shell that dies, so the process is nobody's child.
#[tokio::test]
async fn a_process_of_a_dead_agent_is_adopted_and_its_end_seen() {
    let host = Host::new(true);
    let mut agent = host.agent();
    let script = "setsid sh -c 'echo main $$; exec sleep 1000' & echo up; wait";
    let starter = agent.start(host.request("web.1.1", 1, &sh(script))).await;
    let orphan: Pid = host.printed("web.1.1", "main ").await.parse().unwrap();
    // The record now speaks of a process that is not a child of this one.
    let start_ticks = procfs::stat(orphan).unwrap().start_ticks;
    host.edit_record("web.1.1", |record| {
        record["process"] = serde_json::json!({ "pid": orphan, "start_ticks": start_ticks });
        record["cgroup"] = serde_json::Value::Null;
    });
    drop(agent);
    let mut second = host.agent();
    assert_eq!(second.adopt().await.found[0].pid, orphan);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(orphan), nix::sys::signal::SIGTERM).unwrap();
    assert_eq!(second.exit().await, (Exit::Unknown, None));
    assert!(!lives(starter), "what carries the marker of the ended process is gone too");
    reap(starter);
}

fn reap(pid: Pid) {
    nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None).unwrap();
}

#[tokio::test]
async fn a_crash_between_start_and_second_record_finds_the_process() {
    let host = Host::new(true);
    let mut first = host.agent();
    // A younger child leads a session and carries the same marker.
    let script = "echo up; setsid sleep 1000 & echo child $!; exec sleep 1000";
    let pid = first.start(host.request("web.1.1", 2, &sh(script))).await;
    let child: Pid = host.printed("web.1.1", "child ").await.parse().unwrap();
    drop(first);
    host.edit_record("web.1.1", |record| record["process"] = serde_json::Value::Null);
    let mut second = host.agent();
    let adoption = second.adopt().await;
    assert_eq!(adoption.found[0].pid, pid, "{adoption:?}");
    assert!(lives(child));
    let record = fs::read_to_string(host.record("web.1.1")).unwrap();
    assert!(record.contains(&format!("\"pid\":{pid}")), "the record is completed: {record}");
    second.kill("web.1.1").await;
    assert!(!lives(child));
}

#[tokio::test]
async fn a_crash_between_record_and_start_is_a_lost_process() {
    let host = Host::new(true);
    let mut first = host.agent();
    first.run(host.request("web.1.1", 2, &["true"])).await;
    drop(first);
    host.edit_record("web.1.1", |record| record["process"] = serde_json::Value::Null);
    let adoption = host.agent().adopt().await;
    assert_eq!((adoption.found.len(), adoption.lost.len()), (0, 1), "{adoption:?}");
    assert_eq!((adoption.lost[0].record.run, &adoption.lost[0].exit), (2, &Exit::Unknown));
    assert!(!host.record("web.1.1").exists());
    assert_eq!(host.agent().adopt().await, Adoption::default(), "it is said once");
}

#[tokio::test]
async fn what_ended_meanwhile_is_lost_and_what_it_left_is_killed() {
    for groups in [true, false] {
        let host = Host::new(groups);
        let mut first = host.agent();
        let script = "setsid sleep 1000 & echo child $!; exec sleep 1000";
        let pid = first.start(host.request("web.1.1", 1, &sh(script))).await;
        let child: Pid = host.printed("web.1.1", "child ").await.parse().unwrap();
        drop(first);
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL).unwrap();
        until("the process ends", || (!lives(pid)).then_some(())).await;
        assert!(lives(child));
        let adoption = host.agent().adopt().await;
        assert_eq!(adoption.lost.len(), 1, "{adoption:?}");
        assert_eq!(adoption.lost[0].exit, Exit::Signal("SIGKILL".to_owned()), "it was a child");
        assert!(!lives(child) && procfs::stat(pid).is_err());
    }
}

#[tokio::test]
async fn what_nobody_remembers_is_killed() {
    for (groups, garbage) in [(true, false), (false, false), (true, true)] {
        let host = Host::new(groups);
        let mut first = host.agent();
        let pid = first.start(host.request("web.1.1", 1, &["sleep", "1000"])).await;
        drop(first);
        if garbage {
            write(&host.record("web.1.1"), b"{\"id\":\"web.1.1\",");
        } else {
            fs::remove_file(host.record("web.1.1")).unwrap();
        }
        let adoption = host.agent().adopt().await;
        assert_eq!((adoption.found.len(), adoption.lost.len()), (0, 0), "{adoption:?}");
        assert!(!lives(pid) && !adoption.notes.is_empty());
        reap(pid);
    }
}

#[tokio::test]
async fn a_record_of_another_boot_or_of_a_number_used_again_adopts_nothing() {
    let host = Host::new(true);
    let mut first = host.agent();
    let pid = first.start(host.request("web.1.1", 1, &["sleep", "1000"])).await;
    drop(first);
    host.edit_record("web.1.1", |record| {
        let ticks = record["process"]["start_ticks"].as_u64().unwrap();
        record["process"]["start_ticks"] = serde_json::json!(ticks + 1);
    });
    let adoption = host.agent().adopt().await;
    assert_eq!((adoption.found.len(), adoption.lost.len()), (0, 1), "{adoption:?}");
    assert!(!lives(pid), "it carries the marker, and nobody may run a second one beside it");
    reap(pid);

    let mut third = host.agent();
    let pid = third.start(host.request("web.1.2", 1, &["sleep", "1000"])).await;
    drop(third);
    host.edit_record("web.1.2", |record| record["boot_id"] = serde_json::json!("another"));
    assert_eq!(host.agent().adopt().await.lost.len(), 1);
    reap(pid);
}

#[tokio::test]
async fn a_duplicate_of_an_earlier_start_is_killed() {
    let host = Host::new(false);
    let mut first = host.agent();
    let older = first.start(host.request("web.1.1", 1, &["sleep", "1000"])).await;
    drop(first);
    let mut second = host.agent();
    let newer = second.start(host.request("web.1.1", 2, &["sleep", "1000"])).await;
    drop(second);
    let mut third = host.agent();
    let adoption = third.adopt().await;
    assert_eq!(adoption.found[0].pid, newer, "{adoption:?}");
    until("the older one ends", || (!lives(older)).then_some(())).await;
    reap(older);
    assert!(lives(newer));
    third.kill("web.1.1").await;
}

#[tokio::test]
async fn two_agents_on_one_host_leave_each_other_alone() {
    let (one, two) = (Host::new(true), Host::new(true));
    let mut agent = one.agent();
    let pid = agent.start(one.request("web.1.1", 1, &["sleep", "1000"])).await;
    assert_eq!(two.agent().adopt().await, Adoption::default());
    assert!(lives(pid));
    agent.kill("web.1.1").await;
}

#[tokio::test]
async fn shutting_down_leaves_processes_alone() {
    let host = Host::new(true);
    let mut agent = host.agent();
    let pid = agent.start(host.request("web.1.1", 1, &["sleep", "1000"])).await;
    agent.supervisor.shutdown().await;
    assert!(lives(pid));
    let mut next = host.agent();
    assert_eq!(next.adopt().await.found.len(), 1);
    next.kill("web.1.1").await;
}

#[tokio::test]
async fn a_shim_whose_agent_is_gone_does_not_go_on() {
    let host = Host::new(false);
    let mut agent = host.agent();
    let failure = host.top.join("failure");
    let shim = env!("CARGO_BIN_EXE_groundcrew-under-test");
    let directory = host.top.join("release");
    // Its parent is not the agent it names.
    let arguments = [
        shim,
        "exec-process",
        "--agent",
        "1",
        "--directory",
        directory.as_str(),
        "--failure",
        failure.as_str(),
        "--",
        "touch",
        "ran",
    ];
    let script = format!("{} & wait $!", arguments.join(" "));
    assert_eq!(agent.run(host.request("web.1.1", 1, &sh(&script))).await.0, Exit::Code(125));
    let reason = fs::read_to_string(failure).unwrap();
    assert!(reason.contains("the agent went away"), "{reason}");
    assert!(!directory.join("ran").exists());
}

/// From a SIGKILL to the next process's command, against a parent that does nothing but wait and
/// spawn.
#[tokio::test]
async fn starting_again_takes_milliseconds() {
    const TIMES: Run = 30;
    let runs = |pid: Pid| {
        fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ends_with("sleep"))
    };
    let kill = |pid| {
        let killed = clock();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL).unwrap();
        killed
    };
    let sorted = |mut took: Vec<Duration>| {
        took.sort();
        (took[0], took[took.len() / 2])
    };
    let mut bare = Vec::new();
    let mut child = sleeper();
    for _ in 0..TIMES {
        until("the command runs", || runs(child.id().try_into().unwrap()).then_some(())).await;
        let killed = kill(child.id().try_into().unwrap());
        child.wait().unwrap();
        child = sleeper();
        while !runs(child.id().try_into().unwrap()) {}
        bare.push(killed.elapsed());
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let bare = sorted(bare);

    for groups in [true, false] {
        let host = Host::new(groups);
        let mut agent = host.agent();
        let mut took = Vec::new();
        let mut pid = agent.start(host.request("web.1.1", 1, &["sleep", "1000"])).await;
        for run in 2..=TIMES {
            until("the command runs", || runs(pid).then_some(())).await;
            let killed = kill(pid);
            agent.exit().await;
            pid = agent.start(host.request("web.1.1", run, &["sleep", "1000"])).await;
            while !runs(pid) {}
            took.push(killed.elapsed());
        }
        agent.kill("web.1.1").await;
        let took = sorted(took);
        println!("SIGKILL to exec, best and median: {took:?} (groups: {groups}), bare {bare:?}");
        // The bound is for a busy test machine and a slow build; the figures are printed.
        assert!(took.0 < bare.0 + Duration::from_millis(50), "{took:?}, bare {bare:?}");
    }
}

#[expect(clippy::disallowed_methods, reason = "what the supervisor is compared with")]
fn sleeper() -> std::process::Child {
    std::process::Command::new("sleep").arg("1000").spawn().unwrap()
}
