//! The shipper against a service that fails as it likes, and against its own death: a line that was
//! written is an obligation. Real files, a clock of its own, no network.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::Arc;

use camino::Utf8PathBuf;
use groundcrew_core::logs::retry::Failure;
use groundcrew_core::logs::{FileRule, LogRules, LogSettings, Multiline};
use groundcrew_core::time::{Moment, Now, Wall};
use groundcrew_core::types::ProcessId;
use proptest::prelude::*;

use super::batch::Format;
use super::engine::{Answer, Engine, Host, News, Request};
use super::progress::Progress;
use crate::aws::cloudwatch_logs::{LogsCallError, Rejected};
use crate::logs::files::LogFiles;
use crate::logs::testing::{append, process, scratch};
use crate::logs::watch::{self, Events};

const START: i64 = 1_780_000_000_000;

/// What the service does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Accept,
    /// Refused in one of these ways.
    Fail(Failure),
    /// It is accepted, and nobody hears of it.
    LoseReply,
    /// The agent dies while it is under way: accepted or not.
    Die(bool),
}

struct World {
    _keep: tempfile::TempDir,
    state: Utf8PathBuf,
    settings: LogSettings,
    engine: Engine,
    events: Events,
    now: Now,
    living: BTreeMap<ProcessId, LogRules>,
    /// What the service has, by stream, in the order in which it came.
    streams: BTreeMap<String, Vec<String>>,
    /// Texts that the service does not take.
    poison: BTreeSet<String>,
    /// Answers that the agent has not taken in.
    answers: Vec<Answer>,
    requests: u64,
    doubtful: u64,
    largest: usize,
}

fn engine(state: &Utf8PathBuf, settings: &LogSettings) -> (Engine, Events) {
    let (watches, events) = watch::watch().unwrap();
    let host = Host { environment: "test".into(), instance: "i-1".into() };
    let parts = (Progress::shared(), watches, Format::PutLogEvents);
    let settings = Arc::new(settings.clone());
    let mut engine = Engine::open(settings, LogFiles::new(state), &[], parts).unwrap();
    engine.set_host(host);
    (engine, events)
}

impl World {
    fn new(processes: &[&str]) -> Self {
        let (keep, state) = scratch();
        let settings = LogSettings::default();
        let (engine, events) = engine(&state, &settings);
        let living = processes.iter().map(|id| (process(id), LogRules::default())).collect();
        for id in processes {
            LogFiles::new(&state).paths(&process(id)).unwrap();
        }
        Self {
            _keep: keep,
            state,
            settings,
            engine,
            events,
            now: Now { at: Moment(1_000_000), wall: Wall(START) },
            living,
            streams: BTreeMap::new(),
            poison: BTreeSet::new(),
            answers: Vec::new(),
            requests: 0,
            doubtful: 0,
            largest: 0,
        }
    }

    fn path(&self, id: &str, stream: &str) -> Utf8PathBuf {
        let tier = process(id).tier;
        self.state.join(format!("logs/{tier}/{id}.{stream}.log"))
    }

    fn write(&self, id: &str, text: &str) {
        append(&self.path(id, "stdout"), text);
    }

    /// The agent dies and another takes over.
    fn restart(&mut self) {
        self.answers.clear();
        (self.engine, self.events) = engine(&self.state, &self.settings);
    }

    /// Goes on until nothing is left to do, or `steps` are over.
    fn run(&mut self, steps: usize, mut fate: impl FnMut(u64) -> Fate) {
        let mut sweep = true;
        for _ in 0..steps {
            let mut news = self.news(sweep);
            news.answers = std::mem::take(&mut self.answers);
            let plan = self.engine.pass(news, self.now);
            let mut died = false;
            for request in &plan.requests {
                self.requests += 1;
                match self.answer(request, fate(self.requests)) {
                    Some(outcome) => {
                        self.answers.push(Answer { stream: request.stream, outcome });
                    }
                    None => died = true,
                }
            }
            if died {
                self.restart();
                sweep = true;
                continue;
            }
            sweep = false;
            if plan.requests.is_empty() && !plan.again {
                let Some(wake) = plan.wake else { return };
                let passed = wake.since(self.now.at).as_millis();
                self.now.at = self.now.at.max(wake);
                self.now.wall.0 += i64::try_from(passed).unwrap();
            }
        }
    }

