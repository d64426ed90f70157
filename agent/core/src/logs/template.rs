//! Names of groups and streams with places to fill in: `/groundcrew/{environment}/{tier}`.

use std::fmt;
use std::str::FromStr;

/// What a template may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names<'a> {
    /// The host's environment.
    pub environment: &'a str,
    /// The tier; `files` for files, `journal` for units, `agent` for the agent's own log.
    pub tier: &'a str,
    /// The EC2 instance, or the host's name.
    pub instance: &'a str,
    /// The process, or what stands for it: the file's path, the unit.
    pub process: &'a str,
    /// The unit; `process` where there is none.
    pub unit: &'a str,
    /// The file's path without the slash it begins with; `process` where there is none.
    pub file: &'a str,
}

/// A name with places to fill in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Nothing there.
    #[error("is empty")]
    Empty,
    /// A brace without its partner.
    #[error("has a brace without its partner")]
    Brace,
    /// A place that nothing fills.
    #[error(
        "asks for {{{name}}}; there are {{environment}}, {{tier}}, {{instance}}, {{process}}, {{unit}} and {{file}}"
    )]
    Unknown {
        /// What it asks for.
        name: String,
    },
    /// A character that no name may hold.
    #[error("holds {character:?}, which no such name may")]
    Character {
        /// The character.
        character: char,
    },
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        if text.is_empty() {
            return Err(TemplateError::Empty);
        }
        Ok(Self { text: text.to_owned() })
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
