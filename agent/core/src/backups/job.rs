//! One job on one host: which slots are due, and what follows from a backup that is there.
//!
//! Level, not edge: every step works out from the schedule, the clock and the records that are
//! known what there is to do, and begins what is missing. A host that comes new knows nothing and
//! reads the same records.

use std::collections::BTreeMap;
use std::time::Duration;

use super::call::{Answer, Call, Effect, Event, Ticket};
use super::database::{Database, Target};
use super::dumping::Dumping;
use super::limits::{CLOCK_REFUSE, CLOCK_WARN, REAP_EVERY, SLOTS_DUE_MAX, WAKE_WITHIN};
use super::proof::Level;
use super::proving::Proving;
use super::reaping::Reaping;
use super::record::{Place, Record, RecordKey};
use super::slot::{Slot, print};
use super::sweeping::Sweeping;
use super::taking::{From, Taking};
use super::turn::Turn;
use super::{JobSettings, Kind};
use crate::status::{EventLevel, Topic};
use crate::time::{Moment, Now, Wall};
use calendar::Calendar;
use task::Task;
use watch::Watch;

mod calendar;
mod describe;
mod known;
mod task;
#[cfg(test)]
pub(super) mod tests;
mod watch;

/// One job.
#[derive(Debug, Clone)]
pub struct Job {
    settings: JobSettings,
    random: u64,
    tickets: u64,
    database: Option<Database>,
    target: Option<Target>,
    tasks: BTreeMap<RecordKey, Task>,
    records: BTreeMap<RecordKey, Record>,
    /// Slots that a person asked for.
    wanted: Vec<Slot>,
    reaping: Option<Reaping>,
    /// How far this host's clock is ahead of AWS's, in milliseconds.
    clock_ahead_ms: Option<i64>,
    /// When that was measured, or when it was last asked for.
    clock_seen: Moment,
    clock_told: bool,
    watch: Watch,
    begun: Option<Moment>,
    stepped: Now,
    calendar: Calendar,
}

impl Job {
    /// The job, as this host begins with it. Its first event may be any.
    #[must_use]
    pub fn new(settings: JobSettings) -> Self {
        let random = print(settings.run.as_bytes());
        Self {
            settings,
            random,
            tickets: 0,
            database: None,
            target: None,
            tasks: BTreeMap::new(),
            records: BTreeMap::new(),
            wanted: Vec::new(),
            reaping: None,
            clock_ahead_ms: None,
            clock_seen: Moment::default(),
            clock_told: false,
            watch: Watch::default(),
            begun: None,
            stepped: Now::default(),
            calendar: Calendar::default(),
        }
    }

    /// Takes in one event and says what to do about it.
    pub fn step(&mut self, now: Now, event: Event) -> Vec<Effect> {
        let mut out = Vec::new();
        self.random = crate::controller::splitmix(self.random);
        self.stepped = now;
        self.begun.get_or_insert(now.at);
        self.calendar.turn(&self.settings, self.now_s());
        match event {
            Event::Tick => {}
            Event::ServerTime(server) => self.server_time(now, server, &mut out),
            Event::RunNow => self.run_now(now),
            Event::Answered { ticket, answer } => self.answered(now, ticket, answer, &mut out),
        }
        self.look_at_clock(now, &mut out);
        self.reconcile(now, &mut out);
        self.watch(now, &mut out);
        out
    }

    /// The next moment at which an [`Event::Tick`] has something to do.
    #[must_use]
    pub fn next_wake(&self) -> Moment {
        let now = self.stepped;
        let tasks = self.tasks.values().map(Task::wake);
        let reaping = self.reaping.as_ref().map(Reaping::wake);
        let due = self.calendar.next.map(|slot| {
            let ahead = u64::try_from(slot.at_ms().saturating_sub(now.wall.0)).unwrap_or(0);
            now.at.plus(Duration::from_millis(ahead))
        });
        let latest = now.at.plus(WAKE_WITHIN);
        tasks.chain(reaping).chain(due).fold(latest, Moment::min)
    }

    /// What is known to have ended, for tests and `status`.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// What the host's file says about it.
    #[must_use]
    pub fn settings(&self) -> &JobSettings {
        &self.settings
    }

    fn now_s(&self) -> i64 {
        self.stepped.wall.0.div_euclid(1000)
    }

    fn clock_ok(&self) -> bool {
        let ahead = Duration::from_millis(self.clock_ahead_ms.unwrap_or(0).unsigned_abs());
        ahead <= CLOCK_REFUSE
    }

