//! A limit on everything. Relations between the numbers are asserted where the numbers stand.

use std::time::Duration;

/// Processes of one tier and generation.
pub const PROCESSES_PER_TIER_MAX: u16 = 256;
/// Tiers of one release.
pub const TIERS_MAX: usize = 32;
/// Generations of one tier alive at once: the host is sized for two, not for three. Only a rollback
/// may be the third, because the release that serves is known to be bad.
pub const GENERATIONS_ALIVE_MAX: usize = 2;
/// Settled releases remembered, newest first.
pub const RELEASE_HISTORY_MAX: usize = 16;

/// How long a process of a tier without a probe must stay up to count as ready.
pub const UP_FOR: Duration = Duration::from_secs(1);
/// Pause between two probes of a process that is not ready yet; doubles with each failed one.
pub const PROBE_STARTING_EVERY: Duration = Duration::from_millis(10);
/// The longest pause between two probes of a process that is not ready yet.
pub const PROBE_STARTING_EVERY_MAX: Duration = Duration::from_millis(500);
/// Pause between two probes of a process that serves.
pub const PROBE_SERVING_EVERY: Duration = Duration::from_secs(5);
/// How long one probe may take.
pub const PROBE_WITHIN: Duration = Duration::from_secs(5);
/// Consecutive failed probes after which a serving process is replaced.
pub const PROBE_FAILURES_MAX: u32 = 3;

/// Pause between two probes of a process whose release is on trial.
pub const PROBE_TRIAL_EVERY: Duration = Duration::from_secs(1);
/// Exits of one process of a new generation, before it ever served, after which the rollout has
/// failed.
pub const CANDIDATE_EXITS_MAX: u32 = 3;
/// How long a process may take to confirm that it accepts.
pub const ACCEPT_WITHIN: Duration = Duration::from_secs(5);
/// How long a process that outlived its agent may take to come back to the channel.
pub const HELLO_WITHIN: Duration = Duration::from_secs(15);
/// How long the shell may take to say how a start went.
pub const START_WITHIN: Duration = Duration::from_secs(30);
/// What a bleeding process gets beyond its deadline to say what it had to cut.
pub const BLEED_GRACE: Duration = Duration::from_secs(1);
/// Pause between two attempts to kill what will not die.
pub const KILL_AGAIN_EVERY: Duration = Duration::from_secs(5);

/// Pause after the first failed fetch or rollout; doubles up to [`RETRY_DELAY_MAX`].
pub const RETRY_DELAY_MIN: Duration = Duration::from_secs(5);
/// The longest pause between two tries of a fetch or a rollout.
pub const RETRY_DELAY_MAX: Duration = Duration::from_mins(5);
/// How long one reading of the channel may take before it counts as lost.
pub const READ_CHANNEL_WITHIN: Duration = Duration::from_mins(1);

/// Restarts of one process within [`RESTARTS_WINDOW`] after which the tier is degraded.
pub const RESTARTS_MAX: usize = 5;
/// The window in which restarts are counted.
pub const RESTARTS_WINDOW: Duration = Duration::from_mins(10);
/// Pause before the second restart; the first comes at once, each later one waits twice as long.
pub const RESTART_DELAY_MIN: Duration = Duration::from_millis(200);
/// The longest pause before a restart.
pub const RESTART_DELAY_MAX: Duration = Duration::from_mins(1);

/// Requests a release must have answered before its share of errors means anything.
pub const VERDICT_REQUESTS_MIN: u64 = 20;
/// Events kept for `status`.
pub const EVENTS_MAX: usize = 64;
/// History entries kept in a channel document.
pub const CHANNEL_HISTORY_MAX: usize = 100;

/// Pause between two looks at the instance's metadata.
pub const SIGHT_EVERY: Duration = Duration::from_secs(2);
/// The longest pause between two looks while the metadata does not answer.
pub const SIGHT_EVERY_MAX: Duration = Duration::from_secs(10);
/// Pause between two looks at what changes seldom: recommendations, scheduled events.
pub const SIGHT_SELDOM_EVERY: Duration = Duration::from_secs(4);
/// How long a host that has just booted waits for its metadata before it goes on without.
pub const SIGHT_WITHIN: Duration = Duration::from_secs(5);
/// How long a host that has just booted, or come out of the warm pool, waits to hear what the
/// channel says before it starts what it remembers.
pub const CHANNEL_FIRST_WITHIN: Duration = Duration::from_secs(10);
/// What the spot market gives at most (awsdocs: spot-instance-termination-notices).
pub const SPOT_NOTICE_MAX: Duration = Duration::from_mins(2);
/// What is assumed when its time cannot be right by this host's clock.
pub const SPOT_NOTICE_UNKNOWN: Duration = Duration::from_secs(20);

