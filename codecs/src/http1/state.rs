//! What both roles remember of an exchange.

use bytes::BytesMut;
use serde::{Deserialize, Serialize};

use crate::http::content::allows_body;
use crate::message::End;
use crate::output::SEGMENT_BYTES_MIN;
use crate::{Data, EncodeError, Error, Fault, Output, Status};

use super::body::Body;
use super::encode;
use super::scan::Scan;
use super::websocket::Key;

/// What of a request decides how the response to it is read or written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asked {
    /// `HEAD`: the response has no body (RFC 9110 §9.3.2).
    pub(super) is_head: bool,
    /// `CONNECT`: a 2xx makes the connection a tunnel (RFC 9110 §9.3.6).
    pub(super) is_connect: bool,
    /// An upgrade was offered: a 101 is a valid answer (RFC 9110 §7.8).
    pub(super) offers_upgrade: bool,
    /// The client speaks HTTP/1.0: no chunks, no informational responses.
    pub(super) is_http10: bool,
    /// The client waits for `100 Continue`, has not been told, and has sent nothing of the body.
    pub(super) awaits_continue: bool,
    /// Server role: the key that the client sent for a WebSocket. Client role: the one that was
    /// written because the request had none.
    pub(super) websocket_key: Option<Key>,
}

impl Asked {
    /// Whether a response with this status has a body. RFC 9112 §6.3, 1 and 2.
    pub(super) fn allows_body(self, status: u16) -> bool {
        allows_body(self.is_head, status)
    }

    /// Whether a response with this status turns the connection into raw bytes.
    pub(super) fn accepts_raw(self, status: u16) -> bool {
        (status == 101 && self.offers_upgrade) || (self.is_connect && (200..300).contains(&status))
    }
}

/// The direction that is received, after its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Incoming {
    /// A body, or what is left of it.
    Body(Body),
    /// A request that offers an upgrade or wants a tunnel: bytes follow if the response accepts.
    Offered,
    /// Bytes of another protocol until the input ends.
    Raw,
    /// Read to its end.
    Ended,
}

/// The direction that is sent, after its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Outgoing {
    /// A body, or what is left of it.
    Body(Framing),
    /// See [`Incoming::Offered`].
    Offered,
    /// Bytes of another protocol until the end.
    Raw,
    /// Written to its end.
    Ended,
}

/// How the end of a body that is sent can be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Framing {
    /// `Content-Length`.
    Sized {
        /// Bytes not yet written.
        left: u64,
    },
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// The connection ends with it.
    UntilClose,
}

impl Outgoing {
    /// Writes a piece of data.
    ///
    /// # Errors
    /// [`EncodeError::WrongLength`] when the data passes or falls short of the declared length,
    /// [`EncodeError::Unfit`] when nothing can follow. Nothing was written.
    pub(super) fn send(
        &mut self,
        data: &Data<'_>,
        end: End,
        output: &mut Output,
    ) -> Result<(), EncodeError> {
        match self {
            Self::Body(Framing::Sized { left }) => {
                let after = (*left).checked_sub(data.len() as u64);
                let after = after.ok_or(EncodeError::WrongLength)?;
                if end == End::Yes && after > 0 {
                    return Err(EncodeError::WrongLength);
                }
                *left = after;
                put(data, output);
            }
            Self::Body(Framing::Chunked) => encode::chunk(data, end, output),
            Self::Body(Framing::UntilClose) | Self::Raw => put(data, output),
            Self::Offered if data.is_empty() => {}
            Self::Offered | Self::Ended => return Err(EncodeError::Unfit),
        }
        if end == End::Yes {
            *self = Self::Ended;
        }
        Ok(())
    }

    /// Whether everything that was announced is written, so that the peer knows where it ends.
    pub(super) fn is_complete(&self) -> bool {
        match self {
            Self::Body(Framing::Sized { left }) => *left == 0,
            Self::Body(Framing::Chunked | Framing::UntilClose) | Self::Raw => false,
            Self::Offered | Self::Ended => true,
        }
    }
}

/// Writes data as it is.
pub(super) fn put(data: &Data<'_>, output: &mut Output) {
    match data {
        Data::Borrowed(bytes) => output.put(bytes),
        Data::Owned(bytes) => output.put_bytes(bytes.clone()),
    }
}

/// Where the reading of the input stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reader {
    /// Bytes at the front of the input that the last event borrowed, with the framing after them.
    pub(super) skip: usize,
    /// How far a head or a trailer section was looked at.
    pub(super) scan: Scan,
    /// The peer will send no more.
    pub(super) has_ended: bool,
}

impl Reader {
    /// Takes off the input what the last event borrowed.
    pub(super) fn advance(&mut self, input: &mut BytesMut) {
        let skip = std::mem::take(&mut self.skip).min(input.len());
        bytes::Buf::advance(input, skip);
    }

    /// The first `bytes` of the input as data; the `after` bytes behind them are framing.
    pub(super) fn data<'a>(
        &mut self,
        input: &'a mut BytesMut,
        bytes: usize,
        after: usize,
    ) -> Data<'a> {
        if bytes >= SEGMENT_BYTES_MIN && bytes <= input.len() {
            self.skip = after;
            return Data::Owned(input.split_to(bytes).freeze());
        }
        self.skip = bytes.saturating_add(after);
        Data::Borrowed(input.get(..bytes).unwrap_or_default())
    }
}

/// [`End::Yes`] if so.
pub(super) fn end_if(is_end: bool) -> End {
    if is_end { End::Yes } else { End::No }
}

/// The same error as a client of the gateway is to be told of it when a server made it.
pub(super) fn blame_upstream(error: Error) -> Error {
    Error { status: Status::UpstreamFailed, ..error }
}

/// An error of malformed bytes.
pub(super) const fn malformed(reason: &'static str) -> Error {
    Error::new(Fault::Malformed, Status::BadRequest, reason)
}

/// The error of fields that are too many or too large.
pub(super) const fn fields_too_large(reason: &'static str) -> Error {
    Error::new(Fault::Limit, Status::FieldsTooLarge, reason)
}
