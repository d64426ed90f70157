//! Single nights of one host, answer by answer.

use super::*;
use crate::backups::backup::{Backup, BackupState, Marks, tags};
use crate::backups::call::{Answer, Call, CallError, Make, Put};
use crate::backups::civil::DateTime;
use crate::backups::limits;
use crate::backups::proof::DumpRules;
use crate::backups::record::{Outcome, Skip};
use crate::backups::retention::Policy;
use crate::backups::status::JobState;
use crate::backups::zone::Zone;

mod leases;
mod long;
mod quality;

const ID: &str = "gc-shop-shop-db-20261121";

fn settings() -> JobSettings {
    JobSettings {
        name: "shop".parse().unwrap(),
        kind: Kind::RdsSnapshot,
        database: "shop-db".into(),
        schedule: "20 0 * * *".parse().unwrap(),
        zone: Zone::utc(),
        catch_up: limits::CATCH_UP_USUAL,
        spread: Duration::from_secs(1),
        stale_after: None,
        retention: Policy::default(),
        copies: Vec::new(),
        levels: Vec::new(),
        elsewhere: Vec::new(),
        encrypted: true,
        restore_within: limits::RESTORE_WITHIN_USUAL,
        dump: DumpRules::default(),
        instance: "i-1".into(),
        run: "i-1.1".into(),
    }
}

/// Of dumps, proved at these levels.
pub fn dumps(levels: &[Level]) -> JobSettings {
    JobSettings { kind: Kind::PgDump, levels: levels.to_vec(), ..settings() }
}

pub fn at(text: &str) -> i64 {
    text.parse::<DateTime>().unwrap().seconds() * 1000
}

fn slot(text: &str) -> Slot {
    let nominal: DateTime = text.parse().unwrap();
    Slot { nominal, at_s: nominal.seconds(), daily: true }
}

fn backup(id: &str, of: Slot, state: BackupState) -> Backup {
    Backup {
        id: id.into(),
        arn: format!("arn:{id}"),
        state,
        marks: Marks::of(&tags(&"shop".parse().unwrap(), of, 0, "i-9", false)),
        resource: "db-A".into(),
        created_s: None,
        bytes: None,
    }
}

/// A host, and the calls whose answers it awaits.
struct Host {
    job: Job,
    now: Now,
    open: Vec<(Ticket, Call)>,
    told: Vec<String>,
}

impl Host {
    fn new(settings: JobSettings, wall: &str) -> Self {
        let now = Now { at: Moment(1_000_000), wall: Wall(at(wall)) };
        let mut host = Self { job: Job::new(settings), now, open: Vec::new(), told: Vec::new() };
        host.step(Event::Tick);
        host
    }

    fn step(&mut self, event: Event) {
        for effect in self.job.step(self.now, event) {
            match effect {
                Effect::Call { ticket, call } => self.open.push((ticket, call)),
                Effect::Stop(_) => {}
                Effect::Tell(told) => self.told.push(told.text),
            }
        }
    }

    fn pass(&mut self, duration: Duration) {
        self.now.at = self.now.at.plus(duration);
        self.now.wall.0 += i64::try_from(duration.as_millis()).unwrap();
        self.step(Event::Tick);
    }

    /// The next call, after as many wakes as it takes.
    fn call(&mut self) -> (Ticket, Call) {
        for _ in 0..200 {
            if !self.open.is_empty() {
                return self.open.remove(0);
            }
            let wake = self.job.next_wake();
            self.pass(wake.since(self.now.at));
        }
        panic!("nothing is asked any more");
    }

    #[track_caller]
    fn expect(&mut self, call: &str, answer: Answer) {
        let (ticket, asked) = self.call();
        let asked = format!("{asked:?}");
        assert!(asked.starts_with(call), "{asked} instead of {call}");
        self.step(Event::Answered { ticket, answer });
    }

    #[track_caller]
    fn reads_nothing(&mut self) {
        self.expect("Read(Run", Answer::Record(Ok(None)));
    }

    #[track_caller]
    fn sees(&mut self, seen: Option<Backup>) {
        self.expect("Look", Answer::Seen(Ok(seen.map(Box::new))));
    }

