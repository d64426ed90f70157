//! Backups: carries out what [`groundcrew_core::backups`] decides, each call in words of the core.
//! Nothing here decides what is made, kept, proved or deleted, and nothing is remembered that a
//! look would not find again.

mod calls;
pub mod dump;
pub mod manifest;
pub mod objects;
pub mod proof;
pub mod seal;
pub mod secrets;
pub mod snapshots;
