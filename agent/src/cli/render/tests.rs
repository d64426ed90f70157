//! What a person sees, state by state.

use groundcrew_core::status::*;
use groundcrew_core::time::Wall;
use groundcrew_core::types::Digest;

use super::{Style, status};

mod backing_up;
mod examined;
mod kept;
mod leaving;
mod shipping;

const NOW: Wall = Wall(1_787_311_447_000); // Fri 2026-08-21 11:24:07 UTC
const PLAIN: Style = Style { width: usize::MAX, colour: false };

fn before(seconds: i64) -> Wall {
    Wall(NOW.0 - seconds * 1000)
}

fn digest(version: &str) -> Digest {
    Digest::from_bytes([version.as_bytes()[version.len() - 1]; 32])
}

fn release(version: &str) -> ReleaseStatus {
    ReleaseStatus {
        version: version.parse().unwrap(),
        digest: digest(version),
        since: before(94_200),
    }
}

fn desired(version: &str) -> DesiredStatus {
    DesiredStatus {
        version: version.parse().unwrap(),
        digest: digest(version),
        channel_generation: 7,
    }
}

fn process(id: &str, pid: i32) -> ProcessStatus {
    ProcessStatus {
        id: id.parse().unwrap(),
        pid: Some(pid),
        state: ProcessState::Accepting,
        probe: Some(ProbeStatus { ok: true, at: before(1), detail: String::new() }),
        restarts: 0,
        rss_bytes: Some(118 << 20),
        cpu_percent: Some(9),
        loop_lag_us: Some(2000),
        connections: 32,
        in_flight: 7,
        since: before(94_200),
        reason: None,
    }
}

fn tier(name: &str, generation: u32, in_flight: u64, rps: u64, p99_us: u64) -> TierStatus {
    let ids = [1, 2].map(|ordinal| format!("{name}.{generation}.{ordinal}"));
    TierStatus {
        name: name.parse().unwrap(),
        release: Some("v42".parse().unwrap()),
        generation: Some(groundcrew_core::types::Generation(generation)),
        port: Some(3000),
        ready: 2,
        wanted: 2,
        in_flight,
        connections: 64,
        websockets: 0,
        requests_per_second: rps,
        p99_us: Some(p99_us),
        errors_per_minute: 0,
        restarts: 0,
        last_restart: None,
        since: before(94_200),
        state: State::Serving,
        reason: None,
        processes: vec![process(&ids[0], 21807), process(&ids[1], 21808)],
    }
}

fn event(seconds: i64, level: EventLevel, text: &str) -> EventStatus {
    EventStatus::new(before(seconds), level, text.to_owned())
}

fn serving() -> StatusDocument {
    StatusDocument {
        state: State::Serving,
        since: before(94_200),
        now: NOW,
        host: HostStatus {
            instance_id: Some("i-0a1b2c3d4e5f67890".to_owned()),
            name: "web-1".to_owned(),
        },
        environment: "production".parse().unwrap(),
        source: "s3://acme-releases/shop".to_owned(),
        release: Some(release("v42")),
        previous: Some(release("v41")),
        desired: Some(desired("v42")),
        rejected: None,
        rollout: None,
        reason: None,
        next: None,
        lifecycle: None,
        tiers: vec![
            TierStatus {
                errors_per_minute: 1,
                restarts: 1,
                last_restart: Some(before(10_800)),
                ..tier("api", 17, 6, 208, 87_000)
            },
            tier("web", 17, 14, 312, 41_000),
        ],
        disk: DiskStatus { releases_bytes: 564 << 20, logs_bytes: 12 << 20 },
        source_status: SourceStatus { last_ok: Some(before(4)), error: None },
        pipelines: Vec::new(),
        backups: Vec::new(),
        events: vec![
            event(
                10_800,
                EventLevel::Warning,
                "api.17.2 killed by SIGKILL (memory limit 512 MiB); restart 1 of 5 in 10m",
            ),
            event(
                94_200,
                EventLevel::Normal,
                "v42 settled: 0 failed requests, cutover 41s after fetch, bleed 12s",
            ),
        ],
    }
}

/// A host that has only just been told what to do.
fn fresh(state: State) -> StatusDocument {
    StatusDocument {
        state,
        since: before(3),
        host: HostStatus { instance_id: None, name: "web-1".to_owned() },
        release: None,
        previous: None,
        desired: None,
        tiers: Vec::new(),
        disk: DiskStatus::default(),
        events: Vec::new(),
        source_status: SourceStatus::default(),
        ..serving()
    }
}

