//! Buffers for output that no connection needs at the moment.

use std::time::Duration;

use bytes::BytesMut;
use hangu_codecs::Time;

/// Empty buffers, lent to connections that begin to write and taken back when they rest. So a
/// worker holds as many as connections are busy at once, however many are open.
#[derive(Debug, Default)]
pub struct Buffers {
    free: Vec<BytesMut>,
    free_bytes: usize,
    /// The fewest that were free since the last trim: so many were not needed.
    fewest_free: usize,
    trimmed_at: Time,
}

impl Buffers {
    /// An empty buffer; allocates when none is free.
    pub fn lend(&mut self) -> BytesMut {
        let Some(buffer) = self.free.pop() else { return BytesMut::with_capacity(BUFFER_BYTES) };
        self.free_bytes = self.free_bytes.saturating_sub(buffer.capacity());
        self.fewest_free = self.fewest_free.min(self.free.len());
        buffer
    }

    /// Takes a buffer back. One that has grown, or is one too many, goes to the allocator.
    pub fn take_back(&mut self, mut buffer: BytesMut) {
        buffer.clear();
        let bytes = self.free_bytes + buffer.capacity();
        if buffer.capacity() >= BUFFER_BYTES / 2 && bytes <= FREE_BYTES_MAX {
            self.free_bytes = bytes;
            self.free.push(buffer);
        }
    }

    /// Gives those to the allocator that nobody has needed for a while. To be called now and then.
    pub fn trim(&mut self, now: Time) {
        if now < self.trimmed_at.after(TRIM_EVERY) {
            return;
        }
        self.trimmed_at = now;
        // Lent are the last ones: the first were not touched.
        self.free.drain(..self.fewest_free.min(self.free.len()));
        self.free_bytes = self.free.iter().map(BytesMut::capacity).sum();
        self.fewest_free = self.free.len();
    }
}

/// Capacity of a new buffer: fits most answers.
const BUFFER_BYTES: usize = 4 * 1024;

/// Capacity of all buffers that are kept, per worker: what two thousand connections need that are
/// busy at once with small answers, or a few that carry much.
const FREE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A buffer that is free goes after this time at least and twice this time at most. A second: long
/// beside the pauses of a connection that is busy, short beside those of one that is idle.
const TRIM_EVERY: Duration = Duration::from_secs(1);

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
        for _ in 0..=2 * FREE_BYTES_MAX / BUFFER_BYTES {
            buffers.take_back(BytesMut::with_capacity(BUFFER_BYTES));
        }
        assert_eq!(buffers.free_bytes, FREE_BYTES_MAX);
        assert_eq!(buffers.free.len(), FREE_BYTES_MAX / BUFFER_BYTES);
        buffers.lend();
        buffers.take_back(BytesMut::with_capacity(2 * BUFFER_BYTES));
        assert_eq!(buffers.free_bytes, FREE_BYTES_MAX - BUFFER_BYTES, "that one was too large");
        buffers.take_back(BytesMut::new());
        assert_eq!(buffers.free.len(), FREE_BYTES_MAX / BUFFER_BYTES - 1);
    }
    #[test]
    fn buffers_that_nobody_needed_are_given_up_and_the_others_stay() {
        let mut buffers = Buffers::default();
        let (start, step) = (Time::from_micros(1_000_000), TRIM_EVERY);
        let lent: Vec<_> = (0..100).map(|_| buffers.lend()).collect();
        lent.into_iter().for_each(|it| buffers.take_back(it));
        buffers.trim(start);
        assert_eq!(buffers.free.len(), 100, "all were needed since the last trim");
        let lent: Vec<_> = (0..30).map(|_| buffers.lend()).collect();
        lent.into_iter().for_each(|it| buffers.take_back(it));
        buffers.trim(start.after(step / 2));
        assert_eq!(buffers.free.len(), 100, "it is not time yet");
        buffers.trim(start.after(step));
        assert_eq!((buffers.free.len(), buffers.free_bytes), (30, 30 * BUFFER_BYTES));
        buffers.trim(start.after(step * 2));
        assert_eq!((buffers.free.len(), buffers.free_bytes), (0, 0));
    }
}
