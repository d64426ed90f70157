//! Frames of AES-256-GCM: the STREAM construction, as age has it for ChaCha20-Poly1305. Each frame
//! is sealed with a counter and a mark of the last one, so that none can be left out, moved or cut
//! off. A key seals one stream and no other.
//!
//! ```text
//! "groundcrew-frames-1\n"   20 bytes
//! length of the blob        4 bytes, big endian
//! blob                      the data key, as KMS decrypts it
//! frames                    65,536 bytes each, the last one 0 to 65,536; each and its tag (16)
//! ```

use std::io::{self, BufRead, Read, Write};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};

const MAGIC: &[u8; 20] = b"groundcrew-frames-1\n";
/// Bytes of a frame before it is sealed.
const FRAME_BYTES: usize = 64 * 1024;
const TAG_BYTES: usize = 16;
/// Bytes of a blob; those of KMS have less than 200.
const BLOB_BYTES_MAX: usize = 8 * 1024;

/// What both sides count alike.
struct Frames {
    key: LessSafeKey,
    /// The hash of everything in front, so that a header cannot be put before other frames.
    header: [u8; 32],
    counter: u32,
}

/// Writes frames.
pub struct FrameWriter<W> {
    output: W,
    frames: Frames,
    filling: Vec<u8>,
}

/// Reads frames.
pub struct FrameReader<R> {
    input: R,
    frames: Frames,
    open: Vec<u8>,
    given: usize,
    ended: bool,
}

impl Frames {
    fn new(key: &[u8], blob: &[u8]) -> io::Result<Self> {
        let key = UnboundKey::new(&AES_256_GCM, key);
        let key = key.map_err(|_| bad("the data key has not 32 bytes"))?;
        let mut header = [0; 32];
        header.copy_from_slice(digest(&SHA256, &head(blob)?).as_ref());
        Ok(Self { key: LessSafeKey::new(key), header, counter: 0 })
    }

    /// The nonce of the next frame. 2^32 frames are 256 TiB.
    fn next(&mut self, last: bool) -> io::Result<Nonce> {
        let mut nonce = [0; NONCE_LEN];
        nonce[NONCE_LEN - 5..NONCE_LEN - 1].copy_from_slice(&self.counter.to_be_bytes());
        nonce[NONCE_LEN - 1] = u8::from(last);
        self.counter =
            self.counter.checked_add(1).ok_or_else(|| bad("there are too many frames"))?;
        Ok(Nonce::assume_unique_for_key(nonce))
    }
}

fn head(blob: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(blob.len()).ok().filter(|_| blob.len() <= BLOB_BYTES_MAX);
    let length = length.ok_or_else(|| bad("the encrypted data key is too long"))?;
    Ok([MAGIC.as_slice(), &length.to_be_bytes(), blob].concat())
}

fn bad(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

impl<W: Write> FrameWriter<W> {
    pub(super) fn new(mut output: W, key: &[u8], blob: &[u8]) -> io::Result<Self> {
        let frames = Frames::new(key, blob)?;
        output.write_all(&head(blob)?)?;
        Ok(Self { output, frames, filling: Vec::with_capacity(FRAME_BYTES + TAG_BYTES) })
    }

    fn seal(&mut self, last: bool) -> io::Result<()> {
        let nonce = self.frames.next(last)?;
        let header = Aad::from(self.frames.header);
        let sealed = self.frames.key.seal_in_place_append_tag(nonce, header, &mut self.filling);
        sealed.map_err(|_| bad("a frame cannot be sealed"))?;
        self.output.write_all(&self.filling)?;
        self.filling.clear();
        Ok(())
    }

    pub(super) fn finish(mut self) -> io::Result<W> {
        self.seal(true)?;
        Ok(self.output)
    }
}

impl<W: Write> Write for FrameWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.filling.len() == FRAME_BYTES && !bytes.is_empty() {
            // Only now is it known that it is not the last one.
            self.seal(false)?;
        }
        let taken = bytes.len().min(FRAME_BYTES - self.filling.len());
        self.filling.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

impl<R: BufRead> FrameReader<R> {
    pub(super) fn new(mut input: R, key: &[u8], blob: &[u8]) -> io::Result<Self> {
        let frames = Frames::new(key, blob)?;
        let expected = head(blob)?;
        let mut found = vec![0; expected.len()];
        input.read_exact(&mut found).map_err(|_| bad("it ends within its header"))?;
        if found != expected {
            return Err(bad("its header is not the one that the manifest describes"));
        }
        let open = Vec::with_capacity(FRAME_BYTES + TAG_BYTES);
        Ok(Self { input, frames, open, given: 0, ended: false })
    }

    fn next(&mut self) -> io::Result<()> {
        self.open.clear();
        self.given = 0;
        let sealed_max = (FRAME_BYTES + TAG_BYTES) as u64;
        Read::take(&mut self.input, sealed_max).read_to_end(&mut self.open)?;
        let last = self.input.fill_buf()?.is_empty();
        let nonce = self.frames.next(last)?;
        let header = Aad::from(self.frames.header);
        let opened = self.frames.key.open_in_place(nonce, header, &mut self.open);
        let length = opened.map_err(|_| bad("a frame was changed, or the end is missing"))?.len();
        self.open.truncate(length);
        self.ended = last;
        Ok(())
    }
}

impl<R: BufRead> Read for FrameReader<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.given == self.open.len() && !self.ended {
            self.next()?;
        }
        let rest = &self.open[self.given..];
        let taken = rest.len().min(into.len());
        into[..taken].copy_from_slice(&rest[..taken]);
        self.given += taken;
        Ok(taken)
    }
}
