//! What a process is given, and what is said when it cannot be run.

use super::*;

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
    let files = files(pid, 4).await;
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
    self::files(pid, 3).await;
    assert!(!fs::read_to_string(host.out("web.1.2")).unwrap().contains("LISTEN_"));
    agent.kill("web.1.2").await;
}

/// What a process has open, by number: `count` files, once its libraries are loaded.
async fn files(pid: Pid, count: usize) -> Vec<String> {
    let link = |n: usize| {
        fs::read_link(format!("/proc/{pid}/fd/{n}")).ok()?.into_os_string().into_string().ok()
    };
    until(&format!("pid {pid} has {count} files open"), || {
        let all = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        let files: Vec<String> = (0..count).map_while(link).collect();
        (all == count && files.len() == count).then_some(files)
    })
    .await
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
    assert!(lives(pid));
    until("it uses memory", || (usage::of(pid).unwrap().rss_bytes > 0).then_some(())).await;
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
