//! No orphan, ever.

use nix::sys::signal::SIGKILL;

use super::*;

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
async fn an_end_leaves_no_orphan_without_one() {
    no_orphan(false, true).await;
}

#[tokio::test]
async fn a_late_kill_does_not_reach_the_next_run() {
    for groups in [true, false] {
        let host = Host::new(groups);
        let mut agent = host.agent();
        let id: ProcessId = "web.1.1".parse().unwrap();
        for run in 0..20 {
            let pid = agent.start(host.request("web.1.1", 2 * run, &["sleep", "1000"])).await;
            // It ends by itself while it is being killed, twice.
            assert!(agent.supervisor.kill(&id) && agent.supervisor.kill(&id));
            // It may have ended already.
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), SIGKILL);
            agent.exit().await;
            let next = host.request("web.1.1", 2 * run + 1, &sh("sleep 0.01; exit 7"));
            assert_eq!(agent.run(next).await, (Exit::Code(7), None));
        }
    }
}

/// Fifty shells that fork without end; each has one child at a time, so the host survives it.
#[tokio::test]
async fn a_fork_bomb_is_killed_whole() {
    for groups in [true, false] {
        let host = Host::new(groups);
        let mut agent = host.agent();
        let bomb = "i=0; while [ $i -lt 50 ]; do i=$((i+1)); \
            (while :; do sleep 0.02 & wait; done) & done; echo ready; wait";
        let pid = agent.start(host.request("web.1.1", 1, &sh(bomb))).await;
        host.printed("web.1.1", "ready").await;
        assert_eq!(agent.kill("web.1.1").await, Exit::Signal("SIGKILL".to_owned()));
        let of_session =
            |other: &Pid| procfs::stat(*other).is_ok_and(|s| s.session == pid && !s.is_dead());
        assert_eq!(procfs::pids().unwrap().into_iter().filter(of_session).count(), 0);
    }
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
