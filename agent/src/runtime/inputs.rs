//! Turns what is seen and heard on the host into events for the controller.

use std::collections::BTreeSet;
use std::sync::Arc;

use groundcrew_core::event::{Event, Found, HandoffState, News};
use groundcrew_core::ledger::GenerationRecord;
use groundcrew_core::types::{Pid, ProcessId, Run, Target, TierName};

use super::crashes::Crash;
use super::numbers::answered;
use super::{Agent, Known, RuntimeError, effects};
use crate::control::Request;
use crate::handoff::channel::ChannelEvent;
use crate::handoff::listener::ListenError;
use crate::handoff::protocol::{FromProcess, State, Stats, ToProcess};
use crate::releases::hash;
use crate::supervisor::{Record, SupervisorEvent};
use crate::{clock, systemd};

impl Agent {
    /// What is on the host when the agent starts: processes of the agent before, their sockets,
    /// releases.
    pub(super) async fn look_around(&mut self) -> Result<Event, RuntimeError> {
        let adoption = self.supervisor.adopt().await?;
        for note in &adoption.notes {
            tracing::warn!("{note}");
        }
        let mut found = Vec::new();
        for process in adoption.found {
            let Record { id, run, plan, release, .. } = process.record.clone();
            tracing::info!(tier = %id.tier, process = %id, "{id} (pid {}) goes on", process.pid);
            self.registry.insert(id.clone(), run, process.pid);
            let record = self.generation_record(&process.record);
            let release = release.version;
            self.known.insert(id.clone(), Known { run, plan, release });
            found.push(Found { id, run, pid: process.pid, record: record.map(Box::new) });
        }
        self.take_sockets_back();
        for lost in adoption.lost {
            let id = lost.record.id;
            self.measured.ended(&id.tier, &lost.exit);
            tracing::warn!(tier = %id.tier, process = %id, "{id} {}", lost.exit);
        }
        self.say_living();
        let on_disk = effects::on_disk(&self.store).await;
        Ok(Event::Begun { found, on_disk, same_boot: self.ledger_file.same_boot })
    }

    /// Lets the logs know which processes there are.
    pub(super) fn say_living(&self) {
        let rules = |known: &super::Known| known.plan.spec.logs.clone();
        let living = self.known.iter().map(|(id, known)| (id.clone(), rules(known)));
        self.logs.set_living(living.collect());
    }

    /// Before anything else can bind the ports.
    fn take_sockets_back(&mut self) {
        let pids: Vec<_> = self.known.keys().filter_map(|id| self.supervisor.pid(id)).collect();
        let ports = self.known.values().filter_map(|known| known.plan.spec.port);
        for port in ports.collect::<BTreeSet<_>>() {
            if let Err(error) = self.hold_port(port, &pids) {
                tracing::error!("{}", crate::errors::chain(&error));
            }
        }
    }

    /// Makes sure that the agent holds the socket of a port, and systemd a copy of it.
    pub(super) fn hold_port(&mut self, port: u16, pids: &[Pid]) -> Result<(), ListenError> {
        if let Some(socket) = self.listeners.ensure(port, pids)? {
            systemd::store(port, socket);
        }
        Ok(())
    }

    /// What a process is made of, as far as its record and its release on disk say.
    fn generation_record(&self, record: &Record) -> Option<GenerationRecord> {
        // Without its files it cannot be started again, so there is nothing to go on with.
        let manifest = std::fs::read(self.store.manifest_path(&record.release.digest)).ok()?;
        Some(GenerationRecord {
            tier: record.id.tier.clone(),
            target: Target {
                release: record.release.clone(),
                manifest_digest: hash::sha256(&manifest),
            },
            plan: record.plan.clone(),
            nonce: 0,
        })
    }

    pub(super) fn supervisor_says(&mut self, event: SupervisorEvent) -> Option<Event> {
        match event {
            SupervisorEvent::Started { id, run, pid } => {
                self.registry.insert(id.clone(), run, pid);
                Some(Event::Started { id, run, outcome: Ok(pid) })
            }
            SupervisorEvent::StartFailed { id, run, reason } => {
                Some(Event::Started { id, run, outcome: Err(reason) })
            }
            SupervisorEvent::Exited { id, run, exit, reason } => {
                self.registry.remove(&id, run);
                self.board.remove(&id);
                self.measured.ended(&id.tier, &exit);
                let exited = Event::Process { id: id.clone(), run, news: News::Exited(exit) };
                let Some(reason) = reason else { return Some(exited) };
                // Said first, so that the exit's own line carries it.
                let crash = Crash { message: reason.clone(), stack: String::new() };
                self.crashing(&id, run, crash);
                self.answer(Event::Process { id, run, news: News::Crashing(reason) });
                self.answer(exited);
                None
            }
            SupervisorEvent::KillUnfinished { id, left, .. } => {
                tracing::error!(
                    tier = %id.tier, process = %id,
                    "{id} cannot be killed: {left:?} hang in the kernel"
                );
                None
            }
        }
    }

