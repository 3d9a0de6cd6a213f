//! Bodies that are received (RFC 9112 §6).

use bytes::BytesMut;
use serde::{Deserialize, Serialize};

use crate::{Error, Fault, Fields, Status};

use super::chunked::Chunked;
use super::limits::Limits;
use super::state::Reader;

/// A body, or what is left of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Body {
    /// `Content-Length`.
    Sized {
        /// Bytes that have not come yet.
        left: u64,
    },
    /// `Transfer-Encoding: chunked`.
    Chunked(Chunked),
    /// Ends with the input.
    UntilClose,
}

/// What stands at the front of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing that can be taken yet.
    Nothing,
    /// Data.
    Data {
        /// How many bytes of it.
        bytes: usize,
        /// Bytes of framing behind them that are done with.
        after: usize,
        /// Whether the body ends with them.
        is_end: bool,
    },
    /// Trailers, which now stand in the list that was given; the body has ended.
    Trailers,
    /// The body has ended.
    End,
}

impl Body {
    /// Looks at the front of the input and moves on; the caller takes the data off.
    ///
    /// # Errors
    /// The framing is broken, a limit is passed, or the input ended in the middle.
    pub(super) fn read(
        &mut self,
        input: &mut BytesMut,
        reader: &mut Reader,
        trailers: &mut Fields,
        limits: &Limits,
    ) -> Result<Found, Error> {
        match self {
            Self::Sized { left: 0 } => Ok(Found::End),
            Self::Sized { .. } | Self::Chunked(_) if input.is_empty() && reader.has_ended => {
                Err(TRUNCATED)
            }
            Self::Sized { .. } | Self::UntilClose if input.is_empty() && !reader.has_ended => {
                Ok(Found::Nothing)
            }
            Self::Sized { left } => {
                let bytes = take_most(left, input.len());
                Ok(Found::Data { bytes, after: 0, is_end: *left == 0 })
            }
            Self::Chunked(chunked) => {
                match chunked.read(input, &mut reader.scan, trailers, limits)? {
                    Found::Nothing if reader.has_ended => Err(TRUNCATED),
                    found => Ok(found),
                }
            }
            Self::UntilClose if input.is_empty() => Ok(Found::End),
            Self::UntilClose => Ok(Found::Data { bytes: input.len(), after: 0, is_end: false }),
        }
    }
}

/// Takes as much from `left` as is there; says how much that is.
pub(super) fn take_most(left: &mut u64, there: usize) -> usize {
    let bytes = usize::try_from(*left).unwrap_or(usize::MAX).min(there);
    *left = left.saturating_sub(bytes as u64);
    bytes
}

/// RFC 9112 §8: a body that is cut off is no body.
const TRUNCATED: Error = Error::new(Fault::Truncated, Status::BadRequest, "body_truncated");

/// The body of a request is larger than [`Limits::body_bytes_max`].
pub(super) const BODY_TOO_LARGE: Error =
    Error::new(Fault::Limit, Status::BodyTooLarge, "body_too_large");
