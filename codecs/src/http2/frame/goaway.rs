//! GOAWAY (RFC 9113 §6.8): no stream after the last one named is or will be handled.
//!
//! | bytes | name | meaning |
//! |---|---|---|
//! | 4 | last stream | the highest bit is ignored |
//! | 4 | code | why |
//! | rest | debug data | for people only |

use bytes::{BufMut, BytesMut};
use nom::Parser;
use nom::number::complete::be_u32;

use super::{FrameError, FrameHeader, Kind, Parsed, STREAM_MAX, of_connection, payload_length};
use crate::EncodeError;
use crate::http2::ErrorCode;

/// A GOAWAY frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoAway<'a> {
    /// The last stream of the receiver that was or may yet be handled; those above were not
    /// touched and may be tried again elsewhere. 2^31-1 when none is refused yet.
    pub last_stream: u32,
    /// Why.
    pub code: ErrorCode,
    /// For people only; may hold what does not belong in a log.
    pub debug: &'a [u8],
}

impl<'a> GoAway<'a> {
    /// Reads the payload of a frame with this header.
    ///
    /// # Errors
    /// All of the connection: a stream; fewer than eight bytes.
    pub fn read(header: &FrameHeader, payload: &'a [u8]) -> Result<Self, FrameError> {
        of_connection(header, "goaway_on_stream")?;
        let read: Parsed<'_, _> = (be_u32, be_u32).parse(payload);
        let (debug, (last_stream, code)) = read.map_err(|_| LENGTH)?;
        Ok(Self { last_stream: last_stream & STREAM_MAX, code: code.into(), debug })
    }

    /// Appends the frame.
    ///
    /// # Errors
    /// [`EncodeError::WrongLength`]: the debug data is longer than the format can say.
    pub fn write(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        let length = payload_length(&[8, self.debug.len()])?;
        FrameHeader { length, kind: Kind::GoAway, flags: 0, stream: 0 }.write(out);
        out.put_u32(self.last_stream & STREAM_MAX);
        out.put_u32(self.code.into());
        out.extend_from_slice(self.debug);
        Ok(())
    }
}

const LENGTH: FrameError = FrameError::connection(ErrorCode::FrameSizeError, "goaway_length");
