//! Turns one frame into files: decompresses, reads the tar stream, compares each entry with the
//! manifest, writes what is wanted. Whatever the archive says beyond the manifest is refused by
//! name.

use std::io::{self, BufRead, Read, Write};

use groundcrew_core::limits;
use groundcrew_core::types::Digest;
use tar::EntryType;
use tokio_util::sync::CancellationToken;

use crate::fsx::{About, FileError};

use super::super::hash::{self, Hasher};
use super::super::manifest::{Entry, EntryKind, FileContent, Manifest};
use super::super::path::ReleasePath;
use super::bits::Bits;
use super::tree::Cursor;

/// log2 of the most a frame may make the decoder remember: 8 MiB. The packer's level asks for 4
/// MiB.
const WINDOW_LOG_MAX: u32 = 23;
/// Frames that unpack to more than this are unpacked through a buffer, the others in one go.
const WHOLE_BYTES_MAX: u64 = 2 * 1024 * 1024;
const BUFFER_BYTES: usize = 256 * 1024;

/// Why a frame was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// An entry that the manifest does not list, or lists otherwise, or that no release may hold.
    #[error("the archive's entry {name:?} {why}")]
    Entry {
        /// As the archive calls it.
        name: String,
        /// Why it is refused, as a clause.
        why: String,
    },
    /// An entry of the manifest that the archive does not have.
    #[error("the archive lacks {path}, which the manifest lists")]
    Missing {
        /// Which.
        path: ReleasePath,
    },
    /// A file whose content is not what the manifest says.
    #[error("the archive's file {path} has digest {actual}, the manifest says {expected}")]
    Content {
        /// Which.
        path: ReleasePath,
        /// What the manifest says.
        expected: Digest,
        /// What came out.
        actual: Digest,
    },
    /// Not zstd, or not tar.
    #[error("frame {frame} of the archive cannot be unpacked")]
    Broken {
        /// Counts from 0.
        frame: usize,
        /// What is wrong with it.
        #[source]
        source: io::Error,
    },
    /// More or less than the manifest says.
    #[error("frame {frame} of the archive does not unpack to the {expected} bytes of the manifest")]
    Length {
        /// Counts from 0.
        frame: usize,
        /// What the manifest says.
        expected: u64,
    },
    /// A file cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The caller lost interest.
    #[error("unpacking was cancelled")]
    Cancelled,
}

/// Unpacks frames into one tree, one after the other.
pub(super) struct Unpacker<'a> {
    pub manifest: &'a Manifest,
    pub wanted: &'a Bits,
    pub cursor: Cursor<'a>,
    pub stop: &'a CancellationToken,
    decompressor: Option<zstd::bulk::Decompressor<'static>>,
    /// A frame, unpacked. Its memory serves the next one.
    whole: Vec<u8>,
    /// A part of a file.
    buffer: Vec<u8>,
}

/// Tar's headers in front of an entry.
#[derive(Default)]
struct LongNames {
    name: Option<String>,
    target: Option<String>,
}

impl<'a> Unpacker<'a> {
    /// For the `wanted` files of a manifest, in the tree of `cursor`.
    pub(super) fn new(
        manifest: &'a Manifest,
        wanted: &'a Bits,
        cursor: Cursor<'a>,
        stop: &'a CancellationToken,
    ) -> Self {
        let (whole, buffer) = (Vec::new(), Vec::new());
        Self { manifest, wanted, cursor, stop, decompressor: None, whole, buffer }
    }

    /// Unpacks one frame from its compressed bytes.
    pub(super) fn unpack_slice(&mut self, frame: usize, data: &[u8]) -> Result<(), UnpackError> {
        let expected = self.manifest.frames[frame].unpacked_bytes;
        if expected > WHOLE_BYTES_MAX {
            return self.unpack(frame, data);
        }
        let decompressor = match &mut self.decompressor {
            Some(decompressor) => decompressor,
            none => none.insert(
                zstd::bulk::Decompressor::new()
                    .map_err(|source| UnpackError::Broken { frame, source })?,
            ),
        };
        let mut whole = std::mem::take(&mut self.whole);
        whole.clear();
        whole.reserve(usize::try_from(expected.max(WHOLE_BYTES_MAX / 4)).unwrap_or(0));
        let result = match decompressor.decompress_to_buffer(data, &mut whole) {
            Ok(length) if length as u64 == expected => {
                let mut archive = tar::Archive::new(whole.as_slice());
                self.entries(frame, &mut archive, &whole)
            }
            // Wrong somehow: the other way finds out how.
            Ok(_) | Err(_) => self.unpack(frame, data),
        };
        self.whole = whole;
        result
    }

