//! Windows: how much either side may send (RFC 9113 §5.2 and §6.9).

use serde::{Deserialize, Serialize};

use super::frame::STREAM_MAX;

/// What the peer may send to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Inbound {
    /// Bytes that the peer may still send, as far as it was told.
    left: u32,
    /// Bytes that it may send in addition, which it was not told yet.
    credit: u32,
    /// Bytes that it may have under way at most.
    size: u32,
}

impl Inbound {
    /// A window of `left` bytes by now, to become one of `size`.
    pub(super) fn new(left: u32, size: u32) -> Self {
        Self { left, credit: size.saturating_sub(left), size: size.max(left) }
    }

    /// So many bytes came.
    ///
    /// # Errors
    /// More than was allowed.
    pub(super) fn take(&mut self, bytes: u32) -> Result<(), Overrun> {
        self.left = self.left.checked_sub(bytes).ok_or(Overrun)?;
        Ok(())
    }

    /// Whether so many bytes may come.
    pub(super) fn takes(self, bytes: u32) -> bool {
        bytes <= self.left
    }

    /// So many bytes are done with: the peer may send as many again.
    pub(super) fn give_back(&mut self, bytes: u32) {
        self.credit = self.credit.saturating_add(bytes).min(self.size.saturating_sub(self.left));
    }

    /// The credit that is to be told now; it is worth a frame when it is half of the window.
    pub(super) fn announce(&mut self) -> Option<u32> {
        let is_worth_it = self.credit > 0 && self.credit >= self.size / 2;
        is_worth_it.then(|| {
            self.left = self.left.saturating_add(self.credit);
            std::mem::take(&mut self.credit)
        })
    }
}

/// What we may send to the peer. Below zero after its settings made windows smaller (RFC 9113
/// §6.9.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Outbound(i64);

impl Outbound {
    pub(super) fn new(bytes: u32) -> Self {
        Self(i64::from(bytes))
    }

    /// Bytes that may be sent.
    pub(super) fn available(self) -> usize {
        usize::try_from(self.0).unwrap_or(0)
    }

    /// So many of them are sent.
    pub(super) fn take(&mut self, bytes: usize) {
        self.0 = self.0.saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// The peer allows so many more (or, by its settings, fewer).
    ///
    /// # Errors
    /// The window would pass 2^31-1 bytes.
    pub(super) fn add(&mut self, bytes: i64) -> Result<(), Overrun> {
        let sum = self.0.saturating_add(bytes);
        if sum > i64::from(STREAM_MAX) {
            return Err(Overrun);
        }
        self.0 = sum;
        Ok(())
    }
}

/// A window was passed, or made larger than it can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overrun;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credit_is_told_when_it_is_half_of_the_window() {
        let mut window = Inbound::new(100, 100);
        window.take(60).unwrap();
        window.give_back(49);
        assert_eq!(window.announce(), None);
        window.give_back(1);
        assert_eq!(window.announce(), Some(50));
        assert_eq!(window.take(91), Err(Overrun));
        window.take(90).unwrap();
    }

    #[test]
    fn credit_never_passes_the_window() {
        let mut window = Inbound::new(100, 100);
        window.give_back(1000);
        assert_eq!(window.announce(), None);
        window.take(100).unwrap();
        window.give_back(1000);
        assert_eq!(window.announce(), Some(100));
    }

    #[test]
    fn a_window_that_is_to_grow_is_told_so_at_once() {
        let mut window = Inbound::new(65_535, 1 << 20);
        assert_eq!(window.announce(), Some((1 << 20) - 65_535));
    }

    #[test]
    fn a_window_may_fall_below_zero_but_not_pass_31_bits() {
        let mut window = Outbound::new(10);
        window.add(-20).unwrap();
        assert_eq!(window.available(), 0);
        window.add(15).unwrap();
        assert_eq!(window.available(), 5);
        assert_eq!(window.add(i64::from(STREAM_MAX)), Err(Overrun));
        assert_eq!(window.available(), 5);
    }
}
