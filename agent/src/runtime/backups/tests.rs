//! The driver against hands that remember what they were asked.

use std::sync::atomic::{AtomicUsize, Ordering};

use groundcrew_core::backups::backup::{Backup, BackupState, Marks, Tag};
use groundcrew_core::backups::call::{Answer, Call, CallError, CallErrorKind, Make, Put, Ticket};
use groundcrew_core::backups::database::{Database, Target};
use groundcrew_core::backups::lease::{LeaseAction, LeaseAnswer};
use groundcrew_core::backups::proof::{DumpRules, Level};
use groundcrew_core::backups::record::{Outcome, Place, Record};
use groundcrew_core::backups::retention::Policy;
use groundcrew_core::backups::slot::Slot;
use groundcrew_core::backups::status::JobState;
use groundcrew_core::backups::zone::Zone;
use groundcrew_core::backups::{CopySettings, Kind, limits};
use groundcrew_core::metrics::Value;
use groundcrew_core::status::Topic;
use groundcrew_core::time::Wall;

use tokio::sync::Semaphore;

use super::driver::{answer_within, turn_of};
use super::*;
use crate::clock;

/// What the fleet shares.
#[derive(Default)]
struct Memory {
    records: Vec<Record>,
    snapshots: Vec<Backup>,
    asked: Vec<String>,
    aborted: Vec<Ticket>,
    runs: Vec<String>,
}

#[derive(Clone, Default)]
struct FakeHands {
    memory: Arc<Mutex<Memory>>,
    /// How far this host's clock is ahead, in milliseconds.
    ahead_ms: i64,
    /// How many reads fail before one goes well.
    failing: Arc<AtomicUsize>,
    /// Set when a dump has been told to stop.
    stopped: Arc<AtomicUsize>,
    /// Reads are never answered.
    deaf: bool,
}

impl FakeHands {
    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap()
    }

    fn answer(&self, call: Call) -> Answer {
        let mut memory = self.memory();
        let word = format!("{call:?}");
        memory.asked.push(word.chars().take_while(|c| c.is_alphanumeric()).collect());
        match call {
            Call::Read(key) => {
                let failing =
                    self.failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                        left.checked_sub(1)
                    });
                if failing.is_ok() {
                    let text = "no answer".to_owned();
                    return Answer::Record(Err(CallError { kind: CallErrorKind::Unclear, text }));
                }
                let known = memory.records.iter().find(|record| record.key == key);
                Answer::Record(Ok(known.cloned().map(Box::new)))
            }
            Call::Write(record) => {
                if memory.records.iter().any(|known| known.key == record.key) {
                    return Answer::Written(Ok(Put::Exists));
                }
                memory.records.push(*record);
                Answer::Written(Ok(Put::Written))
            }
            Call::Database => Answer::Database(Ok(Some(Database {
                target: Target::Instance,
                status: "available".into(),
                resource: "db-A".into(),
            }))),
            Call::Look { place, id, .. } => {
                assert_eq!(place, Place::Home);
                let seen = memory.snapshots.iter().find(|known| known.id == id);
                Answer::Seen(Ok(seen.cloned().map(Box::new)))
            }
            Call::List { .. } => Answer::Listed(Ok(memory.snapshots.clone())),
            Call::Snapshot { id, tags, .. } => {
                memory.snapshots.push(available(id, &tags));
                // As if its answer had been lost and somebody else had asked.
                Answer::Made(Ok(Make::AlreadyExists))
            }
            Call::Lease(lease) => match lease.action {
                LeaseAction::Read => Answer::Lease(LeaseAnswer::Read(Ok(None))),
                LeaseAction::Create(body) | LeaseAction::Replace { body, .. } => {
                    memory.runs.push(body.run);
                    Answer::Lease(LeaseAnswer::Put(Ok(Some("\"1\"".into()))))
                }
            },
            other => panic!("{other:?}"),
        }
    }
}

fn available(id: String, tags: &[Tag]) -> Backup {
    Backup {
        arn: format!("arn:{id}"),
        id,
        state: BackupState::Available,
        marks: Marks::of(tags),
        resource: "db-A".to_owned(),
        created_s: None,
        bytes: None,
    }
}

impl hands::Hands for FakeHands {
    async fn call(&self, _: Ticket, call: Call, stop: CancellationToken) -> Answer {
        if self.deaf {
            return std::future::pending().await;
        }
        if let Call::Dump { .. } = call {
            self.memory().asked.push("Dump".to_owned());
            stop.cancelled().await;
            self.stopped.fetch_add(1, Ordering::SeqCst);
            let text = "stopped".to_owned();
            return Answer::Dumped(Err(CallError { kind: CallErrorKind::Unclear, text }));
        }
        self.answer(call)
    }

    async fn abort(&self, ticket: Ticket) {
        self.memory().aborted.push(ticket);
    }

    fn server_time(&self) -> Option<Wall> {
        Some(Wall(clock::wall().0 - self.ahead_ms))
    }
}

