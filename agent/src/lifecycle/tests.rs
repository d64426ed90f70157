//! The watch against a metadata service on this machine.

use std::time::Duration;

use groundcrew_core::lifecycle::sight::{Sighting, TargetState};

use super::*;
use crate::aws::imds::testing::{FakeImds, Mood};

const TARGET: &str = "autoscaling/target-lifecycle-state";
const SPOT: &str = "spot/instance-action";
const MAINTENANCE: &str = "events/maintenance/scheduled";
/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

const BRISK: Pace = Pace {
    every: Duration::from_millis(5),
    every_max: Duration::from_millis(20),
    seldom_every: Duration::from_millis(5),
};

fn watch_over(fake: &FakeImds) -> (Lifecycle, mpsc::Receiver<Event>) {
    let (events, news) = mpsc::channel(64);
    let cancel = CancellationToken::new();
    (Lifecycle::with(Some(fake.client()), events, &cancel, BRISK), news)
}

async fn next(news: &mut mpsc::Receiver<Event>) -> (Option<Sighting>, Option<String>) {
    let event = tokio::time::timeout(PATIENCE, news.recv()).await.expect("no news");
    match event.expect("the watch has ended") {
        Event::Sighted { sighting, trouble } => (sighting.map(|sighting| *sighting), trouble),
        other => panic!("{other:?}"),
    }
}

/// Several looks later there is nothing new.
async fn nothing_more(fake: &mut FakeImds, news: &mut mpsc::Receiver<Event>) {
    tokio::time::timeout(PATIENCE, fake.is_asked(20)).await.expect("the watch has stopped");
    assert_eq!(news.try_recv().ok(), None);
}

#[tokio::test]
async fn news_are_told_once_and_outlive_an_outage() {
    let mut fake = FakeImds::start().await;
    fake.set(TARGET, "InService");
    fake.set("instance-id", "i-0a1b2c3d4e5f67890");
    let (lifecycle, mut news) = watch_over(&fake);
    let in_service = Sighting { target: Some(TargetState::InService), ..Sighting::default() };
    assert_eq!(next(&mut news).await, (Some(in_service), None));
    nothing_more(&mut fake, &mut news).await;
    assert_eq!(lifecycle.instance_id().as_deref(), Some("i-0a1b2c3d4e5f67890"));

    fake.set(SPOT, r#"{"action": "terminate", "time": "2026-08-21T03:10:00Z"}"#);
    let (sighting, trouble) = next(&mut news).await;
    let notice = sighting.unwrap().spot.unwrap();
    assert_eq!((notice.action.as_str(), trouble), ("terminate", None));

    for mood in [Mood::Closing, Mood::Status(503)] {
        fake.feel(mood);
        let (sighting, trouble) = next(&mut news).await;
        assert!(sighting.is_none() && trouble.is_some(), "{sighting:?} {trouble:?}");
        nothing_more(&mut fake, &mut news).await;
        fake.feel(Mood::Serving);
        assert_eq!(next(&mut news).await, (None, None));
    }

    fake.set(TARGET, "Terminated");
    let sighting = next(&mut news).await.0.unwrap();
    assert_eq!((sighting.target, sighting.spot), (Some(TargetState::Terminated), Some(notice)));
    lifecycle.shutdown().await;
    assert_eq!(news.recv().await, None);
}

#[tokio::test]
async fn maintenance_that_is_cancelled_disappears_and_garbage_changes_nothing() {
    let active = r#"[{"NotBefore": "21 Jan 2019 09:00:43 GMT", "Code": "system-reboot",
        "EventId": "event-1", "NotAfter": "21 Jan 2019 09:17:23 GMT", "State": "active"}]"#;
    let mut fake = FakeImds::start().await;
    fake.set(MAINTENANCE, active);
    let (lifecycle, mut news) = watch_over(&fake);
    let sighting = next(&mut news).await.0.unwrap();
    assert_eq!((sighting.target, sighting.scheduled.len()), (None, 1));

    fake.set(MAINTENANCE, "<html>");
    let (sighting, trouble) = next(&mut news).await;
    assert!(sighting.is_none() && trouble.unwrap().contains(MAINTENANCE));
    nothing_more(&mut fake, &mut news).await;

    fake.set(MAINTENANCE, &active.replace("active", "canceled"));
    assert_eq!(next(&mut news).await, (Some(Sighting::default()), None));
    nothing_more(&mut fake, &mut news).await;
    lifecycle.shutdown().await;
}

#[tokio::test]
async fn a_service_that_is_away_at_first_is_found_when_it_comes() {
    let mut fake = FakeImds::start().await;
    fake.feel(Mood::Closing);
    fake.set(TARGET, "Standby");
    let (lifecycle, mut news) = watch_over(&fake);
    let (sighting, trouble) = next(&mut news).await;
    assert!(sighting.is_none() && trouble.is_some());
    nothing_more(&mut fake, &mut news).await;
    assert_eq!(lifecycle.instance_id(), None);
    fake.feel(Mood::Serving);
    let (sighting, trouble) = next(&mut news).await;
    assert_eq!((sighting.unwrap().target, trouble), (Some(TargetState::Standby), None));
    drop(lifecycle);
}

#[tokio::test]
async fn a_host_that_is_no_instance_watches_nothing_and_asks_nobody() {
    let (events, mut news) = mpsc::channel(1);
    let lifecycle = Lifecycle::open(Some(false), events, &CancellationToken::new());
    assert!(!lifecycle.enabled() && lifecycle.instance_id().is_none());
    assert_eq!(news.recv().await, None);
    // As the runtime does it: from behind an `Arc`, in a task of its own.
    let lifecycle = Arc::new(lifecycle);
    let mut tasks = JoinSet::new();
    let shared = Arc::clone(&lifecycle);
    tasks.spawn(async move { shared.call(FleetCall::Ask).await });
    let Some(Ok(FleetAnswer::Membership(Err(error)))) = tasks.join_next().await else {
        panic!("an answer without an instance");
    };
    assert_eq!(error.text, "this host is no EC2 instance");
    assert!(lifecycle.standby().await.is_err());
    Arc::into_inner(lifecycle).unwrap().shutdown().await;
}
