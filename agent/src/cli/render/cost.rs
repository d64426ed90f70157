//! What a configuration costs a month, for a person.

use groundcrew_core::metrics::settings::PRICES_AS_OF;

use super::Style;
use super::table::{Align, Cell, table};
use crate::metrics::cost::{Item, total};

/// A table, its sums, and whose prices they are; nothing where nothing is paid for.
pub(in crate::cli) fn render(items: &[Item], own_prices: bool, style: Style) -> String {
    if items.is_empty() {
        return String::new();
    }
    let usd = |value: f64| if value == 0.0 { "-".to_owned() } else { format!("{value:.2}") };
    let row = |what: &str, each: f64, shared: f64, because: &str| {
        [what.into(), usd(each).into(), usd(shared).into(), because.into()]
    };
    let mut rows: Vec<[Cell; 4]> =
        (items.iter()).map(|item| row(item.what, item.each, item.shared, &item.because)).collect();
    let (each, shared) = total(items);
    rows.push(row("all of it", each, shared, ""));
    let columns = [
        ("USD A MONTH", Align::Left),
        ("PER INSTANCE", Align::Right),
        ("SHARED", Align::Right),
        ("BECAUSE", Align::Left),
    ];
    let prices =
        if own_prices { "prices of metrics.prices, others as of" } else { "list prices as of" };
    format!("\n{}{prices} {PRICES_AS_OF}; without free tiers\n", table(columns, &rows, style))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_line_and_the_prices_have_their_date() {
        let item = |what, each, shared, because: &str| Item {
            what,
            each,
            shared,
            because: because.to_owned(),
        };
        let items = [
            item("metrics", 0.0, 11.7, "at most 39 series"),
            item("PutMetricData", 0.438, 0.0, "43800 requests: one a minute"),
        ];
        let style = Style { width: usize::MAX, colour: false };
        insta::assert_snapshot!(render(&items, false, style), @"
        USD A MONTH    PER INSTANCE  SHARED  BECAUSE
        metrics                   -   11.70  at most 39 series
        PutMetricData          0.44       -  43800 requests: one a minute
        all of it              0.44   11.70
        list prices as of February 2026, us-east-1; without free tiers
        ");
        assert_eq!(render(&[], false, style), "");
    }
}
