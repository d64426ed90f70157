//! The fleet, its clocks and the network. Time is that of the servers; each host's wall clock is
//! off by something of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use groundcrew_core::backups::backup;
use groundcrew_core::backups::call::{
    Answer, Call, CallError, CallErrorKind, Effect, Event, Ticket,
};
use groundcrew_core::backups::job::Job;
use groundcrew_core::backups::limits;
use groundcrew_core::backups::proof::{DumpRules, Level};
use groundcrew_core::backups::record::{Outcome, Place, RecordKey};
use groundcrew_core::backups::retention::{Pass, Policy, plan};
use groundcrew_core::backups::zone::Zone;
use groundcrew_core::backups::{CopySettings, JobSettings, Kind};
use groundcrew_core::time::{Moment, Now, Wall};

use crate::checks;
use crate::counts::Counts;
use crate::dice::Dice;
use crate::server::{Server, SimSnapshot, Trouble, i64_of, some_hours, takes};

pub const HOSTS: usize = 50;
/// Friday, 2026-11-20 12:00 UTC.
pub const START: i64 = 1_795_176_000_000;
const HOUR: i64 = 3_600_000;
pub const DAY: i64 = 24 * HOUR;
/// Nights with faults, and how long it is quiet after them.
const FAULTS: i64 = 4 * DAY;
pub const QUIET: i64 = 2 * DAY + 6 * HOUR;
const REGION: &str = "eu-west-1";

/// A host's agent: one life.
struct Agent {
    job: Job,
    life: u64,
    /// How far its clock is ahead.
    skew: i64,
    /// How far it was ahead when the server's time was last said.
    said: Option<i64>,
    same: (i64, u32),
    /// When it wants to be woken.
    wake: i64,
}

enum Coming {
    /// A request reaches the server.
    Arrive {
        host: usize,
        life: u64,
        ticket: Ticket,
        call: Box<Call>,
    },
    /// Its answer reaches the host.
    Answer {
        host: usize,
        life: u64,
        ticket: Ticket,
        answer: Box<Answer>,
        date: i64,
    },
    Die(usize),
    Boot(usize),
    /// The clock of a host is set to something else.
    Clock(usize, i64),
    /// A person wants a backup now.
    Order(usize),
}

pub struct World {
    pub dice: Dice,
    pub now: i64,
    pub log: Option<Vec<String>>,
    pub counts: Counts,
    pub server: Server,
    pub settings: JobSettings,
    /// Nothing that a slot does not survive happens to the database.
    pub easy: bool,
    /// Hosts that may not dump, and have no key to prove anything.
    pub unable: BTreeSet<usize>,
    /// Backups that were there before.
    pub before: usize,
    pub faults: bool,
    /// Long work that is under way: by which host and life.
    pub working: BTreeMap<(usize, u64, Ticket), RecordKey>,
    pub kinds: BTreeMap<String, u64>,
    agents: Vec<Option<Agent>>,
    coming: BTreeMap<(i64, u64), Coming>,
    sequence: u64,
}

fn settings(dice: &mut Dice) -> JobSettings {
    let kind = if dice.one_in(4) { Kind::PgDump } else { Kind::RdsSnapshot };
    let policy = |keep_daily| Policy { keep_daily, keep_weekly: 2, ..Policy::default() };
    let copy = CopySettings {
        region: REGION.to_owned(),
        retention: policy(3),
        within: limits::COPY_WITHIN_USUAL,
        in_flight_max: 3,
    };
    let l3 = dice.one_in(2);
    JobSettings {
        name: "shop".parse().unwrap(),
        kind,
        database: "shop-production".to_owned(),
        schedule: "20 0 * * *".parse().unwrap(),
        zone: Zone::utc(),
        catch_up: limits::CATCH_UP_USUAL,
        spread: limits::SPREAD_USUAL,
        stale_after: None,
        retention: policy(7),
        copies: if dice.one_in(2) { vec![copy] } else { Vec::new() },
        levels: if l3 { Level::ALL.to_vec() } else { vec![Level::L0, Level::L1] },
        elsewhere: Vec::new(),
        encrypted: true,
        restore_within: limits::RESTORE_WITHIN_USUAL,
        dump: DumpRules::default(),
        instance: String::new(),
        run: String::new(),
    }
}

