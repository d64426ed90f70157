//! Processes of several tiers, through everything that happens to them and to the agent.

use super::*;
use crate::harness::log_endpoint::Faults;

const ROUNDS: u64 = 6;
const SEED_VARIABLE: &str = "GROUNDCREW_TEST_SEED";
/// Streams that may have a batch under way when the agent dies: each process of two generations.
const STREAMS_MAX: u64 = 6;
/// A line of a tier that whispers beside one that floods is there within this: five seconds are the
/// longest that a line waits for company.
const WHISPER_LAG_MS_MAX: u64 = 8_000;

#[test]
fn nothing_is_lost_through_releases_restarts_and_kills_of_the_agent() {
    let mut seed = std::env::var(SEED_VARIABLE).map_or(1, |seed| seed.parse().expect("a number"));
    println!("{SEED_VARIABLE}={seed}");
    let endpoint = LogEndpoint::start_tls();
    // Batches are under way for a while, so that a kill finds some.
    endpoint.set_faults(Faults { latency: Duration::from_millis(100), ..Faults::default() });
    let world = world_of(&endpoint);
    let mut agent = printing(&world, &[]);
    for round in 1..=ROUNDS {
        match round {
            2 => world.release(&two_tiers("v2", &world)),
            4 => assert_eq!(world.cli(&["restart", "loud"]).code, Some(0)),
            _ => {}
        }
        // The moment itself is what is tested.
        std::thread::sleep(Duration::from_millis(200 + next(&mut seed) % 1500));
        agent.kill();
        agent.restart();
        let answers = |_: &Value| true;
        agent.wait_for(SOON, "the agent answers", answers);
    }
    agent.wait_for_settled("v2");
    wait_for_printed(&world, 100);
    let counts = assert_paid(&endpoint, &owed(&world));
    assert!(counts.repeated_batches <= ROUNDS * STREAMS_MAX, "{counts:#?}");
    assert!(counts.gzip > 0, "{counts:#?}");
    let sums = audit(&world);
    assert_eq!((sums["rejected"], sums["dropped"]), (0, 0), "{sums:?}");
}

#[test]
fn a_tier_that_floods_does_not_starve_one_that_whispers() {
    let endpoint = LogEndpoint::start_tls();
    let world = world_of(&endpoint);
    let flood = Printers { tier: "flood", processes: 1, rate: 0, first: 1 };
    let whisper = Printers { tier: "whisper", processes: 1, rate: 10, first: 1000 };
    let release = flood.join(Release::new("v1"), &world).set("tier.flood.env.APP_SECONDS", "6");
    world.release(&whisper.join(release, &world));
    let agent = Agent::start_with(&world, &to_cloudwatch(&[]));
    agent.wait_for_settled("v1");
    wait_until(SOON, "the flood is over and the whisper goes on", || {
        let owed = owed(&world);
        let whispered = owed.get(&1000).copied().unwrap_or_default();
        if whispered >= 100 { Ok(()) } else { Err(owed) }
    });
    let owed = BTreeMap::from([(1000, owed(&world)[&1000])]);
    assert_paid(&endpoint, &owed);
    let whispered = endpoint.delivery(1000);
    assert!(whispered.lag_ms_max < WHISPER_LAG_MS_MAX, "{whispered:?}");
    assert!(endpoint.delivery(1).lines > 10_000, "no flood: {:?}", endpoint.delivery(1));
}

#[test]
fn groups_and_streams_that_are_missing_are_created_with_their_retention() {
    let endpoint = LogEndpoint::start_tls();
    let world = world_of(&endpoint);
    let agent = printing(&world, &[("logs.retention_days", 7.into())]);
    assert_paid(&endpoint, &owed(&world));
    let groups = endpoint.groups();
    for tier in ["loud", "quiet"] {
        let name = format!("/groundcrew/test/{tier}");
        assert_eq!(groups.get(&name), Some(&Some(7)), "{groups:?}");
    }
    // Somebody deletes them; what comes from now on begins them anew.
    endpoint.delete_groups();
    wait_for_printed(&world, 50);
    let owed = owed(&world);
    assert_paid(&endpoint, &owed);
    assert_eq!(endpoint.groups(), groups);
    let pipeline = wait_for_pipeline(&agent, "all is well", |logs| logs["reason"].is_null());
    assert_eq!((&pipeline["dropped"], &pipeline["rejected"]), (&0.into(), &0.into()));
}

#[test]
fn what_may_not_be_created_is_waited_for() {
    let endpoint = LogEndpoint::start_tls();
    let world = world_of(&endpoint);
    let agent = printing(&world, &[("logs.create", false.into())]);
    wait_for_pipeline(&agent, "the reason", |logs| {
        logs["reason"].as_str().is_some_and(|reason| !reason.is_empty())
    });
    let counts = endpoint.counts();
    assert_eq!((counts.creations, counts.accepted), (0, 0), "{counts:#?}");
    assert!(counts.not_found > 0, "{counts:#?}");
    // Terraform, late.
    agent.wait_for(SOON, "the tiers run", |status| status["state"] == "serving");
    create_streams(&endpoint, &agent);
    assert_paid(&endpoint, &owed(&world));
}

/// Creates the groups and streams that the agent's processes need.
fn create_streams(endpoint: &LogEndpoint, agent: &Agent<'_>) {
    use crate::harness::log_endpoint::client::Client;
    use serde_json::json;
    let instance = nix::unistd::gethostname().unwrap().into_string().unwrap();
    let pem = endpoint.certificate().expect("it speaks TLS");
    let mut client = Client::connect_tls(&endpoint.address(), pem).unwrap();
    let mut call = |operation: &str, body: Value| {
        let (status, answer) = client.call(operation, body.to_string().as_bytes(), false).unwrap();
        assert_eq!(status, 200, "{operation}: {answer}");
    };
    for tier in ["loud", "quiet"] {
        let group = format!("/groundcrew/test/{tier}");
        call("CreateLogGroup", json!({"logGroupName": group}));
        for process in agent.processes(tier) {
            let stream = format!("{instance}/{}", process.id);
            call("CreateLogStream", json!({"logGroupName": group, "logStreamName": stream}));
        }
    }
}
