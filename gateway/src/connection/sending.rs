//! Output on its way into the kernel.

use bytes::{Buf, Bytes, BytesMut};
use hangu_codecs::Output;

/// Bytes that were taken from a codec's output and are not written yet. A write may take any part
/// of them; what it left goes first the next time.
#[derive(Debug, Default)]
pub enum Sending {
    /// Nothing.
    #[default]
    Nothing,
    /// One buffer.
    Buffer(BytesMut),
    /// Several pieces, large ones among them,.
    Segments(Vec<Bytes>),
}

/// Pieces of one gathering write; the kernel takes up to 1024, and more than some dozens save
/// nothing.
const SEGMENTS_MAX: usize = 64;

impl Sending {
    /// Bytes left.
    pub fn len(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Buffer(buffer) => buffer.len(),
            Self::Segments(segments) => segments.iter().map(Bytes::len).sum(),
        }
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    /// Takes what is pending; `spare` becomes the buffer that gathers meanwhile.
    pub fn take_from(output: &mut Output, spare: BytesMut) -> Self {
        if output.is_empty() {
            return Self::Nothing;
        }
        if output.is_contiguous() {
            return Self::Buffer(output.take(spare));
        }
        let mut segments = Vec::new();
        output.take_segments(&mut segments, SEGMENTS_MAX);
        Self::Segments(segments)
    }

    /// What is left after `written` bytes went, and the emptied buffer when all of it did.
    pub fn advance(self, mut written: usize) -> (Self, Option<BytesMut>) {
        match self {
            Self::Nothing => (Self::Nothing, None),
            Self::Buffer(mut buffer) if written >= buffer.len() => {
                buffer.clear();
                (Self::Nothing, Some(buffer))
            }
            Self::Buffer(mut buffer) => {
                buffer.advance(written);
                (Self::Buffer(buffer), None)
            }
            Self::Segments(mut segments) => {
                let mut gone = 0;
                for segment in &mut segments {
                    let step = written.min(segment.len());
                    segment.advance(step);
                    written -= step;
                    if !segment.is_empty() {
                        break;
                    }
                    gone += 1;
                }
                segments.drain(..gone);
                if segments.is_empty() {
                    return (Self::Nothing, None);
                }
                (Self::Segments(segments), None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_write_leaves_exactly_the_rest() {
        let text = b"abcdefghij";
        for written in 0..=text.len() {
            let buffer = Sending::Buffer(BytesMut::from(&text[..]));
            let segments = Sending::Segments(vec![
                Bytes::from_static(&text[..3]),
                Bytes::from_static(&text[3..4]),
                Bytes::from_static(&text[4..]),
            ]);
            for sending in [buffer, segments] {
                let (rest, _) = sending.advance(written);
                let bytes: Vec<u8> = match &rest {
                    Sending::Nothing => Vec::new(),
                    Sending::Buffer(buffer) => buffer.to_vec(),
                    Sending::Segments(segments) => segments.concat(),
                };
                assert_eq!(bytes, &text[written..]);
                assert_eq!(rest.len(), text.len() - written);
            }
        }
    }
}
