//! The steps of a rollout: fetch, start beside the old one, cutover; and giving up.

use super::*;
use crate::ledger::{GenerationRecord, Rejected};
use crate::rollout::{Kind, Stage};

impl Rollout {
    /// Takes in how its fetch went; a refusal is the controller's to judge.
    pub(super) fn fetched(
        &mut self,
        now: Now,
        jitter: u64,
        outcome: &FetchOutcome,
        out: &mut Vec<Effect>,
    ) {
        let Stage::Fetching { .. } = self.stage else { return };
        match outcome {
            FetchOutcome::Ready(_) => {
                self.reason = None;
                if self.kind == Kind::Release {
                    out.push(measured::stage(measured::Stage::Fetch, self.since.at, now));
                }
                self.enter(Stage::Queued, now);
            }
            FetchOutcome::Refused(_) => {}
            FetchOutcome::Failed(reason) => {
                if self.fetches_failed == 0 {
                    let text =
                        format!("{} could not be fetched: {reason}", self.target.release.version);
                    let subject = Subject::release(&self.target.release.version);
                    out.push(subject.tell(now, Level::Warning, Topic::Other, text));
                }
                self.fetches_failed = self.fetches_failed.saturating_add(1);
                self.reason = Some(reason.clone());
                let not_before = now.at.plus(retry_delay(self.fetches_failed, jitter));
                self.stage = Stage::Fetching { asked: false, not_before };
            }
        }
    }
}

impl Controller {
    /// Takes every step of the rollout that is due.
    pub(super) fn advance(&mut self, now: Now, out: &mut Vec<Effect>) {
        // Each pass takes at most one step; four stages bound the loop.
        for _ in 0..4 {
            let Some(rollout) = &mut self.rollout else { return };
            let before = rollout.stage;
            match rollout.stage {
                Stage::Fetching { asked: false, not_before } if now.at >= not_before => {
                    rollout.stage = Stage::Fetching { asked: true, not_before };
                    out.push(Effect::Fetch(rollout.target.clone()));
                }
                Stage::Fetching { .. } => {}
                Stage::Queued => self.start_candidates(now, out),
                Stage::Starting => self.watch_candidates(now, out),
                Stage::Cutover => self.finish_cutover(now, out),
            }
            if self.rollout.as_ref().is_none_or(|rollout| rollout.stage == before) {
                return;
            }
        }
    }

    fn start_candidates(&mut self, now: Now, out: &mut Vec<Effect>) {
        let Some(rollout) = &self.rollout else { return };
        if !self.may_start() {
            return;
        }
        let (target, kind) = (rollout.target.clone(), rollout.kind);
        let stale = match self.stale_tiers(&target) {
            Some(Ok(stale)) => stale,
            Some(Err(reason)) => return self.fail_rollout(now, reason, out),
            // The spec was dropped meanwhile: fetching finds it on disk.
            None => {
                self.rollout = Some(Rollout::new(target, kind, now));
                return;
            }
        };
        let mut candidates = BTreeSet::new();
        let mut missing = Vec::new();
        for tier in stale {
            let spec = self.specs.get(&target.release.digest);
            let Some(plan) = spec.and_then(|spec| self.plan_of(&tier, spec)) else { continue };
            let nonce = self.ledger.tiers.entry(tier.clone()).or_default().nonce;
            let record = GenerationRecord { tier, target: target.clone(), plan, nonce };
            match self
                .generations
                .values()
                .find(|g| g.role == Role::Candidate && g.record == record)
            {
                // Begun by an agent that died.
                Some(begun) => drop(candidates.insert(begun.number)),
                None => missing.push(record),
            }
        }
        self.retire_candidates_except(&candidates);
        if missing.iter().any(|record| self.is_crowded(&record.tier, kind)) {
            return;
        }
        for record in missing {
            let number = self.ledger.next_generation;
            self.ledger.next_generation = number.next();
            self.ledger.generations.insert(number, record.clone());
            self.generations.insert(number, GenerationState::new(number, record, now));
            candidates.insert(number);
        }
        if let Some(rollout) = &mut self.rollout {
            rollout.candidates = candidates;
            rollout.enter(Stage::Starting, now);
        }
    }

