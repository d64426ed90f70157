//! The loop: events in, effects out. Calls run beside it, each with its time; an answer that does
//! not come in time is not waited for, because the core asks again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use groundcrew_core::backups::JobSettings;
use groundcrew_core::backups::call::{
    Answer, Call, CallError, CallErrorKind, Effect, Event as JobEvent, Put, Ticket,
};
use groundcrew_core::backups::job::Job;
use groundcrew_core::backups::limits::{CALL_WITHIN, CLOCK_REFUSE, COMMIT_WITHIN};
use groundcrew_core::backups::proof::Level;
use groundcrew_core::backups::record::{Outcome, Record, RecordKey};
use groundcrew_core::backups::slot::Slot;
use groundcrew_core::backups::status::JobStatus;
use groundcrew_core::event::Event;
use groundcrew_core::time::{Moment, Now, Wall};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::hands::Hands;
use super::{END_WITHIN, Order, Ordered, calls, of_life};
use crate::clock;

/// How long a call may take, its wait for its turn included: shorter than the core waits, so that
/// what is done on the strength of a look is done soon after it, or not at all.
const ANSWER_WITHIN: Duration = Duration::from_secs(50);
/// The same of completing an upload, for which S3 takes minutes.
const COMMITTED_WITHIN: Duration = COMMIT_WITHIN.saturating_sub(Duration::from_secs(10));
/// Slots of a job that people asked for and that are shown, the newest.
const ORDERED_MAX: usize = 32;
/// Calls under way at once, of all jobs.
const CALLS_MAX: usize = 64;
/// Dumps and proofs on this host at once: each takes a core and memory.
const LONG_MAX: usize = 1;
/// How long a dump or a proof may take to end after its time is up.
const LATE_WITHIN: Duration = Duration::from_secs(10);
/// How old what `status` shows may be.
const SHOWN_WITHIN: Duration = Duration::from_secs(30);

const _: () = assert!(ANSWER_WITHIN.as_secs() < CALL_WITHIN.as_secs());
const _: () = assert!(COMMITTED_WITHIN.as_secs() > ANSWER_WITHIN.as_secs());

/// A job, and what carries out its calls.
pub(super) struct Work<H> {
    pub(super) settings: JobSettings,
    pub(super) hands: H,
}

/// What is shown.
#[derive(Debug, Default)]
pub(super) struct Board {
    pub(super) jobs: Vec<Shown>,
}

/// What is shown of one job.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub(super) status: JobStatus,
    /// How old its newest backup may be.
    pub(super) stale_after: Duration,
    /// When each level was proved last.
    pub(super) proofs: Vec<(Level, Wall)>,
    /// What the newest dump holds.
    pub(super) bytes: Option<u64>,
    /// Slots whose end this host wrote down, by how they ended.
    pub(super) runs: BTreeMap<&'static str, u64>,
    /// Calls that are not answered.
    pub(super) open: usize,
    /// What people asked this host for in this life of the job, and how it ended.
    pub(super) ordered: Vec<(Slot, Option<Outcome>)>,
}

struct Driven<H> {
    settings: JobSettings,
    job: Job,
    hands: Arc<H>,
    runs: BTreeMap<&'static str, u64>,
    /// What can be stopped.
    stops: BTreeMap<Ticket, CancellationToken>,
    open: usize,
    /// What people asked for in this life.
    ordered: VecDeque<Slot>,
}

/// A call that is over.
struct Ended {
    job: usize,
    /// Which life of the jobs it belongs to.
    life: u64,
    ticket: Ticket,
    /// `None`: nothing came of it in time, or nothing is owed.
    answer: Option<Answer>,
    /// The slot's end that it wrote down, if it did.
    wrote: Option<&'static str>,
    /// It was a call, not what follows from a stop.
    counted: bool,
}

/// Drives all jobs.
pub(super) struct Driver<H> {
    jobs: Vec<Driven<H>>,
    calls: JoinSet<Ended>,
    short: Arc<Semaphore>,
    long: Arc<Semaphore>,
    /// Counts the lives of the jobs: a host that left and serves again begins anew.
    life: u64,
    /// This life is over: what has no end of its own is not waited for.
    quit: CancellationToken,
    board: Arc<Mutex<Board>>,
    events: mpsc::Sender<Event>,
}

