//! One frame: entries as tar, compressed by themselves.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::num::NonZero;
use std::os::unix::fs::OpenOptionsExt;

use camino::Utf8Path;
use groundcrew_core::types::Digest;
use tar::{EntryType, Header};

use crate::fsx::About;

use super::super::hash::{self, Hasher, Hashing};
use super::super::path::ReleasePath;
use super::walk::{Found, FoundKind, Identity};
use super::{PackError, Watch};

/// A good ratio at a speed that suits a build machine. Part of what makes artifacts reproducible.
const LEVEL: i32 = 9;
/// Tar's unit.
const BLOCK: u64 = 512;
/// Two empty blocks end a tar stream.
const TAR_END: [u8; 1024] = [0; 1024];
/// Names longer than this get an entry of their own (GNU's `././@LongLink`).
const NAME_BYTES_MAX: usize = 100;
const READ_BYTES: usize = 128 * 1024;

/// A finished frame.
pub(super) struct Compressed {
    /// Empty when the frame was streamed.
    pub bytes: Vec<u8>,
    pub length: u64,
    pub digest: Digest,
    pub unpacked_bytes: u64,
    /// One for each entry; of no content for what is not a file.
    pub files: Vec<Digest>,
}

/// Compresses frames in memory, one after the other.
#[derive(Default)]
pub(super) struct Compressor {
    tar: Vec<u8>,
    zstd: Option<zstd::bulk::Compressor<'static>>,
}

impl Compressor {
    pub(super) fn compress(
        &mut self,
        root: &Utf8Path,
        entries: &[Found],
        last: bool,
        watch: &dyn Watch,
    ) -> Result<Compressed, PackError> {
        self.tar.clear();
        let files = write_tar(root, entries, last, &mut self.tar, watch)?;
        let zstd = match &mut self.zstd {
            Some(zstd) => zstd,
            none => none.insert(new_compressor().map_err(PackError::Write)?),
        };
        let bytes = zstd.compress(&self.tar).map_err(PackError::Write)?;
        Ok(Compressed {
            length: bytes.len() as u64,
            digest: hash::sha256(&bytes),
            unpacked_bytes: self.tar.len() as u64,
            bytes,
            files,
        })
    }
}

fn new_compressor() -> io::Result<zstd::bulk::Compressor<'static>> {
    let mut zstd = zstd::bulk::Compressor::new(LEVEL)?;
    zstd.set_parameter(zstd::zstd_safe::CParameter::ChecksumFlag(true))?;
    Ok(zstd)
}

/// Compresses a frame too large for memory straight to `out`. zstd cuts the work into jobs by size
/// alone, so the bytes do not depend on `threads`.
pub(super) fn stream(
    root: &Utf8Path,
    entries: &[Found],
    last: bool,
    out: &mut dyn Write,
    threads: NonZero<usize>,
    watch: &dyn Watch,
) -> Result<Compressed, PackError> {
    let unpacked_bytes = tar_length(entries, last);
    let workers = u32::try_from(threads.get()).unwrap_or(1);
    let begin = || {
        let mut zstd = zstd::stream::write::Encoder::new(Hashing::new(out), LEVEL)?;
        zstd.set_pledged_src_size(Some(unpacked_bytes))?;
        zstd.include_contentsize(true)?;
        zstd.include_checksum(true)?;
        zstd.multithread(workers)?;
        Ok(zstd)
    };
    let mut zstd = begin().map_err(PackError::Write)?;
    let files = write_tar(root, entries, last, &mut zstd, watch)?;
    let (_, digest, length) = zstd.finish().map_err(PackError::Write)?.finish();
    Ok(Compressed { bytes: Vec::new(), length, digest, unpacked_bytes, files })
}

/// Bytes an entry with `size` bytes of content takes in a tar stream, long names aside.
pub(super) fn tar_bytes(size: u64) -> u64 {
    BLOCK + size.next_multiple_of(BLOCK)
}

fn tar_length(entries: &[Found], last: bool) -> u64 {
    let end = if last { TAR_END.len() as u64 } else { 0 };
    entries.iter().fold(end, |sum, entry| {
        let target = match &entry.kind {
            FoundKind::Symlink(target) => target.as_str().len(),
            FoundKind::Directory | FoundKind::File { .. } => 0,
        };
        let names = [name(entry).len(), target];
        let long = names.into_iter().filter(|&length| length > NAME_BYTES_MAX);
        let long: u64 = long.map(|length| tar_bytes(length as u64 + 1)).sum();
        sum + long + tar_bytes(entry.size())
    })
}

