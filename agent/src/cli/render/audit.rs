//! `groundcrew logs audit`: whether all that was read of the logs is accounted for, and where it
//! is.

use groundcrew_core::status::{AuditDocument, Count, SourceAudit};

use super::human::{clean, size};
use super::table::{Align::*, Cell, table};
use super::{Style, Tone};

/// What to type when something is missing.
const NEXT: &str = "journalctl -u groundcrew --since -1h";

/// The document as text that ends with a newline. Numbers are bytes, exact, to be added up.
#[must_use]
pub fn render(document: &AuditDocument, style: Style) -> String {
    let sources = &document.sources;
    if sources.is_empty() {
        return "no logs were read on this host yet\n".to_owned();
    }
    let text = format!("{}\n{}", first_line(sources, style), rows(sources, style));
    if document.adds_up() { text } else { format!("{text}\nNext: {NEXT}\n") }
}

fn first_line(sources: &[SourceAudit], style: Style) -> String {
    let wrong = sources.iter().filter(|source| !source.adds_up()).count();
    let plural = if sources.len() == 1 { "" } else { "s" };
    let all = format!("{} source{plural}", sources.len());
    let (answer, tone, count) = match wrong {
        0 => ("● adds up", Tone::Good, all),
        wrong => ("● does not add up", Tone::Bad, format!("{wrong} of {all}")),
    };
    let read = sources.iter().fold(0u64, |sum, source| sum.saturating_add(source.read.bytes));
    format!("{}: {count}, {} read\n", style.paint(Some(tone), answer), size(read))
}

fn rows(sources: &[SourceAudit], style: Style) -> String {
    let columns = [
        ("SOURCE", Left),
        ("GROUP", Left),
        ("STREAM", Left),
        ("READ", Right),
        ("ACKNOWLEDGED", Right),
        ("REJECTED", Right),
        ("DROPPED", Right),
        ("PENDING", Right),
        ("MISSING", Right),
        ("NOTE", Left),
    ];
    let bytes = |count: Count| count.bytes.to_string();
    let lost = |count: Count| Cell::toned(bytes(count), (count.bytes > 0).then_some(Tone::Caution));
    let row = |source: &SourceAudit| -> [Cell; 10] {
        let wrong = (!source.adds_up()).then_some(Tone::Bad);
        [
            clean(&source.source).into(),
            clean(&source.group).into(),
            clean(&source.stream).into(),
            bytes(source.read).into(),
            bytes(source.acknowledged).into(),
            lost(source.rejected),
            lost(source.dropped),
            bytes(source.pending).into(),
            Cell::toned(source.missing_bytes().to_string(), wrong),
            clean(source.note.as_deref().unwrap_or_default()).into(),
        ]
    };
    let rows: Vec<_> = sources.iter().map(row).collect();
    if sources.iter().any(|source| source.note.is_some()) {
        return table(columns, &rows, style);
    }
    let [columns @ .., _] = columns;
    let rows: Vec<[Cell; 9]> = rows.into_iter().map(|[row @ .., _]| row).collect();
    table(columns, &rows, style)
}
