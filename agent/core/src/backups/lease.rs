//! Who does the long work: a lease in the bucket, by conditional writes and the server's clock.
//!
//! A lease keeps two instances from doing the same work; it does not make the work safe. That is
//! what the conditional write of the result is for: whoever lost a lease without knowing cannot
//! overwrite what the next one wrote.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::call::{Asking, Call, CallError, Ready, Ticket};
use super::limits::{LEASE_MARGIN, LEASE_SPREAD, LEASE_TTL};
use super::turn::Turn;
use crate::time::Moment;

/// The longest time that somebody else's lease is believed to be good for.
const TTL_S_MAX: u64 = 3600;
/// `Last-Modified` and `Date` have whole seconds: an age may be wrong by one.
const DATE_STEP: Duration = Duration::from_secs(1);

/// What a lease says. The whole object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseBody {
    /// The instance that has it, for people.
    pub holder: String,
    /// The agent's life that has it: an agent that comes back is another.
    pub run: String,
    /// How long it is good without being written again, in seconds.
    pub ttl_s: u64,
    /// Counts those who had it.
    pub epoch: u64,
}

/// A request about a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseCall {
    /// The object's key below the prefix of backups.
    pub path: String,
    /// What.
    pub action: LeaseAction,
}

/// What to do with a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseAction {
    /// Get it. Answered by `Read`.
    Read,
    /// Put it with `If-None-Match: *`. Answered by `Put`.
    Create(LeaseBody),
    /// Put it with `If-Match`. Answered by `Put`.
    Replace {
        /// The object that is replaced.
        etag: String,
        /// What it will say.
        body: LeaseBody,
    },
}

/// What came of a request about a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseAnswer {
    /// To `Read`. `None` only for 404. A body that cannot be read is an error.
    Read(Result<Option<Box<LeaseSeen>>, CallError>),
    /// To `Create` and `Replace`. `None`: 412, or 404 of a `Replace`; 409 is an error.
    Put(Result<Option<String>, CallError>),
}

/// A lease as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseSeen {
    /// What it says.
    pub body: LeaseBody,
    /// Its ETag, as it came.
    pub etag: String,
    /// The response's `Date` less the object's `Last-Modified`: its age by the server's clock, and
    /// by no other.
    pub age: Duration,
}

/// The work for one lease, as far as this agent has it.
#[derive(Debug, Clone)]
pub(super) struct Lease {
    path: String,
    asking: Asking,
    state: State,
    /// When the request that is under way was sent.
    sent: Moment,
}

#[derive(Debug, Clone)]
enum State {
    /// To be read.
    Unknown,
    /// There is none.
    Free,
    /// Its time is over, or whoever had it is.
    Stale { etag: String, epoch: u64 },
    /// It is given back: others need not wait until its time is over.
    Released,
    /// It is this agent's, until then by the clock that never jumps.
    Held { etag: String, epoch: u64, until: Moment, renew: Moment, unsure: bool },
}

impl Lease {
    pub(super) fn new(path: String) -> Self {
        Self { path, asking: Asking::default(), state: State::Unknown, sent: Moment::default() }
    }

    /// The epoch, while the lease is this agent's for sure.
    pub(super) fn held(&self, now: Moment) -> Option<u64> {
        match &self.state {
            State::Held { epoch, until, .. } if now < *until => Some(*epoch),
            State::Held { .. }
            | State::Unknown
            | State::Free
            | State::Stale { .. }
            | State::Released => None,
        }
    }

    /// Whether it is not this agent's, and the wait for it is over: the moment to see whether the
    /// work is still to be done.
    pub(super) fn may_try(&self, now: Moment) -> bool {
        self.held(now).is_none() && self.asking.pending().is_none() && self.asking.wake() <= now
    }

    /// When something is to be done about it.
    pub(super) fn wake(&self) -> Moment {
        match &self.state {
            State::Held { until, renew, .. } if self.asking.pending().is_none() => {
                self.asking.wake().max(*renew).min(*until)
            }
            State::Held { until, .. } => self.asking.wake().min(*until),
            State::Unknown | State::Free | State::Stale { .. } | State::Released => {
                self.asking.wake()
            }
        }
    }

    /// Gives it back, if it is this agent's. Nobody waits for the answer: at worst the others wait
    /// until its time is over.
    pub(super) fn release(&mut self, turn: &mut Turn<'_>) {
        let held = self.held(turn.now.at).is_some();
        if let State::Held { etag, epoch, unsure: false, .. } = &self.state
            && held
        {
            let body = Self::body(turn, *epoch, 0);
            let action = LeaseAction::Replace { etag: etag.clone(), body };
            self.asking.send(turn, Call::Lease(LeaseCall { path: self.path.clone(), action }));
        } else {
            self.asking.forget();
        }
        self.state = State::Released;
    }

