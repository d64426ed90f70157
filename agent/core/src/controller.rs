//! Brings what a host runs to what its channel says, one small step for each event.
//!
//! Level, not edge: every step looks at what is desired and what was observed, so it does not
//! matter which agent, the one before a crash or the one after, took the step before.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::effect::{Effect, Level, Subject, Topic, tell};
use crate::event::{ChannelReading, Event, FetchOutcome, News, OnDisk};
use crate::ledger::Ledger;
use crate::lifecycle::fleet::Fleet;
use crate::lifecycle::hooks::Hooks;
use crate::lifecycle::notice::{Notice, prepares};
use crate::lifecycle::sight::TargetState;
use crate::lifecycle::{LifecycleSettings, Stance};
use crate::limits;
use crate::measured::Stage;
use crate::retention::to_prune;
use crate::rollout::{Retry, Rollout, retry_delay};
use crate::spec::{ReleaseSpec, TierOverride, TierPlan};
use crate::status::State;
use crate::tier::{Circumstances, GenerationState, Role};
use crate::time::{Moment, Now, Wall};
use crate::types::{Digest, Generation, ReleaseRef, Target, TierName};

mod begin;
pub mod describe;
mod goal;
mod leaving;
mod lifecycle;
mod logs;
mod measured;
mod standing;
mod swap;
mod trial;

/// What the host's configuration says.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The tiers of a release that this host runs; `None` for all.
    pub tiers: Option<BTreeSet<TierName>>,
    /// The host's words about tiers.
    pub overrides: BTreeMap<TierName, TierOverride>,
    /// Cores of the host.
    pub cores: u16,
    /// How often the channel is read.
    pub poll_interval: Duration,
    /// Releases kept on disk.
    pub keep: usize,
    /// Bytes that releases on disk may take.
    pub disk_bytes_max: u64,
    /// About the host's place in its group.
    pub lifecycle: LifecycleSettings,
    /// Makes the jitter of this host different from that of others.
    pub seed: u64,
}

/// Reading the channel.
#[derive(Debug, Clone, Default)]
struct Poll {
    pending_by: Option<Moment>,
    next: Moment,
    last_ok: Option<Wall>,
    error: Option<String>,
}

/// The trial of the current release.
#[derive(Debug, Clone)]
struct Trial {
    since: Now,
    /// It failed, and there is nothing to go back to.
    stuck: Option<String>,
}

/// Decides everything about the application on this host.
#[derive(Debug, Clone)]
pub struct Controller {
    settings: Settings,
    ledger: Ledger,
    saved: Ledger,
    ledger_error: Option<String>,
    save_again: Option<Moment>,
    specs: BTreeMap<Digest, ReleaseSpec>,
    generations: BTreeMap<Generation, GenerationState>,
    rollout: Option<Rollout>,
    retry: Option<Retry>,
    trial: Option<Trial>,
    poll: Poll,
    on_disk: Vec<OnDisk>,
    pruning: BTreeSet<Digest>,
    notices: Vec<Notice>,
    fleet: Fleet,
    hooks: Hooks,
    gate: Option<lifecycle::Gate>,
    registering: lifecycle::Registering,
    sight_trouble: Option<String>,
    drill: Option<Notice>,
    /// Lines of the drain's record that the log has.
    logged: usize,
    /// The request of the logs that this agent made last.
    logs_asked: Option<Moment>,
    exit: Option<leaving::Exiting>,
    exited: bool,
    stepped: Now,
    begun: bool,
    state: (State, Wall),
    random: u64,
}

impl Controller {
    /// A controller that goes on from `ledger`. Its first event must be [`Event::Begun`].
    #[must_use]
    pub fn new(settings: Settings, ledger: Ledger) -> Self {
        let random = settings.seed;
        Self {
            settings,
            saved: ledger.clone(),
            ledger: remembering(ledger),
            ledger_error: None,
            save_again: None,
            specs: BTreeMap::new(),
            generations: BTreeMap::new(),
            rollout: None,
            retry: None,
            trial: None,
            poll: Poll::default(),
            on_disk: Vec::new(),
            pruning: BTreeSet::new(),
            notices: Vec::new(),
            fleet: Fleet::default(),
            hooks: Hooks::default(),
            gate: None,
            registering: lifecycle::Registering::default(),
            sight_trouble: None,
            drill: None,
            logged: 0,
            logs_asked: None,
            exit: None,
            exited: false,
            stepped: Now::default(),
            begun: false,
            state: (State::Starting, Wall::default()),
            random,
        }
    }

