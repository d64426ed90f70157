//! Single decisions, and lives of a host with outages and jumps of its clock.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::Unit;
use super::super::catalog::{ACTIVE_REQUESTS, REQUESTS};
use super::super::minute::{Aggregator, Shape};
use super::super::series::Series;
use super::super::{Point, settings};
use super::*;

const T: i64 = 1_800_000_000_000;

fn at_ms(ms: u64) -> Now {
    Now { at: Moment(ms), wall: Wall(T + i64::try_from(ms).unwrap()) }
}

fn datum(name: &str, minute: i64, values: usize) -> Datum {
    Datum {
        series: Arc::new(Series::new(name, Unit::Count, [("environment", "test")])),
        at: Wall(T + minute * MINUTE_MS),
        values: (0..values).map(|value| value as f64).collect(),
        counts: vec![1; values],
    }
}

fn minute(minute: i64, data: usize, values: usize) -> Minute {
    let data = (0..data).map(|n| datum(&format!("m{n}"), minute, values)).collect();
    Minute { at: Wall(T + minute * MINUTE_MS), data }
}

/// Sends whatever is due until nothing is, with one answer for all. Requests, and when it was.
fn send_all(
    outbox: &mut Outbox,
    mut now: Now,
    answer: impl Fn(&[Arc<Datum>]) -> Result<(), (Failure, String)>,
) -> (Vec<Vec<Arc<Datum>>>, Now) {
    let mut requests = Vec::new();
    while let Some(due) = outbox.wake() {
        now = at_ms(due.0.max(now.at.0));
        let Some(request) = outbox.request(now) else { continue };
        outbox.answered(now, answer(&request));
        requests.push(request);
    }
    (requests, now)
}

#[test]
fn the_fleet_is_spread_over_the_minute_and_a_host_keeps_its_place() {
    let mut places = Vec::new();
    for seed in 0..200 {
        let mut outbox = Outbox::new(seed);
        let mut moments = Vec::new();
        for n in 1..4_u32 {
            let now = at_ms(u64::from(n) * 60_000);
            outbox.push(now, minute(i64::from(n), 50, 3));
            let (requests, sent) = send_all(&mut outbox, now, |_| Ok(()));
            assert_eq!(requests.len(), 1);
            moments.push(sent.at.0 - now.at.0);
        }
        assert!(moments.iter().all(|moment| *moment == moments[0] && *moment < SPREAD_MS));
        places.push(moments[0]);
    }
    let tenths: std::collections::BTreeSet<_> = places.iter().map(|ms| ms / 5_000).collect();
    assert_eq!(tenths.len(), 10, "{places:?}");
}

#[test]
fn a_backlog_goes_out_in_few_requests_that_are_apart() {
    let mut outbox = Outbox::new(1);
    for n in 0..119 {
        outbox.push(at_ms(n * 60_000), minute(i64::try_from(n).unwrap(), 60, 8));
    }
    let now = at_ms(119 * 60_000);
    let bytes = outbox.counts().backlog_bytes;
    let (requests, end) = send_all(&mut outbox, now, |_| Ok(()));
    assert_eq!(requests.len(), (119 * 60_usize).div_ceil(DATA_MAX), "{bytes}");
    let apart = end.at.since(now.at);
    assert!(apart >= Duration::from_secs(9) && apart < Duration::from_secs(30), "{apart:?}");
    let counts = outbox.counts();
    assert_eq!((counts.sent, counts.dropped, counts.backlog_bytes), (119 * 60, 0, 0));
    assert!(requests.iter().all(|request| {
        let bytes: u64 = request.iter().map(|datum| datum.bytes()).sum();
        request.len() <= DATA_MAX && bytes <= REQUEST_BYTES_MAX
    }));
}

#[test]
fn age_and_bytes_are_bounded_and_the_oldest_go_first() {
    let mut outbox = Outbox::new(1);
    outbox.push(at_ms(0), minute(0, 10, 3));
    outbox.push(at_ms(7_200_000), minute(120, 10, 3));
    let counts = outbox.counts();
    assert_eq!((counts.dropped, counts.oldest), (10, Some(Moment(7_200_000))));
    let mut outbox = Outbox::new(1);
    for n in 0..100 {
        outbox.push(at_ms(n * 1000), minute(0, 100, 100));
        assert!(outbox.counts().backlog_bytes <= BYTES_MAX);
    }
    let counts = outbox.counts();
    let kept = outbox.snapshot().len() as u64;
    assert!(counts.dropped > 0 && counts.oldest > Some(Moment(0)));
    assert_eq!(kept + counts.dropped, 10_000);
}