impl<H: Hands> Driver<H> {
    pub(super) fn new(
        work: Vec<Work<H>>,
        board: Arc<Mutex<Board>>,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let driven = |work: Work<H>| Driven {
            job: Job::new(of_life(&work.settings)),
            settings: work.settings,
            hands: Arc::new(work.hands),
            runs: BTreeMap::new(),
            stops: BTreeMap::new(),
            open: 0,
            ordered: VecDeque::new(),
        };
        Self {
            jobs: work.into_iter().map(driven).collect(),
            calls: JoinSet::new(),
            short: Arc::new(Semaphore::new(CALLS_MAX)),
            long: Arc::new(Semaphore::new(LONG_MAX)),
            life: 0,
            quit: CancellationToken::new(),
            board,
            events,
        }
    }

    /// Drives them until `cancel`.
    pub(super) async fn run(
        mut self,
        mut orders: mpsc::Receiver<Order>,
        mut leaves: watch::Receiver<bool>,
        cancel: CancellationToken,
    ) {
        let mut away = *leaves.borrow_and_update();
        self.tick(away).await;
        loop {
            let wake = if away { None } else { Some(self.wake()) };
            tokio::select! {
                () = cancel.cancelled() => break,
                Some(order) = orders.recv() => self.order(order, away).await,
                Some(ended) = self.calls.join_next() => match ended {
                    Ok(ended) => self.ended(ended).await,
                    Err(error) => tracing::error!("a call for a backup failed: {error}"),
                },
                changed = leaves.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    let leaving = *leaves.borrow_and_update();
                    if leaving != away {
                        away = leaving;
                        self.leave_or_return(away).await;
                    }
                }
                () = super::super::until(wake) => self.tick(away).await,
            }
            self.show();
        }
        self.end_calls().await;
    }

    fn wake(&self) -> Moment {
        let latest = clock::at().plus(SHOWN_WITHIN);
        self.jobs.iter().map(|driven| driven.job.next_wake()).fold(latest, Moment::min)
    }

    async fn tick(&mut self, away: bool) {
        for at in 0..self.jobs.len() {
            if !away {
                self.step(at, JobEvent::Tick).await;
            }
        }
        self.show();
    }

    /// A host that leaves stops what it began: leases run out, and others take over. One that
    /// serves again knows nothing, and has another name for its life.
    async fn leave_or_return(&mut self, away: bool) {
        if away {
            tracing::info!("backups are left to the other hosts of the fleet");
            self.end_calls().await;
        } else {
            self.life += 1;
            for driven in &mut self.jobs {
                driven.job = Job::new(of_life(&driven.settings));
                driven.ordered.clear();
            }
            self.tick(false).await;
        }
    }

    /// Tells what is under way to stop, waits for that, and gives up what does not.
    async fn end_calls(&mut self) {
        for driven in &mut self.jobs {
            driven.stops.values().for_each(CancellationToken::cancel);
            driven.stops.clear();
            driven.open = 0;
        }
        // What can be stopped is waited for; a request under way is as good as a lost answer.
        self.quit.cancel();
        let ended = async { while self.calls.join_next().await.is_some() {} };
        if tokio::time::timeout(END_WITHIN, ended).await.is_err() {
            tracing::debug!("calls for backups are given up");
        }
        self.calls.shutdown().await;
        self.quit = CancellationToken::new();
    }

    async fn order(&mut self, order: Order, away: bool) {
        let Order { name, answer } = order;
        let at = self.jobs.iter().position(|driven| driven.settings.name.as_str() == name);
        let said = match at {
            None => {
                let names: Vec<_> =
                    self.jobs.iter().map(|driven| driven.settings.name.as_str()).collect();
                Err(format!("there is no backup {name}; there are {}", names.join(", ")))
            }
            Some(_) if away => Err("this host leaves: ask another one".to_owned()),
            Some(at) => self.begin_ordered(at).await,
        };
        // Whoever asked may have gone.
        drop(answer.send(said));
    }

    /// Begins a backup of now. Whoever asked is told its slot, and finds it on the board.
    async fn begin_ordered(&mut self, at: usize) -> Result<Ordered, String> {
        let now = clock::now();
        let Some(driven) = self.jobs.get_mut(at) else { return Err("no such job".to_owned()) };
        let ahead_ms = driven.job.describe().clock_ahead_ms.unwrap_or(0);
        if Duration::from_millis(ahead_ms.unsigned_abs()) > CLOCK_REFUSE {
            return Err("this host's clock is wrong, so it begins nothing".to_owned());
        }
        if !driven.job.takes_orders() {
            let name = &driven.settings.name;
            return Err(format!("{name}: backups that were asked for before are not done yet"));
        }
        let slot = Slot::by_hand(&driven.settings.zone, now.wall);
        driven.ordered.push_back(slot);
        if driven.ordered.len() > ORDERED_MAX {
            driven.ordered.pop_front();
        }
        let message = format!("{}: a backup of now begins", driven.settings.name);
        self.step_at(at, now, JobEvent::RunNow).await;
        self.show();
        Ok(Ordered { message, slot: slot.to_string() })
    }

    async fn ended(&mut self, ended: Ended) {
        let Ended { job: at, life, ticket, answer, wrote, counted } = ended;
        let Some(driven) = self.jobs.get_mut(at).filter(|_| life == self.life) else { return };
        if counted {
            driven.open = driven.open.saturating_sub(1);
            driven.stops.remove(&ticket);
        }
        if let Some(word) = wrote {
            *driven.runs.entry(word).or_default() += 1;
        }
        // Before the answer that it came with: that is judged by a clock that is known to be right.
        if let Some(server) = driven.hands.server_time() {
            self.step(at, JobEvent::ServerTime(server)).await;
        }
        if let Some(answer) = answer {
            self.step(at, JobEvent::Answered { ticket, answer }).await;
        }
    }

    async fn step(&mut self, at: usize, event: JobEvent) {
        self.step_at(at, clock::now(), event).await;
    }

    async fn step_at(&mut self, at: usize, now: Now, event: JobEvent) {
        let Some(driven) = self.jobs.get_mut(at) else { return };
        for effect in driven.job.step(now, event) {
            match effect {
                Effect::Call { ticket, call } => self.call(at, ticket, call),
                Effect::Stop(ticket) => self.stop(at, ticket),
                Effect::Tell(told) => {
                    // An agent that goes has stopped listening.
                    drop(self.events.send(Event::Noticed(told)).await);
                }
            }
        }
    }

    fn call(&mut self, at: usize, ticket: Ticket, call: Call) {
        let Some(driven) = self.jobs.get_mut(at) else { return };
        let (hands, life) = (Arc::clone(&driven.hands), self.life);
        let name = driven.settings.name.clone();
        driven.open += 1;
        let until = match &call {
            Call::Dump { by, .. } | Call::Prove { by, .. } => Some(*by),
            _ => None,
        };
        let within = answer_within(&call);
        let stop = if until.is_some() {
            let stop = CancellationToken::new();
            driven.stops.insert(ticket, stop.clone());
            stop
        } else {
            self.quit.clone()
        };
        let turn = match turn_of(&call, &self.long, &self.short) {
            Ok(turn) => turn,
            Err(busy) => {
                let ended =
                    Ended { job: at, life, ticket, answer: Some(busy), wrote: None, counted: true };
                self.calls.spawn(std::future::ready(ended));
                return;
            }
        };
        let written = match &call {
            Call::Write(record) => outcome_word(record),
            _ => None,
        };
        calls::say(&name, &call);
        self.calls.spawn(async move {
            let carried = async {
                let turn = tokio::select! {
                    turn = turn => turn?,
                    () = stop.cancelled() => return None,
                };
                let answer = hands.call(ticket, call, stop.clone()).await;
                drop(turn);
                Some(answer)
            };
            let answer = match until {
                None => tokio::select! {
                    answer = tokio::time::timeout(within, carried) => answer.ok().flatten(),
                    () = stop.cancelled() => None,
                },
                Some(by) => long(carried, by, &stop).await,
            };
            if let Some(answer) = &answer {
                calls::say_failure(&name, answer);
            }
            let wrote =
                written.filter(|_| matches!(&answer, Some(Answer::Written(Ok(Put::Written)))));
            Ended { job: at, life, ticket, answer, wrote, counted: true }
        });
    }

    /// Stops what a ticket began, and drops what it made.
    fn stop(&mut self, at: usize, ticket: Ticket) {
        let Some(driven) = self.jobs.get_mut(at) else { return };
        if let Some(stop) = driven.stops.get(&ticket) {
            stop.cancel();
        }
        let (hands, life) = (Arc::clone(&driven.hands), self.life);
        self.calls.spawn(async move {
            let dropped = tokio::time::timeout(ANSWER_WITHIN, hands.abort(ticket)).await;
            if dropped.is_err() {
                tracing::debug!("what a stopped call left is not dropped yet");
            }
            Ended { job: at, life, ticket, answer: None, wrote: None, counted: false }
        });
    }

    fn show(&self) {
        let jobs = self.jobs.iter().map(shown).collect();
        self.board.lock().unwrap_or_else(PoisonError::into_inner).jobs = jobs;
    }
}

