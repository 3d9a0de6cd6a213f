//! Counters by reason, where reasons are constant texts that nobody lists beforehand.

use std::sync::OnceLock;

use super::Counter;

/// Places and reasons that one worker tells apart; what comes after is counted as `other`.
/// 512: some sixty reasons exist, and few of them ever happen at one listener.
pub const REASONS_MAX: usize = 512;

/// Where something went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReasonPlace {
    /// On a downstream connection of the listener with this index.
    Downstream(usize),
    /// On an upstream connection of the cluster with this index.
    Upstream(usize),
}

type Key = (ReasonPlace, &'static str);

/// A table that its one writer fills from the front and everyone may read.
#[derive(Debug)]
pub(super) struct Reasons {
    slots: Box<[(OnceLock<Key>, Counter)]>,
    other_downstream: Counter,
    other_upstream: Counter,
}

impl Default for Reasons {
    fn default() -> Self {
        Self {
            slots: (0..REASONS_MAX).map(|_| Default::default()).collect(),
            other_downstream: Counter::default(),
            other_upstream: Counter::default(),
        }
    }
}

impl Reasons {
    /// Counts one. Walks the table: this is for what goes wrong, not for every request.
    pub(super) fn count(&self, place: ReasonPlace, reason: &'static str) {
        self.slot(place, reason).increment();
    }

    fn slot(&self, place: ReasonPlace, reason: &'static str) -> &Counter {
        for (key, counter) in &self.slots {
            if *key.get_or_init(|| (place, reason)) == (place, reason) {
                return counter;
            }
        }
        match place {
            ReasonPlace::Downstream(_) => &self.other_downstream,
            ReasonPlace::Upstream(_) => &self.other_upstream,
        }
    }

    /// Goes on with what another one counted. Both writers stand still.
    pub(super) fn absorb(&self, other: &Self) {
        for (key, counter) in &other.slots {
            let Some((place, reason)) = key.get() else { break };
            self.slot(*place, reason).absorb(counter);
        }
        self.other_downstream.absorb(&other.other_downstream);
        self.other_upstream.absorb(&other.other_upstream);
    }

    /// What was counted. Reasons that found no room stand under the index `usize::MAX`.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ReasonPlace, &'static str, u64)> + '_ {
        let known = self.slots.iter().map_while(|(key, counter)| {
            key.get().map(|(place, reason)| (*place, *reason, counter.value()))
        });
        let others = [
            (ReasonPlace::Downstream(usize::MAX), "other", self.other_downstream.value()),
            (ReasonPlace::Upstream(usize::MAX), "other", self.other_upstream.value()),
        ];
        known.chain(others.into_iter().filter(|(_, _, count)| *count > 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_reason_at_two_places_is_counted_twice() {
        let reasons = Reasons::default();
        reasons.count(ReasonPlace::Downstream(0), "too_long");
        reasons.count(ReasonPlace::Downstream(0), "too_long");
        reasons.count(ReasonPlace::Upstream(0), "too_long");
        let seen: Vec<_> = reasons.iter().collect();
        assert_eq!(
            seen,
            [
                (ReasonPlace::Downstream(0), "too_long", 2),
                (ReasonPlace::Upstream(0), "too_long", 1)
            ]
        );
    }

    #[test]
    fn a_full_table_counts_what_is_new_as_other() {
        let reasons = Reasons::default();
        (0..REASONS_MAX).for_each(|index| reasons.count(ReasonPlace::Downstream(index), "known"));
        reasons.count(ReasonPlace::Downstream(3), "new");
        reasons.count(ReasonPlace::Downstream(3), "known");
        assert_eq!(reasons.iter().count(), REASONS_MAX + 1);
        let (place, reason, count) = reasons.iter().last().unwrap();
        assert_eq!((place, reason, count), (ReasonPlace::Downstream(usize::MAX), "other", 1));
        assert_eq!(reasons.iter().nth(3).unwrap().2, 2);
    }
}
