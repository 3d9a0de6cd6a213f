//! Requests and answers of which every byte is known to both sides.
//!
//! All of it is digits and letters from `a` to `j`, for `openssl s_client` reads commands in
//! capitals where a request may begin.

use sha2::{Digest, Sha256};

/// Number, bytes of the body, bytes of the answer's body: eight hexadecimal digits each.
const HEAD_BYTES: usize = 24;

/// A SHA-256 in hexadecimal digits.
const DIGEST_BYTES: usize = 64;

/// A message with its head, a body that follows from its number, and the digest of both.
pub(crate) fn message(number: u32, body_bytes: usize, answer_bytes: usize) -> Vec<u8> {
    let mut message = format!("{number:08x}{body_bytes:08x}{answer_bytes:08x}").into_bytes();
    let mut seed = number | 1;
    message.extend((0..body_bytes).map(|_| {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        b'a' + (seed % 10) as u8
    }));
    let digest = digest(&message);
    message.extend_from_slice(digest.as_bytes());
    message
}

/// Number and bytes of the answer of the request at the front, and how long it is; none when it
/// is not there as a whole.
pub(crate) fn request(bytes: &[u8]) -> Option<(u32, usize, usize)> {
    let [number, body_bytes, answer_bytes] = [0, 8, 16].map(|at| {
        let digits = bytes.get(at..at + 8).map(|it| str::from_utf8(it).expect("digits"));
        digits.map(|it| u32::from_str_radix(it, 16).expect("a number"))
    });
    let end = HEAD_BYTES + body_bytes? as usize;
    let expected = bytes.get(end..end + DIGEST_BYTES)?;
    assert_eq!(digest(&bytes[..end]).as_bytes(), expected, "request {number:?} is damaged");
    Some((number?, answer_bytes? as usize, end + DIGEST_BYTES))
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|it| format!("{it:02x}")).collect()
}
