//! What must hold after every step, and at the end of every life.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use groundcrew_core::controller::Controller;
use groundcrew_core::effect::Effect;
use groundcrew_core::event::HandoffState;
use groundcrew_core::ledger::Ledger;
use groundcrew_core::lifecycle::fleet::HookResult;
use groundcrew_core::limits;
use groundcrew_core::spec::Handoff;
use groundcrew_core::tier::Role;
use groundcrew_core::types::*;

use crate::world::{Conduct, SimProcess, World, cloud};

#[derive(Debug, Default)]
pub struct Watcher {
    rejected: Option<Digest>,
    ledger: Ledger,
}

impl Watcher {
    /// A new agent knows of rejections what its ledger says: one that was never written died with
    /// the agent before.
    pub fn remember(&mut self, ledger: &Ledger) {
        self.rejected = rejected(ledger);
        self.ledger = ledger.clone();
    }

    /// Before an effect is carried out.
    pub fn effect(&mut self, world: &World, effect: &Effect) {
        cloud::check_drain(world, &self.ledger, effect);
        match effect {
            Effect::Accept { id, run } => i4_probes_passed(world, id, *run),
            Effect::Terminate { id, run } | Effect::Kill { id, run } => {
                i5_not_signalled(world, id, *run);
            }
            Effect::Bleed { id, run, .. } if self.ledger.lifecycle.drain.is_none() => {
                someone_else_accepts(world, id, *run);
            }
            Effect::SaveLedger(ledger) => {
                if let Some(current) = &ledger.current {
                    // I7
                    let present = world.on_disk.contains(&current.release.digest);
                    assert!(present, "current {current} is not on disk\n{}", world.tail());
                }
                self.rejected = rejected(ledger);
                self.ledger = (**ledger).clone();
            }
            Effect::Fleet(call) => cloud::check_call(world, call, &self.ledger),
            Effect::Tell(told) if told.text.starts_with("logs: no answer") => {
                // An agent that began too late says so at once; any other asks again.
                let asked = world.logs.is_some_and(|logs| !logs.orphaned);
                assert!(asked || world.now.at == world.began, "nobody asked\n{}", world.tail());
            }
            Effect::Tell(told) if told.text == "the drill is over" => {
                cloud::check_logs(world, &self.ledger);
            }
            Effect::Start { release, .. } => self.i8_rejected_stays_so(world, release),
            Effect::Prune(digest) => {
                let used = world.processes.values().any(|p| p.target.release.digest == *digest);
                assert!(!used, "pruned a release that runs\n{}", world.tail());
            }
            _ => {}
        }
    }

    fn i8_rejected_stays_so(&self, world: &World, release: &ReleaseRef) {
        let rejected = self.rejected == Some(release.digest);
        // What serves on trial goes on, restarts included, until the rollback has taken over; also
        // when all of it is in a crash loop.
        let current = self.ledger.current.as_ref().is_some_and(|now| now.release == *release);
        let serves = current || world.processes.values().any(|p| p.target.release == *release);
        assert!(!rejected || serves, "{release} was rejected and started\n{}", world.tail());
    }
}

fn rejected(ledger: &Ledger) -> Option<Digest> {
    ledger.rejected.as_ref().map(|rejected| rejected.digest)
}

/// After every step.
pub fn check_step(world: &World, controller: &Controller) {
    let mut alive: BTreeMap<&TierName, usize> = BTreeMap::new();
    for generation in controller.generations() {
        *alive.entry(&generation.record.tier).or_default() += 1;
    }
    for (tier, count) in alive {
        let max = limits::GENERATIONS_ALIVE_MAX + 1;
        assert!(count <= max, "{count} generations of {tier}\n{}", world.tail());
    }
    let candidates = |role| controller.generations().filter(|g| g.role == role).count();
    // I6
    let tiers = controller.ledger().tiers.len().max(2);
    assert!(candidates(Role::Candidate) + candidates(Role::Taking) <= tiers, "{}", world.tail());
    // Every running process is known: nothing is started behind the ledger's back.
    for id in world.processes.keys() {
        let known = controller.generations().any(|g| g.number == id.generation);
        assert!(known, "{id} runs and nobody knows it\n{}", world.tail());
    }
}

