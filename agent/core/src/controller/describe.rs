//! The controller's part of `status`: what is desired, what runs, and why. Requests and resources
//! are the shell's to fill in.

use super::*;
use crate::doctor::TierNumbers;
use crate::process::{Phase, Process};
use crate::rollout::{Kind, Stage};
use crate::status::*;
use crate::types::Environment;

/// What the status says about the host that the core does not know.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Which host.
    pub host: HostStatus,
    /// Which environment it belongs to.
    pub environment: Environment,
    /// Where releases come from, as the configuration writes it.
    pub source: String,
}

/// Why something is not as it should be, and what to type next.
struct Trouble {
    reason: String,
    next: String,
}

impl Controller {
    /// The status, without requests, resources and pipelines.
    #[must_use]
    pub fn status(&self, now: Now, facts: Facts) -> StatusDocument {
        let ledger = &self.ledger;
        let since = ledger.current_since;
        let release = |target: &Target| ReleaseStatus {
            version: target.release.version.clone(),
            digest: target.release.digest,
            since,
        };
        let trouble = self.trouble(now, &facts);
        let (reason, next) = match trouble {
            Some(trouble) => (Some(trouble.reason), Some(trouble.next)),
            None => (self.leaving().or_else(|| self.prepares(now)), None),
        };
        let names: BTreeSet<_> = self.generations.values().map(|g| &g.record.tier).collect();
        StatusDocument {
            state: self.state.0,
            since: self.state.1,
            now: now.wall,
            host: facts.host,
            environment: facts.environment,
            source: facts.source,
            release: ledger.current.as_ref().map(release),
            previous: ledger.previous().map(release),
            desired: ledger.desired.as_ref().map(|desired| DesiredStatus {
                version: desired.target.release.version.clone(),
                digest: desired.target.release.digest,
                channel_generation: desired.channel_generation,
            }),
            rejected: ledger.rejected.as_ref().map(|rejected| RejectedStatus {
                version: rejected.version.clone(),
                digest: rejected.digest,
                reason: rejected.reason.clone(),
                at: rejected.at,
            }),
            rollout: self.rollout_status(),
            reason,
            next,
            lifecycle: self.lifecycle_status(now),
            tiers: names.into_iter().map(|name| self.tier_status(now, name)).collect(),
            disk: DiskStatus {
                releases_bytes: self.on_disk.iter().map(|release| release.bytes).sum(),
                logs_bytes: 0,
            },
            source_status: SourceStatus {
                last_ok: self.poll.last_ok,
                error: self.poll.error.clone(),
            },
            pipelines: Vec::new(),
            backups: Vec::new(),
            events: ledger.events.iter().rev().cloned().collect(),
        }
    }

    /// What the tiers that run take, in numbers.
    #[must_use]
    pub fn tier_numbers(&self) -> Vec<TierNumbers> {
        let numbers = |live: &GenerationState| {
            let spec = &live.record.plan.spec;
            TierNumbers {
                name: live.record.tier.clone(),
                port: spec.port,
                handoff: spec.handoff,
                bleed_ms: crate::time::ms(spec.bleed),
                stop_ms: crate::time::ms(spec.stop),
                ready_within_ms: crate::time::ms(spec.ready.within),
            }
        };
        self.live().map(numbers).collect()
    }

    /// Notes since when the state is what it is.
    pub(super) fn note_state(&mut self, now: Now) {
        let state = self.host_state(now);
        // The first state of an agent's life is as old as what it found.
        if state != self.state.0 {
            let first_look = self.state.0 == State::Starting && state == State::Serving;
            let adopted = first_look && self.ledger.current_since < now.wall;
            let unknown = self.state.1 == Wall::default();
            self.state = (state, if adopted && !unknown { self.state.1 } else { now.wall });
        }
    }

