//! Numbers and times as people read them: short, with the unit.

use std::time::Duration;

use groundcrew_core::time::Wall;

/// Units of an age, longest first, in seconds.
const AGES: [(&str, u64); 4] = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];

/// The two largest units of the time from `from` to `to`: `1d2h`, `4m12s`, `3s`. Never negative.
pub(in crate::cli) fn age(from: Wall, to: Wall) -> String {
    let ms = u64::try_from(to.0.saturating_sub(from.0)).unwrap_or(0);
    let seconds = Duration::from_millis(ms).as_secs();
    let first = AGES.iter().position(|(_, unit)| seconds >= *unit).unwrap_or(AGES.len() - 1);
    let (name, unit) = AGES[first];
    let mut text = format!("{}{name}", seconds / unit);
    if let Some((name, smaller)) = AGES.get(first + 1) {
        let rest = seconds % unit / smaller;
        if rest > 0 {
            text.push_str(&rest.to_string());
            text.push_str(name);
        }
    }
    text
}

/// `3h ago`: the largest unit alone, for lists.
pub(in crate::cli) fn ago(from: Wall, to: Wall) -> String {
    format!("{} ago", age(from, to))
}

/// `Thu 2026-08-20 09:14:07 UTC`.
pub(in crate::cli) fn date(at: Wall) -> String {
    jiff::Timestamp::from_millisecond(at.0).map_or_else(
        |_| "an unknown time".to_owned(),
        |time| time.strftime("%a %Y-%m-%d %H:%M:%S UTC").to_string(),
    )
}

/// `118 MiB`, `1.2 GiB`, `512 B`.
pub(in crate::cli) fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] =
        [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let Some((name, unit)) = UNITS.iter().find(|(_, unit)| bytes >= *unit) else {
        return format!("{bytes} B");
    };
    format!("{} {name}", short(bytes, *unit))
}

/// `870us`, `41ms`, `1.2s`.
pub(in crate::cli) fn micros(us: u64) -> String {
    match us {
        0..1000 => format!("{us}us"),
        1000..1_000_000 => format!("{}ms", short(us, 1000)),
        _ => format!("{}s", short(us, 1_000_000)),
    }
}

/// `value / unit`, with one decimal below ten.
fn short(value: u64, unit: u64) -> String {
    let value = u128::from(value);
    let unit = u128::from(unit);
    let tenths = (value * 10 + unit / 2) / unit;
    if tenths < 100 && !tenths.is_multiple_of(10) {
        format!("{}.{}", tenths / 10, tenths % 10)
    } else {
        ((value + unit / 2) / unit).to_string()
    }
}

/// Escapes control characters, so that a text from elsewhere cannot write to the terminal.
pub(in crate::cli) fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        // U+202A to U+202E and U+2066 to U+2069 turn the direction of what follows.
        if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
            clean.extend(c.escape_default());
        } else {
            clean.push(c);
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_at_most_two_units() {
        let check = |seconds: i64, text: &str| {
            assert_eq!(age(Wall(5), Wall(5 + seconds * 1000)), text);
        };
        check(0, "0s");
        check(59, "59s");
        check(60, "1m");
        check(252, "4m12s");
        check(3 * 3600 + 5, "3h");
        check(26 * 3600 + 59 * 60, "1d2h");
        check(400 * 86_400, "400d");
        assert_eq!(age(Wall(10_000), Wall(0)), "0s", "the clock was set back");
        assert_eq!(age(Wall(i64::MIN), Wall(i64::MAX)), "106751991167d7h");
    }

    #[test]
    fn sizes_and_times() {
        let check = |text: String, wanted: &str| assert_eq!(text, wanted);
        check(size(0), "0 B");
        check(size(118 << 20), "118 MiB");
        check(size((12 << 30) / 10), "1.2 GiB");
        check(size(u64::MAX), "16777216 TiB");
        check(micros(870), "870us");
        check(micros(41_400), "41ms");
        check(micros(1_234_567), "1.2s");
        check(micros(2000), "2ms");
        check(date(Wall(1_787_217_247_000)), "Thu 2026-08-20 09:14:07 UTC");
        check(date(Wall(i64::MAX)), "an unknown time");
    }

    #[test]
    fn what_comes_from_elsewhere_cannot_write_to_the_terminal() {
        assert_eq!(clean("a\u{1b}[2Jb\u{202e}é\n"), "a\\u{1b}[2Jb\\u{202e}é\\n");
    }
}