fn process<'a>(world: &'a World, id: &ProcessId, run: Run) -> Option<&'a SimProcess> {
    world.processes.get(id).filter(|process| process.run == run)
}

fn i4_probes_passed(world: &World, id: &ProcessId, run: Run) {
    let Some(process) = process(world, id, run) else { return };
    let enough = process.good_probes >= process.plan.spec.ready.successes;
    assert!(
        enough || process.hung,
        "{id} accepts after {} probes\n{}",
        process.good_probes,
        world.tail()
    );
}

fn i5_not_signalled(world: &World, id: &ProcessId, run: Run) {
    let Some(process) = process(world, id, run) else { return };
    if process.hung || process.plan.spec.handoff != Handoff::Node {
        return;
    }
    let bleeding = process.state == HandoffState::Bleeding
        && process.bleed_until.is_some_and(|until| world.now.at < until);
    let accepting = process.state == HandoffState::Accepting;
    assert!(
        !bleeding && !accepting,
        "{id} is signalled while {:?}\n{}",
        process.state,
        world.tail()
    );
}

fn someone_else_accepts(world: &World, id: &ProcessId, run: Run) {
    let Some(this) = process(world, id, run) else { return };
    if this.hung || this.state != HandoffState::Accepting {
        return;
    }
    let other = |(other, process): (&ProcessId, &SimProcess)| {
        other.tier == id.tier && other != id && process.state == HandoffState::Accepting
    };
    assert!(world.processes.iter().any(other), "{id} bleeds and nobody accepts\n{}", world.tail());
}

/// In peace everything ends well: the desired release serves, whole, and nothing else runs.
pub fn check_end(world: &World, controller: &Controller) {
    let desired = &world.desired.as_ref().unwrap().target;
    let tail = || world.tail();
    assert_eq!(world.conducts[&desired.release.digest], Conduct::Good);
    assert_eq!(controller.ledger().current.as_ref(), Some(desired), "not converged\n{}", tail());
    assert!(controller.ledger().settled, "not settled\n{}", tail());
    assert!(controller.is_ready(), "not ready\n{}", tail());
    let running: BTreeSet<_> =
        world.processes.values().map(|p| &p.target.release.version).collect();
    assert_eq!(running, [&desired.release.version].into(), "{}", tail());
    assert_eq!(world.processes.len(), 3, "two of web, one worker\n{}", tail());
    let web = |(id, process): (&ProcessId, &SimProcess)| {
        id.tier.as_str() != "web" || process.state == HandoffState::Accepting
    };
    assert!(world.processes.iter().all(web), "{}", tail());
    if let Some(cloud) = &world.cloud {
        assert_eq!(cloud.state, "InService", "{}", tail());
        assert!(
            cloud.registered,
            "nobody sends it anything\n{}\n{:?}",
            tail(),
            controller.ledger().lifecycle
        );
    }
    let kept = world.on_disk.len();
    assert!(kept <= 3, "{kept} releases on disk\n{}", tail());
}

/// In peace a host leaves in time, and says so itself.
pub fn check_gone(world: &World, spot: bool) {
    let cloud = world.cloud.as_ref().unwrap();
    assert!(cloud.gone, "still there\n{}", world.tail());
    let terminating = cloud.completed.iter().filter(|(state, _)| state.starts_with("Terminating"));
    let results: Vec<_> = terminating.map(|(_, result)| *result).collect();
    // The market may be faster than the group.
    let expected = results == [HookResult::Continue] || (spot && results.is_empty());
    assert!(expected, "hook completed with {results:?}\n{}", world.tail());
    // An answer that comes in time is waited for.
    let answered = world.logs.is_some_and(|logs| logs.answered);
    assert!(answered || results.is_empty(), "not with {:?}\n{}", world.logs, world.tail());
}
