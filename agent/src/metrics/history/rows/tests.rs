//! Counters that start anew, gaps, and the bounds of the rings.

use std::sync::Arc;

use groundcrew_core::metrics::histogram::Histogram;
use groundcrew_core::metrics::{About, Kind, OwnMetric, Point, Unit, Value, catalog};
use groundcrew_core::status::HistoryDocument;
use groundcrew_core::time::{Moment, Now};
use proptest::prelude::*;

use super::super::{EVERY, History};
use super::*;

/// What a tier has answered since the agent began.
fn answered(tier: &str, release: &str, good: u64, bad: u64, seconds: f64) -> Vec<Point> {
    let mut latency = Histogram::default();
    latency.record_many(seconds, good + bad);
    let latency = Value::Histogram(Arc::new(latency));
    vec![
        Point::new(&catalog::REQUESTS, [tier, release, "2xx"], good as f64),
        Point::new(&catalog::REQUESTS, [tier, release, "5xx"], bad as f64),
        Point::with(&catalog::REQUEST_DURATION, [tier, release], latency),
    ]
}

fn document(history: &History, after: u64) -> HistoryDocument {
    history.document(Now::default(), after)
}

fn history_of(looks: &[(u64, Vec<Point>)]) -> HistoryDocument {
    let mut history = History::new(Moment(0));
    for (seconds, points) in looks {
        history.measure(Moment(seconds * 1000), points);
    }
    document(&history, 0)
}

fn web(document: &HistoryDocument) -> &TierColumns {
    &document.tiers[&"web".parse().unwrap()]
}

#[test]
fn rates_and_quantiles_are_of_what_came_between_two_looks() {
    let document = history_of(&[
        (10, answered("web", "v1", 1000, 7, 0.5)),
        (20, answered("web", "v1", 1090, 17, 0.5)),
        (30, [answered("web", "v1", 1090, 17, 0.5), answered("web", "v2", 50, 0, 0.001)].concat()),
        (40, [answered("web", "v1", 1090, 17, 0.5), answered("web", "v2", 50, 0, 0.001)].concat()),
    ]);
    let web = web(&document);
    assert_eq!(web.requests, [None, Some(10.0), Some(5.0), Some(0.0)]);
    assert_eq!(web.errors, [None, Some(1.0), Some(0.0), Some(0.0)]);
    let near = |value: Option<f32>, wanted: f32| (value.unwrap() / wanted - 1.0).abs() < 0.01;
    assert!(near(web.p99[1], 0.5) && near(web.p50[1], 0.5), "{web:?}");
    assert!(near(web.p99[2], 0.001), "only of the release that answered: {web:?}");
    assert_eq!((web.p50[3], web.p99[3]), (None, None), "nobody asked");
}

#[test]
fn gauges_are_summed_or_the_worst_over_the_processes_of_a_tier() {
    let mut points = vec![
        Point::new(&catalog::ACTIVE_REQUESTS, ["web"], 7.0),
        Point::new(&catalog::PROCESS_MEMORY, ["web", "web.1.1"], 100.0),
        Point::new(&catalog::PROCESS_MEMORY, ["web", "web.1.2"], 50.0),
        Point::new(&catalog::EVENTLOOP_DELAY_P99, ["web", "web.1.1"], 0.002),
        Point::new(&catalog::EVENTLOOP_DELAY_P99, ["web", "web.1.2"], 0.25),
        Point::new(&catalog::PIPELINE_BACKLOG, ["logs"], 4096.0),
        Point::new(&catalog::PIPELINE_BACKLOG, ["metrics"], 1.0),
    ];
    // What the application calls the same is something else.
    let own = OwnMetric {
        name: catalog::PIPELINE_BACKLOG.name.to_owned(),
        kind: Kind::Gauge,
        unit: Unit::Bytes,
    };
    let labels = vec![("pipeline".into(), "logs".to_owned())];
    let (about, value) = (About::Own(Arc::new(own)), Value::Number(9e9));
    points.push(Point { about, labels, value });
    let document = history_of(&[(10, points)]);
    let web = web(&document);
    assert_eq!((web.in_flight[0], web.memory[0]), (Some(7.0), Some(150.0)));
    assert_eq!((web.delay[0], web.requests[0]), (Some(0.25), None));
    assert_eq!((document.host.backlog[0], document.host.cpu[0]), (Some(4096.0), None));
}

#[test]
fn a_counter_that_starts_anew_is_a_gap() {
    let document = history_of(&[
        (10, answered("web", "v1", 1000, 0, 0.5)),
        (20, answered("web", "v1", 10, 0, 0.5)),
        (30, answered("web", "v1", 20, 0, 0.5)),
    ]);
    assert_eq!(web(&document).requests, [None, None, Some(1.0)]);
    assert_eq!(web(&document).p99[1], None);
}

