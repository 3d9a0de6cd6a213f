//! Frames (RFC 9113 §4 and §6): bytes in, a typed value that borrows them out, and the way back.
//!
//! Checks all that one frame alone tells: sizes, padding, which frames belong to a stream and which
//! to the connection, values out of range. Never knows what came before: whether the stream is
//! open, whether a field block is under way, how large a frame the settings allow
//! ([`FrameHeader::check_length`] is told).
//!
//! # Layout
//!
//! | offset | bytes | name | meaning |
//! |---|---|---|---|
//! | 0 | 3 | length | bytes of the payload, without these nine |
//! | 3 | 1 | type | [`Kind`] |
//! | 4 | 1 | flags | depends on the type; bits without a meaning are ignored, and written as 0 |
//! | 5 | 4 | stream | 31 bits; the highest is reserved, ignored, and written as 0 |
//! | 9 | length | payload | depends on the type |

pub mod continuation;
pub mod data;
pub mod goaway;
pub mod headers;
mod padding;
pub mod ping;
pub mod priority;
pub mod push_promise;
pub mod rst_stream;
pub mod settings;
pub mod window_update;

use bytes::BytesMut;
use nom::Parser;
use nom::number::complete::{be_u8, be_u24, be_u32};
use serde::{Deserialize, Serialize};

use super::ErrorCode;
use crate::EncodeError;

pub use continuation::Continuation;
pub use data::Data;
pub use goaway::GoAway;
pub use headers::Headers;
pub use ping::Ping;
pub use priority::Priority;
pub use push_promise::PushPromise;
pub use rst_stream::RstStream;
pub use settings::{Setting, Settings};
pub use window_update::WindowUpdate;

/// Bytes of the header that begins every frame (RFC 9113 §4.1).
pub const HEADER_BYTES: usize = 9;

/// The smallest limit of a payload that a peer can set, and the one that holds until it sets
/// another (`SETTINGS_MAX_FRAME_SIZE`, RFC 9113 §6.5.2).
pub const PAYLOAD_BYTES_MIN: u32 = 1 << 14;

/// The longest payload that a header can say, and the largest limit that a peer can set.
pub const PAYLOAD_BYTES_MAX: u32 = (1 << 24) - 1;

/// The largest id of a stream, window and increment: 31 bits.
pub const STREAM_MAX: u32 = (1 << 31) - 1;

/// What a frame is (RFC 9113 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// 0x00
    Data,
    /// 0x01
    Headers,
    /// 0x02
    Priority,
    /// 0x03
    RstStream,
    /// 0x04
    Settings,
    /// 0x05
    PushPromise,
    /// 0x06
    Ping,
    /// 0x07
    GoAway,
    /// 0x08
    WindowUpdate,
    /// 0x09
    Continuation,
    /// Any other. RFC 9113 §4.1: to be ignored, but not within a field block (§6.10).
    Unknown(u8),
}

impl From<u8> for Kind {
    #[inline]
    fn from(number: u8) -> Self {
        match number {
            0x00 => Self::Data,
            0x01 => Self::Headers,
            0x02 => Self::Priority,
            0x03 => Self::RstStream,
            0x04 => Self::Settings,
            0x05 => Self::PushPromise,
            0x06 => Self::Ping,
            0x07 => Self::GoAway,
            0x08 => Self::WindowUpdate,
            0x09 => Self::Continuation,
            other => Self::Unknown(other),
        }
    }
}

impl From<Kind> for u8 {
    #[inline]
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Data => 0x00,
            Kind::Headers => 0x01,
            Kind::Priority => 0x02,
            Kind::RstStream => 0x03,
            Kind::Settings => 0x04,
            Kind::PushPromise => 0x05,
            Kind::Ping => 0x06,
            Kind::GoAway => 0x07,
            Kind::WindowUpdate => 0x08,
            Kind::Continuation => 0x09,
            Kind::Unknown(other) => other,
        }
    }
}

