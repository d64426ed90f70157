//! What could not be shipped before an instance goes, as one compressed file: a JSON document for
//! each event, with its group and stream, cleaned as it would have been.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;

use camino::Utf8PathBuf;
use groundcrew_core::time::Moment;

use super::batch::{Builder, Format};
use super::engine::Engine;
use super::source::SourceId;
use crate::clock;
use crate::fsx::{About, FileError};

const FILE_MODE: u32 = 0o640;
/// Of zstd: the fastest, for an instance that has seconds left.
const LEVEL: i32 = 1;

/// The file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftovers {
    /// Where it is.
    pub path: Utf8PathBuf,
    /// Bytes it has.
    pub bytes: u64,
    /// Whether there was time for everything.
    pub is_all: bool,
}

type Encoder = zstd::Encoder<'static, BufWriter<File>>;

impl Engine {
    /// Writes what was read and not accepted, until `by`. Changes nothing of what was accepted.
    pub(super) fn write_leftovers(&mut self, by: Moment) -> Result<Leftovers, FileError> {
        let path = self.root().join(".leftovers.jsonl.zst");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(FILE_MODE)
            .custom_flags(crate::logs::files::no_follow())
            .open(&path)
            .about("create", &path)?;
        let encoder = zstd::Encoder::new(BufWriter::new(file), LEVEL).about("write", &path)?;
        let is_all = self.write_all_left(encoder, &path, by)?;
        let bytes = fs::metadata(&path).about("ask about", &path)?.len();
        Ok(Leftovers { path, bytes, is_all })
    }

    fn write_all_left(
        &mut self,
        mut encoder: Encoder,
        path: &Utf8PathBuf,
        by: Moment,
    ) -> Result<bool, FileError> {
        let mut builder = Builder::new(Format::Lines);
        let streams: Vec<_> = self.streams.keys().copied().collect();
        let mut is_all = true;
        for id in streams {
            self.rewind(id);
            let Some(stream) = self.streams.get(&id) else { continue };
            let (group, name) = (stream.group.clone(), stream.name.clone());
            for source in stream.sources.clone() {
                loop {
                    is_all &= clock::at() < by;
                    builder.begin(&group, &name);
                    if !is_all || !self.take_left(source, &mut builder) {
                        break;
                    }
                    let (body, _) = builder.finish();
                    encoder.write_all(&body).about("write", path)?;
                }
                // It is still to be shipped, should there be another chance.
                if let Some(source) = self.sources.get_mut(&source) {
                    source.rewind(source.accepted);
                }
            }
        }
        let buffered = encoder.finish().about("write", path)?;
        let file = buffered.into_inner().map_err(std::io::IntoInnerError::into_error);
        file.and_then(|file| file.sync_data()).about("write", path)?;
        Ok(is_all)
    }

    /// Takes a batch of what is left of a source; `false`: nothing is.
    fn take_left(&mut self, id: SourceId, builder: &mut Builder) -> bool {
        std::mem::swap(&mut self.reader.builder, builder);
        let taken = self.take_from(id, clock::now());
        std::mem::swap(&mut self.reader.builder, builder);
        taken
    }
}