    /// Takes in one event and says what to do about it.
    pub fn step(&mut self, now: Now, event: Event) -> Vec<Effect> {
        let mut out = Vec::new();
        self.random = splitmix(self.random);
        self.stepped = now;
        // Twenty of these a second are usual, and mostly nobody waits for them.
        let only_numbers = matches!(&event, Event::Process { news: News::Answered { .. }, .. });
        self.observe(now, event, &mut out);
        let at_rest = only_numbers && self.is_at_rest();
        if self.begun && !self.exited && !at_rest {
            self.reconcile(now, &mut out);
        }
        self.remember(now, &mut out);
        out
    }

    /// Whether nothing that is under way looks at how many requests there are: no release is on
    /// its way or on trial, and the host stays. What is due by the clock comes by a tick.
    fn is_at_rest(&self) -> bool {
        self.rollout.is_none() && self.on_trial().is_none() && self.stance() == Stance::Serve
    }

    /// The next moment at which a [`Event::Tick`] has something to do.
    #[must_use]
    pub fn next_wake(&self) -> Option<Moment> {
        if !self.begun || self.exited {
            return None;
        }
        let generations = self.generations.values().filter_map(GenerationState::next_wake);
        let others = [self.release_wake(), self.save_again, self.lifecycle_wake()];
        generations.chain(others.into_iter().flatten()).min()
    }

    /// When something about releases is due, as far as they matter to a host that may be leaving.
    fn release_wake(&self) -> Option<Moment> {
        let stance = self.stance();
        if stance == Stance::Leave {
            return None;
        }
        let poll = Some(self.poll.pending_by.unwrap_or(self.poll.next));
        let rollout = self.rollout.as_ref().and_then(Rollout::next_wake);
        // A retry matters only while nothing else is under way.
        let retry = self.retry.as_ref().filter(|_| self.rollout.is_none());
        let retry = retry.map(|retry| retry.not_before);
        let trial = self.trial_ends().filter(|_| stance == Stance::Serve);
        [poll, rollout, retry, trial].into_iter().flatten().min()
    }

