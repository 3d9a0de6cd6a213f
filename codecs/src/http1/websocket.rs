//! The key and its answer in the opening handshake of WebSocket (RFC 6455 §4), for the side whose
//! peer has none: HTTP/2 begins a WebSocket without them (RFC 8441 §5).

use bytes::BytesMut;
use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};

use crate::{Fields, HttpRequest, base64};

/// The 16 bytes that `Sec-WebSocket-Key` says in base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Key([u8; 16]);

impl Key {
    /// A key of our own for the request of this generation on a connection.
    ///
    /// RFC 6455 §4.1 asks for a nonce that is chosen at random. A codec draws nothing at random,
    /// and nothing here rests on a key that cannot be guessed: the answer to it only shows that
    /// the server read this very request as one for a WebSocket (RFC 6455 §1.3). So it is enough
    /// that keys differ, and `salt` does between connections as good as always.
    pub(super) fn new(salt: u64, generation: u32) -> Self {
        let mut hash = Sha1::new();
        hash.update(salt.to_be_bytes());
        hash.update(generation.to_be_bytes());
        let [key @ .., _, _, _, _] = <[u8; 20]>::from(hash.finalize());
        Self(key)
    }

    /// The key in a request for a WebSocket; `None` when there is none that can be answered, which
    /// is for the server to tell.
    pub(super) fn of(request: &HttpRequest) -> Option<Self> {
        if !is_websocket(&request.upgrade) {
            return None;
        }
        let mut keys = request.fields.all(KEY);
        // RFC 6455 §11.3.1: once.
        let key = keys.next().filter(|_| keys.next().is_none());
        base64::decode_exactly(key?).map(Self)
    }

    /// Appends the key as it stands in the field.
    pub(super) fn write(self, out: &mut BytesMut) {
        base64::encode(&self.0, out);
    }

    /// Appends the value of `Sec-WebSocket-Accept` to this key (RFC 6455 §4.2.2, 5.4).
    pub(super) fn write_accept(self, out: &mut BytesMut) {
        let mut text = BytesMut::with_capacity(KEY_TEXT_BYTES);
        self.write(&mut text);
        let mut hash = Sha1::new();
        hash.update(&text);
        hash.update(GUID);
        base64::encode(&hash.finalize(), out);
    }

    /// Whether the fields of a response hold the answer to this key, once.
    pub(super) fn is_answered(self, fields: &Fields) -> bool {
        let mut expected = BytesMut::with_capacity(ACCEPT_TEXT_BYTES);
        self.write_accept(&mut expected);
        let mut answers = fields.all(ACCEPT);
        answers.next().is_some_and(|it| *it == expected[..]) && answers.next().is_none()
    }
}

/// Whether this is the protocol that is offered or changed to, and nothing beside it (RFC 6455
/// §4.1: without regard to case).
pub(super) fn is_websocket(upgrade: &[u8]) -> bool {
    upgrade.eq_ignore_ascii_case(b"websocket")
}

/// The field with the key.
pub(super) const KEY: &[u8] = b"Sec-WebSocket-Key";

/// The field with the answer to it.
pub(super) const ACCEPT: &[u8] = b"Sec-WebSocket-Accept";

const KEY_TEXT_BYTES: usize = 24;
const ACCEPT_TEXT_BYTES: usize = 28;

/// RFC 6455 §1.3: what no server that does not know WebSocket would put behind a key.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

#[cfg(test)]
mod tests {
    use super::*;

    fn request(upgrade: &[u8], keys: &[&[u8]]) -> HttpRequest {
        let mut request = HttpRequest { upgrade: upgrade.to_vec(), ..HttpRequest::default() };
        keys.iter().for_each(|it| request.fields.push(b"sec-websocket-key", it));
        request
    }

    #[test]
    fn the_key_of_rfc_6455_has_the_answer_of_rfc_6455() {
        let key = Key::of(&request(b"WebSocket", &[b"dGhlIHNhbXBsZSBub25jZQ=="])).unwrap();
        assert_eq!(&key.0, b"the sample nonce");
        let mut accept = BytesMut::new();
        key.write_accept(&mut accept);
        assert_eq!(&accept[..], b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_key_that_is_none_has_no_answer() {
        let good = &b"dGhlIHNhbXBsZSBub25jZQ=="[..];
        assert_eq!(Key::of(&request(b"x", &[good])), None);
        assert_eq!(Key::of(&request(b"websocket", &[])), None);
        assert_eq!(Key::of(&request(b"websocket", &[good, good])), None);
        assert_eq!(Key::of(&request(b"websocket", &[b"dGhlIHNhbXBsZSBub25jZQ"])), None);
        assert_eq!(Key::of(&request(b"websocket", &[b"dGhl"])), None);
    }

    #[test]
    fn keys_of_our_own_differ_from_request_to_request_and_between_connections() {
        let keys = [Key::new(0, 0), Key::new(0, 1), Key::new(1, 0), Key::new(1, 1)];
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[at + 1..].contains(key));
        }
    }

    #[test]
    fn only_the_right_answer_is_one() {
        let key = Key(*b"the sample nonce");
        let right = &b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="[..];
        for (answers, is_right) in [
            (&[][..], false),
            (&[right][..], true),
            (&[right, right][..], false),
            (&[&b"s3pplmbitxaq9kygzzhzrbk+xoo="[..]][..], false),
        ] {
            let mut fields = Fields::new();
            answers.iter().for_each(|it| fields.push(ACCEPT, it));
            assert_eq!(key.is_answered(&fields), is_right, "{answers:?}");
        }
    }
}
