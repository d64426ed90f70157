//! The controller's part of `status`.
