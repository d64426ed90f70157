//! Releases that come, settle and fail, as the status shows them.

use groundcrew_core::status::StatusDocument;
use serde_json::{Value, json};

use super::*;

fn digest(of: u32) -> String {
    format!("{of:08x}").repeat(8)
}

fn release(of: u32, since: i64) -> Value {
    json!({"version": format!("v{of}"), "digest": digest(of), "since": since})
}

/// Of a host that runs release `of` since second `since`.
fn status(of: u32, since: i64, more: Value) -> StatusDocument {
    let tier = json!({
        "name": "web", "release": format!("v{of}"), "generation": 1, "port": 3000, "ready": 1,
        "wanted": 1, "in_flight": 0, "connections": 0, "websockets": 0, "requests_per_second": 0,
        "p99_us": null, "errors_per_minute": 0, "restarts": 0, "last_restart": null, "since": 0,
        "state": "serving", "reason": null, "processes": []
    });
    let mut document = json!({
        "state": "serving", "since": 0, "now": 0,
        "host": {"instance_id": null, "name": "web-1"}, "environment": "production",
        "source": "s3://acme-releases/shop", "release": release(of, since * 1000),
        "previous": null, "desired": null, "rejected": null, "rollout": null, "reason": null,
        "next": null, "tiers": [tier], "disk": {"releases_bytes": 0, "logs_bytes": 0},
        "source_status": {"last_ok": null, "error": null}, "events": []
    });
    for (key, value) in more.as_object().unwrap() {
        document[key] = value.clone();
    }
    serde_json::from_value(document).unwrap()
}

fn rollout(of: u32, stage: &str, since: i64) -> Value {
    json!({"rollout": {
        "version": format!("v{of}"), "digest": digest(of), "stage": stage, "since": since * 1000,
        "detail": "", "started": 100_000
    }})
}

fn rejected(of: u32, at: i64) -> Value {
    json!({"version": format!("v{of}"), "digest": digest(of), "reason": "it crashed",
           "at": at * 1000})
}

/// The boot clock is a thousand seconds behind the wall clock here.
fn at(seconds: u64) -> Now {
    let wall = i64::try_from(seconds).unwrap() * 1000;
    Now { at: Moment(seconds * 1000 + 1_000_000), wall: Wall(wall) }
}

fn marks(story: &Story, now: u64) -> Vec<(u64, MarkKind, String)> {
    let (marks, _) = story.told(at(now).at);
    let told = |mark: Mark| (mark.at.0 / 1000 - 1000, mark.kind, mark.version.to_string());
    marks.into_iter().map(told).collect()
}

#[test]
fn a_release_that_settles() {
    let mut story = Story::default();
    story.note(at(99), &status(1, 10, json!({})));
    for (second, stage, since) in
        [(101, "fetching", 100), (103, "starting", 102), (105, "starting", 102)]
    {
        story.note(at(second), &status(1, 10, rollout(2, stage, since)));
    }
    story.note(at(106), &status(2, 106, rollout(2, "trial", 106)));
    story.note(at(166), &status(2, 106, json!({})));
    story.note(at(167), &status(2, 106, json!({})));
    let v = |of: u32| format!("v{of}");
    assert_eq!(
        marks(&story, 200),
        [
            (10, MarkKind::Current, v(1)),
            (100, MarkKind::Begun, v(2)),
            (106, MarkKind::Current, v(2)),
            (166, MarkKind::Settled, v(2)),
        ]
    );
    let timeline = story.told(at(200).at).1.unwrap();
    let stages: Vec<_> =
        (timeline.stages.iter()).map(|stage| (stage.stage, stage.at.0 / 1000 - 1000)).collect();
    let expected =
        [(RolloutStage::Fetching, 100), (RolloutStage::Starting, 102), (RolloutStage::Trial, 106)];
    assert_eq!(stages, expected);
    assert_eq!(timeline.ended.unwrap().outcome, RolloutOutcome::Settled);
    assert_eq!(marks(&story, 3650).len(), 3, "an hour later the first is history");
    assert_eq!(marks(&story, 9000), []);
}

