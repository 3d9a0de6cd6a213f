//! PRIORITY (RFC 9113 §6.3), and the same five bytes in HEADERS (§6.2).
//!
//! | bytes | name | meaning |
//! |---|---|---|
//! | 4 | dependency | the highest bit says whether it is exclusive |
//! | 1 | weight | one less than it |
//!
//! RFC 9113 §5.3.2 gives them no meaning any more; they are read, checked, and left.

use bytes::{BufMut, BytesMut};
use nom::Parser;
use nom::number::complete::{be_u8, be_u32};

use super::{FrameError, FrameHeader, Kind, Parsed, STREAM_MAX, of_stream};
use crate::http2::ErrorCode;

/// What RFC 7540 §5.3 took for the priority of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priority {
    /// The stream that comes before, 0 for none.
    pub dependency: u32,
    /// Whether all others that depend on it depend on this stream from now on.
    pub is_exclusive: bool,
    /// One less than the weight, 0 to 255, as on the wire.
    pub weight_minus_one: u8,
}

/// Bytes of a priority.
pub(super) const BYTES: usize = 5;

impl Priority {
    pub(super) fn read(input: &[u8]) -> Parsed<'_, Self> {
        let (rest, (dependency, weight_minus_one)) = (be_u32, be_u8).parse(input)?;
        let is_exclusive = dependency > STREAM_MAX;
        let dependency = dependency & STREAM_MAX;
        Ok((rest, Self { dependency, is_exclusive, weight_minus_one }))
    }

    pub(super) fn write(self, out: &mut BytesMut) {
        let exclusive = if self.is_exclusive { STREAM_MAX + 1 } else { 0 };
        out.put_u32(self.dependency & STREAM_MAX | exclusive);
        out.put_u8(self.weight_minus_one);
    }

    /// RFC 7540 §5.3.1: a stream that depends on itself is an error of the stream. RFC 9113 does
    /// not speak of it any more; peers and their tests still do.
    ///
    /// # Errors
    /// The stream depends on itself.
    pub fn check(self, stream: u32) -> Result<(), FrameError> {
        if self.dependency == stream { Err(ON_ITSELF) } else { Ok(()) }
    }
}

/// A PRIORITY frame. It may come for a stream in any state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The stream.
    pub stream: u32,
    /// Its priority.
    pub priority: Priority,
}

impl Frame {
    /// Reads the payload of a frame with this header.
    ///
    /// # Errors
    /// Of the connection: stream 0. Of the stream: another length than five bytes; a stream that
    /// depends on itself.
    pub fn read(header: &FrameHeader, payload: &[u8]) -> Result<Self, FrameError> {
        let stream = of_stream(header, "priority_without_stream")?;
        let (rest, priority) = Priority::read(payload).map_err(|_| LENGTH)?;
        if !rest.is_empty() {
            return Err(LENGTH);
        }
        priority.check(stream)?;
        Ok(Self { stream, priority })
    }

    /// Appends the frame.
    pub fn write(&self, out: &mut BytesMut) {
        FrameHeader { length: 5, kind: Kind::Priority, flags: 0, stream: self.stream }.write(out);
        self.priority.write(out);
    }
}

const LENGTH: FrameError = FrameError::stream(ErrorCode::FrameSizeError, "priority_length");
const ON_ITSELF: FrameError =
    FrameError::stream(ErrorCode::ProtocolError, "priority_depends_on_itself");
