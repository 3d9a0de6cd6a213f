//! Base64 with the standard alphabet and padding (RFC 4648 §4), without a buffer of its own.

use bytes::BytesMut;
use serde::{Deserialize, Serialize};

/// Appends the text of `bytes`, padded to a multiple of four characters.
pub(crate) fn encode(bytes: &[u8], out: &mut BytesMut) {
    out.reserve(bytes.len().div_ceil(3).saturating_mul(4));
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        let text = [character(bits >> 18), character(bits >> 12), character(bits >> 6)];
        let text = [text[0], text[1], text[2], character(bits)];
        let said = group.len().saturating_add(1).min(4);
        out.extend_from_slice(text.get(..said).unwrap_or_default());
        out.extend_from_slice(b"==".get(..4 - said).unwrap_or_default());
    }
}

/// The bytes of a whole text that has exactly `N` of them.
pub(crate) fn decode_exactly<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != N.div_ceil(3).saturating_mul(4) {
        return None;
    }
    let mut bytes = BytesMut::with_capacity(N);
    let mut decoder = Decoder::default();
    decoder.decode(text, &mut bytes).ok()?;
    bytes.get(..).filter(|_| decoder.is_at_end())?.try_into().ok()
}

/// Decodes a text that comes in pieces: texts that each end in padding may follow each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Decoder {
    /// The bits of the group that is not complete, the last ones lowest.
    bits: u32,
    /// Characters of it that came, padding included: 0 to 3.
    count: u8,
    /// Padding among them: 0 or 1.
    padding: u8,
}

/// A character that has no place where it stands, or bits that say nothing and are not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl Decoder {
    /// Appends what a piece of the text says.
    ///
    /// # Errors
    /// See [`Malformed`]; what stands before it was appended.
    pub(crate) fn decode(&mut self, text: &[u8], out: &mut BytesMut) -> Result<(), Malformed> {
        out.reserve(text.len().div_ceil(4).saturating_mul(3));
        for byte in text {
            if *byte == b'=' {
                self.padding = self.padding.saturating_add(1);
                self.bits <<= 6;
            } else {
                // RFC 4648 §3.3: nothing but padding follows padding.
                let value = value(*byte).filter(|_| self.padding == 0).ok_or(Malformed)?;
                self.bits = self.bits << 6 | u32::from(value);
            }
            self.count = self.count.saturating_add(1);
            if self.padding > 0 && self.count < 3 {
                return Err(Malformed);
            }
            if self.count == 4 {
                let [_, bytes @ ..] = self.bits.to_be_bytes();
                let said = 3_usize.saturating_sub(usize::from(self.padding));
                let (bytes, unsaid) = bytes.split_at_checked(said).ok_or(Malformed)?;
                // RFC 4648 §3.5: else two texts would say the same.
                if unsaid.iter().any(|it| *it != 0) {
                    return Err(Malformed);
                }
                out.extend_from_slice(bytes);
                *self = Self::default();
            }
        }
        Ok(())
    }

    /// Whether the text may end here: no group is begun.
    pub(crate) fn is_at_end(&self) -> bool {
        self.count == 0
    }
}

#[expect(clippy::indexing_slicing, reason = "six bits are a place in a table of 64")]
fn character(bits: u32) -> u8 {
    ALPHABET[(bits & 0x3f) as usize]
}

fn value(character: u8) -> Option<u8> {
    match character {
        b'A'..=b'Z' => Some(character - b'A'),
        b'a'..=b'z' => Some(character - b'a' + 26),
        b'0'..=b'9' => Some(character - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(bytes: &[u8]) -> Vec<u8> {
        let mut out = BytesMut::new();
        encode(bytes, &mut out);
        out.to_vec()
    }

    fn decoded(pieces: &[&[u8]]) -> Result<Vec<u8>, Malformed> {
        let mut out = BytesMut::new();
        let mut decoder = Decoder::default();
        for piece in pieces {
            decoder.decode(piece, &mut out)?;
        }
        if decoder.is_at_end() { Ok(out.to_vec()) } else { Err(Malformed) }
    }

    #[test]
    fn the_examples_of_rfc_4648_go_both_ways_however_they_are_cut() {
        for (bytes, text) in [
            (&b""[..], &b""[..]),
            (b"f", b"Zg=="),
            (b"fo", b"Zm8="),
            (b"foo", b"Zm9v"),
            (b"foob", b"Zm9vYg=="),
            (b"fooba", b"Zm9vYmE="),
            (b"foobar", b"Zm9vYmFy"),
            (b"\xff\xfe\xfb\xf0", b"//778A=="),
        ] {
            assert_eq!(encoded(bytes), text);
            for cut in 0..=text.len() {
                assert_eq!(decoded(&[&text[..cut], &text[cut..]]), Ok(bytes.to_vec()));
            }
        }
    }

    #[test]
    fn every_byte_at_every_place_comes_back() {
        for byte in 0..=u8::MAX {
            for bytes in [&[byte][..], &[7, byte], &[7, 9, byte], &[7, 9, 11, byte]] {
                assert_eq!(decoded(&[&encoded(bytes)]), Ok(bytes.to_vec()));
            }
        }
    }

    #[test]
    fn texts_with_padding_follow_each_other() {
        assert_eq!(decoded(&[b"Zg==Zm8=Zm9v", b"Zg=", b"="]), Ok(b"ffofoof".to_vec()));
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for text in [
            &b"Zg"[..],
            b"Zg=",
            b"Z",
            b"=",
            b"Z===",
            b"====",
            b"Zg=g",
            b"Zh==",
            b"Zm9=",
            b"Zm 8",
            b"Zm8=\r\n",
            b"Zm-_",
            b"Zm8\xff",
        ] {
            assert_eq!(decoded(&[text]), Err(Malformed), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn a_text_of_a_known_length_has_that_length() {
        assert_eq!(decode_exactly::<4>(b"//778A=="), Some([0xff, 0xfe, 0xfb, 0xf0]));
        for text in [&b"//778PA="[..], b"//778A", b"Zg==Zg==", b""] {
            assert_eq!(decode_exactly::<4>(text), None, "{}", text.escape_ascii());
        }
    }
}
