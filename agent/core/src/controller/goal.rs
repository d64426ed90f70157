//! What the host should run, and whether it does.

use super::*;
use crate::rollout::{Kind, Stage};

impl Controller {
    /// The release this host should run: the channel's, unless it was found to be bad.
    pub(super) fn goal(&self) -> Option<Target> {
        let ledger = &self.ledger;
        match &ledger.desired {
            Some(desired) if !self.is_rejected(&desired.target) => Some(desired.target.clone()),
            _ => self.fallback(),
        }
    }

    /// What to run when the channel's release cannot be.
    pub(super) fn fallback(&self) -> Option<Target> {
        let ledger = &self.ledger;
        let good = |target: &&Target| !self.is_rejected(target);
        let current = ledger.current.as_ref();
        current.filter(good).or_else(|| ledger.history.iter().find(good)).or(current).cloned()
    }

    /// A release that could serve in place of `target`.
    pub(super) fn alternative_to(&self, target: &Target) -> bool {
        let other = |other: &&Target| !same_release(&other.release, &target.release);
        self.ledger.history.iter().chain(&self.ledger.current).any(|target| other(&target))
    }

    pub(super) fn is_rejected(&self, target: &Target) -> bool {
        let rejected = self.ledger.rejected.as_ref();
        rejected.is_some_and(|rejected| rejected.digest == target.release.digest)
    }

    /// The tiers of `spec` that this host runs, or the name it cannot have.
    fn tiers_here(&self, spec: &ReleaseSpec) -> Result<BTreeSet<TierName>, TierName> {
        let Some(wanted) = &self.settings.tiers else {
            return Ok(spec.tiers.keys().cloned().collect());
        };
        match wanted.iter().find(|tier| !spec.tiers.contains_key(*tier)) {
            Some(missing) => Err(missing.clone()),
            None => Ok(wanted.clone()),
        }
    }

    /// The tiers that need a new generation to run `target`, or why it cannot run here. `None`
    /// while its `release.toml` is not known.
    pub(super) fn stale_tiers(&self, target: &Target) -> Option<Result<Vec<TierName>, String>> {
        let spec = self.specs.get(&target.release.digest)?;
        let tiers = match self.tiers_here(spec) {
            Ok(tiers) => tiers,
            Err(missing) => {
                let has: Vec<_> = spec.tiers.keys().map(TierName::as_str).collect();
                return Some(Err(format!(
                    "the host wants tier {missing}, which {} does not have; it has {}",
                    target.release.version,
                    has.join(", ")
                )));
            }
        };
        let stale = tiers.into_iter().filter(|tier| !self.is_fresh(tier, target, spec)).collect();
        Some(Ok(stale))
    }

    fn is_fresh(&self, tier: &TierName, target: &Target, spec: &ReleaseSpec) -> bool {
        let Some(live) = self.live_of(tier) else { return false };
        let nonce = self.ledger.tiers.get(tier).map_or(0, |tier| tier.nonce);
        same_release(&live.record.target.release, &target.release)
            && live.record.nonce == nonce
            && self.plan_of(tier, spec).as_ref() == Some(&live.record.plan)
    }

    /// Tiers that serve and are not part of `target` on this host.
    pub(super) fn surplus_tiers(&self, target: &Target) -> Vec<TierName> {
        let Some(spec) = self.specs.get(&target.release.digest) else { return Vec::new() };
        let here = self.tiers_here(spec).unwrap_or_default();
        self.live()
            .map(|live| live.record.tier.clone())
            .filter(|tier| !here.contains(tier))
            .collect()
    }

    /// Why no rollout is begun, though the host serves.
    pub(super) fn prepares(&self, now: Now) -> Option<String> {
        let lifecycle = &self.ledger.lifecycle;
        prepares(now.wall, &self.settings.lifecycle, lifecycle.sighting.as_ref())
    }

    /// Begins the rollout that is missing, and gives up the one that is not wanted any more.
    pub(super) fn plan(&mut self, now: Now, out: &mut Vec<Effect>) {
        let Some(goal) = self.goal() else { return };
        if let Some(rollout) = &self.rollout {
            let wanted = same_release(&rollout.target.release, &goal.release);
            // A cutover takes a moment, and a half one is the worst place to stop.
            if wanted || rollout.stage == Stage::Cutover {
                return;
            }
            let text = format!(
                "{} is not wanted any more, {} is",
                rollout.target.release.version, goal.release.version
            );
            out.push(tell(now, Level::Normal, Topic::Other, text));
            self.abandon_rollout(out);
        }
        let waiting = |retry: &Retry| retry.target == goal && now.at < retry.not_before;
        if self.retry.as_ref().is_some_and(waiting) {
            return;
        }
        let current = self.ledger.current.as_ref();
        let same = current.is_some_and(|current| same_release(&current.release, &goal.release));
        let fresh = matches!(self.stale_tiers(&goal), Some(Ok(stale)) if stale.is_empty());
        if same && fresh && self.surplus_tiers(&goal).is_empty() {
            self.retry = None;
            self.retire_candidates_except(&BTreeSet::new());
            if self.ledger.current.as_ref() != Some(&goal) {
                // Another version of the same bytes: nothing to do but to say so.
                self.ledger.current = Some(goal);
            }
            return;
        }
        let desired = self.ledger.desired.as_ref().map(|desired| &desired.target);
        let kind = match (same, desired == Some(&goal)) {
            (true, _) => Kind::Renewal,
            (false, true) => Kind::Release,
            (false, false) => Kind::Rollback,
        };
        if kind == Kind::Release && self.live().next().is_some() && self.prepares(now).is_some() {
            return;
        }
        if kind == Kind::Release {
            self.deployment_starts(now, &goal, out);
        }
        self.rollout = Some(Rollout::new(goal, kind, now));
    }
}