    #[track_caller]
    fn database_is(&mut self, status: &str) {
        let (target, resource) = (Target::Instance, "db-A".to_owned());
        let database = Database { target, status: status.to_owned(), resource };
        self.expect("Database", Answer::Database(Ok(Some(database))));
    }

    /// Up to the creation.
    #[track_caller]
    fn round(&mut self) {
        self.reads_nothing();
        if self.job.target.is_none() {
            self.database_is("available");
        }
        self.sees(None);
        self.database_is("available");
        self.expect("List", Answer::Listed(Ok(Vec::new())));
    }

    #[track_caller]
    fn writes(&mut self, expected: Outcome) {
        let (ticket, call) = self.call();
        let Call::Write(record) = call else { panic!("{call:?}") };
        assert_eq!(record.outcome, expected);
        self.step(Event::Answered { ticket, answer: Answer::Written(Ok(Put::Written)) });
    }
}

fn done(late: bool) -> Outcome {
    Outcome::Done { id: ID.into(), target: Target::Instance, late, bytes: None }
}

/// A host that comes in the night; the slot before has its record.
fn night() -> Host {
    let mut host = Host::new(settings(), "2026-11-21T00:10");
    let before = RecordKey::Run(slot("2026-11-20T00:20"));
    let (ticket, call) = host.call();
    assert_eq!(call, Call::Read(before.clone()));
    let outcome = Outcome::Skipped(Skip::Stopped);
    let record = Record { version: 1, key: before, at: Wall(0), by: "i-9".into(), outcome };
    host.step(Event::Answered { ticket, answer: Answer::Record(Ok(Some(Box::new(record)))) });
    host
}

#[test]
fn a_night_without_trouble() {
    let mut host = night();
    assert_eq!(host.job.describe().state, JobState::Ok);
    host.round();
    assert_eq!(host.job.describe().state, JobState::Running);
    let (ticket, call) = host.call();
    let Call::Snapshot { id, target: Target::Instance, tags } = call else { panic!("{call:?}") };
    assert_eq!(id, ID);
    assert!(tags.contains(&("groundcrew:slot".into(), "2026-11-21T00:20:00Z".into())));
    host.step(Event::Answered { ticket, answer: Answer::Made(Ok(Make::Begun)) });
    host.reads_nothing();
    host.sees(Some(backup(ID, slot("2026-11-21T00:20"), BackupState::Underway)));
    host.reads_nothing();
    host.sees(Some(backup(ID, slot("2026-11-21T00:20"), BackupState::Available)));
    host.writes(done(false));
    let told = ["slot 20261121 is done: ID is available", "there is a good backup: ID"];
    assert_eq!(host.told, told.map(|text| format!("backup shop: {}", text.replace("ID", ID))));
    let status = host.job.describe();
    assert_eq!((status.state, status.late_ms), (JobState::Ok, None));
    let good = status.last_good.unwrap();
    assert_eq!((good.id.as_str(), good.level), (ID, None), "it is there, and nothing is proved");
    assert_eq!(status.next, Some(Wall(at("2026-11-22T00:20"))));
    assert!(host.open.is_empty());
}

#[test]
fn whatever_comes_of_the_creation_the_next_step_is_a_look() {
    let unclear = Answer::Made(Err(CallError::lost()));
    for answer in [Some(Answer::Made(Ok(Make::AlreadyExists))), Some(unclear), None] {
        let mut host = night();
        host.round();
        let (ticket, call) = host.call();
        assert!(matches!(call, Call::Snapshot { .. }), "{call:?}");
        match answer {
            Some(answer) => host.step(Event::Answered { ticket, answer }),
            None => host.pass(limits::CALL_WITHIN),
        }
        host.reads_nothing();
        host.sees(Some(backup(ID, slot("2026-11-21T00:20"), BackupState::Available)));
        host.writes(done(false));
    }
}