fn settings(kind: Kind) -> JobSettings {
    JobSettings {
        name: "shop".parse().unwrap(),
        kind,
        database: "shop-db".into(),
        // Its newest slot is the last midnight: always in the past.
        schedule: "every 24h".parse().unwrap(),
        zone: Zone::utc(),
        catch_up: Duration::from_hours(24) - Duration::from_secs(1),
        spread: Duration::ZERO,
        stale_after: None,
        retention: Policy::default(),
        copies: Vec::<CopySettings>::new(),
        levels: Vec::new(),
        elsewhere: Vec::new(),
        encrypted: false,
        restore_within: limits::RESTORE_WITHIN_USUAL,
        dump: DumpRules::default(),
        instance: "i-1".into(),
        run: String::new(),
    }
}

struct Host {
    backups: Backups,
    events: mpsc::Receiver<Event>,
    hands: FakeHands,
}

impl Host {
    fn start(kind: Kind, hands: FakeHands) -> Self {
        let (sender, events) = mpsc::channel(64);
        let work = vec![Work { settings: settings(kind), hands: hands.clone() }];
        let begun = std::future::ready(work);
        let backups = Backups::start(sender, &CancellationToken::new(), begun);
        Self { backups, events, hands }
    }

    async fn until(&self, what: &str, is: impl Fn(&Self) -> bool) {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        let waiting = async {
            while !is(self) {
                ticks.tick().await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(30), waiting).await.is_ok(), "{what}");
    }

    fn state(&self) -> Option<JobState> {
        self.backups.statuses().first().map(|job| job.state)
    }

    async fn told(&mut self) -> groundcrew_core::effect::Told {
        let told = tokio::time::timeout(Duration::from_secs(30), self.events.recv()).await;
        let Ok(Some(Event::Noticed(told))) = told else { panic!("{told:?}") };
        told
    }

    async fn order(&self, name: &str) -> Result<Ordered, String> {
        let (answer, answered) = oneshot::channel();
        self.backups.run_now(name.to_owned(), answer);
        answered.await.unwrap()
    }
}

#[tokio::test]
async fn a_slot_gets_its_backup_its_record_and_its_line() {
    let mut host = Host::start(Kind::RdsSnapshot, FakeHands::default());
    let told = host.told().await;
    assert_eq!((told.topic, told.subject.backup.as_deref()), (Topic::BackupDone, Some("shop")));
    host.until("it is ok", |host| host.state() == Some(JobState::Ok)).await;
    let (snapshots, done) = {
        let memory = host.hands.memory();
        let done = |record: &&Record| matches!(record.outcome, Outcome::Done { .. });
        (memory.snapshots.len(), memory.records.iter().filter(done).count())
    };
    assert_eq!((snapshots, done), (1, 1));
    let points = host.backups.points();
    let value = |name: &str, label: &str| {
        let point = points.iter().find(|point| {
            point.about.name() == name && point.labels.iter().any(|(_, value)| value == label)
        });
        match point.map(|point| &point.value) {
            Some(Value::Number(number)) => *number,
            other => panic!("{name} {label}: {other:?}"),
        }
    };
    assert!((value("groundcrew.backup.runs", "done") - 1.0).abs() < f64::EPSILON);
    assert!((value("groundcrew.backup.state", "ok") - 1.0).abs() < f64::EPSILON);
    let share = value("groundcrew.backup.staleness", "shop");
    assert!(share > 0.0 && share < 1.0, "{share}");
    host.backups.shutdown().await;
}

#[tokio::test]
async fn an_answer_that_is_lost_is_asked_for_again() {
    let hands = FakeHands { failing: Arc::new(AtomicUsize::new(2)), ..FakeHands::default() };
    let host = Host::start(Kind::RdsSnapshot, hands);
    host.until("it is ok", |host| host.state() == Some(JobState::Ok)).await;
    assert_eq!(host.hands.memory().snapshots.len(), 1);
    host.backups.shutdown().await;
}

#[tokio::test]
async fn a_person_gets_a_backup_of_now_and_a_wrong_name_is_told_the_right_ones() {
    let host = Host::start(Kind::RdsSnapshot, FakeHands::default());
    host.until("the slot's own", |host| host.state() == Some(JobState::Ok)).await;
    let refused = host.order("shop-nightly").await.unwrap_err();
    assert_eq!(refused, "there is no backup shop-nightly; there are shop");
    let Ordered { message, slot } = host.order("shop").await.unwrap();
    assert_eq!(message, "shop: a backup of now begins");
    let ended = |host: &Host| host.backups.run_of("shop", &slot).unwrap().outcome;
    host.until("it ended", |host| ended(host).is_some()).await;
    assert_eq!(host.hands.memory().snapshots.len(), 2);
    assert!(matches!(ended(&host), Some(Outcome::Done { .. })), "{:?}", ended(&host));
    let unknown = host.backups.run_of("shop", "20200101t0000").unwrap_err();
    assert!(unknown.contains("started anew"), "{unknown}");
    host.backups.shutdown().await;
}

