//! What the kernel counted of a worker's io_uring.

use super::Counter;

/// The ring of one worker. The kernel counts in 32 bits, which a busy worker fills in an hour; here
/// they go on.
///
/// Written by whoever reads the kernel's word, which is the control thread alone: a scrape costs
/// the worker nothing.
#[derive(Debug, Default)]
pub struct Ring {
    /// Its descriptor.
    pub descriptor: i32,
    /// Operations that the kernel took.
    pub submissions: Counter,
    /// Completions that the kernel gave.
    pub completions: Counter,
    /// Level: completions that the worker has not taken.
    pub completions_waiting: Counter,
    /// Level: completions that found the ring full; the kernel keeps them in a list.
    pub completions_overflowed: Counter,
    /// Of the submissions, those of this ring; the others are those of the rings before it.
    own_submissions: Counter,
    /// Likewise.
    own_completions: Counter,
}

/// What the kernel tells of a ring at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingFacts {
    /// Operations taken since the ring was made, modulo 2^32.
    pub submission_head: u32,
    /// Completions taken by the worker, modulo 2^32.
    pub completion_head: u32,
    /// Completions given, modulo 2^32.
    pub completion_tail: u32,
    /// Completions in the list of those that found the ring full.
    pub overflowed: u32,
}

impl Ring {
    /// The ring behind a descriptor.
    pub fn new(descriptor: i32) -> Self {
        Self { descriptor, ..Self::default() }
    }

    /// Takes in what the kernel tells.
    pub fn see(&self, facts: &RingFacts) {
        advance(&self.submissions, &self.own_submissions, facts.submission_head);
        advance(&self.completions, &self.own_completions, facts.completion_tail);
        let waiting = facts.completion_tail.wrapping_sub(facts.completion_head);
        self.completions_waiting.set(u64::from(waiting));
        self.completions_overflowed.set(u64::from(facts.overflowed));
    }

    /// Goes on with what another ring counted, whose worker is done with it.
    pub(super) fn absorb(&self, other: &Self) {
        self.submissions.absorb(&other.submissions);
        self.completions.absorb(&other.completions);
    }
}

/// Moves what was counted of this ring to the next value whose lower 32 bits are these, and the
/// counter along with it.
fn advance(counter: &Counter, own: &Counter, low: u32) {
    // Only the lower half is compared.
    let step = u64::from(low.wrapping_sub(own.value() as u32));
    own.add(step);
    counter.add(step);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_goes_on_with_what_another_one_counted() {
        let [old, new] = [7, 8].map(Ring::new);
        let facts = |submission_head, completion_tail| RingFacts {
            submission_head,
            completion_tail,
            ..RingFacts::default()
        };
        old.see(&facts(100, 90));
        new.see(&facts(3, 2));
        new.absorb(&old);
        new.see(&facts(5, 4));
        assert_eq!((new.submissions.value(), new.completions.value()), (105, 94));
    }

    #[test]
    fn counts_go_on_where_those_of_the_kernel_begin_anew() {
        let ring = Ring::new(7);
        let see = |submission_head: u32, completion_head, completion_tail| {
            ring.see(&RingFacts {
                submission_head,
                completion_head,
                completion_tail,
                overflowed: 0,
            });
            (ring.submissions.value(), ring.completions.value(), ring.completions_waiting.value())
        };
        assert_eq!(see(10, 5, 8), (10, 8, 3));
        assert_eq!(see(u32::MAX, u32::MAX, 1), (u64::from(u32::MAX), (1 << 32) + 1, 2));
        assert_eq!(see(4, 7, 7), ((1 << 32) + 4, (1 << 32) + 7, 0));
        assert_eq!(see(4, 7, 7), ((1 << 32) + 4, (1 << 32) + 7, 0));
    }
}
