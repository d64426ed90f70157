//! Lines and what they mean, from the documents of StatsD, b/statsd_spec and DogStatsD, and what
//! nobody should send; then whatever bytes there are.

use std::time::Duration;

use proptest::prelude::*;

use super::line::{Bad, parse};
use super::registry::{Dropped, Notice, Registry};
use super::{
    BUCKETS_MAX, IDLE_MAX, KEY_BYTES_MAX, NAME_BYTES_MAX, NOTICE_EVERY, SET_INTERVAL, TAGS_MAX,
};
use crate::metrics::{About, Kind, Point, Unit, Value};
use crate::time::Moment;

const START: Moment = Moment(5_000_000);

fn registry() -> Registry {
    let mut registry = Registry::new(100);
    registry.turn(START);
    registry
}

/// What the application's points are, in a line each.
fn shown(registry: &Registry) -> Vec<String> {
    let own = |point: &Point| matches!(point.about, About::Own(_));
    registry.points().iter().filter(|point| own(point)).map(show).collect()
}

fn show(point: &Point) -> String {
    let labels: Vec<_> = point.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let kind = match (point.about.kind(), point.about.unit()) {
        (Kind::Counter, _) => "counter",
        (Kind::Gauge, _) => "gauge",
        (Kind::Histogram, Unit::Seconds) => "timer",
        (Kind::Histogram, _) => "histogram",
    };
    let value = match &point.value {
        Value::Number(number) => number.to_string(),
        Value::Histogram(counted) => {
            format!("{} of {}", counted.count(), (counted.sum() * 1e6).round() / 1e6)
        }
    };
    format!("{}{{{}}} {kind} {value}", point.about.name(), labels.join(","))
}

/// What a packet comes to; sets are looked at a minute later.
#[track_caller]
fn check(packet: &str, expected: &[&str]) {
    let mut registry = registry();
    registry.packet(packet.as_bytes(), false, START);
    registry.turn(START.plus(SET_INTERVAL));
    assert_eq!(shown(&registry), expected, "{packet}");
    assert!(registry.counts().bad.is_empty(), "{packet}: {:?}", registry.counts());
}

#[track_caller]
fn check_bad(line: impl AsRef<[u8]>, expected: Bad) {
    let line = line.as_ref();
    let mut registry = registry();
    registry.packet(line, false, START);
    let counts = registry.counts().clone();
    let text = line[..line.len().min(80)].escape_ascii();
    assert_eq!((counts.bad.get(&expected), counts.lines), (Some(&1), 0), "{text}: {counts:?}");
    assert!(shown(&registry).is_empty(), "{text}");
}

#[test]
fn statsd() {
    check("gorets:1|c", &["gorets{} counter 1"]);
    check("gorets:1|c|@0.1", &["gorets{} counter 10"]);
    check("glork:320|ms", &["glork{} timer 1 of 0.32"]);
    check("glork:320|ms|@0.1", &["glork{} timer 10 of 3.2"]);
    check("gaugor:333|g", &["gaugor{} gauge 333"]);
    check("gaugor:333|g\ngaugor:-10|g\ngaugor:+4|g", &["gaugor{} gauge 327"]);
    check("gaugor:-10|g", &["gaugor{} gauge -10"]);
    check("gaugor:5|g\ngaugor:0|g\ngaugor:-2.5|g", &["gaugor{} gauge -2.5"]);
    check("uniques:765|s", &["uniques{} gauge 1"]);
    check("u:1|s\nu:2|s\nu:1|s\nu:a:b|s", &["u{} gauge 3"]);
    check(
        "gorets:1|c\nglork:320|ms\ngaugor:333|g\nuniques:765|s",
        &[
            "gorets{} counter 1",
            "gaugor{} gauge 333",
            "uniques{} gauge 1",
            "glork{} timer 1 of 0.32",
        ],
    );
    // As its tests and its users write them.
    check("\n\na:1|c\n\na:2|c\n", &["a{} counter 3"]);
    check("a:1|c\r\na:2|c\r\n", &["a{} counter 3"]);
    check("a: 1 | c ", &["a{} counter 1"]);
    check("a:0|c", &["a{} counter 0"]);
    check("a:1.5|c\na:1e2|c\na:+1|c", &["a{} counter 102.5"]);
    check("a b/c\u{e9}(d):1|c", &["a_b-cd{} counter 1"]);
}

#[test]
fn statsd_spec() {
    check("requests:7|m\nrequests:1|m", &["requests{} counter 8"]);
    check("size:240|h", &["size{} histogram 1 of 240"]);
    check("gauge:18446744073709551616|g", &["gauge{} gauge 18446744073709552000"]);
    check_bad("name", Bad::Syntax);
}

