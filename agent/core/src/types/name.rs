//! Names that end up in object keys, file names and commands, so none of them can be hostile.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A name that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {value:?} {why}")]
pub struct NameError {
    what: &'static str,
    value: String,
    why: &'static str,
}

fn check_name(
    what: &'static str,
    text: &str,
    len_max: usize,
    allowed: fn(char) -> bool,
    why: &'static str,
) -> Result<(), NameError> {
    let refuse = |why| Err(NameError { what, value: text.chars().take(80).collect(), why });
    if text.is_empty() {
        return refuse("is empty");
    }
    if text.len() > len_max {
        return refuse("is too long");
    }
    if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return refuse("must start with a letter or a digit");
    }
    if !text.chars().all(allowed) {
        return refuse(why);
    }
    Ok(())
}

macro_rules! name {
    (
        $(#[$doc:meta])* $name:ident, $what:literal, $len_max:literal, $allowed:expr, $why:literal
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                check_name($what, text, $len_max, $allowed, $why)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(
    /// What people call a release: `v42`, `2026-11-21.3`, a commit.
    Version,
    "version",
    128,
    |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+'),
    "may hold only letters, digits and . - _ +"
);
name!(
    /// Where a release runs: `staging`, `production`. Names a channel.
    Environment,
    "environment",
    64,
    |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'),
    "may hold only letters, digits and . - _"
);
name!(
    /// One part of the application on this host: `web`, `api`, a queue worker.
    TierName,
    "tier",
    32,
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-',
    "may hold only lower-case letters, digits and -"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_leave_their_directory_are_refused() {
        for text in ["", "..", ".hidden", "a/b", "a\0b", "-rf", "ä", &"v".repeat(129)] {
            assert!(text.parse::<Version>().is_err(), "{text:?}");
        }
        assert!("Web".parse::<TierName>().is_err());
        assert!("web.1".parse::<TierName>().is_err(), "a dot separates the parts of a process id");
    }

    #[test]
    fn usual_names_are_taken() {
        for text in ["v42", "1.2.3-rc.1+build", "2026-11-21_3", "3f9c2ab"] {
            assert_eq!(text.parse::<Version>().unwrap().as_str(), text);
        }
    }
}
