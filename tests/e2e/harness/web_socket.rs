//! The client's half of RFC 6455 for unfragmented frames under 64 KiB: enough for an echo.

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// A text message.
    Text,
    /// The orderly end.
    Close,
    /// Anything else.
    Other(u8),
}

/// The request that asks for a WebSocket.
pub fn upgrade_request(path: &str) -> Vec<u8> {
    // The key only proves that the server knows the protocol; any 16 bytes will do.
    format!(
        "GET {path} HTTP/1.1\r\nHost: app\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .into_bytes()
}

/// A masked text frame.
pub fn text_frame(text: &str) -> Vec<u8> {
    frame(1, text.as_bytes())
}

/// The answer to a close frame.
pub fn close_frame() -> Vec<u8> {
    frame(8, &1000_u16.to_be_bytes())
}

fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x01, 0x02, 0x03, 0x04];
    let mut bytes = vec![0x80 | opcode];
    match u16::try_from(payload.len()).expect("a frame under 64 KiB") {
        length @ 0..126 => bytes.push(0x80 | length as u8),
        length => {
            bytes.push(0x80 | 0x7e);
            bytes.extend(length.to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// Takes the first whole frame from the front of `received`; a server's frames have no mask.
pub fn take_frame(received: &mut Vec<u8>) -> Option<(Opcode, Vec<u8>)> {
    let (start, length) = match *received.get(1)? & 0x7f {
        126 => (4, usize::from(u16::from_be_bytes([*received.get(2)?, *received.get(3)?]))),
        length => (2, usize::from(length)),
    };
    let payload = received.get(start..start + length)?.to_vec();
    let opcode = match received[0] & 0x0f {
        1 => Opcode::Text,
        8 => Opcode::Close,
        other => Opcode::Other(other),
    };
    received.drain(..start + length);
    Some((opcode, payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_when_whole() {
        let mut received = vec![0x81, 2, b'h', b'i', 0x88];
        assert_eq!(take_frame(&mut received), Some((Opcode::Text, b"hi".to_vec())));
        assert_eq!(take_frame(&mut received), None);
        received.extend([0]);
        assert_eq!(take_frame(&mut received), Some((Opcode::Close, vec![])));
        assert_eq!(text_frame("a"), [0x81, 0x81, 1, 2, 3, 4, b'a' ^ 0x01]);
        assert_eq!(text_frame(&"a".repeat(300)).len(), 8 + 300);
    }
}
