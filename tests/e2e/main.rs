//! Everything end to end, in one test binary so that the SDKs link once.

#[cfg(test)]
mod tidy;