    fn host_state(&self, now: Now) -> State {
        if self.exited {
            return State::Stopped;
        }
        let drain = self.ledger.lifecycle.drain.as_ref();
        if drain.is_some_and(|drain| !drain.is_over()) {
            return State::Draining;
        }
        if !self.notices.is_empty() {
            return State::Stopped;
        }
        if self.ledger_error.is_some() || self.retry.is_some() {
            return State::Degraded;
        }
        let states: Vec<_> = self.live().map(|live| self.tier_state(now, live)).collect();
        if states.contains(&State::Degraded) {
            return State::Degraded;
        }
        if states.is_empty() || states.contains(&State::Starting) {
            return State::Starting;
        }
        State::Serving
    }

    fn tier_state(&self, now: Now, live: &GenerationState) -> State {
        if self.is_draining() {
            return State::Draining;
        }
        if live.all_accept() {
            return State::Serving;
        }
        // Before the first look at processes that outlived their agent nothing is known against
        // them.
        let unknown = |process: &Process| matches!(process.phase, Phase::Adopted { .. });
        let fresh = |process: &Process| !process.served && process.restarts.total() == 0;
        let pending = |process: &Process| process.accepts() || unknown(process) || fresh(process);
        if live.processes.iter().all(pending) && live.crash_loop(now.at).is_none() {
            State::Starting
        } else {
            State::Degraded
        }
    }

    fn trouble(&self, now: Now, facts: &Facts) -> Option<Trouble> {
        if let Some(error) = &self.ledger_error {
            let reason = format!("what has to be remembered cannot be written: {error}");
            return Some(Trouble { reason, next: "df -h".to_owned() });
        }
        if let Some(retry) = &self.retry {
            let wait = crate::time::text(retry.not_before.since(now.at));
            let version = &retry.target.release.version;
            let reason = format!(
                "{version} failed {} times: {}; next try in {wait}",
                retry.failures, retry.reason
            );
            return Some(Trouble { reason, next: "groundcrew logs".to_owned() });
        }
        let stuck = self.trial.as_ref().and_then(|trial| trial.stuck.clone());
        for live in self.live() {
            let waits = |p: &&Process| matches!(p.phase, Phase::Waiting { .. });
            let looping = live.crash_loop(now.at).or_else(|| live.processes.iter().find(waits));
            if let Some(process) = looping.filter(|process| process.run > 0) {
                let reason = process.reason.as_deref().unwrap_or("keeps ending");
                return Some(Trouble {
                    reason: format!("{} {reason}", process.id),
                    next: format!("groundcrew logs --process {}", process.id),
                });
            }
        }
        if let Some(reason) = stuck {
            return Some(Trouble { reason, next: "groundcrew logs".to_owned() });
        }
        if self.ledger.current.is_none() && self.ledger.desired.is_none() {
            let reason = self.poll.error.clone()?;
            let (source, environment) = (&facts.source, &facts.environment);
            let next =
                format!("groundcrew promote VERSION --source {source} --environment {environment}");
            return Some(Trouble { reason, next });
        }
        None
    }

    fn rollout_status(&self) -> Option<RolloutStatus> {
        let Some(rollout) = &self.rollout else { return self.trial_status() };
        let stage = match (rollout.kind, rollout.stage) {
            (Kind::Rollback, _) => RolloutStage::RollingBack,
            (_, Stage::Fetching { .. }) => RolloutStage::Fetching,
            (_, Stage::Queued | Stage::Starting) => RolloutStage::Starting,
            (_, Stage::Cutover) => RolloutStage::Cutover,
        };
        let detail = match rollout.stage {
            Stage::Queued if !self.may_start() => {
                "on disk; waits until the host may serve".to_owned()
            }
            Stage::Queued => "waits for the generation before to end".to_owned(),
            _ => rollout.reason.clone().unwrap_or_default(),
        };
        Some(RolloutStatus {
            version: rollout.target.release.version.clone(),
            digest: rollout.target.release.digest,
            stage,
            since: rollout.since.wall,
            detail,
            started: rollout.began.wall,
        })
    }

