//! The seam to the shell: what a job wants done, and what came of it.
//!
//! Every [`Effect::Call`] has a ticket, and the shell owes one [`Event::Answered`] with the same
//! ticket, within [`super::limits::CALL_WITHIN`] unless the call has a time of its own. An answer
//! that comes later, twice, or after a crash is ignored, so the shell needs to remember nothing:
//! everything that a lost answer said is found again by looking.

use super::backup::{Backup, Tag};
use super::database::{Database, Target};
use super::lease::{LeaseAnswer, LeaseCall};
use super::limits;
use super::proof::{DumpFacts, Inspection, Level, Scratch};
use super::record::{Place, Record, RecordKey};
use super::slot::Slot;
use super::turn::Turn;
use crate::restart::jittered;
use crate::status::EventStatus;
use crate::time::{Moment, Wall};
use std::time::Duration;

/// Which call an answer is to. Tickets of one job never repeat during an agent's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// One fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A moment that [`super::job::Job::next_wake`] asked for has come.
    Tick,
    /// What came of a call.
    Answered {
        /// Which.
        ticket: Ticket,
        /// What.
        answer: Answer,
    },
    /// The `Date` header of a response of AWS that has just come. Before the answer that came with
    /// it: what the answer says is judged by a clock that is known to be right.
    ServerTime(Wall),
    /// A person wants a backup now: a slot of this minute is run, whatever else there is.
    RunNow,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Make a call; its answer is owed.
    Call {
        /// What the answer is to be marked with.
        ticket: Ticket,
        /// What to do.
        call: Call,
    },
    /// Stop what this ticket began (`Dump`, `Prove`) as soon as possible, and drop what it made: an
    /// upload is aborted, a scratch server ended. The lease is lost, its time is up, or what came
    /// of it is not good enough. No answer is owed.
    Stop(Ticket),
    /// Tell people.
    Tell(EventStatus),
}