impl World {
    /// With `told`, what happens is written down for people: that takes half of the time.
    pub fn new(seed: u64, told: bool) -> Self {
        let mut dice = Dice::new(seed);
        let settings = settings(&mut dice);
        let mut server = Server::new(settings.name.clone());
        server.behind = true;
        server.failing = dice.one_in(2);
        let easy = dice.one_in(2);
        let mut world = Self {
            dice,
            now: START,
            log: told.then(Vec::new),
            counts: Counts::default(),
            server,
            settings,
            easy,
            unable: BTreeSet::new(),
            before: 0,
            faults: true,
            working: BTreeMap::new(),
            kinds: BTreeMap::new(),
            agents: (0..HOSTS).map(|_| None).collect(),
            coming: BTreeMap::new(),
            sequence: 0,
        };
        if world.dice.one_in(2) {
            let unable = (0..HOSTS).filter(|_| world.dice.one_in(2));
            world.unable = unable.skip(1).collect();
        }
        world.have_history();
        world.plan_troubles();
        for host in 0..HOSTS {
            let after = i64_of(world.dice.between(0, 600_000));
            world.come(after, Coming::Boot(host));
        }
        world
    }

    /// Forty nights, as retention has left them.
    fn have_history(&mut self) {
        let job = self.settings.clone();
        for night in (1..=40).rev() {
            let now = START - night * DAY;
            let now_s = now / 1000;
            let slot = job.schedule.slots(&job.zone, now_s - DAY / 1000, now_s, 1)[0];
            let tags = backup::tags(&job.name, slot, 0, "before", false);
            let id = format!("gc-shop-shop-production-{slot}");
            let (from, ready) = (slot.at_ms(), slot.at_ms() + 600_000);
            if job.kind == Kind::RdsSnapshot {
                let snapshot = SimSnapshot { from, ready, fails: false, deleted: None, tags };
                self.server.snapshots.insert((Place::Home, id), snapshot);
            } else {
                self.server.manifests.insert(slot.to_string(), (from, 1 << 28, tags));
            }
            let plan = plan(&Pass {
                job: &job.name,
                backups: &self.server.list(now, &Place::Home),
                policy: &job.retention,
                now_s,
                stale_after: Duration::from_hours(100),
                copying_since_s: None,
                refuted: &groundcrew_core::backups::retention::Refuted::default(),
                failing: None,
                allow_mass_delete: false,
            });
            assert_eq!(plan.refused, None);
            for id in plan.delete {
                self.server.snapshots.remove(&(Place::Home, id.clone()));
                self.server.manifests.remove(&id);
            }
        }
        self.before = self.server.list(START, &Place::Home).len();
    }

    fn plan_troubles(&mut self) {
        for night in 0..4 {
            let midnight = START + 12 * HOUR + night * DAY;
            // RDS's own backup window comes close to the slot.
            let from = midnight + i64_of(self.dice.between(0, 40)) * 60_000;
            let to = from + i64_of(self.dice.between(5, 60)) * 60_000;
            self.server.troubles.push(Trouble { from, to, status: "backing-up" });
            if !self.easy && self.dice.one_in(4) {
                let from = midnight - HOUR;
                let to = from + some_hours(&mut self.dice) * 4;
                let status = self.dice.pick(&["stopped", "storage-full", "modifying"]);
                self.server.troubles.push(Trouble { from, to, status });
            }
            if !self.easy && self.dice.one_in(12) {
                self.server.full_until = midnight + 2 * HOUR;
            }
            for _ in 0..self.dice.between(0, 40) {
                let host = self.host();
                let at = midnight - START + i64_of(self.dice.between(0, 4_000_000));
                self.come(at, Coming::Die(host));
            }
            if self.dice.one_in(4) {
                self.scale_to_zero(midnight - START - HOUR);
            }
        }
        for _ in 0..30 {
            let (host, at) = (self.host(), i64_of(self.dice.between(0, 4 * 86_400_000)));
            self.come(at, Coming::Die(host));
        }
        for _ in 0..self.dice.between(0, 6) {
            let (host, at) = (self.host(), i64_of(self.dice.between(0, 4 * 86_400_000)));
            let skew = i64_of(self.dice.between(0, 3 * 86_400_000)) - DAY * 3 / 2;
            self.come(at, Coming::Clock(host, skew));
            self.come(FAULTS, Coming::Clock(host, 0));
        }
        for _ in 0..self.dice.between(0, 3) {
            let (host, at) = (self.host(), i64_of(self.dice.between(0, 4 * 86_400_000)));
            self.come(at, Coming::Order(host));
        }
    }

    fn scale_to_zero(&mut self, at: i64) {
        self.counts.fleet_gone += 1;
        // Less than the time in which a slot is caught up.
        let back = at + i64_of(self.dice.between(1, 15)) * HOUR;
        for host in 0..HOSTS {
            // Whoever boots meanwhile dies, too.
            for hours in 0..=(back - at) / HOUR {
                let jitter = i64_of(self.dice.between(0, 600_000));
                self.come(at + hours * HOUR + jitter, Coming::Die(host));
            }
            self.come(back + HOUR, Coming::Boot(host));
        }
    }

    fn host(&mut self) -> usize {
        usize::try_from(self.dice.between(0, HOSTS as u64)).unwrap()
    }

