//! The table at the end. Pure.

use std::time::Duration;

use super::load::{Swap, Tally};

/// What became of one release.
pub struct Row {
    release: &'static str,
    result: &'static str,
    swap: Option<Swap>,
}

impl Row {
    /// `swap` is how it took over, where it did under load.
    pub fn of(release: &'static str, result: &'static str, swap: Option<Swap>) -> Self {
        Self { release, result, swap }
    }
}

/// The releases, then the requests, then the one sentence that matters.
pub fn text(rows: &[Row], tally: &Tally) -> String {
    let releases: Vec<_> = rows
        .iter()
        .map(|row| {
            let time = |of: fn(&Swap) -> Option<Duration>| {
                row.swap.as_ref().and_then(of).map_or_else(|| "-".to_owned(), brief)
            };
            let (to_serving, cutover) = (time(Swap::to_serving), time(Swap::cutover));
            [row.release.to_owned(), to_serving, cutover, row.result.to_owned()]
        })
        .collect();
    let mut text = table(["RELEASE", "TO SERVING", "CUTOVER", "RESULT"], &releases);
    text.push('\n');
    let percentile = |percent| tally.percentile(percent).map_or_else(|| "-".to_owned(), brief);
    let (sent, failed) = (tally.sent.to_string(), tally.failed.to_string());
    let requests = [sent, failed, percentile(50), percentile(99)];
    text.push_str(&table(["REQUESTS", "FAILED", "P50", "P99"], &[requests]));
    text.push_str(
        "\nTO SERVING: from `promote`, or the verdict, to the first answer.\n\
         CUTOVER: from there to the last answer of the release before.\n",
    );
    if tally.failed == 0 {
        text.push_str("No request failed.\n");
    } else {
        text.push_str("Requests failed, which they must not:\n");
        text.extend(tally.failures.iter().flat_map(|failure| ["  ", failure, "\n"]));
    }
    text
}

fn brief(duration: Duration) -> String {
    let us = duration.as_micros();
    match us {
        0..10_000 => format!("{}.{}ms", us / 1000, us % 1000 / 100),
        10_000..1_000_000 => format!("{}ms", us / 1000),
        _ => format!("{}.{}s", us / 1_000_000, us % 1_000_000 / 100_000),
    }
}

/// Words to the left, numbers (which begin with a digit or are `-`) to the right.
fn table(headers: [&str; 4], rows: &[[String; 4]]) -> String {
    let is_number = |cell: &str| cell == "-" || cell.starts_with(|c: char| c.is_ascii_digit());
    let right: [bool; 4] = std::array::from_fn(|i| rows.iter().all(|row| is_number(&row[i])));
    let widths: [usize; 4] = std::array::from_fn(|i| {
        rows.iter().map(|row| row[i].chars().count()).fold(headers[i].len(), usize::max)
    });
    let headers = headers.map(str::to_owned);
    let mut text = String::new();
    for row in std::iter::once(&headers).chain(rows) {
        let cells: [String; 4] = std::array::from_fn(|i| {
            let width = widths[i];
            if right[i] { format!("{:>width$}", row[i]) } else { format!("{:<width$}", row[i]) }
        });
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short_and_exact_enough() {
        let check = |us, text: &str| assert_eq!(brief(Duration::from_micros(us)), text);
        check(0, "0.0ms");
        check(1_250, "1.2ms");
        check(41_900, "41ms");
        check(1_440_000, "1.4s");
    }

    #[test]
    fn the_report_says_what_became_of_all() {
        let rows = [Row::of("v1", "replaced by v2", None), Row::of("v4", "refused", None)];
        let mut tally = Tally { sent: 12_345, ..Tally::default() };
        insta::assert_snapshot!(text(&rows, &tally), @r"
        RELEASE  TO SERVING  CUTOVER  RESULT
        v1                -        -  replaced by v2
        v4                -        -  refused

        REQUESTS  FAILED  P50  P99
           12345       0    -    -

        TO SERVING: from `promote`, or the verdict, to the first answer.
        CUTOVER: from there to the last answer of the release before.
        No request failed.
        ");
        tally.failed = 1;
        tally.failures = vec!["GET on a new connection: could not connect".to_owned()];
        assert!(text(&rows, &tally).ends_with(
            "Requests failed, which they must not:\n  GET on a new connection: could not connect\n"
        ));
    }
}
