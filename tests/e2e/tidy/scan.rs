//! What the tidy test looks for in one file. Pure: path and text in, complaints out. It reads the
//! text that rustfmt wrote, line by line, and knows no more Rust than it needs.

/// Lines of a file.
pub const FILE_LINES_MAX: usize = 500;
/// Lines of a function, its signature included.
pub const FUNCTION_LINES_MAX: usize = 70;
/// Characters of a line.
pub const COLUMNS_MAX: usize = 100;

/// Everything wrong with one Rust file.
pub fn rust(path: &str, text: &str) -> Vec<String> {
    let snapshot = snapshot_lines(text);
    let mut complaints = sizes(text, &snapshot);
    complaints.extend(functions(text, &snapshot));
    if !text.starts_with("//!") {
        complaints.push("1: starts without //! and what the file is for".to_owned());
    }
    complaints.extend(imports(path, text));
    complaints.extend(sdk(path, text));
    complaints
}

/// Words that no file of the project may hold, with what to do about them.
pub fn words(text: &str) -> Vec<String> {
    let banned = [
        (concat!("TO", "DO"), "do it, or write an issue"),
        (concat!("FIX", "ME"), "fix it, or write an issue"),
        (concat!("#[ig", "nore"), "a test that does not run is none"),
        (concat!("../sha", "red"), "the project stands alone"),
        (concat!("/work/", "shared"), "the project stands alone"),
        (concat!("DESIGN", ".md"), "the project stands alone"),
    ];
    let mut complaints = Vec::new();
    for (number, line) in numbered(text) {
        for (word, why) in banned.iter().filter(|(word, _)| line.contains(word)) {
            complaints.push(format!("{number}: {word}: {why}"));
        }
    }
    complaints
}

/// The ```toml blocks of a Markdown file: the line they begin on, and their text.
pub fn toml_blocks(markdown: &str) -> Vec<(usize, String)> {
    let mut blocks: Vec<(usize, String)> = Vec::new();
    let mut inside = false;
    for (number, line) in numbered(markdown) {
        match (inside, line.trim()) {
            (false, "```toml") => {
                inside = true;
                blocks.push((number + 1, String::new()));
            }
            (true, "```") => inside = false,
            (true, _) => {
                if let Some((_, block)) = blocks.last_mut() {
                    block.push_str(line);
                    block.push('\n');
                }
            }
            (false, _) => {}
        }
    }
    blocks
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(i, line)| (i + 1, line))
}

