//! The bounds of looking for named files. How many are open and known: [`inventory::limits`].
//!
//! [`inventory::limits`]: groundcrew_core::logs::inventory::limits

use std::time::Duration;

/// What changed while it was looked at is looked at again after so long.
pub(super) const AGAIN: Duration = Duration::from_millis(200);
/// Directories that are listed and watched.
pub(super) const DIRECTORIES_MAX: usize = 2_000;
/// Directories below each other that `**` stands for.
pub(super) const DEPTH_MAX: usize = 16;
/// Patterns that the braces of one stand for.
pub(super) const ALTERNATIVES_MAX: usize = 64;
/// Bytes of the decompressed rest of a rotated file. More is lost, and counted.
pub(super) const LEFTOVER_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Bytes before the end of a large file in which the start of a line is looked for.
pub(super) const LINE_SEARCH_BYTES: u64 = 64 * 1024;
/// Walks over the directories in one scan: again only when some were not watched before.
pub(super) const WALKS_MAX: u32 = 4;
