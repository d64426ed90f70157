//! What the tests of the logs share.

use std::fs::{File, OpenOptions};
use std::io::Write;

use camino::Utf8Path;
use groundcrew_core::types::ProcessId;

pub(super) use crate::fsx::scratch;

pub(super) fn process(id: &str) -> ProcessId {
    id.parse().unwrap()
}

pub(super) fn append(path: &Utf8Path, bytes: impl AsRef<[u8]>) {
    opened(path).write_all(bytes.as_ref()).unwrap();
}

pub(super) fn opened(path: &Utf8Path) -> File {
    OpenOptions::new().append(true).open(path).unwrap()
}
