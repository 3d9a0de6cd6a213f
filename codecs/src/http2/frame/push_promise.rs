//! PUSH_PROMISE (RFC 9113 §6.6): a response that nobody asked for. Only read, to be refused: no
//! side here allows pushes.
//!
//! | bytes | name | when |
//! |---|---|---|
//! | 1 | length of the padding | PADDED |
//! | 4 | promised stream | the highest bit is ignored |
//! | rest | fragment of the field block | |
//! | as said | padding | PADDED |

use bytes::{BufMut, BytesMut};
use nom::number::complete::be_u32;

use super::{
    FrameError, FrameHeader, Kind, Parsed, STREAM_MAX, flag_if, flags, of_stream, padding,
    payload_length,
};
use crate::EncodeError;
use crate::http2::ErrorCode;

/// A PUSH_PROMISE frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PushPromise<'a> {
    /// The stream whose request the promise belongs to.
    pub stream: u32,
    /// Whether the field block ends with this frame; otherwise nothing but CONTINUATION follows.
    pub end_headers: bool,
    /// The stream that the response will have, an even number.
    pub promised: u32,
    /// What there is of the field block.
    pub fragment: &'a [u8],
    /// What hides the length of the fragment, up to 255 bytes; `None` without the flag.
    pub padding: Option<&'a [u8]>,
}

impl<'a> PushPromise<'a> {
    /// Reads the payload of a frame with this header.
    ///
    /// # Errors
    /// All of the connection: stream 0; too few bytes; padding that is not there; a promised stream
    /// that no server can open.
    pub fn read(header: &FrameHeader, payload: &'a [u8]) -> Result<Self, FrameError> {
        let stream = of_stream(header, "push_promise_without_stream")?;
        let (content, padding) = padding::split(header, payload, PROMISED_BYTES)?;
        let read: Parsed<'_, _> = be_u32(content);
        let (fragment, promised) = read.map_err(|_| padding::TOO_SHORT)?;
        let promised = promised & STREAM_MAX;
        // RFC 9113 §5.1.1: streams that a server opens have even numbers.
        if promised == 0 || promised % 2 == 1 {
            return Err(PROMISED);
        }
        let end_headers = header.has(flags::END_HEADERS);
        Ok(Self { stream, end_headers, promised, fragment, padding })
    }

    /// Appends the frame.
    ///
    /// # Errors
    /// [`EncodeError::WrongLength`]: fragment or padding are longer than the format can say.
    pub fn write(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        let parts = [PROMISED_BYTES, self.fragment.len(), padding::bytes(self.padding)?];
        let length = payload_length(&parts)?;
        let flags = flag_if(self.end_headers, flags::END_HEADERS)
            | flag_if(self.padding.is_some(), flags::PADDED);
        FrameHeader { length, kind: Kind::PushPromise, flags, stream: self.stream }.write(out);
        padding::write_length(self.padding, out);
        out.put_u32(self.promised & STREAM_MAX);
        out.extend_from_slice(self.fragment);
        out.extend_from_slice(self.padding.unwrap_or_default());
        Ok(())
    }
}

const PROMISED_BYTES: usize = 4;

const PROMISED: FrameError =
    FrameError::connection(ErrorCode::ProtocolError, "push_promise_of_wrong_stream");
