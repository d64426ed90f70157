//! What the simulated shell does about each effect, and the processes about themselves.

use super::*;

impl World {
    pub(super) fn carry_out(&mut self, effect: Effect) {
        let mut watcher = std::mem::take(&mut self.watcher);
        watcher.effect(self, &effect);
        self.watcher = watcher;
        match effect {
            Effect::SaveLedger(ledger) => {
                if self.faults && self.dice.one_in(60) {
                    self.log("ledger not saved");
                    return self.answer(1, Event::LedgerSaved(Err("disk full".into())));
                }
                self.ledger = *ledger;
                self.answer(1, Event::LedgerSaved(Ok(())));
            }
            Effect::ReadChannel => self.read_channel(),
            Effect::Fetch(target) => self.fetch(target),
            Effect::CancelFetch(_) => {}
            Effect::Start { id, run, release, plan } => self.start(id, run, release, *plan),
            Effect::Probe { id, run, .. } => self.probe(&id, run),
            Effect::Accept { id, run } => self.accept(&id, run),
            Effect::Bleed { id, run, within, .. } => self.bleed(&id, run, within),
            Effect::Terminate { id, run } => {
                let after = self.dice.between(1, 300);
                let stubborn = self.faults && self.dice.one_in(10);
                if !stubborn && self.processes.get(&id).is_some_and(|p| p.run == run && !p.hung) {
                    self.come(after, Coming::Process(id, run, Deed::Exit(Exit::Code(0))));
                }
            }
            Effect::Kill { id, run } => {
                self.come(1, Coming::Process(id, run, Deed::Exit(Exit::Signal("SIGKILL".into()))));
            }
            Effect::Prune(digest) => {
                self.on_disk.remove(&digest);
                let on_disk = self.on_disk();
                self.answer(50, Event::OnDisk(on_disk));
            }
            Effect::Tell(told) => {
                self.counts.cutovers += u64::from(told.text.contains("its rollout began"));
                self.counts.drains += u64::from(told.text.starts_with("everything has ended"));
                self.counts.rollbacks += u64::from(told.text.contains("rolled back"));
                self.log(format!("  # {}", told.text));
            }
            Effect::Record(step) => {
                self.counts.shipped += u64::from(step.text.contains("events shipped in"));
                self.counts.left += u64::from(step.text.contains("what was not shipped"));
                let late = cloud::logs_are_late(self, &self.ledger);
                if let Some(logs) = &mut self.logs {
                    // An agent after this one does not ask again, however much time it has.
                    logs.given_up |= late && step.text.starts_with("logs: no answer");
                }
            }
            Effect::Measured(_) | Effect::Forget(_) | Effect::CloseSocket { .. } => {}
            Effect::Fleet(call) => self.fleet(call),
            Effect::ShipLogs { since, by, .. } => self.ship_logs(since, by),
            Effect::Exit => {
                assert!(self.processes.is_empty(), "left behind\n{}", self.tail());
                self.agent = None;
                // It was a restart.
                let after = self.dice.between(50, 5000);
                self.come(after, Coming::AgentStarts);
            }
        }
    }

    /// The shipper answers in time, with everything or not, or late, or not at all.
    fn ship_logs(&mut self, since: Moment, by: Moment) {
        self.logs =
            Some(LogsAsked { since, by, answered: false, orphaned: false, given_up: false });
        let within = by.0.saturating_sub(self.now.at.0);
        let (lost, late) = (self.faults && self.dice.one_in(5), self.dice.one_in(5));
        if lost {
            return;
        }
        let after = if late && self.faults {
            within + self.dice.between(0, 90_000)
        } else {
            self.dice.between(0, within.min(5000))
        };
        let kept = self.dice.one_in(2).then(|| "s3://bucket/logs/i-1/".to_owned());
        let outcome = if self.dice.one_in(3) {
            ShipOutcome::Left { bytes: 1234, kept, reason: "throttled".to_owned() }
        } else {
            ShipOutcome::Shipped { events: 1234 }
        };
        self.answer(after, Event::LogsShipped { since, outcome });
    }

    pub(super) fn read_channel(&mut self) {
        if self.faults && self.dice.one_in(300) {
            return; // The answer never comes: the controller must not wait for ever.
        }
        let reading = if self.faults && self.dice.one_in(10) {
            ChannelReading::Unreachable("503".into())
        } else {
            self.desired.clone().map_or(ChannelReading::Missing, ChannelReading::Found)
        };
        let after = self.dice.between(1, 200);
        self.answer(after, Event::Channel(reading));
    }

    pub(super) fn fetch(&mut self, target: Target) {
        let digest = target.release.digest;
        let conduct = self.conducts[&digest];
        let here = self.on_disk.contains(&digest);
        let outcome = if !here && conduct == Conduct::Corrupt {
            FetchOutcome::Refused("digest".into())
        } else if !here && self.faults && self.dice.one_in(4) {
            FetchOutcome::Failed("cut".into())
        } else {
            self.on_disk.insert(digest);
            FetchOutcome::Ready(Box::new(spec()))
        };
        let after = if here { 1 } else { self.dice.between(10, 20_000) };
        if !here && self.on_disk.contains(&digest) {
            let on_disk = self.on_disk();
            self.answer(after, Event::OnDisk(on_disk));
        }
        self.answer(after, Event::Fetched { target, outcome });
    }

