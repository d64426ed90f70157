//! The end of a host, and the end of its disk.

use nix::sys::signal::Signal;

use super::*;
use crate::harness::fleet::Fleet;
use crate::harness::log_endpoint::Faults;

#[test]
fn an_agent_that_is_told_to_leave_ships_everything_first() {
    let endpoint = LogEndpoint::start_tls();
    let faults =
        Faults { latency: Duration::from_millis(100), throttled_percent: 10, ..Faults::default() };
    endpoint.set_faults(faults);
    let world = world_of(&endpoint);
    let mut agent = printing(&world, &[]);
    wait_for_printed(&world, 500);
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.wait(), Some(0), "{}", agent.log());
    // Nothing is waited for: it is there, or it was not shipped before the end.
    for (source, lines) in owed(&world) {
        assert_eq!(endpoint.missing(source, lines), 0, "source {source} of {lines} lines");
    }
    let counts = assert_paid(&endpoint, &owed(&world));
    assert_eq!(counts.repeated_batches, 0, "{counts:#?}");
}

#[test]
fn a_hook_is_completed_when_the_last_line_was_accepted() {
    let fleet = Fleet::start();
    let endpoint = LogEndpoint::start_tls();
    let mut world = world_of(&endpoint);
    let of_endpoint = endpoint.environment();
    for (name, value) in fleet.environment() {
        if !of_endpoint.iter().any(|(known, _)| *known == name) {
            world.set_environment(&name, &value);
        }
    }
    let agent = printing(&world, &[]);
    fleet.wait_for("InService", SOON);
    // So slow that the last lines are under way when their processes are gone.
    endpoint.set_faults(Faults { latency: Duration::from_secs(1), ..Faults::default() });
    wait_for_printed(&world, 300);
    fleet.clear_journal();
    fleet.scale_in();
    wait_until(SOON, "the hook is completed", || {
        let calls = fleet.calls_of("CompleteLifecycleAction");
        if calls.iter().any(|call| call.status == Some(200)) { Ok(()) } else { Err(calls) }
    });
    for (source, lines) in owed(&world) {
        assert_eq!(endpoint.missing(source, lines), 0, "source {source} of {lines} lines");
    }
    assert!(agent.log().contains("logs: "), "the record says so: {}", agent.log());
    let completed = fleet.calls_of("CompleteLifecycleAction");
    assert_eq!(completed[0].parameter("LifecycleActionResult"), "CONTINUE");
}

#[test]
fn what_cannot_be_shipped_any_more_is_put_into_the_release_bucket() {
    let endpoint = LogEndpoint::start_tls();
    let world = world_of(&endpoint);
    let mut agent = printing(&world, &[]);
    assert_paid(&endpoint, &owed(&world));
    endpoint.set_faults(Faults { error_percent: 100, ..Faults::default() });
    wait_for_printed(&world, 500);
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.wait(), Some(0), "{}", agent.log());
    let known = ["artifacts", "releases", "channels"];
    let entries = fs::read_dir(world.path().join("source")).unwrap();
    let names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let logs = names.iter().any(|name| !known.contains(&name.as_str()));
    assert!(logs, "nothing was put beside {names:?}\n{}", agent.log());
    assert!(agent.log().contains("logs"), "{}", agent.log());
    // The next agent of this host, if there is one, still has it all.
    endpoint.heal();
    agent.restart();
    assert_paid(&endpoint, &owed(&world));
}

#[test]
fn a_full_disk_drops_the_oldest_and_says_how_many() {
    const LINE_BYTES: u64 = 160;
    const PRINTED: u64 = 200 << 20;
    let mut endpoint = LogEndpoint::start_tls();
    let world = world_of(&endpoint);
    let flood = Printers { tier: "flood", processes: 1, rate: 0, first: 1 };
    let release = flood.join(Release::new("v1"), &world).set("tier.flood.env.APP_SECONDS", "20");
    endpoint.go_away();
    world.release(&release);
    let settings = to_cloudwatch(&[("logs.disk_max", "64 MiB".into())]);
    let agent = Agent::start_with(&world, &settings);
    agent.wait_for_settled("v1");
    wait_until(Duration::from_secs(40), "more than the disk may hold is printed", || {
        let owed = owed(&world);
        if owed[&1] > PRINTED / LINE_BYTES { Ok(()) } else { Err(owed) }
    });
    let dropped = |logs: &Value| logs["dropped"].as_u64() > Some(0);
    wait_for_pipeline(&agent, "dropped events", dropped);
    endpoint.come_back();
    let printed = wait_until(PAID_WITHIN, "the flood ends", || {
        let before = owed(&world)[&1];
        // Its lines come every few milliseconds.
        std::thread::sleep(Duration::from_millis(500));
        let after = owed(&world)[&1];
        if before == after { Ok(after) } else { Err(after) }
    });
    wait_for_pipeline(&agent, "nothing is left to ship", |logs| logs["backlog_bytes"] == 0);
    let missing = endpoint.missing(1, printed);
    let sums = audit(&world);
    assert!(missing > 0, "nothing was dropped: {sums:?}");
    assert_eq!((missing, sums["rejected"]), (sums["dropped"], 0), "{sums:?}");
    // The oldest went: what was printed last is there.
    assert_eq!(endpoint.delivery(1).out_of_order, 0);
    assert_eq!(endpoint.counts().invalid, 0, "{:#?}", endpoint.counts());
}