    pub(super) fn process_says(&mut self, event: ChannelEvent) -> Option<Event> {
        let ChannelEvent { id, run, message } = event;
        let news = match message {
            FromProcess::Hello(hello) => News::Hello(handoff_state(hello.state)),
            FromProcess::Listening { .. } => News::Listening,
            FromProcess::Elsewhere { port, child, .. } => News::Elsewhere { port, child },
            FromProcess::Accepting => News::Accepting,
            FromProcess::Drained { cut, .. } => {
                News::Drained { cut: u32::try_from(cut).unwrap_or(u32::MAX) }
            }
            FromProcess::Crash { message, stack, .. } => {
                let crash = Crash { message: message.clone(), stack: stack.unwrap_or_default() };
                self.crashing(&id, run, crash);
                News::Crashing(message)
            }
            FromProcess::Stats(stats) => self.count(&id, run, stats)?,
            FromProcess::Traces(notes) => {
                self.trace(&id, run, &notes);
                return None;
            }
            FromProcess::Unknown => return None,
        };
        Some(Event::Process { id, run, news })
    }

    /// Numbers do not go through the controller, except how many requests failed.
    fn count(&mut self, id: &ProcessId, run: Run, stats: Stats) -> Option<News> {
        let (requests, errors) = (stats.status.total(), stats.status.server_error);
        let in_flight = stats.in_flight;
        let before = self.board.latest(id).map_or(0, |latest| latest.in_flight);
        if let Some(known) = self.known.get(id).filter(|known| known.run == run) {
            self.totals.count(&id.tier, &known.release, &answered(&stats));
            for (kind, times) in &stats.gc {
                if let Some(kind) = kind.name() {
                    self.totals.count_collections(&id.tier, kind, times);
                }
            }
        }
        self.board.record(id, run, clock::at(), stats);
        self.balance(&id.tier.clone(), id.generation);
        let news = requests > 0 || in_flight != before;
        news.then_some(News::Answered { requests, errors, in_flight })
    }

    fn balance(&mut self, tier: &TierName, generation: groundcrew_core::types::Generation) {
        let accepting = self.controller.generations().filter(|state| state.number == generation);
        let accepting = accepting.flat_map(|state| &state.processes).filter(|p| p.accepts());
        let count = |p: &groundcrew_core::process::Process| {
            Some((p.id.clone(), self.board.latest(&p.id)?.connections))
        };
        // One process without numbers would make the others look crowded.
        let Some(counts) = accepting.map(count).collect::<Option<Vec<_>>>() else { return };
        for (id, connections) in self.balancer.orders(tier, generation, clock::at(), &counts) {
            self.registry.send(&id, ToProcess::Shed { connections });
        }
    }

    /// Tidies up behind an answer before the controller sees it.
    pub(super) fn note(&mut self, event: Event) -> Event {
        if let Event::Fetched { target, .. } = &event {
            self.fetches.remove(&target.release.digest);
        }
        event
    }

    pub(super) fn request(&mut self, request: Request) -> Option<Event> {
        // Whoever asked may have gone meanwhile; then nobody misses the answer.
        match request {
            Request::Status(answer) => {
                drop(answer.send(Arc::new(self.status())));
                None
            }
            Request::Releases { version, answer } => {
                drop(answer.send(self.releases(version.as_ref())));
                None
            }
            Request::Order { reason, answer } => self.drain_or_undrain(reason, answer),
            Request::DrillPlan { within, answer } => {
                drop(answer.send(self.controller.drain_plan(within)));
                None
            }
            Request::Tiers(answer) => {
                drop(answer.send(self.controller.tier_numbers()));
                None
            }
            Request::Drill { text, within, answer } => self.drill(text, within, answer),
            Request::Standby(answer) => {
                self.standby(answer);
                None
            }
            Request::Reload(answer) => {
                self.reload(answer);
                None
            }
            Request::Metrics { format, answer } => {
                drop(answer.send(self.metrics(format)));
                None
            }
            Request::History { after, answer } => {
                drop(answer.send(self.history.document(clock::now(), after)));
                None
            }
            Request::Agent(answer) => {
                drop(answer.send(self.reload.document(self.controller.is_ready())));
                None
            }
            Request::NotifyTest { name, answer } => {
                self.test_notifications(name, answer);
                None
            }
            Request::RunBackup { name, answer } => {
                self.run_backup(name, answer);
                None
            }
            Request::Restart { tier, answer } => {
                let known: Vec<_> = self.controller.ledger().tiers.keys().cloned().collect();
                if !known.contains(&tier) {
                    let names: Vec<_> = known.iter().map(TierName::as_str).collect();
                    let has = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                    drop(answer.send(Err(format!("this host has no tier {tier}; it has {has}"))));
                    return None;
                }
                drop(answer.send(Ok(format!(
                    "{tier}: new processes start and take over; `groundcrew status -w` shows them"
                ))));
                Some(Event::RestartTier(tier))
            }
        }
    }
}

fn handoff_state(state: State) -> HandoffState {
    match state {
        State::Starting => HandoffState::Starting,
        State::Listening => HandoffState::Listening,
        State::Accepting => HandoffState::Accepting,
        State::Bleeding => HandoffState::Bleeding,
        State::Drained => HandoffState::Drained,
    }
}
