//! Backups as text: the jobs in `status`, and what `groundcrew backups` prints.

use std::fmt::Write;
use std::time::Duration;

use groundcrew_core::backups::backup::BackupState;
use groundcrew_core::backups::status::{BackupStatus, JobState, JobStatus};
use groundcrew_core::time::Wall;

use super::human::{age, ago, clean, size};
use super::table::{Align::*, Cell, table};
use super::{Style, Tone};
use crate::cli::backups::{DrPlan, Planned, RestorePlan, Verified};

/// What to type when a job fails.
pub(super) const NEXT: &str = "groundcrew backups list";

/// A row for each job, those that fail first, and below it why, and how its copies are.
pub(super) fn jobs(jobs: &[JobStatus], now: Wall, style: Style) -> String {
    let columns = [
        ("JOB", Left),
        ("STATE", Left),
        ("LAST GOOD", Left),
        ("PROVED", Left),
        ("VERIFIED", Left),
        ("NEXT", Right),
        ("LATE", Right),
    ];
    let mut jobs: Vec<_> = jobs.iter().collect();
    jobs.sort_by_key(|job| !job.is_failing());
    let rows: Vec<_> = jobs.iter().map(|job| row(job, now)).collect();
    let text = table(columns, &rows, style);
    let mut lines = text.split_inclusive('\n');
    let mut text = lines.next().unwrap_or_default().to_owned();
    for (line, job) in lines.zip(jobs) {
        text.push_str(line);
        for reason in reasons(job) {
            text.push_str(&style.paragraph("  ", 2, &reason));
        }
    }
    text
}

fn row(job: &JobStatus, now: Wall) -> [Cell; 7] {
    let dash = || "-".to_owned();
    let good = job.last_good.as_ref();
    let bad = good.is_some_and(|good| !good.refuted.is_empty());
    let proved = good.map_or_else(dash, |good| match (good.refuted.first(), good.level) {
        (Some(level), _) => format!("not {level}"),
        (None, Some(level)) => level.to_string(),
        (None, None) => "no".to_owned(),
    });
    let verified = job.last_verified.as_ref();
    let late = job.late_ms.map(|late| age(Wall(0), wall(late)));
    [
        clean(&job.name).into(),
        Cell::toned(job.state.word(), state_tone(job.state)),
        good.map_or_else(dash, |good| slot(good.slot)).into(),
        Cell::toned(proved, bad.then_some(Tone::Bad)),
        verified.map_or_else(dash, |of| format!("{} {}", of.level, ago(of.at, now))).into(),
        job.next.map_or_else(dash, |next| format!("in {}", age(now, next))).into(),
        Cell::toned(late.clone().unwrap_or_else(dash), late.map(|_| Tone::Caution)),
    ]
}

/// What needs saying about a job, beside its row.
fn reasons(job: &JobStatus) -> Vec<String> {
    let mut reasons: Vec<_> = job.reason.iter().cloned().collect();
    for copy in &job.copies {
        let lag = groundcrew_core::time::text(Duration::from_millis(copy.lag_ms));
        let why = copy.reason.as_ref().map_or_else(String::new, |why| format!(": {why}"));
        match copy.done {
            Some(true) => {}
            Some(false) => reasons.push(format!("there is no copy in {}{why}", copy.region)),
            None => reasons.push(format!("on its way to {} for {lag}{why}", copy.region)),
        }
    }
    reasons
}

/// The colour of a job's state.
pub(in crate::cli) fn state_tone(state: JobState) -> Option<Tone> {
    match state {
        JobState::Ok => Some(Tone::Good),
        JobState::Running => Some(Tone::Caution),
        JobState::Failing => Some(Tone::Bad),
        JobState::Unknown => None,
    }
}

/// A slot, to the minute.
pub(in crate::cli) fn slot(at: Wall) -> String {
    jiff::Timestamp::from_millisecond(at.0).map_or_else(
        |_| "an unknown time".to_owned(),
        |time| time.strftime("%Y-%m-%d %H:%M UTC").to_string(),
    )
}

fn wall(ms: u64) -> Wall {
    Wall(i64::try_from(ms).unwrap_or(i64::MAX))
}

/// `groundcrew backups list`.
#[must_use]
pub fn list(backups: &[BackupStatus], now: Wall, style: Style) -> String {
    if backups.is_empty() {
        return "no backups\n".to_owned();
    }
    let columns = [
        ("JOB", Left),
        ("BACKUP", Left),
        ("SLOT", Left),
        ("AGE", Right),
        ("PLACE", Left),
        ("STATE", Left),
        ("SIZE", Right),
        ("PROVED", Left),
        ("RETENTION", Left),
    ];
    let row = |of: &BackupStatus| -> [Cell; 9] {
        let (word, tone) = state(&of.state);
        let keeps = if of.keep { "" } else { "goes: " };
        let reasons = format!("{keeps}{}", of.reasons.join(", "));
        [
            clean(&of.job).into(),
            clean(&of.id).into(),
            slot(of.slot).into(),
            age(of.slot, now).into(),
            of.place.to_string().into(),
            Cell::toned(word, tone),
            of.bytes.map_or("-".to_owned(), size).into(),
            of.level.map_or("-".to_owned(), |level| level.to_string()).into(),
            Cell::toned(clean(&reasons), (!of.keep).then_some(Tone::Caution)),
        ]
    };
    table(columns, &backups.iter().map(row).collect::<Vec<_>>(), style)
}

