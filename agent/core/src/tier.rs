//! One generation of a tier: its processes, what is wanted of them, and how its requests go.

use std::time::Duration;

use crate::effect::Effect;
use crate::event::{Found, News};
use crate::ledger::GenerationRecord;
use crate::limits;
use crate::process::{Drive, Leave, Phase, Process, Want};
use crate::time::{Moment, Now};
use crate::types::{Exit, Generation, Pid, ProcessId, Run};

/// Why a generation exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Of a rollout: to become ready, then to accept.
    Candidate,
    /// A candidate that was told to accept; the old one still does.
    Taking,
    /// Serves.
    Live,
    /// Is finishing.
    Retiring,
}

/// Recent requests, old ones counting less: everything is halved each minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recent {
    requests: u64,
    errors: u64,
    halved: Moment,
}

/// How fast recent requests are forgotten.
const HALVED_EVERY: Duration = Duration::from_mins(1);

impl Recent {
    /// Counts more of them.
    pub fn add(&mut self, now: Moment, requests: u64, errors: u64) {
        while now.since(self.halved) >= HALVED_EVERY && (self.requests, self.errors) != (0, 0) {
            self.requests /= 2;
            self.errors /= 2;
            self.halved = self.halved.plus(HALVED_EVERY);
        }
        if (self.requests, self.errors) == (0, 0) {
            self.halved = now;
        }
        self.requests = self.requests.saturating_add(requests);
        self.errors = self.errors.saturating_add(errors);
    }

    /// Requests in a second, about.
    #[must_use]
    pub fn per_second(&self, now: Moment) -> u64 {
        let window = HALVED_EVERY + now.since(self.halved).min(HALVED_EVERY);
        self.requests / window.as_secs().max(1)
    }

    /// The share of errors in parts per million; `None` when there are too few requests to say.
    #[must_use]
    pub fn errors_ppm(&self) -> Option<u32> {
        if self.requests < limits::VERDICT_REQUESTS_MIN {
            return None;
        }
        let ppm = self.errors.saturating_mul(1_000_000) / self.requests;
        Some(u32::try_from(ppm).unwrap_or(u32::MAX))
    }
}

/// One set of processes of one release in one tier.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerationState {
    /// Its number.
    pub number: Generation,
    /// What it is made of.
    pub record: GenerationRecord,
    /// Why it exists.
    pub role: Role,
    /// Its processes, by ordinal.
    pub processes: Vec<Process>,
    /// How its requests went lately.
    pub recent: Recent,
    /// How the requests of the generation before went when this one took over.
    pub baseline_ppm: Option<u32>,
    /// When another took over from it.
    pub retired: Option<Moment>,
}

/// What driving a generation needs to know beside the generation.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances {
    /// The time.
    pub now: Now,
    /// Its release is on trial.
    pub trial: bool,
    /// Nothing else of its tier accepts, so what accepts must go on.
    pub hold: bool,
    /// The host leaves.
    pub leave: Option<Leave>,
    /// Any number, different each time.
    pub jitter: u64,
}

impl GenerationState {
    /// A generation whose processes are to be started.
    #[must_use]
    pub fn new(number: Generation, record: GenerationRecord, now: Now) -> Self {
        let processes = (1..=record.plan.processes)
            .map(|ordinal| Process::new(process_id(&record, number, ordinal), now))
            .collect();
        Self {
            number,
            record,
            role: Role::Candidate,
            processes,
            recent: Recent::default(),
            baseline_ppm: None,
            retired: None,
        }
    }

    /// A generation of which some processes outlived their agent, and some did not.
    #[must_use]
    pub fn recovered(
        number: Generation,
        record: GenerationRecord,
        role: Role,
        found: &[Found],
        now: Now,
    ) -> Self {
        let mut state = Self::new(number, record, now);
        state.role = role;
        for process in &mut state.processes {
            if let Some(found) = found.iter().find(|found| found.id == process.id) {
                *process = Process::adopted(found.id.clone(), found.run, found.pid, now);
            } else if role == Role::Retiring {
                process.phase = Phase::Ended;
            }
        }
        state
    }

    /// Counts the processes that did not outlive their agent as crashed.
    pub fn blame_the_missing(&mut self) {
        let missing = |process: &&mut Process| process.phase != Phase::Ended && !process.alive();
        for process in self.processes.iter_mut().filter(missing) {
            process.served = true;
            process.exits = 1;
            process.reason = Some(Exit::Unknown.to_string());
        }
    }

