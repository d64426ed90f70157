//! The rest of a file that was rotated and compressed while nobody looked: decompressed into an
//! unnamed file that a crash leaves nothing of, at the offsets that it had.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use camino::Utf8Path;
use flate2::read::MultiGzDecoder;
use groundcrew_core::logs::inventory::KnownFile;
use groundcrew_core::logs::inventory::limits::TAIL_BYTES;

use super::content;
use super::limits::LEFTOVER_BYTES_MAX;

const CHUNK_BYTES: usize = 64 * 1024;

/// A decompressed rest.
#[derive(Debug)]
pub(super) struct Leftover {
    /// Holds the content from the known offset on; zeros before.
    pub(super) file: File,
    /// Bytes of the whole content, as far as it is in the file.
    pub(super) size: u64,
    /// It has more than is allowed, which is lost.
    pub(super) cut: bool,
}

/// Decompresses `compressed`, if it holds the content of `known`; `None` when it does not, or is in
/// a format that is not read, or is not whole. The file is made in `directory`.
pub(super) fn decompress(
    compressed: &File,
    known: &KnownFile,
    directory: &Utf8Path,
) -> io::Result<Option<Leftover>> {
    let magic = content::bytes_at(compressed, 0, content::MAGIC_BYTES)?;
    let from_start = Positioned { file: compressed, at: 0 };
    let mut content: Box<dyn Read + '_> = match magic.as_slice() {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(from_start)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::Decoder::new(from_start)?),
        _ => return Ok(None),
    };
    match rest_of(&mut content, known, directory) {
        // Damaged, or still being written: it says nothing.
        Err(error) if is_damage(&error) => Ok(None),
        rest => rest,
    }
}

fn is_damage(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
    matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof | Other)
        && error.raw_os_error().is_none()
}

fn rest_of(
    content: &mut dyn Read,
    known: &KnownFile,
    directory: &Utf8Path,
) -> io::Result<Option<Leftover>> {
    let mut head = Vec::new();
    content.take(known.head.length).read_to_end(&mut head)?;
    if content::print_of(0, &head) != known.head {
        return Ok(None);
    }
    let file = tempfile::tempfile_in(directory)?;
    // The tail is kept as well: it must be as it was read.
    let keep = known.tail.start.min(known.offset.saturating_sub(TAIL_BYTES));
    let end_max = known.offset.saturating_add(LEFTOVER_BYTES_MAX);
    let mut at = 0;
    write_from(keep, &file, at, &head)?;
    at += head.len() as u64;
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut cut = false;
    loop {
        let read = match content.read(&mut chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if read == 0 {
            break;
        }
        if at >= end_max {
            cut = true;
            break;
        }
        write_from(keep, &file, at, &chunk[..read])?;
        at += read as u64;
    }
    file.set_len(at)?;
    // A copy may have been made, and compressed, before the last of what was read was written.
    let same = at < known.tail.end() || content::holds(&file, known.tail)?;
    Ok(same.then_some(Leftover { file, size: at, cut }))
}

/// Writes bytes that stand at `at`, except those before `keep`.
fn write_from(keep: u64, file: &File, at: u64, bytes: &[u8]) -> io::Result<()> {
    let skip = usize::try_from(keep.saturating_sub(at)).unwrap_or(usize::MAX);
    match bytes.get(skip..) {
        Some(bytes) => file.write_all_at(bytes, at + skip as u64),
        None => Ok(()),
    }
}

/// Reads a file from its start, whatever else reads it.
struct Positioned<'a> {
    file: &'a File,
    at: u64,
}

impl Read for Positioned<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}
