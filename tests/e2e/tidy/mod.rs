//! Conventions as a test: who may import whom, sizes, words, and documents that say what the code
//! says.

mod metrics;
mod rights;
mod scan;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use groundcrew::config::{host, http, release, statsd, units};
use groundcrew_core::logs::LogSettings;
use groundcrew_core::metrics::statsd::SERIES_USUAL;

/// Files that may be longer than the rest, with their limits and the reason. Keep it empty.
const LONGER: &[(&str, usize)] = &[];

/// The text files that people read.
const TEXT: &[&str] = &[
    "rs", "md", "toml", "cjs", "mjs", "js", "json", "sh", "py", "yml", "yaml", "tf", "hcl",
    "service", "socket", "conf",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every text file of the project with its path from the root, products and dependencies left out.
fn files() -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut directories = vec![root()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let entry = entry.unwrap();
            let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
            let kind = entry.file_type().unwrap();
            let product = matches!(name.as_str(), "target" | "node_modules" | ".git" | ".cache");
            if kind.is_dir() && !product {
                directories.push(path);
            } else if kind.is_file() && is_text(&path) {
                let from_root = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                files.push((from_root, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    files.sort();
    assert!(files.len() > 20, "the project's files are not where they should be");
    files
}

fn is_text(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    // Scripts have no extension.
    let directory = path.parent().and_then(Path::file_name);
    let script = directory.is_some_and(|name| name == "scripts" || name == ".ci");
    extension.map_or(script, |extension| TEXT.contains(&extension))
}

#[test]
fn the_code_keeps_its_conventions() {
    let mut complaints = Vec::new();
    for (path, text) in files() {
        let mut found = scan::words(&text);
        if Path::new(&path).extension().is_some_and(|extension| extension == "rs") {
            found.extend(scan::rust(&path, &text));
        }
        let lines_max = LONGER.iter().find(|(longer, _)| *longer == path).map(|(_, max)| *max);
        if lines_max.is_some_and(|max| text.lines().count() <= max) {
            found.retain(|complaint| !complaint.contains("the file has more than"));
        }
        complaints.extend(found.into_iter().map(|complaint| format!("{path}:{complaint}")));
    }
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// Each ```toml block in README.md and docs/ says on its first line which file it is: `# host` or
/// `# release`.
#[test]
fn the_documents_samples_are_valid() {
    let mut samples = 0;
    let documents = |path: &str| path == "README.md" || path.starts_with("docs/");
    for (path, text) in files().into_iter().filter(|(path, _)| documents(path)) {
        for (line, block) in scan::toml_blocks(&text) {
            let place = format!("{path}:{line}");
            let first = block.lines().next().unwrap_or_default();
            let said = if first.starts_with("# host") {
                host::parse(&place, &block).err()
            } else if first.starts_with("# release") {
                release::parse(&block).err()
            } else {
                panic!("{place}: the first line is neither # host nor # release")
            };
            assert!(said.is_none(), "{place}:\n{}", said.unwrap());
            samples += 1;
        }
    }
    assert!(samples >= 2, "docs/configuration.md shows both files");
}

/// The row of `docs/configuration.md` that begins with this key.
fn reference_row(text: &str, key: &str) -> String {
    let row = text.lines().find(|line| line.starts_with(&format!("| `{key}` |")));
    row.unwrap_or_else(|| panic!("docs/configuration.md has no row for {key}")).to_owned()
}

#[test]
fn the_reference_has_every_key_and_no_other() {
    let text = fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let keys: Vec<_> = host::keys().chain(release::keys()).collect();
    for key in &keys {
        reference_row(&text, key);
    }
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    for (key, _) in rows {
        assert!(keys.iter().any(|known| known == key), "docs/configuration.md has a row for {key}");
    }
}

#[test]
fn the_reference_has_the_defaults_of_the_code() {
    let text = fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let cell = |key: &str| {
        let row = reference_row(&text, key);
        row.split('|').nth(3).unwrap().trim().trim_matches('`').to_owned()
    };
    let check = |key: &str, default: String| assert_eq!(cell(key), default, "{key}");
    // 60s and 1m are one duration.
    let check_time = |key: &str, default: Duration| {
        assert_eq!(units::duration(&cell(key)).as_ref(), Ok(&default), "{key}");
    };
    check("state_dir", host::STATE_DIR.to_owned());
    check("run_dir", host::RUN_DIR.to_owned());
    check_time("poll.interval", host::POLL_INTERVAL);
    check("http.listen", http::LISTEN.to_string());
    check("releases.keep", host::KEEP.to_string());
    check("releases.disk_max", units::size_text(host::DISK_MAX));
    let logs = LogSettings::default();
    check("logs.group", logs.group.to_string());
    check("logs.stream", logs.stream.to_string());
    check("logs.create", logs.create.to_string());
    check("logs.retention_days", logs.retention_days.unwrap().to_string());
    check("logs.disk_max", units::size_text(logs.disk_bytes_max));
    check("metrics.statsd.listen", statsd::LISTEN.to_owned());
    check("metrics.statsd.series_max", SERIES_USUAL.to_string());
    check_time("tier.NAME.ready.within", release::READY_WITHIN);
    check("tier.NAME.ready.successes", release::READY_SUCCESSES.to_string());
    check_time("tier.NAME.bleed", release::BLEED);
    check_time("tier.NAME.stop", release::STOP);
    check_time("trial.for", release::TRIAL_FOR);
    check("trial.errors_max", units::percent_text(release::TRIAL_ERRORS_PPM_MAX));
}