#[test]
fn one_bad_datum_is_found_and_is_the_only_one_that_goes() {
    let mut outbox = Outbox::new(1);
    let now = at_ms(0);
    outbox.push(now, minute(0, 1000, 1));
    let bad = |request: &[Arc<Datum>]| request.iter().any(|datum| datum.series.name == "m617");
    let refusal = || (Failure::Refused, "m617 is bad".to_owned());
    let answer = |request: &[Arc<Datum>]| if bad(request) { Err(refusal()) } else { Ok(()) };
    let (requests, _) = send_all(&mut outbox, now, answer);
    let counts = outbox.counts();
    assert_eq!((counts.sent, counts.rejected, counts.dropped), (999, 1, 0));
    assert!(requests.len() <= 21, "{}", requests.len());
    assert_eq!(counts.reason, None);
    // It is known now, for an hour.
    for (ms, wanted) in [(60_000, 1), (3_500_000, 1), (7_200_000, 20)] {
        let now = at_ms(ms);
        outbox.push(now, minute(i64::try_from(ms / 60_000).unwrap(), 1000, 1));
        let (requests, _) = send_all(&mut outbox, now, answer);
        assert!((wanted..=wanted + 1).contains(&requests.len()), "{ms}: {}", requests.len());
    }
    assert_eq!(outbox.counts().rejected, 4);
}

#[test]
fn where_everything_is_refused_the_pauses_grow() {
    let mut outbox = Outbox::new(1);
    for n in 0..30_u32 {
        outbox.push(at_ms(u64::from(n) * 60_000), minute(i64::from(n), 60, 1));
        let until = at_ms(u64::from(n + 1) * 60_000);
        while let Some(due) = outbox.wake().filter(|due| *due < until.at) {
            let now = at_ms(due.0);
            if outbox.request(now).is_some() {
                outbox.answered(now, Err((Failure::Refused, "no".to_owned())));
            }
        }
    }
    let counts = outbox.counts();
    assert!(counts.requests < 70, "{counts:?}");
    assert_eq!(counts.reason.as_deref(), Some("no"));
}

#[test]
fn who_is_in_a_hurry_waits_for_nothing_but_a_failure() {
    let mut outbox = Outbox::new(3);
    let now = at_ms(0);
    outbox.push(now, minute(0, 1500, 1));
    assert_eq!(outbox.request(now), None);
    outbox.hurry(now);
    let (requests, end) = send_all(&mut outbox, now, |_| Ok(()));
    assert_eq!((requests.len(), end), (2, now));
    outbox.push(now, minute(1, 1, 1));
    assert!(outbox.request(now).is_some());
    outbox.answered(now, Err((Failure::Throttled, "slow down".to_owned())));
    assert!(outbox.wake().is_some_and(|due| due > now.at && due < Moment(200)));
    outbox.calm();
    outbox.push(at_ms(60_000), minute(1, 1, 1));
    assert!(outbox.counts().reason.is_some() && !outbox.is_empty());
}

#[test]
fn what_is_restored_is_checked_and_has_its_age() {
    let mut outbox = Outbox::new(1);
    let now = at_ms(10_000_000);
    let good = datum("good", 150, 3);
    let old = datum("old", 10, 3);
    let bad = [
        Datum { values: vec![f64::MAX], counts: vec![1], ..good.clone() },
        Datum { counts: vec![1], ..good.clone() },
        Datum {
            series: Arc::new(Series { name: "\n".to_owned(), ..(*good.series).clone() }),
            ..good.clone()
        },
        datum("many", 150, 151),
        datum("empty", 150, 0),
    ];
    let all = bad.into_iter().chain([old, good.clone()]).collect();
    outbox.restore(now, all);
    assert_eq!(outbox.snapshot(), [Arc::new(good)]);
    assert_eq!(outbox.counts().dropped, 6);
    assert!(outbox.wake().is_some_and(|due| due.since(now.at) < Duration::from_secs(10)));
}

#[test]
fn what_is_of_another_time_goes_and_is_counted() {
    for (jump_ms, kept) in [
        (0, true),
        (13 * 86_400_000, true),
        (15 * 86_400_000, false),
        (-3_600_000, true),
        (-3 * 3_600_000, false),
    ] {
        let mut outbox = Outbox::new(1);
        outbox.push(at_ms(0), minute(0, 5, 1));
        let jumped = Now { at: Moment(60_000), wall: Wall(T + 60_000 + jump_ms) };
        assert_eq!(outbox.request(jumped).is_some(), kept, "{jump_ms}");
        assert_eq!(outbox.counts().dropped, if kept { 0 } else { 5 });
    }
}