    /// The host is sized for two generations, not for three; but a live one that is bad, or does
    /// not serve at all, is worse than a third one, so its replacement does not wait.
    fn is_crowded(&self, tier: &TierName, kind: Kind) -> bool {
        let alive = self.generations.values().filter(|g| g.record.tier == *tier).count();
        let broken = self.live_of(tier).is_some_and(|live| live.accepting() == 0);
        let urgent = kind == Kind::Rollback || broken;
        alive >= limits::GENERATIONS_ALIVE_MAX + usize::from(urgent)
    }

    /// Candidates that an agent before this one began, and nobody wants.
    pub(super) fn retire_candidates_except(&mut self, wanted: &BTreeSet<Generation>) {
        let unwanted =
            |g: &&mut GenerationState| g.role == Role::Candidate && !wanted.contains(&g.number);
        self.generations.values_mut().filter(unwanted).for_each(|g| g.role = Role::Retiring);
    }

    fn watch_candidates(&mut self, now: Now, out: &mut Vec<Effect>) {
        let Some(rollout) = &mut self.rollout else { return };
        let candidates = || rollout.candidates.iter().filter_map(|n| self.generations.get(n));
        if let Some(reason) = candidates().find_map(GenerationState::failure) {
            return self.fail_rollout(now, reason, out);
        }
        if candidates().all(GenerationState::all_ready) {
            for number in &rollout.candidates {
                if let Some(candidate) = self.generations.get_mut(number) {
                    candidate.role = Role::Taking;
                }
            }
            if rollout.kind == Kind::Release {
                out.push(measured::stage(measured::Stage::Ready, rollout.since.at, now));
            }
            rollout.enter(Stage::Cutover, now);
        }
    }

    fn finish_cutover(&mut self, now: Now, out: &mut Vec<Effect>) {
        let Some(rollout) = &self.rollout else { return };
        let candidates = || rollout.candidates.iter().filter_map(|n| self.generations.get(n));
        if let Some(reason) = candidates().find_map(GenerationState::failure) {
            return self.fail_rollout(now, reason, out);
        }
        if !candidates().all(GenerationState::all_accept) {
            return;
        }
        let rollout = rollout.clone();
        self.rollout = None;
        self.retry = None;
        for tier in self.surplus_tiers(&rollout.target) {
            self.retire_live(now, &tier);
            self.ledger.tiers.remove(&tier);
        }
        for number in &rollout.candidates {
            self.promote_candidate(now, *number);
        }
        self.ledger.current = Some(rollout.target.clone());
        if rollout.kind != Kind::Renewal || self.ledger.current_since == Wall::default() {
            self.ledger.current_since = now.wall;
        }
        match rollout.kind {
            Kind::Release => self.ledger.settled = false,
            // It passed its trial when it was new.
            Kind::Rollback => self.ledger.settle(),
            Kind::Renewal => {}
        }
        let on_trial = !self.ledger.settled;
        self.trial = on_trial.then_some(Trial { since: now, stuck: None });
        let took = crate::time::text(now.at.since(rollout.began.at));
        let version = &rollout.target.release.version;
        let (topic, text) = match rollout.kind {
            Kind::Release => (
                Topic::DeploymentServing,
                format!("{version} serves, {took} after its rollout began; on trial"),
            ),
            Kind::Rollback => {
                (Topic::DeploymentRolledBack, format!("rolled back to {version} in {took}"))
            }
            Kind::Renewal => {
                (Topic::Other, format!("{version} serves with new processes after {took}"))
            }
        };
        if !rollout.candidates.is_empty() {
            out.push(Subject::release(version).tell(now, Level::Normal, topic, text));
        }
        self.rolled_out(now, &rollout, out);
    }