fn state(state: &BackupState) -> (String, Option<Tone>) {
    match state {
        BackupState::Available => ("available".to_owned(), Some(Tone::Good)),
        BackupState::Underway => ("underway".to_owned(), Some(Tone::Caution)),
        BackupState::Deleting => ("deleting".to_owned(), None),
        BackupState::Failed(word) => (clean(word), Some(Tone::Bad)),
    }
}

/// One place of `groundcrew backups retention`.
#[must_use]
pub fn plan(planned: &Planned, applied: bool, style: Style) -> String {
    let Planned { job, place, plan, deleted, failed } = planned;
    let mut text = format!("{job}, {place}\n");
    let columns = [("  BACKUP", Left), ("VERDICT", Left), ("WHY", Left)];
    let rows: Vec<[Cell; 3]> = plan
        .verdicts
        .iter()
        .map(|verdict| {
            let goes = plan.delete.contains(&verdict.id);
            let (word, tone) = match (verdict.keep, goes) {
                (true, _) => ("keep", None),
                (false, true) => ("delete", Some(Tone::Caution)),
                (false, false) => ("goes, not now", Some(Tone::Caution)),
            };
            [
                format!("  {}", clean(&verdict.id)).into(),
                Cell::toned(word, tone),
                clean(&verdict.reasons.join(", ")).into(),
            ]
        })
        .collect();
    if rows.is_empty() {
        text.push_str("  nothing is there\n");
    } else {
        text.push_str(&table(columns, &rows, style));
    }
    let kept = plan.verdicts.iter().filter(|verdict| verdict.keep).count();
    let all = plan.verdicts.len();
    // Into a String nothing fails.
    let _ = write!(text, "  {kept} of {all} stay, {} to delete", plan.delete.len());
    let note = if applied {
        format!("; {} deleted\n", deleted.len())
    } else if plan.delete.is_empty() {
        "\n".to_owned()
    } else {
        "; --apply deletes them\n".to_owned()
    };
    text.push_str(&note);
    if let Some(refused) = &plan.refused {
        let warning = style.paint(Some(Tone::Bad), "Refused:");
        text.push_str(&style.paragraph(&format!("  {warning} "), 11, refused));
    }
    for error in failed {
        let warning = style.paint(Some(Tone::Bad), "Failed:");
        text.push_str(&style.paragraph(&format!("  {warning} "), 10, error));
    }
    text
}

/// `groundcrew backups verify`.
#[must_use]
pub fn verified(verified: &Verified, style: Style) -> String {
    let Verified { id, level, findings, took_ms, .. } = verified;
    let took = groundcrew_core::time::text(Duration::from_millis(*took_ms));
    let id = clean(id);
    if findings.is_empty() {
        let word = style.paint(Some(Tone::Good), "● proved");
        return format!("{word} at {level}: {id}, in {took}\n");
    }
    let word = style.paint(Some(Tone::Bad), "● refuted");
    let mut text = format!("{word} at {level}: {id}, in {took}\n");
    for finding in findings {
        text.push_str(&style.paragraph("  ", 2, finding));
    }
    text
}

/// What `groundcrew backups restore` is about to do.
#[must_use]
pub fn restore_plan(plan: &RestorePlan, style: Style) -> String {
    let RestorePlan { job, id, slot, to, steps } = plan;
    let of = slot.as_ref().map_or_else(String::new, |slot| format!(" of {slot}"));
    let mut text = format!("{} ({job}{of}) to {}\n", clean(id), clean(to));
    for (number, step) in steps.iter().enumerate() {
        text.push_str(&style.paragraph(&format!("  {}. ", number + 1), 5, step));
    }
    text
}

/// `groundcrew backups dr-plan`.
#[must_use]
pub fn dr_plan(plan: &DrPlan, style: Style) -> String {
    let mut text = String::new();
    for job in &plan.jobs {
        let _ = writeln!(text, "{} of {}", job.job, clean(&job.database));
        if job.copies.is_empty() {
            let none = "nothing outside its region: add [[backup.copy]]";
            let _ = writeln!(text, "  {}", style.paint(Some(Tone::Bad), none));
        }
        for copy in &job.copies {
            match (&copy.id, copy.slot, &copy.problem) {
                (Some(id), Some(at), _) => {
                    let (at, when) = (slot(at), ago(at, plan.now));
                    let _ = writeln!(text, "  {}: {} of {at}, {when}", copy.place, clean(id));
                }
                (_, _, problem) => {
                    let problem = clean(problem.as_deref().unwrap_or("nothing is known"));
                    let problem = style.paint(Some(Tone::Bad), &problem);
                    let _ = writeln!(text, "  {}: {problem}", copy.place);
                }
            }
            for command in &copy.commands {
                let _ = writeln!(text, "    {}", clean(command));
            }
        }
    }
    text.push_str("Then point the application to what was restored, and look at it.\n");
    text
}