/// What happens to a host from one sample to the next.
#[derive(Debug, Clone)]
enum Step {
    /// Requests are answered.
    Work(u16),
    /// What the service does from now on.
    Service(Answer),
    /// The wall clock is put elsewhere, by minutes.
    Clock(i32),
    /// The agent is replaced, and leaves what it has not sent.
    Restart,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Accepts,
    Fails(Failure),
    /// Accepts, and the answer is lost.
    Loses,
}

fn step() -> impl Strategy<Value = Step> {
    let failure = prop_oneof![
        Just(Failure::Throttled),
        Just(Failure::Network),
        Just(Failure::Service),
        Just(Failure::Credentials),
        Just(Failure::Denied),
        Just(Failure::Clock),
    ];
    let answer = prop_oneof![
        4 => Just(Answer::Accepts),
        3 => failure.prop_map(Answer::Fails),
        1 => Just(Answer::Loses),
    ];
    let days = prop_oneof![-3..=3_i32, -60 * 24 * 30..60 * 24 * 30_i32];
    prop_oneof![
        30 => (0..1000_u16).prop_map(Step::Work),
        3 => answer.prop_map(Step::Service),
        1 => days.prop_map(Step::Clock),
        1 => Just(Step::Restart),
    ]
}

/// A host, its agent, and the service.
struct Life {
    now: Now,
    aggregator: Aggregator,
    outbox: Outbox,
    counted: f64,
    happened: f64,
    answer: Answer,
    received: f64,
    repeated: f64,
    /// What the aggregator said, as requests and as data; and what outboxes did with the data.
    pushed: f64,
    pushed_data: u64,
    sent: u64,
    dropped: u64,
    minutes: BTreeMap<Wall, u64>,
    calls: Vec<Moment>,
}

impl Life {
    fn new(seed: u64) -> Self {
        Self {
            now: at_ms(1000),
            aggregator: Self::aggregator(),
            outbox: Outbox::new(seed),
            counted: 0.0,
            happened: 0.0,
            answer: Answer::Accepts,
            received: 0.0,
            repeated: 0.0,
            pushed: 0.0,
            pushed_data: 0,
            sent: 0,
            dropped: 0,
            minutes: BTreeMap::new(),
            calls: Vec::new(),
        }
    }

    fn aggregator() -> Aggregator {
        Aggregator::new(Shape {
            environment: "test".to_owned(),
            instance: None,
            dimensions: Vec::new(),
            series_max: settings::SERIES_MAX,
        })
    }

    fn pass(&mut self, ms: u64) {
        self.now.at = self.now.at.plus(Duration::from_millis(ms));
        self.now.wall.0 += i64::try_from(ms).unwrap();
    }

    /// Ten seconds, with a sample at their end.
    fn live(&mut self) {
        for _ in 0..100 {
            self.pass(100);
            self.send();
        }
        if let Some(minute) = self.aggregator.sample(self.now, &self.points()) {
            self.push(minute);
        }
    }

    fn push(&mut self, minute: Minute) {
        self.pushed_data += minute.data.len() as u64;
        let requests = minute.data.iter().filter(|datum| datum.series.name == REQUESTS.name);
        self.pushed += requests.flat_map(|datum| &datum.values).sum::<f64>();
        self.outbox.push(self.now, minute);
    }

    /// The minute that has not ended, too.
    fn push_last(&mut self) {
        let last = self.aggregator.sample(self.now, &self.points());
        let minutes = last.into_iter().chain(self.aggregator.finish()).collect::<Vec<_>>();
        for minute in minutes {
            self.push(minute);
        }
    }

    /// The outbox ends here.
    fn note_counts(&mut self) {
        let counts = self.outbox.counts();
        assert_eq!(counts.rejected, 0);
        self.sent += counts.sent;
        self.dropped += counts.dropped;
    }

    fn points(&self) -> [Point; 2] {
        let requests = Point::new(&REQUESTS, ["web", "v1", "2xx"], self.counted);
        [requests, Point::new(&ACTIVE_REQUESTS, ["web"], 1.0)]
    }

