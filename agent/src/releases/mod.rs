//! Releases: published to a source, promoted in channels, fetched to the disk of a host.
//!
//! Publishing packs a directory into an artifact and describes it in a manifest; a channel names
//! the manifest; a host fetches what the channel names into its store. This feature never starts a
//! process, never decides which release a host should run, and never touches a release that is on
//! disk, except to remove it when told so.

pub mod backoff;
pub mod channel;
pub mod directory;
pub mod fetch;
pub mod git;
pub mod hash;
pub mod manifest;
pub mod pack;
pub mod path;
pub mod promote;
pub mod publish;
pub mod source;
pub mod store;
#[cfg(test)]
mod testing;