    fn server_time(&mut self, now: Now, server: Wall, out: &mut Vec<Effect>) {
        let ahead_ms = now.wall.0.saturating_sub(server.0);
        (self.clock_ahead_ms, self.clock_seen) = (Some(ahead_ms), now.at);
        let off = Duration::from_millis(ahead_ms.unsigned_abs());
        if off <= CLOCK_WARN {
            self.clock_told = false;
        } else if !self.clock_told {
            self.clock_told = true;
            let way = if ahead_ms > 0 { "ahead of" } else { "behind" };
            let text = format!("this host's clock is {} {way} AWS's", crate::time::text(off));
            let (level, topic, text) = if off > CLOCK_REFUSE {
                let text = format!("{text}: it begins nothing");
                (EventLevel::Error, Topic::BackupFailed, text)
            } else {
                (EventLevel::Warning, Topic::BackupProblem, text)
            };
            self.turn(now, out, |_, turn| turn.tell(level, topic, &text));
        }
    }

    fn run_now(&mut self, now: Now) {
        let slot = Slot::by_hand(&self.settings.zone, now.wall);
        if !self.wanted.contains(&slot) && self.takes_orders() {
            self.wanted.push(slot);
        }
    }

    /// Whether a backup that a person asks for would be made: only so many are at a time.
    #[must_use]
    pub fn takes_orders(&self) -> bool {
        self.wanted.len() < SLOTS_DUE_MAX
    }

    /// A clock that was wrong is looked at again: what may be begun by a right one is all that
    /// asks AWS anything, and every answer has its time.
    fn look_at_clock(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.clock_ok() || now.at.since(self.clock_seen) < WAKE_WITHIN {
            return;
        }
        let Some(slot) = self.calendar.due.first().copied() else { return };
        self.clock_seen = now.at;
        // Nobody waits for what it says, but for its time.
        self.turn(now, out, |_, turn| {
            let ticket = turn.ticket();
            turn.out.push(Effect::Call { ticket, call: Call::Read(RecordKey::Run(slot)) });
        });
    }

    fn answered(&mut self, now: Now, ticket: Ticket, answer: Answer, out: &mut Vec<Effect>) {
        self.turn(now, out, |parts, turn| {
            if let Some(task) = parts.tasks.values_mut().find_map(|task| {
                let takes = task.takes(ticket);
                takes.then_some(task)
            }) {
                task.answered(turn, answer);
            } else if let Some(reaping) = parts.reaping
                && reaping.takes(ticket)
            {
                reaping.answered(turn, answer);
            }
        });
    }

    /// Lends out what a part needs.
    fn turn<R>(
        &mut self,
        now: Now,
        out: &mut Vec<Effect>,
        with: impl FnOnce(Parts<'_>, &mut Turn<'_>) -> R,
    ) -> R {
        let clock_ok = self.clock_ok();
        let begun = self.begun.unwrap_or(now.at);
        let parts = Parts { tasks: &mut self.tasks, reaping: self.reaping.as_mut() };
        let mut turn = Turn {
            now,
            begun,
            job: &self.settings,
            out,
            tickets: &mut self.tickets,
            random: self.random,
            database: &mut self.database,
            target: self.target.clone(),
            clock_ok,
        };
        let result = with(parts, &mut turn);
        self.target = turn.target;
        result
    }

    fn reconcile(&mut self, now: Now, out: &mut Vec<Effect>) {
        // What ends may be what something else waits for. Each round ends a task, and there are
        // no more of them than records to come.
        loop {
            self.begin_missing(now, out);
            self.turn(now, out, |parts, turn| {
                parts.tasks.values_mut().for_each(|task| task.go(turn));
            });
            let ended: Vec<_> = self.tasks.values().filter_map(Task::ended).cloned().collect();
            if ended.is_empty() {
                break;
            }
            for record in ended {
                // The task's own key: what was read may be another slot's proof of the same month.
                self.end(record);
            }
        }
        self.turn(now, out, |parts, turn| {
            if let Some(reaping) = parts.reaping {
                reaping.go(turn);
            }
        });
        self.forget_old();
    }