    /// Unpacks one frame while its compressed bytes arrive.
    pub(super) fn unpack(&mut self, frame: usize, data: impl BufRead) -> Result<(), UnpackError> {
        let broken = |source| UnpackError::Broken { frame, source };
        let expected = self.manifest.frames[frame].unpacked_bytes;
        let mut decoder = zstd::stream::read::Decoder::with_buffer(data).map_err(broken)?;
        decoder.window_log_max(WINDOW_LOG_MAX).map_err(broken)?;
        // One byte more than there should be shows that there is more.
        let mut archive = tar::Archive::new(decoder.take(expected.saturating_add(1)));
        self.entries(frame, &mut archive, &[])?;
        let mut rest = archive.into_inner();
        io::copy(&mut rest, &mut io::sink()).map_err(broken)?;
        if rest.limit() != 1 {
            return Err(UnpackError::Length { frame, expected });
        }
        Ok(())
    }

    /// `whole` is what `archive` reads, when all of it is in memory.
    fn entries(
        &mut self,
        frame: usize,
        archive: &mut tar::Archive<impl Read>,
        whole: &[u8],
    ) -> Result<(), UnpackError> {
        let broken = |source| UnpackError::Broken { frame, source };
        let manifest = self.manifest;
        let mut listed = manifest.frame_entries(frame);
        let mut long = LongNames::default();
        for entry in archive.entries().map_err(broken)?.raw(true) {
            if self.stop.is_cancelled() {
                return Err(UnpackError::Cancelled);
            }
            let mut entry = entry.map_err(broken)?;
            match entry.header().entry_type() {
                EntryType::GNULongName => long.name = Some(read_long(&mut entry, frame)?),
                EntryType::GNULongLink => long.target = Some(read_long(&mut entry, frame)?),
                _ => {
                    let LongNames { name, target } = std::mem::take(&mut long);
                    let header = entry.header();
                    let name = name.unwrap_or_else(|| text(&header.path_bytes()));
                    let target = target.or_else(|| header.link_name_bytes().map(|b| text(&b)));
                    let Some(index) = listed.next() else {
                        let why = "is not listed in the manifest".to_owned();
                        return Err(UnpackError::Entry { name, why });
                    };
                    check(&manifest.files[index], header, &name, target.as_deref())?;
                    if let (EntryKind::File(content), true) =
                        (&manifest.files[index].kind, self.wanted.has(index))
                    {
                        let path = &manifest.files[index].path;
                        match slice(whole, entry.raw_file_position(), content.size) {
                            Some(bytes) => self.write_slice(path, content, bytes)?,
                            None => self.write(frame, &mut entry, path, content)?,
                        }
                    }
                }
            }
        }
        match listed.next() {
            Some(index) => Err(UnpackError::Missing { path: manifest.files[index].path.clone() }),
            None => Ok(()),
        }
    }

    fn write_slice(
        &mut self,
        path: &ReleasePath,
        content: &FileContent,
        bytes: &[u8],
    ) -> Result<(), UnpackError> {
        // Before the file is there: nothing has to be removed.
        let (expected, actual) = (content.digest, hash::sha256(bytes));
        if actual != expected {
            return Err(UnpackError::Content { path: path.clone(), expected, actual });
        }
        let mut file = self.cursor.create_file(path, content.executable)?;
        Ok(file.write_all(bytes).about("write", path.as_str().into())?)
    }

