//! Backups against the emulator, and against real databases.

mod aws;
mod dumps;
mod kms;
mod nightly;
mod objects;
mod restores;
mod snapshots;