#[test]
fn a_snapshot_that_failed_is_followed_by_one_of_another_name() {
    let mut host = night();
    host.reads_nothing();
    host.database_is("available");
    let failed = BackupState::Failed("failed".into());
    host.sees(Some(backup(ID, slot("2026-11-21T00:20"), failed)));
    host.sees(None);
    host.database_is("available");
    host.expect("List", Answer::Listed(Ok(Vec::new())));
    let (_, call) = host.call();
    assert!(matches!(&call, Call::Snapshot { id, .. } if *id == format!("{ID}-r1")), "{call:?}");
}

#[test]
fn a_busy_database_is_waited_for_and_a_stopped_one_is_not() {
    let mut host = night();
    host.reads_nothing();
    host.database_is("backing-up");
    for _ in 0..20 {
        host.sees(None);
        host.database_is("backing-up");
        host.reads_nothing();
    }
    assert_eq!(host.job.describe().reason.as_deref(), Some("the database is backing-up"));
    host.sees(None);
    host.database_is("stopped");
    host.writes(Outcome::Skipped(Skip::Stopped));
}

#[test]
fn a_database_that_cannot_be_backed_up_is_told_once_and_given_up_in_time() {
    let mut host = night();
    host.reads_nothing();
    host.database_is("storage-full");
    loop {
        host.sees(None);
        if host.now.wall.0 > at("2026-11-21T20:20") {
            break;
        }
        host.database_is("storage-full");
        host.reads_nothing();
    }
    let reason = "the database is storage-full".to_owned();
    host.writes(Outcome::Abandoned { reason: reason.clone() });
    let cannot = "backup shop: slot 20261121 cannot go on: the database is storage-full";
    let abandoned = "backup shop: slot 20261121 is abandoned: the database is storage-full";
    assert_eq!(host.told, [cannot, abandoned]);
    let status = host.job.describe();
    assert_eq!((status.state, status.reason), (JobState::Failing, Some(reason)));
}

#[test]
fn a_schedule_that_was_moved_makes_no_second_backup() {
    let mut host = night();
    host.reads_nothing();
    host.database_is("available");
    host.sees(None);
    host.database_is("available");
    let other =
        backup("gc-shop-shop-db-20261120", slot("2026-11-20T20:00"), BackupState::Available);
    host.expect("List", Answer::Listed(Ok(vec![other.clone()])));
    host.writes(Outcome::Skipped(Skip::Recent(other.id)));
}

#[test]
fn what_is_not_ours_is_never_taken_for_ours() {
    let mut host = night();
    host.reads_nothing();
    host.database_is("available");
    let mut foreign = backup(ID, slot("2026-11-21T00:20"), BackupState::Available);
    foreign.marks = None;
    host.sees(Some(foreign));
    let reason = format!("there is a snapshot {ID} that is not of this job");
    host.writes(Outcome::Failed { reason });
}

#[test]
fn only_the_newest_of_missed_slots_is_run() {
    let mut host = Host::new(settings(), "2026-11-21T12:00");
    let mut made = Vec::new();
    let mut written = Vec::new();
    for _ in 0..40 {
        if host.open.is_empty() && written.len() == 2 {
            break;
        }
        let (ticket, call) = host.call();
        let answer = match call {
            Call::Read(_) => Answer::Record(Ok(None)),
            Call::Database => {
                let (target, resource) = (Target::Instance, "db-A".to_owned());
                let status = "available".to_owned();
                Answer::Database(Ok(Some(Database { target, status, resource })))
            }
            Call::Look { id, .. } => {
                let there = made.contains(&id);
                let state = BackupState::Available;
                let seen = there.then(|| backup(&id, slot("2026-11-21T00:20"), state));
                Answer::Seen(Ok(seen.map(Box::new)))
            }
            Call::List { .. } => Answer::Listed(Ok(Vec::new())),
            Call::Snapshot { id, tags, .. } => {
                assert!(tags.contains(&("groundcrew:late".into(), "true".into())));
                made.push(id);
                Answer::Made(Ok(Make::Begun))
            }
            Call::Write(record) => {
                written.push(record.outcome);
                Answer::Written(Ok(Put::Written))
            }
            other => panic!("{other:?}"),
        };
        host.step(Event::Answered { ticket, answer });
    }
    assert_eq!(made, [ID]);
    assert_eq!(written, [Outcome::Skipped(Skip::Missed), done(true)]);
}

