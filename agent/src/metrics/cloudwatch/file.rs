//! What was not accepted, for the next agent: one small file, whole or not there. Damage is put
//! aside under a name of its own, and is never a reason not to start.

use std::sync::Arc;

use camino::Utf8PathBuf;
use groundcrew_core::metrics::series::Datum;
use serde::{Deserialize, Serialize};

use crate::fsx::{self, About, FileError};

const NAME: &str = "unsent.json";
/// Instead of the last one that was damaged.
const DAMAGED: &str = "unsent.json.damaged";
const DIRECTORY_MODE: u32 = 0o750;
const FILE_MODE: u32 = 0o600;
/// Bytes that are read: more than the bound of what waits takes as JSON.
const READ_BYTES_MAX: u64 = 64 << 20;

/// The file's content, with its version.
#[derive(Serialize, Deserialize)]
#[serde(tag = "version", deny_unknown_fields)]
enum Kept {
    #[serde(rename = "1")]
    V1 { data: Vec<Arc<Datum>> },
}

/// The file.
#[derive(Debug, Clone)]
pub(super) struct KeptFile {
    directory: Utf8PathBuf,
}

impl KeptFile {
    pub(super) fn new(directory: Utf8PathBuf) -> Self {
        Self { directory }
    }

    /// Replaces the content; nothing: removes the file.
    pub(super) fn write(&self, data: Vec<Arc<Datum>>) -> Result<(), FileError> {
        let path = self.directory.join(NAME);
        if data.is_empty() {
            return fsx::remove_if_exists(&path);
        }
        fsx::create_dirs(&self.directory, DIRECTORY_MODE)?;
        let bytes = serde_json::to_vec(&Kept::V1 { data }).about("write", &path)?;
        fsx::write_atomic(&path, &bytes, FILE_MODE)
    }

    /// What is there; `None`: nothing.
    pub(super) fn read(&self) -> Result<Option<Vec<Datum>>, FileError> {
        let path = self.directory.join(NAME);
        let is_long = std::fs::metadata(&path).is_ok_and(|about| about.len() > READ_BYTES_MAX);
        let read = if is_long { None } else { Some(fsx::read_if_exists(&path)?) };
        let Some(bytes) = read else {
            return self.put_aside("it is longer than any that was written").map(|()| None);
        };
        let Some(bytes) = bytes else { return Ok(None) };
        match serde_json::from_slice(&bytes) {
            Ok(Kept::V1 { data }) => Ok(Some(data.into_iter().map(Arc::unwrap_or_clone).collect())),
            Err(error) => self.put_aside(&error.to_string()).map(|()| None),
        }
    }

    fn put_aside(&self, why: &str) -> Result<(), FileError> {
        let (path, aside) = (self.directory.join(NAME), self.directory.join(DAMAGED));
        std::fs::rename(&path, &aside).about("rename", &path)?;
        tracing::error!("{path} is damaged, and is {aside} now: {why}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use groundcrew_core::metrics::Unit;
    use groundcrew_core::metrics::series::Series;
    use groundcrew_core::time::Wall;

    use super::*;
    use crate::fsx::scratch;

    fn datum() -> Datum {
        Datum {
            series: Arc::new(Series::new("a", Unit::Ratio, [("environment", "test")])),
            at: Wall(1_800_000_000_000),
            values: vec![0.1, -3.0, 360_f64.exp2()],
            counts: vec![1, 2, u64::MAX],
        }
    }

    #[test]
    fn what_is_written_is_read_and_nothing_is_no_file() {
        let (_keep, scratch) = scratch();
        let file = KeptFile::new(scratch.join("state/metrics"));
        assert_eq!(file.read().unwrap(), None);
        file.write(Vec::new()).unwrap();
        file.write(vec![Arc::new(datum()), Arc::new(datum())]).unwrap();
        assert_eq!(file.read().unwrap(), Some(vec![datum(); 2]));
        file.write(Vec::new()).unwrap();
        assert_eq!(file.read().unwrap(), None);
    }

    #[test]
    fn damage_is_put_aside_under_its_name() {
        let (_keep, scratch) = scratch();
        let file = KeptFile::new(scratch.clone());
        for damage in ["", "{", "{\"version\":\"2\",\"data\":[]}", "{\"version\":\"1\"}", "\0\0\0"]
        {
            fsx::write_atomic(&scratch.join(NAME), damage.as_bytes(), FILE_MODE).unwrap();
            assert_eq!(file.read().unwrap(), None, "{damage}");
            let aside = fsx::read_if_exists(&scratch.join(DAMAGED)).unwrap();
            assert_eq!(aside.as_deref(), Some(damage.as_bytes()));
            assert_eq!(fsx::read_if_exists(&scratch.join(NAME)).unwrap(), None);
        }
    }
}
