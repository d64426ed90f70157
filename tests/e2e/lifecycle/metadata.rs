//! Metadata that does not answer as it should.

use super::*;
use crate::harness::fleet::ImdsFault;

#[test]
fn what_was_known_last_holds_through_an_outage_of_the_metadata() {
    let fleet = Fleet::start();
    let world = world_of(&fleet);
    let agent = serving(&fleet, &world, &web(&world));
    for fault in [ImdsFault::Status(403), ImdsFault::Status(503), ImdsFault::Garbage] {
        fleet.imds_fault(fault, None);
        agent.wait_for(SOON, "the outage is seen", |status| {
            !status["lifecycle"]["metadata_error"].is_null()
        });
        assert_eq!(agent.ready(), 200, "{fault:?}");
        fleet.clear_imds_faults();
        agent
            .wait_for(SOON, "it is over", |status| status["lifecycle"]["metadata_error"].is_null());
    }
    let log = agent.log();
    let count = |part: &str| log.lines().filter(|line| line.contains(part)).count();
    assert_eq!(count("metadata cannot be read"), 3, "one line for each change:\n{log}");
    assert_eq!(count("metadata can be read again"), 3, "{log}");
    // Tokens that are void are no outage.
    fleet.expire_tokens();
    fleet.scale_in();
    fleet.wait_for("Terminated", SOON);
    assert_eq!(completion(&fleet, "terminate").parameter("LifecycleActionResult"), "CONTINUE");
}

#[test]
fn a_state_that_nobody_knows_makes_the_host_not_ready_and_ends_nothing() {
    let fleet = Fleet::start();
    let world = world_of(&fleet);
    let agent = serving(&fleet, &world, &web(&world));
    let before = agent.processes("web");
    let path = "autoscaling/target-lifecycle-state";
    fleet.set_metadata(path, &"Quarantined".into());
    wait_until(SOON, "not ready", || if agent.ready() == 503 { Ok(()) } else { Err(()) });
    assert_eq!(agent.processes("web"), before);
    fleet.set_metadata(path, &Value::Null);
    wait_until(SOON, "ready again", || if agent.ready() == 200 { Ok(()) } else { Err(()) });
    assert_eq!(agent.processes("web"), before);
}

#[test]
fn a_host_in_service_costs_almost_nothing() {
    let fleet = Fleet::start();
    let world = world_of(&fleet);
    let agent = serving(&fleet, &world, &web(&world));
    agent.wait_for(SOON, "the state is known", |s| s["lifecycle"]["state"] == "InService");
    fleet.clear_journal();
    let began = fleet.now();
    std::thread::sleep(Duration::from_secs(13));
    assert_eq!(fleet.calls(), [], "nothing has changed");
    let seconds = fleet.now().saturating_sub(began).as_secs();
    for (path, statuses) in fleet.imds_requests() {
        let count: u64 = statuses.values().sum();
        assert!(count <= seconds / 2 + 1, "{path} was asked for {count} times in {seconds} s");
    }
}
