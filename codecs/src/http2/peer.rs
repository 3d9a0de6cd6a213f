//! What the peer has set (RFC 9113 §6.5.2), with the values that hold until it sets others.

use serde::{Deserialize, Serialize};

use super::frame;
use super::limits::INITIAL_WINDOW;

/// Settings of the peer that decide what is sent to it. Those of field compression stand in the
/// encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Peer {
    /// Streams that it takes at once.
    pub(super) streams_max: u32,
    /// Window of a new stream.
    pub(super) stream_window: u32,
    /// Bytes of the payload of a frame.
    pub(super) payload_bytes_max: u32,
    /// Whether a server takes extended CONNECT (RFC 8441 §3).
    pub(super) takes_extended_connect: bool,
    /// Whether its first SETTINGS have come.
    pub(super) is_known: bool,
}

impl Default for Peer {
    fn default() -> Self {
        Self {
            streams_max: u32::MAX,
            stream_window: INITIAL_WINDOW,
            payload_bytes_max: frame::PAYLOAD_BYTES_MIN,
            takes_extended_connect: false,
            is_known: false,
        }
    }
}
