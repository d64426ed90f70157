//! When a process is probed, and what its answers count for.

use super::*;

impl Process {
    pub(super) fn probed(&mut self, drive: &Drive<'_>, answer: Result<(), String>) {
        self.probing.pending_by = None;
        let good = answer.is_ok();
        self.probing.last = Some((drive.now.wall, answer));
        if good {
            self.probing.good = self.probing.good.saturating_add(1);
            self.probing.bad = 0;
            self.probing.pause = limits::PROBE_STARTING_EVERY;
        } else {
            self.probing.good = 0;
            self.probing.bad = self.probing.bad.saturating_add(1);
        }
        let pause = if matches!(self.phase, Phase::Accepting { .. }) {
            probe_pause(drive.trial)
        } else {
            let pause = self.probing.pause.max(limits::PROBE_STARTING_EVERY);
            self.probing.pause = if good { pause } else { pause * 2 };
            self.probing.pause = self.probing.pause.min(limits::PROBE_STARTING_EVERY_MAX);
            pause
        };
        self.probing.next = drive.now.at.plus(pause);
    }

    pub(super) fn probes(&self, plan: &TierPlan) -> bool {
        takes_commands(plan)
            && match self.phase {
                Phase::Up { .. } => self.listening,
                Phase::Accepting { .. } => true,
                _ => false,
            }
    }

    pub(super) fn probe(&mut self, drive: &Drive<'_>, out: &mut Vec<Effect>) {
        if !self.probes(drive.plan) {
            return;
        }
        if let Some(by) = self.probing.pending_by {
            if drive.now.at >= by {
                self.probed(
                    drive,
                    Err(format!("no answer in {}s", limits::PROBE_WITHIN.as_secs())),
                );
            }
            return;
        }
        if drive.now.at >= self.probing.next {
            // The shell gives up first; this is for an answer that got lost.
            let by = drive.now.at.plus(limits::PROBE_WITHIN).plus(Duration::from_secs(1));
            self.probing.pending_by = Some(by);
            let path = drive.plan.spec.ready.path.clone();
            out.push(Effect::Probe { id: self.id.clone(), run: self.run, path });
        }
    }
}

pub(super) fn probe_pause(trial: bool) -> Duration {
    if trial { limits::PROBE_TRIAL_EVERY } else { limits::PROBE_SERVING_EVERY }
}
