//! The ledger: each request has a number, and of each it is known how often the backend saw it and
//! how often it was answered rightly.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use crate::group::Group;

/// One entry per request. Whoever writes it, client or backend, adds up and never reads.
pub(crate) struct Ledger {
    next: AtomicU64,
    foreign: AtomicU64,
    entries: Box<[Entry]>,
}

#[derive(Default)]
struct Entry {
    group: AtomicU8,
    seen: AtomicU8,
    answered: AtomicU8,
}

/// What became of the requests of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Requests sent.
    pub(crate) sent: u64,
    /// Answered rightly, once.
    pub(crate) answered: u64,
    /// The backend saw them more than once.
    pub(crate) doubled: u64,
    /// Answered more than once.
    pub(crate) doubly_answered: u64,
    /// The backend never saw them.
    pub(crate) unseen: u64,
    /// The backend saw them, and the client has no right answer.
    pub(crate) unanswered: u64,
}

impl Ledger {
    /// Room for so many requests.
    pub(crate) fn new(requests_max: usize) -> Self {
        let entries = (0..requests_max).map(|_| Entry::default()).collect();
        Self { next: AtomicU64::new(0), foreign: AtomicU64::new(0), entries }
    }

    /// A number for a request that is about to be sent; `None` when there is no room left.
    pub(crate) fn open(&self, group: Group) -> Option<u64> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let entry = self.entries.get(number as usize)?;
        entry.group.store(group as u8, Ordering::Relaxed);
        Some(number)
    }

    /// The backend has a request whole.
    pub(crate) fn see(&self, number: u64) {
        match self.entries.get(number as usize) {
            Some(entry) if number < self.next.load(Ordering::Relaxed) => add(&entry.seen),
            _ => drop(self.foreign.fetch_add(1, Ordering::Relaxed)),
        }
    }

    /// The client has the right answer.
    pub(crate) fn answer(&self, number: u64) {
        if let Some(entry) = self.entries.get(number as usize) {
            add(&entry.answered);
        }
    }

    /// Requests with numbers that nobody sent.
    pub(crate) fn foreign(&self) -> u64 {
        self.foreign.load(Ordering::Relaxed)
    }

    /// What became of the requests of a group.
    pub(crate) fn counts(&self, group: Group) -> Counts {
        let mut counts = Counts::default();
        let opened = (self.next.load(Ordering::Relaxed) as usize).min(self.entries.len());
        let of_group =
            |entry: &&Entry| usize::from(entry.group.load(Ordering::Relaxed)) == group.index();
        for entry in self.entries[..opened].iter().filter(of_group) {
            let seen = entry.seen.load(Ordering::Relaxed);
            let answered = entry.answered.load(Ordering::Relaxed);
            counts.sent += 1;
            counts.answered += u64::from(answered == 1);
            counts.doubled += u64::from(seen > 1);
            counts.doubly_answered += u64::from(answered > 1);
            counts.unseen += u64::from(seen == 0);
            counts.unanswered += u64::from(seen > 0 && answered == 0);
        }
        counts
    }
}

/// Adds one and stays at the largest number.
fn add(count: &AtomicU8) {
    let more = |it: u8| it.checked_add(1);
    let _ = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_in_one_of_the_counts() {
        let ledger = Ledger::new(5);
        let numbers: Vec<u64> = (0..5).filter_map(|_| ledger.open(Group::Http)).collect();
        assert_eq!((numbers.len(), ledger.open(Group::Http)), (5, None));
        // The first is answered, the second seen twice, the third lost, the fourth not answered,
        // the fifth answered twice.
        for seen in [0, 1, 1, 3, 4] {
            ledger.see(seen);
        }
        for answered in [0, 1, 4, 4] {
            ledger.answer(answered);
        }
        ledger.see(9);
        let expected = Counts {
            sent: 5,
            answered: 2,
            doubled: 1,
            doubly_answered: 1,
            unseen: 1,
            unanswered: 1,
        };
        assert_eq!(ledger.counts(Group::Http), expected);
        assert_eq!(ledger.counts(Group::Bolt), Counts::default());
        assert_eq!(ledger.foreign(), 1);
    }
}
