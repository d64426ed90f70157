//! StatsD: the most packets a second of which none is lost, and what a fixed rate costs; this agent
//! and the reference daemon with the same sender.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::receivers::{Ours, Receiver, Reference};
use super::sender::send;
use crate::harness::agent::World;
use crate::process::cpu_seconds;
use crate::report::rounded;

/// The rate at which both are compared.
const FIXED: u64 = 50_000;
/// The rates that are tried, until one fails.
const RATES: [u64; 14] = [
    10_000, 25_000, 50_000, 75_000, 100_000, 125_000, 150_000, 175_000, 200_000, 225_000, 250_000,
    300_000, 350_000, 400_000,
];
/// How often a rate is tried: what else the machine does makes any receiver late now and then.
const TRIES: usize = 3;
/// A sender that cannot keep the rate measures itself, and the report says so.
const SENT_SHARE_MIN: f64 = 0.95;
/// From the last packet sent to the last one counted.
const COUNTED_WITHIN: Duration = Duration::from_secs(5);

/// The figures.
pub fn run(seconds: Duration) -> Value {
    let (world, other) = (World::new(), World::new());
    let ours = of(&Ours::start(&world), seconds);
    let reference = of(&Reference::start(&other), seconds);
    let ratio = |key: &str| {
        let figure = |figures: &Value| figures[key].as_f64().unwrap_or(f64::NAN);
        rounded(figure(&ours) / figure(&reference))
    };
    json!({
        "without_loss_ratio": ratio("without_loss_per_second"),
        "cpu_ratio": ratio("cpu_percent_at_fixed"),
        "fixed_per_second": FIXED,
        "ours": ours,
        "reference": reference,
    })
}

fn of(receiver: &dyn Receiver, seconds: Duration) -> Value {
    // The first packets make the series.
    round(receiver, 1000, Duration::from_secs(1));
    let (mut best, mut lost_at_next) = (0.0_f64, Value::Null);
    for rate in RATES {
        let tries: Vec<_> = (0..TRIES).map(|_| round(receiver, rate, seconds)).collect();
        let whole = tries.iter().filter(|tried| tried.lost == 0);
        let reached = whole.map(|tried| tried.rate).fold(0.0, f64::max);
        if reached < rate as f64 * SENT_SHARE_MIN {
            let lost: Vec<u64> = tries.iter().map(|tried| tried.lost).collect();
            let sent: Vec<u64> = tries.iter().map(|tried| tried.sent).collect();
            let limit = if lost.contains(&0) { "the sender" } else { "loss" };
            lost_at_next = json!({"per_second": rate, "lost": lost, "sent": sent, "limit": limit});
            best = best.max(reached);
            break;
        }
        best = best.max(reached);
    }
    let before = cpu_seconds(receiver.pid());
    let fixed = round(receiver, FIXED, seconds * 3);
    let used = cpu_seconds(receiver.pid()) - before;
    json!({
        "without_loss_per_second": best.round(),
        "at_the_next_rate": lost_at_next,
        "cpu_percent_at_fixed": rounded(used / (seconds * 3).as_secs_f64() * 100.0),
        "cpu_us_per_packet": rounded(used * 1e6 / fixed.sent as f64),
        "lost_at_fixed": fixed.lost,
    })
}

struct Round {
    sent: u64,
    lost: u64,
    rate: f64,
}

fn round(receiver: &dyn Receiver, rate: u64, during: Duration) -> Round {
    let before = receiver.received().expect("it answers");
    let sent = send(receiver.address(), rate, during);
    let until = Instant::now() + COUNTED_WITHIN;
    let mut lost = sent.packets;
    while lost > 0 && Instant::now() < until {
        let received = receiver.received().expect("it answers") - before;
        // Whether more comes only the count tells, which does not move any more.
        let missing = sent.packets.saturating_sub(received);
        if missing == lost {
            break;
        }
        lost = missing;
        std::thread::sleep(Duration::from_millis(100));
    }
    Round { sent: sent.packets, lost, rate: sent.rate() }
}
