//! Whole lives of an outbox: events, failing targets, restarts and reboots, and what holds anyway.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::effect::{Effect, Subject};
use crate::time::Wall;

const TOPICS: [(Topic, Level); 9] = [
    (Topic::DeploymentStarted, Level::Normal),
    (Topic::DeploymentSettled, Level::Normal),
    (Topic::DeploymentRejected, Level::Error),
    (Topic::CrashLoop, Level::Error),
    (Topic::CrashLoopOver, Level::Normal),
    (Topic::SourceUnreachable, Level::Warning),
    (Topic::SourceBack, Level::Normal),
    (Topic::LinesDropped, Level::Warning),
    (Topic::Other, Level::Normal),
];

fn pace(count: u32, per_s: u64, dedupe_s: u64) -> Pace {
    let rate = Rate { count, per: Duration::from_secs(per_s) };
    Pace { rate, dedupe: Duration::from_secs(dedupe_s) }
}

fn rules(name: &str, min_level: Level, keeps_alarms: bool) -> Rules {
    let topics = Topic::ALL.iter().copied().collect();
    Rules { name: name.to_owned(), topics, min_level, pace: pace(10, 60, 300), keeps_alarms }
}

fn place() -> Place {
    Place { environment: "production".parse().unwrap(), host: "i-1".to_owned() }
}

fn notifier(rules: Vec<Rules>, outbox: Outbox, now: u64, same_boot: bool) -> Notifier {
    Notifier::new(place(), rules, None, outbox, (Moment(now), same_boot), 7)
}

fn told(at_ms: i64, topic: Topic, level: Level, release: &str) -> Told {
    let now = Now { at: Moment(0), wall: Wall(at_ms) };
    let subject = match topic.group() {
        "deployment" => Subject::release(&release.parse().unwrap()),
        "crash" => Subject::process(&"web.1.1".parse().unwrap(), &release.parse().unwrap()),
        _ => Subject::host(),
    };
    match subject.tell(now, level, topic, format!("{} of {release}", topic.word())) {
        Effect::Tell(told) => told,
        _ => unreachable!("that is what it makes"),
    }
}

fn now(at: u64) -> Now {
    Now { at: Moment(at), wall: Wall(i64::try_from(at).unwrap()) }
}

/// Delivers everything that is due at a moment; what went where.
fn deliver(notifier: &mut Notifier, at: u64) -> Vec<(String, Pending<Note>)> {
    let mut all = Vec::new();
    loop {
        let due = notifier.due(Moment(at));
        if due.is_empty() {
            return all;
        }
        for (name, pending) in due {
            notifier.answered(now(at), &name, pending.id, Answer::Sent);
            all.push((name, pending));
        }
    }
}

#[test]
fn a_target_gets_what_it_wants_and_the_end_of_what_it_got() {
    let all = vec![
        rules("chat", Level::Normal, false),
        rules("errors", Level::Error, false),
        rules("pager", Level::Warning, true),
    ];
    let mut notifier = notifier(all, Outbox::default(), 0, true);
    let mut check = |topic, level, expected: &[(&str, Action)]| {
        notifier.hear(Moment(0), &told(0, topic, level, "v2"));
        let got = deliver(&mut notifier, 0);
        let got: Vec<_> = got.iter().map(|(name, p)| (name.as_str(), p.what.action)).collect();
        assert_eq!(got, expected, "{topic:?}");
    };
    use Action::{Inform, Resolve, Trigger};
    // Nobody heard of its beginning.
    check(Topic::SourceBack, Level::Normal, &[]);
    check(Topic::DeploymentStarted, Level::Normal, &[("chat", Inform)]);
    check(
        Topic::DeploymentRejected,
        Level::Error,
        &[("chat", Trigger), ("errors", Trigger), ("pager", Trigger)],
    );
    check(Topic::SourceUnreachable, Level::Warning, &[("chat", Trigger), ("pager", Trigger)]);
    check(Topic::SourceBack, Level::Normal, &[("chat", Resolve), ("pager", Resolve)]);
    check(
        Topic::DeploymentSettled,
        Level::Normal,
        &[("chat", Resolve), ("errors", Resolve), ("pager", Resolve)],
    );
    check(Topic::DeploymentSettled, Level::Normal, &[("chat", Inform)]);
}

#[test]
fn keys_are_the_fleets_for_deployments_and_the_hosts_for_the_rest() {
    let key = |topic| key_of(&place(), topic, &told(0, topic, Level::Error, "v2"));
    assert_eq!(key(Topic::DeploymentRejected), "groundcrew/production/deployment-rejected/v2");
    assert_eq!(key(Topic::CrashLoop), "groundcrew/production/i-1/crash-loop/web.1.1");
    assert_eq!(key(Topic::SourceUnreachable), "groundcrew/production/i-1/source-unreachable/host");
}

