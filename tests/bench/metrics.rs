//! What measuring costs, part by part.
//!
//!     scripts/bench metrics [--part steady|statsd|cost] [--seconds 3]

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
#[path = "metrics_parts/mod.rs"]
mod parts;
mod process;
mod report;

use std::time::Duration;

use serde_json::{Map, Value};

use report::argument;

/// A part by name, and what runs it for so long at each step.
type Part = (&'static str, fn(Duration) -> Value);

const PARTS: [Part; 3] =
    [("steady", parts::steady::run), ("statsd", parts::statsd::run), ("cost", parts::cost::run)];

fn main() {
    let seconds = Duration::from_secs(argument("seconds", 3));
    let only = std::env::args().skip_while(|word| word != "--part").nth(1);
    let chosen = |name: &str| only.as_ref().is_none_or(|only| only == name);
    let names = PARTS.map(|(name, _)| name).join(", ");
    assert!(
        PARTS.iter().any(|(name, _)| chosen(name)),
        "--part {}: there is {names}",
        only.as_deref().unwrap_or_default()
    );
    let mut figures = Map::new();
    for (name, run) in PARTS.into_iter().filter(|(name, _)| chosen(name)) {
        // On stderr, because it takes minutes and stdout is for the figures.
        eprintln!("metrics: {name}");
        figures.insert(name.to_owned(), run(seconds));
    }
    report::print("metrics", figures.into());
}
