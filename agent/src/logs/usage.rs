//! What the log files use and what became of what was in them.

/// Counts since the agent's start, and what is on disk now.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct LogUsage {
    /// Files there are.
    pub files: usize,
    /// Bytes they have on disk.
    pub bytes: u64,
    /// Bytes punched out because they were too old or too much. How many lines is not known.
    pub bytes_punched: u64,
    /// Bytes of files that were removed while there was something in them.
    pub bytes_removed: u64,
    /// Lines that went before they were accepted, because there was no room.
    pub lines_lost: u64,
    /// Bytes of them.
    pub bytes_lost: u64,
    /// Files removed, because their process is gone and they were empty, too old or too much.
    pub files_removed: u64,
    /// Files put aside at a restart, where holes cannot be punched.
    pub files_rotated: u64,
    /// Files above the limit for one, which only happens where holes cannot be punched.
    pub files_over_limit: usize,
    /// Everything together is above the limit.
    pub over_limit: bool,
    /// Whether the file system punches holes, as far as is known.
    pub punching: bool,
    /// Looks at the files.
    pub wakeups: u64,
    /// Looks at which something failed.
    pub errors: u64,
    /// What failed last.
    pub last_error: Option<String>,
}
