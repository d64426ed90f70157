//! What happened to releases in the last hour, and how the last rollout went: learned from looking
//! at the status again and again. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use groundcrew_core::status::{
    Mark, MarkKind, RolloutOutcome, RolloutStage, RolloutStatus, State, StatusDocument, Timeline,
    TimelineEnd, TimelineStage,
};
use groundcrew_core::time::{Moment, Now, Wall};
use groundcrew_core::types::{Digest, TierName, Version};

/// How far back marks go.
const HOUR: Duration = Duration::from_hours(1);
/// Marks of an hour: a rollout a minute makes one each for its beginning and its end.
const MARKS_MAX: usize = 128;
/// Stages of one rollout: each once, and again after a retry.
const STAGES_MAX: usize = 16;

/// What was learned.
#[derive(Debug, Default)]
pub struct Story {
    marks: VecDeque<Mark>,
    timeline: Option<Timeline>,
    /// What each tier ran at the last look.
    releases: BTreeMap<TierName, Version>,
    /// What was rejected at the last look, and when.
    rejected: Option<(Digest, Wall)>,
}

impl Story {
    /// Looks at the status.
    pub fn note(&mut self, now: Now, status: &StatusDocument) {
        self.note_rollout(now, status);
        self.note_tiers(now, status);
        self.note_rejected(now, status);
    }

    /// The marks of the last hour, and the last rollout.
    #[must_use]
    pub fn told(&self, now: Moment) -> (Vec<Mark>, Option<Timeline>) {
        let recent = |mark: &&Mark| now.since(mark.at) <= HOUR;
        let mut marks: Vec<_> = self.marks.iter().filter(recent).cloned().collect();
        marks.sort_by_key(|mark| mark.at);
        (marks, self.timeline.clone())
    }

    fn note_tiers(&mut self, now: Now, status: &StatusDocument) {
        let mut releases = BTreeMap::new();
        for tier in &status.tiers {
            let Some(version) = &tier.release else { continue };
            releases.insert(tier.name.clone(), version.clone());
            if self.releases.get(&tier.name) == Some(version) {
                continue;
            }
            // At an agent's first look the release may have been current for days.
            let current = status.release.as_ref().filter(|release| release.version == *version);
            let at = current.map_or(now.at, |release| moment_of(release.since, now));
            let tier = Some(tier.name.clone());
            self.mark(Mark { at, kind: MarkKind::Current, version: version.clone(), tier });
        }
        self.releases = releases;
    }

    fn note_rejected(&mut self, now: Now, status: &StatusDocument) {
        let rejected = status.rejected.as_ref();
        let known = rejected.map(|rejected| (rejected.digest, rejected.at));
        if let Some(rejected) = rejected.filter(|_| known != self.rejected) {
            let (at, version) = (moment_of(rejected.at, now), rejected.version.clone());
            self.mark(Mark { at, kind: MarkKind::Rejected, version, tier: None });
        }
        self.rejected = known;
    }

    fn note_rollout(&mut self, now: Now, status: &StatusDocument) {
        let runs = status.release.as_ref().map(|release| release.digest);
        match &status.rollout {
            // An agent that comes back looks whether what runs is on disk. That is no rollout yet.
            Some(rollout)
                if rollout.stage == RolloutStage::Fetching && runs == Some(rollout.digest) => {}
            Some(rollout) => {
                if !self.continues(rollout, status) {
                    self.end(now, status);
                    self.begin(now, rollout);
                }
                self.enter(now, rollout);
            }
            None => self.end(now, status),
        }
    }

    /// Whether it is a stage of the rollout that is known; the way back is one of the release that
    /// failed.
    fn continues(&self, rollout: &RolloutStatus, status: &StatusDocument) -> bool {
        let Some(timeline) = &self.timeline else { return false };
        if rollout.stage == RolloutStage::RollingBack {
            let rejected = status.rejected.as_ref();
            return rejected.is_some_and(|rejected| rejected.digest == timeline.digest);
        }
        timeline.ended.is_none() && timeline.digest == rollout.digest
    }

    fn begin(&mut self, now: Now, rollout: &RolloutStatus) {
        let (began, version) = (moment_of(rollout.started, now), rollout.version.clone());
        if !matches!(rollout.stage, RolloutStage::Trial | RolloutStage::RollingBack) {
            let version = version.clone();
            self.mark(Mark { at: began, kind: MarkKind::Begun, version, tier: None });
        }
        let (digest, stages) = (rollout.digest, Vec::new());
        self.timeline = Some(Timeline { version, digest, began, stages, ended: None });
    }

    fn enter(&mut self, now: Now, rollout: &RolloutStatus) {
        let Some(timeline) = &mut self.timeline else { return };
        timeline.ended = None;
        if timeline.stages.last().is_some_and(|last| last.stage == rollout.stage) {
            return;
        }
        if timeline.stages.len() == STAGES_MAX {
            timeline.stages.remove(0);
        }
        let at = moment_of(rollout.since, now);
        timeline.stages.push(TimelineStage { stage: rollout.stage, at });
    }

    /// Ends the rollout that is known, if it goes on still.
    fn end(&mut self, now: Now, status: &StatusDocument) {
        let Some(timeline) = self.timeline.as_mut().filter(|known| known.ended.is_none()) else {
            return;
        };
        let rejected = status.rejected.as_ref();
        let rejected = rejected.filter(|rejected| rejected.digest == timeline.digest);
        let serves = status.release.as_ref().is_some_and(|now| now.digest == timeline.digest);
        let leaves = matches!(status.state, State::Draining | State::Stopped);
        let outcome = match rejected {
            Some(_) => RolloutOutcome::Rejected,
            None if serves && !leaves && status.rollout.is_none() => RolloutOutcome::Settled,
            None => RolloutOutcome::Abandoned,
        };
        let reason = rejected.map(|rejected| rejected.reason.clone());
        timeline.ended = Some(TimelineEnd { at: now.at, outcome, reason });
        if outcome == RolloutOutcome::Settled {
            let version = timeline.version.clone();
            self.mark(Mark { at: now.at, kind: MarkKind::Settled, version, tier: None });
        }
    }

    fn mark(&mut self, mark: Mark) {
        if self.marks.len() == MARKS_MAX {
            self.marks.pop_front();
        }
        self.marks.push_back(mark);
    }
}

/// When that was by the boot clock, if the wall clock was not set since; never in the future.
fn moment_of(wall: Wall, now: Now) -> Moment {
    let ago = u64::try_from(now.wall.0.saturating_sub(wall.0)).unwrap_or(0);
    Moment(now.at.0.saturating_sub(ago))
}

#[cfg(test)]
mod tests;
