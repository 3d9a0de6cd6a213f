//! WebSocket as it stands on the wire (RFC 6455 §5), read and written by hand.

use sha1::{Digest, Sha1};

use crate::{Peer, Upstream};

/// The answer to a key (RFC 6455 §4.2.2).
pub fn accept(key: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let digest = hash.finalize();
    // Twenty bytes are six groups of three, and two.
    let mut text = String::new();
    for group in digest.chunks(3) {
        let mut bytes = [0; 4];
        bytes[1..=group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes(bytes);
        let all = [18, 12, 6, 0].map(|it| char::from(ALPHABET[(bits >> it & 0x3f) as usize]));
        text.extend(&all[..=group.len()]);
    }
    text + "="
}

/// A text frame.
pub const TEXT: u8 = 1;
/// A binary frame.
pub const BINARY: u8 = 2;
/// A frame that goes on with a message.
pub const CONTINUATION: u8 = 0;
/// A close frame.
pub const CLOSE: u8 = 8;
/// A ping.
pub const PING: u8 = 9;
/// The answer to a ping.
pub const PONG: u8 = 10;

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Whether the message ends with it.
    pub is_last: bool,
    /// What it is.
    pub opcode: u8,
    /// What it carries, without a mask.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A whole message, or a control frame.
    pub fn new(opcode: u8, payload: impl Into<Vec<u8>>) -> Self {
        Self { is_last: true, opcode, payload: payload.into() }
    }

    /// A piece of a message that is not its last one.
    pub fn begins(opcode: u8, payload: impl Into<Vec<u8>>) -> Self {
        Self { is_last: false, ..Self::new(opcode, payload) }
    }

    /// As a server sends it, or masked as a client does.
    pub fn bytes(&self, mask: Option<[u8; 4]>) -> Vec<u8> {
        let masked = if mask.is_some() { 0x80 } else { 0 };
        let mut bytes = vec![u8::from(self.is_last) << 7 | self.opcode];
        match self.payload.len() {
            length @ 0..=125 => bytes.push(masked | length as u8),
            length @ 126..=0xffff => {
                bytes.push(masked | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
            length => {
                bytes.push(masked | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        let mask = mask.inspect(|it| bytes.extend(it)).unwrap_or_default();
        bytes.extend(self.payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        bytes
    }
}

impl Peer {
    /// Sends a frame as a client does.
    pub fn send_masked(&mut self, frame: &Frame) {
        self.send(frame.bytes(Some([0x37, 0xfa, 0x21, 0x3d])));
    }

    /// Sends a frame as a server does.
    pub fn send_unmasked(&mut self, frame: &Frame) {
        self.send(frame.bytes(None));
    }

    /// The next frame; `None` when the connection ended before it.
    pub fn try_read_websocket(&mut self) -> Option<Frame> {
        let head = self.try_read_exactly(2)?;
        let length = match head[1] & 0x7f {
            126 => u64::from(u16::from_be_bytes(self.read_exactly(2).try_into().expect("two"))),
            127 => u64::from_be_bytes(self.read_exactly(8).try_into().expect("eight")),
            length => u64::from(length),
        };
        let mask = if head[1] & 0x80 == 0 { vec![0; 4] } else { self.read_exactly(4) };
        let payload = self.read_exactly(length as usize);
        let payload = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
        let (is_last, opcode) = (head[0] & 0x80 != 0, head[0] & 0x0f);
        Some(Frame { is_last, opcode, payload: payload.collect() })
    }

    /// The next frame.
    ///
    /// # Panics
    /// When the connection ended.
    pub fn read_websocket(&mut self) -> Frame {
        self.try_read_websocket().expect("a frame, but the connection ended")
    }

    /// Asks for a WebSocket with the key of RFC 6455 §1.3.
    ///
    /// # Panics
    /// When the server refuses, or does not answer the key.
    pub fn open_websocket(mut self, path: &str) -> Self {
        self.send(format!(
            "GET {path} HTTP/1.1\r\nHost: t\r\nConnection: keep-alive, Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Version: 13\r\n\r\n"
        ));
        let response = self.read_head();
        assert_eq!(response.status(), 101);
        assert_eq!(response.field("upgrade"), Some("websocket"));
        assert_eq!(response.field("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        self
    }

    /// Takes the request of [`Peer::open_websocket`].
    ///
    /// # Panics
    /// When it is another one.
    pub fn accept_websocket(&mut self) {
        let request = self.read_head();
        assert_eq!(request.field("upgrade"), Some("websocket"));
        assert_eq!(request.field("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
        self.send(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        );
    }
}

impl Upstream {
    /// A WebSocket server that sends each frame back, answers pings, and closes when it is asked
    /// to: by a close frame, or by the text `close`.
    pub fn websocket_echo() -> Self {
        Self::serve(|mut peer, _| {
            peer.accept_websocket();
            while let Some(frame) = peer.try_read_websocket() {
                let is_asked = frame.opcode == TEXT && frame.payload == b"close";
                match frame.opcode {
                    PING => peer.send_unmasked(&Frame { opcode: PONG, ..frame }),
                    CLOSE => {
                        peer.send_unmasked(&frame);
                        return peer.finish();
                    }
                    _ if is_asked => {
                        peer.send_unmasked(&Frame::new(CLOSE, [0x03, 0xe9]));
                        assert_eq!(peer.read_websocket().opcode, CLOSE);
                        return peer.finish();
                    }
                    _ => peer.send_unmasked(&frame),
                }
            }
        })
    }
}