    /// What is wanted of its processes.
    #[must_use]
    fn want(&self, hold: bool) -> Want {
        match self.role {
            Role::Candidate => Want::Ready,
            Role::Taking | Role::Live => Want::Serve,
            Role::Retiring if hold => Want::Hold,
            Role::Retiring => Want::Gone,
        }
    }

    /// Takes every step that is due.
    pub fn drive(&mut self, circumstances: Circumstances, out: &mut Vec<Effect>) {
        for index in 0..self.processes.len() {
            let (process, drive) = self.split(index, circumstances);
            process.drive(&drive, out);
        }
    }

    /// How the start of a process went.
    pub fn started(
        &mut self,
        id: &ProcessId,
        run: Run,
        outcome: Result<Pid, String>,
        circumstances: Circumstances,
        out: &mut Vec<Effect>,
    ) {
        if let Some(index) = self.index_of(id, run) {
            let (process, drive) = self.split(index, circumstances);
            process.started(&drive, outcome, out);
        }
    }

    /// Takes in what a process said, or was observed to do.
    pub fn news(
        &mut self,
        id: &ProcessId,
        run: Run,
        news: News,
        circumstances: Circumstances,
        out: &mut Vec<Effect>,
    ) {
        let Some(index) = self.index_of(id, run) else { return };
        if let News::Answered { requests, errors, .. } = news {
            self.recent.add(circumstances.now.at, requests, errors);
        }
        let (process, drive) = self.split(index, circumstances);
        process.news(&drive, news, out);
    }

    /// Whether every process passed its probes.
    #[must_use]
    pub fn all_ready(&self) -> bool {
        self.processes.iter().all(Process::is_ready)
    }

    /// Whether every process says that it accepts.
    #[must_use]
    pub fn all_accept(&self) -> bool {
        self.processes.iter().all(Process::accepts)
    }

    /// How many processes accept.
    #[must_use]
    pub fn accepting(&self) -> usize {
        self.processes.iter().filter(|process| process.accepts()).count()
    }

    /// Whether nothing of it is left.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.processes.iter().all(|process| process.phase == Phase::Ended)
    }

    /// Why it cannot become ready any more, if so.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        let failed = |process: &&Process| process.exits >= limits::CANDIDATE_EXITS_MAX;
        let process = self.processes.iter().find(failed)?;
        let reason = process.reason.as_deref().unwrap_or("kept ending");
        Some(format!("{} {reason}", process.id))
    }

    /// The first process that crashed, hung or lost its probes since it served, and how.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let trouble = |process: &Process| Some(format!("{} {}", process.id, process.trouble()?));
        self.processes.iter().find_map(trouble)
    }

    /// A process that keeps ending, if there is one.
    #[must_use]
    pub fn crash_loop(&self, now: Moment) -> Option<&Process> {
        self.processes.iter().find(|process| process.restarts.in_crash_loop(now))
    }

    /// The next moment at which [`Self::drive`] has something to do even without news.
    #[must_use]
    pub fn next_wake(&self) -> Option<Moment> {
        self.processes.iter().filter_map(|process| process.next_wake(&self.record.plan)).min()
    }

    fn index_of(&self, id: &ProcessId, run: Run) -> Option<usize> {
        self.processes.iter().position(|process| process.id == *id && process.run == run)
    }

    fn split(&mut self, index: usize, circumstances: Circumstances) -> (&mut Process, Drive<'_>) {
        let want = self.want(circumstances.hold);
        let drive = Drive {
            now: circumstances.now,
            want,
            plan: &self.record.plan,
            release: &self.record.target.release,
            trial: circumstances.trial,
            leave: circumstances.leave,
            jitter: circumstances.jitter.wrapping_add(index as u64 * 97),
        };
        (&mut self.processes[index], drive)
    }
}

fn process_id(record: &GenerationRecord, generation: Generation, ordinal: u16) -> ProcessId {
    ProcessId { tier: record.tier.clone(), generation, ordinal }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_requests_say_nothing_and_old_ones_count_less() {
        let mut recent = Recent::default();
        recent.add(Moment(0), 19, 19);
        assert_eq!(recent.errors_ppm(), None);
        recent.add(Moment(0), 81, 0);
        assert_eq!(recent.errors_ppm(), Some(190_000));
        recent.add(Moment(60_000), 50, 0);
        assert_eq!(recent.errors_ppm(), Some(90_000));
        recent.add(Moment(600_000_000), 20, 20);
        assert_eq!(recent.errors_ppm(), Some(1_000_000));
    }
}
