//! Buffers for output that no connection needs at the moment.

use bytes::BytesMut;

/// Empty buffers, lent to connections that begin to write and taken back when they rest. So a
/// worker holds as many as connections are busy at once, however many are open.
#[derive(Debug, Default)]
pub struct Buffers {
    free: Vec<BytesMut>,
}

impl Buffers {
    /// An empty buffer; allocates when none is free.
    pub fn lend(&mut self) -> BytesMut {
        self.free.pop().unwrap_or_else(|| BytesMut::with_capacity(BUFFER_BYTES))
    }

    /// Takes a buffer back. One that has grown, or is one too many, goes to the allocator.
    pub fn take_back(&mut self, mut buffer: BytesMut) {
        buffer.clear();
        let is_kept = (BUFFER_BYTES / 2..=BUFFER_BYTES_MAX).contains(&buffer.capacity());
        if is_kept && self.free.len() < BUFFERS_MAX {
            self.free.push(buffer);
        }
    }
}

/// Capacity of a new buffer: fits most answers.
const BUFFER_BYTES: usize = 4 * 1024;

/// Larger ones are not kept: they would lie under small answers.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// Buffers kept, 16 MiB at most: what so many connections need that are busy at once.
const BUFFERS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_empty_and_is_lent_again() {
        let mut buffers = Buffers::default();
        let mut first = buffers.lend();
        first.extend_from_slice(b"output");
        let at = first.as_ptr();
        buffers.take_back(first);
        let again = buffers.lend();
        assert_eq!((again.as_ptr(), again.len()), (at, 0));
    }

    #[test]
    fn no_more_is_kept_than_the_limits_say() {
        let mut buffers = Buffers::default();
        for _ in 0..2 * BUFFERS_MAX {
            buffers.take_back(BytesMut::with_capacity(BUFFER_BYTES));
        }
        assert_eq!(buffers.free.len(), BUFFERS_MAX);
        let mut buffers = Buffers::default();
        buffers.take_back(BytesMut::with_capacity(2 * BUFFER_BYTES_MAX));
        buffers.take_back(BytesMut::new());
        assert_eq!(buffers.free.len(), 0);
    }
}