#[test]
fn repetitions_are_counted_and_what_is_over_the_rate_is_folded() {
    let mut rules = rules("chat", Level::Normal, false);
    rules.pace = pace(2, 60, 300);
    let mut notifier = notifier(vec![rules], Outbox::default(), 0, true);
    for release in ["v1", "v1", "v1", "v2", "v3", "v4", "v5"] {
        let event = told(0, Topic::DeploymentStarted, Level::Normal, release);
        notifier.hear(Moment(0), &event);
    }
    assert_eq!(deliver(&mut notifier, 0).len(), 2);
    let wake = notifier.next_wake().unwrap();
    assert!(wake > Moment(29_000) && wake < Moment(31_000), "{wake:?}");
    let folded = deliver(&mut notifier, wake.0);
    assert_eq!(folded.len(), 1);
    assert_eq!(folded[0].1.more, 2, "and two more than the one that is told");
    assert!(folded[0].1.what.told.text.ends_with("v5"));
    // The next one after the window says how many were not told.
    let event = told(0, Topic::DeploymentStarted, Level::Normal, "v1");
    notifier.hear(Moment(300_000), &event);
    assert_eq!(deliver(&mut notifier, 300_000)[0].1.suppressed, 2);
}

#[test]
fn failures_are_tried_again_later_and_later_and_refusals_are_not() {
    let mut notifier =
        notifier(vec![rules("chat", Level::Normal, false)], Outbox::default(), 0, true);
    notifier.hear(Moment(0), &told(0, Topic::Other, Level::Normal, "v1"));
    let mut at = 0;
    let mut pauses = Vec::new();
    for _ in 0..12 {
        let due = notifier.due(Moment(at));
        let retry_after = (pauses.len() == 3).then(|| Duration::from_secs(100));
        let failed = Answer::Failed { reason: "503".to_owned(), retry_after };
        notifier.answered(now(at), "chat", due[0].1.id, failed);
        let wake = notifier.next_wake().unwrap().0;
        assert!(notifier.due(Moment(wake - 1)).is_empty());
        pauses.push(wake - at);
        at = wake;
    }
    assert!((750..=1000).contains(&pauses[0]) && (3000..=4000).contains(&pauses[2]));
    assert_eq!(pauses[3], 100_000, "as it was asked");
    assert!((225_000..=300_000).contains(&pauses[11]), "{pauses:?}");
    let due = notifier.due(Moment(at));
    notifier.answered(now(at), "chat", due[0].1.id, Answer::Refused("404".to_owned()));
    assert_eq!(notifier.next_wake(), None);
    let standing = notifier.standings().next().unwrap();
    assert_eq!((standing.counts.failed, standing.reason), (1, Some("404")));
}

#[test]
fn what_is_too_old_is_given_up_and_what_is_too_much_pushes_out_the_oldest() {
    let mut rules = rules("chat", Level::Normal, false);
    rules.pace = pace(1000, 60, 0);
    let mut notifier = notifier(vec![rules], Outbox::default(), 0, true);
    for _ in 0..limits::PENDING_MAX + 3 {
        notifier.hear(Moment(0), &told(0, Topic::Other, Level::Normal, "v1"));
    }
    let standing = notifier.standings().next().unwrap();
    assert_eq!((standing.waiting, standing.counts.dropped), (limits::PENDING_MAX, 3));
    assert!(notifier.due(Moment(0).plus(limits::AGE_MAX)).is_empty());
    let standing = notifier.standings().next().unwrap();
    assert_eq!((standing.waiting, standing.counts.failed), (0, 64));
}