/// One call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Get the object of a record. `None` only for 404. Answered by `Record`.
    Read(RecordKey),
    /// Put the object of a record with `If-None-Match: *`. Answered by `Written`.
    Write(Box<Record>),
    /// DescribeDBInstances, and DescribeDBClusters when it names a cluster or finds nothing.
    /// Answered by `Database`.
    Database,
    /// DescribeDBSnapshots (or of clusters) for one identifier, or getting a dump's manifest.
    /// Answered by `Seen`.
    Look {
        /// Where.
        place: Place,
        /// What.
        id: String,
        /// Which of the APIs.
        target: Target,
    },
    /// All manual snapshots of the database whose tags name the job, all pages; or all manifests of
    /// the job. A page that fails fails the call: half a list would look like backups that are
    /// gone. Answered by `Listed`.
    List {
        /// Where.
        place: Place,
        /// Which of the APIs.
        target: Target,
    },
    /// CreateDBSnapshot or CreateDBClusterSnapshot. Answered by `Made`.
    Snapshot {
        /// The identifier.
        id: String,
        /// Which of the APIs.
        target: Target,
        /// All tags.
        tags: Vec<Tag>,
    },
    /// CopyDBSnapshot or CopyDBClusterSnapshot, called in `region`, with the job's key of that
    /// region, without copying tags. Answered by `Made`.
    Copy {
        /// Where to.
        region: String,
        /// The identifier there.
        id: String,
        /// The source's ARN.
        source: String,
        /// Which of the APIs.
        target: Target,
        /// All tags.
        tags: Vec<Tag>,
    },
    /// DeleteDBSnapshot, or deleting a dump: its manifest first. Answered by `Deleted`.
    Delete {
        /// Where.
        place: Place,
        /// What.
        id: String,
        /// Which of the APIs.
        target: Target,
    },
    /// A request about a lease. Answered by `Lease`.
    Lease(LeaseCall),
    /// Stream a dump into a multipart upload, all parts, without completing it. The key of the data
    /// is made of the lease's epoch and this call's ticket, so that two never meet. Answered by
    /// `Dumped`, until `by`.
    Dump {
        /// The slot.
        slot: Slot,
        /// The lease's epoch.
        epoch: u64,
        /// When the answer is due.
        by: Moment,
    },
    /// Complete the upload, then put the manifest, both with `If-None-Match: *`. It may be asked
    /// for again when the answer was lost: what is done already counts as done. Answered by
    /// `Committed`; `Exists` is about the manifest.
    Commit {
        /// The slot.
        slot: Slot,
        /// The call that made the upload.
        dump: Ticket,
        /// What the manifest says beside what the dump counted: the same as tags of a snapshot.
        tags: Vec<Tag>,
    },
    /// What L0 asks about a backup. Answered by `Inspected`.
    Inspect {
        /// The backup.
        id: String,
        /// Which of the APIs.
        target: Target,
        /// Regions that have a copy.
        copies: Vec<String>,
    },
    /// Prove L1 or L2 of a dump on this host, or run the assertions of L3 against a restored
    /// instance. Answered by `Proved`, until `by`.
    Prove {
        /// The level.
        level: Level,
        /// The backup; at L3, the restored instance.
        id: String,
        /// When the answer is due.
        by: Moment,
    },
    /// Set tags of a backup. Answered by `Marked`.
    Mark {
        /// The backup.
        id: String,
        /// Which of the APIs.
        target: Target,
        /// The tags.
        tags: Vec<Tag>,
    },
    /// Restore a snapshot to an isolated instance of this identifier, with `groundcrew:managed-by`,
    /// the job, the snapshot and `groundcrew:verify-ttl` (RFC 3339) as tags. Answered by `Made`.
    Restore {
        /// The instance.
        id: String,
        /// The snapshot.
        from: String,
        /// Which of the APIs: what is of a cluster is restored to a cluster of that identifier,
        /// with one instance.
        target: Target,
        /// Until when it may live, in seconds since 1970-01-01 UTC.
        until_s: i64,
    },
    /// All instances whose identifier is one of the job's and which have the tags of
    /// [`Call::Restore`]; instances of a cluster, too. Answered by `Scratches`.
    Scratches,
    /// DeleteDBInstance without a final snapshot, of such an instance and no other. Answered by
    /// `Deleted`.
    Destroy {
        /// The instance.
        id: String,
    },
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To `Read`. A record that cannot be read is [`CallErrorKind::Refused`].
    Record(Result<Option<Box<Record>>, CallError>),
    /// To `Write`.
    Written(Result<Put, CallError>),
    /// To `Database`. `None`: there is none.
    Database(Result<Option<Database>, CallError>),
    /// To `Look`.
    Seen(Result<Option<Box<Backup>>, CallError>),
    /// To `List`.
    Listed(Result<Vec<Backup>, CallError>),
    /// To `Snapshot`, `Copy` and `Restore`.
    Made(Result<Make, CallError>),
    /// To `Delete` and `Destroy`. What is not there is deleted.
    Deleted(Result<(), CallError>),
    /// To `Lease`.
    Lease(LeaseAnswer),
    /// To `Dump`.
    Dumped(Result<Box<DumpFacts>, CallError>),
    /// To `Commit`.
    Committed(Result<Put, CallError>),
    /// To `Inspect`.
    Inspected(Result<Box<Inspection>, CallError>),
    /// To `Prove`: what is wrong, as clauses; none: nothing.
    Proved(Result<Vec<String>, CallError>),
    /// To `Mark`.
    Marked(Result<(), CallError>),
    /// To `Scratches`.
    Scratches(Result<Vec<Scratch>, CallError>),
}

/// What came of a conditional write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// Written.
    Written,
    /// 412: there is one. 409 is [`CallErrorKind::Unclear`].
    Exists,
}

/// What came of a call that makes something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Make {
    /// It was begun.
    Begun,
    /// `DBSnapshotAlreadyExists`, `DBClusterSnapshotAlreadyExistsFault`,
    /// `DBInstanceAlreadyExists`: look, this is not "done".
    AlreadyExists,
    /// `InvalidDBInstanceState`, `InvalidDBClusterStateFault`, `InvalidDBSnapshotState` and the
    /// like: the source cannot now.
    InvalidState,
    /// `DBInstanceNotFound`, `DBSnapshotNotFound` and the like: there is no source.
    NoSource,
    /// `SnapshotQuotaExceeded`, `InstanceQuotaExceeded`: AWS's words.
    Quota(String),
}

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallError {
    /// What kind of failure.
    pub kind: CallErrorKind,
    /// Why, as a clause.
    pub text: String,
}

/// What kind of failure, as far as anything follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallErrorKind {
    /// `Throttling`, `RequestLimitExceeded`, 503 SlowDown: nothing was done.
    Throttled,
    /// No answer, 5xx, 409 ConditionalRequestConflict: it may have been done.
    Unclear,
    /// Not allowed, or no credentials.
    Denied,
    /// The same again will fail again.
    Refused,
}

