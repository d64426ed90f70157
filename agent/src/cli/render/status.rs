//! `groundcrew status`: the first line answers "is it all right?", then what runs and what should,
//! then the tiers, the processes and what happened. A failing state ends with the command to type
//! next.

use std::time::Duration;

use groundcrew_core::lifecycle::drain::Step;
use groundcrew_core::status::{
    EventLevel, EventStatus, LifecycleStatus, ProcessState, ProcessStatus, ReleaseStatus, State,
    StatusDocument, TierStatus,
};
use groundcrew_core::time::Wall;

use super::human::{age, ago, clean, date, micros, size};
use super::table::{Align::*, Cell, table};
use super::{Style, Tone, backups, pipelines};

/// Events shown; `--json` has them all.
const EVENTS_SHOWN: usize = 10;

/// Steps of a drain shown, the last ones; `--json` has them all.
const STEPS_SHOWN: usize = 20;

/// What to type when something fails and the document names nothing better.
const NEXT: &str = "groundcrew logs --since 10m";

/// The document as text that ends with a newline.
#[must_use]
pub fn render(document: &StatusDocument, style: Style) -> String {
    let mut text = first_line(document, style);
    for (name, sentence) in facts(document) {
        text.push_str(&style.paragraph(&format!("  {name:<9} "), 12, &sentence));
    }
    let now = document.now;
    if !document.tiers.is_empty() {
        text.push('\n');
        text.push_str(&tiers(&document.tiers, now, style));
    }
    let drain = document.lifecycle.as_ref().and_then(|lifecycle| lifecycle.drain.as_ref());
    if let Some(drain) = drain {
        text.push_str("\nDRAIN\n");
        let first = drain.steps.len().saturating_sub(STEPS_SHOWN);
        text.extend(drain.steps[first..].iter().map(step));
    }
    let processes: Vec<_> = document.tiers.iter().flat_map(|tier| &tier.processes).collect();
    if !processes.is_empty() {
        text.push('\n');
        text.push_str(&process_table(&processes, now, style));
    }
    if !document.pipelines.is_empty() {
        text.push('\n');
        text.push_str(&pipelines::render(&document.pipelines, now, style));
    }
    if !document.backups.is_empty() {
        text.push('\n');
        text.push_str(&backups::jobs(&document.backups, now, style));
    }
    if !document.events.is_empty() {
        text.push('\n');
        text.push_str(&events(&document.events, now, style));
    }
    let warnings = pipelines::warnings(&document.pipelines, style);
    if document.is_failing() {
        let usual = if document.is_degraded() { NEXT } else { backups::NEXT };
        let next = clean(document.next.as_deref().unwrap_or(usual));
        return format!("{text}{warnings}\nNext: {next}\n");
    }
    if !warnings.is_empty() {
        return format!("{text}{warnings}\nNext: {}\n", pipelines::NEXT);
    }
    text
}

fn first_line(document: &StatusDocument, style: Style) -> String {
    let bullet = if document.state == State::Stopped { "○" } else { "●" };
    let word = document.state.word();
    let rolled_back = document.rejected.as_ref().filter(|_| document.is_rolled_back());
    let (answer, tone) = match rolled_back {
        Some(rejected) if document.state == State::Serving => {
            (format!("{bullet} {word} ({} rolled back)", rejected.version), Some(Tone::Caution))
        }
        _ => (format!("{bullet} {word}"), state_tone(document.state)),
    };
    let since = format!("since {}; {}", date(document.since), ago(document.since, document.now));
    format!("{} {since}\n", style.paint(tone, &answer))
}

/// The lines below the first, each with its name.
fn facts(document: &StatusDocument) -> Vec<(&'static str, String)> {
    let now = document.now;
    let mut facts = Vec::new();
    facts.extend(document.reason.clone().map(|reason| ("Reason", reason)));
    facts.extend((document.tiers.iter()).filter_map(|tier| {
        let reason = tier.reason.as_ref()?;
        Some(("Tier", format!("{} is {}: {reason}", tier.name, tier.state.word())))
    }));
    let host = match &document.host.instance_id {
        Some(id) => ("Instance", format!("{id}  {}", document.host.name)),
        None => ("Host", document.host.name.clone()),
    };
    facts.push(host);
    facts.extend(document.lifecycle.as_ref().into_iter().flat_map(|seen| lifecycle(seen, now)));
    facts.push(("Release", release(document)));
    facts.extend(document.rollout.as_ref().map(|rollout| {
        let colon = if rollout.detail.is_empty() { "" } else { ": " };
        let sentence = format!(
            "{} {} {} for {}{colon}{}; began {}",
            rollout.version,
            rollout.digest.short(),
            rollout.stage.words(),
            age(rollout.since, now),
            rollout.detail,
            ago(rollout.started, now),
        );
        ("Rollout", sentence)
    }));
    facts.extend(document.rejected.as_ref().map(|rejected| {
        let stays = if document.is_rolled_back() {
            "; not tried again until the channel changes"
        } else {
            ""
        };
        let (version, digest) = (&rejected.version, rejected.digest.short());
        let when = ago(rejected.at, now);
        ("Rejected", format!("{version} {digest}, {when}: {}{stays}", rejected.reason))
    }));
    facts.extend(document.source_status.error.as_ref().map(|error| {
        let since = match document.source_status.last_ok {
            Some(at) => format!("last answered {}", ago(at, now)),
            None => "has not answered yet".to_owned(),
        };
        ("Source", format!("{} {since}: {error}", document.source))
    }));
    let disk = document.disk;
    if disk.releases_bytes + disk.logs_bytes > 0 {
        let [releases, logs] = [disk.releases_bytes, disk.logs_bytes].map(size);
        facts.push(("Disk", format!("releases {releases}, logs {logs}")));
    }
    facts
}

