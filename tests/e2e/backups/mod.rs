//! Backups against the emulator, and against real databases.

mod aws;
mod dumps;
mod kms;
mod objects;
mod restores;
mod snapshots;
