//! The patterns of `[[logs.file]]`, and the directories and files that match them. Lists names
//! only; never opens a file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use globset::{GlobBuilder, GlobMatcher};

use super::limits::{ALTERNATIVES_MAX, DEPTH_MAX, DIRECTORIES_MAX};
use crate::fsx::{About, FileError};

/// A pattern that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PatternError {
    /// It does not say from where.
    #[error("the pattern {pattern} does not begin with a slash")]
    Relative {
        /// The pattern.
        pattern: String,
    },
    /// Its braces stand for too many patterns.
    #[error("the braces of the pattern {pattern} stand for more than {max} patterns")]
    Alternatives {
        /// The pattern.
        pattern: String,
        /// How many there may be.
        max: usize,
    },
    /// Its wildcards make no sense.
    #[error("could not understand the pattern {pattern}")]
    Glob {
        /// The pattern.
        pattern: String,
        /// Why.
        #[source]
        source: globset::Error,
    },
}

/// One step of a path.
#[derive(Debug, Clone)]
enum Component {
    Literal(String),
    Wild {
        matcher: GlobMatcher,
        /// It names a leading dot, and so means hidden names.
        hidden: bool,
    },
    /// `**`: any number of directories.
    Deep,
}

/// A checked pattern: the paths it stands for, as components.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    alternatives: Vec<Vec<Component>>,
}

impl Pattern {
    pub(super) fn new(pattern: &str) -> Result<Self, PatternError> {
        if !pattern.starts_with('/') {
            return Err(PatternError::Relative { pattern: pattern.to_owned() });
        }
        let too_many =
            || PatternError::Alternatives { pattern: pattern.to_owned(), max: ALTERNATIVES_MAX };
        let expanded = expand(pattern).ok_or_else(too_many)?;
        let alternatives = expanded.iter().map(|path| {
            let names = path.split('/').filter(|name| !name.is_empty());
            names.map(|name| component(pattern, name)).collect()
        });
        Ok(Self { alternatives: alternatives.collect::<Result<_, _>>()? })
    }
}

fn component(pattern: &str, name: &str) -> Result<Component, PatternError> {
    if name == "**" {
        return Ok(Component::Deep);
    }
    if !name.contains(['*', '?', '[', '\\']) {
        return Ok(Component::Literal(name.to_owned()));
    }
    let glob = GlobBuilder::new(name).literal_separator(true).backslash_escape(true).build();
    let glob = glob.map_err(|source| PatternError::Glob { pattern: pattern.to_owned(), source })?;
    Ok(Component::Wild { matcher: glob.compile_matcher(), hidden: name.starts_with('.') })
}

/// Replaces braces by what they stand for; `None` when that is too much.
fn expand(pattern: &str) -> Option<Vec<String>> {
    let mut done = Vec::new();
    let mut left = vec![pattern.to_owned()];
    while let Some(pattern) = left.pop() {
        match first_braces(&pattern) {
            None => done.push(pattern),
            Some((start, commas, end)) => {
                let edges = [&[start][..], &commas, &[end]].concat();
                let parts = edges.windows(2).map(|edge| &pattern[edge[0] + 1..edge[1]]);
                let (head, rest) = (&pattern[..start], &pattern[end + 1..]);
                left.extend(parts.map(|part| format!("{head}{part}{rest}")));
            }
        }
        if done.len() + left.len() > ALTERNATIVES_MAX {
            return None;
        }
    }
    Some(done)
}

/// Where the first braces open, where their commas are, and where they close.
fn first_braces(pattern: &str) -> Option<(usize, Vec<usize>, usize)> {
    let (mut start, mut depth, mut commas) = (None, 0, Vec::new());
    let mut escaped = false;
    for (at, c) in pattern.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '{' => {
                start = start.or(Some(at));
                depth += 1;
            }
            ',' if depth == 1 => commas.push(at),
            '}' if depth > 0 => {
                depth -= 1;
                if depth == 0 {
                    return Some((start?, commas, at));
                }
            }
            _ => {}
        }
    }
    None
}

/// One walk over the directories of all patterns.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// Paths that match, each with the first rule that it matches.
    pub(super) matches: BTreeMap<Utf8PathBuf, usize>,
    /// Names and inodes of the directories that were listed.
    pub(super) listings: BTreeMap<Utf8PathBuf, Vec<(String, u64)>>,
    /// Directories in which something may appear that matters.
    pub(super) watch: BTreeSet<Utf8PathBuf>,
    /// Directories that are not listed, because there are too many.
    pub(super) skipped: usize,
    /// The first failure.
    pub(super) failed: Option<FileError>,
}

impl Walk {
    /// Finds what `pattern` matches, for the rule at `index`.
    pub(super) fn pattern(&mut self, index: usize, pattern: &Pattern) {
        for alternative in &pattern.alternatives {
            self.step(index, Utf8Path::new("/"), alternative, 0);
        }
    }

