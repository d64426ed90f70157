//! Samples in, minutes out.

use super::super::catalog::{ACTIVE_REQUESTS, PROCESS_MEMORY, REQUEST_DURATION, REQUESTS};
use super::super::histogram::Histogram;
use super::super::{OwnMetric, Unit};
use super::*;

const T: i64 = 1_800_000_000_000;

fn shape() -> Shape {
    Shape {
        environment: "test".to_owned(),
        instance: None,
        dimensions: vec!["route".to_owned()],
        series_max: 2,
    }
}

/// An aggregator that has seen its first sample.
fn begun(points: &[Point]) -> Aggregator {
    let mut aggregator = Aggregator::new(shape());
    assert_eq!(aggregator.sample(at(0), points), None);
    aggregator
}

/// So many seconds later, by both clocks.
fn at(seconds: u32) -> Now {
    let ms = u64::from(seconds) * 1000;
    Now { at: Moment(1_000_000 + ms), wall: Wall(T + i64::from(seconds) * 1000) }
}

fn answered(count: f64) -> Point {
    Point::new(&REQUESTS, ["web", "v1", "2xx"], count)
}

fn own(route: &str, count: f64) -> Point {
    let metric = OwnMetric { name: "orders".to_owned(), kind: Kind::Counter, unit: Unit::Count };
    Point {
        about: About::Own(Arc::new(metric)),
        labels: vec![("route".into(), route.to_owned()), ("user".into(), "7".to_owned())],
        value: Value::Number(count),
    }
}

/// What a minute says, a line for each datum.
fn said(minute: Option<Minute>) -> Vec<String> {
    let line = |datum: &Datum| {
        let dimensions: Vec<_> =
            datum.series.dimensions.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let name = &datum.series.name;
        format!("{name} {} {:?} {:?}", dimensions.join(","), datum.values, datum.counts)
    };
    minute.map(|minute| minute.data.iter().map(line).collect()).unwrap_or_default()
}

#[test]
fn a_counter_is_what_it_grew_by_also_when_it_starts_anew() {
    // What was counted before the agent began is not of this minute.
    let mut aggregator = begun(&[answered(1000.0)]);
    for (seconds, count) in [(10, 1003.0), (20, 1003.0), (30, 5.0), (40, 6.0)] {
        assert_eq!(aggregator.sample(at(seconds), &[answered(count)]), None);
    }
    let minute = aggregator.sample(at(60), &[answered(7.0)]);
    let of = "http.server.requests environment=test,tier=web,http_response_status_class=2xx";
    assert_eq!(minute.as_ref().unwrap().at, Wall(T));
    assert_eq!(said(minute), [format!("{of} [9.0] [1]")]);
    // What has happened before is known to be zero now; the one request came after the minute.
    let minute = aggregator.sample(at(120), &[answered(7.0)]);
    assert_eq!(said(minute), [format!("{of} [1.0] [1]")]);
    assert_eq!(said(aggregator.finish()), [format!("{of} [0.0] [1]")]);
    assert_eq!(aggregator.finish(), None);
}

#[test]
fn what_has_never_happened_is_not_sent() {
    let error = |count| Point::new(&REQUESTS, ["web", "v1", "5xx"], count);
    let mut aggregator = begun(&[error(0.0)]);
    assert_eq!(aggregator.sample(at(30), &[error(0.0)]), None);
    assert_eq!(said(aggregator.sample(at(60), &[error(1.0)])), Vec::<String>::new());
    assert_eq!(said(aggregator.sample(at(120), &[error(1.0)])).len(), 1);
    assert_eq!(said(aggregator.sample(at(180), &[error(1.0)])).len(), 1);
}

#[test]
fn releases_are_added_up_where_they_are_no_dimension() {
    let of = |release, count| Point::new(&REQUESTS, ["web", release, "2xx"], count);
    let mut aggregator = begun(&[of("v1", 5.0)]);
    // A release that comes later has counted from zero.
    assert_eq!(aggregator.sample(at(10), &[of("v1", 6.0), of("v2", 2.0)]), None);
    let said = said(aggregator.finish());
    assert!(said[0].ends_with("[3.0] [1]") && said.len() == 1, "{said:?}");
}

#[test]
fn a_gauge_is_the_distribution_of_its_samples() {
    let memory = |one: f64, two: f64| {
        [
            Point::new(&PROCESS_MEMORY, ["web", "web.1.1"], one),
            Point::new(&PROCESS_MEMORY, ["web", "web.1.2"], two),
            Point::new(&ACTIVE_REQUESTS, ["web"], 3.0),
        ]
    };
    let mut aggregator = begun(&memory(10.0, 20.0));
    for seconds in [10, 20, 30, 40, 50] {
        assert_eq!(aggregator.sample(at(seconds), &memory(10.0, 30.0)), None);
    }
    let minute = aggregator.sample(at(60), &memory(10.0, 30.0));
    let sum: f64 = (minute.as_ref().unwrap().data[1].values.iter())
        .zip(&minute.as_ref().unwrap().data[1].counts)
        .map(|(value, count)| value * *count as f64)
        .sum();
    // Two processes with 38.3 together, on average.
    assert!((sum / 6.0 - 230.0 / 6.0).abs() < 1e-9, "{sum}");
    assert_eq!(
        said(minute),
        [
            "http.server.active_requests environment=test,tier=web [3.0] [6]",
            "process.memory.usage environment=test,tier=web [10.0, 20.0, 30.0] [6, 1, 5]",
        ]
    );
}