    fn write(
        &mut self,
        frame: usize,
        entry: &mut impl Read,
        path: &ReleasePath,
        content: &FileContent,
    ) -> Result<(), UnpackError> {
        self.buffer.resize(BUFFER_BYTES, 0);
        let mut file = self.cursor.create_file(path, content.executable)?;
        let mut hasher = Hasher::default();
        loop {
            let filled = fill(entry, &mut self.buffer);
            let filled = filled.map_err(|source| UnpackError::Broken { frame, source })?;
            hasher.update(&self.buffer[..filled]);
            file.write_all(&self.buffer[..filled]).about("write", path.as_str().into())?;
            if filled < self.buffer.len() {
                break;
            }
            if self.stop.is_cancelled() {
                return Err(UnpackError::Cancelled);
            }
        }
        let (expected, actual) = (content.digest, hasher.finish());
        if actual != expected {
            self.cursor.remove_file(path)?;
            return Err(UnpackError::Content { path: path.clone(), expected, actual });
        }
        Ok(())
    }
}

/// `size` bytes from `start`, when they are there.
fn slice(whole: &[u8], start: u64, size: u64) -> Option<&[u8]> {
    let start = usize::try_from(start).ok()?;
    whole.get(start..)?.get(..usize::try_from(size).ok()?)
}

/// Fills the buffer, less only at the end.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The text of a header that carries a name too long for the entry's own.
fn read_long(entry: &mut impl Read, frame: usize) -> Result<String, UnpackError> {
    let mut bytes = Vec::new();
    let limit = limits::ARTIFACT_PATH_BYTES_MAX + 2;
    let read = entry.take(limit as u64).read_to_end(&mut bytes);
    read.map_err(|source| UnpackError::Broken { frame, source })?;
    if bytes.last() == Some(&0) {
        bytes.pop();
    }
    if bytes.len() >= limit {
        bytes.truncate(200);
        let why = "has a name longer than 4096 bytes".to_owned();
        return Err(UnpackError::Entry { name: text(&bytes), why });
    }
    Ok(text(&bytes))
}

/// Compares what the archive says with what the manifest says.
fn check(
    listed: &Entry,
    header: &tar::Header,
    name: &str,
    target: Option<&str>,
) -> Result<(), UnpackError> {
    let refuse = |why: String| Err(UnpackError::Entry { name: name.to_owned(), why });
    let kind = header.entry_type();
    if let Some(what) = forbidden(kind) {
        return refuse(format!("is {what}, which no release may hold"));
    }
    let path =
        if kind == EntryType::Directory { name.strip_suffix('/').unwrap_or(name) } else { name };
    match path.parse::<ReleasePath>() {
        Err(error) => return refuse(error.why().to_owned()),
        Ok(path) if path != listed.path => {
            return refuse(format!("is not what the manifest lists here, {}", listed.path));
        }
        Ok(_) => {}
    }
    let mode = header.mode().unwrap_or(u32::MAX);
    if mode & 0o7000 != 0 {
        return refuse("is setuid, setgid or sticky".to_owned());
    }
    let size = header.entry_size().unwrap_or(u64::MAX);
    match (&listed.kind, kind) {
        (EntryKind::File(content), EntryType::Regular) => {
            if size != content.size {
                return refuse(format!("has {size} bytes, the manifest says {}", content.size));
            }
            if (mode & 0o100 != 0) != content.executable {
                return refuse("is executable in only one of archive and manifest".to_owned());
            }
            Ok(())
        }
        (EntryKind::Directory, EntryType::Directory) if size == 0 => Ok(()),
        (EntryKind::Symlink(listed), EntryType::Symlink) if size == 0 => {
            let target = target.unwrap_or_default();
            if target == listed.as_str() {
                return Ok(());
            }
            refuse(format!("points to {target:?}, the manifest says {listed}"))
        }
        (listed, _) => refuse(format!("is not {}, as the manifest says", noun(listed))),
    }
}

fn forbidden(kind: EntryType) -> Option<&'static str> {
    match kind {
        EntryType::Regular | EntryType::Directory | EntryType::Symlink => None,
        EntryType::Char | EntryType::Block => Some("a device"),
        EntryType::Fifo => Some("a named pipe"),
        EntryType::Link => Some("a hard link"),
        EntryType::XHeader | EntryType::XGlobalHeader => Some("a pax header"),
        _ => Some("of an unknown kind"),
    }
}

fn noun(kind: &EntryKind) -> &'static str {
    match kind {
        EntryKind::File(_) => "a file",
        EntryKind::Directory => "a directory",
        EntryKind::Symlink(_) => "a symlink",
    }
}