    fn promote_candidate(&mut self, now: Now, number: Generation) {
        let Some(tier) = self.generations.get(&number).map(|g| g.record.tier.clone()) else {
            return;
        };
        let baseline_ppm = self.live_of(&tier).and_then(|live| live.recent.errors_ppm());
        self.retire_live(now, &tier);
        let remembered = self.ledger.tiers.entry(tier).or_default();
        remembered.live = Some(number);
        remembered.since = now.wall;
        if let Some(candidate) = self.generations.get_mut(&number) {
            candidate.role = Role::Live;
            candidate.baseline_ppm = baseline_ppm;
        }
    }

    fn retire_live(&mut self, now: Now, tier: &TierName) {
        let live = |g: &&mut GenerationState| g.role == Role::Live && g.record.tier == *tier;
        if let Some(live) = self.generations.values_mut().find(live) {
            live.role = Role::Retiring;
            live.retired = Some(now.at);
        }
    }

    /// Gives the rollout up without blaming anybody.
    pub(super) fn abandon_rollout(&mut self, out: &mut Vec<Effect>) {
        let Some(rollout) = self.rollout.take() else { return };
        if matches!(rollout.stage, Stage::Fetching { asked: true, .. }) {
            out.push(Effect::CancelFetch(rollout.target));
        }
        for number in rollout.candidates {
            if let Some(candidate) = self.generations.get_mut(&number) {
                candidate.role = Role::Retiring;
            }
        }
    }

    /// Gives the rollout up because of `reason`. A new release with an alternative is rejected;
    /// anything else is tried again later, since there is nothing better to run.
    pub(super) fn fail_rollout(&mut self, now: Now, reason: String, out: &mut Vec<Effect>) {
        let Some(rollout) = &self.rollout else { return };
        let (target, kind) = (rollout.target.clone(), rollout.kind);
        let candidates = rollout.candidates.clone();
        self.abandon_rollout(out);
        let version = &target.release.version;
        if kind == Kind::Release && self.alternative_to(&target) {
            let (subject, topic) = (Subject::release(version), Topic::DeploymentRejected);
            let text = format!("{version} rejected: {reason}");
            out.push(subject.tell(now, Level::Error, topic, text));
            self.deployment_refused(&target, out);
            return self.reject(now, &target, reason);
        }
        if kind == Kind::Renewal && self.live().next().is_some() {
            // A restart that failed is over; what served goes on.
            for number in candidates {
                self.take_back_restart(number);
            }
        }
        let before = self.retry.take().filter(|retry| retry.target == target);
        let failures = before.map_or(0, |retry| retry.failures).saturating_add(1);
        let delay = retry_delay(failures, self.random);
        let wait = crate::time::text(delay);
        let text = format!("{version} failed: {reason}; next try in {wait}");
        let subject = Subject::release(version);
        out.push(subject.tell(now, Level::Error, Topic::DeploymentFailed, text));
        self.retry = Some(Retry { target, failures, not_before: now.at.plus(delay), reason });
    }

    fn take_back_restart(&mut self, candidate: Generation) {
        let Some(record) = self.ledger.generations.get(&candidate) else { return };
        let tier = record.tier.clone();
        let Some(nonce) = self.live_of(&tier).map(|live| live.record.nonce) else { return };
        self.ledger.tiers.entry(tier).or_default().nonce = nonce;
    }

    pub(super) fn reject(&mut self, now: Now, target: &Target, reason: String) {
        let desired = self.ledger.desired.as_ref();
        self.ledger.rejected = Some(Rejected {
            digest: target.release.digest,
            version: target.release.version.clone(),
            channel_generation: desired.map_or(0, |desired| desired.channel_generation),
            reason,
            at: now.wall,
        });
    }
}
