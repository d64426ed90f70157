//! Limits of everything about backups, and the pauses between questions.

use std::time::Duration;

/// Letters of a job's name.
pub const JOB_NAME_MAX: usize = 32;
/// Letters of the identifier of a snapshot of an instance (API_CreateDBSnapshot).
pub const INSTANCE_SNAPSHOT_ID_MAX: usize = 255;
/// Letters of the identifier of a snapshot of a cluster (API_CreateDBClusterSnapshot).
pub const CLUSTER_SNAPSHOT_ID_MAX: usize = 63;
/// Letters of the identifier of an instance (API_RestoreDBInstanceFromDBSnapshot).
pub const INSTANCE_ID_MAX: usize = 63;
/// Letters of the identifier of a Multi-AZ DB cluster (API_RestoreDBClusterFromSnapshot).
pub const MULTI_AZ_CLUSTER_ID_MAX: usize = 52;
/// Identifiers that one slot may use up: the first, and one after each snapshot that failed.
pub const ATTEMPTS_MAX: u8 = 4;
/// Backups of one job and place that are looked at, newest first. RDS allows 100 snapshots unless
/// its quota was raised; a bucket has no such bound.
pub const BACKUPS_MAX: usize = 2000;
/// Jobs of one host.
pub const JOBS_MAX: usize = 32;
/// Regions that one job copies to.
pub const COPIES_MAX: usize = 4;
/// Tags of a snapshot (AWS's own bound); more are not read.
pub const TAGS_MAX: usize = 50;
/// Letters of a reason that is remembered.
pub const REASON_MAX: usize = 500;
/// Slots of a job that are looked after at once, newest first. Older ones get no record.
pub const SLOTS_DUE_MAX: usize = 32;

/// The shortest time between two slots, in minutes: no backup is made faster for sure.
pub const SCHEDULE_EVERY_MIN: u16 = 15;
/// The longest interval, in minutes: a week.
pub const SCHEDULE_EVERY_MAX: u16 = 7 * 1440;
/// Days in which every date of the calendar comes: February 29 may be eight years away.
pub const SCHEDULE_DAYS_MAX: i64 = 3000;

/// How long a slot that was missed may still be run, unless the host's file says otherwise.
pub const CATCH_UP_USUAL: Duration = Duration::from_hours(20);
/// How long after that a slot gets its record, and what is under way is watched.
pub const CLOSING_TIME: Duration = Duration::from_hours(24);
/// How long a copy may wait for its start, unless the host's file says otherwise.
pub const COPY_WITHIN_USUAL: Duration = Duration::from_hours(12);
/// Copies into one region under way at once, unless the host's file says otherwise.
pub const COPIES_IN_FLIGHT_USUAL: usize = 3;
/// Over how long the instances of a fleet spread, unless the host's file says otherwise.
pub const SPREAD_USUAL: Duration = Duration::from_mins(5);

/// How long an answer may take before it counts as lost. The shell's own timeouts are shorter.
pub const CALL_WITHIN: Duration = Duration::from_mins(1);
/// How old what was read may be when something is created on its strength: the record, the
/// database and the snapshots are asked for again after that.
pub const ROUND_WITHIN: Duration = Duration::from_mins(3);
/// Pause after the first call that failed; doubles.
pub const RETRY_MIN: Duration = Duration::from_secs(2);
/// The longest pause between two tries.
pub const RETRY_MAX: Duration = Duration::from_mins(5);
/// The pause when something is not allowed, or cannot be right: a person has to act.
pub const RETRY_PERSON: Duration = Duration::from_mins(15);
/// Pause between the first looks at a snapshot under way, for the host that made it.
pub const WATCH_EVERY_MIN: Duration = Duration::from_secs(30);
/// The longest pause between two looks of that host.
pub const WATCH_EVERY_MAX: Duration = Duration::from_mins(5);
/// The pause of all other hosts: there are many, so one of them soon sees that the first has died.
pub const WATCH_EVERY_OTHERS: Duration = Duration::from_mins(15);
/// How long a host leaves to others what it is not allowed to do, or has no means for.
pub const NOT_HERE_FOR: Duration = Duration::from_hours(1);
/// Pause of a host between two looks whether others have done what it cannot.
pub const LEFT_TO_OTHERS: Duration = Duration::from_mins(10);
/// How long at most until a jump of the wall clock is noticed.
pub const WAKE_WITHIN: Duration = Duration::from_mins(15);

/// How far the clock may be off before people are told.
pub const CLOCK_WARN: Duration = Duration::from_secs(30);
/// How far it may be off before nothing is begun by it. AWS refuses signatures at five minutes.
pub const CLOCK_REFUSE: Duration = Duration::from_mins(4);

/// How long a lease is good without being renewed.
pub const LEASE_TTL: Duration = Duration::from_mins(3);
/// How much of it is not used, so that whoever takes over never meets the one before.
pub const LEASE_MARGIN: Duration = Duration::from_secs(30);

/// Over how long those spread who wait for somebody else's lease to be over.
pub const LEASE_SPREAD: Duration = Duration::from_mins(10);

/// How long a failed snapshot is kept for people to look at.
pub const FAILED_KEPT: Duration = Duration::from_hours(48);
/// How long a dump may take.
pub const DUMP_WITHIN: Duration = Duration::from_hours(12);
/// How long completing a dump's upload and putting its manifest may take: S3 needs minutes to put
/// the parts of a large object together (API_CompleteMultipartUpload).
pub const COMMIT_WITHIN: Duration = Duration::from_mins(48);
/// How long proving a level may take on this host.
pub const PROVE_WITHIN: Duration = Duration::from_hours(6);
/// How long an instance restored for proof lives at most; its tag says until when.
pub const SCRATCH_TTL: Duration = Duration::from_hours(8);
/// How long such an instance may take until it is available, unless the host's file says otherwise:
/// loading a snapshot's blocks takes long.
pub const RESTORE_WITHIN_USUAL: Duration = Duration::from_hours(3);
/// The longest time for that: the proof and the deletion need the rest of its life.
pub const RESTORE_WITHIN_MAX: Duration = Duration::from_hours(4);
/// How long before its life is over the proof has to end, so that whoever made it deletes it.
pub const SCRATCH_MARGIN: Duration = Duration::from_mins(15);
/// Pause between two looks for restored instances that nobody cleaned up.
pub const REAP_EVERY: Duration = Duration::from_hours(1);
/// Instances restored for proof that are looked at.
pub const SCRATCH_MAX: usize = 100;
/// How long a pass of retention goes on over what cannot be deleted.
pub const SWEEP_WITHIN: Duration = Duration::from_hours(1);

const _: () = assert!(ROUND_WITHIN.as_secs() > CALL_WITHIN.as_secs());
const _: () = assert!(LEASE_MARGIN.as_secs() * 3 <= LEASE_TTL.as_secs());
// A renewal that is lost can be tried again before the lease is over.
const _: () = assert!(LEASE_TTL.as_secs() / 3 + LEASE_MARGIN.as_secs() < LEASE_TTL.as_secs());
const _: () = assert!(CLUSTER_SNAPSHOT_ID_MAX <= INSTANCE_SNAPSHOT_ID_MAX);
// Deleting a restored instance is begun long before its time is over.
const _: () = assert!(PROVE_WITHIN.as_secs() < SCRATCH_TTL.as_secs());
const _: () =
    assert!(RESTORE_WITHIN_MAX.as_secs() + SCRATCH_MARGIN.as_secs() < SCRATCH_TTL.as_secs());
