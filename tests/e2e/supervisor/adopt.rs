//! What the next agent finds, whenever the one before has died.

use super::*;

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
