//! The host, the source and the shell, as far as the controller can tell the difference.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use groundcrew_core::controller::{Controller, Settings};
use groundcrew_core::effect::Effect;
use groundcrew_core::event::{
    ChannelReading, Event, FetchOutcome, Found, HandoffState, News, OnDisk, ShipOutcome,
};
use groundcrew_core::ledger::{GenerationRecord, Ledger};
use groundcrew_core::lifecycle::fleet::FleetAnswer;
use groundcrew_core::logs::LogRules;
use groundcrew_core::spec::*;
use groundcrew_core::time::{Moment, Now, Wall};
use groundcrew_core::types::*;

use crate::dice::Dice;
use crate::invariants::Watcher;
use cloud::{Cloud, Turn};

pub mod cloud;
mod shell;

/// How the processes of a release behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conduct {
    Good,
    ThrowsAtBoot,
    NeverListens,
    NeverReady,
    CrashesSoon,
    Errs,
    Corrupt,
}

#[derive(Debug, Clone)]
pub struct SimProcess {
    pub run: Run,
    pub pid: Pid,
    pub target: Target,
    pub plan: TierPlan,
    pub conduct: Conduct,
    pub state: HandoffState,
    pub hung: bool,
    pub good_probes: u32,
    pub bleed_until: Option<Moment>,
}

#[derive(Debug, Default)]
pub struct Counts {
    pub steps: u64,
    pub cutovers: u64,
    pub rollbacks: u64,
    pub agent_deaths: u64,
    pub drains: u64,
    pub shipped: u64,
    pub left: u64,
}

/// Something that will happen, and whether it dies with the agent.
enum Coming {
    ToAgent(Event),
    /// What a process does by itself, whether or not there is an agent.
    Process(ProcessId, Run, Deed),
    AgentStarts,
    Promote,
    Cloud(Turn),
}

#[derive(Debug, Clone)]
enum Deed {
    Listen,
    Exit(Exit),
    Answer,
    BleedEnds,
    Hello,
}

/// The agent wanted the logs shipped.
#[derive(Debug, Clone, Copy)]
pub struct LogsAsked {
    pub since: Moment,
    pub by: Moment,
    /// The agent has heard what became of them.
    pub answered: bool,
    /// The agent that asked has died.
    pub orphaned: bool,
    /// The agent stopped waiting, for want of time.
    pub given_up: bool,
}

pub struct World {
    pub dice: Dice,
    pub now: Now,
    pub log: Vec<String>,
    pub counts: Counts,
    pub processes: BTreeMap<ProcessId, SimProcess>,
    pub conducts: BTreeMap<Digest, Conduct>,
    pub desired: Option<Desired>,
    pub on_disk: BTreeSet<Digest>,
    pub faults: bool,
    /// Half of the hosts are in an Auto Scaling group.
    pub cloud: Option<Cloud>,
    /// What was asked about the logs last.
    pub logs: Option<LogsAsked>,
    /// When this agent began.
    pub began: Moment,
    /// When this agent was told to end.
    pub told_to_exit: Option<Moment>,
    agent: Option<Controller>,
    /// An agent has begun since the host booted.
    same_boot: bool,
    ledger: Ledger,
    coming: BTreeMap<(Moment, u64), Coming>,
    sequence: u64,
    next_pid: Pid,
    watcher: Watcher,
    same_tick: (Moment, u32),
}

/// The host has been up for longer than anything lasts: 50 days.
const START: Now = Now { at: Moment(4_320_000_000), wall: Wall(1_790_000_000_000) };

impl World {
    pub fn new(seed: u64) -> Self {
        let mut world = Self {
            dice: Dice::new(seed),
            now: START,
            log: Vec::new(),
            counts: Counts::default(),
            processes: BTreeMap::new(),
            conducts: BTreeMap::new(),
            desired: None,
            on_disk: BTreeSet::new(),
            faults: true,
            cloud: None,
            logs: None,
            began: START.at,
            told_to_exit: None,
            agent: None,
            same_boot: false,
            ledger: Ledger::default(),
            coming: BTreeMap::new(),
            sequence: 0,
            next_pid: 100,
            watcher: Watcher::default(),
            same_tick: (START.at, 0),
        };
        world.come(0, Coming::Promote);
        world.come(1, Coming::AgentStarts);
        if world.dice.one_in(2) {
            world.cloud = Some(Cloud::new(START.at));
            world.come_timeout("launch");
        }
        world
    }

    /// A quarter of an hour in which everything may fail.
    pub fn run_with_faults(&mut self) {
        for _ in 0..self.dice.between(1, 7) {
            let at = self.dice.between(10, 900_000);
            self.come(at, Coming::Promote);
        }
        for _ in 0..self.dice.between(0, 6) {
            let at = self.dice.between(10_000, 900_000);
            self.come(at, Coming::Cloud(Turn::Whim));
        }
        let end = START.at.plus(Duration::from_mins(15));
        self.run_until(end);
    }