    fn end(&mut self, record: Record) {
        let of_record = |task: &Task| task.ended() == Some(&record);
        let keys = self.tasks.iter().filter(|(_, task)| of_record(task));
        let keys: Vec<_> = keys.map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.tasks.remove(&key);
            self.records.insert(key, record.clone());
        }
        if self.target.is_none() {
            self.target = record.outcome.backup().map(|(_, target)| target.clone());
        }
    }

    /// Slots that are not after this are over.
    fn open_since_s(&self) -> i64 {
        calendar::open_since_s(&self.settings, self.now_s())
    }

    fn begin_missing(&mut self, now: Now, out: &mut Vec<Effect>) {
        let due = self.calendar.due.clone();
        let newest = due.first().copied();
        for (key, task) in &mut self.tasks {
            let slot = key.slot();
            task.set_newest(Some(slot) == newest || self.wanted.contains(&slot));
        }
        if !self.clock_ok() {
            return;
        }
        let begins: Vec<_> = due.iter().chain(&self.wanted).copied().collect();
        for slot in begins.iter().copied() {
            let key = RecordKey::Run(slot);
            if !self.knows(&key) {
                let force = self.wanted.contains(&slot);
                let begin = if force { now.at } else { now.at.plus(self.jitter(slot)) };
                let newest = force || Some(slot) == newest;
                self.begin_run(now, out, slot, force, newest, begin);
            }
        }
        for slot in begins {
            self.begin_after(now, slot);
        }
        self.begin_proof(now, out);
        self.begin_sweeps(now);
        if self.reaping.is_none() && self.proves(Level::L3) {
            let share = print(self.settings.run.as_bytes()) % 1000;
            let share = u32::try_from(share).unwrap_or(0);
            self.reaping = Some(Reaping::new(now.at.plus(REAP_EVERY / 1000 * share)));
        }
    }

    fn knows(&self, key: &RecordKey) -> bool {
        self.tasks.contains_key(key) || self.records.contains_key(key)
    }

    fn proves(&self, level: Level) -> bool {
        self.settings.levels.contains(&level) && level.applies_to(self.settings.kind)
    }

    /// This host's place in the fleet's spread: another for each job and slot, so that it is not
    /// always the same host that is first.
    fn jitter(&self, slot: Slot) -> Duration {
        let of = format!("{}/{}/{slot}", self.settings.instance, self.settings.name);
        let spread_ms = crate::time::ms(self.settings.spread).max(1);
        Duration::from_millis(print(of.as_bytes()) % spread_ms)
    }

    fn begin_run(
        &mut self,
        now: Now,
        out: &mut Vec<Effect>,
        slot: Slot,
        force: bool,
        newest: bool,
        begin: Moment,
    ) {
        let within = self.settings.catch_up;
        let mut task = match self.settings.kind {
            Kind::RdsSnapshot => {
                Task::Taking(Box::new(Taking::of_database(slot, within, force, begin)))
            }
            Kind::PgDump | Kind::MysqlDump => {
                let new = |_: Parts<'_>, turn: &mut Turn<'_>| Dumping::new(turn, slot, begin);
                Task::Dumping(Box::new(self.turn(now, out, new)))
            }
        };
        task.set_newest(newest);
        self.tasks.insert(RecordKey::Run(slot), task);
    }

    /// The copies of a slot's snapshot.
    fn begin_after(&mut self, now: Now, slot: Slot) {
        // Of what is over, only the record is read: it is late for a copy, and a region that was
        // added since is no failure.
        let is_over = slot.at_s <= self.open_since_s();
        if self.settings.kind != Kind::RdsSnapshot || is_over || !self.misses_copy(slot) {
            return;
        }
        let Some(run) = self.records.get(&RecordKey::Run(slot)).cloned() else { return };
        let Some((id, target)) = run.outcome.backup() else { return };
        for copy in self.settings.copies.clone() {
            let key = RecordKey::Copy(slot, copy.region.clone());
            if !self.knows(&key) {
                let begin = self.begin_follower(now, &run);
                let (id, target) = (id.to_owned(), target.clone());
                let from = From::Snapshot { id, target, in_flight_max: copy.in_flight_max };
                let since_s = slot.at_s.max(run.at.0.div_euclid(1000));
                let task = Taking::of_snapshot(key.clone(), from, since_s, copy.within, begin);
                self.tasks.insert(key, Task::Taking(Box::new(task)));
            }
        }
    }

    /// Whether a copy of a slot's backup is neither known nor on its way.
    fn misses_copy(&self, slot: Slot) -> bool {
        let done = |record: &Record| record.outcome.backup().is_some();
        self.records.get(&RecordKey::Run(slot)).is_some_and(done)
            && self
                .settings
                .copies
                .iter()
                .any(|copy| !self.knows(&RecordKey::Copy(slot, copy.region.clone())))
    }

    /// Retention, where the newest backup is of which is known how good it is, and where its copies
    /// are: what is older goes only when that one is good. The proof by RDS is not waited for, as
    /// it is one a month.
    fn begin_sweeps(&mut self, now: Now) {
        let levels: Vec<_> = [Level::L0, Level::L1, Level::L2]
            .into_iter()
            .filter(|level| self.proves(*level))
            .collect();
        let known = |slot: Slot| {
            let proof = |level: &Level| self.records.contains_key(&RecordKey::Proof(slot, *level));
            levels.iter().all(proof)
        };
        let Some((slot, run)) = self.newest_done_of(known) else { return };
        let places = self.places();
        if places.iter().all(|place| self.knows(&RecordKey::Retention(slot, place.clone()))) {
            return;
        }
        let run = run.clone();
        let last =
            levels.last().and_then(|level| self.records.get(&RecordKey::Proof(slot, *level)));
        let last = last.unwrap_or(&run).clone();
        let Some((_, target)) = run.outcome.backup() else { return };
        let failing = self.doubt(slot, &run);
        self.begin_sweep(now, slot, Place::Home, target, &last, failing.clone());
        for place in places {
            let Place::Region(region) = &place else { continue };
            let copied = self.records.get(&RecordKey::Copy(slot, region.clone()));
            if copied.is_some_and(|copied| copied.outcome.backup().is_some()) {
                self.begin_sweep(now, slot, place, target, &last, failing.clone());
            }
        }
    }

    /// Where backups are.
    fn places(&self) -> Vec<Place> {
        let regions = self.settings.copies.iter().map(|copy| copy.region.clone());
        let regions = regions.filter(|_| self.settings.kind == Kind::RdsSnapshot);
        std::iter::once(Place::Home).chain(regions.map(Place::Region)).collect()
    }

    fn begin_sweep(
        &mut self,
        now: Now,
        slot: Slot,
        place: Place,
        target: &Target,
        after: &Record,
        failing: Option<String>,
    ) {
        let key = RecordKey::Retention(slot, place.clone());
        let empty = self.settings.policy(&place).is_none_or(super::retention::Policy::is_empty);
        if !empty && !self.knows(&key) {
            let begin = self.begin_follower(now, after);
            let task = Sweeping::new(key.clone(), place, target.clone(), failing, begin);
            self.tasks.insert(key, Task::Sweeping(Box::new(task)));
        }
    }

    /// Whoever wrote a record goes on at once; the others come to see later.
    fn begin_follower(&self, now: Now, after: &Record) -> Moment {
        if after.by == self.settings.instance {
            now.at
        } else {
            now.at.plus(self.jitter(after.key.slot()))
        }
    }

    /// One level after the other, of the newest backup whose copies are through: what is proved of
    /// them is that they are there.
    fn begin_proof(&mut self, now: Now, out: &mut Vec<Effect>) {
        let through = |slot: Slot| self.copies_are_through(slot);
        let Some((slot, run)) = self.newest_done_of(through) else { return };
        if slot.at_s <= self.open_since_s() {
            // See above: a level that was added since is no failure.
            return;
        }
        let open = |level: &Level| {
            self.proves(*level) && !self.records.contains_key(&RecordKey::Proof(slot, *level))
        };
        let Some(level) = Level::ALL.into_iter().find(open) else { return };
        let key = RecordKey::Proof(slot, level);
        // The proof by RDS has one lease: two slots of one host would share it, and each would take
        // the other for somebody else.
        let busy = level == Level::L3 && self.tasks.keys().any(|key| key.is_proof_at(Level::L3));
        if busy || self.tasks.contains_key(&key) {
            return;
        }
        let run = run.clone();
        let Some((id, target)) = run.outcome.backup() else { return };
        let begin = self.begin_follower(now, &run);
        let backup = (id.to_owned(), target.clone());
        let regions = self.places().into_iter().filter_map(|place| match place {
            Place::Region(region) => Some(region),
            Place::Home => None,
        });
        let (of, copies) = (key.clone(), regions.collect());
        let task =
            self.turn(now, out, |_, turn| Proving::new(turn, of, level, backup, copies, begin));
        self.tasks.insert(key, Task::Proving(Box::new(task)));
    }
}

/// What takes part in a step.
struct Parts<'a> {
    tasks: &'a mut BTreeMap<RecordKey, Task>,
    reaping: Option<&'a mut Reaping>,
}