#[test]
fn dogstatsd() {
    check("page.views:1|c", &["page.views{} counter 1"]);
    check("fuel.level:0.5|g", &["fuel.level{} gauge 0.5"]);
    check("song.length:240|h|@0.5", &["song.length{} histogram 2 of 480"]);
    check("users.uniques:1234|s", &["users.uniques{} gauge 1"]);
    check("users.online:1|c|#country:china", &["users.online{country=china} counter 1"]);
    check("users.online:1|c|@0.5|#country:china", &["users.online{country=china} counter 2"]);
    check("users.online:1|c|#country:china|@0.5", &["users.online{country=china} counter 2"]);
    check("latency:1.5:20:30|d|#b:2,a:1", &["latency{a=1,b=2} histogram 3 of 51.5"]);
    check("my_metric:1:2:3|ms", &["my_metric{} timer 3 of 0.006"]);
    check("my_metric:1:2:3|c", &["my_metric{} counter 6"]);
    check("my_metric:7:+1:-3|g", &["my_metric{} gauge 5"]);
    // Origin (protocol 1.2), time (1.3), external data and cardinality (1.4 and later).
    check("page.views:1|g|#env:dev|c:83c0a99c0a54", &["page.views{env=dev} gauge 1"]);
    check("page.views:15|c|#env:dev|T1656581400", &["page.views{env=dev} counter 15"]);
    check("a:1|c|c:ci-1|e:it-false,cn-web,pu-1|card:low|T1|x|", &["a{} counter 1"]);
    // Tags of every make.
    check("a:1|c|#", &["a{} counter 1"]);
    check("a:1|c|#,,b:1,", &["a{b=1} counter 1"]);
    check("a:1|c|#canary,url:http://x:80/y", &["a{canary=true,url=http://x:80/y} counter 1"]);
    check("a:1|c|#b:,c:1", &["a{c=1} counter 1"]);
    check("a:1|c|#b:1,b:2", &["a{b=2} counter 1"]);
    check("a:1|c|#x.y:1,x-y:2,9:3,__name__:4", &["a{_9=3,name__=4,x_y=2} counter 1"]);
    check("a:1|h|#le:5", &["a{le_=5} histogram 1 of 1"]);
    check("a:1|c|#stadt:Z\u{fc}rich\u{7}", &["a{stadt=Z\u{fc}rich_} counter 1"]);
    check("a:1|c|#b:1,c:2\na:1|c|#c:2,b:1", &["a{b=1,c=2} counter 2"]);
    check("a:1|c|#b:1\na:1|c|#b:2", &["a{b=1} counter 1", "a{b=2} counter 1"]);
}

#[test]
fn tags_behind_the_name() {
    check("a;b=1;c=2:3|c", &["a{b=1,c=2} counter 3"]);
    check("a,b=1,c=2:3|c", &["a{b=1,c=2} counter 3"]);
    check("a;c:3|c", &["a{c=true} counter 3"]);
    check("a,b=1:3|c|#b:2,d:4", &["a{b=2,d=4} counter 3"]);
    check("a;b=1:1|c\na,b=1:1|c\na:1|c|#b:1", &["a{b=1} counter 3"]);
}

#[test]
fn events_and_service_checks_are_counted_and_nothing_else() {
    let mut registry = registry();
    let packet = b"_e{5,4}:title|text|h:host|#a:b\n_sc|Redis|2|m:timed out\na:1|c";
    registry.packet(packet, false, START);
    let counts = registry.counts();
    assert_eq!((counts.events, counts.service_checks, counts.lines), (1, 1, 1));
    assert_eq!(shown(&registry), ["a{} counter 1"]);
}

