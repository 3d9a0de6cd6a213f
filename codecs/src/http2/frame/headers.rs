//! HEADERS (RFC 9113 §6.2): the beginning of a field block, and the writing of whole blocks.
//!
//! | bytes | name | when |
//! |---|---|---|
//! | 1 | length of the padding | PADDED |
//! | 5 | [`Priority`] | PRIORITY |
//! | rest | fragment of the field block | |
//! | as said | padding | PADDED |

use bytes::BytesMut;

use super::{
    FrameError, FrameHeader, HEADER_BYTES, Kind, PAYLOAD_BYTES_MAX, Priority, continuation,
    flag_if, flags, of_stream, padding, payload_length, priority,
};
use crate::EncodeError;

/// A HEADERS frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers<'a> {
    /// The stream.
    pub stream: u32,
    /// Whether the sender ends its direction of the stream.
    pub end_stream: bool,
    /// Whether the field block ends with this frame; otherwise nothing but CONTINUATION follows.
    pub end_headers: bool,
    /// A priority, which means nothing any more.
    pub priority: Option<Priority>,
    /// What there is of the field block.
    pub fragment: &'a [u8],
    /// What hides the length of the fragment, up to 255 bytes; `None` without the flag.
    pub padding: Option<&'a [u8]>,
}

impl<'a> Headers<'a> {
    /// Reads the payload of a frame with this header.
    ///
    /// # Errors
    /// All of the connection: stream 0; too few bytes; padding that is not there. An error of the
    /// stream alone would lose the field block, and with it the state of field compression: ask
    /// [`Headers::check`] for it when the block is decoded.
    #[inline]
    pub fn read(header: &FrameHeader, payload: &'a [u8]) -> Result<Self, FrameError> {
        let stream = of_stream(header, "headers_without_stream")?;
        let has_priority = header.has(flags::PRIORITY);
        let fixed_bytes = if has_priority { priority::BYTES } else { 0 };
        let (content, padding) = padding::split(header, payload, fixed_bytes)?;
        let (fragment, priority) = if has_priority {
            let (fragment, priority) = Priority::read(content).map_err(|_| padding::TOO_SHORT)?;
            (fragment, Some(priority))
        } else {
            (content, None)
        };
        Ok(Self {
            stream,
            end_stream: header.has(flags::END_STREAM),
            end_headers: header.has(flags::END_HEADERS),
            priority,
            fragment,
            padding,
        })
    }

    /// What is wrong with the stream, though the field block is to be decoded all the same
    /// (RFC 9113 §4.3).
    ///
    /// # Errors
    /// The stream depends on itself.
    #[inline]
    pub fn check(&self) -> Result<(), FrameError> {
        self.priority.map_or(Ok(()), |it| it.check(self.stream))
    }

    /// Appends the frame.
    ///
    /// # Errors
    /// [`EncodeError::WrongLength`]: fragment or padding are longer than the format can say.
    pub fn write(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        let priority_bytes = self.priority.map_or(0, |_| priority::BYTES);
        let parts = [priority_bytes, self.fragment.len(), padding::bytes(self.padding)?];
        let length = payload_length(&parts)?;
        let flags = flag_if(self.end_stream, flags::END_STREAM)
            | flag_if(self.end_headers, flags::END_HEADERS)
            | flag_if(self.padding.is_some(), flags::PADDED)
            | flag_if(self.priority.is_some(), flags::PRIORITY);
        FrameHeader { length, kind: Kind::Headers, flags, stream: self.stream }.write(out);
        padding::write_length(self.padding, out);
        if let Some(priority) = self.priority {
            priority.write(out);
        }
        out.extend_from_slice(self.fragment);
        out.extend_from_slice(self.padding.unwrap_or_default());
        Ok(())
    }
}

/// Appends a whole field block: HEADERS, and as many CONTINUATION as it takes with at most
/// `payload_bytes_max` bytes in each (what the peer's `SETTINGS_MAX_FRAME_SIZE` says).
pub fn write_block(
    stream: u32,
    end_stream: bool,
    block: &[u8],
    payload_bytes_max: u32,
    out: &mut BytesMut,
) {
    let bytes_max = payload_bytes_max.clamp(1, PAYLOAD_BYTES_MAX) as usize;
    let (first, mut rest) = block.split_at_checked(bytes_max).unwrap_or((block, b""));
    header(stream, end_stream, rest.is_empty(), first.len()).write(out);
    out.extend_from_slice(first);
    while !rest.is_empty() {
        let (fragment, after) = rest.split_at_checked(bytes_max).unwrap_or((rest, b""));
        continuation::write_fragment(stream, after.is_empty(), fragment, out);
        rest = after;
    }
}

