//! Everything that can go wrong at the endpoint, one after the other and at once.

use super::*;
use crate::harness::log_endpoint::{Faults, Refusal};

/// How often a fault must have been met before it ends.
const MET: u64 = 4;
/// Lines of a stream that says little wait for five seconds, without anything being wrong.
const OLDEST_MS_MAX: u64 = 8_000;

/// What of the batches may come twice.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeats {
    /// None: whatever was refused was not taken.
    None,
    /// Those whose answer was lost.
    RepliesLost,
}

/// Prints under a fault until it was met some times, ends it, and expects every line.
#[track_caller]
fn check(faults: Faults, met: fn(&Counts) -> u64, repeats: Repeats) {
    let endpoint = LogEndpoint::start_tls();
    let world = world_of(&endpoint);
    let agent = printing(&world, &[]);
    let before = met(&assert_paid(&endpoint, &owed(&world)));
    endpoint.set_faults(faults.clone());
    endpoint.wait_for_counts(PAID_WITHIN, &format!("{faults:?} is met"), |counts| {
        met(counts) >= before + MET
    });
    wait_for_printed(&world, 100);
    endpoint.heal();
    wait_for_printed(&world, 100);
    let counts = assert_paid(&endpoint, &owed(&world));
    let allowed = match repeats {
        Repeats::None => 0,
        Repeats::RepliesLost => counts.replies_lost,
    };
    assert!(counts.repeated_batches <= allowed, "{faults:?}: {counts:#?}");
    let pipeline = wait_for_pipeline(&agent, "all is well", |logs| logs["reason"].is_null());
    assert_eq!((&pipeline["dropped"], &pipeline["rejected"]), (&0.into(), &0.into()), "{faults:?}");
}

#[test]
fn throttled_now_and_then() {
    let faults = Faults { throttled_percent: 30, ..Faults::default() };
    check(faults, |counts| counts.throttled, Repeats::None);
}

#[test]
fn throttled_to_a_rate() {
    let faults = Faults { puts_per_second_max: Some(1), ..Faults::default() };
    check(faults, |counts| counts.throttled, Repeats::None);
}

#[test]
fn failing_altogether() {
    let faults = Faults { error_percent: 100, ..Faults::default() };
    check(faults, |counts| counts.failed, Repeats::None);
}

#[test]
fn losing_replies() {
    let faults = Faults { reply_lost_percent: 40, ..Faults::default() };
    check(faults, |counts| counts.replies_lost, Repeats::RepliesLost);
}

#[test]
fn answering_slowly() {
    let trickle = Duration::from_millis(1);
    let faults = Faults { latency: Duration::from_millis(300), trickle, ..Faults::default() };
    check(faults, |counts| counts.accepted, Repeats::None);
}

#[test]
fn refusing_the_credentials() {
    for refusal in [Refusal::ExpiredToken, Refusal::UnknownKey] {
        let faults = Faults { refusal: Some(refusal), ..Faults::default() };
        check(faults, |counts| counts.refused, Repeats::None);
    }
}

#[test]
fn refusing_the_clock_and_everybody() {
    for refusal in [Refusal::ClockSkew, Refusal::Unavailable] {
        let faults = Faults { refusal: Some(refusal), ..Faults::default() };
        check(faults, |counts| counts.refused, Repeats::None);
    }
}

#[test]
fn a_request_that_is_never_answered_is_given_up() {
    let endpoint = LogEndpoint::start_tls();
    let world = world_of(&endpoint);
    let _agent = printing(&world, &[]);
    assert_paid(&endpoint, &owed(&world));
    endpoint.set_faults(Faults { hang: true, ..Faults::default() });
    // A second try needs an end of the first.
    let streams = u64::try_from(LOUD.processes + QUIET.processes).unwrap();
    endpoint.wait_for_counts(PAID_WITHIN, "the requests are given up", |counts| {
        counts.unanswered > streams
    });
    endpoint.heal();
    let counts = assert_paid(&endpoint, &owed(&world));
    assert_eq!(counts.repeated_batches, 0, "{counts:#?}");
}

