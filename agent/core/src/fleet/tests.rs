//! Tests of what is decided about a group.

use std::time::Duration;

use super::refresh::{
    Begin, Choice, Options, Outcome, Preferences, Refusal, VersionFacts, begin, choose, ended,
    follow_within, look_again, pause, preferences, summary, template, way_back,
};
use super::scale::{Plan, Progress, plan, progress};
use super::standing::{Word, standing, vital_suspended};
use super::*;
use crate::backups::call::CallErrorKind;

const NEW: &str = "ami-0123456789abcdef0";

fn version(version: &str) -> TemplateVersion {
    TemplateVersion { id: "lt-1".to_owned(), version: version.to_owned() }
}

fn instance(id: &str, state: &str, of: &str) -> Instance {
    Instance {
        id: id.to_owned(),
        zone: "eu-west-1a".to_owned(),
        state: state.to_owned(),
        health: "Healthy".to_owned(),
        template: Some(version(of)),
        image: None,
        launched: None,
        weight: 1,
    }
}

/// Two instances of version 3, between 1 and 8.
fn group() -> Group {
    Group {
        name: "web".to_owned(),
        min: 1,
        desired: 2,
        max: 8,
        launch: Launch::Template(version("3")),
        min_healthy_percent: None,
        max_healthy_percent: None,
        warmup_s: None,
        instances: vec![instance("i-1", "InService", "3"), instance("i-2", "InService", "3")],
        suspended: Vec::new(),
    }
}

fn refresh(status: &str, to: &str) -> Refresh {
    Refresh {
        id: "08b91cf7".to_owned(),
        status: status.into(),
        reason: None,
        percent: 40,
        to_update: 3,
        started: None,
        ended: None,
        target: Some(version(to)),
        rollback_reason: None,
        bake_s: 0,
    }
}

fn facts(number: u64, image: Option<&str>) -> VersionFacts {
    VersionFacts { number, image: image.map(str::to_owned), description: None }
}

fn options() -> Options {
    Options {
        ami: Some(NEW.parse().unwrap()),
        min_healthy_percent: None,
        max_healthy_percent: None,
        alarms: Vec::new(),
        auto_rollback: true,
        skip_matching: true,
        bake: Duration::ZERO,
    }
}

#[test]
fn ids_of_images_are_told_from_typing_errors() {
    for good in ["ami-12c6146b", NEW] {
        assert_eq!(good.parse::<AmiId>().unwrap().as_str(), good);
    }
    for bad in ["", "ami-", "12c6146b", "ami-12C6146B", "ami-123456789", "ami-0123456789abcdefg"] {
        assert_eq!(bad.parse::<AmiId>(), Err(AmiIdError), "{bad}");
    }
    assert!("shop-web".parse::<AwsName>().is_ok());
    for bad in [String::new(), "a\nb".to_owned(), "x".repeat(256)] {
        assert!(bad.parse::<AwsName>().is_err(), "{bad:?}");
    }
}

#[test]
fn only_a_numbered_template_is_rolled_back_to() {
    let check = |launch: Launch, rollback: bool, expected: Result<&str, &str>| {
        let group = Group { launch, ..group() };
        let options = Options { auto_rollback: rollback, ..options() };
        let found = template(&group, &options).map(|template| template.version.clone());
        let found = found.map_err(|refusal| refusal.to_string());
        match expected {
            Ok(version) => assert_eq!(found.as_deref(), Ok(version)),
            Err(part) => assert!(found.as_ref().is_err_and(|it| it.contains(part)), "{found:?}"),
        }
    };
    let mixed = |own_images| Launch::Mixed { template: version("3"), own_images };
    check(Launch::Template(version("3")), true, Ok("3"));
    check(Launch::Template(version("$Latest")), true, Err("$Latest"));
    check(Launch::Template(version("$Default")), false, Ok("$Default"));
    check(mixed(false), true, Ok("3"));
    check(mixed(true), true, Err("of their own"));
    check(Launch::Configuration { name: "old".to_owned() }, false, Err("no launch template"));
    check(Launch::Unknown, false, Err("no launch template"));
    let own = Group { launch: mixed(true), ..group() };
    assert!(template(&own, &Options { ami: None, ..options() }).is_ok(), "no image is changed");
}

