//! WINDOW_UPDATE (RFC 9113 §6.9): more may be sent. The payload is the increment, four bytes of
//! which the highest bit is ignored.

use bytes::{BufMut, BytesMut};
use nom::Parser;
use nom::combinator::all_consuming;
use nom::number::complete::be_u32;

use super::{FrameError, FrameHeader, Kind, Parsed, STREAM_MAX};
use crate::http2::ErrorCode;

/// A WINDOW_UPDATE frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowUpdate {
    /// The stream; 0 for the window of the connection.
    pub stream: u32,
    /// Bytes that may be sent in addition, 1 to 2^31-1.
    pub increment: u32,
}

impl WindowUpdate {
    /// Reads the payload of a frame with this header.
    ///
    /// # Errors
    /// Of the connection: another length than four bytes. Of the stream, or of the connection when
    /// it is stream 0: an increment of 0.
    #[inline]
    pub fn read(header: &FrameHeader, payload: &[u8]) -> Result<Self, FrameError> {
        let read: Parsed<'_, _> = all_consuming(be_u32).parse(payload);
        let (_, increment) = read.map_err(|_| LENGTH)?;
        match (header.stream, increment & STREAM_MAX) {
            (0, 0) => Err(CONNECTION_BY_ZERO),
            (_, 0) => Err(STREAM_BY_ZERO),
            (stream, increment) => Ok(Self { stream, increment }),
        }
    }

    /// Appends the frame.
    #[inline]
    pub fn write(&self, out: &mut BytesMut) {
        let stream = self.stream;
        FrameHeader { length: 4, kind: Kind::WindowUpdate, flags: 0, stream }.write(out);
        out.put_u32(self.increment & STREAM_MAX);
    }
}

const LENGTH: FrameError =
    FrameError::connection(ErrorCode::FrameSizeError, "window_update_length");
const CONNECTION_BY_ZERO: FrameError =
    FrameError::connection(ErrorCode::ProtocolError, "window_update_by_zero");
const STREAM_BY_ZERO: FrameError =
    FrameError::stream(ErrorCode::ProtocolError, "window_update_by_zero");