/// A field block that is being written straight to the output: [`Block::begin`] leaves room for the
/// header, the block is appended, [`Block::end`] fills the header in. So a block that fits into
/// one frame is never copied.
#[derive(Debug)]
#[must_use = "the frame has no header until it is ended"]
pub struct Block {
    start: usize,
}

impl Block {
    /// Begins a block at the end of the output.
    pub fn begin(out: &mut BytesMut) -> Self {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER_BYTES]);
        Self { start }
    }

    /// Takes what was begun off the output again.
    pub fn abandon(self, out: &mut BytesMut) {
        out.truncate(self.start);
    }

    /// Ends the block; see [`write_block`].
    pub fn end(self, stream: u32, end_stream: bool, payload_bytes_max: u32, out: &mut BytesMut) {
        let block_start = self.start.saturating_add(HEADER_BYTES).min(out.len());
        let bytes = out.len().saturating_sub(block_start);
        if bytes > payload_bytes_max.min(PAYLOAD_BYTES_MAX) as usize {
            let block = out.split_off(block_start);
            out.truncate(self.start);
            return write_block(stream, end_stream, &block, payload_bytes_max, out);
        }
        if let Some(place) = out.get_mut(self.start..block_start) {
            place.copy_from_slice(&header(stream, end_stream, true, bytes).to_bytes());
        }
    }
}

/// The header of a frame without padding and priority. The caller has cut the fragment to what a
/// header can say.
fn header(stream: u32, end_stream: bool, end_headers: bool, bytes: usize) -> FrameHeader {
    let flags = flag_if(end_stream, flags::END_STREAM) | flag_if(end_headers, flags::END_HEADERS);
    let length = u32::try_from(bytes).unwrap_or(PAYLOAD_BYTES_MAX);
    FrameHeader { length, kind: Kind::Headers, flags, stream }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: &[u8] = b"0123456789";

    #[test]
    fn a_block_is_cut_to_what_the_peer_takes() {
        for (bytes_max, expected) in [
            (10, &b"\0\0\x0a\x01\x05\0\0\0\x030123456789"[..]),
            (9, b"\0\0\x09\x01\x01\0\0\0\x03012345678\0\0\x01\x09\x04\0\0\0\x039"),
            (5, b"\0\0\x05\x01\x01\0\0\0\x0301234\0\0\x05\x09\x04\0\0\0\x0356789"),
            (
                4,
                b"\0\0\x04\x01\x01\0\0\0\x030123\0\0\x04\x09\0\0\0\0\x034567\
                  \0\0\x02\x09\x04\0\0\0\x0389",
            ),
        ] {
            let mut out = BytesMut::new();
            write_block(3, true, BLOCK, bytes_max, &mut out);
            assert_eq!(out, expected, "{bytes_max}");
        }
    }

    #[test]
    fn a_block_in_place_is_the_same_and_is_not_copied() {
        for bytes_max in [0, 1, 3, 9, 10, 11, 16_384, u32::MAX] {
            let mut expected = BytesMut::from(&b"before"[..]);
            write_block(7, false, BLOCK, bytes_max, &mut expected);
            let mut out = BytesMut::with_capacity(64);
            out.extend_from_slice(b"before");
            let block = Block::begin(&mut out);
            out.extend_from_slice(BLOCK);
            let place = out[out.len() - BLOCK.len()..].as_ptr();
            block.end(7, false, bytes_max, &mut out);
            assert_eq!(out, expected, "{bytes_max}");
            if bytes_max >= 10 {
                assert_eq!(out[out.len() - BLOCK.len()..].as_ptr(), place);
            }
        }
    }

    #[test]
    fn an_empty_block_is_a_frame_too() {
        let mut out = BytesMut::new();
        write_block(1, true, b"", 16_384, &mut out);
        assert_eq!(&out[..], b"\0\0\0\x01\x05\0\0\0\x01");
    }

    #[test]
    fn what_was_begun_can_be_taken_back() {
        let mut out = BytesMut::from(&b"before"[..]);
        let block = Block::begin(&mut out);
        out.extend_from_slice(BLOCK);
        block.abandon(&mut out);
        assert_eq!(&out[..], b"before");
    }
}