    /// Names and inodes in a directory, listed once a walk; empty when that fails.
    pub(super) fn list(&mut self, directory: &Utf8Path) -> &[(String, u64)] {
        if !self.listings.contains_key(directory) {
            if self.listings.len() >= DIRECTORIES_MAX {
                self.skipped += 1;
                return &[];
            }
            match entries(directory) {
                Ok(entries) => {
                    self.listings.insert(directory.to_owned(), entries);
                }
                Err(error) => {
                    let kind = error.source.kind();
                    let absent = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory];
                    if !absent.contains(&kind) {
                        self.failed.get_or_insert(error);
                    }
                }
            }
        }
        self.listings.get(directory).map_or(&[], Vec::as_slice)
    }

    fn step(&mut self, index: usize, at: &Utf8Path, rest: &[Component], depth: usize) {
        let Some((first, then)) = rest.split_first() else { return };
        match first {
            Component::Literal(name) if then.is_empty() => {
                self.watch(at);
                let path = at.join(name);
                self.list(at);
                if fs::symlink_metadata(&path).is_ok() {
                    self.matches.entry(path).or_insert(index);
                }
            }
            Component::Literal(name) => {
                let path = at.join(name);
                if !path.is_dir() {
                    // It may come: then its parent tells.
                    self.watch(at);
                    return;
                }
                self.step(index, &path, then, depth);
            }
            Component::Wild { matcher, hidden } => {
                self.watch(at);
                let names = self.list(at).iter().map(|(name, _)| name);
                let visible = names.filter(|name| *hidden || !name.starts_with('.'));
                let matching = visible.filter(|name| matcher.is_match(name.as_str()));
                let paths: Vec<Utf8PathBuf> = matching.map(|name| at.join(name)).collect();
                for path in paths {
                    if then.is_empty() {
                        self.matches.entry(path).or_insert(index);
                    } else if path.is_dir() {
                        self.step(index, &path, then, depth);
                    }
                }
            }
            Component::Deep => {
                self.step(index, at, then, depth);
                self.watch(at);
                if depth >= DEPTH_MAX {
                    return;
                }
                let names = self.list(at).iter().map(|(name, _)| name);
                let visible = names.filter(|name| !name.starts_with('.'));
                let paths: Vec<Utf8PathBuf> = visible.map(|name| at.join(name)).collect();
                for path in paths {
                    // Links are not followed at any depth: they may lead in a circle.
                    if fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir()) {
                        self.step(index, &path, rest, depth + 1);
                    }
                }
            }
        }
    }

    fn watch(&mut self, directory: &Utf8Path) {
        if self.watch.len() < DIRECTORIES_MAX && directory.is_dir() {
            self.watch.insert(directory.to_owned());
        }
    }
}

fn entries(directory: &Utf8Path) -> Result<Vec<(String, u64)>, FileError> {
    use std::os::unix::fs::DirEntryExt;
    let mut entries = Vec::new();
    for entry in fs::read_dir(directory).about("list", directory)? {
        let entry = entry.about("list", directory)?;
        // The agent's paths are UTF-8, also those in its checkpoint: other names are left alone.
        if let Ok(name) = entry.file_name().into_string() {
            entries.push((name, entry.ino()));
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::scratch;
    use super::*;

    fn found(root: &Utf8Path, pattern: &str) -> Vec<String> {
        let mut walk = Walk::default();
        walk.pattern(0, &Pattern::new(&format!("{root}/{pattern}")).unwrap());
        assert!(walk.failed.is_none(), "{:?}", walk.failed);
        let relative = |path: &Utf8PathBuf| path.strip_prefix(root).unwrap().to_string();
        walk.matches.keys().map(relative).collect()
    }

    #[test]
    fn patterns_match_as_in_a_shell() {
        let (_keep, root) = scratch();
        for path in ["a/x.log", "a/y.log", "a/.z.log", "b/c/d/x.log", "b/.h/x.log", "b/x.txt"] {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::File::create(root.join(path)).unwrap();
        }
        std::os::unix::fs::symlink(&root, root.join("b/loop")).unwrap();
        for (pattern, expected) in [
            ("a/x.log", &["a/x.log"][..]),
            ("a/no.log", &[]),
            ("a/*.log", &["a/x.log", "a/y.log"]),
            ("a/.*.log", &["a/.z.log"]),
            ("a/[xz].log", &["a/x.log"]),
            ("a/?.log", &["a/x.log", "a/y.log"]),
            ("{a,b/c/d}/x.*", &["a/x.log", "b/c/d/x.log"]),
            ("{a/{x,y},b/x}.{log,txt}", &["a/x.log", "a/y.log", "b/x.txt"]),
            ("**/x.log", &["a/x.log", "b/c/d/x.log"]),
            ("b/**/x.*", &["b/c/d/x.log", "b/x.txt"]),
            ("*/*.log", &["a/x.log", "a/y.log"]),
            ("b/loop/a/x*", &["b/loop/a/x.log"]),
            ("none/*/x.log", &[]),
        ] {
            assert_eq!(found(&root, pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        let refused = |pattern| Pattern::new(pattern).unwrap_err().to_string();
        assert_eq!(refused("x.log"), "the pattern x.log does not begin with a slash");
        assert_eq!(refused("/a/[x"), "could not understand the pattern /a/[x");
        let many = "/{1,2,3,4}{1,2,3,4}{1,2,3,4}{1,2,3,4}";
        assert_eq!(
            refused(many),
            format!("the braces of the pattern {many} stand for more than 64 patterns")
        );
    }

    #[test]
    fn a_directory_that_may_come_is_waited_for() {
        let (_keep, root) = scratch();
        let watched = || {
            let mut walk = Walk::default();
            walk.pattern(0, &Pattern::new(&format!("{root}/a/b/*.log")).unwrap());
            walk.watch
        };
        assert_eq!(watched(), BTreeSet::from([root.clone()]));
        fs::create_dir_all(root.join("a/b")).unwrap();
        assert_eq!(watched(), BTreeSet::from([root.join("a/b")]));
    }
}
