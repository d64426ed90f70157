//! What rotation makes of a file's name. Names only suggest: what a file holds decides.

/// Endings of compressed files.
const COMPRESSED: [&str; 6] = [".gz", ".zst", ".xz", ".bz2", ".Z", ".lz4"];
/// Words that stand in the names of rotated files and copies.
const WORDS: [&str; 7] = ["old", "bak", "backup", "orig", "prev", "save", "copy"];

/// Whether `candidate` is what a rotation of `original` could be called, in the same directory:
/// `x.log` becomes `x.log.1`, `x.log-20260820`, `x-20260820.log`, `x.log.old`, each also with the
/// ending of a compressed file.
#[must_use]
pub fn is_rotation(original: &str, candidate: &str) -> bool {
    let (plain, compressed) = decompressed(candidate);
    let added = plain.strip_prefix(original).or_else(|| {
        let (stem, extension) = split(original)?;
        plain.strip_prefix(stem)?.strip_suffix(extension)?.strip_suffix('.')
    });
    added.is_some_and(|added| if added.is_empty() { compressed } else { is_count(added) })
}

/// The name before rotations that number: `x.log` of `x.log.1`; any other name itself.
#[must_use]
pub fn unnumbered(name: &str) -> &str {
    match split(name) {
        Some((stem, number)) if number.chars().all(|c| c.is_ascii_digit()) => stem,
        _ => name,
    }
}

/// What all names that [`is_rotation`] accepts begin with.
#[must_use]
pub fn common_prefix(original: &str) -> &str {
    split(original).map_or(original, |(stem, _)| stem)
}

/// Whether the name is that of a compressed file.
#[must_use]
pub fn is_compressed(name: &str) -> bool {
    decompressed(name).1
}

fn decompressed(name: &str) -> (&str, bool) {
    let plain = COMPRESSED.iter().find_map(|ending| name.strip_suffix(ending));
    (plain.unwrap_or(name), plain.is_some())
}

fn split(name: &str) -> Option<(&str, &str)> {
    name.rsplit_once('.').filter(|(stem, extension)| !stem.is_empty() && !extension.is_empty())
}

/// A number, a date, a time, or a word that says "the one before".
fn is_count(added: &str) -> bool {
    let separator = |c: char| matches!(c, '.' | '-' | '_' | ':' | '~');
    let part = |part: &str| {
        WORDS.contains(&part)
            || part.chars().all(|c| c.is_ascii_digit() || matches!(c, 'T' | 'Z' | '+'))
    };
    added.starts_with(separator) && added.split(separator).all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_are_taken_off() {
        for (name, expected) in [
            ("x.log.1", "x.log"),
            ("x.log.12", "x.log"),
            ("x.log", "x.log"),
            ("x-20260820.log", "x-20260820.log"),
            ("x.log.1.gz", "x.log.1.gz"),
            (".1", ".1"),
        ] {
            assert_eq!(unnumbered(name), expected);
        }
    }

    #[test]
    fn rotations_are_known_by_name() {
        for (original, candidate) in [
            ("x.log", "x.log.1"),
            ("x.log", "x.log.12.gz"),
            ("x.log", "x.log-20260820"),
            ("x.log", "x.log-20260820-1755000000.zst"),
            ("x.log", "x.log.2026-08-20T10:11:12Z"),
            ("x.log", "x-20260820.log"),
            ("x.log", "x.1.log"),
            ("x.log", "x-20260820.log.xz"),
            ("x.log", "x.log.old"),
            ("x.log", "x.log.1.bak"),
            ("x.log", "x.log~"),
            ("x.log", "x.log.gz"),
            ("messages", "messages-20260820"),
            (".hidden", ".hidden.1"),
        ] {
            assert!(is_rotation(original, candidate), "{original} {candidate}");
            assert!(candidate.starts_with(common_prefix(original)), "{original} {candidate}");
        }
        for (original, candidate) in [
            ("x.log", "x.log"),
            ("x.log", "x-worker.log"),
            ("x.log", "xy.log"),
            ("x.log", "x2.log"),
            ("x.log", "y.log.1"),
            ("x-1.log", "x-10.log"),
            ("x-20260820.log", "x-20260821.log"),
            ("x.log", "x.log.index"),
            ("x.log.1", "x.log.2"),
            ("messages", "messages2"),
        ] {
            assert!(!is_rotation(original, candidate), "{original} {candidate}");
        }
    }
}