#[tokio::test]
async fn by_a_wrong_clock_nothing_is_begun_and_people_are_told() {
    let hands = FakeHands { ahead_ms: 600_000, ..FakeHands::default() };
    let mut host = Host::start(Kind::RdsSnapshot, hands);
    let told = host.told().await;
    assert_eq!(told.topic, Topic::BackupFailed);
    assert!(told.text.contains("clock is 10m ahead of AWS's: it begins nothing"), "{}", told.text);
    host.until("it fails", |host| host.state() == Some(JobState::Failing)).await;
    let asked = host.hands.memory().asked.clone();
    assert!(!asked.contains(&"Snapshot".to_owned()), "{asked:?}");
    let refused = host.order("shop").await.unwrap_err();
    assert_eq!(refused, "this host's clock is wrong, so it begins nothing");
    host.backups.shutdown().await;
}

#[tokio::test]
async fn a_host_that_leaves_stops_what_it_began_and_one_that_returns_is_another() {
    let host = Host::start(Kind::PgDump, FakeHands::default());
    let dumps =
        |host: &Host| host.hands.memory().asked.iter().filter(|asked| *asked == "Dump").count();
    host.until("a dump", |host| dumps(host) == 1).await;
    host.backups.set_leaving(true);
    host.until("it stopped", |host| host.hands.stopped.load(Ordering::SeqCst) == 1).await;
    assert_eq!(host.order("shop").await.unwrap_err(), "this host leaves: ask another one");
    host.backups.set_leaving(false);
    host.until("it dumps again", |host| dumps(host) == 2).await;
    let runs = host.hands.memory().runs.clone();
    assert_ne!(runs.first(), runs.last(), "tickets begin anew, so the life has another name");
    assert!(runs.iter().all(|run| run.starts_with("i-1.")), "{runs:?}");
    host.backups.shutdown().await;
}

#[tokio::test]
async fn an_agent_that_goes_stops_a_dump_and_does_not_wait_for_requests() {
    let host = Host::start(Kind::PgDump, FakeHands::default());
    host.until("a dump", |host| host.hands.memory().asked.iter().any(|it| it == "Dump")).await;
    let stopped = Arc::clone(&host.hands.stopped);
    host.backups.shutdown().await;
    assert_eq!(stopped.load(Ordering::SeqCst), 1);
    let deaf = FakeHands { deaf: true, ..FakeHands::default() };
    let host = Host::start(Kind::RdsSnapshot, deaf);
    host.until("it is shown", |host| host.state().is_some()).await;
    let ended = tokio::time::timeout(END_WITHIN, host.backups.shutdown()).await;
    assert!(ended.is_ok(), "a request that is never answered is not waited for");
}

#[tokio::test]
async fn what_takes_long_is_refused_at_once_while_something_else_runs() {
    let (long, short) = (Arc::new(Semaphore::new(1)), Arc::new(Semaphore::new(1)));
    let by = clock::at().plus(Duration::from_hours(1));
    let slot = Slot { nominal: "2026-11-21T00:20".parse().unwrap(), at_s: 0, daily: true };
    let dump = Call::Dump { slot, epoch: 1, by };
    let prove = |level| Call::Prove { level, id: "a".into(), by };
    let turn = |call: &Call| turn_of(call, &long, &short);
    let Ok(first) = turn(&dump) else { panic!("nothing runs") };
    let first = first.await;
    let kind = |answer| match answer {
        Answer::Dumped(Err(error)) | Answer::Proved(Err(error)) => error.kind,
        other => panic!("{other:?}"),
    };
    // Throttled: nothing was done, and another host may.
    assert_eq!(turn(&dump).err().map(kind), Some(CallErrorKind::Throttled));
    assert_eq!(turn(&prove(Level::L2)).err().map(kind), Some(CallErrorKind::Throttled));
    assert!(turn(&prove(Level::L3)).is_ok() && turn(&Call::Database).is_ok());
    drop(first);
    assert!(turn(&prove(Level::L1)).is_ok());
}

#[test]
fn completing_an_upload_has_minutes_and_less_than_the_core_waits() {
    let slot = Slot { nominal: "2026-11-21T00:20".parse().unwrap(), at_s: 0, daily: true };
    let commit = Call::Commit { slot, dump: Ticket(1), tags: Vec::new() };
    assert!(answer_within(&commit) >= Duration::from_mins(10));
    assert!(answer_within(&commit) < limits::COMMIT_WITHIN);
    assert!(answer_within(&Call::Database) < limits::CALL_WITHIN);
}

#[test]
fn every_life_of_a_job_has_a_name_of_its_own() {
    let job = settings(Kind::RdsSnapshot);
    let (one, other) = (of_life(&job), of_life(&job));
    assert_eq!((one.instance.as_str(), other.instance.as_str()), ("i-1", "i-1"));
    assert_ne!(one.run, other.run);
}
