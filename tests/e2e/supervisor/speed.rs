//! A promise in numbers.

use super::*;

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
