//! The first event of an agent's life: what the ledger says against what the host has.

use super::*;
use crate::event::Found;
use crate::ledger::GenerationRecord;

impl Controller {
    pub(super) fn begin(
        &mut self,
        now: Now,
        found: &[Found],
        on_disk: Vec<OnDisk>,
        same_boot: bool,
        out: &mut Vec<Effect>,
    ) {
        self.begun = true;
        // What serves went on while there was no agent; a first look that finds it well says so.
        let known_since = self.ledger.current_since;
        self.state.1 = if known_since == Wall::default() { now.wall } else { known_since };
        let present: BTreeSet<_> = on_disk.iter().map(|release| release.digest).collect();
        self.on_disk = on_disk;
        let ledger = &mut self.ledger;
        // A ledger that outlived its releases, on a replaced root volume, must not be believed.
        ledger.history.retain(|target| present.contains(&target.release.digest));
        if ledger.current.as_ref().is_some_and(|current| !present.contains(&current.release.digest))
        {
            ledger.current = None;
            ledger.settled = false;
        }
        self.relearn(found, &present);
        let ledger = &mut self.ledger;
        let highest = found.iter().map(|found| found.id.generation).max().unwrap_or_default();
        ledger.next_generation = ledger.next_generation.max(highest.next());
        let records = ledger.generations.clone();
        for (number, record) in records {
            self.recover(now, number, &record, found, same_boot);
        }
        for found in found {
            let known = |state: &GenerationState| state.processes.iter().any(|p| p.id == found.id);
            if !self.generations.values().any(known) {
                out.push(Effect::Kill { id: found.id.clone(), run: found.run });
            }
        }
        self.recall(now, same_boot, found.is_empty());
        if !same_boot {
            // Its moments were those of another boot.
            self.ledger.deploying = None;
        }
    }

    /// Learns from the processes what a lost ledger would have said.
    fn relearn(&mut self, found: &[Found], present: &BTreeSet<Digest>) {
        let ledger = &mut self.ledger;
        // The newest is the best guess at what serves; what else accepts is held until that does.
        let mut newest_first: Vec<_> = found.iter().collect();
        newest_first.sort_by_key(|found| std::cmp::Reverse(found.id.generation));
        for found in newest_first {
            let number = found.id.generation;
            let Some(record) = &found.record else { continue };
            if ledger.generations.contains_key(&number) {
                continue;
            }
            ledger.generations.insert(number, (**record).clone());
            let tier = ledger.tiers.entry(record.tier.clone()).or_default();
            if tier.live.is_none_or(|live| !ledger.generations.contains_key(&live)) {
                tier.live = Some(number);
            }
            if ledger.current.is_none() && present.contains(&record.target.release.digest) {
                ledger.current = Some(record.target.clone());
            }
        }
    }

    fn recover(
        &mut self,
        now: Now,
        number: Generation,
        record: &GenerationRecord,
        found: &[Found],
        same_boot: bool,
    ) {
        let tier = self.ledger.tiers.get(&record.tier);
        let live = tier.and_then(|tier| tier.live) == Some(number);
        let present = |release: &OnDisk| release.digest == record.target.release.digest;
        // A half-done rollout goes on with the processes it has, or agents that keep dying would
        // fill the host with beginnings.
        let goal = self.goal();
        let wanted = goal.is_some_and(|goal| same_release(&goal.release, &record.target.release));
        let mut later = self.ledger.generations.range(number.next()..);
        let newest = later.all(|(_, later)| later.tier != record.tier);
        // What was rejected serves until another takes over; of which nothing runs serves nothing.
        let target = &record.target;
        let runs = found.iter().any(|found| found.id.generation == number);
        let bad = !runs && self.is_rejected(target) && self.alternative_to(target);
        let role = match self.on_disk.iter().any(present) {
            _ if bad => Role::Retiring,
            true if live => Role::Live,
            true if wanted && newest => Role::Candidate,
            _ => Role::Retiring,
        };
        let mut state = GenerationState::recovered(number, record.clone(), role, found, now);
        if same_boot {
            state.blame_the_missing();
        }
        self.generations.insert(number, state);
    }
}
