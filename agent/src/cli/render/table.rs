//! Tables: UPPERCASE headers, two spaces between columns, numbers right-aligned, no boxes.

use super::{Style, Tone};

/// Which end of a cell the column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// One cell; the colour repeats what its text says.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    text: String,
    tone: Option<Tone>,
}

impl Cell {
    pub(super) fn toned(text: impl Into<String>, tone: Option<Tone>) -> Self {
        Self { text: text.into(), tone }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::toned(text, None)
    }
}

/// `columns` are headers with their alignment; each row has a cell for each. No trailing spaces.
pub(super) fn table<const N: usize>(
    columns: [(&str, Align); N],
    rows: &[[Cell; N]],
    style: Style,
) -> String {
    let len = |text: &str| text.chars().count();
    let widths: [usize; N] = std::array::from_fn(|i| {
        rows.iter().map(|row| len(&row[i].text)).fold(len(columns[i].0), usize::max)
    });
    let mut text = String::new();
    let headers = columns.map(|(header, _)| Cell::from(header));
    for row in std::iter::once(&headers).chain(rows) {
        let mut line = String::new();
        let mut gap = 0;
        for ((cell, (_, align)), width) in row.iter().zip(columns).zip(widths) {
            let padding = width - len(&cell.text);
            let before = if align == Align::Right { padding } else { 0 };
            line.push_str(&" ".repeat(gap + before));
            line.push_str(&style.paint(cell.tone, &cell.text));
            gap = 2 + padding - before;
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
