//! Logs to a local CloudWatch that enforces the limits and verifies every line: how fast, at what
//! price, and what is lost when things go wrong. Beside it the floor: the least that a program can
//! do for the same, measured in the same run.
//!
//!     scripts/bench logs [--part bulk|floor|steady|faults|printing] [--lines 5200000]
//!                        [--seconds 20]

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    dead_code,
    unused_imports,
    reason = "the harness of the end-to-end tests, without its own tests"
)]

#[path = "../e2e/harness/mod.rs"]
mod harness;
#[path = "logs_parts/mod.rs"]
mod parts;
mod process;
mod report;

use std::time::Duration;

use serde_json::{Map, Value};

use report::argument;

/// A part by name, and what runs it.
type Part = (&'static str, fn(u64, Duration) -> Value);

const PARTS: [Part; 5] = [
    ("bulk", |lines, _| parts::bulk::run(lines)),
    // The bulk has it too, of the same file.
    ("floor", |lines, _| parts::floor::of_lines(lines)),
    ("steady", |_, seconds| parts::steady::run(seconds)),
    ("faults", |_, seconds| parts::faults::run(seconds)),
    ("printing", |_, seconds| parts::printing::run(seconds.min(Duration::from_secs(5)))),
];

fn main() {
    let lines = argument("lines", 5_200_000);
    let seconds = Duration::from_secs(argument("seconds", 20));
    let mut words = std::env::args().skip_while(|word| word != "--part").skip(1);
    let only = words.next();
    let chosen = |name: &str| only.as_ref().map_or(name != "floor", |only| only == name);
    assert!(
        PARTS.iter().any(|(name, _)| chosen(name)),
        "--part {}: there are bulk, floor, steady, faults and printing",
        only.as_deref().unwrap_or_default()
    );
    let mut figures = Map::new();
    for (name, run) in PARTS.into_iter().filter(|(name, _)| chosen(name)) {
        // On stderr, because it takes minutes and stdout is for the figures.
        eprintln!("logs: {name}");
        figures.insert(name.to_owned(), run(lines, seconds));
    }
    report::print("logs", figures.into());
}