fn write_tar(
    root: &Utf8Path,
    entries: &[Found],
    last: bool,
    tar: &mut impl Write,
    watch: &dyn Watch,
) -> Result<Vec<Digest>, PackError> {
    let mut digests = Vec::with_capacity(entries.len());
    for entry in entries {
        if watch.cancelled() {
            return Err(PackError::Cancelled);
        }
        digests.push(write_entry(root, entry, tar, watch)?);
    }
    if last {
        tar.write_all(&TAR_END).map_err(PackError::Write)?;
    }
    Ok(digests)
}

/// Directories end with a slash, as GNU tar writes them.
fn name(entry: &Found) -> String {
    let path = entry.path.as_str();
    if matches!(entry.kind, FoundKind::Directory) { format!("{path}/") } else { path.to_owned() }
}

fn write_entry(
    root: &Utf8Path,
    entry: &Found,
    tar: &mut impl Write,
    watch: &dyn Watch,
) -> Result<Digest, PackError> {
    let (kind, mode, target) = match &entry.kind {
        FoundKind::Directory => (EntryType::Directory, 0o755, ""),
        FoundKind::File { executable: true, .. } => (EntryType::Regular, 0o755, ""),
        FoundKind::File { executable: false, .. } => (EntryType::Regular, 0o644, ""),
        FoundKind::Symlink(target) => (EntryType::Symlink, 0o777, target.as_str()),
    };
    let name = name(entry);
    let mut write = || {
        write_long_name(tar, EntryType::GNULongLink, target)?;
        write_long_name(tar, EntryType::GNULongName, &name)?;
        let mut header = header(kind, mode, entry.size());
        let gnu = header.as_gnu_mut().ok_or(io::ErrorKind::InvalidData)?;
        copy_cut(&mut gnu.name, &name);
        copy_cut(&mut gnu.linkname, target);
        header.set_cksum();
        tar.write_all(header.as_bytes())
    };
    write().map_err(PackError::Write)?;
    match &entry.kind {
        FoundKind::File { identity, .. } => write_content(root, &entry.path, *identity, tar, watch),
        FoundKind::Directory | FoundKind::Symlink(_) => Ok(Hasher::default().finish()),
    }
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn copy_cut(field: &mut [u8], text: &str) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text.as_bytes()[..length]);
}

fn write_long_name(tar: &mut impl Write, kind: EntryType, text: &str) -> io::Result<()> {
    if text.len() <= NAME_BYTES_MAX {
        return Ok(());
    }
    let size = text.len() as u64 + 1;
    let mut header = header(kind, 0o644, size);
    let gnu = header.as_gnu_mut().ok_or(io::ErrorKind::InvalidData)?;
    copy_cut(&mut gnu.name, "././@LongLink");
    header.set_cksum();
    tar.write_all(header.as_bytes())?;
    tar.write_all(text.as_bytes())?;
    tar.write_all(&[0])?;
    write_padding(tar, size)
}

fn write_padding(tar: &mut impl Write, size: u64) -> io::Result<()> {
    let padding = usize::try_from(size.next_multiple_of(BLOCK) - size).unwrap_or(0);
    tar.write_all(&TAR_END[..padding])
}

/// Copies a file's content, and refuses one that is not, or does not stay, what was found.
fn write_content(
    root: &Utf8Path,
    path: &ReleasePath,
    expected: Identity,
    tar: &mut impl Write,
    watch: &dyn Watch,
) -> Result<Digest, PackError> {
    let full = root.join(path.as_str());
    let nofollow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let opened = OpenOptions::new().read(true).custom_flags(nofollow).open(&full);
    let mut file = opened.about("open", &full)?;
    let unchanged = |file: &std::fs::File| {
        let now = Identity::of(&file.metadata().about("look at", &full)?);
        if now == expected { Ok(()) } else { Err(PackError::Changed { path: full.clone() }) }
    };
    unchanged(&file)?;
    let mut hasher = Hasher::default();
    let mut left = expected.size;
    let room = usize::try_from(left).unwrap_or(READ_BYTES).clamp(1, READ_BYTES);
    let mut buffer = vec![0; room];
    while left > 0 {
        if watch.cancelled() {
            return Err(PackError::Cancelled);
        }
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let read = file.read(&mut buffer[..want]).about("read", &full)?;
        if read == 0 {
            return Err(PackError::Changed { path: full.clone() });
        }
        hasher.update(&buffer[..read]);
        tar.write_all(&buffer[..read]).map_err(PackError::Write)?;
        left -= read as u64;
    }
    unchanged(&file)?;
    write_padding(tar, expected.size).map_err(PackError::Write)?;
    watch.packed(expected.size);
    Ok(hasher.finish())
}