    /// Then a good release and peace: everything has to be well in the end.
    pub fn run_without_faults(&mut self) {
        self.faults = false;
        self.log("peace");
        if self.is_gone() {
            return;
        }
        // Whoever takes an order back needs an agent that hears it.
        self.start_agent();
        self.all_passes();
        // What hangs goes on hanging: it has to be found and replaced.
        self.promote(Conduct::Good);
        self.run_until(self.now.at.plus(Duration::from_mins(20)));
        // Its termination began in worse times.
        if self.is_gone() {
            return;
        }
        let controller = self.agent.as_ref().expect("an agent in peace");
        crate::invariants::check_end(self, controller);
    }

    /// And in peace a host leaves as it should.
    pub fn leave(&mut self) {
        if self.cloud.is_none() || self.is_gone() {
            return;
        }
        let spot = self.dice.between(0, 3);
        if spot > 0 {
            self.reclaim(Duration::from_secs(if spot == 1 { 120 } else { 30 }));
        }
        if spot == 0 || self.dice.one_in(2) {
            self.scale_in();
        }
        self.run_until(self.now.at.plus(Duration::from_mins(15)));
        crate::invariants::check_gone(self, spot > 0);
    }

    pub fn is_gone(&self) -> bool {
        self.cloud.as_ref().is_some_and(|cloud| cloud.gone)
    }

    pub fn log(&mut self, text: impl Into<String>) {
        self.log.push(format!("{:>9} {}", self.now.at.0 - START.at.0, text.into()));
    }

    fn run_until(&mut self, end: Moment) {
        loop {
            let wake = self.agent.as_ref().and_then(Controller::next_wake);
            let next = self.coming.keys().next().map(|(at, _)| *at);
            let tick = wake.is_some_and(|wake| next.is_none_or(|next| wake <= next));
            let Some(at) = (if tick { wake } else { next }) else { break };
            if at > end {
                break;
            }
            self.pass_time(at.max(self.now.at));
            if tick {
                self.check_tick();
                self.step(Event::Tick);
            } else if let Some((_, coming)) = self.coming.pop_first() {
                self.happen(coming);
            }
        }
        self.pass_time(end);
    }

    /// A wake that leads nowhere would be a busy loop.
    fn check_tick(&mut self) {
        let (at, count) = self.same_tick;
        self.same_tick = if at == self.now.at { (at, count + 1) } else { (self.now.at, 0) };
        assert!(
            self.same_tick.1 < 50,
            "the controller spins at {at:?}\n{}\n{:?}",
            self.tail(),
            self.agent
        );
    }

    fn pass_time(&mut self, at: Moment) {
        let passed = at.since(self.now.at);
        self.now.wall.0 += i64::try_from(passed.as_millis()).unwrap();
        self.now.at = at;
        if self.faults && self.dice.one_in(200) {
            self.now.wall.0 += i64::try_from(self.dice.between(0, 7_200_000)).unwrap() - 3_600_000;
        }
    }

    fn come(&mut self, after_ms: u64, coming: Coming) {
        self.sequence += 1;
        let at = self.now.at.plus(Duration::from_millis(after_ms));
        self.coming.insert((at, self.sequence), coming);
    }

    fn happen(&mut self, coming: Coming) {
        match coming {
            Coming::ToAgent(event) => self.step(event),
            Coming::AgentStarts => self.start_agent(),
            Coming::Promote => {
                let conducts = [
                    Conduct::Good,
                    Conduct::Good,
                    Conduct::Good,
                    Conduct::ThrowsAtBoot,
                    Conduct::NeverListens,
                    Conduct::NeverReady,
                    Conduct::CrashesSoon,
                    Conduct::Errs,
                    Conduct::Corrupt,
                ];
                let conduct = self.dice.pick(&conducts);
                self.promote(conduct);
            }
            Coming::Process(id, run, deed) => self.deed(&id, run, deed),
            Coming::Cloud(turn) => self.turn(turn),
        }
    }