#[test]
fn a_version_is_made_once() {
    let check = |ami: Option<&str>, image: Option<&str>, expected: Option<Choice>| {
        let options = Options { ami: ami.map(|ami| ami.parse().unwrap()), ..options() };
        assert_eq!(choose(&options, &facts(7, image)).ok(), expected, "{ami:?} {image:?}");
    };
    check(Some(NEW), Some("ami-12c6146b"), Some(Choice::MadeFrom(7)));
    check(Some(NEW), None, Some(Choice::MadeFrom(7)));
    check(Some(NEW), Some(NEW), Some(Choice::Existing(7)));
    check(Some(NEW), Some("resolve:ssm:/ami"), Some(Choice::MadeFrom(7)));
    check(None, Some("ami-12c6146b"), Some(Choice::Existing(7)));
    check(None, None, Some(Choice::Existing(7)));
    check(None, Some("resolve:ssm:/ami"), None);
}

#[test]
fn the_way_back_is_the_groups_own_version() {
    let parameter = facts(3, Some("resolve:ssm:/ami"));
    let refusal = way_back(&options(), &parameter).unwrap_err().to_string();
    assert!(refusal.contains("the group's own version 3"), "{refusal}");
    assert!(!refusal.contains("--ami"), "an image was given: {refusal}");
    let forward = Options { auto_rollback: false, ..options() };
    assert_eq!(way_back(&forward, &parameter), Ok(()));
    assert_eq!(way_back(&options(), &facts(3, Some(NEW))), Ok(()));
    assert_eq!(way_back(&options(), &facts(3, None)), Ok(()));
}

#[test]
fn one_refresh_at_a_time_and_the_same_one_is_followed() {
    let check = |last: Option<&Refresh>, choice: Choice, expected: &str| {
        let found = match begin(&group(), last, choice, &options()) {
            Ok(Begin::Nothing) => "nothing",
            Ok(Begin::Follow(_)) => "follow",
            Ok(Begin::Start) => "start",
            Err(_) => "refused",
        };
        assert_eq!(found, expected, "{last:?} {choice:?}");
    };
    let running = |status: &str| refresh(status, "4");
    check(None, Choice::Existing(3), "nothing");
    check(None, Choice::Existing(4), "start");
    check(None, Choice::MadeFrom(3), "start");
    for status in ["Pending", "InProgress", "Baking", "SomethingNew"] {
        check(Some(&running(status)), Choice::Existing(4), "follow");
        check(Some(&running(status)), Choice::Existing(3), "refused");
        check(Some(&running(status)), Choice::MadeFrom(4), "refused");
    }
    for status in ["Cancelling", "RollbackInProgress"] {
        check(Some(&running(status)), Choice::Existing(4), "refused");
    }
    for status in ["Successful", "Failed", "Cancelled", "RollbackSuccessful", "RollbackFailed"] {
        check(Some(&running(status)), Choice::Existing(4), "start");
    }
    let mut other = running("InProgress");
    other.target = Some(TemplateVersion { id: "lt-2".to_owned(), version: "4".to_owned() });
    check(Some(&other), Choice::Existing(4), "refused");
    let refusal = begin(&group(), Some(&running("InProgress")), Choice::Existing(3), &options());
    assert_eq!(
        refusal.unwrap_err().to_string(),
        "an instance refresh of group web runs already: \
         InProgress 40%, 3 to update, 08b91cf7, to version 4 of lt-1"
    );
}

#[test]
fn nothing_is_to_be_done_only_when_group_and_instances_match() {
    let is_nothing = |group: &Group, options: &Options| {
        begin(group, None, Choice::Existing(3), options) == Ok(Begin::Nothing)
    };
    assert!(is_nothing(&group(), &options()));
    assert!(!is_nothing(&group(), &Options { skip_matching: false, ..options() }));
    let mut behind = group();
    behind.instances[1].template = Some(version("2"));
    assert!(!is_nothing(&behind, &options()));
    let mut behind = group();
    behind.launch = Launch::Template(version("2"));
    assert!(!is_nothing(&behind, &options()), "what is launched next would be of version 2");
    let mut floating = group();
    floating.launch = Launch::Template(version("$Latest"));
    assert!(!is_nothing(&floating, &options()));
}