/// The bits of [`FrameHeader::flags`].
pub mod flags {
    /// SETTINGS, PING: an acknowledgement.
    pub const ACK: u8 = 0x01;
    /// DATA, HEADERS: the sender's last frame of the stream, CONTINUATION aside.
    pub const END_STREAM: u8 = 0x01;
    /// HEADERS, PUSH_PROMISE, CONTINUATION: the field block ends with this frame.
    pub const END_HEADERS: u8 = 0x04;
    /// DATA, HEADERS, PUSH_PROMISE: the payload begins with the length of a padding.
    pub const PADDED: u8 = 0x08;
    /// HEADERS: a priority stands before the field block.
    pub const PRIORITY: u8 = 0x20;
}

/// What begins every frame; see the table above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameHeader {
    /// Bytes of the payload, 0 to [`PAYLOAD_BYTES_MAX`].
    pub length: u32,
    /// What the frame is.
    pub kind: Kind,
    /// Bits of [`flags`], those without a meaning as they came.
    pub flags: u8,
    /// The stream, 1 to [`STREAM_MAX`]; 0 for the connection itself.
    pub stream: u32,
}

impl FrameHeader {
    /// Reads the header at the front of `bytes`; `None` when more bytes are needed.
    #[inline]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let read: Parsed<'_, _> = (be_u24, be_u8, be_u8, be_u32).parse(bytes);
        let (_, (length, kind, flags, stream)) = read.ok()?;
        // RFC 9113 §4.1: the reserved bit has no meaning and is ignored.
        Some(Self { length, kind: kind.into(), flags, stream: stream & STREAM_MAX })
    }

    /// Appends the header. Of the length the low 24 bits are written, of the stream the low 31.
    #[inline]
    pub fn write(&self, out: &mut BytesMut) {
        out.extend_from_slice(&self.to_bytes());
    }

    #[inline]
    fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let [_, high, middle, low] = self.length.to_be_bytes();
        let [s1, s2, s3, s4] = (self.stream & STREAM_MAX).to_be_bytes();
        [high, middle, low, self.kind.into(), self.flags, s1, s2, s3, s4]
    }

    /// Whether all bits of a flag are set.
    #[inline]
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag == flag
    }

    /// Checks the length against the limit that this side has set, before the payload is there.
    ///
    /// # Errors
    /// The frame is longer. RFC 9113 §4.2 makes it an error of the connection for most types;
    /// here it is one for all, so that no unwanted payload has to be read to its end.
    #[inline]
    pub fn check_length(&self, payload_bytes_max: u32) -> Result<(), FrameError> {
        if self.length > payload_bytes_max { Err(TOO_LONG) } else { Ok(()) }
    }
}

