//! A group as text: `groundcrew fleet status`, and what `refresh` and `scale` say. Names, reasons
//! and words of AWS are shown without control characters.

use groundcrew_core::fleet::refresh::{Outcome, reason, summary};
use groundcrew_core::fleet::scale::{Plan, Progress};
use groundcrew_core::fleet::standing::{Word, left_undone, vital_suspended};
use groundcrew_core::fleet::{Activity, Group, Instance, Launch, Refresh};
use groundcrew_core::time::Wall;

use super::human::{age, ago, clean};
use super::table::{Align::*, Cell, table};
use super::{Style, Tone};
use crate::cli::fleet::{Document, RefreshPlan};

/// Columns of the labels below a first line.
const LABEL: usize = 13;

/// `groundcrew fleet status`.
#[must_use]
pub fn status(document: &Document, style: Style) -> String {
    let Document { now, standing, group, image, refresh, failed, notes } = document;
    let tone = match standing.word {
        Word::Steady => Tone::Good,
        Word::Scaling | Word::Refreshing => Tone::Caution,
        Word::Degraded => Tone::Bad,
    };
    let word = style.paint(Some(tone), &format!("● {}", standing.word));
    let (serving, desired) = (group.serving(), group.desired);
    let mut text = format!("{word}: {serving} of {desired} in service\n");
    let mut line = |label: &str, said: &str| {
        let lead = format!("  {label:<9}  ");
        text.push_str(&style.paragraph(&lead, LABEL, said));
    };
    let name = &group.name;
    line("Group", &format!("{name}; {desired} wanted, {} to {} allowed", group.min, group.max));
    line("Launches", &launches(&group.launch, image.as_deref()));
    if let Some(refresh) = refresh {
        let at = refresh.ended.or(refresh.started);
        let at = at.map_or_else(String::new, |at| format!("; {}", ago(at, *now)));
        line("Refresh", &format!("{}{at}", summary(refresh)));
    }
    for suspended in &group.suspended {
        let why = suspended.reason.as_ref().map_or_else(String::new, |why| format!(": {why}"));
        line("Suspended", &format!("{}{why}", suspended.process));
    }
    for note in notes {
        line("Not seen", note);
    }
    if !group.instances.is_empty() {
        text.push('\n');
        text.push_str(&instances(&group.instances, *now, style));
    }
    if !failed.is_empty() {
        text.push_str("\nFAILED\n");
    }
    for activity in failed {
        let at = activity.started.map_or_else(|| "?".to_owned(), |at| ago(at, *now));
        let lead = format!("  {at:>8}  ");
        text.push_str(&style.paragraph(&lead, lead.chars().count(), &failed_activity(activity)));
    }
    if let Some(next) = next(document) {
        text.push_str("Next: ");
        text.push_str(&next);
        text.push('\n');
    }
    text
}

fn launches(launch: &Launch, image: Option<&str>) -> String {
    let image = image.map_or_else(String::new, |image| format!(", {image}"));
    match launch {
        Launch::Template(of) => format!("{} version {}{image}", of.id, of.version),
        Launch::Mixed { template: of, .. } => {
            format!("{} version {}{image}, with several instance types", of.id, of.version)
        }
        Launch::Configuration { name } => format!("launch configuration {name}"),
        Launch::Unknown => "neither a launch template nor a launch configuration".to_owned(),
    }
}

fn instances(instances: &[Instance], now: Wall, style: Style) -> String {
    let columns = [
        ("INSTANCE", Left),
        ("ZONE", Left),
        ("STATE", Left),
        ("HEALTH", Left),
        ("VERSION", Right),
        ("IMAGE", Left),
        ("AGE", Right),
    ];
    let dash = || "-".to_owned();
    let rows: Vec<[Cell; 7]> = instances
        .iter()
        .map(|instance| {
            let sick = instance.health != "Healthy";
            let version = instance.template.as_ref().map(|of| clean(&of.version));
            [
                clean(&instance.id).into(),
                clean(&instance.zone).into(),
                clean(&instance.state).into(),
                Cell::toned(clean(&instance.health), sick.then_some(Tone::Bad)),
                version.unwrap_or_else(dash).into(),
                instance.image.as_deref().map_or_else(dash, clean).into(),
                instance.launched.map_or_else(dash, |at| age(at, now)).into(),
            ]
        })
        .collect();
    table(columns, &rows, style)
}

/// What to type when a person has to look.
fn next(document: &Document) -> Option<String> {
    let Document { standing, group, refresh, .. } = document;
    if standing.word != Word::Degraded {
        return None;
    }
    let name = clean(&group.name);
    let suspended: Vec<_> = vital_suspended(group).collect();
    if !suspended.is_empty() {
        let resume = "aws autoscaling resume-processes --auto-scaling-group-name";
        return Some(format!("{resume} {name} --scaling-processes {}", suspended.join(" ")));
    }
    let version = group.launch.template().and_then(|of| of.version.parse::<u64>().ok());
    if let (true, Some(version)) = (left_undone(group, refresh.as_ref()), version) {
        let way = format!("--template-version {version} --wait");
        return Some(format!("groundcrew fleet refresh --group {name} {way}"));
    }
    Some(format!("aws autoscaling describe-scaling-activities --auto-scaling-group-name {name}"))
}

/// What failed, and why.
#[must_use]
pub fn failed_activity(activity: &Activity) -> String {
    let why = activity.reason.as_ref().map_or_else(String::new, |why| format!(": {why}"));
    clean(&format!("{}{why}", activity.description))
}

