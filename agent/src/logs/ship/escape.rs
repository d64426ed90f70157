//! Text as a JSON string. Takes any bytes; what is not UTF-8 becomes U+FFFD. The hot path of
//! shipping: a fifth of its time is spent here, so ordinary text costs no branch for each byte.

const REPLACEMENT: &str = "\u{fffd}";

/// What a printable byte becomes: itself, or a backslash and itself.
const ESCAPED: [[u8; 2]; 256] = {
    let mut table = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte as usize] = [byte, 0];
        byte += 1;
    }
    table[b'"' as usize] = *b"\\\"";
    table[b'\\' as usize] = *b"\\\\";
    table
};

/// Appends `text` as the inside of a JSON string. Answers how many bytes it has as UTF-8, which
/// differs from its length only where it is not.
pub(super) fn escape(out: &mut Vec<u8>, text: &[u8]) -> usize {
    // Without an early end, so that the compiler looks at many bytes at once.
    let is_other = |byte: u8| byte.wrapping_sub(0x20) >= 0x60;
    if !text.iter().fold(false, |found, byte| found | is_other(*byte)) {
        escape_printable(out, text);
        return text.len();
    }
    let mut bytes = 0;
    for chunk in text.utf8_chunks() {
        bytes += chunk.valid().len();
        escape_valid(out, chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            bytes += REPLACEMENT.len();
            out.extend_from_slice(REPLACEMENT.as_bytes());
        }
    }
    bytes
}

/// `text` is ASCII without control characters.
fn escape_printable(out: &mut Vec<u8>, text: &[u8]) {
    let start = out.len();
    // Two bytes for each, and what a block that is copied whole may write beyond that.
    out.reserve(2 * text.len() + BLOCK);
    let mut at = start;
    let (blocks, rest) = text.as_chunks::<BLOCK>();
    for block in blocks {
        if has_neither(u64::from_le_bytes(*block)) {
            // SAFETY: each byte of the input has moved `at` by two at most, so that `at` is less
            // than `start` and twice the bytes before this block; with the block itself that is
            // within what was reserved.
            unsafe { out.as_mut_ptr().add(at).cast::<[u8; BLOCK]>().write_unaligned(*block) };
            at += BLOCK;
        } else {
            // SAFETY: as above; the block takes two bytes for each of its own at most.
            at += unsafe { write_escaped(out.as_mut_ptr().add(at), block) };
        }
    }
    // SAFETY: as above, for what is left of the input.
    at += unsafe { write_escaped(out.as_mut_ptr().add(at), rest) };
    // SAFETY: everything before `at` was written just now or before, and is within the capacity.
    unsafe { out.set_len(at) };
}

const BLOCK: usize = 8;

/// Whether none of the eight bytes is a quotation mark or a backslash: a byte of `x` is 0 exactly
/// when the lowest such sets its highest bit in `(x - 0x01…) & !x`.
const fn has_neither(block: u64) -> bool {
    const LOW: u64 = u64::from_le_bytes([0x01; BLOCK]);
    const HIGH: u64 = u64::from_le_bytes([0x80; BLOCK]);
    let quotes = block ^ u64::from_le_bytes([b'"'; BLOCK]);
    let slashes = block ^ u64::from_le_bytes([b'\\'; BLOCK]);
    let found = (quotes.wrapping_sub(LOW) & !quotes) | (slashes.wrapping_sub(LOW) & !slashes);
    found & HIGH == 0
}

/// Writes the escaped form of `text`, and answers how many bytes it has.
///
/// # Safety
///
/// `to` is valid for writes of two bytes for each byte of `text`.
unsafe fn write_escaped(to: *mut u8, text: &[u8]) -> usize {
    let mut at = 0;
    for byte in text {
        let escaped = ESCAPED[usize::from(*byte)];
        // SAFETY: `at` grows by two at most for each byte, so two more bytes are within the bound.
        unsafe { to.add(at).cast::<[u8; 2]>().write_unaligned(escaped) };
        // What needs a backslash is not itself in the first place.
        at += 1 + usize::from(escaped[0] != *byte || *byte == b'\\');
    }
    at
}

/// `text` is UTF-8; its control characters need more than a backslash.
fn escape_valid(out: &mut Vec<u8>, text: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut plain = 0;
    for (at, byte) in text.iter().enumerate() {
        let short = match byte {
            b'"' | b'\\' => *byte,
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0..0x20 => b'u',
            _ => continue,
        };
        out.extend_from_slice(&text[plain..at]);
        plain = at + 1;
        out.extend_from_slice(&[b'\\', short]);
        if short == b'u' {
            let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
            out.extend_from_slice(b"00");
            out.extend_from_slice(&digits);
        }
    }
    out.extend_from_slice(&text[plain..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &[u8]) {
        let mut out = b"\"".to_vec();
        let bytes = escape(&mut out, text);
        out.push(b'"');
        let read: String = serde_json::from_slice(&out).unwrap();
        assert_eq!(read, String::from_utf8_lossy(text));
        assert_eq!(bytes, read.len());
        // A control character becomes `\u0001`.
        assert!(out.len() <= 6 * text.len() + 2);
    }

    #[test]
    fn every_byte_alone_and_among_others() {
        for byte in 0..=255u8 {
            check(&[byte]);
            check(&[b'a', byte, b'"', byte, b'\\', b'z']);
        }
        check(b"");
        check("gr\u{fc}\u{df}e \u{1f600} \"quoted\"\n\tat x".as_bytes());
        check(b"cut \xf0\x9f\x98");
    }

    proptest! {
        #[test]
        fn reads_back_as_what_went_in(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            check(&text);
        }

        #[test]
        fn printable_text_too(text in "[ -~]{0,300}") {
            check(text.as_bytes());
        }
    }
}
