//! The part of `groundcrew status` about what leaves the host all the time.

use groundcrew_core::status::PipelineStatus;
use groundcrew_core::time::Wall;

use super::human::{age, ago, clean, size};
use super::table::{Align::*, Cell, table};
use super::{Style, Tone};

/// What to type when a pipeline does not get on.
pub(super) const NEXT: &str = "groundcrew logs audit";

/// A row each, and below it why it does not get on.
pub(super) fn render(pipelines: &[PipelineStatus], now: Wall, style: Style) -> String {
    let columns = [
        ("PIPELINE", Left),
        ("SENT/S", Right),
        ("BACKLOG", Right),
        ("OLDEST", Right),
        ("LAST OK", Right),
        ("DROPPED", Right),
        ("REJECTED", Right),
    ];
    let lost = |events: u64| Cell::toned(events.to_string(), (events > 0).then_some(Tone::Bad));
    let row = |pipeline: &PipelineStatus| -> [Cell; 7] {
        let tone = pipeline.reason.is_some().then_some(Tone::Caution);
        let oldest = pipeline.oldest_ms.map_or("-".to_owned(), duration);
        let stuck = pipeline.is_stuck().then_some(Tone::Bad);
        [
            Cell::toned(clean(&pipeline.name), tone),
            pipeline.sent_per_second.to_string().into(),
            size(pipeline.backlog_bytes).into(),
            Cell::toned(oldest, stuck),
            pipeline.last_ok.map_or("-".to_owned(), |at| ago(at, now)).into(),
            lost(pipeline.dropped),
            lost(pipeline.rejected),
        ]
    };
    let rows: Vec<_> = pipelines.iter().map(row).collect();
    let text = if pipelines.iter().any(|pipeline| pipeline.rejected > 0) {
        table(columns, &rows, style)
    } else {
        // Usually nothing is rejected, and then there is no column for it.
        let [columns @ .., _] = columns;
        let rows: Vec<[Cell; 6]> = rows.into_iter().map(|[row @ .., _]| row).collect();
        table(columns, &rows, style)
    };
    let mut lines = text.split_inclusive('\n');
    let mut text: String = lines.next().unwrap_or_default().to_owned();
    for (line, pipeline) in lines.zip(pipelines) {
        text.push_str(line);
        if let Some(reason) = &pipeline.reason {
            text.push_str(&style.paragraph("  ", 2, reason));
        }
    }
    text
}

/// A line for each pipeline that needs a person, with an empty one before the first.
pub(super) fn warnings(pipelines: &[PipelineStatus], style: Style) -> String {
    let stuck = pipelines.iter().filter(|pipeline| pipeline.is_stuck());
    let lines = stuck.map(|pipeline| {
        let oldest = duration(pipeline.oldest_ms.unwrap_or_default());
        let text = format!("the oldest of {} has been waiting for {oldest}", pipeline.name);
        let warning = style.paint(Some(Tone::Caution), "Warning:");
        style.paragraph(&format!("{warning} "), 9, &text)
    });
    let lines: String = lines.collect();
    if lines.is_empty() { lines } else { format!("\n{lines}") }
}

fn duration(ms: u64) -> String {
    age(Wall(0), Wall(i64::try_from(ms).unwrap_or(i64::MAX)))
}