#[test]
fn between_looks_that_are_far_apart_there_is_a_gap_and_no_rate() {
    let looks = |second: u64| {
        history_of(&[
            (10, answered("web", "v1", 0, 0, 0.5)),
            (second, answered("web", "v1", 1000, 0, 0.5)),
        ])
    };
    let slow = looks(40);
    assert_eq!(web(&slow).requests[1], Some(33.33), "a late look still tells what came");
    let suspended = looks(3610);
    assert_eq!(suspended.times, [10_000, 20_000, 3_610_000].map(Moment));
    assert_eq!(web(&suspended).requests, [None; 3]);
    assert_eq!(suspended.host.backlog, [None; 3]);
    let twice = looks(10);
    assert_eq!(twice.times, [Moment(10_000)], "no look so close to the one before");
}

#[test]
fn a_reader_that_was_away_gets_what_it_missed_and_no_more() {
    let mut history = History::new(Moment(5));
    for row in 1..=400_u64 {
        history.measure(Moment(row * 10_000), &answered("web", "v1", row * 10, 0, 0.1));
    }
    let all = document(&history, 0);
    assert_eq!((all.last, all.times.len()), (400, ROWS_MAX));
    assert_eq!(web(&all).p99.len(), ROWS_MAX);
    let missed = document(&history, 397);
    assert_eq!(missed.times, [3980, 3990, 4000].map(|s| Moment(s * 1000)));
    assert_eq!(web(&missed).requests, [Some(1.0); 3]);
    assert_eq!(missed.host.cpu.len(), 3);
    assert_eq!(document(&history, 400).times, []);
    assert_eq!(document(&history, 10_000).times, [], "a number that is still to come");
}

#[test]
fn tiers_have_a_bound_and_those_that_are_gone_make_room() {
    let mut history = History::new(Moment(0));
    let names: Vec<_> = (0..40).map(|n| format!("tier-{n:02}")).collect();
    let look = |names: &[String]| -> Vec<Point> {
        names.iter().map(|n| Point::new(&catalog::ACTIVE_REQUESTS, [n.as_str()], 1.0)).collect()
    };
    history.measure(Moment(10_000), &look(&names));
    let document_now = document(&history, 0);
    assert_eq!((document_now.tiers.len(), document_now.tiers_left_out), (TIERS_MAX, 8));
    for row in 2..=ROWS_MAX as u64 + 1 {
        history.measure(Moment(row * 10_000), &[]);
    }
    assert!(document(&history, 0).tiers.is_empty());
    history.measure(Moment(4_000_000), &look(&names[39..]));
    let back = document(&history, 0);
    assert_eq!(back.tiers.keys().next().unwrap().as_str(), "tier-39");
    let ring = &back.tiers.values().next().unwrap().in_flight;
    assert_eq!((ring.len(), ring[ROWS_MAX - 2], ring[ROWS_MAX - 1]), (ROWS_MAX, None, Some(1.0)));
}

#[test]
fn values_are_as_short_as_a_plot_is_sharp() {
    for (value, text) in [(1.0 / 3.0, "0.3333"), (123_456_789.0, "123500000.0"), (0.0, "0.0")] {
        assert_eq!(serde_json::to_string(&short(Some(value))).unwrap(), text);
    }
    for value in [None, Some(f64::NAN), Some(f64::INFINITY), Some(f64::MAX)] {
        assert!(short(value).is_nan(), "{value:?}");
    }
}

proptest! {
    /// Whatever was measured when: columns are as long as the times, times ascend, no rate is
    /// negative, and a reader that asks after each look has, in the end, what one has who asks
    /// once.
    #[test]
    fn columns_are_whole(
        looks in prop::collection::vec((0..100_u64, 0..5000_u64, any::<bool>()), 0..40),
    ) {
        let mut history = History::new(Moment(0));
        let (mut seconds, mut seen, mut followed) = (0, 0, Vec::new());
        for (apart, count, there) in looks {
            seconds += apart;
            let points = if there { answered("web", "v1", count, 0, 0.1) } else { Vec::new() };
            history.measure(Moment(seconds * 1000), &points);
            let fresh = document(&history, seen);
            seen = fresh.last;
            followed.extend(fresh.times);
        }
        let all = document(&history, 0);
        prop_assert_eq!(&followed, &all.times);
        prop_assert!(all.times.windows(2).all(|pair| pair[0] < pair[1]));
        for web in all.tiers.values() {
            prop_assert_eq!(web.requests.len(), all.times.len());
            prop_assert!(web.requests.iter().flatten().all(|rate| *rate >= 0.0));
        }
        prop_assert!(EVERY >= APART_MIN);
    }
}