/// Which lines are inside an insta inline snapshot: what a program prints is not wrapped for the
/// reader.
fn snapshot_lines(text: &str) -> Vec<bool> {
    let mut end: Option<&str> = None;
    text.lines()
        .map(|line| {
            if let Some(mark) = end {
                if line.trim_start().starts_with(mark) {
                    end = None;
                }
                return true;
            }
            let opened = [(r#"@r#""#, r##""#"##), (r#"@r""#, r#"""#), (r#"@""#, r#"""#)]
                .into_iter()
                .find_map(|(open, close)| Some((line.split_once(open)?.1, close)));
            if let Some((rest, close)) = opened
                && !rest.contains(close)
            {
                end = Some(close);
            }
            opened.is_some()
        })
        .collect()
}

fn sizes(text: &str, snapshot: &[bool]) -> Vec<String> {
    let mut complaints = Vec::new();
    let lines = text.lines().count();
    if lines > FILE_LINES_MAX {
        complaints.push(format!("{lines}: the file has more than {FILE_LINES_MAX} lines"));
    }
    for ((number, line), in_snapshot) in numbered(text).zip(snapshot) {
        let columns = line.chars().count();
        if columns > COLUMNS_MAX && !in_snapshot {
            complaints.push(format!("{number}: {columns} columns are more than {COLUMNS_MAX}"));
        }
    }
    complaints
}

/// A function ends at the first `}` in the column of its `fn`'s line: rustfmt sees to that.
fn functions(text: &str, snapshot: &[bool]) -> Vec<String> {
    let lines: Vec<_> = text.lines().collect();
    let mut complaints = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indent = line.len() - line.trim_start().len();
        let end = lines[start..].iter().position(|line| ends_function(line, indent));
        let Some(length) = end else { continue };
        let counted = (start..=start + length).filter(|at| !snapshot[*at]).count();
        if counted > FUNCTION_LINES_MAX {
            let number = start + 1;
            complaints.push(format!(
                "{number}: fn {name} has {counted} lines, more than {FUNCTION_LINES_MAX}"
            ));
        }
    }
    complaints
}

fn function_name(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace().peekable();
    while let Some(word) = words.next() {
        let modifier = matches!(word, "const" | "async" | "unsafe" | "extern" | "\"C\"");
        if word == "fn" {
            return words.next()?.split(['(', '<']).next();
        }
        if !modifier && !word.starts_with("pub") && word != "super)" {
            return None;
        }
    }
    None
}

fn ends_function(line: &str, indent: usize) -> bool {
    let here = line.len() - line.trim_start().len() == indent;
    here && (line.trim() == "}" || line.ends_with(';') || line.ends_with("{}") || one_line(line))
}

fn one_line(line: &str) -> bool {
    function_name(line).is_some() && line.ends_with('}')
}

/// What each part of `agent/src` may import of the others. Whoever adds a part adds a line.
const IMPORTS: &[(&str, &[&[&str]])] = &[
    ("clock", &[LEAVES]),
    ("credential", &[LEAVES]),
    ("errors", &[LEAVES]),
    ("fsx", &[LEAVES]),
    ("https", &[LEAVES]),
    ("memory", &[LEAVES]),
    ("net", &[LEAVES]),
    ("pattern", &[LEAVES]),
    ("procfs", &[LEAVES]),
    ("random", &[LEAVES]),
    ("source_url", &[LEAVES]),
    ("systemd", &[LEAVES]),
    ("telemetry", &[LEAVES]),
    ("wording", &[LEAVES]),
    ("config", &[LEAVES]),
    ("aws", &[LEAVES]),
    ("supervisor", &[LEAVES]),
    ("handoff", &[LEAVES]),
    ("releases", &[LEAVES, &["aws"]]),
    ("logs", &[LEAVES, &["aws"]]),
    ("metrics", &[LEAVES, &["aws"]]),
    ("traces", &[LEAVES, &["aws"]]),
    ("lifecycle", &[LEAVES, &["aws"]]),
    ("notify", &[LEAVES, &["aws"]]),
    ("backups", &[LEAVES, &["aws"]]),
    // Log lines go from their files to the command line without a detour through the runtime.
    ("control", &[LEAVES, &["config", "logs", "metrics"]]),
    ("runtime", &[LEAVES, FEATURES]),
    // Plays the person: what the command line may use, and nothing that runs an app.
    ("demo", &[LEAVES, &["config", "control", "releases"]]),
    ("cli", &[LEAVES, FEATURES, &["runtime", "demo"]]),
];
const LEAVES: &[&str] = &[
    "clock",
    "credential",
    "errors",
    "fsx",
    "https",
    "net",
    "pattern",
    "procfs",
    "random",
    "source_url",
    "systemd",
    "telemetry",
    "wording",
];
const FEATURES: &[&str] = &[
    "config",
    "aws",
    "supervisor",
    "handoff",
    "releases",
    "logs",
    "metrics",
    "traces",
    "lifecycle",
    "notify",
    "backups",
    "control",
];

/// What the core must not name: whatever does something, or could differ between two runs.
const CORE_BANNED: &[&str] = &[
    "groundcrew::",
    "std::fs",
    "std::net",
    "std::thread",
    "std::process",
    "std::env",
    "std::io",
    "std::os",
    "SystemTime",
    "Instant",
    "HashMap",
    "HashSet",
    "tokio",
    "nix::",
    "rustix::",
    ".await",
];

fn imports(path: &str, text: &str) -> Vec<String> {
    if path.starts_with("agent/core/src/") {
        return named(text, CORE_BANNED, "the core does no IO and imports nothing of ours");
    }
    let Some(inside) = path.strip_prefix("agent/src/") else { return Vec::new() };
    let part = inside.split(['/', '.']).next().unwrap_or(inside);
    if matches!(part, "lib" | "main") {
        return Vec::new();
    }
    let Some((_, allowed)) = IMPORTS.iter().find(|(name, _)| *name == part) else {
        return vec![format!("1: {part} is not in the import table of tests/e2e/tidy/scan.rs")];
    };
    let top = inside == format!("{part}.rs") || inside == format!("{part}/mod.rs");
    let mut complaints = Vec::new();
    for (number, line) in numbered(text) {
        let code = code(line);
        let mut parts = parts_after(code, "crate::");
        if top {
            // One level up from here is the crate itself.
            parts.extend(parts_after(code, "super::"));
        }
        let known = parts.iter().filter(|name| IMPORTS.iter().any(|(part, _)| part == *name));
        for name in known.filter(|name| **name != part && !may(allowed, name)) {
            complaints.push(format!("{number}: {part} imports {name}"));
        }
    }
    complaints
}

fn may(allowed: &[&[&str]], name: &str) -> bool {
    allowed.iter().any(|group| group.contains(&name))
}

/// The names right behind `prefix`: one, or those of a group such as `crate::{a, b::C}`.
fn parts_after<'a>(code: &'a str, prefix: &str) -> Vec<&'a str> {
    let mut parts = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        let names = match rest.strip_prefix('{') {
            Some(group) => group.split(',').collect(),
            None => vec![rest],
        };
        let end = |c: char| !c.is_alphanumeric() && c != '_';
        parts.extend(names.into_iter().filter_map(|name| name.trim().split(end).next()));
    }
    parts
}

