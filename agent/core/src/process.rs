//! One process: where it stands, and what to do about it next.
//!
//! A process is driven towards what its generation [`Want`]s of it. Every step can be taken again:
//! news that got lost comes back with the process's next hello, probe or exit.

use std::time::Duration;

use crate::effect::{Effect, Level, Subject, Topic};
use crate::event::News;
use crate::lifecycle::drain::Quiet;
use crate::limits;
use crate::restart::RestartTracker;
use crate::spec::{Handoff, TierPlan};
use crate::time::{Moment, Now, Wall};
use crate::types::{Pid, ProcessId, ReleaseRef, Run};

mod news;
mod probing;

/// What a generation wants of its processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Run and pass the probes, but do not accept.
    Ready,
    /// Accept.
    Serve,
    /// Go on accepting for now, if it does; otherwise finish and end.
    Hold,
    /// Finish and end.
    Gone,
}

/// Where a process stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not running; to be started.
    Waiting {
        /// Not before this.
        until: Moment,
    },
    /// The shell is starting it.
    Starting {
        /// The shell answers before this.
        by: Moment,
    },
    /// It outlived an agent; where it stands it has not said yet.
    Adopted {
        /// It comes back to the channel before this.
        by: Moment,
    },
    /// It runs and is not ready yet.
    Up {
        /// It is ready before this, or it has failed.
        by: Moment,
    },
    /// Its probes passed, and nobody told it to accept.
    Ready,
    /// It was told to accept.
    Accepting {
        /// It confirms before this; `None` when it has.
        confirm_by: Option<Moment>,
    },
    /// It was told to finish what it has.
    Bleeding {
        /// Afterwards it is signalled.
        not_after: Moment,
    },
    /// It was sent SIGTERM, or SIGKILL.
    Stopping {
        /// SIGKILL (again) at this moment.
        kill_at: Moment,
        /// It was sent SIGKILL before.
        killed: bool,
    },
    /// It is gone and will not be started again.
    Ended,
}

/// What the probes of a process say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Probing {
    pending_by: Option<Moment>,
    next: Moment,
    pause: Duration,
    good: u32,
    bad: u32,
    /// The last answer, and when it came.
    pub last: Option<(Wall, Result<(), String>)>,
}

/// One process of a generation.
#[derive(Debug, Clone, PartialEq)]
pub struct Process {
    /// Which.
    pub id: ProcessId,
    /// Which start of it.
    pub run: Run,
    /// Its number, while it runs.
    pub pid: Option<Pid>,
    /// Where it stands.
    pub phase: Phase,
    /// Since when it stands there.
    pub since: Now,
    /// Its restarts.
    pub restarts: RestartTracker,
    /// Its probes.
    pub probing: Probing,
    /// Why it is where it is, when that needs a word.
    pub reason: Option<String>,
    /// Whether it ever accepted, in any run.
    pub served: bool,
    /// Exits since it last served.
    pub exits: u32,
    /// Requests without an answer, as it said last.
    pub in_flight: u64,
    listening: bool,
    up_since: Moment,
    misled: Option<String>,
    crash: Option<String>,
    doomed: bool,
    /// When it was told last that it keeps ending, and not yet that this is over.
    looping: Option<Moment>,
}

/// What drives a process: the time, what is wanted, and of what it is made.
pub struct Drive<'a> {
    /// The time.
    pub now: Now,
    /// What its generation wants.
    pub want: Want,
    /// How it runs.
    pub plan: &'a TierPlan,
    /// What it runs.
    pub release: &'a ReleaseRef,
    /// Its release is on trial, so it is probed more often.
    pub trial: bool,
    /// The host leaves.
    pub leave: Option<Leave>,
    /// Any number, different each time.
    pub jitter: u64,
}

/// What the host's leaving means for a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leave {
    /// The silence after which it believes that no request will come.
    pub quiet: Quiet,
    /// When it must be gone.
    pub not_after: Option<Moment>,
}

impl Leave {
    /// Whether it should be gone.
    fn is_late(self, now: Moment) -> bool {
        self.not_after.is_some_and(|by| now >= by)
    }

    /// When a bleed must be over, so that `stop` can follow: in a hurry each gets its share.
    fn bleed_by(self, now: Moment, stop: Duration) -> Option<Moment> {
        let left = self.not_after?.since(now);
        Some(now.plus(left.saturating_sub(stop.min(left / 3))))
    }
}

