//! A large frame on its way in.

use bytes::{Bytes, BytesMut};
use crc32fast::Hasher;

use super::checksum;
use super::wire::Prefix;
use crate::RpcChecksum;
use crate::output::SEGMENT_BYTES_MIN;

/// A frame whose payload has [`SEGMENT_BYTES_MIN`] or more. The payload is split off the input in
/// pieces of at least that size (the last one may be smaller): nothing is copied, the first piece
/// holds what routing may want to see of it, and memory grows with what came.
#[derive(Debug)]
pub(super) struct Gather<S> {
    pub(super) prefix: Prefix<S>,
    pub(super) head: Bytes,
    pub(super) segments: Vec<Bytes>,
    left: usize,
    payload: Hasher,
}

/// How far a large frame has come.
pub(super) enum Gathered {
    /// More input is needed.
    More,
    /// All is there and the checksum, if any, is right.
    Whole(Option<RpcChecksum>),
    /// All is there and the checksum is wrong.
    Corrupt,
}

impl<S> Gather<S> {
    /// Begins with a head that stands whole at the front of `input`.
    pub(super) fn begin(prefix: Prefix<S>, input: &mut BytesMut) -> Self {
        let head = input.split_to(prefix.head_bytes.min(input.len())).freeze();
        let left = prefix.payload_bytes;
        Self { prefix, head, segments: Vec::new(), left, payload: Hasher::new() }
    }

    /// Goes on with what a snapshot kept. `None` when there is more than the frame has.
    pub(super) fn resume(prefix: Prefix<S>, head: Bytes, segments: Vec<Bytes>) -> Option<Self> {
        let mut payload = Hasher::new();
        let mut left = prefix.payload_bytes;
        for segment in &segments {
            left = left.checked_sub(segment.len())?;
            if prefix.is_checked {
                payload.update(segment);
            }
        }
        (head.len() == prefix.head_bytes).then_some(Self { prefix, head, segments, left, payload })
    }

    /// Takes what is worth taking from the front of `input`.
    pub(super) fn take(&mut self, input: &mut BytesMut) -> Gathered {
        if self.left > 0 {
            if input.len() < self.left.min(SEGMENT_BYTES_MIN) {
                return Gathered::More;
            }
            let piece = input.split_to(self.left.min(input.len())).freeze();
            if self.prefix.is_checked {
                self.payload.update(&piece);
            }
            self.left -= piece.len();
            self.segments.push(piece);
        }
        if self.left > 0 {
            return Gathered::More;
        }
        if !self.prefix.is_checked {
            return Gathered::Whole(None);
        }
        let Some(stated) = input.first_chunk::<{ checksum::BYTES }>().copied() else {
            return Gathered::More;
        };
        drop(input.split_to(checksum::BYTES));
        let payload = self.payload.clone().finalize();
        let whole = checksum::combine(&self.head, payload, self.prefix.payload_bytes);
        if whole != u32::from_be_bytes(stated) {
            return Gathered::Corrupt;
        }
        Gathered::Whole(Some(RpcChecksum { payload }))
    }
}
