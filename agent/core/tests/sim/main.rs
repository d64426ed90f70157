//! Whole lives of a host, thousands of them: the controller in a world that fails wherever it can.
//!
//! A failing seed is printed and replays with `SEED=n cargo test -p groundcrew-core --test sim`.

#![allow(missing_docs, clippy::unwrap_used, clippy::match_wild_err_arm, reason = "a test")]

mod dice;
mod invariants;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use dice::Dice;
use world::World;

/// Lives per test run; `SEEDS=n` for another number.
const SEEDS_DEFAULT: u64 = 1000;

fn live(seed: u64) -> World {
    let mut world = World::new(seed);
    world.run_with_faults();
    world.run_without_faults();
    world
}

#[test]
fn every_life_keeps_the_invariants_and_ends_well() {
    if let Some(seed) = number("SEED") {
        let world = live(seed);
        println!("{}", world.log.join("\n"));
        return;
    }
    let (mut cutovers, mut rollbacks, mut deaths, mut steps) = (0, 0, 0, 0);
    let seeds = number("SEEDS").unwrap_or(SEEDS_DEFAULT);
    for seed in 0..seeds {
        if number("TRACE").is_some() {
            eprintln!("{seed}");
        }
        match catch_unwind(AssertUnwindSafe(|| live(seed))) {
            Ok(world) => {
                cutovers += world.counts.cutovers;
                rollbacks += world.counts.rollbacks;
                deaths += world.counts.agent_deaths;
                steps += world.counts.steps;
            }
            Err(_) => panic!(
                "seed {seed} fails; replay: SEED={seed} cargo test -p groundcrew-core --test sim \
                 -- --nocapture"
            ),
        }
    }
    println!(
        "{steps} steps, {deaths} deaths of the agent, {cutovers} cutovers, {rollbacks} rollbacks"
    );
    // A simulator in which nothing happens would prove nothing.
    assert!(cutovers > seeds && rollbacks > seeds / 10 && deaths > seeds);
}

#[test]
fn a_seed_is_one_life() {
    for seed in [1, 77, 2024] {
        assert_eq!(live(seed).log, live(seed).log);
    }
}

#[expect(clippy::disallowed_methods, reason = "the seed comes from the command line")]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn dice_are_fair_enough() {
    let mut dice = Dice::new(1);
    let hits = (0..10_000).filter(|_| dice.one_in(10)).count();
    assert!((800..1200).contains(&hits), "{hits}");
}