#[test]
fn what_the_ledger_remembers_and_the_outbox_does_not_is_caught_up() {
    let rules = || vec![rules("chat", Level::Normal, false)];
    let events = [
        told(1, Topic::Other, Level::Normal, "v1"),
        told(2, Topic::DeploymentRejected, Level::Error, "v2"),
        told(2, Topic::CrashLoop, Level::Error, "v2"),
    ];
    let mut before = notifier(rules(), Outbox::default(), 0, true);
    before.hear(Moment(0), &events[0]);
    assert_eq!(deliver(&mut before, 0).len(), 1);
    let mut after = notifier(rules(), before.outbox().clone(), 10, true);
    after.catch_up(Moment(10), &events);
    let caught = deliver(&mut after, 10);
    let caught: Vec<_> = caught.iter().map(|(_, pending)| pending.what.told.topic).collect();
    assert_eq!(caught, [Topic::DeploymentRejected, Topic::CrashLoop]);
    after.catch_up(Moment(20), &events);
    assert!(deliver(&mut after, 20).is_empty());
    // An agent that had no targets before tells nothing of the past, also when there were some long
    // before that.
    let mut idle = notifier(Vec::new(), before.outbox().clone(), 20, true);
    assert!(idle.catch_up(Moment(20), &events) && !idle.catch_up(Moment(20), &events));
    for outbox in [Outbox::default(), idle.outbox().clone()] {
        let mut fresh = notifier(rules(), outbox, 30, true);
        assert!(!fresh.catch_up(Moment(30), &events));
        assert!(deliver(&mut fresh, 30).is_empty());
    }
}

#[test]
fn one_sentence_ends_all_alarms_that_are_over_so_that_each_is_news_again() {
    let all = vec![rules("chat", Level::Normal, false), rules("pager", Level::Warning, true)];
    let mut notifier = notifier(all, Outbox::default(), 0, true);
    let mut hear = |topic, level, release| {
        notifier.hear(Moment(0), &told(0, topic, level, release));
        let got = deliver(&mut notifier, 0);
        let to = |target: &str| got.iter().filter(|(name, _)| name == target).count();
        (to("chat"), to("pager"))
    };
    for _ in 0..2 {
        for release in ["v2", "v3", "v4"] {
            assert_eq!(hear(Topic::DeploymentRejected, Level::Error, release), (1, 1), "{release}");
            assert_eq!(hear(Topic::DeploymentRejected, Level::Error, release), (0, 0), "{release}");
        }
        assert_eq!(hear(Topic::DeploymentSettled, Level::Normal, "v5"), (1, 3));
    }
}

#[test]
fn an_alarm_about_backups_is_ended_by_whichever_host_sees_a_good_one() {
    let chat = rules("chat", Level::Normal, false);
    let pager = rules("pager", Level::Error, true);
    let mut deaf = rules("deaf", Level::Error, true);
    deaf.topics.remove(&Topic::BackupFailed);
    let all = vec![chat, pager, deaf];
    let of = |topic, level| {
        let subject = Subject::backup("shop");
        match subject.tell(now(0), level, topic, "about shop".to_owned()) {
            Effect::Tell(told) => told,
            _ => unreachable!("that is what it makes"),
        }
    };
    let mut one = notifier(all.clone(), Outbox::default(), 0, true);
    one.hear(Moment(0), &of(Topic::BackupFailed, Level::Error));
    let begun = deliver(&mut one, 0);
    // That host goes; another never heard of it.
    let mut other = notifier(all, Outbox::default(), 0, true);
    other.hear(Moment(0), &of(Topic::BackupRecovered, Level::Normal));
    let ended = deliver(&mut other, 0);
    let shown = |all: &[(String, Pending<Note>)]| -> Vec<_> {
        all.iter().map(|(to, note)| (to.clone(), note.what.action)).collect()
    };
    let named = |name: &str, action| (name.to_owned(), action);
    let both = [named("chat", Action::Trigger), named("pager", Action::Trigger)];
    assert_eq!(shown(&begun), both);
    assert_eq!(shown(&ended), [named("pager", Action::Resolve)]);
    assert_eq!(begun[1].1.what.key, ended[0].1.what.key);
}

/// One thing that happens in a life.
#[derive(Debug, Clone)]
enum Deed {
    Told(usize, u8),
    Pass(u64),
    Answer(u8),
    Restart(bool),
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        3 => (0..TOPICS.len(), 0..3_u8).prop_map(|(topic, release)| Deed::Told(topic, release)),
        3 => (0..120_000_u64).prop_map(Deed::Pass),
        4 => (0..10_u8).prop_map(Deed::Answer),
        1 => any::<bool>().prop_map(Deed::Restart),
    ]
}

/// A life, and what its targets saw: for each the ids and notes that they were shown, and those
/// that they acknowledged.
#[derive(Default)]
struct Life {
    at: u64,
    flying: Vec<(String, Pending<Note>)>,
    acknowledged: BTreeMap<String, Vec<Pending<Note>>>,
    /// Those, and those that were refused.
    done: BTreeMap<String, Vec<Pending<Note>>>,
}

