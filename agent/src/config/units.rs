//! Durations, sizes, shares and cores as people write them. Strict: what is not exactly one of the
//! forms is refused with the form to use. Whole numbers only, so that every text has one meaning.

use std::fmt;
use std::time::Duration;

use super::problem::shown;

/// A text that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitError {
    text: String,
    why: &'static str,
    like: &'static str,
}

impl std::error::Error for UnitError {}

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}; write it like {}", shown(&self.text), self.why, self.like)
    }
}

/// Duration units, longest first, in milliseconds.
const DURATIONS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Size units that [`size_text`] uses, largest first, in bytes.
const SIZES_BINARY: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Size units in powers of ten, in bytes.
const SIZES_DECIMAL: [(&str, u64); 5] = [
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1000),
    ("kB", 1000),
];

/// `30s`, `500ms`, `5m`, `1h30m`, `2d`: whole numbers with units, the longest first, no spaces.
pub fn duration(text: &str) -> Result<Duration, UnitError> {
    let refuse = |why| UnitError { text: text.to_owned(), why, like: "\"30s\", \"1h30m\"" };
    let mut rest = text;
    let mut units_left = DURATIONS.as_slice();
    let mut total: u64 = 0;
    if rest.is_empty() {
        return Err(refuse("is not a duration"));
    }
    while !rest.is_empty() {
        let (digits, after) = split_digits(rest);
        let unit_len = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_len);
        let at = (units_left.iter().position(|(name, _)| *name == unit))
            .filter(|_| !digits.is_empty())
            .ok_or_else(|| refuse("is not a duration"))?;
        let number: u64 = digits.parse().map_err(|_| refuse("is too long"))?;
        total = (number.checked_mul(units_left[at].1))
            .and_then(|ms| ms.checked_add(total))
            .ok_or_else(|| refuse("is too long"))?;
        units_left = &units_left[at + 1..];
        rest = after;
    }
    Ok(Duration::from_millis(total))
}

/// The inverse of [`duration`]; what is below a millisecond is dropped.
#[must_use]
pub fn duration_text(duration: Duration) -> String {
    let mut left = groundcrew_core::time::ms(duration);
    if left == 0 {
        return "0s".to_owned();
    }
    let mut parts = Vec::new();
    for (unit, ms) in DURATIONS {
        if left >= ms {
            parts.push(format!("{}{unit}", left / ms));
            left %= ms;
        }
    }
    parts.concat()
}

/// `64 MiB`, `10 GiB`, `512MB`, `100 B`: a whole number, at most one space, a unit. In bytes.
pub fn size(text: &str) -> Result<u64, UnitError> {
    let refuse = |why| UnitError { text: text.to_owned(), why, like: "\"512 MiB\"" };
    let (digits, unit) = split_digits(text);
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    let (_, bytes) = (SIZES_BINARY.iter().chain(&SIZES_DECIMAL))
        .find(|(name, _)| *name == unit && !digits.is_empty())
        .ok_or_else(|| refuse("is not a size"))?;
    let number: u64 = digits.parse().map_err(|_| refuse("is too large"))?;
    number.checked_mul(*bytes).ok_or_else(|| refuse("is too large"))
}

/// The inverse of [`size`]: the largest binary unit that says it exactly.
#[must_use]
pub fn size_text(bytes: u64) -> String {
    let exact = SIZES_BINARY.iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit));
    let (name, unit) = exact.copied().unwrap_or(("B", 1));
    format!("{} {name}", bytes / unit)
}

/// `5%`, `0.5%`: at most 100 and four decimals. In parts per million.
pub fn percent(text: &str) -> Result<u32, UnitError> {
    let refuse = |why| UnitError { text: text.to_owned(), why, like: "\"5%\", \"0.5%\"" };
    let number = text.strip_suffix('%').ok_or_else(|| refuse("is not a percentage"))?;
    let ppm = decimal(number, 4).ok_or_else(|| refuse("is not a percentage"))?;
    u32::try_from(ppm)
        .ok()
        .filter(|ppm| *ppm <= 1_000_000)
        .ok_or_else(|| refuse("is more than everything"))
}

/// The inverse of [`percent`].
#[must_use]
pub fn percent_text(ppm: u32) -> String {
    format!("{}%", decimal_text(u64::from(ppm), 4))
}