    fn news(&self, sweep: bool) -> News {
        let living = sweep.then(|| Arc::new(self.living.clone()));
        News { happened: self.events.try_next(), sweep, living, ..News::default() }
    }

    /// What the service says; `None`: the agent does not live to hear it.
    fn answer(&mut self, request: &Request, fate: Fate) -> Option<Result<Rejected, LogsCallError>> {
        let failed = |failure, ambiguous| {
            Some(Err(LogsCallError { failure, text: format!("{failure:?}"), ambiguous }))
        };
        let events = events(&request.body);
        self.largest = self.largest.max(request.body.len());
        if events.iter().any(|event| self.poison.contains(event)) {
            return failed(Failure::Refused, false);
        }
        match fate {
            Fate::Fail(failure) => return failed(failure, false),
            Fate::Die(false) => return None,
            _ => {}
        }
        self.streams.entry(request.name.clone()).or_default().extend(events);
        match fate {
            Fate::LoseReply => {
                self.doubtful += 1;
                failed(Failure::Network, true)
            }
            Fate::Die(_) => {
                self.doubtful += 1;
                None
            }
            _ => Some(Ok(Rejected::default())),
        }
    }

    fn has(&self, id: &str) -> &[String] {
        self.streams.get(&format!("i-1/{id}")).map_or(&[], Vec::as_slice)
    }

    /// Nothing is left, and the counts add up.
    fn assert_done(&mut self) {
        let plan = self.engine.pass(self.news(true), self.now);
        assert_eq!(plan.pending, 0, "nothing is left");
        for source in self.engine.sources.values() {
            let counts = source.counts;
            let bytes = counts.acknowledged.bytes + counts.rejected.bytes + counts.dropped.bytes;
            assert_eq!(bytes, source.accepted.offset, "{}: the counts add up", source.key);
        }
    }
}

fn events(body: &[u8]) -> Vec<String> {
    let mut text = String::new();
    flate2::read::GzDecoder::new(body).read_to_string(&mut text).unwrap();
    let body: serde_json::Value = serde_json::from_str(&text).unwrap();
    let events = body["logEvents"].as_array().unwrap();
    events.iter().map(|event| event["message"].as_str().unwrap().to_owned()).collect()
}

fn lines(from: u32, to: u32) -> String {
    let lines: Vec<String> = (from..to).map(|number| format!("line {number}\n")).collect();
    lines.concat()
}

#[tokio::test]
async fn lines_arrive_whole_and_in_order_and_the_rest_waits_for_its_newline() {
    let mut world = World::new(&["web.1.1", "api.1.1"]);
    world.write("web.1.1", &lines(0, 20_000));
    world.write("api.1.1", "half a");
    world.run(1000, |_| Fate::Accept);
    assert_eq!(world.has("web.1.1").len(), 20_000);
    assert_eq!(world.has("web.1.1")[19_999], "line 19999");
    // Another line might belong to the last one, and the half line has no end.
    assert_eq!(world.requests, 2 + 2, "full batches, and what had to settle");
    world.write("api.1.1", " line\n");
    world.run(1000, |_| Fate::Accept);
    assert_eq!(world.has("api.1.1"), ["half a", " line"]);
    world.assert_done();
}