#[test]
fn bad_lines() {
    for line in ["a", "a:", "a:1", ":", "a|c", "\u{0}", "garbage in", "_e", "_sc"] {
        check_bad(line, Bad::Syntax);
    }
    for line in [":1|c", " :1|c", "...:1|c", "\u{e9}:1|c", ";a=1:1|c", "\u{0}:1|c"] {
        check_bad(line, Bad::Name);
    }
    for line in ["a:1|", "a:1|x", "a:1|cc", "a:1|C", "a:1||c", "a:1|c:2|c", "a:1|\u{0}"] {
        check_bad(line, Bad::Type);
    }
    for line in ["a:|c", "a:x|c", "a:1:x|c", "a:1:|c", "a::1|ms", "a:1,5|c", "a:0x10|c", "a:|s"] {
        check_bad(line, Bad::Value);
    }
    for value in ["NaN", "nan", "inf", "-inf", "+infinity", "1e400", "1e20", "-1e20", "1_0", "--1"]
    {
        for kind in ["c", "g", "ms", "h", "d"] {
            check_bad(format!("a:{value}|{kind}"), Bad::Value);
        }
    }
    for kind in ["c", "m", "ms", "h", "d"] {
        check_bad(format!("a:-1|{kind}"), Bad::Value);
    }
    for rate in ["0", "-1", "1.5", "", "x", "NaN", "inf", "1e-9", "0.1x"] {
        check_bad(format!("a:1|c|@{rate}"), Bad::Rate);
    }
    check_bad(b"a:1|c|#b:\xff", Bad::Tags);
    check_bad(b"a:\xff|c", Bad::Value);
}

#[test]
fn what_is_too_much_is_refused() {
    let long = |bytes: usize| "x".repeat(bytes);
    check_bad(format!("{}:1|c", long(NAME_BYTES_MAX + 1)), Bad::Name);
    check_bad(format!("a:1|c|#{}:1", long(201)), Bad::Tags);
    check_bad(format!("a:1|c|#b:{}", long(201)), Bad::Tags);
    check_bad(format!("{}:1|c", long(65_000)), Bad::Name);
    check_bad(long(65_507), Bad::Syntax);
    check_bad(format!("a:{}|c", long(65_000)), Bad::Value);
    check_bad(format!("a:{}|c", "9".repeat(65_000)), Bad::Value);
    let tags = |count: usize| (0..count).map(|i| format!("t{i}:1")).collect::<Vec<_>>().join(",");
    check_bad(format!("a:1|c|#{}", tags(TAGS_MAX + 1)), Bad::Tags);
    check_bad(format!("a:1|c|#{}", tags(10_000)), Bad::Tags);
    let wide: Vec<_> = (0..9).map(|i| format!("t{i}:{}", long(150))).collect();
    check_bad(format!("a:1|c|#{}", wide.join(",")), Bad::Tags);
    let mut registry = registry();
    registry.packet(format!("a:1|c|#{}", tags(TAGS_MAX)).as_bytes(), false, START);
    assert_eq!(registry.counts().lines, 1);
    // One tag ten thousand times is one tag.
    registry.packet(format!("b:1|c|#{}", vec!["t:1"; 10_000].join(",")).as_bytes(), false, START);
    assert_eq!(registry.counts().lines, 2);
    let packet = "c:1|c\n".repeat(10_000);
    registry.packet(packet.as_bytes(), false, START);
    assert_eq!(registry.counts().lines, 10_002);
}

#[test]
fn names_of_the_agent_are_refused() {
    for name in [
        "http.server.requests",
        "http_server_requests",
        "http.server.requests.total",
        "http-server-request-duration-seconds-bucket",
        "process.memory.usage.bytes",
        "groundcrew.anything",
        "groundcrew_ready",
    ] {
        check_bad(format!("{name}:1|c"), Bad::Reserved);
    }
    check("http.server.requests.mine:1|c", &["http.server.requests.mine{} counter 1"]);
    check("orders.total:1|c", &["orders.total{} counter 1"]);
}

#[test]
fn a_name_has_one_meaning() {
    for second in ["a.b:1|g", "a.b:1|ms", "a.b:1|h", "a.b:1|s", "a_b:1|c", "a-b:1|c|#x:y"] {
        let mut registry = registry();
        registry.packet(format!("a.b:1|c\n{second}\na.b:1|c|#x:y").as_bytes(), false, START);
        assert_eq!(registry.counts().bad[&Bad::Conflict], 1, "{second}");
        assert_eq!(shown(&registry), ["a.b{} counter 1", "a.b{x=y} counter 1"], "{second}");
    }
    let mut registry = registry();
    registry.packet(b"a:1|g\na:1|s\na:1|h\na:1|d", false, START);
    assert_eq!(registry.counts().bad[&Bad::Conflict], 3);
}