#[test]
fn by_a_wrong_clock_nothing_is_begun() {
    let mut host = night();
    let server = Wall(host.now.wall.0 - 250_000);
    host.step(Event::ServerTime(server));
    assert_eq!(
        host.told,
        ["backup shop: this host's clock is 4m10s ahead of AWS's: it begins \
                            nothing"]
    );
    host.pass(Duration::from_hours(3));
    assert_eq!(host.job.describe().state, JobState::Failing);
    // But the time is asked for, or nobody would see that the clock was set right.
    let (ticket, call) = host.call();
    assert!(matches!(call, Call::Read(RecordKey::Run(_))), "{call:?}");
    assert!(host.open.is_empty());
    host.pass(limits::WAKE_WITHIN / 2);
    assert!(host.open.is_empty());
    host.step(Event::ServerTime(host.now.wall));
    host.step(Event::Answered { ticket, answer: Answer::Record(Ok(None)) });
    host.round();
}

#[test]
fn a_person_gets_a_backup_whatever_else_there_is() {
    let mut host = night();
    host.step(Event::RunNow);
    let key = RecordKey::Run(Slot { daily: false, ..slot("2026-11-21T00:10") });
    let (ticket, call) = host.call();
    assert_eq!(call, Call::Read(key));
    host.step(Event::Answered { ticket, answer: Answer::Record(Ok(None)) });
    host.database_is("available");
    host.sees(None);
    host.database_is("available");
    let recent = backup("gc-x", slot("2026-11-20T23:00"), BackupState::Available);
    host.expect("List", Answer::Listed(Ok(vec![recent])));
    let (_, call) = host.call();
    let id = format!("{ID}t0010");
    assert!(matches!(&call, Call::Snapshot { id: of, .. } if *of == id), "{call:?}");
}

#[test]
fn what_is_under_way_late_is_waited_for_by_name() {
    let mut host = night();
    host.round();
    let (ticket, _) = host.call();
    host.step(Event::Answered { ticket, answer: Answer::Made(Ok(Make::Begun)) });
    // RDS does not show it for a while: no second one is made.
    for _ in 0..30 {
        host.reads_nothing();
        host.sees(None);
    }
    host.reads_nothing();
    host.sees(Some(backup(ID, slot("2026-11-21T00:20"), BackupState::Available)));
    let (_, call) = host.call();
    assert!(matches!(call, Call::Write(_)), "{call:?}");
}

#[test]
fn people_hear_of_the_end_of_what_they_were_told() {
    let mut host = night();
    let server = Wall(host.now.wall.0 - 250_000);
    host.step(Event::ServerTime(server));
    host.step(Event::ServerTime(host.now.wall));
    assert_eq!(host.told.len(), 2);
    assert_eq!(host.told[1], "backup shop: nothing is wrong any more");
    host.step(Event::Tick);
    assert_eq!(host.told.len(), 2, "once");
}

#[test]
fn backups_that_stop_coming_are_told_once() {
    let mut host = Host::new(settings(), "2026-11-21T00:10");
    let before = RecordKey::Run(slot("2026-11-20T00:20"));
    let (ticket, _) = host.call();
    let record =
        Record { version: 1, key: before, at: Wall(0), by: "i-9".into(), outcome: done(false) };
    host.step(Event::Answered { ticket, answer: Answer::Record(Ok(Some(Box::new(record)))) });
    // Nobody answers any more.
    for _ in 0..100 {
        host.open.clear();
        host.pass(Duration::from_hours(1));
    }
    let stale = format!("backup shop: it is failing: no backup since that of {ID}");
    assert_eq!(host.told.iter().filter(|told| **told == stale).count(), 1, "{:?}", host.told);
    assert_eq!(host.job.describe().state, JobState::Failing);
}

#[test]
fn who_asked_for_the_api_only_still_looks() {
    let at_once = JobSettings { spread: Duration::ZERO, ..settings() };
    let mut host = Host::new(at_once, "2026-11-21T12:00");
    // The newest slot and the one before, which is missed.
    host.reads_nothing();
    host.reads_nothing();
    host.database_is("available");
    host.database_is("available");
    host.sees(None);
    host.sees(None);
}