#[tokio::test]
async fn a_long_line_comes_in_parts_and_nothing_of_it_is_lost() {
    let mut world = World::new(&["web.1.1"]);
    let long: String = (0..2_000_000u32).map(|i| char::from(b'a' + (i % 26) as u8)).collect();
    world.write("web.1.1", &format!("before\n{long}\nafter\n"));
    world.run(1000, |_| Fate::Accept);
    let has = world.has("web.1.1");
    assert_eq!((has[0].as_str(), has[has.len() - 1].as_str()), ("before", "after"));
    let parts: String = (has[1..has.len() - 1].iter())
        .map(|part| {
            let part = part.strip_suffix(" [the line goes on in the next event]").unwrap_or(part);
            part.split_once(" of one line] ").map_or(part, |(_, part)| part)
        })
        .collect();
    assert_eq!(parts, long);
    world.assert_done();
}

#[tokio::test]
async fn metrics_in_lines_arrive_whole_and_what_is_cut_is_counted() {
    let mut world = World::new(&["web.1.1"]);
    world.settings.redact = vec!["\\d+".to_owned(), "x{100}".to_owned()];
    world.restart();
    let rules = LogRules {
        rate_max: Some(1),
        multiline: Multiline::Pattern("^never".to_owned()),
        ..LogRules::default()
    };
    world.living = [(process("web.1.1"), rules)].into();
    let values: Vec<String> = (0..100).map(|number| (number * 7).to_string()).collect();
    let emf = format!(
        r#"{{"_aws":{{"Timestamp":1787392801123}},"a":[{}],"b":12.5e3}}"#,
        values.join(",")
    );
    let long = format!(r#"{{"b":"{}","_aws":{{}}}}"#, "y".repeat(300 * 1024));
    world.write("web.1.1", &format!("text\n{emf}\n{emf}\nmore text\n{emf}\n"));
    world.run(100, |_| Fate::Accept);
    world.now.at = world.now.at.plus(std::time::Duration::from_secs(10));
    let metrics = |world: &World| world.has("web.1.1").iter().filter(|has| **has == emf).count();
    assert_eq!((metrics(&world), world.engine.shipped().emf_cut), (3, 0));
    world.write("web.1.1", &format!("{long}\n{emf}\n"));
    world.run(100, |_| Fate::Accept);
    assert_eq!((metrics(&world), world.engine.shipped().emf_cut), (4, 1));
    world.assert_done();
}

#[tokio::test]
async fn a_poison_event_is_kept_aside_and_stops_nothing() {
    let mut world = World::new(&["web.1.1"]);
    world.poison.insert("line 1234".to_owned());
    world.write("web.1.1", &lines(0, 3000));
    world.run(5000, |_| Fate::Accept);
    let wanted: Vec<String> =
        (0..3000).filter(|n| *n != 1234).map(|number| format!("line {number}")).collect();
    assert_eq!(world.has("web.1.1"), wanted);
    assert_eq!(world.engine.shipped().rejected, 1);
    let kept = std::fs::read_to_string(world.state.join("logs/.quarantine")).unwrap();
    assert!(kept.contains("line 1234") && kept.contains("web.1.1"), "{kept}");
    world.assert_done();
}

#[tokio::test]
async fn an_outage_costs_one_request_at_a_time_and_bounded_memory() {
    let ids: Vec<String> = (1..=50).map(|ordinal| format!("web.1.{ordinal}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let mut world = World::new(&ids);
    for id in &ids {
        world.write(id, &"x".repeat(10_000).replace('x', "some text\n"));
    }
    world.run(
        2000,
        |number| {
            if number < 200 { Fate::Fail(Failure::Network) } else { Fate::Accept }
        },
    );
    for id in &ids {
        assert_eq!(world.has(id).len(), 10_000, "{id}");
    }
    let passed = world.now.at.since(Moment(1_000_000));
    assert!(passed.as_secs() > 60, "pauses grew: {passed:?}");
    world.assert_done();
}

#[tokio::test]
async fn what_another_agent_accepted_is_not_sent_again() {
    let mut world = World::new(&["web.1.1"]);
    world.write("web.1.1", &lines(0, 100));
    world.run(1000, |_| Fate::Accept);
    world.restart();
    world.write("web.1.1", &lines(100, 200));
    world.run(1000, |_| Fate::Accept);
    let wanted: Vec<String> = (0..200).map(|number| format!("line {number}")).collect();
    assert_eq!(world.has("web.1.1"), wanted);
    world.assert_done();
}

/// What logrotate does with `copytruncate`.
fn copy_and_truncate(path: &Utf8PathBuf) {
    for number in (1..9).rev() {
        let from = format!("{path}.{number}");
        if std::path::Path::new(&from).exists() {
            std::fs::rename(from, format!("{path}.{}", number + 1)).unwrap();
        }
    }
    std::fs::copy(path, format!("{path}.1")).unwrap();
    std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(0).unwrap();
}

#[tokio::test]
async fn a_file_that_is_copied_and_truncated_again_and_again_in_an_outage_loses_nothing() {
    for looks in [1, 5] {
        let mut world = World::new(&[]);
        let directory = world.state.join("named");
        std::fs::create_dir(&directory).unwrap();
        let path = directory.join("app.log");
        world.settings.files = vec![FileRule {
            path: directory.join("*.log").to_string(),
            multiline: Multiline::Off,
            group: None,
            stream: None,
        }];
        world.restart();
        std::fs::File::create(&path).unwrap();
        append(&path, lines(0, 10));
        world.run(200, |_| Fate::Accept);
        for round in 1..6 {
            append(&path, lines(round * 100, round * 100 + 50));
            world.run(looks, |_| Fate::Fail(Failure::Service));
            append(&path, lines(round * 100 + 50, round * 100 + 100));
            world.run(looks, |_| Fate::Fail(Failure::Service));
            copy_and_truncate(&path);
            world.run(looks, |_| Fate::Fail(Failure::Service));
        }
        world.run(2000, |_| Fate::Accept);
        let stream = format!("i-1{path}");
        let wanted: Vec<String> =
            (0..10).chain(100..600).map(|number| format!("line {number}")).collect();
        assert_eq!(world.streams[&stream], wanted, "{looks} looks");
        world.assert_done();
    }
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        10 => Just(Fate::Accept),
        2 => Just(Fate::Fail(Failure::Throttled)),
        1 => Just(Fate::Fail(Failure::Service)),
        1 => Just(Fate::Fail(Failure::Missing)),
        1 => Just(Fate::Fail(Failure::Denied)),
        1 => Just(Fate::Fail(Failure::Credentials)),
        2 => Just(Fate::LoseReply),
        1 => any::<bool>().prop_map(Fate::Die),
    ]
}

/// Every line is there, in order but for what was repeated, and only batches whose fate nobody
/// knew were repeated.
fn check(world: &World, id: &str, count: u32) {
    let (mut next, mut repeats, mut last) = (0, 0, None);
    for line in world.has(id) {
        let number: u32 = line.strip_prefix("line ").unwrap().parse().unwrap();
        if number == next {
            next += 1;
        } else {
            assert!(number < next, "{id}: {number} before {next}");
            repeats += u64::from(last.is_none_or(|last| number != last + 1));
        }
        last = Some(number);
    }
    assert_eq!(next, count, "{id}: every line arrived");
    assert!(repeats <= world.doubtful, "{id}: {repeats} repeats of {}", world.doubtful);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_line_arrives_whatever_fails_and_whoever_dies(
        fates in proptest::collection::vec(fate(), 1..60),
        rounds in proptest::collection::vec((1..400u32, 1..400u32), 1..8),
    ) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let _inside = runtime.enter();
        let mut world = World::new(&["web.1.1", "web.1.2"]);
        let (mut first, mut second) = (0, 0);
        for (more, others) in rounds {
            world.write("web.1.1", &lines(first, first + more));
            world.write("web.1.2", &lines(second, second + others));
            (first, second) = (first + more, second + others);
            world.run(3, |number| fates[usize::try_from(number).unwrap() % fates.len()]);
        }
        world.run(2000, |_| Fate::Accept);
        check(&world, "web.1.1", first);
        check(&world, "web.1.2", second);
        world.assert_done();
    }
}