    fn promote(&mut self, conduct: Conduct) {
        let generation = self.desired.as_ref().map_or(1, |d| d.channel_generation + 1);
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&generation.to_be_bytes());
        let digest = Digest::from_bytes(bytes);
        let version = format!("v{generation}").parse().unwrap();
        let target = Target { release: ReleaseRef { version, digest }, manifest_digest: digest };
        self.conducts.insert(digest, conduct);
        self.desired = Some(Desired { target, channel_generation: generation });
        self.log(format!("promote v{generation} {conduct:?}"));
    }

    fn settings(&self) -> Settings {
        Settings {
            tiers: None,
            overrides: BTreeMap::new(),
            cores: 2,
            poll_interval: Duration::from_secs(10),
            keep: 3,
            disk_bytes_max: 1 << 40,
            lifecycle: self.cloud.as_ref().map(|_| cloud::settings()).unwrap_or_default(),
            seed: 7,
        }
    }

    fn start_agent(&mut self) {
        if self.agent.is_some() || self.is_gone() {
            return;
        }
        let lost_ledger = self.faults && self.dice.one_in(40);
        if lost_ledger {
            self.ledger = Ledger::default();
        }
        (self.began, self.told_to_exit) = (self.now.at, None);
        if let Some(logs) = &mut self.logs {
            logs.orphaned = true;
        }
        self.agent = Some(Controller::new(self.settings(), self.ledger.clone()));
        self.watcher.remember(&self.ledger);
        self.log(format!("agent starts{}", if lost_ledger { " without its ledger" } else { "" }));
        let found: Vec<_> = self.processes.iter().map(|(id, process)| found(id, process)).collect();
        for (id, process) in self.processes.clone() {
            let after = self.dice.between(1, 3000);
            self.come(after, Coming::Process(id, process.run, Deed::Hello));
        }
        let on_disk = self.on_disk();
        let same_boot = std::mem::replace(&mut self.same_boot, true);
        self.step(Event::Begun { found, on_disk, same_boot });
        if self.cloud.is_some() {
            self.sees();
        }
    }

    fn on_disk(&self) -> Vec<OnDisk> {
        self.on_disk.iter().map(|digest| OnDisk { digest: *digest, bytes: 100 }).collect()
    }

    fn step(&mut self, event: Event) {
        let Some(agent) = &mut self.agent else { return };
        self.counts.steps += 1;
        assert!(self.counts.steps < 100_000, "the controller never rests\n{}", self.tail());
        let text = describe(&event);
        if let Event::Leave { .. } = event {
            self.told_to_exit.get_or_insert(self.now.at);
        }
        if let (Event::LogsShipped { since, .. }, Some(logs)) = (&event, &mut self.logs) {
            logs.answered |= *since == logs.since;
        }
        let effects = agent.step(self.now, event);
        if !text.is_empty() {
            self.log(text);
        }
        assert!(effects.len() < 100, "{} effects in one step", effects.len());
        for effect in effects {
            // The agent may die between any two effects.
            if self.faults && self.dice.one_in(400) {
                return self.agent_dies();
            }
            self.carry_out(effect);
        }
        if let Some(agent) = self.agent.take() {
            crate::invariants::check_step(self, &agent);
            self.agent = Some(agent);
        }
    }

    fn reboot(&mut self) {
        self.log("the host boots");
        self.agent = None;
        self.same_boot = false;
        self.processes.clear();
        let of_the_host =
            |coming: &Coming| matches!(coming, Coming::ToAgent(_) | Coming::Process(..));
        self.coming.retain(|_, coming| !of_the_host(coming));
        let after = self.dice.between(5000, 60_000);
        self.come(after, Coming::AgentStarts);
    }

    fn agent_dies(&mut self) {
        self.log("agent dies");
        self.counts.agent_deaths += 1;
        self.agent = None;
        self.coming.retain(|_, coming| !matches!(coming, Coming::ToAgent(_)));
        let after = self.dice.between(50, 20_000);
        self.come(after, Coming::AgentStarts);
    }

    fn answer(&mut self, after_ms: u64, event: Event) {
        // Answers get lost only with the agent; within one life the shell owes them.
        self.come(after_ms, Coming::ToAgent(event));
    }

    fn tell_agent(&mut self, id: &ProcessId, run: Run, news: News) {
        if self.agent.is_some() {
            self.answer(1, Event::Process { id: id.clone(), run, news });
        }
    }

    pub fn tail(&self) -> String {
        self.log[self.log.len().saturating_sub(80)..].join("\n")
    }
}

fn found(id: &ProcessId, process: &SimProcess) -> Found {
    let record = GenerationRecord {
        tier: id.tier.clone(),
        target: process.target.clone(),
        plan: process.plan.clone(),
        nonce: 0,
    };
    Found { id: id.clone(), run: process.run, pid: process.pid, record: Some(Box::new(record)) }
}

fn describe(event: &Event) -> String {
    match event {
        Event::Tick | Event::LedgerSaved(Ok(())) | Event::OnDisk(_) => String::new(),
        Event::Process { news: News::Probed(Ok(())) | News::Answered { .. }, .. } => String::new(),
        Event::Channel(_) => String::new(),
        Event::Fleet(FleetAnswer::Membership(Ok(Some(said)))) => format!("state {}", said.state),
        Event::Fetched { target, outcome: FetchOutcome::Ready(_) } => format!("fetched {target}"),
        Event::Process { id, run, news } => format!("{id}/{run} {news:?}"),
        Event::Begun { found, .. } => format!("begun with {} processes", found.len()),
        other => format!("{other:?}"),
    }
}

pub fn spec() -> ReleaseSpec {
    let web = TierSpec {
        command: vec!["node".into(), "server.js".into()],
        port: Some(3000),
        processes: ProcessCount::PerCore,
        ready: ReadySpec {
            path: Some("/health".into()),
            within: Duration::from_mins(1),
            successes: 2,
        },
        bleed: Duration::from_secs(30),
        stop: Duration::from_secs(10),
        env: BTreeMap::new(),
        handoff: Handoff::Node,
        crash: CrashMode::Exit,
        logs: LogRules::default(),
    };
    let worker = TierSpec { port: None, processes: ProcessCount::Exactly(1), ..web.clone() };
    ReleaseSpec {
        tiers: [("web".parse().unwrap(), web), ("worker".parse().unwrap(), worker)].into(),
        trial: TrialSpec { watch: Duration::from_mins(1), errors_ppm_max: 50_000 },
    }
}
