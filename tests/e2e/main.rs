//! Everything end to end, in one test binary so that the SDKs link once.

mod channel;
mod supervisor;