/// The turn of a call, once it comes. What takes a core and memory for hours does not wait for it:
/// its lease would be held meanwhile, and hosts that have nothing to do could not take it.
pub(super) fn turn_of(
    call: &Call,
    long: &Arc<Semaphore>,
    short: &Arc<Semaphore>,
) -> Result<impl Future<Output = Option<OwnedSemaphorePermit>> + use<>, Answer> {
    let busy = || CallError {
        kind: CallErrorKind::Throttled,
        text: "this host is busy with another dump or proof".to_owned(),
    };
    let at_once = || Arc::clone(long).try_acquire_owned().ok();
    let (now, turns) = match call {
        Call::Dump { .. } => (Some(at_once().ok_or_else(|| Answer::Dumped(Err(busy())))?), None),
        // At L3 the restored instance does the work.
        Call::Prove { level, .. } if *level != Level::L3 => {
            (Some(at_once().ok_or_else(|| Answer::Proved(Err(busy())))?), None)
        }
        _ => (None, Some(Arc::clone(short))),
    };
    Ok(async move {
        match turns {
            Some(turns) => turns.acquire_owned().await.ok(),
            None => now,
        }
    })
}

/// How long the answer to a call may take that has no time of its own.
pub(super) fn answer_within(call: &Call) -> Duration {
    if matches!(call, Call::Commit { .. }) { COMMITTED_WITHIN } else { ANSWER_WITHIN }
}