#[test]
fn histograms_are_merged_and_sent_by_each_set_of_dimensions() {
    let of = |release: &str, values: &[f64]| {
        let mut histogram = Histogram::default();
        for value in values {
            assert!(histogram.record(*value));
        }
        let value = Value::Histogram(Arc::new(histogram));
        Point::with(&REQUEST_DURATION, ["web", release], value)
    };
    let mut aggregator = begun(&[of("v1", &[0.1])]);
    let points = [of("v1", &[0.1, 0.2, 0.2]), of("v2", &[0.2])];
    assert_eq!(aggregator.sample(at(10), &points), None);
    let minute = aggregator.finish().unwrap();
    let counts: Vec<_> = minute
        .data
        .iter()
        .map(|datum| (datum.series.dimensions.len(), datum.counts.clone()))
        .collect();
    assert_eq!(counts, [(2, vec![3]), (3, vec![2]), (3, vec![1])]);
}

#[test]
fn an_instance_has_its_own_series_where_that_is_asked_for() {
    let shape = Shape { instance: Some("i-1".to_owned()), ..shape() };
    let mut aggregator = Aggregator::new(shape);
    let point = Point::new(&ACTIVE_REQUESTS, ["web"], 1.0);
    assert_eq!(aggregator.sample(at(0), &[point]), None);
    let lines = said(aggregator.finish());
    let of = "http.server.active_requests environment=test";
    assert_eq!(
        lines,
        [format!("{of},instance=i-1,tier=web [1.0] [1]"), format!("{of},tier=web [1.0] [1]")]
    );
}

#[test]
fn the_application_has_so_many_series_and_the_others_are_counted() {
    let mut aggregator = begun(&[]);
    let points: Vec<_> = ["/a", "/b", "/c", "/d"].map(|route| own(route, 1.0)).into();
    assert_eq!(aggregator.sample(at(1), &points), None);
    assert_eq!(aggregator.sample(at(11), &points), None);
    let minute = aggregator.sample(at(60), &points);
    assert_eq!(
        said(minute),
        [
            "orders environment=test,route=/a [1.0] [1]",
            "orders environment=test,route=/b [1.0] [1]"
        ]
    );
    // Of each minute's first sample that knows them.
    assert_eq!(aggregator.take_dropped(), 2);
    // An hour later others have their place.
    for seconds in (120..4000).step_by(60) {
        drop(aggregator.sample(at(seconds), &[own("/c", 1.0)]));
    }
    drop(aggregator.sample(at(4000), &[own("/c", 5.0)]));
    assert_eq!(said(aggregator.finish()), ["orders environment=test,route=/c [4.0] [1]"]);
}

#[test]
fn two_kinds_of_one_name_do_not_mix_and_no_value_is_lost_unseen() {
    let gauge = OwnMetric { name: "orders".to_owned(), kind: Kind::Gauge, unit: Unit::Count };
    let gauge = |value| Point {
        about: About::Own(Arc::new(gauge.clone())),
        labels: vec![("route".into(), "/a".to_owned())],
        value: Value::Number(value),
    };
    let mut aggregator = begun(&[]);
    let points = [own("/a", 1.0), gauge(3.0), gauge(f64::NAN), gauge(f64::INFINITY)];
    assert_eq!(aggregator.sample(at(10), &points), None);
    assert_eq!(said(aggregator.finish()), ["orders environment=test,route=/a [1.0] [1]"]);
    assert_eq!(aggregator.take_dropped(), 3);
}

#[test]
fn a_clock_that_is_put_back_measures_no_minute_twice_and_loses_nothing() {
    let both = |count| [answered(count), Point::new(&ACTIVE_REQUESTS, ["web"], 1.0)];
    let mut aggregator = begun(&both(0.0));
    let mut minutes = Vec::new();
    // Three minutes, then the same three once more, then the next.
    let walls = (1..18).chain(1..30).map(|tens: i64| Wall(T + tens * 10_000));
    for (tens, wall) in walls.enumerate() {
        let now = Now { at: Moment(1_010_000 + tens as u64 * 10_000), wall };
        minutes.extend(aggregator.sample(now, &both(tens as f64 + 1.0)));
    }
    minutes.extend(aggregator.finish());
    let mut gauges = BTreeMap::new();
    let mut requests = 0.0;
    for datum in minutes.iter().flat_map(|minute| &minute.data) {
        if datum.series.name == ACTIVE_REQUESTS.name {
            *gauges.entry(datum.at).or_insert(0) += datum.counts.iter().sum::<u64>();
        } else {
            requests += datum.values.iter().sum::<f64>();
        }
    }
    assert!((requests - 46.0).abs() < 1e-9, "{requests}");
    // The third minute was cut by the jump, and was measured once for all that.
    assert!(gauges.values().all(|count| *count <= 6), "{gauges:?}");
    assert_eq!(gauges.len(), 5);
}

#[test]
fn a_clock_that_stands_ends_its_minutes_all_the_same() {
    let mut aggregator = begun(&[answered(0.0)]);
    let held = |tens: u64| Now { at: Moment(1_000_000 + tens * 10_000), wall: Wall(T) };
    let points = |tens: u64| [answered(tens as f64)];
    let minutes: Vec<_> =
        (1..=24).filter_map(|tens| aggregator.sample(held(tens), &points(tens))).collect();
    assert_eq!(minutes.len(), 2);
}

#[test]
fn points_without_end_are_bounded() {
    let mut aggregator = begun(&[]);
    let many: Vec<_> = (0..POINTS_MAX + 10).map(|n| own(&n.to_string(), 1.0)).collect();
    assert_eq!(aggregator.sample(at(1), &many), None);
    assert_eq!(aggregator.finish().unwrap().data.len(), 2);
    assert!(aggregator.take_dropped() >= 10);
    assert!(aggregator.before.len() <= POINTS_MAX);
}