impl Process {
    /// A process that is to be started at once.
    #[must_use]
    pub fn new(id: ProcessId, now: Now) -> Self {
        Self {
            id,
            run: 0,
            pid: None,
            phase: Phase::Waiting { until: now.at },
            since: now,
            restarts: RestartTracker::default(),
            probing: Probing::default(),
            reason: None,
            served: false,
            exits: 0,
            in_flight: 0,
            listening: false,
            up_since: now.at,
            misled: None,
            crash: None,
            doomed: false,
            looping: None,
        }
    }

    /// A process that outlived its agent.
    #[must_use]
    pub fn adopted(id: ProcessId, run: Run, pid: Pid, now: Now) -> Self {
        let phase = Phase::Adopted { by: now.at.plus(limits::HELLO_WITHIN) };
        Self { run, pid: Some(pid), phase, ..Self::new(id, now) }
    }

    /// Whether it may be running.
    #[must_use]
    pub fn alive(&self) -> bool {
        !matches!(self.phase, Phase::Waiting { .. } | Phase::Ended)
    }

    /// Whether it accepts, and has said so.
    #[must_use]
    pub fn accepts(&self) -> bool {
        matches!(self.phase, Phase::Accepting { confirm_by: None })
    }

    /// Whether its probes passed in this run, so that it may accept.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready | Phase::Accepting { .. })
    }

    /// Why it counts as hung, if its probes failed that often.
    #[must_use]
    pub fn hung(&self) -> Option<String> {
        let last = self.probing.last.as_ref().and_then(|(_, answer)| answer.as_ref().err());
        let last = last.map_or("no answer", String::as_str);
        let bad = self.probing.bad;
        (bad >= limits::PROBE_FAILURES_MAX).then(|| format!("failed {bad} probes in a row: {last}"))
    }

    /// How it crashed or hung since it last served, if it did.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let ended = self.served && self.exits > 0;
        let ended = ended.then(|| self.reason.as_deref().unwrap_or("ended").to_owned());
        ended.or_else(|| self.hung())
    }

    /// The next moment at which [`Self::drive`] has something to do even without news.
    #[must_use]
    pub fn next_wake(&self, plan: &TierPlan) -> Option<Moment> {
        let probe = self.probes(plan).then(|| self.probing.pending_by.unwrap_or(self.probing.next));
        let deadline = match self.phase {
            Phase::Waiting { until } => Some(until),
            Phase::Starting { by } | Phase::Adopted { by } => Some(by),
            Phase::Up { by } if takes_commands(plan) => Some(by),
            Phase::Up { .. } => Some(self.up_since.plus(limits::UP_FOR)),
            Phase::Ready | Phase::Ended => None,
            Phase::Accepting { confirm_by } => confirm_by,
            Phase::Bleeding { not_after } => Some(not_after),
            Phase::Stopping { kill_at, .. } => Some(kill_at),
        };
        [probe, deadline, self.loop_ends()].into_iter().flatten().min()
    }

    /// Takes every step that is due.
    pub fn drive(&mut self, drive: &Drive<'_>, out: &mut Vec<Effect>) {
        // A step may make the next one due at once: ready, then accept. Phases only move forward
        // within one call, so their number bounds the loop.
        for _ in 0..8 {
            let before = self.phase;
            self.step(drive, out);
            if self.phase == before {
                break;
            }
            self.since = drive.now;
        }
        self.watch_loop(drive, out);
        self.probe(drive, out);
    }

    fn step(&mut self, drive: &Drive<'_>, out: &mut Vec<Effect>) {
        let now = drive.now.at;
        let gone = matches!(drive.want, Want::Hold | Want::Gone);
        match self.phase {
            Phase::Ended => {}
            Phase::Waiting { .. } if gone => self.phase = Phase::Ended,
            Phase::Waiting { until } if now >= until => self.start(drive, out),
            Phase::Waiting { .. } => {}
            Phase::Starting { by } if gone || now >= by => self.kill(drive.now, out),
            Phase::Starting { .. } => {}
            Phase::Adopted { .. } if !takes_commands(drive.plan) => self.recognised(drive),
            Phase::Adopted { by } if now >= by => {
                self.reason = Some("did not come back to the agent's channel".to_owned());
                self.bleed(drive, Duration::ZERO, out);
            }
            Phase::Adopted { .. } => {}
            Phase::Up { .. } | Phase::Ready if gone => {
                self.terminate(drive, drive.plan.spec.stop, out);
            }
            Phase::Up { by } => self.step_up(drive, by, out),
            Phase::Ready if drive.want == Want::Serve => self.accept(drive, out),
            Phase::Ready => {}
            Phase::Accepting { confirm_by } => self.step_accepting(drive, confirm_by, out),
            Phase::Bleeding { not_after } if now >= not_after => {
                let grace = if self.doomed { Duration::ZERO } else { drive.plan.spec.stop };
                self.terminate(drive, grace, out);
            }
            Phase::Bleeding { not_after } => self.hurry_bleed(drive, not_after, out),
            Phase::Stopping { kill_at, .. } if now >= kill_at => self.kill(drive.now, out),
            Phase::Stopping { killed: false, .. }
                if drive.leave.is_some_and(|leave| leave.is_late(now)) =>
            {
                self.kill(drive.now, out);
            }
            Phase::Stopping { .. } => {}
        }
    }

    fn step_up(&mut self, drive: &Drive<'_>, by: Moment, out: &mut Vec<Effect>) {
        let now = drive.now.at;
        let ready = if takes_commands(drive.plan) {
            self.listening && self.probing.good >= drive.plan.spec.ready.successes
        } else {
            now.since(self.up_since) >= limits::UP_FOR
        };
        if ready {
            self.phase = Phase::Ready;
            self.reason = None;
        } else if now >= by {
            let reason = self.why_not_ready(drive.plan);
            self.exits = self.exits.max(limits::CANDIDATE_EXITS_MAX);
            self.tell(drive, (Level::Warning, Topic::ProcessUnhealthy), &reason, out);
            self.reason = Some(reason);
            self.doomed = true;
            self.kill(drive.now, out);
        }
    }

    fn step_accepting(
        &mut self,
        drive: &Drive<'_>,
        confirm_by: Option<Moment>,
        out: &mut Vec<Effect>,
    ) {
        let spec = &drive.plan.spec;
        if drive.want == Want::Gone {
            if takes_commands(drive.plan) {
                self.bleed(drive, spec.bleed, out);
            } else {
                // SIGTERM is the bleed of a process that knows no other.
                self.terminate(drive, spec.bleed + spec.stop, out);
            }
            return;
        }
        let reason = if confirm_by.is_some_and(|by| drive.now.at >= by) {
            "was told to accept and did not confirm it".to_owned()
        } else if let Some(reason) = self.hung() {
            reason
        } else {
            return;
        };
        let text = format!("{reason}; it is replaced");
        self.tell(drive, (Level::Warning, Topic::ProcessUnhealthy), &text, out);
        self.reason = Some(reason);
        self.doomed = true;
        self.bleed(drive, limits::BLEED_GRACE, out);
    }

    fn start(&mut self, drive: &Drive<'_>, out: &mut Vec<Effect>) {
        self.run = self.run.saturating_add(1);
        self.pid = None;
        self.probing = Probing::default();
        self.listening = false;
        self.misled = None;
        self.crash = None;
        self.doomed = false;
        self.phase = Phase::Starting { by: drive.now.at.plus(limits::START_WITHIN) };
        out.push(Effect::Start {
            id: self.id.clone(),
            run: self.run,
            release: drive.release.clone(),
            plan: Box::new(drive.plan.clone()),
        });
    }

    /// A process without a channel that outlived an agent: it runs, and that is all there is to
    /// know.
    fn recognised(&mut self, drive: &Drive<'_>) {
        self.phase = if drive.plan.spec.port.is_some() {
            self.served = true;
            Phase::Accepting { confirm_by: None }
        } else {
            Phase::Up { by: drive.now.at.plus(drive.plan.spec.ready.within) }
        };
        self.up_since = drive.now.at;
    }

    fn accept(&mut self, drive: &Drive<'_>, out: &mut Vec<Effect>) {
        let commands = takes_commands(drive.plan);
        let confirm_by = commands.then(|| drive.now.at.plus(limits::ACCEPT_WITHIN));
        self.phase = Phase::Accepting { confirm_by };
        self.probing.bad = 0;
        // Soon, because what was just told to accept is about to be on trial.
        self.probing.next = drive.now.at.plus(limits::PROBE_TRIAL_EVERY);
        if commands {
            out.push(Effect::Accept { id: self.id.clone(), run: self.run });
        } else {
            self.serves();
        }
    }

    fn serves(&mut self) {
        self.served = true;
        self.exits = 0;
    }

    fn bleed(&mut self, drive: &Drive<'_>, within: Duration, out: &mut Vec<Effect>) {
        let now = drive.now.at;
        let bleed_by = drive.leave.and_then(|leave| leave.bleed_by(now, drive.plan.spec.stop));
        let within = bleed_by.map_or(within, |by| within.min(by.since(now)));
        self.phase = Phase::Bleeding { not_after: now.plus(within).plus(limits::BLEED_GRACE) };
        let quiet = drive.leave.map(|leave| leave.quiet);
        out.push(Effect::Bleed { id: self.id.clone(), run: self.run, within, quiet });
    }

    /// A deadline that was heard of during the bleed.
    fn hurry_bleed(&mut self, drive: &Drive<'_>, not_after: Moment, out: &mut Vec<Effect>) {
        let bleed_by = |leave: Leave| leave.bleed_by(drive.now.at, drive.plan.spec.stop);
        let Some(by) = drive.leave.and_then(bleed_by) else { return };
        if by.plus(limits::BLEED_GRACE) < not_after {
            self.bleed(drive, by.since(drive.now.at), out);
        }
    }

    fn terminate(&mut self, drive: &Drive<'_>, grace: Duration, out: &mut Vec<Effect>) {
        let by = drive.leave.and_then(|leave| leave.not_after);
        let grace = by.map_or(grace, |by| grace.min(by.since(drive.now.at)));
        if grace.is_zero() {
            return self.kill(drive.now, out);
        }
        self.phase = Phase::Stopping { kill_at: drive.now.at.plus(grace), killed: false };
        out.push(Effect::Terminate { id: self.id.clone(), run: self.run });
    }

    fn kill(&mut self, now: Now, out: &mut Vec<Effect>) {
        let kill_at = now.at.plus(limits::KILL_AGAIN_EVERY);
        self.phase = Phase::Stopping { kill_at, killed: true };
        out.push(Effect::Kill { id: self.id.clone(), run: self.run });
    }

    fn tell(
        &self,
        drive: &Drive<'_>,
        (level, topic): (Level, Topic),
        what: &str,
        out: &mut Vec<Effect>,
    ) {
        let subject = Subject::process(&self.id, &drive.release.version);
        out.push(subject.tell(drive.now, level, topic, format!("{} {what}", self.id)));
    }

    /// Says when a process that kept ending has run for as long as its restarts are counted, or is
    /// gone for good.
    fn watch_loop(&mut self, drive: &Drive<'_>, out: &mut Vec<Effect>) {
        let what = match self.loop_ends() {
            _ if self.looping.is_some() && self.phase == Phase::Ended => {
                "is gone; its crash loop is over"
            }
            Some(at) if drive.now.at >= at => "has stayed up; its crash loop is over",
            _ => return,
        };
        self.looping = None;
        self.tell(drive, (Level::Normal, Topic::CrashLoopOver), what, out);
    }

    /// When its crash loop is over, as far as can be told now.
    fn loop_ends(&self) -> Option<Moment> {
        let told = self.looping.filter(|_| self.is_ready())?;
        Some(told.plus(limits::RESTARTS_WINDOW))
    }

    fn why_not_ready(&self, plan: &TierPlan) -> String {
        let within = crate::time::text(plan.spec.ready.within);
        let Some(port) = plan.spec.port else { return format!("was not ready within {within}") };
        if !self.listening {
            let hint = self.misled.clone().unwrap_or_else(|| {
                "let it listen on process.env.PORT and name the program itself in `command`, \
                 because wrappers lose the inherited socket"
                    .to_owned()
            });
            return format!("never listened on PORT {port} within {within}: {hint}");
        }
        let path = plan.spec.ready.path.as_deref().unwrap_or("its port");
        match &self.probing.last {
            Some((_, Err(reason))) => format!("was not ready within {within}: {reason}"),
            _ => format!("was not ready within {within}: too few good answers on {path}"),
        }
    }
}

/// Whether a process has the preload, so that it can be told to accept and bleed and be probed
/// alone.
#[must_use]
pub fn takes_commands(plan: &TierPlan) -> bool {
    plan.spec.port.is_some() && plan.spec.handoff == Handoff::Node
}