/// A call that has a time of its own: told to stop when that is up, and soon after that dropped.
async fn long<T>(
    call: impl Future<Output = Option<T>>,
    by: Moment,
    stop: &CancellationToken,
) -> Option<T> {
    let mut call = std::pin::pin!(call);
    tokio::select! {
        answer = &mut call => return answer,
        () = tokio::time::sleep(by.since(clock::at())) => stop.cancel(),
    }
    tokio::time::timeout(LATE_WITHIN, call).await.ok().flatten()
}

fn outcome_word(record: &Record) -> Option<&'static str> {
    match (&record.key, &record.outcome) {
        (RecordKey::Run(_), Outcome::Done { .. }) => Some("done"),
        (RecordKey::Run(_), Outcome::Skipped(_)) => Some("skipped"),
        (RecordKey::Run(_), Outcome::Failed { .. }) => Some("failed"),
        (RecordKey::Run(_), Outcome::Abandoned { .. }) => Some("abandoned"),
        _ => None,
    }
}

/// How a slot ended, if it has.
fn ended(job: &Job, slot: Slot) -> Option<Outcome> {
    let mut records = job.records();
    let record = records.find(|record| record.key == RecordKey::Run(slot));
    record.map(|record| record.outcome.clone())
}

fn shown<H>(driven: &Driven<H>) -> Shown {
    let status = driven.job.describe();
    let mut proofs: BTreeMap<Level, Wall> = BTreeMap::new();
    let mut bytes = None;
    for record in driven.job.records() {
        match (&record.key, &record.outcome) {
            (RecordKey::Proof(_, level), Outcome::Proved { .. }) => {
                let at = proofs.entry(*level).or_insert(record.at);
                *at = record.at.max(*at);
            }
            (RecordKey::Run(_), Outcome::Done { id, bytes: known, .. })
                if status.last_good.as_ref().is_some_and(|good| good.id == *id) =>
            {
                bytes = *known;
            }
            _ => {}
        }
    }
    let now_s = clock::wall().0.div_euclid(1000);
    Shown {
        status,
        stale_after: driven.settings.stale_after(now_s),
        proofs: proofs.into_iter().collect(),
        bytes,
        runs: driven.runs.clone(),
        open: driven.open,
        ordered: driven.ordered.iter().map(|slot| (*slot, ended(&driven.job, *slot))).collect(),
    }
}
