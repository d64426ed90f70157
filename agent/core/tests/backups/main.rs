//! Fleets of fifty hosts and their backups, for nights on end, with everything failing: hosts die,
//! clocks are wrong, answers are lost, RDS throttles, shows things late and takes its time.
//!
//! A failing seed is printed and replays with
//! `SEED=n cargo test -p groundcrew-core --test backups`.

#![allow(missing_docs, clippy::unwrap_used, clippy::match_wild_err_arm, reason = "a test")]

mod checks;
mod counts;
#[path = "../sim/dice.rs"]
mod dice;
mod server;
mod world;

use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use counts::Counts;
use world::World;

/// Fleets per test run; `SEEDS=n` for another number, `FROM=n` for those after the first so many.
const SEEDS_DEFAULT: u64 = 100;

fn live(seed: u64, told: bool) -> World {
    let mut world = World::new(seed, told);
    world.run_with_faults();
    world.run_without_faults();
    checks::at_the_end(&world);
    let failed = world.server.snapshots.values().filter(|snapshot| snapshot.fails);
    world.counts.failed_snapshots = failed.count() as u64;
    world
}

#[test]
fn every_slot_has_one_backup_whoever_dies() {
    if let Some(seed) = number("SEED") {
        let world = live(seed, true);
        println!("{}", world.log.unwrap_or_default().join("\n"));
        println!("{:?}", world.kinds);
        return;
    }
    let seeds = number("SEEDS").unwrap_or(SEEDS_DEFAULT);
    let from = number("FROM").unwrap_or(0);
    let (next, failed) = (AtomicU64::new(from), AtomicU64::new(u64::MAX));
    let sums = Mutex::new(Counts::default());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= from + seeds {
                        break;
                    }
                    match catch_unwind(AssertUnwindSafe(|| live(seed, false))) {
                        Ok(world) => sums.lock().unwrap().add(&world.counts),
                        Err(_) => _ = failed.fetch_min(seed, Relaxed),
                    }
                }
            });
        }
    });
    let seed = failed.into_inner();
    assert!(
        seed == u64::MAX,
        "seed {seed} fails; replay: SEED={seed} cargo test -p groundcrew-core --test backups -- \
         --nocapture"
    );
    let sums = sums.into_inner().unwrap();
    println!("{seeds} fleets: {sums:?}");
    // A simulator in which nothing happens would prove nothing.
    assert!(sums.done > seeds * 3 && sums.deaths > seeds * 10 && sums.lost > seeds * 20);
    assert!(sums.deleted > seeds && sums.copied > seeds && sums.proved > seeds);
    assert!(sums.failed_snapshots > seeds / 10 && sums.late > seeds / 20);
    // Long work is repeated when somebody died, or the answer was an error; no more.
    assert!(sums.worked < sums.proved + sums.dumped, "{} times", sums.worked);
    assert!(sums.dumped > seeds / 4 && sums.taken_over > 0 && sums.reaped_or_cleaned > seeds / 10);
}

#[test]
fn a_seed_is_one_history() {
    for seed in [3, 77] {
        assert_eq!(live(seed, true).log, live(seed, true).log);
    }
}

#[expect(clippy::disallowed_methods, reason = "the seed comes from the command line")]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}