    fn body(turn: &Turn<'_>, epoch: u64, ttl_s: u64) -> LeaseBody {
        let (holder, run) = (turn.job.instance.clone(), turn.job.run.clone());
        LeaseBody { holder, run, ttl_s, epoch }
    }

    /// Gets it, or keeps it.
    pub(super) fn go(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.at;
        if matches!(&self.state, State::Held { until, .. } if *until <= now) {
            // What was under way may still arrive: a new look tells.
            self.state = State::Unknown;
            self.asking.forget();
        }
        match self.asking.ready(now) {
            Ready::Not => return,
            Ready::Lost => return self.failed(turn, &CallError::lost()),
            Ready::Yes => {}
        }
        if matches!(self.state, State::Released) {
            self.state = State::Unknown;
        }
        let body = |epoch| Self::body(turn, epoch, LEASE_TTL.as_secs());
        let action = match &self.state {
            State::Unknown | State::Released | State::Held { unsure: true, .. } => {
                LeaseAction::Read
            }
            State::Free => LeaseAction::Create(body(1)),
            State::Stale { etag, epoch } => {
                LeaseAction::Replace { etag: etag.clone(), body: body(epoch.saturating_add(1)) }
            }
            State::Held { renew, .. } if now < *renew => return,
            State::Held { etag, epoch, .. } => {
                LeaseAction::Replace { etag: etag.clone(), body: body(*epoch) }
            }
        };
        self.sent = now;
        self.asking.send(turn, Call::Lease(LeaseCall { path: self.path.clone(), action }));
    }

    pub(super) fn takes(&mut self, ticket: Ticket) -> bool {
        self.asking.takes(ticket)
    }

    pub(super) fn answered(&mut self, turn: &Turn<'_>, answer: LeaseAnswer) {
        match answer {
            LeaseAnswer::Read(Ok(seen)) => self.read(turn, seen.map(|seen| *seen)),
            // How it ended does not matter: the next look tells.
            _ if matches!(self.state, State::Released) => {}
            LeaseAnswer::Put(Ok(Some(etag))) => {
                let epoch = match &self.state {
                    State::Unknown | State::Free | State::Released => 1,
                    State::Stale { epoch, .. } => epoch.saturating_add(1),
                    State::Held { epoch, .. } => *epoch,
                };
                self.hold(etag, epoch, self.sent);
            }
            // Somebody else has it now, or this agent by a request whose answer was lost.
            LeaseAnswer::Put(Ok(None)) => self.state = State::Unknown,
            LeaseAnswer::Read(Err(error)) | LeaseAnswer::Put(Err(error)) => {
                self.failed(turn, &error);
            }
        }
    }

    fn read(&mut self, turn: &Turn<'_>, seen: Option<LeaseSeen>) {
        self.asking.fine();
        let Some(LeaseSeen { body, etag, age }) = seen else {
            self.state = State::Free;
            return;
        };
        let ttl = Duration::from_secs(body.ttl_s.min(TTL_S_MAX));
        let own = body.run == turn.job.run;
        // An agent that was killed needs no more what it held. Only what is older than this life:
        // hosts that share a name, off EC2, would take it from each other again and again.
        let alive = turn.now.at.since(turn.begun) + DATE_STEP * 2;
        let orphaned = !own && body.holder == turn.job.instance && age > alive;
        if own && age + LEASE_MARGIN + DATE_STEP < ttl {
            let age_ms = crate::time::ms(age + DATE_STEP);
            let written = Moment(self.sent.0.saturating_sub(age_ms));
            self.hold(etag, body.epoch, written);
            // What is left may not be enough to begin with.
            if let State::Held { renew, .. } = &mut self.state {
                *renew = turn.now.at;
            }
        } else if !own && !orphaned && age <= ttl {
            self.state = State::Unknown;
            // Those who wait for it do not all come in the same second, nor often.
            let rest = ttl.saturating_sub(age) + Duration::from_secs(2);
            let later = LEASE_SPREAD / 1000 * u32::try_from(turn.random % 1000).unwrap_or(0);
            self.asking.pause(turn.now.at, rest + later);
        } else {
            self.state = State::Stale { etag, epoch: body.epoch };
        }
    }

    fn hold(&mut self, etag: String, epoch: u64, written: Moment) {
        let until = written.plus(LEASE_TTL.saturating_sub(LEASE_MARGIN));
        self.state =
            State::Held { etag, epoch, until, renew: written.plus(LEASE_TTL / 3), unsure: false };
        self.asking.fine();
    }

    fn failed(&mut self, turn: &Turn<'_>, error: &CallError) {
        self.asking.failed(turn, error);
        match &mut self.state {
            // It may have been written: the ETag that is known may be an old one.
            State::Held { unsure, .. } => *unsure = true,
            State::Unknown | State::Free | State::Stale { .. } | State::Released => {
                self.state = State::Unknown;
            }
        }
    }
}
