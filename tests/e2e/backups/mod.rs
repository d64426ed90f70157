//! Backups end to end.

mod dumps;