#[test]
fn percentages_are_the_persons_then_the_groups() {
    let check = |of_group: [Option<u32>; 2], of_person: [Option<u32>; 2], expected| {
        let [min_healthy_percent, max_healthy_percent] = of_group;
        let group = Group { min_healthy_percent, max_healthy_percent, ..group() };
        let [min_healthy_percent, max_healthy_percent] = of_person;
        let options = Options { min_healthy_percent, max_healthy_percent, ..options() };
        let found = preferences(&group, &options);
        let found = found.map(|of: Preferences| (of.min_healthy_percent, of.max_healthy_percent));
        assert_eq!(found.ok(), expected, "{of_group:?} {of_person:?}");
    };
    let none = [None, None];
    check(none, none, Some((100, 110)));
    check([Some(90), Some(150)], none, Some((90, 150)));
    check([Some(90), Some(150)], [Some(50), None], Some((50, 150)));
    check(none, [Some(0), None], Some((0, 100)));
    check(none, [None, Some(200)], Some((100, 200)));
    check(none, [Some(50), Some(160)], None);
    check(none, [Some(101), None], None);
    check(none, [None, Some(99)], None);
    check(none, [Some(100), Some(201)], None);
    check(none, [Some(u32::MAX), None], None);
    let many = Options { alarms: vec!["5xx".to_owned(); 11], ..options() };
    assert_eq!(preferences(&group(), &many), Err(Refusal::Alarms { given: 11 }));
    let long = Options { bake: Duration::from_hours(49), ..options() };
    assert_eq!(preferences(&group(), &long), Err(Refusal::Bake));
    let bake = Options { bake: Duration::from_mins(10), ..options() };
    assert_eq!(preferences(&group(), &bake).unwrap().bake_s, 600);
}

#[test]
fn every_status_is_an_end_or_is_waited_for() {
    let check = |word: &str, expected| {
        let status = RefreshStatus::from(word);
        assert_eq!((status.as_str(), ended(&status)), (word, expected));
    };
    check("Pending", None);
    check("InProgress", None);
    check("Baking", None);
    check("Cancelling", None);
    check("RollbackInProgress", None);
    check("SomethingNew", None);
    check("Successful", Some(Outcome::Updated));
    check("Failed", Some(Outcome::Failed));
    check("RollbackFailed", Some(Outcome::Failed));
    check("Cancelled", Some(Outcome::Cancelled));
    check("RollbackSuccessful", Some(Outcome::RolledBack));
    let pauses: Vec<_> = [0, 1, 2, 5, u32::MAX].map(|looks| pause(looks).as_secs()).into();
    assert_eq!(pauses, [1, 1, 2, 5, 5]);
}

#[test]
fn a_refresh_is_followed_for_as_long_as_it_bakes_too() {
    let hours = |bake_s| follow_within(&Refresh { bake_s, ..refresh("Baking", "4") }).as_secs();
    assert_eq!(hours(0), 12 * 3600);
    assert_eq!(hours(48 * 3600), 60 * 3600);
    assert_eq!(hours(u32::MAX), 60 * 3600, "Auto Scaling bakes no longer");
}

#[test]
fn what_may_pass_is_looked_at_again() {
    use CallErrorKind::{Denied, Refused, Throttled, Unclear};
    for kind in [Throttled, Unclear] {
        assert!(look_again(kind, false, 1) && look_again(kind, false, 20), "{kind:?}");
        assert!(!look_again(kind, false, 21), "{kind:?}");
    }
    for kind in [Denied, Refused] {
        assert!(!look_again(kind, false, 1), "{kind:?}");
    }
    assert!(look_again(Denied, true, 20), "credentials may come yet");
    assert!(!look_again(Denied, true, 21));
}

#[test]
fn why_it_was_rolled_back_comes_first() {
    let check = |rollback: Option<&str>, reason: Option<&str>, end: &str| {
        let mut refresh = refresh("RollbackSuccessful", "4");
        refresh.rollback_reason = rollback.map(str::to_owned);
        refresh.reason = reason.map(str::to_owned);
        assert_eq!(
            summary(&refresh),
            format!("RollbackSuccessful 40%, 08b91cf7, to version 4 of lt-1{end}")
        );
    };
    check(None, None, "");
    check(None, Some("Done."), ": Done.");
    check(Some("Alarm 5xx."), Some("Done."), ": Alarm 5xx. Done.");
    check(Some("Alarm 5xx."), Some("Alarm 5xx."), ": Alarm 5xx.");
}

