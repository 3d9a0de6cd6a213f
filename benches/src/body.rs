//! The bodies that the backend serves and the load expects.

use std::sync::OnceLock;

/// The largest body: 1 MiB.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// The first `bytes` of one fixed pseudo-random text, at most [`BODY_BYTES_MAX`].
///
/// The text does not repeat, so content that was shifted, cut or given twice differs from it.
#[must_use]
pub fn body(bytes: usize) -> &'static [u8] {
    static TEXT: OnceLock<Vec<u8>> = OnceLock::new();
    &TEXT.get_or_init(text)[..bytes.min(BODY_BYTES_MAX)]
}

fn text() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut text = Vec::with_capacity(BODY_BYTES_MAX);
    while text.len() < BODY_BYTES_MAX {
        // xorshift64: period 2^64 - 1, six bits a character.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push(ALPHABET[(state >> 58) as usize]);
    }
    text
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