impl Life {
    fn live(&mut self, notifier: &mut Notifier, deeds: Vec<Deed>, all: &[Rules]) {
        for deed in deeds {
            match deed {
                Deed::Told(topic, release) => {
                    let (topic, level) = TOPICS[topic];
                    let wall = i64::try_from(self.at).unwrap();
                    let event = told(wall, topic, level, &format!("v{release}"));
                    notifier.hear(Moment(self.at), &event);
                }
                Deed::Pass(passed) => self.at += passed,
                Deed::Answer(fate) => self.answer(notifier, fate),
                Deed::Restart(same_boot) => {
                    let text = serde_json::to_string(notifier.outbox()).unwrap();
                    let outbox = serde_json::from_str(&text).unwrap();
                    self.flying.clear();
                    *notifier = super::tests::notifier(all.to_vec(), outbox, self.at, same_boot);
                }
            }
            self.flying.extend(notifier.due(Moment(self.at)));
        }
    }

    fn answer(&mut self, notifier: &mut Notifier, fate: u8) {
        let Some((name, pending)) = self.flying.pop() else { return };
        let failed = || Answer::Failed { reason: "503".to_owned(), retry_after: None };
        let answer = match fate {
            0 => Answer::Refused("400".to_owned()),
            1..4 => failed(),
            // The other side has it, and the agent does not learn so.
            4 => failed(),
            _ => {
                self.acknowledged.entry(name.clone()).or_default().push(pending.clone());
                Answer::Sent
            }
        };
        if !matches!(answer, Answer::Failed { .. }) {
            self.done.entry(name.clone()).or_default().push(pending.clone());
        }
        notifier.answered(now(self.at), &name, pending.id, answer);
    }

    /// No faults any more, until nothing waits.
    fn drain(&mut self, notifier: &mut Notifier) {
        for _ in 0..10_000 {
            self.flying.extend(notifier.due(Moment(self.at)));
            if self.flying.is_empty() {
                let Some(wake) = notifier.next_wake() else { return };
                self.at = self.at.max(wake.0);
            }
            self.answer(notifier, 9);
        }
        panic!("it never comes to rest");
    }
}

proptest! {
    #[test]
    fn in_every_life_order_holds_and_nothing_acknowledged_is_sent_again(
        deeds in prop::collection::vec(deed(), 1..200),
    ) {
        let all = vec![rules("chat", Level::Normal, false), rules("pager", Level::Warning, true)];
        let mut notifier = notifier(all.clone(), Outbox::default(), 0, true);
        let mut life = Life::default();
        life.live(&mut notifier, deeds, &all);
        life.drain(&mut notifier);
        for (name, seen) in &life.acknowledged {
            for pair in seen.windows(2) {
                prop_assert!(pair[0].id < pair[1].id, "{name}: {pair:?}");
            }
            for end in seen.iter().filter(|pending| pending.what.action == Action::Resolve) {
                let mut ended = end.what.told.topic.ends().iter();
                prop_assert!(ended.any(|topic| end.what.key.contains(topic.word())));
            }
        }
        let pager = life.acknowledged.get("pager").map_or(&[][..], Vec::as_slice);
        prop_assert!(pager.iter().all(|pending| pending.what.action != Action::Inform));
        // What was acknowledged as an alarm and is over now was also ended.
        let ends = [(Topic::SourceBack, "source-un"), (Topic::CrashLoopOver, "crash-l")];
        for (event, topic) in ends {
            notifier.hear(Moment(life.at), &told(0, event, Level::Normal, "v0"));
            life.drain(&mut notifier);
            for (name, seen) in &life.done {
                let last = seen.iter().rfind(|pending| pending.what.key.contains(topic));
                let over = last.is_none_or(|last| last.what.action == Action::Resolve);
                prop_assert!(over, "{name}: {last:?}");
            }
        }
    }

    #[test]
    fn no_more_than_twice_the_rate_is_told_in_any_window(
        count in 1..5_u32, gaps in prop::collection::vec(0..20_000_u64, 1..200),
    ) {
        let mut rules = rules("chat", Level::Normal, false);
        rules.pace = pace(count, 60, 0);
        let mut notifier = notifier(vec![rules], Outbox::default(), 0, true);
        let (mut at, mut sent) = (0, Vec::new());
        for gap in gaps {
            at += gap;
            notifier.hear(Moment(at), &told(0, Topic::Other, Level::Normal, "v1"));
            sent.extend(deliver(&mut notifier, at).iter().map(|_| at));
        }
        for (first, start) in sent.iter().enumerate() {
            let within = sent[first..].iter().take_while(|at| **at < start + 60_000).count();
            prop_assert!(within <= 2 * count as usize, "{within} within a minute of {start}");
        }
    }
}
