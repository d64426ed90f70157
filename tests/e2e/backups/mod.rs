//! Backups against the emulator.

mod aws;
mod kms;
mod objects;
mod restores;
mod snapshots;
