//! The trial of a release that just took over: settled, or rolled back.

use super::*;
use crate::spec::TrialSpec;

impl Controller {
    /// Judges the current release while it is on trial.
    pub(super) fn watch_trial(&mut self, now: Now, out: &mut Vec<Effect>) {
        let Some((current, spec)) = self.on_trial() else {
            self.trial = None;
            return;
        };
        let trial = self.trial.get_or_insert(Trial { since: now, stuck: None });
        let since = trial.since;
        match self.verdict(&current, spec) {
            Some(reason) if self.alternative_to(&current) => {
                let after = crate::time::text(now.at.since(since.at));
                let text = format!(
                    "{} rejected {after} into its trial: {reason}",
                    current.release.version
                );
                let subject = Subject::release(&current.release.version);
                out.push(subject.tell(now, Level::Error, Topic::DeploymentRejected, text));
                out.push(measured::stage(Stage::Trial, since.at, now));
                self.trial = None;
                self.deployment_failed(now, &current, out);
                self.reject(now, &current, reason);
            }
            Some(reason) => self.stuck(now, &current, reason, out),
            None if now.at.since(since.at) >= spec.watch => {
                self.trial = None;
                self.ledger.settle();
                let version = &current.release.version;
                let (subject, text) = (Subject::release(version), format!("{version} settled"));
                out.push(subject.tell(now, Level::Normal, Topic::DeploymentSettled, text));
                out.push(measured::stage(Stage::Trial, since.at, now));
                self.deployment_settled(now, &current, out);
            }
            None => {}
        }
    }

    pub(super) fn trial_ends(&self) -> Option<Moment> {
        let (_, spec) = self.on_trial()?;
        Some(self.trial.as_ref()?.since.at.plus(spec.watch))
    }

    /// The current release and the rules of its trial, if it is on trial now. A rollout suspends
    /// the trial: whatever it would find, the newest wish wins.
    pub(super) fn on_trial(&self) -> Option<(Target, TrialSpec)> {
        let current = self.ledger.current.as_ref()?;
        if self.ledger.settled || self.rollout.is_some() || self.live().next().is_none() {
            return None;
        }
        let spec = self.specs.get(&current.release.digest)?;
        // A rejected release serves only until the rollback takes over; it is not judged twice.
        (!self.is_rejected(current)).then(|| (current.clone(), spec.trial))
    }

    fn verdict(&self, current: &Target, spec: TrialSpec) -> Option<String> {
        let on_trial =
            |live: &&GenerationState| same_release(&live.record.target.release, &current.release);
        self.live()
            .filter(on_trial)
            .find_map(|live| live.trouble().or_else(|| too_many_errors(live, spec)))
    }

    fn stuck(&mut self, now: Now, current: &Target, reason: String, out: &mut Vec<Effect>) {
        let Some(trial) = &mut self.trial else { return };
        // The clock starts anew, so that it settles when it has been well for the whole time.
        trial.since = now;
        if trial.stuck.is_none() {
            let version = &current.release.version;
            let text = format!(
                "{version} does badly on trial, and there is no release to go back to: {reason}"
            );
            let subject = Subject::release(version);
            out.push(subject.tell(now, Level::Error, Topic::DeploymentFailed, text));
        }
        trial.stuck = Some(reason);
    }
}

fn too_many_errors(live: &GenerationState, spec: TrialSpec) -> Option<String> {
    let ppm = live.recent.errors_ppm()?;
    let worse_than_before = live.baseline_ppm.is_none_or(|before| before < ppm);
    if ppm <= spec.errors_ppm_max || !worse_than_before {
        return None;
    }
    let before = live
        .baseline_ppm
        .map_or_else(String::new, |before| format!(" (the release before: {})", percent(before)));
    Some(format!(
        "{} answered {} of its requests with 5xx{before}, more than {}",
        live.record.tier,
        percent(ppm),
        percent(spec.errors_ppm_max)
    ))
}

fn percent(ppm: u32) -> String {
    format!("{}.{} %", ppm / 10_000, ppm / 1000 % 10)
}
