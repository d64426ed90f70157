//! What is measured of a deployment on the way. Only a release that replaces another counts: a new
//! host that begins with what all others run deploys nothing.

use super::*;
use crate::ledger::Deploying;
use crate::measured::{Measured, Outcome};
use crate::rollout::Kind;

pub(super) use crate::measured::Stage;

/// A part of a rollout that ends now.
pub(super) fn stage(stage: Stage, since: Moment, now: Now) -> Effect {
    Effect::Measured(Measured::Stage(stage, now.at.since(since)))
}

impl Controller {
    /// The channel asks for `target` from now on.
    pub(super) fn deploy(&mut self, now: Now, target: &Target) {
        let digest = target.release.digest;
        let current = self.ledger.current.as_ref();
        let replaces = current.is_some_and(|current| current.release.digest != digest);
        let deploying = Deploying { digest, since: now.at, started: false, failing: None };
        self.ledger.deploying = replaces.then_some(deploying);
    }

    /// A rollout of `target` begins; told once, however often it is begun again.
    pub(super) fn deployment_starts(&mut self, now: Now, target: &Target, out: &mut Vec<Effect>) {
        let before = self.ledger.current.as_ref().map(|current| current.release.version.clone());
        let Some(deploying) = self.deploying(target) else { return };
        if std::mem::replace(&mut deploying.started, true) {
            return;
        }
        let version = &target.release.version;
        let serves = before.map_or_else(String::new, |before| format!(" in place of {before}"));
        let (subject, text) =
            (Subject::release(version), format!("{version} is rolled out{serves}"));
        out.push(subject.tell(now, Level::Normal, Topic::DeploymentStarted, text));
        out.push(Effect::Measured(Measured::Deployment(Outcome::Started)));
    }

    /// It passed its trial.
    pub(super) fn deployment_settled(&mut self, now: Now, target: &Target, out: &mut Vec<Effect>) {
        let Some(deploying) = self.deploying(target) else { return };
        let lead = now.at.since(deploying.since);
        self.ledger.deploying = None;
        out.push(Effect::Measured(Measured::Deployment(Outcome::Settled)));
        out.push(Effect::Measured(Measured::LeadTime(lead)));
    }

    /// It was found to be bad while it served.
    pub(super) fn deployment_failed(&mut self, now: Now, target: &Target, out: &mut Vec<Effect>) {
        let Some(deploying) = self.deploying(target) else { return };
        deploying.failing = Some(now.at);
        out.push(Effect::Measured(Measured::Deployment(Outcome::Rejected)));
    }

    /// It was found to be bad before it served.
    pub(super) fn deployment_refused(&mut self, target: &Target, out: &mut Vec<Effect>) {
        if self.deploying(target).is_none() {
            return;
        }
        self.ledger.deploying = None;
        out.push(Effect::Measured(Measured::Deployment(Outcome::Rejected)));
    }

    /// A rollout has ended well.
    pub(super) fn rolled_out(&mut self, now: Now, rollout: &Rollout, out: &mut Vec<Effect>) {
        match rollout.kind {
            Kind::Release => out.push(stage(Stage::Cutover, rollout.since.at, now)),
            Kind::Rollback => {
                let deploying = self.ledger.deploying.take();
                let Some(since) = deploying.and_then(|deploying| deploying.failing) else { return };
                out.push(Effect::Measured(Measured::Deployment(Outcome::RolledBack)));
                out.push(Effect::Measured(Measured::Restore(now.at.since(since))));
            }
            Kind::Renewal => {}
        }
    }

    fn deploying(&mut self, target: &Target) -> Option<&mut Deploying> {
        let deploying = self.ledger.deploying.as_mut();
        deploying.filter(|deploying| deploying.digest == target.release.digest)
    }
}