/// What a refresh will do.
#[must_use]
pub fn refresh_plan(plan: &RefreshPlan, style: Style) -> String {
    let RefreshPlan { group, instances, template, from_version, preferences, .. } = plan;
    let image = plan.image.as_deref().unwrap_or("an image that its instance types have");
    let to = match (plan.to_version, plan.made_from) {
        (Some(to), _) => format!("version {to}"),
        (None, Some(base)) => format!("a new version, made from {base}"),
        (None, None) => "a new version".to_owned(),
    };
    let mut text = format!("{}: {instances} instances to {image}\n", clean(group));
    let mut line = |label: &str, said: &str| {
        let lead = format!("  {label:<9}  ");
        text.push_str(&style.paragraph(&lead, LABEL, said));
    };
    line("Template", &format!("{template}: from version {from_version} to {to}"));
    let warmup = plan.warmup_s.map_or_else(String::new, |seconds| format!(", {seconds}s warm-up"));
    let matching = if preferences.skip_matching { "stay" } else { "are replaced too" };
    let (min, max) = (preferences.min_healthy_percent, preferences.max_healthy_percent);
    line(
        "Pace",
        &format!("{min} to {max} % of the capacity{warmup}; instances that match {matching}"),
    );
    let alarms = &preferences.alarms;
    let alarms = if alarms.is_empty() { "no alarm".to_owned() } else { alarms.join(", ") };
    let bake = match preferences.bake_s {
        0 => String::new(),
        seconds => format!(", for {seconds}s after the last instance too"),
    };
    line("Watched", &format!("{alarms}{bake}"));
    let back = if preferences.auto_rollback {
        format!("by itself to version {from_version}")
    } else {
        "not at all: it stays as it is then".to_owned()
    };
    line("Back", &format!("when it fails, {back}"));
    line("Terraform", "leaves image and version alone where it is told to, as in modules/fleet");
    text
}

/// Nothing is to be done.
#[must_use]
pub fn nothing_to_do(plan: &RefreshPlan) -> String {
    let version = plan.to_version.map_or_else(String::new, |to| format!(" version {to}"));
    format!(
        "{}: the group and its {} instances have{version} already; nothing is done\n",
        clean(&plan.group),
        plan.instances
    )
}

/// The same refresh runs already.
#[must_use]
pub fn the_same_runs(group: &str, running: &Refresh) -> String {
    format!("{}: this refresh runs already: {}\n", clean(group), clean(&summary(running)))
}

/// It was started, and nobody waits.
#[must_use]
pub fn begun(group: &str, id: &str) -> String {
    let (group, id) = (clean(group), clean(id));
    format!("refresh {id} of {group} runs; `groundcrew fleet status --group {group}` shows it\n")
}

/// It is being ended, and nobody waits.
#[must_use]
pub fn ending(group: &str, id: &str, wanted: Outcome) -> String {
    let (group, id) = (clean(group), clean(id));
    let how = if wanted == Outcome::Cancelled {
        "is being cancelled; what it has replaced stays"
    } else {
        "is being rolled back"
    };
    format!("refresh {id} of {group} {how}; `groundcrew fleet status --group {group}` shows it\n")
}

/// A step of a refresh, or its end.
#[must_use]
pub fn progress(group: &str, refresh: &Refresh, outcome: Option<Outcome>, style: Style) -> String {
    let why = reason(refresh).map_or_else(String::new, |why| format!(": {}", clean(&why)));
    let Some(outcome) = outcome else {
        let (status, percent) = (clean(refresh.status.as_str()), refresh.percent);
        return format!("  {percent:>3}%  {status}, {} to update{why}\n", refresh.to_update);
    };
    let (tone, word) = match outcome {
        Outcome::Updated => (Tone::Good, "is refreshed"),
        Outcome::Failed => (Tone::Bad, "is not refreshed"),
        Outcome::Cancelled => (Tone::Caution, "is refreshed in part: it was cancelled"),
        Outcome::RolledBack => (Tone::Caution, "is as it was before: it was rolled back"),
    };
    let status = clean(refresh.status.as_str());
    format!("{} {} ({status}){why}\n", clean(group), style.paint(Some(tone), word))
}

/// What scaling will do.
#[must_use]
pub fn scale_plan(group: &Group, plan: &Plan, style: Style) -> String {
    let (name, from, to) = (clean(&group.name), plan.from, plan.to);
    if from == to {
        return format!("{name} has {to} wanted already, {} in service\n", group.serving());
    }
    let mut text = format!("{name}: from {from} to {to}, of {} to {}\n", group.min, group.max);
    for note in &plan.notes {
        text.push_str(&style.paragraph("  ", 2, note));
    }
    let terraform = "Terraform leaves it so where desired_capacity is in ignore_changes, as in \
                     modules/fleet; elsewhere its next apply takes it back";
    text.push_str(&style.paragraph("  ", 2, terraform));
    text
}

/// How far scaling is.
#[must_use]
pub fn scale_progress(group: &Group, to: u32, progress: Progress) -> String {
    let name = clean(&group.name);
    match progress {
        Progress::Done => format!("{name} has {} in service\n", group.serving()),
        Progress::Waiting(serving) => format!("  {serving} of {to} in service\n"),
        Progress::Overruled(desired) => {
            format!("{name}: somebody else, or a policy, wants {desired} now\n")
        }
    }
}