#[test]
fn series_are_bounded_and_said_to_be_once() {
    let mut registry = registry();
    for i in 0..1000 {
        registry.packet(format!("a:1|c|#user:{i}").as_bytes(), false, START);
    }
    registry.packet(b"a:1|c|#user:7\nnew:1|c", false, START);
    assert_eq!((registry.len(), registry.counts().lines), (100, 101));
    assert_eq!(registry.counts().dropped[&Dropped::SeriesMax], 901);
    assert_eq!(registry.take_notice(), Some(Notice::Full { series_max: 100 }));
    assert_eq!(registry.take_notice(), None);
    // What nobody speaks of makes room.
    registry.packet(b"a:1|c|#user:7", false, START.plus(IDLE_MAX / 2));
    registry.turn(START.plus(IDLE_MAX));
    assert_eq!(registry.len(), 1);
    registry.packet(b"new:1|c\na:1|c|#user:8", false, START.plus(IDLE_MAX));
    assert_eq!(registry.len(), 3);
    registry.packet(b"a:1|g", false, START.plus(IDLE_MAX));
    assert_eq!(registry.counts().bad[&Bad::Conflict], 1);
    // A name that is gone may mean something else.
    registry.turn(START.plus(IDLE_MAX * 3));
    registry.packet(b"a:1|g", false, START.plus(IDLE_MAX * 3));
    assert_eq!(shown(&registry), ["a{} gauge 1"]);
}

#[test]
fn a_set_is_of_the_last_whole_minute() {
    let mut registry = registry();
    let at = |seconds| START.plus(Duration::from_secs(seconds));
    let mut look = |seconds, packet: &str| {
        registry.turn(at(seconds));
        registry.packet(packet.as_bytes(), false, at(seconds));
        shown(&registry).first().cloned().unwrap_or_default()
    };
    assert_eq!(look(1, "u:a|s\nu:b|s"), "");
    assert_eq!(look(59, "u:c|s"), "");
    assert_eq!(look(60, "u:a|s"), "u{} gauge 3");
    assert_eq!(look(119, "u:a|s"), "u{} gauge 3");
    assert_eq!(look(121, ""), "u{} gauge 1");
    assert_eq!(look(180, ""), "u{} gauge 0");
    assert_eq!(look(181, "u:a|s"), "u{} gauge 0");
    // Nobody looked for a whole minute in which nothing was said.
    assert_eq!(look(301, ""), "u{} gauge 0");
}

#[test]
fn a_bad_line_is_shown_once_a_minute() {
    let mut registry = registry();
    let at = |ms| START.plus(Duration::from_millis(ms));
    let shown = |line: &str, bad, lines| Some(Notice::Bad { bad, line: line.to_owned(), lines });
    registry.packet(b"\x1b[31mred\n", false, START);
    assert_eq!(registry.take_notice(), shown("\\x1b[31mred", Bad::Syntax, 1));
    for ms in 0..59_999 {
        registry.packet(b"bad", false, at(ms));
    }
    assert_eq!(registry.take_notice(), None);
    let later = START.plus(NOTICE_EVERY);
    registry.packet(format!("{}:x|c", "y".repeat(150)).as_bytes(), false, later);
    assert_eq!(registry.take_notice(), shown(&"y".repeat(100), Bad::Value, 60_000));
}

#[test]
fn of_a_truncated_packet_the_last_line_is_not_counted() {
    let mut registry = registry();
    registry.packet(b"a:1|c\na:1|c\na:12", true, START);
    registry.packet(b"a:12|c", true, START);
    assert_eq!(shown(&registry), ["a{} counter 2"]);
    assert_eq!(registry.counts().dropped[&Dropped::Truncated], 2);
}

#[test]
fn points_tell_how_the_counting_goes() {
    let mut registry = registry();
    registry.packet(b"a:1|c\nbad\n_sc|x|0", false, START);
    registry.set_dropped_by_kernel(7);
    let listed: Vec<_> = registry.points().iter().map(show).collect();
    for line in [
        "groundcrew.statsd.packets{} counter 1",
        "groundcrew.statsd.lines{} counter 1",
        "groundcrew.statsd.series{} gauge 1",
        "groundcrew.statsd.bad{reason=syntax} counter 1",
        "groundcrew.statsd.bad{reason=conflict} counter 0",
        "groundcrew.statsd.dropped{reason=kernel} counter 7",
        "groundcrew.statsd.ignored{kind=service_check} counter 1",
    ] {
        assert!(listed.iter().any(|known| known == line), "no {line} in {listed:#?}");
    }
}

