//! CONTINUATION (RFC 9113 §6.10): more of a field block. The whole payload is a fragment.

use bytes::BytesMut;

use super::{FrameError, FrameHeader, Kind, flag_if, flags, of_stream, payload_length};
use crate::EncodeError;

/// A CONTINUATION frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Continuation<'a> {
    /// The stream.
    pub stream: u32,
    /// Whether the field block ends with this frame.
    pub end_headers: bool,
    /// More of the field block.
    pub fragment: &'a [u8],
}

impl<'a> Continuation<'a> {
    /// Reads the payload of a frame with this header.
    ///
    /// # Errors
    /// Of the connection: stream 0.
    #[inline]
    pub fn read(header: &FrameHeader, payload: &'a [u8]) -> Result<Self, FrameError> {
        let stream = of_stream(header, "continuation_without_stream")?;
        Ok(Self { stream, end_headers: header.has(flags::END_HEADERS), fragment: payload })
    }

    /// Appends the frame.
    ///
    /// # Errors
    /// [`EncodeError::WrongLength`]: the fragment is longer than the format can say.
    pub fn write(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        payload_length(&[self.fragment.len()])?;
        write_fragment(self.stream, self.end_headers, self.fragment, out);
        Ok(())
    }
}

/// The caller has cut the fragment to what a header can say.
pub(super) fn write_fragment(stream: u32, end_headers: bool, fragment: &[u8], out: &mut BytesMut) {
    let flags = flag_if(end_headers, flags::END_HEADERS);
    let length = u32::try_from(fragment.len()).unwrap_or(u32::MAX);
    FrameHeader { length, kind: Kind::Continuation, flags, stream }.write(out);
    out.extend_from_slice(fragment);
}