fn rollout(stage: RolloutStage, detail: &str) -> RolloutStatus {
    RolloutStatus {
        version: "v43".parse().unwrap(),
        digest: digest("v43"),
        stage,
        since: before(12),
        detail: detail.to_owned(),
        started: before(15),
    }
}

#[test]
fn a_host_that_serves() {
    insta::assert_snapshot!(status::render(&serving(), PLAIN), @r"
    ● serving since Thu 2026-08-20 09:14:07 UTC; 1d2h ago
      Instance  i-0a1b2c3d4e5f67890  web-1
      Release   v42 3232323, as desired by s3://acme-releases/shop/production; v41 kept for rollback
      Disk      releases 564 MiB, logs 12 MiB

    TIER  RELEASE  READY  IN-FLIGHT  REQ/S   P99  5XX/MIN  RESTARTS     AGE
    api   v42        2/2          6    208  87ms        1  1 (3h ago)  1d2h
    web   v42        2/2         14    312  41ms        0  0           1d2h

    PROCESS     PID  STATE      PROBE          RSS  CPU  LOOP LAG  CONNS   AGE
    api.17.1  21807  accepting  ok 1s ago  118 MiB   9%       2ms     32  1d2h
    api.17.2  21808  accepting  ok 1s ago  118 MiB   9%       2ms     32  1d2h
    web.17.1  21807  accepting  ok 1s ago  118 MiB   9%       2ms     32  1d2h
    web.17.2  21808  accepting  ok 1s ago  118 MiB   9%       2ms     32  1d2h

    EVENTS
      3h ago    warning  api.17.2 killed by SIGKILL (memory limit 512 MiB); restart 1 of 5 in 10m
      1d2h ago  normal   v42 settled: 0 failed requests, cutover 41s after fetch, bleed 12s
    ");
}

#[test]
fn a_host_that_starts() {
    let starting = ProcessStatus {
        state: ProcessState::Starting,
        probe: None,
        rss_bytes: Some(31 << 20),
        cpu_percent: None,
        loop_lag_us: None,
        connections: 0,
        since: before(1),
        ..process("web.1.1", 812)
    };
    let web = TierStatus {
        ready: 0,
        wanted: 1,
        p99_us: None,
        since: before(1),
        state: State::Starting,
        processes: vec![starting],
        ..tier("web", 1, 0, 0, 0)
    };
    let document = StatusDocument {
        desired: Some(desired("v43")),
        rollout: Some(rollout(RolloutStage::Starting, "0 of 1 ready")),
        tiers: vec![web],
        source_status: SourceStatus { last_ok: Some(before(2)), error: None },
        ..fresh(State::Starting)
    };
    insta::assert_snapshot!(status::render(&document, PLAIN), @r"
    ● starting since Fri 2026-08-21 11:24:04 UTC; 3s ago
      Host      web-1
      Release   none yet; v43 3333333 is desired by s3://acme-releases/shop/production
      Rollout   v43 3333333 starting for 12s: 0 of 1 ready; began 15s ago

    TIER  RELEASE  READY  IN-FLIGHT  REQ/S  P99  5XX/MIN  RESTARTS  AGE
    web   v42        0/1          0      0    -        0  0          1s

    PROCESS  PID  STATE     PROBE     RSS  CPU  LOOP LAG  CONNS  AGE
    web.1.1  812  starting  -      31 MiB    -         -      0   1s
    ");
}

#[test]
fn no_channel_yet() {
    let document = StatusDocument {
        source_status: SourceStatus { last_ok: Some(before(2)), error: None },
        ..fresh(State::Starting)
    };
    insta::assert_snapshot!(status::render(&document, PLAIN), @r"
    ● starting since Fri 2026-08-21 11:24:04 UTC; 3s ago
      Host      web-1
      Release   none yet; s3://acme-releases/shop/production has no channel: promote a release
    ");
    insta::assert_snapshot!(status::render(&fresh(State::Starting), PLAIN), @r"
    ● starting since Fri 2026-08-21 11:24:04 UTC; 3s ago
      Host      web-1
      Release   none yet; s3://acme-releases/shop/production has not been read yet
    ");
}

#[test]
fn a_rollout_that_fetches() {
    let document = StatusDocument {
        desired: Some(desired("v43")),
        rollout: Some(rollout(RolloutStage::Fetching, "41 % of 188 MiB")),
        tiers: Vec::new(),
        events: Vec::new(),
        ..serving()
    };
    insta::assert_snapshot!(status::render(&document, PLAIN), @r"
    ● serving since Thu 2026-08-20 09:14:07 UTC; 1d2h ago
      Instance  i-0a1b2c3d4e5f67890  web-1
      Release   v42 3232323; v43 3333333 is desired by s3://acme-releases/shop/production; v41 kept for rollback
      Rollout   v43 3333333 fetching for 12s: 41 % of 188 MiB; began 15s ago
      Disk      releases 564 MiB, logs 12 MiB
    ");
}

#[test]
fn a_release_that_was_rolled_back() {
    let rejected = RejectedStatus {
        version: "v43".parse().unwrap(),
        digest: digest("v43"),
        reason: "7 % of 812 requests failed in the trial, 0 % with v42".to_owned(),
        at: before(240),
    };
    let document = StatusDocument {
        desired: Some(desired("v43")),
        rejected: Some(rejected.clone()),
        next: Some(
            "groundcrew rollback --source s3://acme-releases/shop --environment production".into(),
        ),
        tiers: Vec::new(),
        events: vec![event(240, EventLevel::Error, "v43 rejected, v42 serves again after 1.1s")],
        ..serving()
    };
    insta::assert_snapshot!(status::render(&document, PLAIN), @r"
    ● serving (v43 rolled back) since Thu 2026-08-20 09:14:07 UTC; 1d2h ago
      Instance  i-0a1b2c3d4e5f67890  web-1
      Release   v42 3232323; v43 3333333 is desired by s3://acme-releases/shop/production; v41 kept for rollback
      Rejected  v43 3333333, 4m ago: 7 % of 812 requests failed in the trial, 0 % with v42; not tried again until the channel changes
      Disk      releases 564 MiB, logs 12 MiB

    EVENTS
      4m ago  error  v43 rejected, v42 serves again after 1.1s

    Next: groundcrew rollback --source s3://acme-releases/shop --environment production
    ");
    // Once the channel asks for something else, the old failure is only history.
    let moved = StatusDocument { rejected: Some(rejected), tiers: Vec::new(), ..serving() };
    let text = status::render(&moved, PLAIN);
    assert!(!text.contains("Next:") && !text.contains("not tried again"), "{text}");
}

#[test]
fn a_crash_loop() {
    let waits = ProcessStatus {
        pid: None,
        state: ProcessState::Backoff,
        probe: Some(ProbeStatus { ok: false, at: before(9), detail: "refused".to_owned() }),
        restarts: 6,
        rss_bytes: None,
        cpu_percent: None,
        loop_lag_us: None,
        connections: 0,
        since: before(8),
        reason: Some("exited with code 1; restart in 52s".to_owned()),
        ..process("web.17.2", 0)
    };
    let web = TierStatus {
        ready: 1,
        restarts: 6,
        last_restart: Some(before(8)),
        since: before(70),
        state: State::Degraded,
        reason: Some("web.17.2 restarted 6 times in 10m".to_owned()),
        processes: vec![process("web.17.1", 21807), waits],
        ..tier("web", 17, 14, 312, 41_000)
    };
    let document = StatusDocument {
        state: State::Degraded,
        since: before(70),
        next: Some("groundcrew logs --process web.17.2 --since 10m".to_owned()),
        tiers: vec![web],
        events: vec![event(
            8,
            EventLevel::Error,
            "web.17.2 exited with code 1: \u{1b}[31mError: no db",
        )],
        ..serving()
    };
    insta::assert_snapshot!(status::render(&document, PLAIN), @r"
    ● degraded since Fri 2026-08-21 11:22:57 UTC; 1m10s ago
      Tier      web is degraded: web.17.2 restarted 6 times in 10m
      Instance  i-0a1b2c3d4e5f67890  web-1
      Release   v42 3232323, as desired by s3://acme-releases/shop/production; v41 kept for rollback
      Disk      releases 564 MiB, logs 12 MiB

    TIER  RELEASE  READY  IN-FLIGHT  REQ/S   P99  5XX/MIN  RESTARTS      AGE
    web   v42        1/2         14    312  41ms        0  6 (8s ago)  1m10s

    PROCESS     PID  STATE      PROBE               RSS  CPU  LOOP LAG  CONNS   AGE  REASON
    web.17.1  21807  accepting  ok 1s ago       118 MiB   9%       2ms     32  1d2h
    web.17.2      -  backoff    refused 9s ago        -    -         -      0    8s  exited with code 1; restart in 52s

    EVENTS
      8s ago  error  web.17.2 exited with code 1: \u{1b}[31mError: no db

    Next: groundcrew logs --process web.17.2 --since 10m
    ");
}

#[test]
fn a_host_that_drains_and_one_that_has_stopped() {
    let bleeding = ProcessStatus {
        state: ProcessState::Bleeding,
        connections: 2,
        reason: Some("2 connections left, 21s to go".to_owned()),
        ..process("web.17.1", 21807)
    };
    let web = TierStatus {
        state: State::Draining,
        since: before(9),
        processes: vec![bleeding],
        ..tier("web", 17, 1, 3, 41_000)
    };
    let document = StatusDocument {
        state: State::Draining,
        since: before(9),
        reason: Some("SIGTERM".to_owned()),
        tiers: vec![web],
        events: Vec::new(),
        ..serving()
    };
    insta::assert_snapshot!(status::render(&document, PLAIN), @r"
    ● draining since Fri 2026-08-21 11:23:58 UTC; 9s ago
      Reason    SIGTERM
      Instance  i-0a1b2c3d4e5f67890  web-1
      Release   v42 3232323, as desired by s3://acme-releases/shop/production; v41 kept for rollback
      Disk      releases 564 MiB, logs 12 MiB

    TIER  RELEASE  READY  IN-FLIGHT  REQ/S   P99  5XX/MIN  RESTARTS  AGE
    web   v42        2/2          1      3  41ms        0  0          9s

    PROCESS     PID  STATE     PROBE          RSS  CPU  LOOP LAG  CONNS   AGE  REASON
    web.17.1  21807  bleeding  ok 1s ago  118 MiB   9%       2ms      2  1d2h  2 connections left, 21s to go
    ");
    insta::assert_snapshot!(status::render(&fresh(State::Stopped), PLAIN), @r"
    ○ stopped since Fri 2026-08-21 11:24:04 UTC; 3s ago
      Host      web-1
      Release   none yet; s3://acme-releases/shop/production has not been read yet
    ");
}

#[test]
fn a_source_that_does_not_answer() {
    let error =
        "could not read channels/production.json from bucket acme-releases: no answer in 10s";
    let document = StatusDocument {
        tiers: Vec::new(),
        events: Vec::new(),
        source_status: SourceStatus { last_ok: Some(before(310)), error: Some(error.to_owned()) },
        ..serving()
    };
    let narrow = Style { width: 72, colour: false };
    insta::assert_snapshot!(status::render(&document, narrow), @r"
    ● serving since Thu 2026-08-20 09:14:07 UTC; 1d2h ago
      Instance  i-0a1b2c3d4e5f67890  web-1
      Release   v42 3232323, as desired by
                s3://acme-releases/shop/production; v41 kept for rollback
      Source    s3://acme-releases/shop last answered 5m10s ago: could not
                read channels/production.json from bucket acme-releases: no
                answer in 10s
      Disk      releases 564 MiB, logs 12 MiB
    ");
}

#[test]
fn a_worker_has_no_requests_to_count() {
    let jobs =
        TierStatus { port: None, p99_us: None, processes: vec![], ..tier("jobs", 3, 0, 0, 0) };
    let document =
        StatusDocument { tiers: vec![jobs], events: Vec::new(), previous: None, ..serving() };
    insta::assert_snapshot!(status::render(&document, PLAIN), @r"
    ● serving since Thu 2026-08-20 09:14:07 UTC; 1d2h ago
      Instance  i-0a1b2c3d4e5f67890  web-1
      Release   v42 3232323, as desired by s3://acme-releases/shop/production
      Disk      releases 564 MiB, logs 12 MiB

    TIER  RELEASE  READY  IN-FLIGHT  REQ/S  P99  5XX/MIN  RESTARTS   AGE
    jobs  v42        2/2          -      -    -        -  0         1d2h
    ");
}

#[test]
fn colour_only_repeats_and_wrapping_only_breaks() {
    let colour = status::render(&serving(), Style { width: usize::MAX, colour: true });
    assert!(colour.starts_with("\u{1b}[32m● serving\u{1b}[0m since"), "{colour}");
    let mut plain = colour;
    for code in ["31", "32", "33", "0"] {
        plain = plain.replace(&format!("\u{1b}[{code}m"), "");
    }
    assert_eq!(plain, status::render(&serving(), PLAIN));
    let narrow = status::render(&serving(), Style { width: 40, colour: false });
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(&narrow), words(&plain));
}