#[test]
fn a_release_that_fails_and_the_way_back() {
    let mut story = Story::default();
    story.note(at(100), &status(1, 10, rollout(2, "starting", 100)));
    story.note(at(106), &status(2, 106, rollout(2, "trial", 106)));
    let mut back = rollout(1, "rolling-back", 110);
    back["rejected"] = rejected(2, 110);
    // For a moment there may be no rollout at all.
    story.note(at(110), &status(2, 106, json!({"rejected": rejected(2, 110)})));
    assert!(story.told(at(110).at).1.unwrap().ended.is_some());
    story.note(at(110), &status(2, 106, back));
    assert!(story.told(at(110).at).1.unwrap().ended.is_none());
    story.note(at(112), &status(1, 112, json!({"rejected": rejected(2, 110)})));
    let timeline = story.told(at(112).at).1.unwrap();
    let end = timeline.ended.unwrap();
    assert_eq!(
        (timeline.version.to_string(), end.outcome),
        ("v2".into(), RolloutOutcome::Rejected)
    );
    assert_eq!(end.reason.as_deref(), Some("it crashed"));
    assert_eq!(timeline.stages.last().unwrap().stage, RolloutStage::RollingBack);
    let kinds: Vec<_> = marks(&story, 200).into_iter().map(|(_, kind, _)| kind).collect();
    use MarkKind::*;
    assert_eq!(kinds, [Current, Begun, Current, Rejected, Current]);
}

#[test]
fn a_newer_wish_ends_a_rollout_and_an_agents_first_look_finds_what_was() {
    let mut story = Story::default();
    let mut first = rollout(2, "trial", 50);
    first["rejected"] = rejected(7, 20);
    story.note(at(60), &status(2, 50, first));
    assert_eq!(
        marks(&story, 60),
        [(20, MarkKind::Rejected, "v7".to_owned()), (50, MarkKind::Current, "v2".to_owned())]
    );
    story.note(at(101), &status(2, 50, rollout(3, "fetching", 100)));
    story.note(at(102), &status(2, 50, json!({"state": "draining"})));
    let timeline = story.told(at(102).at).1.unwrap();
    assert_eq!(timeline.version.to_string(), "v3");
    assert_eq!(timeline.ended.unwrap().outcome, RolloutOutcome::Abandoned);
}

#[test]
fn an_agent_that_comes_back_begins_no_rollout_and_a_restart_does() {
    let mut story = Story::default();
    story.note(at(100), &status(1, 10, rollout(1, "fetching", 100)));
    story.note(at(101), &status(1, 10, json!({})));
    assert_eq!(story.told(at(101).at).1, None);
    story.note(at(102), &status(1, 10, rollout(1, "fetching", 102)));
    story.note(at(103), &status(1, 10, rollout(1, "starting", 103)));
    story.note(at(104), &status(1, 10, json!({})));
    let timeline = story.told(at(104).at).1.unwrap();
    assert_eq!((timeline.stages.len(), timeline.began), (1, at(100).at));
    let kinds: Vec<_> = marks(&story, 104).into_iter().map(|(_, kind, _)| kind).collect();
    assert_eq!(kinds, [MarkKind::Current, MarkKind::Begun, MarkKind::Settled]);
}

#[test]
fn nothing_grows_without_end_and_a_clock_that_was_set_is_no_trouble() {
    let mut story = Story::default();
    for of in 0..1000 {
        story.note(at(100), &status(of, i64::MAX / 1000, rollout(5, "fetching", i64::MIN / 1000)));
        story.note(at(100), &status(of, i64::MIN / 1000, rollout(5, "starting", 0)));
    }
    let (told, timeline) = story.told(at(100).at);
    assert!(told.len() <= MARKS_MAX && told.iter().all(|mark| mark.at <= at(100).at));
    assert_eq!(timeline.unwrap().stages.len(), STAGES_MAX);
}