#[test]
fn scaling_stays_within_bounds_and_asks_where_it_is_much() {
    let check = |desired: u32, to: u32, expected: Result<bool, &str>| {
        let group = Group { min: 0, desired, ..group() };
        let found = plan(&group, to).map(|plan| plan.ask.is_some());
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{desired} to {to}"),
            (Err(found), Err(part)) => assert!(found.to_string().contains(part), "{found}"),
            (found, _) => panic!("{desired} to {to}: {found:?}"),
        }
    };
    check(4, 4, Ok(false));
    check(4, 6, Ok(false));
    check(4, 7, Ok(true));
    check(4, 2, Ok(false));
    check(4, 1, Ok(true));
    check(1, 0, Ok(true));
    check(0, 8, Ok(false));
    check(0, 0, Ok(false));
    check(4, 9, Err("take 8 or less"));
    let refusal = plan(&group(), 0).unwrap_err().to_string();
    assert!(refusal.contains("has 1 to 8: take 1 or more"), "{refusal}");
}

#[test]
fn what_is_suspended_is_said_before_nothing_happens() {
    let mut group = group();
    let reason = Some("a person looks".to_owned());
    group.suspended.push(Suspended { process: "Launch".to_owned(), reason });
    let notes = |to| plan(&group, to).unwrap().notes.len();
    assert_eq!((notes(1), notes(2), notes(3)), (0, 0, 1));
    assert_eq!(standing(&group, None).word, Word::Degraded);
    assert_eq!(vital_suspended(&group).collect::<Vec<_>>(), ["Launch"]);
}

#[test]
fn only_what_is_vital_is_to_be_resumed() {
    let mut group = group();
    for process in ["AZRebalance", "ScheduledActions"] {
        group.suspended.push(Suspended { process: process.to_owned(), reason: None });
    }
    let found = standing(&group, None);
    assert_eq!((found.word, found.reasons.len()), (Word::Steady, 2));
    assert_eq!(vital_suspended(&group).next(), None);
}

fn scaled(from: u32, to: u32) -> Plan {
    Plan { from, to, ask: None, notes: Vec::new() }
}

#[test]
fn scaled_is_when_as_many_serve() {
    let check = |states: &[&str], to: u32, expected: Progress| {
        let instances = states.iter().map(|state| instance("i", state, "3")).collect();
        let group = Group { desired: 2, instances, ..group() };
        assert_eq!(progress(&group, &scaled(9, to), 0), expected, "{states:?}");
    };
    check(&["InService", "InService"], 2, Progress::Done);
    check(&["InService", "InService", "Terminating:Wait"], 2, Progress::Done);
    check(&["InService", "Pending:Wait"], 2, Progress::Waiting(1));
    check(&["InService", "InService", "InService"], 2, Progress::Waiting(3));
    check(&["InService", "InService", "Pending"], 2, Progress::Waiting(2));
    check(&["InService", "Standby"], 2, Progress::Waiting(1));
    check(&["InService"], 1, Progress::Overruled(2));
    check(&["InService", "InService", "ReplacingRootVolume"], 2, Progress::Waiting(2));
}

#[test]
fn the_capacity_before_is_no_overruling_at_first() {
    let check = |from: u32, looks: u32, expected: Progress| {
        assert_eq!(progress(&group(), &scaled(from, 3), looks), expected, "{from} {looks}");
    };
    for looks in 0..5 {
        check(2, looks, Progress::Waiting(2));
    }
    check(2, 5, Progress::Overruled(2));
    check(1, 0, Progress::Overruled(2));
    let before = Group { desired: 3, ..group() };
    assert_eq!(progress(&before, &scaled(3, 3), 0), Progress::Waiting(2));
}

