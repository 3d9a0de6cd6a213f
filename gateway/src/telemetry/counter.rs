//! A number that one thread writes and others read.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter or a level with one writer.
///
/// The writer loads and stores with relaxed order: two plain instructions, where an atomic
/// addition would lock the cache line. Two writers would lose counts (and nothing else), so each
/// worker has counters of its own.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one.
    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    /// Counts `amount`; wraps after 2^64.
    #[inline]
    pub fn add(&self, amount: u64) {
        let value = self.0.load(Ordering::Relaxed);
        self.0.store(value.wrapping_add(amount), Ordering::Relaxed);
    }

    /// Takes `amount` off a level; stops at zero.
    #[inline]
    pub fn subtract(&self, amount: u64) {
        let value = self.0.load(Ordering::Relaxed);
        self.0.store(value.saturating_sub(amount), Ordering::Relaxed);
    }

    /// Takes one off a level; stops at zero.
    #[inline]
    pub fn decrement(&self) {
        self.subtract(1);
    }

    /// Goes on with what another one counted. Both writers stand still.
    pub fn absorb(&self, other: &Self) {
        self.add(other.value());
    }

    /// Sets a level.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value now.
    #[inline]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_never_falls_below_zero() {
        let level = Counter::default();
        level.add(2);
        level.subtract(3);
        assert_eq!(level.value(), 0);
    }

    #[test]
    fn another_thread_sees_what_the_writer_counted() {
        let counter = std::sync::Arc::new(Counter::default());
        let writer = std::sync::Arc::clone(&counter);
        let thread = std::thread::spawn(move || (0..1000).for_each(|_| writer.increment()));
        thread.join().unwrap();
        assert_eq!(counter.value(), 1000);
    }
}