/// What the fuzz target does: every line is counted somewhere, and nothing grows beyond its bound.
fn no_harm(packet: &[u8], truncated: bool) {
    let mut registry = Registry::new(3);
    for at in [0, 70_000, 200_000] {
        registry.turn(Moment(at));
        registry.packet(packet, truncated, Moment(at));
    }
    let counts = registry.counts();
    let lines = packet.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let bad: u64 = counts.bad.values().sum();
    let dropped = counts.dropped.get(&Dropped::SeriesMax).copied().unwrap_or(0);
    let all = counts.lines + bad + dropped + counts.events + counts.service_checks;
    if !truncated {
        assert_eq!(all, 3 * lines.count() as u64);
    }
    assert!(registry.len() <= 3);
    for point in registry.points() {
        assert!(point.about.name().is_ascii() && point.labels.len() <= TAGS_MAX);
        let bytes: usize = point.labels.iter().map(|(key, value)| key.len() + value.len()).sum();
        assert!(bytes + point.about.name().len() <= KEY_BYTES_MAX);
        assert!(point.labels.is_sorted_by(|(one, _), (two, _)| one < two), "{point:?}");
        match &point.value {
            Value::Number(number) => assert!(number.is_finite(), "{point:?}"),
            Value::Histogram(counted) => assert!(counted.sum().is_finite() && !counted.is_empty()),
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_do_no_harm(
        packet in prop::collection::vec(prop::sample::select(
            b"ab.:|#@,;=0159+-ecgmshdT_ \n\r\x00\x01\xc3\xa9\xff{".to_vec()), 0..120),
        truncated in any::<bool>(),
    ) {
        no_harm(&packet, truncated);
    }

    #[test]
    fn lines_that_are_nearly_good_do_no_harm(
        lines in prop::collection::vec((
            "[a-c]{1,2}([;,][a-c]=?[01]?){0,2}", "[+-]?[0-9]{1,3}(\\.[0-9])?(:[0-9]){0,2}",
            "c|g|ms|h|d|s|m|x", "(\\|@0\\.[0-9])?", "(\\|#([a-c]:[01]?,){0,3})?",
            prop::option::of((0..40_usize, any::<u8>())),
        ), 1..20),
    ) {
        let mut packet = Vec::new();
        for (name, values, kind, rate, tags, change) in lines {
            let mut line = format!("{name}:{values}|{kind}{rate}{tags}\n").into_bytes();
            if let Some((at, byte)) = change && let Some(place) = line.get_mut(at) {
                *place = byte;
            }
            packet.extend(line);
        }
        no_harm(&packet, false);
    }

    #[test]
    fn counters_are_the_sum_of_what_came(
        values in prop::collection::vec(
            (0..1000_u32, prop::sample::select(vec![1, 2, 4, 10])), 1..30),
    ) {
        let mut registry = registry();
        let mut expected = 0.0;
        for (value, one_of) in values {
            let line = format!("a:{value}|c|@{}", 1.0 / f64::from(one_of));
            registry.packet(line.as_bytes(), false, START);
            expected += f64::from(value * one_of);
        }
        let points = registry.points();
        let Value::Number(sum) = points.last().unwrap().value else { panic!("a counter") };
        prop_assert!((sum - expected).abs() < 1e-6, "{sum} for {expected}");
    }

    #[test]
    fn what_is_said_of_a_line_points_into_it(line in prop::collection::vec(any::<u8>(), 0..60)) {
        if let Ok(super::Parsed::Metric(parsed)) = parse(&line) {
            for part in [parsed.name, parsed.values, parsed.tags, parsed.name_tags.0] {
                prop_assert!(part.is_empty() || line.as_ptr_range().contains(&part.as_ptr()));
            }
        }
    }
}

#[test]
fn histograms_together_have_so_many_buckets_and_no_more() {
    let mut registry = Registry::new(2000);
    let values: Vec<f64> = (0..2000_i32).map(|step| 1.02_f64.powi(step - 300)).collect();
    for series in 0..400 {
        for value in &values {
            registry.packet(format!("h{series}:{value}|h").as_bytes(), false, Moment(0));
        }
    }
    let width = |point: &Point| match &point.value {
        Value::Histogram(histogram) => histogram.width(),
        Value::Number(_) => 0,
    };
    let buckets: usize = registry.points().iter().map(width).sum();
    assert_eq!(buckets, BUCKETS_MAX);
    let lost = registry.counts().dropped[&Dropped::BucketsMax];
    assert!(lost > 0 && registry.counts().lines == 800_000, "{lost}");
    // A bucket that is there goes on counting, and what is forgotten makes room.
    registry.packet(format!("h0:{}|h", values[0]).as_bytes(), false, Moment(1));
    assert_eq!(registry.counts().dropped[&Dropped::BucketsMax], lost);
    registry.turn(Moment(2));
    registry.turn(Moment(2).plus(IDLE_MAX * 2));
    registry.packet(b"new:1|h", false, Moment(2).plus(IDLE_MAX * 2));
    assert_eq!(registry.counts().dropped[&Dropped::BucketsMax], lost);
}
