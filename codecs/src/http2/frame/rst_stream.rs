//! RST_STREAM (RFC 9113 §6.4): a stream is given up. The payload is the code, four bytes.

use bytes::{BufMut, BytesMut};
use nom::Parser;
use nom::combinator::all_consuming;
use nom::number::complete::be_u32;

use super::{FrameError, FrameHeader, Kind, Parsed, of_stream};
use crate::http2::ErrorCode;

/// A RST_STREAM frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RstStream {
    /// The stream.
    pub stream: u32,
    /// Why.
    pub code: ErrorCode,
}

impl RstStream {
    /// Reads the payload of a frame with this header.
    ///
    /// # Errors
    /// All of the connection: stream 0; another length than four bytes.
    pub fn read(header: &FrameHeader, payload: &[u8]) -> Result<Self, FrameError> {
        let stream = of_stream(header, "rst_stream_without_stream")?;
        let read: Parsed<'_, _> = all_consuming(be_u32).parse(payload);
        let (_, code) = read.map_err(|_| LENGTH)?;
        Ok(Self { stream, code: code.into() })
    }

    /// Appends the frame.
    pub fn write(&self, out: &mut BytesMut) {
        FrameHeader { length: 4, kind: Kind::RstStream, flags: 0, stream: self.stream }.write(out);
        out.put_u32(self.code.into());
    }
}

const LENGTH: FrameError = FrameError::connection(ErrorCode::FrameSizeError, "rst_stream_length");
