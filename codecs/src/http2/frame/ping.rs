//! PING (RFC 9113 §6.7): asks whether the peer is there. The payload is eight bytes that the
//! answer repeats.

use bytes::BytesMut;

use super::{FrameError, FrameHeader, Kind, flag_if, flags, of_connection};
use crate::http2::ErrorCode;

/// A PING frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping {
    /// Whether it is the answer to one.
    pub is_ack: bool,
    /// What the answer repeats.
    pub payload: [u8; 8],
}

impl Ping {
    /// Reads the payload of a frame with this header.
    ///
    /// # Errors
    /// All of the connection: a stream; another length than eight bytes.
    pub fn read(header: &FrameHeader, payload: &[u8]) -> Result<Self, FrameError> {
        of_connection(header, "ping_on_stream")?;
        let payload = payload.try_into().map_err(|_| LENGTH)?;
        Ok(Self { is_ack: header.has(flags::ACK), payload })
    }

    /// Appends the frame.
    pub fn write(&self, out: &mut BytesMut) {
        let flags = flag_if(self.is_ack, flags::ACK);
        FrameHeader { length: 8, kind: Kind::Ping, flags, stream: 0 }.write(out);
        out.extend_from_slice(&self.payload);
    }
}

const LENGTH: FrameError = FrameError::connection(ErrorCode::FrameSizeError, "ping_length");
