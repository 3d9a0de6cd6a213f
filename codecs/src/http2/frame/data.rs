//! DATA (RFC 9113 §6.1): content of a message.
//!
//! | bytes | name | when |
//! |---|---|---|
//! | 1 | length of the padding | PADDED |
//! | rest | data | |
//! | as said | padding | PADDED |

use bytes::BytesMut;

use super::{FrameError, FrameHeader, Kind, flag_if, flags, of_stream, padding, payload_length};
use crate::EncodeError;

/// A DATA frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data<'a> {
    /// The stream.
    pub stream: u32,
    /// Whether the sender ends its direction of the stream.
    pub end_stream: bool,
    /// The data.
    pub data: &'a [u8],
    /// What hides the length of the data, up to 255 bytes; `None` without the flag.
    pub padding: Option<&'a [u8]>,
}

impl<'a> Data<'a> {
    /// Reads the payload of a frame with this header.
    ///
    /// # Errors
    /// All of the connection: stream 0; padding that is not there.
    #[inline]
    pub fn read(header: &FrameHeader, payload: &'a [u8]) -> Result<Self, FrameError> {
        let stream = of_stream(header, "data_without_stream")?;
        let (data, padding) = padding::split(header, payload, 0)?;
        Ok(Self { stream, end_stream: header.has(flags::END_STREAM), data, padding })
    }

    /// What the frame takes of the windows of stream and connection (RFC 9113 §6.9.1): the whole
    /// payload, padding and its length included. Give back what is more than the data at once:
    /// nobody else will.
    #[inline]
    pub fn window_bytes(&self) -> usize {
        let padding = self.padding.map_or(0, |it| it.len().saturating_add(1));
        self.data.len().saturating_add(padding)
    }

    /// Appends the frame.
    ///
    /// # Errors
    /// [`EncodeError::WrongLength`]: data or padding are longer than the format can say.
    pub fn write(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        let length = payload_length(&[self.data.len(), padding::bytes(self.padding)?])?;
        let flags = flag_if(self.end_stream, flags::END_STREAM)
            | flag_if(self.padding.is_some(), flags::PADDED);
        FrameHeader { length, kind: Kind::Data, flags, stream: self.stream }.write(out);
        padding::write_length(self.padding, out);
        out.extend_from_slice(self.data);
        out.extend_from_slice(self.padding.unwrap_or_default());
        Ok(())
    }
}

/// Appends the header of a frame without padding whose `length` bytes of data are appended next,
/// by whoever has them: so that large data is shared and not copied. The caller has cut the data to
/// what the peer takes in a frame.
#[inline]
pub fn write_header(stream: u32, end_stream: bool, length: u32, out: &mut BytesMut) {
    let flags = flag_if(end_stream, flags::END_STREAM);
    FrameHeader { length, kind: Kind::Data, flags, stream }.write(out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_pays_for_padding_too() {
        let data = Data { stream: 1, end_stream: false, data: b"abc", padding: None };
        assert_eq!(data.window_bytes(), 3);
        assert_eq!(Data { padding: Some(b""), ..data }.window_bytes(), 4);
        assert_eq!(Data { padding: Some(&[0; 255]), ..data }.window_bytes(), 3 + 256);
    }

    #[test]
    fn what_no_frame_can_say_is_not_written() {
        let mut out = BytesMut::new();
        let data = Data { stream: 1, end_stream: true, data: b"", padding: Some(&[0; 256]) };
        assert_eq!(data.write(&mut out), Err(EncodeError::WrongLength));
        let long = vec![0; 1 << 24];
        let data = Data { data: &long, padding: None, ..data };
        assert_eq!(data.write(&mut out), Err(EncodeError::WrongLength));
        let data = Data { data: &long[1..], padding: Some(b""), ..data };
        assert_eq!(data.write(&mut out), Err(EncodeError::WrongLength));
        assert!(out.is_empty());
    }
}