    pub(super) fn start(&mut self, id: ProcessId, run: Run, release: ReleaseRef, plan: TierPlan) {
        if self.faults && self.dice.one_in(50) {
            let outcome = Err("out of memory".to_owned());
            return self.answer(1, Event::Started { id, run, outcome });
        }
        let conduct = self.conducts[&release.digest];
        self.next_pid += 1;
        let pid = self.next_pid;
        let target = Target { manifest_digest: release.digest, release };
        let process = SimProcess {
            run,
            pid,
            target,
            plan: plan.clone(),
            conduct,
            state: HandoffState::Starting,
            hung: false,
            good_probes: 0,
            bleed_until: None,
        };
        self.processes.insert(id.clone(), process);
        let boot = self.dice.between(20, 3000);
        if conduct == Conduct::ThrowsAtBoot {
            self.come(boot, Coming::Process(id.clone(), run, Deed::Exit(Exit::Code(1))));
        } else if conduct != Conduct::NeverListens && plan.spec.port.is_some() {
            self.come(boot, Coming::Process(id.clone(), run, Deed::Listen));
        }
        if self.faults && self.dice.one_in(20) {
            let after = self.dice.between(1, 600_000);
            self.come(
                after,
                Coming::Process(id.clone(), run, Deed::Exit(Exit::Signal("SIGSEGV".into()))),
            );
        }
        self.answer(1, Event::Started { id, run, outcome: Ok(pid) });
    }

    pub(super) fn probe(&mut self, id: &ProcessId, run: Run) {
        let Some(process) = self.processes.get_mut(id).filter(|process| process.run == run) else {
            return;
        };
        let bad = process.hung || process.conduct == Conduct::NeverReady;
        let answer = if bad { Err("no answer in 5s".to_owned()) } else { Ok(()) };
        process.good_probes = if bad { 0 } else { process.good_probes + 1 };
        let after = if bad { 5000 } else { self.dice.between(1, 20) };
        self.answer(after, Event::Process { id: id.clone(), run, news: News::Probed(answer) });
        if self.faults && self.dice.one_in(3000) {
            self.log(format!("{id} hangs"));
            self.processes.get_mut(id).unwrap().hung = true;
        }
    }

    pub(super) fn accept(&mut self, id: &ProcessId, run: Run) {
        if self.faults && self.dice.one_in(50) {
            return; // The channel broke just then.
        }
        let Some(process) = self.processes.get_mut(id).filter(|process| process.run == run) else {
            return;
        };
        if process.hung
            || !matches!(process.state, HandoffState::Listening | HandoffState::Accepting)
        {
            return;
        }
        process.state = HandoffState::Accepting;
        let conduct = process.conduct;
        self.tell_agent(id, run, News::Accepting);
        let after = self.dice.between(100, 50_000);
        if conduct == Conduct::CrashesSoon {
            self.come(after, Coming::Process(id.clone(), run, Deed::Exit(Exit::Code(1))));
        }
        self.come(1000, Coming::Process(id.clone(), run, Deed::Answer));
    }

    pub(super) fn bleed(&mut self, id: &ProcessId, run: Run, within: Duration) {
        let until = self.now.at.plus(within);
        let Some(process) = self.processes.get_mut(id).filter(|process| process.run == run) else {
            return;
        };
        if process.hung {
            return;
        }
        if process.state == HandoffState::Drained {
            return self.tell_agent(id, run, News::Drained { cut: 0 });
        }
        process.state = HandoffState::Bleeding;
        process.bleed_until = Some(until);
        let longest = u64::try_from(within.as_millis()).unwrap().max(1);
        let after = self.dice.between(1, longest + 1);
        self.come(after, Coming::Process(id.clone(), run, Deed::BleedEnds));
    }

    pub(super) fn deed(&mut self, id: &ProcessId, run: Run, deed: Deed) {
        let Some(process) = self.processes.get_mut(id).filter(|process| process.run == run) else {
            return;
        };
        let state = process.state;
        match deed {
            Deed::Exit(exit) => {
                self.processes.remove(id);
                self.tell_agent(id, run, News::Exited(exit));
            }
            Deed::Listen => {
                process.state = HandoffState::Listening;
                self.tell_agent(id, run, News::Listening);
            }
            Deed::Hello if process.hung => {}
            Deed::Hello => self.tell_agent(id, run, News::Hello(state)),
            Deed::BleedEnds if state == HandoffState::Bleeding => {
                process.state = HandoffState::Drained;
                self.tell_agent(id, run, News::Drained { cut: 0 });
            }
            Deed::BleedEnds => {}
            Deed::Answer if state == HandoffState::Accepting => {
                let errors = if process.conduct == Conduct::Errs { 20 } else { 0 };
                self.tell_agent(id, run, News::Answered { requests: 100, errors, in_flight: 1 });
                self.come(5000, Coming::Process(id.clone(), run, Deed::Answer));
            }
            Deed::Answer => {}
        }
    }
}
