//! The one line a benchmark prints, and its arguments.

use std::time::Duration;

use serde_json::{Map, Value, json};

/// Prints the line: the figures, then the machine.
pub fn print(bench: &str, figures: Value) {
    let mut line = Map::new();
    line.insert("bench".to_owned(), bench.into());
    line.extend(figures.as_object().expect("figures have names").clone());
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: f64 = load.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(-1.0);
    line.insert("load_average".to_owned(), json!(load));
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    line.insert("cores".to_owned(), json!(cores));
    println!("{}", Value::from(line));
}

/// The number after `--name`, or `default`.
pub fn argument(name: &str, default: u64) -> u64 {
    let mut words = std::env::args().skip_while(|word| *word != format!("--{name}")).skip(1);
    match words.next() {
        None => default,
        Some(word) => word.parse().unwrap_or_else(|_| panic!("--{name} {word}: not a number")),
    }
}

/// With a hundredth.
pub fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// In milliseconds.
pub fn millis(duration: Duration) -> f64 {
    rounded(duration.as_secs_f64() * 1000.0)
}

/// The middle one; zero of none.
pub fn median(mut values: Vec<Duration>) -> Duration {
    values.sort();
    values.get(values.len() / 2).copied().unwrap_or_default()
}