    fn trial_status(&self) -> Option<RolloutStatus> {
        let (current, trial) = (self.ledger.current.as_ref()?, self.trial.as_ref()?);
        let watch = self.specs.get(&current.release.digest)?.trial.watch;
        Some(RolloutStatus {
            version: current.release.version.clone(),
            digest: current.release.digest,
            stage: RolloutStage::Trial,
            since: trial.since.wall,
            detail: format!("for {}", crate::time::text(watch)),
            started: self.ledger.current_since,
        })
    }

    fn tier_status(&self, now: Now, name: &TierName) -> TierStatus {
        let of_tier = || self.generations.values().filter(|g| g.record.tier == *name);
        let live = self.live_of(name);
        let shown = live.or_else(|| of_tier().next_back());
        let since = self.ledger.tiers.get(name).map_or(now.wall, |tier| tier.since);
        let since = if since == Wall::default() { now.wall } else { since };
        let processes = || shown.into_iter().flat_map(|g| &g.processes);
        let last = processes().filter_map(|process| process.restarts.last()).max();
        let troubled = |p: &&Process| p.reason.is_some() && !p.accepts();
        TierStatus {
            name: name.clone(),
            release: shown.map(|g| g.record.target.release.version.clone()),
            generation: shown.map(|g| g.number),
            port: shown.and_then(|g| g.record.plan.spec.port),
            ready: count(live.map_or(0, GenerationState::accepting)),
            wanted: shown.map_or(0, |g| u32::from(g.record.plan.processes)),
            in_flight: 0,
            connections: 0,
            websockets: 0,
            requests_per_second: 0,
            p99_us: None,
            errors_per_minute: 0,
            restarts: processes().map(|process| process.restarts.total()).sum(),
            last_restart: last.map(|at| wall_of(now, at)),
            since,
            state: match live {
                Some(live) => self.tier_state(now, live),
                None if self.is_draining() => State::Draining,
                None => State::Starting,
            },
            reason: processes().find(troubled).map(|process| {
                format!("{} {}", process.id, process.reason.as_deref().unwrap_or_default())
            }),
            processes: of_tier()
                .flat_map(|g| g.processes.iter().map(|p| describe(now, p)))
                .collect(),
        }
    }
}

fn describe(now: Now, process: &Process) -> ProcessStatus {
    let probe = process.probing.last.as_ref().map(|(at, answer)| ProbeStatus {
        ok: answer.is_ok(),
        at: *at,
        detail: answer.clone().err().unwrap_or_default(),
    });
    ProcessStatus {
        id: process.id.clone(),
        pid: process.pid,
        state: match process.phase {
            Phase::Waiting { .. } if process.restarts.in_crash_loop(now.at) => {
                ProcessState::Crashed
            }
            Phase::Waiting { .. } if process.run > 0 => ProcessState::Backoff,
            Phase::Waiting { .. } | Phase::Starting { .. } => ProcessState::Starting,
            Phase::Adopted { .. } | Phase::Up { .. } => ProcessState::Starting,
            Phase::Ready | Phase::Accepting { confirm_by: Some(_) } => ProcessState::Ready,
            Phase::Accepting { confirm_by: None } => ProcessState::Accepting,
            Phase::Bleeding { .. } => ProcessState::Bleeding,
            Phase::Stopping { .. } | Phase::Ended => ProcessState::Stopping,
        },
        probe,
        restarts: process.restarts.total(),
        rss_bytes: None,
        cpu_percent: None,
        loop_lag_us: None,
        connections: 0,
        in_flight: 0,
        since: process.since.wall,
        reason: process.reason.clone(),
    }
}

/// A moment of the boot clock as wall time, by how far from now it is.
pub(super) fn wall_of(now: Now, at: Moment) -> Wall {
    let ms = |span| i64::try_from(crate::time::ms(span)).unwrap_or(i64::MAX);
    let ago = now.wall.0.saturating_sub(ms(now.at.since(at)));
    Wall(ago.saturating_add(ms(at.since(now.at))))
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
