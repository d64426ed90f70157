//! What is lost and what comes twice when things go wrong, at 5 MB/s.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::rig;
use crate::harness::agent::Agent;
use crate::harness::log_endpoint::lines::{Rotation, Writer};
use crate::harness::log_endpoint::{Faults, LogEndpoint};
use crate::process;
use crate::report::rounded;

const RATE: u64 = 5_000_000;
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(90);

/// Something that happens at the beginning of a second.
enum Act {
    Faults(Faults),
    Kill,
    Leave,
    Rotate(Rotation),
}

/// What happens when, by name; the last second is `end`.
type Plan = (&'static str, Box<dyn Fn(u64, u64) -> Vec<Act>>);

fn plans() -> Vec<Plan> {
    let from_the_start = |faults: Faults| {
        move |second: u64, _: u64| {
            if second == 0 { vec![Act::Faults(faults.clone())] } else { vec![] }
        }
    };
    let percent = |throttled_percent, reply_lost_percent| Faults {
        throttled_percent,
        reply_lost_percent,
        ..Faults::default()
    };
    vec![
        ("none", Box::new(|_, _| vec![])),
        ("throttled 10 %", Box::new(from_the_start(percent(10, 0)))),
        ("reply lost 5 %", Box::new(from_the_start(percent(0, 5)))),
        ("10 s of HTTP 500", Box::new(|second, _| outage(second, 5, 15))),
        (
            "kill -9 and restart",
            Box::new(|second, end| if second == end / 2 { vec![Act::Kill] } else { vec![] }),
        ),
        (
            "throttled 20 %, SIGTERM and restart",
            Box::new(move |second, end| match second {
                0 => vec![Act::Faults(percent(20, 0))],
                second if second == end / 2 => vec![Act::Leave],
                _ => vec![],
            }),
        ),
        ("15 s of 500 and rename every 4 s", Box::new(|s, _| rotating(s, Rotation::Rename))),
        ("15 s of 500 and copytruncate", Box::new(|s, _| rotating(s, Rotation::CopyTruncate))),
        ("15 s of 500 and create every 4 s", Box::new(|s, _| rotating(s, Rotation::Create))),
    ]
}

fn outage(second: u64, from: u64, to: u64) -> Vec<Act> {
    let failing = Faults { error_percent: 100, ..Faults::default() };
    match second {
        second if second == from => vec![Act::Faults(failing)],
        second if second == to => vec![Act::Faults(Faults::default())],
        _ => vec![],
    }
}

fn rotating(second: u64, how: Rotation) -> Vec<Act> {
    let mut acts = outage(second, 2, 17);
    if second > 0 && second.is_multiple_of(4) {
        acts.push(Act::Rotate(how));
    }
    acts
}

/// The figures of each plan.
pub fn run(seconds: Duration) -> Value {
    plans().iter().map(|(name, plan)| one(name, plan, seconds.as_secs())).collect()
}

fn one(name: &str, plan: &dyn Fn(u64, u64) -> Vec<Act>, end: u64) -> Value {
    let endpoint = LogEndpoint::start_tls();
    let world = rig::world_of(&endpoint);
    let mut agent = rig::agent_of(&world, &[]);
    let mut writer = Writer::new(&rig::logs_of(&world).join("app.log"), 0).unwrap();
    for second in 0..end {
        for act in plan(second, end) {
            carry_out(act, &endpoint, &mut agent, &mut writer);
        }
        writer.write_at(RATE, Duration::from_secs(1)).unwrap();
    }
    let (lines, ended) = (writer.lines().count(), Instant::now());
    // Throttling stays: it is no reason to lose anything. An outage is over.
    if endpoint_fails(plan, end) {
        endpoint.heal();
    }
    rig::wait_for_lines(&endpoint, lines, CAUGHT_UP_WITHIN);
    let behind = ended.elapsed();
    let (counts, delivery) = (endpoint.counts(), endpoint.delivery(0));
    json!({
        "fault": name,
        "lines": lines,
        "lost": endpoint.missing(0, lines),
        "repeated": delivery.repeats,
        "repeated_batches": counts.repeated_batches,
        "replies_lost": counts.replies_lost,
        "out_of_order": delivery.out_of_order + delivery.back_in_time,
        "altered": delivery.lines == lines && delivery.checksum != writer.lines().checksum(),
        "caught_up_s": rounded(behind.as_secs_f64()),
        "peak_rss_mib": rounded(process::memory_mib(agent.pid(), "VmHWM")),
        "requests": counts.puts,
        "invalid": counts.invalid,
    })
}

fn endpoint_fails(plan: &dyn Fn(u64, u64) -> Vec<Act>, end: u64) -> bool {
    let acts = (0..end).flat_map(|second| plan(second, end));
    acts.into_iter().any(|act| matches!(act, Act::Faults(faults) if faults.error_percent > 0))
}

fn carry_out(act: Act, endpoint: &LogEndpoint, agent: &mut Agent<'_>, writer: &mut Writer) {
    match act {
        Act::Faults(faults) => endpoint.set_faults(faults),
        Act::Kill => {
            agent.kill();
            agent.restart();
        }
        Act::Leave => {
            agent.signal(Signal::SIGTERM);
            agent.wait();
            agent.restart();
        }
        Act::Rotate(how) => writer.rotate(how).unwrap(),
    }
}