/// How far the clock may be off before people are told; AWS refuses signatures at five minutes.
pub const CLOCK_OFF_MAX: Duration = Duration::from_mins(1);
/// How long one call to AWS about the fleet may take before it counts as lost.
pub const FLEET_CALL_WITHIN: Duration = Duration::from_secs(15);
/// Pause between the first questions about a state that is about to change.
pub const FLEET_ASK_EVERY_MIN: Duration = Duration::from_secs(2);
/// How many these are.
pub const FLEET_ASKS_QUICK: u32 = 5;
/// Pause between those that follow: a state may be about to change for minutes.
pub const FLEET_ASK_EVERY_MAX: Duration = Duration::from_secs(5);
/// The longest pause between two questions that get no answer.
pub const FLEET_RETRY_MAX: Duration = Duration::from_mins(5);
/// Pause after the first failed call about a hook; doubles.
pub const HOOK_RETRY_MIN: Duration = Duration::from_millis(500);
/// The longest pause between two tries of a call about a hook.
pub const HOOK_RETRY_MAX: Duration = Duration::from_secs(20);
/// How often a release may fail on a host that is being launched before the launch is given up.
pub const LAUNCH_FAILURES_MAX: u32 = 3;

/// How long a drain waits to learn who takes the host out of its load balancers.
pub const BALANCERS_ASK_WITHIN: Duration = Duration::from_secs(5);
/// How long a drain waits for the group's load balancers to be through with the host. The
/// deregistration delay is 5 min unless somebody changed it.
pub const BALANCERS_GROUP_WITHIN: Duration = Duration::from_mins(10);
/// The shortest silence after which a busy process believes that no request will come.
pub const QUIET_MIN: Duration = Duration::from_millis(500);
/// The longest.
pub const QUIET_MAX: Duration = Duration::from_secs(5);
/// That of a process that is asked for less than one thing a second.
pub const QUIET_IDLE: Duration = Duration::from_secs(1);
/// How long the preload lets Node keep idle connections, unless the app says otherwise
/// (`KEEP_ALIVE_MS` of handoff/node.cjs).
pub const PRELOAD_KEEP_ALIVE: Duration = Duration::from_secs(75);
/// What is left of a drain's time for what comes after the processes: three seconds for their last
/// lines, which are few as long as the shipper keeps up, and [`LOGS_RESERVE`]. More would be taken
/// from requests in flight.
pub const DRAIN_RESERVE: Duration = Duration::from_secs(5);
/// How long the logs of a host that leaves may take where nothing else sets a deadline. A hook is
/// kept from timing out meanwhile; a host that waited for the end of an outage would never go.
pub const LOGS_SHIP_WITHIN: Duration = Duration::from_mins(1);
/// The least they get, however late it is: one request.
pub const LOGS_SHIP_WITHIN_MIN: Duration = Duration::from_secs(1);
/// How much later the shell may say what became of them.
pub const LOGS_ANSWER_GRACE: Duration = Duration::from_millis(500);
/// What is left of a drain's time for what comes after the logs: completing a hook, with one retry.
pub const LOGS_RESERVE: Duration = Duration::from_secs(2);
/// How long an agent that was told to end stays for the sake of the logs and of a hook.
pub const EXIT_WITHIN: Duration = Duration::from_secs(10);
/// Lines of a drain's record.
pub const DRAIN_STEPS_MAX: usize = 512;
/// Reasons of one drain.
pub const NOTICES_MAX: usize = 32;

/// Entries of an artifact.
pub const ARTIFACT_ENTRIES_MAX: u64 = 500_000;
/// Bytes of an artifact, unpacked.
pub const ARTIFACT_UNPACKED_BYTES_MAX: u64 = 32 * 1024 * 1024 * 1024;
/// Bytes of a path inside an artifact.
pub const ARTIFACT_PATH_BYTES_MAX: usize = 4096;
/// Bytes of a manifest. 500,000 entries of 100 bytes fit.
pub const MANIFEST_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// Bytes of a channel document.
pub const CHANNEL_BYTES_MAX: u64 = 1024 * 1024;

const _: () = assert!(PROBE_STARTING_EVERY.as_millis() < PROBE_STARTING_EVERY_MAX.as_millis());
const _: () = assert!(PROBE_TRIAL_EVERY.as_millis() <= PROBE_SERVING_EVERY.as_millis());
const _: () = assert!(RETRY_DELAY_MIN.as_millis() < RETRY_DELAY_MAX.as_millis());
const _: () = assert!(
    LOGS_RESERVE.as_millis() + LOGS_SHIP_WITHIN_MIN.as_millis() < DRAIN_RESERVE.as_millis()
);
const _: () = assert!(LOGS_ANSWER_GRACE.as_millis() < LOGS_RESERVE.as_millis());
const _: () = assert!(DRAIN_RESERVE.as_millis() < EXIT_WITHIN.as_millis());
const _: () = assert!(RESTART_DELAY_MIN.as_millis() < RESTART_DELAY_MAX.as_millis());
const _: () = assert!(RESTART_DELAY_MAX.as_millis() < RESTARTS_WINDOW.as_millis());
