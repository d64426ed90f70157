//! What is shipped of the logs, under which names, and by which rules. Plain settings and pure
//! decisions; the data itself never comes through here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub mod inventory;
pub mod json;
mod level;
pub mod limits;
pub mod pace;
pub mod retry;
mod template;

pub use level::level;
pub use template::{Names, Template, TemplateError};

/// What the host's file says about logs, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// The name of the log group.
    pub group: Template,
    /// The name of the log stream.
    pub stream: Template,
    /// Whether groups and streams that are missing are created.
    pub create: bool,
    /// Days a group that is created keeps its events; `None`: for ever.
    pub retention_days: Option<u16>,
    /// Bytes of logs on disk, accepted or not.
    pub disk_bytes_max: u64,
    /// Files that others write.
    pub files: Vec<FileRule>,
    /// Units of the journal.
    pub journals: Vec<JournalRule>,
    /// Regular expressions whose matches are never shipped; they compile.
    pub redact: Vec<String>,
    /// Where everything goes.
    pub to: Destination,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            group: Template::usual_group(),
            stream: Template::usual_stream(),
            create: true,
            retention_days: Some(limits::RETENTION_DAYS_USUAL),
            disk_bytes_max: limits::DISK_BYTES_USUAL,
            files: Vec::new(),
            journals: Vec::new(),
            redact: Vec::new(),
            to: Destination::CloudWatch,
        }
    }
}

/// Where logs go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// CloudWatch Logs.
    CloudWatch,
    /// The agent's own standard output, a JSON document a line.
    Stdout,
    /// A file that is appended to, a JSON document a line.
    File(String),
    /// Nowhere: they stay on this host.
    Nowhere,
}

/// `[[logs.file]]`: files that others write, and rotate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRule {
    /// An absolute path with the wildcards of a shell.
    pub path: String,
    /// Which lines make one event.
    pub multiline: Multiline,
    /// Instead of [`LogSettings::group`].
    pub group: Option<Template>,
    /// Instead of [`LogSettings::stream`].
    pub stream: Option<Template>,
}

/// `[[logs.journal]]`: what units say to journald.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalRule {
    /// Names of units, such as `sshd.service`.
    pub units: Vec<String>,
    /// Instead of [`LogSettings::group`].
    pub group: Option<Template>,
    /// Instead of [`LogSettings::stream`].
    pub stream: Option<Template>,
}

/// Which lines make one event.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Multiline {
    /// A stack trace of Node, Python or Java joins its first line; every other line stands alone.
    #[default]
    Traces,
    /// Every line stands alone.
    Off,
    /// An event begins with a line that begins with a time.
    Timestamp,
    /// A line that begins with white space joins the one before.
    Indent,
    /// An event begins with a line that this regular expression matches; it compiles.
    Pattern(String),
}

/// How much a line matters to whoever wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Finer than debug.
    Trace,
    /// For whoever writes the program.
    Debug,
    /// As it should be.
    Info,
    /// Unexpected.
    Warn,
    /// Failed.
    Error,
    /// The program ends.
    Fatal,
}

/// What a tier may ship: `[tier.NAME.logs]` of a release.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LogRules {
    /// Which lines make one event.
    #[serde(default)]
    pub multiline: Multiline,
    /// Events a second of each process; `None`: any number.
    #[serde(default)]
    pub rate_max: Option<u32>,
    /// The share of events of a level that is kept, in parts per million; others are kept whole.
    #[serde(default)]
    pub sample_ppm: BTreeMap<Level, u32>,
}
