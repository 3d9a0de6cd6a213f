//! Streams of HTTP/2 that last for the whole run: numbered messages, which come back as they went.

use crate::{
    content,
    tunnel::{self, BLOCK_BYTES, NUMBER_BYTES},
};

/// What a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A call with messages both ways, each behind its length, and a hash in the trailers, as in
    /// gRPC.
    Call,
    /// Blocks as in a tunnel of HTTP/1.1.
    Socket,
}

/// The trailer with the hash of all that came.
pub(crate) const HASH_FIELD: &[u8] = b"x-hash";

/// A flag and the length of what follows.
const PREFIX_BYTES: usize = 5;

/// The message of this number; that of a call has so many bytes of content.
pub(crate) fn message(kind: Kind, number: u64, bytes: usize) -> Vec<u8> {
    if kind == Kind::Socket {
        return tunnel::block(number);
    }
    let mut message = vec![0];
    message.extend_from_slice(&((NUMBER_BYTES + bytes) as u32).to_be_bytes());
    message.extend_from_slice(&number.to_be_bytes());
    content::append(number, 0, bytes, &mut message);
    message
}

/// Takes the next whole message off the bytes that came.
pub(crate) fn take(kind: Kind, came: &mut Vec<u8>) -> Option<Vec<u8>> {
    let bytes = match kind {
        Kind::Socket => BLOCK_BYTES,
        Kind::Call => {
            let length = came.get(1..PREFIX_BYTES)?.first_chunk::<4>()?;
            PREFIX_BYTES + u32::from_be_bytes(*length) as usize
        }
    };
    (came.len() >= bytes).then(|| came.drain(..bytes).collect())
}

/// The number in a whole message.
pub(crate) fn number(kind: Kind, message: &[u8]) -> Option<u64> {
    let start = if kind == Kind::Call { PREFIX_BYTES } else { 0 };
    message.get(start..)?.first_chunk().map(|it| u64::from_be_bytes(*it))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_however_they_are_cut() {
        for kind in [Kind::Call, Kind::Socket] {
            let whole = [message(kind, 7, 300), message(kind, 8, 0)].concat();
            let (mut came, mut numbers) = (Vec::new(), Vec::new());
            for byte in whole {
                came.push(byte);
                numbers.extend(take(kind, &mut came).and_then(|it| number(kind, &it)));
            }
            assert_eq!((numbers, came.len()), (vec![7, 8], 0));
        }
    }
}
