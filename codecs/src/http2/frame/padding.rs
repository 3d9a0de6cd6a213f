//! Padding (RFC 9113 §6.1): one byte before the content says its length, it itself stands behind.

use bytes::{BufMut, BytesMut};
use nom::number::complete::be_u8;

use super::{FrameError, FrameHeader, Parsed, flags};
use crate::EncodeError;
use crate::http2::ErrorCode;

/// Splits a payload into its content, which begins with `fixed_bytes` that must be there, and the
/// padding; `None` for a frame without.
///
/// The bytes of the padding are not looked at: a receiver need not (§6.1), and they are given to
/// nobody.
///
/// # Errors
/// The content is shorter than `fixed_bytes`, or would be without the padding.
#[inline]
pub(super) fn split<'a>(
    header: &FrameHeader,
    payload: &'a [u8],
    fixed_bytes: usize,
) -> Result<(&'a [u8], Option<&'a [u8]>), FrameError> {
    if !header.has(flags::PADDED) {
        return if payload.len() < fixed_bytes { Err(TOO_SHORT) } else { Ok((payload, None)) };
    }
    let read: Parsed<'_, _> = be_u8(payload);
    let (rest, padding_bytes) = read.map_err(|_| TOO_SHORT)?;
    let room = rest.len().checked_sub(fixed_bytes).ok_or(TOO_SHORT)?;
    if usize::from(padding_bytes) > room {
        return Err(TOO_LONG);
    }
    let content_bytes = rest.len().saturating_sub(usize::from(padding_bytes));
    let (content, padding) = rest.split_at_checked(content_bytes).ok_or(TOO_LONG)?;
    Ok((content, Some(padding)))
}

/// Bytes that a padding adds to a payload, its length included.
///
/// # Errors
/// It is longer than 255 bytes.
pub(super) fn bytes(padding: Option<&[u8]>) -> Result<usize, EncodeError> {
    let Some(padding) = padding else { return Ok(0) };
    let length = u8::try_from(padding.len()).map_err(|_| EncodeError::WrongLength)?;
    Ok(usize::from(length).saturating_add(1))
}

/// Writes the length of a padding that has one ([`bytes`] was asked).
pub(super) fn write_length(padding: Option<&[u8]>, out: &mut BytesMut) {
    if let Some(padding) = padding {
        out.put_u8(u8::try_from(padding.len()).unwrap_or(u8::MAX));
    }
}

/// RFC 9113 §4.2: too small to hold what every such frame holds.
pub(super) const TOO_SHORT: FrameError =
    FrameError::connection(ErrorCode::FrameSizeError, "frame_too_short");
const TOO_LONG: FrameError =
    FrameError::connection(ErrorCode::ProtocolError, "padding_longer_than_payload");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http2::frame::Kind;

    fn of(payload: &[u8], fixed_bytes: usize) -> Result<(usize, usize), &'static str> {
        let header = FrameHeader { length: 0, kind: Kind::Data, flags: flags::PADDED, stream: 1 };
        split(&header, payload, fixed_bytes)
            .map(|(content, padding)| (content.len(), padding.unwrap().len()))
            .map_err(|error| error.reason)
    }

    #[test]
    fn padding_may_leave_nothing_but_the_fixed_part() {
        assert_eq!(of(&[0], 0), Ok((0, 0)));
        assert_eq!(of(&[2, 0, 0], 0), Ok((0, 2)));
        assert_eq!(of(&[1, 7, 0], 1), Ok((1, 1)));
    }

    #[test]
    fn padding_that_reaches_into_the_fixed_part_is_refused() {
        assert_eq!(of(&[3, 0, 0], 0), Err("padding_longer_than_payload"));
        assert_eq!(of(&[255], 0), Err("padding_longer_than_payload"));
        assert_eq!(of(&[2, 7, 0], 1), Err("padding_longer_than_payload"));
    }

    #[test]
    fn a_payload_without_its_fixed_part_is_too_short() {
        for (payload, fixed_bytes) in [(&[][..], 0), (&[0][..], 1), (&[0, 1, 2, 3, 4][..], 5)] {
            assert_eq!(of(payload, fixed_bytes), Err("frame_too_short"), "{payload:?}");
        }
    }
}
