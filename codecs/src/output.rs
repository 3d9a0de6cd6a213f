//! Bytes that a codec wants to send.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

/// Bytes on their way out, in order: large pieces are kept as they came, small ones are gathered.
///
/// One write for all that is pending is what makes a proxy fast, so there is no "write this now":
/// a codec appends, and the owner of the socket sends everything at once ([`Output::pieces`]).
#[derive(Debug, Default)]
pub struct Output {
    segments: VecDeque<Bytes>,
    segment_bytes: usize,
    tail: BytesMut,
}

/// A piece of this size or more is handed over as it is; below, copying it into the tail costs
/// less than a segment of its own (an entry of the gathering write and a reference count).
/// 64 KiB: measured on loopback, copying is equal or better up to some 10 KiB, and no part of
/// 64 KiB may be copied in user space.
pub const SEGMENT_BYTES_MIN: usize = 64 * 1024;

impl Output {
    /// Appends bytes by copying them.
    pub fn put(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
    }

    /// Appends bytes, copying only what is smaller than [`SEGMENT_BYTES_MIN`].
    pub fn put_bytes(&mut self, bytes: Bytes) {
        if bytes.len() < SEGMENT_BYTES_MIN {
            return self.put(&bytes);
        }
        self.seal();
        self.segment_bytes = self.segment_bytes.saturating_add(bytes.len());
        self.segments.push_back(bytes);
    }

    /// The buffer that gathers small pieces, to be written to directly.
    pub fn tail(&mut self) -> &mut BytesMut {
        &mut self.tail
    }

    /// Bytes pending.
    pub fn len(&self) -> usize {
        self.segment_bytes.saturating_add(self.tail.len())
    }

    /// Whether nothing is pending.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty() && self.tail.is_empty()
    }

    /// Whether all that is pending stands in one contiguous buffer.
    pub fn is_contiguous(&self) -> bool {
        self.segments.is_empty()
    }

    /// Takes all pending bytes as one buffer and leaves `spare` (emptied) to gather the next ones.
    /// Copies when there are segments; see [`Output::is_contiguous`].
    pub fn take(&mut self, mut spare: BytesMut) -> BytesMut {
        spare.clear();
        if self.segments.is_empty() {
            return std::mem::replace(&mut self.tail, spare);
        }
        spare.reserve(self.len());
        for segment in self.segments.drain(..) {
            spare.extend_from_slice(&segment);
        }
        self.segment_bytes = 0;
        spare.extend_from_slice(&self.tail);
        self.tail.clear();
        spare
    }

    /// Moves the pending bytes out as segments, at most `segments_max`; says how many bytes went.
    pub fn take_segments(&mut self, into: &mut Vec<Bytes>, segments_max: usize) -> usize {
        self.seal();
        let mut taken = 0;
        while into.len() < segments_max {
            let Some(segment) = self.segments.pop_front() else { break };
            taken += segment.len();
            into.push(segment);
        }
        self.segment_bytes = self.segment_bytes.saturating_sub(taken);
        taken
    }

    /// The pending bytes in order, piece by piece.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let tail = (!self.tail.is_empty()).then_some(&self.tail[..]);
        self.segments.iter().map(|it| &it[..]).chain(tail)
    }

    /// Takes off `bytes` from the front, which were sent; no more than there are.
    pub fn advance(&mut self, mut bytes: usize) {
        while let Some(segment) = self.segments.front_mut().filter(|_| bytes > 0) {
            let step = bytes.min(segment.len());
            segment.advance(step);
            bytes -= step;
            self.segment_bytes = self.segment_bytes.saturating_sub(step);
            if segment.is_empty() {
                self.segments.pop_front();
            }
        }
        match bytes < self.tail.len() {
            true => self.tail.advance(bytes),
            false => self.tail.clear(),
        }
    }

    /// Forgets what is pending.
    pub fn clear(&mut self) {
        self.segments.clear();
        self.segment_bytes = 0;
        self.tail.clear();
    }

    /// Gives the memory of an empty tail back, so that an idle connection holds none.
    pub fn shrink(&mut self) {
        if self.tail.is_empty() {
            self.tail = BytesMut::new();
        }
        if self.segments.is_empty() {
            self.segments = VecDeque::new();
        }
    }

    /// The pending bytes in order. Segments are shared; what is not sealed ([`Output::seal`]) is
    /// copied.
    pub fn share(&self) -> Vec<Bytes> {
        let tail = (!self.tail.is_empty()).then(|| Bytes::copy_from_slice(&self.tail));
        self.segments.iter().cloned().chain(tail).collect()
    }

    /// Output with these bytes pending; see [`Output::share`].
    pub fn of(pieces: &[Bytes]) -> Self {
        let mut output = Self::default();
        pieces.iter().for_each(|it| output.put_bytes(it.clone()));
        output
    }

    /// Makes a segment of what was gathered, without a copy.
    pub fn seal(&mut self) {
        if self.tail.is_empty() {
            return;
        }
        let sealed = self.tail.split().freeze();
        self.segment_bytes = self.segment_bytes.saturating_add(sealed.len());
        self.segments.push_back(sealed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_kept_between_small_and_large_pieces() {
        let mut output = Output::default();
        output.put(b"head");
        output.put_bytes(Bytes::from(vec![b'x'; SEGMENT_BYTES_MIN]));
        output.put_bytes(Bytes::from_static(b"tail"));
        assert_eq!(output.len(), 8 + SEGMENT_BYTES_MIN);
        assert!(!output.is_contiguous());
        let mut segments = Vec::new();
        assert_eq!(output.take_segments(&mut segments, 64), 8 + SEGMENT_BYTES_MIN);
        assert_eq!(segments.len(), 3);
        assert_eq!(&segments[0][..], b"head");
        assert_eq!(&segments[2][..], b"tail");
        assert!(output.is_empty());
    }

    #[test]
    fn what_was_sent_is_taken_off_and_the_rest_stays_in_order() {
        let all = [&b"head"[..], &[b'x'; SEGMENT_BYTES_MIN], &[b'y'; SEGMENT_BYTES_MIN], b"tail"];
        let whole = all.concat();
        for sent in [0, 1, 4, 5, 4 + SEGMENT_BYTES_MIN, whole.len() - 2, whole.len()] {
            let mut output = Output::default();
            all.iter().for_each(|it| output.put_bytes(Bytes::copy_from_slice(it)));
            output.advance(sent);
            assert_eq!(output.pieces().collect::<Vec<_>>().concat(), whole[sent..], "{sent}");
            assert_eq!(output.len(), whole.len() - sent);
        }
    }

    #[test]
    fn taking_swaps_the_buffers_without_a_copy() {
        let mut output = Output::default();
        output.put(b"one");
        let at = output.tail().as_ptr();
        let taken = output.take(BytesMut::with_capacity(16));
        assert_eq!((taken.as_ptr(), &taken[..]), (at, &b"one"[..]));
        assert_eq!(output.tail().capacity(), 16);
    }
}