fn sdk(path: &str, text: &str) -> Vec<String> {
    if !path.starts_with("agent/") || path.starts_with("agent/src/aws/") {
        return Vec::new();
    }
    let crates = ["aws_sdk_", "aws_config", "aws_credential_types", "aws_smithy", "aws_types"];
    named(text, &crates, "only aws/ names the SDK")
}

fn named(text: &str, banned: &[&str], why: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for (number, line) in numbered(text) {
        for word in banned.iter().filter(|word| code(line).contains(**word)) {
            complaints.push(format!("{number}: {word}: {why}"));
        }
    }
    complaints
}

/// The line without its comment. A `//` in a string ends it too early, which no import does.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, text: &str, complaints: &[&str]) {
        assert_eq!(rust(path, &format!("//! What for.\n{text}")), complaints, "{text}");
    }

    #[test]
    fn imports_against_the_direction_are_found() {
        let logs = "agent/src/logs/tail.rs";
        check(logs, "use crate::releases::store;\n", &["2: logs imports releases"]);
        check(logs, "use crate::{fsx, supervisor::spawn};\n", &["2: logs imports supervisor"]);
        check(logs, "fn f() { crate::cli::main() }\n", &["2: logs imports cli"]);
        check(logs, "use crate::aws::logs;\nuse crate::clock; // crate::cli\n", &[]);
        check("agent/src/logs/mod.rs", "use super::handoff;\n", &["2: logs imports handoff"]);
        check("agent/src/fsx.rs", "use crate::config::units;\n", &["2: fsx imports config"]);
        check("agent/src/supervisor/a.rs", "use crate::aws;\n", &["2: supervisor imports aws"]);
        check("agent/src/cli/a.rs", "use crate::runtime::run;\nuse super::logs;\n", &[]);
        check(
            "agent/src/odd.rs",
            "",
            &["1: odd is not in the import table of tests/e2e/tidy/scan.rs"],
        );
    }

    #[test]
    fn the_core_that_does_something_is_found() {
        let why = "the core does no IO and imports nothing of ours";
        let path = "agent/core/src/tier.rs";
        check(path, "use std::fs::File;\n", &[&format!("2: std::fs: {why}")]);
        check(path, "use std::collections::HashMap;\n", &[&format!("2: HashMap: {why}")]);
        check(path, "use std::collections::BTreeMap; // no HashMap\n", &[]);
    }

    #[test]
    fn the_sdk_outside_of_aws_is_found() {
        let line = "use aws_sdk_s3::Client;\n";
        let why = "2: aws_sdk_: only aws/ names the SDK";
        check("agent/src/releases/fetch.rs", line, &[why]);
        check("agent/src/aws/s3.rs", line, &[]);
    }

    #[test]
    fn what_is_too_long_is_found() {
        let long = format!("// {}\n", "x".repeat(98));
        check("tests/a.rs", &long, &["2: 101 columns are more than 100"]);
        let snapshot = format!("assert!(x, @r\"\n    {}\n\");\n{long}", "x".repeat(120));
        check("tests/a.rs", &snapshot, &["5: 101 columns are more than 100"]);
        let lines = "\n".repeat(500);
        check("tests/a.rs", &lines, &["501: the file has more than 500 lines"]);
        let function = |lines: usize| {
            let body = "        x();\n".repeat(lines - 2);
            format!("    pub(super) async fn f<T>(x: T) {{\n{body}    }}\n")
        };
        check("tests/a.rs", &function(71), &["2: fn f has 71 lines, more than 70"]);
        check("tests/a.rs", &function(70), &[]);
        check("tests/a.rs", &format!("fn f(\n    x: u8,\n);\n{}", function(70)), &[]);
        assert_eq!(
            rust("tests/a.rs", "fn f() {}\n"),
            ["1: starts without //! and what the file is for",]
        );
    }

    #[test]
    fn words_that_should_not_be_there_are_found() {
        let text =
            format!("fine\n// {}: later\n{}]\n", concat!("TO", "DO"), concat!("#[ig", "nore"));
        let found = words(&text);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("2: ") && found[1].starts_with("3: "), "{found:?}");
        assert_eq!(words("todo lists and things shared\n"), Vec::<String>::new());
    }

    #[test]
    fn toml_blocks_are_found_with_their_lines() {
        let text = "a\n```toml\n# host\nx = 1\n```\n```sh\nls\n```\n```toml\n```\n";
        let blocks = [(3, "# host\nx = 1\n".to_owned()), (10, String::new())];
        assert_eq!(toml_blocks(text), blocks);
    }
}
