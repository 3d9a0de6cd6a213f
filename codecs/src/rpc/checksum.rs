//! The CRC-32 (IEEE 802.3, as zlib computes it) that ends a checked frame.

use crc32fast::Hasher;

use crate::output::SEGMENT_BYTES_MIN;
use crate::{RpcChecksum, RpcPayload};

/// Bytes of the checksum on the wire, big-endian.
pub(super) const BYTES: usize = 4;

/// The checksum of a frame that lies in one piece, its last four bytes being the checksum. `None`
/// when it is wrong.
pub(super) fn check(frame: &[u8], head_bytes: usize) -> Option<RpcChecksum> {
    let (content, stated) = frame.split_last_chunk::<BYTES>()?;
    let payload = content.get(head_bytes..)?;
    let is_right = crc32fast::hash(content) == u32::from_be_bytes(*stated);
    is_right.then(|| RpcChecksum { payload: crc32fast::hash(payload) })
}

/// The checksum of a frame of which the parts' own checksums are known.
pub(super) fn combine(head: &[u8], payload: u32, payload_bytes: usize) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(head);
    hasher.combine(&Hasher::new_with_initial_len(payload, payload_bytes as u64));
    hasher.finalize()
}

/// The checksum of a frame as it is written. A large payload is not read again if its own
/// checksum is known; a small one is, for that costs less than combining (some 5 µs).
pub(super) fn of_frame(head: &[u8], payload: RpcPayload<'_>, known: Option<RpcChecksum>) -> u32 {
    let payload_bytes = payload.len();
    if let Some(known) = known.filter(|_| payload_bytes >= SEGMENT_BYTES_MIN) {
        return combine(head, known.payload, payload_bytes);
    }
    let mut hasher = Hasher::new();
    hasher.update(head);
    match payload {
        RpcPayload::Slice(bytes) => hasher.update(bytes),
        RpcPayload::Segments(segments) => segments.iter().for_each(|it| hasher.update(it)),
    }
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn combining_equals_hashing_the_whole() {
        let head = b"a head".as_slice();
        let payload = vec![7_u8; SEGMENT_BYTES_MIN + 3];
        let mut whole = head.to_vec();
        whole.extend_from_slice(&payload);
        let known = RpcChecksum { payload: crc32fast::hash(&payload) };
        let segments = [Bytes::from(payload)];
        let segments = RpcPayload::Segments(&segments);
        assert_eq!(of_frame(head, segments, Some(known)), crc32fast::hash(&whole));
        assert_eq!(of_frame(head, segments, None), crc32fast::hash(&whole));
    }
}