impl CallError {
    /// An answer that never came.
    pub(super) fn lost() -> Self {
        Self { kind: CallErrorKind::Unclear, text: "no answer".to_owned() }
    }

    /// How long to wait before the next try. `failures` is how many came before in a row.
    pub(super) fn pause(&self, failures: u32, random: u64) -> Duration {
        let pause = match self.kind {
            CallErrorKind::Throttled | CallErrorKind::Unclear => back_off(failures),
            CallErrorKind::Denied | CallErrorKind::Refused => limits::RETRY_PERSON,
        };
        jittered(pause, random)
    }

    /// Whether only a person can mend it.
    #[must_use]
    pub const fn needs_person(&self) -> bool {
        self.kind.needs_person()
    }
}

impl CallErrorKind {
    /// Whether only a person can mend it.
    #[must_use]
    pub const fn needs_person(self) -> bool {
        match self {
            Self::Throttled | Self::Unclear => false,
            Self::Denied | Self::Refused => true,
        }
    }
}

/// The pause after so many failures in a row.
pub(super) fn back_off(failures: u32) -> Duration {
    limits::RETRY_MIN.saturating_mul(1 << failures.min(10)).min(limits::RETRY_MAX)
}

/// One question at a time, with its time and the pauses between.
#[derive(Debug, Clone, Default)]
pub(super) struct Asking {
    pending: Option<(Ticket, Moment)>,
    not_before: Moment,
    failures: u32,
}

/// Where the asking stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ready {
    /// An answer is awaited, or a pause is not over.
    Not,
    /// The answer will not come any more.
    Lost,
    /// The next question may be asked.
    Yes,
}

impl Asking {
    /// Nothing is asked before `not_before`.
    pub(super) fn from(not_before: Moment) -> Self {
        Self { not_before, ..Self::default() }
    }

    /// Where it stands; a lost answer is told once.
    pub(super) fn ready(&mut self, now: Moment) -> Ready {
        match self.pending {
            Some((_, by)) if now < by => Ready::Not,
            Some(_) => {
                self.pending = None;
                Ready::Lost
            }
            None if now < self.not_before => Ready::Not,
            None => Ready::Yes,
        }
    }

    /// Asks; the answer is due within the usual time.
    pub(super) fn send(&mut self, turn: &mut Turn<'_>, call: Call) -> Ticket {
        let by = turn.now.at.plus(limits::CALL_WITHIN);
        self.send_until(turn, call, by)
    }

    /// Asks; the answer is due at `by`.
    pub(super) fn send_until(&mut self, turn: &mut Turn<'_>, call: Call, by: Moment) -> Ticket {
        let ticket = turn.ticket();
        self.pending = Some((ticket, by));
        turn.out.push(Effect::Call { ticket, call });
        ticket
    }

    /// Whether the answer to this ticket is awaited; it is not awaited any more then.
    pub(super) fn takes(&mut self, ticket: Ticket) -> bool {
        let takes = self.pending.is_some_and(|(pending, _)| pending == ticket);
        if takes {
            self.pending = None;
        }
        takes
    }

    /// What is awaited.
    pub(super) fn pending(&self) -> Option<Ticket> {
        self.pending.map(|(ticket, _)| ticket)
    }

    /// Nothing is awaited any more.
    pub(super) fn forget(&mut self) {
        self.pending = None;
    }

    /// The next question comes after a pause.
    pub(super) fn pause(&mut self, now: Moment, pause: Duration) {
        self.not_before = now.plus(pause);
    }

    /// A call failed: the next comes after a pause that grows.
    pub(super) fn failed(&mut self, turn: &Turn<'_>, error: &CallError) {
        self.pause(turn.now.at, error.pause(self.failures, turn.random));
        self.failures = self.failures.saturating_add(1);
    }

    /// Something cannot be done now: the next try comes after a pause that grows.
    pub(super) fn later(&mut self, turn: &Turn<'_>) {
        self.pause(turn.now.at, jittered(back_off(self.failures), turn.random));
        self.failures = self.failures.saturating_add(1);
    }

    /// A call went well.
    pub(super) fn fine(&mut self) {
        self.failures = 0;
    }

    /// When something is to be done about it.
    pub(super) fn wake(&self) -> Moment {
        self.pending.map_or(self.not_before, |(_, by)| by)
    }
}
