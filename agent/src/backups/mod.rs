//! Backups: what carries out what `groundcrew_core::backups` decides. Never decides.

pub mod dump;
pub mod objects;
pub mod proof;
pub mod snapshots;
