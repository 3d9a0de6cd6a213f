//! SETTINGS (RFC 9113 §6.5): what the sender takes from now on, or that it has seen what the
//! receiver takes.
//!
//! The payload is a list of settings of six bytes each: the number of the setting (2) and its
//! value (4). A setting may stand in it more than once; they hold one after the other.

use bytes::{BufMut, BytesMut};
use nom::Parser;
use nom::number::complete::{be_u16, be_u32};

use super::{
    FrameError, FrameHeader, Kind, PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MIN, Parsed, STREAM_MAX, flags,
    of_connection,
};
use crate::http2::ErrorCode;

/// A SETTINGS frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settings<'a> {
    /// The peer has applied what was sent to it.
    Ack,
    /// Settings, to be applied in order and acknowledged.
    Values(Values<'a>),
}

impl<'a> Settings<'a> {
    /// Reads the payload of a frame with this header.
    ///
    /// # Errors
    /// All of the connection: a stream; an acknowledgement with a payload; a length that is no
    /// multiple of six bytes; a value that its setting does not take (RFC 9113 §6.5.2, RFC 8441
    /// §3).
    pub fn read(header: &FrameHeader, payload: &'a [u8]) -> Result<Self, FrameError> {
        of_connection(header, "settings_on_stream")?;
        match (header.has(flags::ACK), payload) {
            (true, []) => Ok(Self::Ack),
            (true, _) => Err(ACK_WITH_PAYLOAD),
            (false, payload) => Values::read(payload).map(Self::Values),
        }
    }

    /// Appends the frame.
    pub fn write(&self, out: &mut BytesMut) {
        match self {
            Self::Ack => write_ack(out),
            Self::Values(values) => {
                write_header(values.payload.len(), out);
                out.extend_from_slice(values.payload);
            }
        }
    }
}

/// The settings of a frame, all of them checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Values<'a> {
    payload: &'a [u8],
}

impl<'a> Values<'a> {
    fn read(payload: &'a [u8]) -> Result<Self, FrameError> {
        let mut rest = payload;
        while !rest.is_empty() {
            let (after, (id, value)) = entry(rest).map_err(|_| LENGTH)?;
            Setting::read(id, value)?;
            rest = after;
        }
        Ok(Self { payload })
    }

    /// How many settings there are, those that are not known included.
    pub fn len(&self) -> usize {
        self.payload.len() / SETTING_BYTES
    }

    /// Whether there is none; to be acknowledged all the same.
    pub fn is_empty(&self) -> bool {
        self.payload.is_empty()
    }

    /// The settings in order, those that are not known included.
    pub fn iter(&self) -> impl Iterator<Item = Setting> + use<'a> {
        let mut rest = self.payload;
        std::iter::from_fn(move || {
            let (after, (id, value)) = entry(rest).ok()?;
            rest = after;
            // All were checked when the frame was read.
            Setting::read(id, value).ok()
        })
    }
}

/// One setting (RFC 9113 §6.5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// 0x01: bytes of the dynamic table that field blocks to the sender may use. At first 4,096.
    HeaderTableSize(u32),
    /// 0x02: whether the receiver may send PUSH_PROMISE. At first true; a server says false or
    /// nothing.
    EnablePush(bool),
    /// 0x03: streams that the receiver may have open. At first without limit; 0 is allowed.
    MaxConcurrentStreams(u32),
    /// 0x04: bytes that may be sent on a stream before a WINDOW_UPDATE, up to 2^31-1. At first
    /// 65,535.
    InitialWindowSize(u32),
    /// 0x05: bytes of the largest payload that the sender takes, [`PAYLOAD_BYTES_MIN`] to
    /// [`PAYLOAD_BYTES_MAX`]. At first the former.
    MaxFrameSize(u32),
    /// 0x06: bytes of the largest field list that the sender takes, names and values and 32 for
    /// each field. At first without limit; a hint only.
    MaxHeaderListSize(u32),
    /// 0x08: whether a server takes extended CONNECT (RFC 8441 §3). At first false; may not go back
    /// to it.
    EnableConnectProtocol(bool),
    /// Any other; to be ignored.
    Unknown {
        /// Its number.
        id: u16,
        /// Its value.
        value: u32,
    },
}

impl Setting {
    fn read(id: u16, value: u32) -> Result<Self, FrameError> {
        Ok(match id {
            0x01 => Self::HeaderTableSize(value),
            0x02 => Self::EnablePush(switch(value).ok_or(ENABLE_PUSH)?),
            0x03 => Self::MaxConcurrentStreams(value),
            0x04 if value > STREAM_MAX => return Err(INITIAL_WINDOW_SIZE),
            0x04 => Self::InitialWindowSize(value),
            0x05 if !(PAYLOAD_BYTES_MIN..=PAYLOAD_BYTES_MAX).contains(&value) => {
                return Err(MAX_FRAME_SIZE);
            }
            0x05 => Self::MaxFrameSize(value),
            0x06 => Self::MaxHeaderListSize(value),
            0x08 => Self::EnableConnectProtocol(switch(value).ok_or(ENABLE_CONNECT_PROTOCOL)?),
            id => Self::Unknown { id, value },
        })
    }

    /// Number and value, as on the wire.
    pub fn parts(self) -> (u16, u32) {
        match self {
            Self::HeaderTableSize(value) => (0x01, value),
            Self::EnablePush(value) => (0x02, value.into()),
            Self::MaxConcurrentStreams(value) => (0x03, value),
            Self::InitialWindowSize(value) => (0x04, value),
            Self::MaxFrameSize(value) => (0x05, value),
            Self::MaxHeaderListSize(value) => (0x06, value),
            Self::EnableConnectProtocol(value) => (0x08, value.into()),
            Self::Unknown { id, value } => (id, value),
        }
    }
}

/// Appends a frame with these settings.
pub fn write(settings: &[Setting], out: &mut BytesMut) {
    write_header(settings.len().saturating_mul(SETTING_BYTES), out);
    for setting in settings {
        let (id, value) = setting.parts();
        out.put_u16(id);
        out.put_u32(value);
    }
}

/// Appends an acknowledgement.
pub fn write_ack(out: &mut BytesMut) {
    FrameHeader { length: 0, kind: Kind::Settings, flags: flags::ACK, stream: 0 }.write(out);
}

fn write_header(bytes: usize, out: &mut BytesMut) {
    let length = u32::try_from(bytes).unwrap_or(PAYLOAD_BYTES_MAX);
    FrameHeader { length, kind: Kind::Settings, flags: 0, stream: 0 }.write(out);
}

fn entry(input: &[u8]) -> Parsed<'_, (u16, u32)> {
    (be_u16, be_u32).parse(input)
}

fn switch(value: u32) -> Option<bool> {
    match value {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

const SETTING_BYTES: usize = 6;

const LENGTH: FrameError = FrameError::connection(ErrorCode::FrameSizeError, "settings_length");
const ACK_WITH_PAYLOAD: FrameError =
    FrameError::connection(ErrorCode::FrameSizeError, "settings_ack_with_payload");
const ENABLE_PUSH: FrameError =
    FrameError::connection(ErrorCode::ProtocolError, "settings_enable_push");
const INITIAL_WINDOW_SIZE: FrameError =
    FrameError::connection(ErrorCode::FlowControlError, "settings_initial_window_size");
const MAX_FRAME_SIZE: FrameError =
    FrameError::connection(ErrorCode::ProtocolError, "settings_max_frame_size");
const ENABLE_CONNECT_PROTOCOL: FrameError =
    FrameError::connection(ErrorCode::ProtocolError, "settings_enable_connect_protocol");
