//! Paths and link targets inside a release. Whatever has one of these types stays inside the tree.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use groundcrew_core::limits;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest name Linux takes for one component, in bytes (`NAME_MAX`).
const COMPONENT_BYTES_MAX: usize = 255;

/// A path inside a release: relative, without `.`, `..` or empty components. Ordered by its bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReleasePath(Box<str>);

/// Where a symlink of a release points: relative, and inside the tree however it is resolved.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkTarget(Box<str>);

/// A path or a link target that a release may not have, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} {why}")]
pub struct PathError {
    text: String,
    why: &'static str,
}

impl PathError {
    fn new(text: &str, why: &'static str) -> Self {
        Self { text: text.chars().take(200).collect(), why }
    }

    /// Why alone, for a message that names the entry itself.
    #[must_use]
    pub fn why(&self) -> &'static str {
        self.why
    }
}

impl ReleasePath {
    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The directory it lies in (empty: the root) and its name there.
    #[must_use]
    pub fn split(&self) -> (&str, &str) {
        self.0.rsplit_once('/').unwrap_or(("", &self.0))
    }

    /// How many directories it lies in.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.0.bytes().filter(|&byte| byte == b'/').count()
    }
}

impl FromStr for ReleasePath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        check_text(text)?;
        for component in text.split('/') {
            match component {
                "" => return Err(PathError::new(text, "has an empty component")),
                "." => return Err(PathError::new(text, "has a '.' component")),
                ".." => return Err(PathError::new(text, "has a '..' component")),
                name if name.len() > COMPONENT_BYTES_MAX => {
                    return Err(PathError::new(text, "has a component of more than 255 bytes"));
                }
                _ => {}
            }
        }
        Ok(Self(text.into()))
    }
}

impl LinkTarget {
    /// Checks where a symlink at `link` points to.
    ///
    /// `..` is taken only at the start: the directories above a link are real ones, so leading `..`
    /// are counted exactly, while one behind a name could climb out through another symlink.
    pub fn new(link: &ReleasePath, target: &str) -> Result<Self, PathError> {
        check_text(target)?;
        let mut climbed = 0;
        let mut descended = false;
        for component in target.split('/') {
            match component {
                "" | "." => {}
                ".." if descended => {
                    return Err(PathError::new(target, "has '..' behind a name"));
                }
                ".." => climbed += 1,
                _ => descended = true,
            }
        }
        if climbed > link.depth() {
            return Err(PathError::new(target, "leaves the release"));
        }
        Ok(Self(target.into()))
    }

    /// The target as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check_text(text: &str) -> Result<(), PathError> {
    if text.is_empty() {
        return Err(PathError::new(text, "is empty"));
    }
    if text.len() > limits::ARTIFACT_PATH_BYTES_MAX {
        return Err(PathError::new(text, "is longer than 4096 bytes"));
    }
    if text.contains('\0') {
        return Err(PathError::new(text, "holds a NUL"));
    }
    if text.starts_with('/') {
        return Err(PathError::new(text, "is absolute"));
    }
    Ok(())
}

const _: () = assert!(limits::ARTIFACT_PATH_BYTES_MAX == 4096, "a message above names the number");

// Shown quoted and escaped: a name may hold line feeds or terminal codes.
macro_rules! text_type {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    };
}

text_type!(ReleasePath);
text_type!(LinkTarget);

impl Borrow<str> for ReleasePath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for ReleasePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_that_would_leave_or_confuse_are_refused_with_the_reason() {
        let long_name = "n".repeat(256);
        let long_path = "d/".repeat(2048) + "f";
        let check = |text: &str, why: &str| {
            let error = text.parse::<ReleasePath>().unwrap_err();
            assert_eq!(error.why(), why, "{text:?}");
        };
        check("", "is empty");
        check("/etc/passwd", "is absolute");
        check("../x", "has a '..' component");
        check("a/../../x", "has a '..' component");
        check("a/./b", "has a '.' component");
        check("a//b", "has an empty component");
        check("a/", "has an empty component");
        check("a\0b", "holds a NUL");
        check(&long_name, "has a component of more than 255 bytes");
        check(&long_path, "is longer than 4096 bytes");
    }

    #[test]
    fn link_targets_stay_inside_however_they_are_resolved() {
        let check = |link: &str, target: &str, why: Option<&str>| {
            let result = LinkTarget::new(&link.parse().unwrap(), target);
            assert_eq!(result.as_ref().err().map(PathError::why), why, "{link} -> {target}");
        };
        check("node_modules/.bin/tsc", "../typescript/bin/tsc", None);
        check("a", "./b", None);
        check("d/e", "..", None);
        check("a", "..", Some("leaves the release"));
        check("d/e", "../../x", Some("leaves the release"));
        check("a", "/etc/passwd", Some("is absolute"));
        check("a", "", Some("is empty"));
        // With `d/up -> ..` beside it, this one would name the directory above the release.
        check("x", "d/up/../..", Some("has '..' behind a name"));
    }

    /// Resolves `path` from the root with real symlink semantics; `None` when it leaves the tree.
    fn resolve(
        links: &[(ReleasePath, LinkTarget)],
        path: &str,
        hops: usize,
    ) -> Option<Vec<String>> {
        let mut at: Vec<String> = Vec::new();
        for component in path.split('/').filter(|c| !c.is_empty() && *c != ".") {
            if component == ".." {
                at.pop()?;
                continue;
            }
            at.push(component.to_owned());
            let here = at.join("/");
            let link = links.iter().find(|(link, _)| link.as_str() == here);
            if let (Some((_, target)), true) = (link, hops > 0) {
                at.pop();
                let onward = format!("{}/{}", at.join("/"), target.as_str());
                at = resolve(links, onward.trim_start_matches('/'), hops - 1)?;
            }
        }
        Some(at)
    }

    proptest! {
        #[test]
        fn whatever_parses_stays_below_the_root(text in "[a./\0-]{0,12}|.{0,20}") {
            if let Ok(path) = text.parse::<ReleasePath>() {
                let root = camino::Utf8Path::new("/root");
                let joined = root.join(path.as_str());
                prop_assert!(joined.starts_with(root));
                let plain = |c| matches!(c, camino::Utf8Component::Normal(_));
                prop_assert!(camino::Utf8Path::new(path.as_str()).components().all(plain));
                let (parent, name) = path.split();
                prop_assert_eq!(parent.is_empty(), path.depth() == 0);
                prop_assert!(!name.is_empty());
            }
        }

        #[test]
        fn links_that_are_taken_never_resolve_outside(
            offered in prop::collection::vec(
                ("[ab]|d/[ab]|d/e/[ab]", "((\\.\\./){0,3}([abde]|\\.\\.)(/([abde]|\\.\\.)){0,3})"),
                1..6,
            ),
        ) {
            let links: Vec<(ReleasePath, LinkTarget)> = offered
                .iter()
                .filter_map(|(link, target)| {
                    let link: ReleasePath = link.parse().ok()?;
                    let target = LinkTarget::new(&link, target).ok()?;
                    Some((link, target))
                })
                .collect();
            for (link, _) in &links {
                prop_assert!(resolve(&links, link.as_str(), 40).is_some(), "{link} of {links:?}");
            }
        }
    }
}