/// The host's place in its group.
fn lifecycle(seen: &LifecycleStatus, now: Wall) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    let state = seen.state.as_deref().or(seen.target.as_deref());
    if let Some(state) = state {
        let group = seen.group.as_deref().unwrap_or("an Auto Scaling group");
        let heads = seen.target.as_deref().filter(|target| *target != state);
        let heads = heads.map_or_else(String::new, |target| format!(", on its way to {target}"));
        facts.push(("Group", format!("{group}: {state}{heads}")));
    }
    for notice in &seen.notices {
        let left = notice.deadline.map_or_else(String::new, |by| {
            if by > now { format!("; {} left", age(now, by)) } else { "; its time is up".into() }
        });
        facts.push(("Leaving", format!("{}, {}{left}", notice.text, ago(notice.at, now))));
    }
    if let Some(drain) = &seen.drain {
        let cut = drain.cut;
        let sentence = match drain.ended {
            Some(ended) => format!("took {}, {cut} requests cut", age(drain.since, ended)),
            None => format!("for {}, {cut} requests cut", age(drain.since, now)),
        };
        facts.push(("Drain", sentence));
    }
    for hook in &seen.hooks {
        let sentence = match (hook.result, &hook.reason) {
            (Some(result), Some(reason)) if hook.confirmed => {
                format!("{} completed with {result}: {reason}", hook.name)
            }
            (Some(result), _) => format!("{} is being completed with {result}", hook.name),
            _ => format!("{} holds the instance; {} heartbeats", hook.name, seen.heartbeats),
        };
        facts.push(("Hook", sentence));
    }
    facts.extend(seen.metadata_error.clone().map(|error| ("Metadata", error)));
    facts.extend(seen.api_error.clone().map(|error| ("AWS", error)));
    facts
}

/// A line of a drain's record.
#[must_use]
pub fn step(step: &Step) -> String {
    let after = format!("+{}", groundcrew_core::time::text(Duration::from_millis(step.after_ms)));
    format!("  {after:>7}  {}\n", clean(&step.text))
}

/// What runs beside what should.
fn release(document: &StatusDocument) -> String {
    let channel = format!("{}/{}", document.source, document.environment);
    let name = |release: &ReleaseStatus| format!("{} {}", release.version, release.digest.short());
    let text = match (&document.release, &document.desired) {
        (Some(release), Some(desired)) if release.digest == desired.digest => {
            format!("{}, as desired by {channel}", name(release))
        }
        (release, Some(desired)) => {
            let runs = release.as_ref().map_or("none yet".to_owned(), name);
            let (version, digest) = (&desired.version, desired.digest.short());
            format!("{runs}; {version} {digest} is desired by {channel}")
        }
        (release, None) => {
            let runs = release.as_ref().map_or("none yet".to_owned(), name);
            let why = match document.source_status.last_ok {
                Some(_) => "has no channel: promote a release",
                None => "has not been read yet",
            };
            format!("{runs}; {channel} {why}")
        }
    };
    match &document.previous {
        Some(previous) => format!("{text}; {} kept for rollback", previous.version),
        None => text,
    }
}