#[test]
fn everything_at_once_and_the_agent_killed() {
    let endpoint = LogEndpoint::start_tls();
    let world = world_of(&endpoint);
    let mut agent = printing(&world, &[]);
    endpoint.set_faults(Faults {
        latency: Duration::from_millis(50),
        throttled_percent: 20,
        error_percent: 20,
        reply_lost_percent: 10,
        ..Faults::default()
    });
    let kills = 3;
    for _ in 0..kills {
        wait_for_printed(&world, 1000);
        agent.kill();
        agent.restart();
        agent.wait_for(SOON, "the agent answers", |_| true);
    }
    wait_for_printed(&world, 1000);
    endpoint.heal();
    let counts = assert_paid(&endpoint, &owed(&world));
    let streams = u64::try_from(LOUD.processes + QUIET.processes).unwrap();
    assert!(counts.repeated_batches <= counts.replies_lost + kills * streams, "{counts:#?}");
}

#[test]
fn an_endpoint_that_went_away_finds_everything_when_it_is_back() {
    let mut endpoint = LogEndpoint::start_tls();
    let world = world_of(&endpoint);
    let mut agent = printing(&world, &[]);
    assert_paid(&endpoint, &owed(&world));
    endpoint.go_away();
    wait_for_printed(&world, 3000);
    let pipeline = wait_for_pipeline(&agent, "an old backlog", |logs| {
        logs["oldest_ms"].as_u64() > Some(OLDEST_MS_MAX)
            && logs["backlog_bytes"].as_u64() > Some(100_000)
    });
    assert!(pipeline["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{pipeline:#}");
    assert_ne!(world.cli(&["status"]).code, Some(3));
    // Also an agent that is born into the outage.
    agent.kill();
    agent.restart();
    agent.wait_for_settled("v1");
    wait_for_printed(&world, 500);
    endpoint.come_back();
    let counts = assert_paid(&endpoint, &owed(&world));
    // What was under way when it went away, and when the agent was killed.
    let streams = u64::try_from(LOUD.processes + QUIET.processes).unwrap();
    assert!(counts.repeated_batches <= 2 * streams, "{counts:#?}");
    wait_for_pipeline(&agent, "no backlog", |logs| {
        logs["reason"].is_null() && logs["oldest_ms"].as_u64() < Some(OLDEST_MS_MAX)
    });
}

#[test]
fn what_may_not_be_created_says_so_and_arrives_later() {
    let endpoint = LogEndpoint::start_tls();
    endpoint.set_faults(Faults { create_denied: true, ..Faults::default() });
    let world = world_of(&endpoint);
    let agent = printing(&world, &[]);
    let pipeline =
        wait_for_pipeline(&agent, "the reason", |logs| logs["reason"].as_str().is_some());
    let reason = pipeline["reason"].as_str().unwrap();
    assert!(reason.contains("denied") || reason.contains("AccessDenied"), "{reason}");
    endpoint.heal();
    assert_paid(&endpoint, &owed(&world));
}

#[test]
fn a_poisoned_event_is_put_aside_and_the_rest_arrives() {
    let endpoint = LogEndpoint::start_tls();
    let poison = Some("\"src\":1,\"seq\":777,".to_owned());
    endpoint.set_faults(Faults { poison, ..Faults::default() });
    let world = world_of(&endpoint);
    let agent = printing(&world, &[]);
    let loud = [1, 2];
    wait_until(PAID_WITHIN, "all but the poisoned line", || {
        let missing = loud.map(|source| endpoint.missing(source, 1500));
        if missing == [1, 0] {
            Ok(())
        } else {
            Err(format!("{missing:?} {:#?}", endpoint.counts()))
        }
    });
    let rejected = |logs: &Value| logs["rejected"].as_u64() == Some(1);
    wait_for_pipeline(&agent, "a rejected event", rejected);
    assert_eq!(audit(&world)["rejected"], 1);
    assert_eq!(endpoint.counts().invalid, 0);
    // Whatever was wrong with it is mended: it is not lost.
    endpoint.heal();
    let replay = world.cli(&["logs", "replay"]);
    assert_eq!(replay.code, Some(0), "{replay:#?}");
    endpoint.wait_for(&BTreeMap::from(loud.map(|source| (source, 1500))), PAID_WITHIN);
}