/// `2`, `1.5`, `0.25`: more than nothing, at most three decimals. In thousandths of a core.
pub fn cores(text: &str) -> Result<u32, UnitError> {
    let refuse = |why| UnitError { text: text.to_owned(), why, like: "\"1.5\" (cores)" };
    let milli = decimal(text, 3).ok_or_else(|| refuse("is not a number of cores"))?;
    let milli = u32::try_from(milli).map_err(|_| refuse("is more cores than there are"))?;
    // The kernel's cpu.max refuses a quota below 1 ms; a hundredth of a core is 1 ms of 100.
    if milli < 10 { Err(refuse("is less than 0.01 of a core")) } else { Ok(milli) }
}

/// The inverse of [`cores`].
#[must_use]
pub fn cores_text(milli: u32) -> String {
    decimal_text(u64::from(milli), 3)
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// `12.5` with `places` 3 is 12500; `None` for anything else than digits, one dot and digits.
fn decimal(text: &str, places: usize) -> Option<u64> {
    let (whole, fraction) = match text.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (text, ""),
    };
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > places {
        return None;
    }
    format!("{whole}{fraction:0<places$}").parse().ok()
}

fn decimal_text(scaled: u64, places: usize) -> String {
    let digits = format!("{scaled:0>width$}", width = places + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places);
    let fraction = fraction.trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    format!("{whole}{dot}{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations() {
        let check = |text: &str, ms: u64| assert_eq!(duration(text), Ok(Duration::from_millis(ms)));
        check("30s", 30_000);
        check("500ms", 500);
        check("5m", 300_000);
        check("1h30m", 5_400_000);
        check("2d", 172_800_000);
        check("1m500ms", 60_500);
        check("0s", 0);
    }

    #[test]
    fn sizes_percentages_and_cores() {
        assert_eq!(size("64 MiB"), Ok(64 << 20));
        assert_eq!(size("10 GiB"), Ok(10 << 30));
        assert_eq!(size("512MB"), Ok(512_000_000));
        assert_eq!(size("0 B"), Ok(0));
        assert_eq!(percent("5%"), Ok(50_000));
        assert_eq!(percent("0.5%"), Ok(5000));
        assert_eq!(percent("100%"), Ok(1_000_000));
        assert_eq!(cores("1.5"), Ok(1500));
        assert_eq!(cores("2"), Ok(2000));
    }

    #[test]
    fn refusals_say_what_to_write() {
        let text = |error: UnitError| error.to_string();
        for bad in ["", "30", "s", "1.5s", "30 s", "30S", "30m1h", "5m5m", "-1s", "+1s", "1ms1s"] {
            assert!(text(duration(bad).unwrap_err()).ends_with("write it like \"30s\", \"1h30m\""));
        }
        for bad in ["", "512", "MiB", "512  MiB", "512 mib", "1.5 GiB", "512 MB of RAM", " 1 B"] {
            assert!(text(size(bad).unwrap_err()).contains("is not a size"), "{bad}");
        }
        for bad in ["", "5", "%", ".5%", "5.%", "0.00001%", "-1%", "5 %", "5%%"] {
            assert!(text(percent(bad).unwrap_err()).contains("not a percentage"), "{bad}");
        }
        assert!(text(percent("101%").unwrap_err()).contains("more than everything"));
        for bad in ["", "0", "0.001", "1.0005", "1e3", "inf", "99999999999999999999"] {
            assert!(cores(bad).is_err(), "{bad}");
        }
        assert!(text(duration("99999999999999999999d").unwrap_err()).contains("too long"));
        assert!(text(duration("999999999999999999d").unwrap_err()).contains("too long"));
        assert!(text(size("99999999999 TiB").unwrap_err()).contains("too large"));
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(
            ms: u64, bytes: u64, ppm in 0u32..=1_000_000, milli in 10u32..,
        ) {
            let time = Duration::from_millis(ms);
            prop_assert_eq!(duration(&duration_text(time)), Ok(time));
            prop_assert_eq!(size(&size_text(bytes)), Ok(bytes));
            prop_assert_eq!(percent(&percent_text(ppm)), Ok(ppm));
            prop_assert_eq!(cores(&cores_text(milli)), Ok(milli));
        }

        #[test]
        fn no_text_panics(text in ".*", near in "[0-9]{0,25}[.]?[0-9]{0,6} ?[dhmsiBKMGT%é]{0,4}") {
            for text in [&text, &near] {
                let _ = (duration(text), size(text), percent(text), cores(text));
            }
        }
    }
}