    fn send(&mut self) {
        let Some(request) = self.outbox.request(self.now) else { return };
        self.calls.push(self.now.at);
        let mut sum = 0.0;
        for datum in &request {
            let age_ms = self.now.wall.0 - datum.at.0;
            assert!((-7_200_000..=14 * 86_400_000).contains(&age_ms), "{age_ms}");
            if datum.series.name == REQUESTS.name {
                sum += datum.values.iter().sum::<f64>();
            } else if self.answer == Answer::Accepts {
                *self.minutes.entry(datum.at).or_default() += datum.counts.iter().sum::<u64>();
            }
        }
        let answer = match self.answer {
            Answer::Accepts => {
                self.received += sum;
                Ok(())
            }
            Answer::Loses => {
                self.repeated += sum;
                self.answer = Answer::Accepts;
                Err((Failure::Network, "no answer in time".to_owned()))
            }
            Answer::Fails(failure) => Err((failure, "no".to_owned())),
        };
        self.outbox.answered(self.now, answer);
    }

    fn restart(&mut self) {
        self.push_last();
        let left = self.outbox.snapshot();
        self.note_counts();
        let mut outbox = Outbox::new(7);
        outbox.restore(self.now, left.iter().map(|datum| (**datum).clone()).collect());
        self.outbox = outbox;
        self.aggregator = Self::aggregator();
        self.counted = 0.0;
        drop(self.aggregator.sample(self.now, &self.points()));
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Work(count) => {
                self.counted += f64::from(*count);
                self.happened += f64::from(*count);
            }
            Step::Service(answer) => self.answer = *answer,
            Step::Clock(minutes) => self.now.wall.0 += i64::from(*minutes) * MINUTE_MS,
            Step::Restart => self.restart(),
        }
    }

    /// The faults end, and everything that waits is sent.
    fn settle(&mut self) {
        self.answer = Answer::Accepts;
        for _ in 0..30 {
            self.live();
        }
        self.push_last();
        while !self.outbox.is_empty() {
            self.pass(100);
            self.send();
        }
        self.note_counts();
    }
}

proptest! {
    #[test]
    fn what_happened_arrives_once_or_was_dropped_and_counted(
        steps in prop::collection::vec(step(), 1..250), seed in any::<u64>(),
    ) {
        let mut life = Life::new(seed);
        life.live();
        for step in &steps {
            life.take(step);
            life.live();
        }
        life.settle();
        // A restart's own samples overlap in one gauge sample; and when the clock was set back, an
        // agent that has restarted does not know which minutes were measured.
        let restarts = steps.iter().filter(|step| matches!(step, Step::Restart)).count() as u64;
        let is_set_back = steps.iter().any(|step| matches!(step, Step::Clock(..0)));
        let more = restarts * if is_set_back { 8 } else { 2 };
        prop_assert!(life.minutes.values().all(|count| *count <= 12 + more), "{:?}", life.minutes);
        prop_assert!((life.pushed - life.happened).abs() < 1e-6,
            "{} of {} were to be sent", life.pushed, life.happened);
        prop_assert_eq!(life.pushed_data, life.sent + life.dropped);
        if life.dropped == 0 {
            prop_assert!((life.received - life.happened).abs() < 1e-6,
                "{} of {}, {} repeated", life.received, life.happened, life.repeated);
        } else {
            prop_assert!(life.received <= life.happened + 1e-6);
        }
    }

    #[test]
    fn a_calm_host_makes_one_request_a_minute(seed in any::<u64>(), minutes in 5..60_usize) {
        let mut life = Life::new(seed);
        for _ in 0..minutes * 6 {
            life.take(&Step::Work(1));
            life.live();
        }
        prop_assert!(life.calls.len() <= minutes, "{} in {minutes}", life.calls.len());
        prop_assert!(life.calls.len() + 2 >= minutes);
        let apart = life.calls.windows(2).map(|pair| pair[1].since(pair[0]));
        let shortest = apart.min().unwrap_or(Duration::MAX);
        prop_assert!(shortest >= Duration::from_secs(55), "{shortest:?}");
    }
}

#[test]
fn an_outage_of_an_hour_is_made_good_with_its_own_timestamps() {
    let mut life = Life::new(11);
    life.live();
    life.take(&Step::Service(Answer::Fails(Failure::Network)));
    for _ in 0..360 {
        life.take(&Step::Work(1));
        life.live();
    }
    let during = life.calls.len();
    // A host in an outage must not call all the time either.
    assert!(during <= 60 * 5, "{during}");
    life.settle();
    assert!((life.received - 360.0).abs() < 1e-9, "{}", life.received);
    assert!(life.minutes.len() >= 60, "{}", life.minutes.len());
    assert!(life.minutes.values().all(|count| *count <= 6), "{:?}", life.minutes);
}
