//! Everything end to end, in one test binary so that the SDKs link once.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod channel;
mod supervisor;