/// A frame, understood. It borrows the payload that it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Content of a message.
    Data(Data<'a>),
    /// Begins a field block.
    Headers(Headers<'a>),
    /// Means nothing any more; is only checked.
    Priority(priority::Frame),
    /// Gives a stream up.
    RstStream(RstStream),
    /// Tells settings, or acknowledges them.
    Settings(Settings<'a>),
    /// Promises a response that nobody asked for.
    PushPromise(PushPromise<'a>),
    /// Asks for an answer, or is one.
    Ping(Ping),
    /// Ends the connection.
    GoAway(GoAway<'a>),
    /// Opens a window.
    WindowUpdate(WindowUpdate),
    /// Goes on with a field block.
    Continuation(Continuation<'a>),
    /// Of a type that is not known here; to be ignored. The header tells which.
    Unknown,
}

/// Reads the frame with this header and payload, which has the length that the header says.
///
/// # Errors
/// The frame is not well formed; its payload is to be taken off the input all the same if the error
/// is one of the stream.
#[inline]
pub fn read<'a>(header: &FrameHeader, payload: &'a [u8]) -> Result<Frame<'a>, FrameError> {
    if u32::try_from(payload.len()) != Ok(header.length) {
        return Err(PAYLOAD);
    }
    match header.kind {
        Kind::Data => Data::read(header, payload).map(Frame::Data),
        Kind::Headers => Headers::read(header, payload).map(Frame::Headers),
        Kind::Priority => priority::Frame::read(header, payload).map(Frame::Priority),
        Kind::RstStream => RstStream::read(header, payload).map(Frame::RstStream),
        Kind::Settings => Settings::read(header, payload).map(Frame::Settings),
        Kind::PushPromise => PushPromise::read(header, payload).map(Frame::PushPromise),
        Kind::Ping => Ping::read(header, payload).map(Frame::Ping),
        Kind::GoAway => GoAway::read(header, payload).map(Frame::GoAway),
        Kind::WindowUpdate => WindowUpdate::read(header, payload).map(Frame::WindowUpdate),
        Kind::Continuation => Continuation::read(header, payload).map(Frame::Continuation),
        Kind::Unknown(_) => Ok(Frame::Unknown),
    }
}

impl Frame<'_> {
    /// Appends the frame. What was read is written again byte for byte, except for bits without a
    /// meaning. Nothing is written of [`Frame::Unknown`].
    ///
    /// # Errors
    /// [`EncodeError::WrongLength`]: a part is longer than the format can say; nothing was written.
    pub fn write(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        match self {
            Self::Data(frame) => frame.write(out)?,
            Self::Headers(frame) => frame.write(out)?,
            Self::Priority(frame) => frame.write(out),
            Self::RstStream(frame) => frame.write(out),
            Self::Settings(frame) => frame.write(out),
            Self::PushPromise(frame) => frame.write(out)?,
            Self::Ping(frame) => frame.write(out),
            Self::GoAway(frame) => frame.write(out)?,
            Self::WindowUpdate(frame) => frame.write(out),
            Self::Continuation(frame) => frame.write(out)?,
            Self::Unknown => {}
        }
        Ok(())
    }
}

/// A frame that is not well formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct FrameError {
    /// What to tell the peer.
    pub code: ErrorCode,
    /// What ends with it.
    pub scope: Scope,
    /// What is wrong, as a short constant text: also the label of the counter
    /// (`lower_snake_case`).
    pub reason: &'static str,
}

/// What an error ends (RFC 9113 §5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The connection, with GOAWAY.
    Connection,
    /// The stream that the header of the frame names, with RST_STREAM.
    Stream,
}

impl FrameError {
    const fn connection(code: ErrorCode, reason: &'static str) -> Self {
        Self { code, scope: Scope::Connection, reason }
    }

    const fn stream(code: ErrorCode, reason: &'static str) -> Self {
        Self { code, scope: Scope::Stream, reason }
    }
}

/// What a parser of a payload gives. It fails in one way only: there are too few bytes.
type Parsed<'a, T> = nom::IResult<&'a [u8], T, ()>;

/// Checks that a frame is one of a stream (RFC 9113 §6: otherwise an error of the connection).
#[inline]
fn of_stream(header: &FrameHeader, reason: &'static str) -> Result<u32, FrameError> {
    match header.stream {
        0 => Err(FrameError::connection(ErrorCode::ProtocolError, reason)),
        stream => Ok(stream),
    }
}

/// Checks that a frame is one of the connection.
#[inline]
fn of_connection(header: &FrameHeader, reason: &'static str) -> Result<(), FrameError> {
    match header.stream {
        0 => Ok(()),
        _ => Err(FrameError::connection(ErrorCode::ProtocolError, reason)),
    }
}

/// Bytes of a payload, if a header can say so many.
fn payload_length(parts: &[usize]) -> Result<u32, EncodeError> {
    let bytes = parts.iter().try_fold(0_usize, |sum, it| sum.checked_add(*it));
    let bytes = bytes.and_then(|it| u32::try_from(it).ok());
    bytes.filter(|it| *it <= PAYLOAD_BYTES_MAX).ok_or(EncodeError::WrongLength)
}

/// A flag, if so.
#[inline]
fn flag_if(is_set: bool, flag: u8) -> u8 {
    if is_set { flag } else { 0 }
}

const TOO_LONG: FrameError = FrameError::connection(ErrorCode::FrameSizeError, "frame_too_long");
const PAYLOAD: FrameError = FrameError::connection(ErrorCode::FrameSizeError, "frame_truncated");