#[test]
fn weights_are_capacity_and_whole_instances_come() {
    let check = |weights: &[u32], desired: u32, word: Word, expected: Progress| {
        let weighing =
            |weight: &u32| Instance { weight: *weight, ..instance("i", "InService", "3") };
        let instances = weights.iter().map(weighing).collect();
        let group = Group { desired, instances, ..group() };
        assert_eq!(standing(&group, None).word, word, "{weights:?} {desired}");
        assert_eq!(progress(&group, &scaled(9, desired), 0), expected, "{weights:?} {desired}");
    };
    check(&[4, 4], 8, Word::Steady, Progress::Done);
    check(&[4, 4], 9, Word::Degraded, Progress::Waiting(8));
    check(&[4, 4, 4], 9, Word::Steady, Progress::Done);
    check(&[4, 4, 4], 8, Word::Steady, Progress::Waiting(12));
    check(&[4], 0, Word::Steady, Progress::Waiting(4));
    check(&[], 0, Word::Steady, Progress::Done);
    check(&[u32::MAX, 1], u32::MAX, Word::Steady, Progress::Done);
}

#[test]
fn the_word_is_the_worst_that_holds() {
    let check = |states: &[&str], last: Option<&str>, expected: Word| {
        let instances = states.iter().map(|state| instance("i", state, "3")).collect();
        let group = Group { instances, ..group() };
        let last = last.map(|status| refresh(status, "3"));
        assert_eq!(standing(&group, last.as_ref()).word, expected, "{states:?} {last:?}");
    };
    check(&["InService", "InService"], None, Word::Steady);
    check(&["InService", "InService", "Standby"], None, Word::Steady);
    check(&["InService", "Pending:Wait"], None, Word::Scaling);
    check(&["InService", "InService", "Terminating"], None, Word::Scaling);
    check(&["InService", "ReplacingRootVolume:Wait"], None, Word::Scaling);
    check(&["InService"], None, Word::Degraded);
    for leaving in ["Terminating", "Terminating:Wait", "Detaching", "EnteringStandby"] {
        check(&["InService", leaving], None, Word::Degraded);
        check(&["InService", leaving, "Pending"], None, Word::Scaling);
        check(&["InService", "InService", leaving], None, Word::Scaling);
    }
    check(&["InService", "InService", "Terminating:Retained"], None, Word::Steady);
    check(&["InService", "Terminating:Retained"], None, Word::Degraded);
    check(&["InService"], Some("InProgress"), Word::Refreshing);
    check(&["InService", "InService"], Some("Successful"), Word::Steady);
    check(&["InService", "InService"], Some("RollbackSuccessful"), Word::Steady);
    check(&["InService"], Some("Failed"), Word::Degraded);
}

#[test]
fn a_refresh_that_failed_counts_while_instances_differ() {
    let check = |launch: &str, of: [&str; 2], state: &str, expected: Word| {
        let launch = Launch::Template(version(launch));
        let instances = vec![instance("i-1", "InService", of[0]), instance("i-2", state, of[1])];
        let group = Group { desired: 1, launch, instances, ..group() };
        for status in ["Failed", "RollbackFailed"] {
            let found = standing(&group, Some(&refresh(status, "4"))).word;
            assert_eq!(found, expected, "{group:?} {status}");
        }
        // Where it counts, going to the group's own version has something to do.
        let undone = begin(&group, None, Choice::Existing(3), &options()) == Ok(Begin::Start);
        assert!(undone || expected != Word::Degraded, "{group:?}");
    };
    check("3", ["3", "3"], "InService", Word::Steady);
    check("3", ["3", "4"], "InService", Word::Degraded);
    check("3", ["3", "4"], "Standby", Word::Degraded);
    check("3", ["3", "4"], "Terminating:Wait", Word::Scaling);
    check("$Latest", ["3", "3"], "InService", Word::Degraded);
}

#[test]
fn activities_say_how_old_instances_are() {
    let mut instances = [instance("i-1", "InService", "3"), instance("i-2", "InService", "3")];
    let activity = |at: i64, description: &str| Activity {
        id: "1".to_owned(),
        started: Some(Wall(at)),
        description: description.to_owned(),
        failed: false,
        reason: None,
    };
    let activities = [
        activity(30, "Terminating EC2 instance: i-2"),
        activity(20, "Launching a new EC2 instance: i-1"),
        activity(10, "Launching a new EC2 instance: i-12"),
    ];
    date_instances(&mut instances, &activities);
    assert_eq!(instances.map(|instance| instance.launched), [Some(Wall(20)), None]);
}