    pub fn run_with_faults(&mut self) {
        self.run_until(START + FAULTS);
    }

    /// Peace: everything has to be well in the end.
    pub fn run_without_faults(&mut self) {
        self.faults = false;
        self.server.failing = false;
        self.server.troubles.clear();
        self.log(|| "peace".to_owned());
        for host in 0..HOSTS {
            self.happen(Coming::Boot(host));
        }
        self.run_until(START + FAULTS + QUIET);
    }

    fn log(&mut self, text: impl FnOnce() -> String) {
        let Some(log) = &mut self.log else { return };
        let seconds = (self.now - START) / 1000;
        let (day, hour) = (seconds / 86_400, seconds / 3600 % 24 + 12);
        let (minute, second) = (seconds / 60 % 60, seconds % 60);
        let text = text();
        log.push(format!("{day} {hour:02}:{minute:02}:{second:02} {text}"));
    }

    fn come(&mut self, after: i64, coming: Coming) {
        self.sequence += 1;
        self.coming.insert((self.now + after, self.sequence), coming);
    }

    fn run_until(&mut self, end: i64) {
        loop {
            let wake = |(host, agent): (usize, &Option<Agent>)| Some((agent.as_ref()?.wake, host));
            let tick = self.agents.iter().enumerate().filter_map(wake).min();
            let tick = tick.map(|(at, host)| (at.max(self.now), host));
            let next = self.coming.keys().next().map(|(at, _)| *at);
            let ticks = tick.is_some_and(|(at, _)| next.is_none_or(|next| at < next));
            let at = if ticks { tick.map(|(at, _)| at) } else { next };
            let Some(at) = at.filter(|at| *at <= end) else { break };
            self.now = at;
            if let (true, Some((_, host))) = (ticks, tick) {
                self.check_spin(host);
                self.step(host, Event::Tick);
            } else if let Some((_, coming)) = self.coming.pop_first() {
                self.happen(coming);
            }
        }
        self.now = end;
    }

    /// A wake that leads nowhere would be a busy loop.
    fn check_spin(&mut self, host: usize) {
        let Some(agent) = &mut self.agents[host] else { return };
        agent.same =
            if agent.same.0 == self.now { (self.now, agent.same.1 + 1) } else { (self.now, 0) };
        assert!(agent.same.1 < 20, "host {host} spins at {}: {:?}", self.now, agent.job);
    }

    fn happen(&mut self, coming: Coming) {
        match coming {
            Coming::Boot(host) if self.agents[host].is_none() => self.boot(host),
            Coming::Boot(_) => {}
            Coming::Die(host) if !self.faults || self.agents[host].is_none() => {}
            Coming::Die(host) => {
                self.agents[host] = None;
                self.working.retain(|(of, _, _), _| *of != host);
                self.counts.deaths += 1;
                let back = i64_of(self.dice.between(1000, 20 * 60_000));
                self.come(back, Coming::Boot(host));
            }
            Coming::Clock(host, skew) => {
                if let Some(agent) = &mut self.agents[host] {
                    agent.skew = skew;
                    self.counts.wrong_clocks += 1;
                }
            }
            Coming::Order(host) => {
                self.counts.ordered += 1;
                self.step(host, Event::RunNow);
            }
            Coming::Arrive { host, life, ticket, call } => self.arrive(host, life, ticket, *call),
            Coming::Answer { host, life, ticket, answer, date } => {
                self.working.remove(&(host, life, ticket));
                if self.agents[host].as_ref().is_some_and(|agent| agent.life == life) {
                    self.say_the_time(host, date);
                    self.step(host, Event::Answered { ticket, answer: *answer });
                }
            }
        }
    }

    /// The shell says so with every answer; what says nothing new is left out here, for speed.
    fn say_the_time(&mut self, host: usize, date: i64) {
        let Some(agent) = &mut self.agents[host] else { return };
        if agent.said == Some(agent.skew) && self.now % 16 > 0 {
            return;
        }
        agent.said = Some(agent.skew);
        self.step(host, Event::ServerTime(Wall(date / 1000 * 1000)));
    }

    fn boot(&mut self, host: usize) {
        self.sequence += 1;
        let life = self.sequence;
        let off = i64_of(self.dice.between(0, 400_000)) - 200_000;
        let skew = match self.dice.between(0, 40) {
            0 if self.faults => off * 60,
            1..=6 => off,
            _ => off / 1000,
        };
        let settings = JobSettings {
            instance: format!("i-{host}"),
            run: format!("i-{host}.{life}"),
            ..self.settings.clone()
        };
        let job = Job::new(settings);
        self.agents[host] =
            Some(Agent { job, life, skew, said: None, same: (0, 0), wake: self.now });
        self.step(host, Event::Tick);
    }