fn tiers(tiers: &[TierStatus], now: Wall, style: Style) -> String {
    let columns = [
        ("TIER", Left),
        ("RELEASE", Left),
        ("READY", Right),
        ("IN-FLIGHT", Right),
        ("REQ/S", Right),
        ("P99", Right),
        ("5XX/MIN", Right),
        ("RESTARTS", Left),
        ("AGE", Right),
    ];
    let row = |tier: &TierStatus| -> [Cell; 9] {
        let restarts = match tier.last_restart {
            Some(at) if tier.restarts > 0 => format!("{} ({})", tier.restarts, ago(at, now)),
            _ => tier.restarts.to_string(),
        };
        let short = tier.ready < tier.wanted;
        // A tier without a port answers no requests: a dash is not a nought.
        let requests = |text: String| if tier.port.is_some() { text } else { "-".to_owned() };
        [
            Cell::toned(tier.name.as_str(), state_tone(tier.state)),
            tier.release.as_ref().map_or("-", |version| version.as_str()).into(),
            Cell::toned(format!("{}/{}", tier.ready, tier.wanted), short.then_some(Tone::Caution)),
            requests(tier.in_flight.to_string()).into(),
            requests(tier.requests_per_second.to_string()).into(),
            tier.p99_us.map_or("-".to_owned(), micros).into(),
            requests(tier.errors_per_minute.to_string()).into(),
            restarts.into(),
            age(tier.since, now).into(),
        ]
    };
    table(columns, &tiers.iter().map(row).collect::<Vec<_>>(), style)
}

fn process_table(processes: &[&ProcessStatus], now: Wall, style: Style) -> String {
    let columns = [
        ("PROCESS", Left),
        ("PID", Right),
        ("STATE", Left),
        ("PROBE", Left),
        ("RSS", Right),
        ("CPU", Right),
        ("LOOP LAG", Right),
        ("CONNS", Right),
        ("AGE", Right),
        ("REASON", Left),
    ];
    let dash = || "-".to_owned();
    let row = |process: &&ProcessStatus| -> [Cell; 10] {
        let probe = process.probe.as_ref().map_or(("-".to_owned(), None), |probe| {
            let when = ago(probe.at, now);
            match (probe.ok, probe.detail.as_str()) {
                (true, _) => (format!("ok {when}"), None),
                (false, "") => (format!("failed {when}"), Some(Tone::Bad)),
                (false, detail) => (format!("{} {when}", clean(detail)), Some(Tone::Bad)),
            }
        });
        [
            process.id.to_string().into(),
            process.pid.map_or_else(dash, |pid| pid.to_string()).into(),
            Cell::toned(process.state.word(), process_tone(process.state)),
            Cell::toned(probe.0, probe.1),
            process.rss_bytes.map_or_else(dash, size).into(),
            process.cpu_percent.map_or_else(dash, |percent| format!("{percent}%")).into(),
            process.loop_lag_us.map_or_else(dash, micros).into(),
            process.connections.to_string().into(),
            age(process.since, now).into(),
            clean(process.reason.as_deref().unwrap_or_default()).into(),
        ]
    };
    let rows: Vec<_> = processes.iter().map(row).collect();
    if processes.iter().any(|process| process.reason.is_some()) {
        return table(columns, &rows, style);
    }
    // Usually there is nothing to explain, and then there is no column for it.
    let [columns @ .., _] = columns;
    let rows: Vec<[Cell; 9]> = rows.into_iter().map(|[row @ .., _]| row).collect();
    table(columns, &rows, style)
}

fn events(events: &[EventStatus], now: Wall, style: Style) -> String {
    let shown = &events[..events.len().min(EVENTS_SHOWN)];
    let ages: Vec<_> = shown.iter().map(|event| ago(event.at, now)).collect();
    let age_width = ages.iter().map(String::len).max().unwrap_or(0);
    let word_width = shown.iter().map(|event| event.level.word().len()).max().unwrap_or(0);
    let mut text = "EVENTS\n".to_owned();
    for (event, when) in shown.iter().zip(&ages) {
        let tone = match event.level {
            EventLevel::Normal => None,
            EventLevel::Warning => Some(Tone::Caution),
            EventLevel::Error => Some(Tone::Bad),
        };
        let word = event.level.word();
        let padding = " ".repeat(word_width - word.len());
        let lead = format!("  {when:<age_width$}  {}{padding}  ", style.paint(tone, word));
        text.push_str(&style.paragraph(&lead, age_width + word_width + 6, &event.text));
    }
    text
}

pub(in crate::cli) fn state_tone(state: State) -> Option<Tone> {
    match state {
        State::Serving => Some(Tone::Good),
        State::Starting | State::Draining => Some(Tone::Caution),
        State::Degraded => Some(Tone::Bad),
        State::Stopped => None,
    }
}

pub(in crate::cli) fn process_tone(state: ProcessState) -> Option<Tone> {
    match state {
        ProcessState::Accepting => Some(Tone::Good),
        ProcessState::Starting | ProcessState::Bleeding | ProcessState::Stopping => {
            Some(Tone::Caution)
        }
        ProcessState::Backoff | ProcessState::Crashed => Some(Tone::Bad),
        ProcessState::Ready => None,
    }
}