    /// Whether every tier of this host has a process that accepts, and the host is not leaving.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let live: Vec<_> = self.live().collect();
        let serves = !live.is_empty() && live.iter().all(|live| live.accepting() > 0);
        serves && self.is_wanted()
    }

    /// Whether it ends as soon as everything else has.
    #[must_use]
    pub fn is_told_to_exit(&self) -> bool {
        self.exit.is_some()
    }

    /// Whether nothing says that the host should not take requests.
    fn is_wanted(&self) -> bool {
        let target = self.ledger.lifecycle.target();
        let fit = target.is_none_or(|target| !matches!(target, TargetState::Unknown(_)));
        fit && self.notices.is_empty() && !self.is_draining()
    }

    /// What it remembers.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Every generation that may have processes.
    pub fn generations(&self) -> impl Iterator<Item = &GenerationState> {
        self.generations.values()
    }

    /// The rollout that is under way.
    #[must_use]
    pub fn rollout(&self) -> Option<&Rollout> {
        self.rollout.as_ref()
    }

    fn observe(&mut self, now: Now, event: Event, out: &mut Vec<Effect>) {
        match event {
            Event::Begun { found, on_disk, same_boot } => {
                self.begin(now, &found, on_disk, same_boot, out);
            }
            Event::Tick => {}
            Event::Channel(reading) => self.channel_read(now, reading, out),
            Event::Fetched { target, outcome } => self.fetched(now, &target, outcome, out),
            Event::OnDisk(on_disk) => {
                self.pruning
                    .retain(|digest| on_disk.iter().any(|release| release.digest == *digest));
                self.on_disk = on_disk;
            }
            Event::Started { id, run, outcome } => {
                let circumstances = self.circumstances(now, id.generation);
                if let Some(generation) = self.generations.get_mut(&id.generation) {
                    generation.started(&id, run, outcome, circumstances, out);
                }
            }
            Event::Process { id, run, news } => {
                self.record_news(now, &id, &news);
                let circumstances = self.circumstances(now, id.generation);
                if let Some(generation) = self.generations.get_mut(&id.generation) {
                    generation.news(&id, run, news, circumstances, out);
                }
            }
            Event::RestartTier(tier) => {
                if let Some(tier) = self.ledger.tiers.get_mut(&tier) {
                    tier.nonce = tier.nonce.saturating_add(1);
                    self.retry = None;
                }
            }
            Event::Order(reason) => self.order(now, reason),
            Event::Drill { text, within } => self.begin_drill(now, text, within),
            Event::Sighted { sighting, trouble } => {
                self.sighted(now, sighting.map(|sighting| *sighting), trouble, out);
            }
            Event::Fleet(answer) => self.fleet_answered(now, answer, out),
            Event::Noticed(told) => out.push(Effect::Tell(told)),
            Event::LogsShipped { since, outcome } => self.logs_shipped(now, since, outcome, out),
            Event::Leave { reason } => {
                self.exit.get_or_insert(leaving::Exiting { told: now.at, reason });
            }
            Event::LedgerSaved(outcome) => {
                self.ledger_error = outcome.err();
                self.save_again =
                    self.ledger_error.as_ref().map(|_| now.at.plus(limits::RETRY_DELAY_MIN));
            }
        }
    }

    fn reconcile(&mut self, now: Now, out: &mut Vec<Effect>) {
        self.take_stance(now, out);
        self.ask_fleet(now, out);
        self.watch_gate(now);
        let stance = self.stance();
        if stance != Stance::Leave {
            self.poll(now, out);
        }
        if stance == Stance::Serve {
            self.watch_trial(now, out);
        }
        if stance != Stance::Leave {
            self.plan(now, out);
            self.advance(now, out);
        }
        self.advance_drain(now, out);
        for number in self.generations.keys().copied().collect::<Vec<_>>() {
            let circumstances = self.circumstances(now, number);
            if let Some(generation) = self.generations.get_mut(&number) {
                generation.drive(circumstances, out);
            }
        }
        self.bury(now, out);
        if stance != Stance::Leave {
            self.prune(out);
        }
        self.finish_drain(now, out);
        self.drive_hooks(now, out);
        self.record_effects(now, out);
        self.log_record(out);
        self.note_state(now);
    }

    fn channel_read(&mut self, now: Now, reading: ChannelReading, out: &mut Vec<Effect>) {
        let jitter = self.random % 400;
        self.channel_answered();
        self.poll.pending_by = None;
        // From 0.8 to 1.2 times the interval, so that a fleet does not ask in step.
        let interval = self.settings.poll_interval;
        let pause = interval / 1000 * (800 + u32::try_from(jitter).unwrap_or(0));
        self.poll.next = now.at.plus(pause);
        let error = match reading {
            ChannelReading::Unchanged => None,
            ChannelReading::Missing => Some("the channel does not exist yet".to_owned()),
            ChannelReading::Unreachable(reason) => Some(reason),
            ChannelReading::Found(desired) => {
                let before = self.ledger.desired.as_ref();
                let moved =
                    before.is_none_or(|d| d.channel_generation != desired.channel_generation);
                if moved {
                    self.ledger.rejected = None;
                    self.retry = None;
                    self.deploy(now, &desired.target);
                }
                self.ledger.desired = Some(desired);
                None
            }
        };
        if error.is_none() {
            self.poll.last_ok = Some(now.wall);
            if self.poll.error.is_some() {
                let text = "the source can be read again".to_owned();
                out.push(tell(now, Level::Normal, Topic::SourceBack, text));
            }
        }
        if error.is_some() && self.poll.error.is_none() {
            let text = error.clone().unwrap_or_default();
            let text = format!("the source cannot be read: {text}");
            out.push(tell(now, Level::Warning, Topic::SourceUnreachable, text));
        }
        self.poll.error = error;
    }

    fn poll(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.poll.pending_by.is_some_and(|by| now.at >= by) {
            let lost = "reading the channel took too long".to_owned();
            self.channel_read(now, ChannelReading::Unreachable(lost), out);
        }
        if self.poll.pending_by.is_none() && now.at >= self.poll.next {
            self.poll.pending_by = Some(now.at.plus(limits::READ_CHANNEL_WITHIN));
            out.push(Effect::ReadChannel);
        }
    }

    fn fetched(&mut self, now: Now, target: &Target, outcome: FetchOutcome, out: &mut Vec<Effect>) {
        if let FetchOutcome::Ready(spec) = &outcome {
            self.specs.insert(target.release.digest, (**spec).clone());
        }
        let jitter = self.random;
        match &mut self.rollout {
            Some(rollout) if rollout.target == *target => {
                rollout.fetched(now, jitter, &outcome, out);
            }
            // Nobody waits for it any more.
            _ => return,
        }
        if let FetchOutcome::Refused(reason) = outcome {
            self.fail_rollout(now, reason, out);
        }
    }

    /// Forgets generations of which nothing is left, and sockets that nobody wants.
    fn bury(&mut self, now: Now, out: &mut Vec<Effect>) {
        let ports = |generations: &BTreeMap<Generation, GenerationState>| -> BTreeSet<u16> {
            generations.values().filter_map(|g| g.record.plan.spec.port).collect()
        };
        let before = ports(&self.generations);
        let ended: Vec<_> =
            self.generations.values().filter(|g| g.role == Role::Retiring && g.ended()).collect();
        let numbers: Vec<_> = ended.iter().map(|generation| generation.number).collect();
        let ids = ended.iter().flat_map(|generation| &generation.processes);
        out.extend(ids.map(|process| Effect::Forget(process.id.clone())));
        let bled = ended.iter().filter_map(|generation| generation.retired);
        out.extend(bled.map(|since| measured::stage(Stage::Bleed, since, now)));
        for number in numbers {
            self.generations.remove(&number);
            self.ledger.generations.remove(&number);
        }
        let after = ports(&self.generations);
        out.extend(before.difference(&after).map(|port| Effect::CloseSocket { port: *port }));
    }

    fn prune(&mut self, out: &mut Vec<Effect>) {
        if self.rollout.is_some() || !self.ledger.settled {
            return;
        }
        let ledger = &self.ledger;
        let digest = |target: &Target| target.release.digest;
        let mut needed: BTreeSet<Digest> =
            ledger.generations.values().map(|g| digest(&g.target)).collect();
        needed.extend(ledger.current.as_ref().map(digest));
        needed.extend(ledger.previous().map(digest));
        needed.extend(ledger.desired.as_ref().map(|desired| digest(&desired.target)));
        let recent: Vec<_> = ledger.history.iter().map(digest).collect();
        let (keep, bytes_max) = (self.settings.keep, self.settings.disk_bytes_max);
        for digest in to_prune(&self.on_disk, &needed, &recent, keep, bytes_max) {
            if self.pruning.insert(digest) {
                self.specs.remove(&digest);
                out.push(Effect::Prune(digest));
            }
        }
    }

    /// Puts what has to survive in front of everything that relies on it.
    fn remember(&mut self, now: Now, out: &mut Vec<Effect>) {
        for effect in out.iter() {
            if let Effect::Tell(told) = effect {
                self.ledger.tell(told.clone());
            }
        }
        let again = self.save_again.is_some_and(|at| now.at >= at);
        if self.ledger != self.saved || again {
            self.save_again = None;
            self.saved = self.ledger.clone();
            out.insert(0, Effect::SaveLedger(Box::new(self.ledger.clone())));
        }
    }

    fn live(&self) -> impl Iterator<Item = &GenerationState> {
        self.generations.values().filter(|generation| generation.role == Role::Live)
    }

    fn live_of(&self, tier: &TierName) -> Option<&GenerationState> {
        self.live().find(|generation| generation.record.tier == *tier)
    }

    fn circumstances(&self, now: Now, generation: Generation) -> Circumstances {
        let current = self.ledger.current.as_ref();
        let on_trial =
            |state: &GenerationState| !self.ledger.settled && current == Some(&state.record.target);
        let state = self.generations.get(&generation);
        let trial = state.is_some_and(on_trial);
        let leave = state.and_then(|state| self.leave(now, state));
        let jitter = self.random.wrapping_add(u64::from(generation.0));
        Circumstances { now, trial, hold: self.holds(generation), leave, jitter }
    }

    /// Whether a generation that is to go must wait, because nothing else of its tier accepts.
    fn holds(&self, number: Generation) -> bool {
        let Some(tier) = self.generations.get(&number).map(|g| &g.record.tier) else {
            return false;
        };
        let serves = |g: &GenerationState| {
            g.record.tier == *tier && g.role != Role::Retiring && g.accepting() > 0
        };
        !self.is_draining()
            && self.ledger.tiers.contains_key(tier)
            && !self.generations.values().any(serves)
    }

    fn plan_of(&self, tier: &TierName, spec: &ReleaseSpec) -> Option<TierPlan> {
        let over = self.settings.overrides.get(tier);
        Some(TierPlan::new(spec.tiers.get(tier)?, over, self.settings.cores))
    }
}

/// A ledger that says of itself whether it was lost.
fn remembering(mut ledger: Ledger) -> Ledger {
    ledger.lifecycle.forgetful |= ledger == Ledger::default();
    ledger
}

/// The next of a sequence of numbers without a pattern: jitter needs no more.
pub(crate) fn splitmix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Whether two targets are the same bytes; the version is only a label.
fn same_release(a: &ReleaseRef, b: &ReleaseRef) -> bool {
    a.digest == b.digest
}