    fn step(&mut self, host: usize, event: Event) {
        self.counts.steps += 1;
        let Some(agent) = &mut self.agents[host] else { return };
        let at = Moment(u64::try_from(self.now).unwrap());
        let now = Now { at, wall: Wall(self.now + agent.skew) };
        let life = agent.life;
        let effects = agent.job.step(now, event);
        agent.wake = i64_of(agent.job.next_wake().0);
        for effect in effects {
            match effect {
                Effect::Call { ticket, call } => self.call(host, life, ticket, call),
                Effect::Stop(ticket) => _ = self.working.remove(&(host, life, ticket)),
                Effect::Tell(told) => self.log(|| format!("i-{host}: {}", told.text)),
            }
        }
    }

    fn call(&mut self, host: usize, life: u64, ticket: Ticket, call: Call) {
        checks::before(self, host, &call);
        if self.log.is_some() {
            let kind = format!("{call:?}").chars().take(9).collect();
            *self.kinds.entry(kind).or_default() += 1;
        }
        let unable = self.unable.contains(&host);
        if let Some(key) = checks::work(&call) {
            self.working.insert((host, life, ticket), key);
            self.counts.worked += u64::from(!unable);
            self.counts.refused += u64::from(unable);
        }
        let way = i64_of(self.dice.between(5, 400));
        let slow = if self.faults && self.dice.one_in(40) { 20_000 } else { 0 };
        let works = if unable { 0 } else { takes(&mut self.dice, &call) };
        let after = way + slow + works;
        self.come(after, Coming::Arrive { host, life, ticket, call: Box::new(call) });
    }

    fn arrive(&mut self, host: usize, life: u64, ticket: Ticket, call: Call) {
        let fate = if self.faults { self.dice.between(0, 60) } else { 60 };
        // What the host itself works on always comes back, if only as an error.
        let fate = if checks::work(&call).is_some() && fate < 5 { 3 } else { fate };
        let error = |kind| CallError { kind, text: format!("{kind:?}") };
        // Work that was stopped, or whose host died, comes to nothing.
        let worked =
            checks::work(&call).is_none() || self.working.contains_key(&(host, life, ticket));
        if !worked {
            return;
        }
        let way = i64_of(self.dice.between(5, 400));
        let date = self.now;
        let answer = |world: &mut Self, answer: Answer| {
            let answer = Box::new(answer);
            world.come(way, Coming::Answer { host, life, ticket, answer, date });
        };
        if self.unable.contains(&host) && checks::work(&call).is_some() {
            let kind =
                if host.is_multiple_of(2) { CallErrorKind::Denied } else { CallErrorKind::Refused };
            return answer(self, checks::failed(&call, error(kind)));
        }
        match fate {
            0 | 1 => {
                self.counts.throttled += 1;
                answer(self, checks::failed(&call, error(CallErrorKind::Throttled)));
            }
            // It never came.
            2 => self.counts.lost += 1,
            3 => answer(self, checks::failed(&call, error(CallErrorKind::Unclear))),
            // It was done, and nobody hears of it.
            4 => {
                self.counts.lost += 1;
                self.serve(host, &call);
            }
            5 => {
                self.serve(host, &call);
                answer(self, checks::failed(&call, error(CallErrorKind::Unclear)));
            }
            _ => {
                let served = self.serve(host, &call);
                answer(self, served);
            }
        }
    }

    fn serve(&mut self, host: usize, call: &Call) -> Answer {
        let Self { now, dice, server, .. } = self;
        let answer = server.serve(*now, dice, call);
        match call {
            Call::Read(_) | Call::Look { .. } | Call::List { .. } | Call::Database => {}
            Call::Lease(_) | Call::Scratches => {}
            _ => self.log(|| {
                let text: String = format!("{call:?}").chars().take(150).collect();
                let came: String = format!("{answer:?}").chars().take(80).collect();
                format!("i-{host}: {text} -> {came}")
            }),
        }
        checks::after(self, call, &answer);
        answer
    }

    /// Slots that were due since the start.
    pub fn slots(&self) -> Vec<groundcrew_core::backups::slot::Slot> {
        let JobSettings { schedule, zone, .. } = &self.settings;
        schedule.slots(zone, START / 1000, self.now / 1000 - 4 * 3600, 100)
    }

    pub fn outcome(&self, key: &RecordKey) -> Option<&Outcome> {
        let path = key.path(&self.settings.name);
        self.server.records.get(&path).map(|record| &record.outcome)
    }

    pub fn tail(&self) -> String {
        let Some(log) = &self.log else { return "replay it to see more".to_owned() };
        log[log.len().saturating_sub(80)..].join("\n")
    }

    pub fn living(&self) -> BTreeSet<usize> {
        (0..HOSTS).filter(|host| self.agents[*host].is_some()).collect()
    }
}
