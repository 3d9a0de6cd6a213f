//! The streams of a connection in slots.
//!
//! Every use of a slot takes the next number of one counter as its generation, and the slot is
//! that number modulo the size of the table; a slot that is in use is passed over. So slots are
//! taken in turn, a generation comes back only after the counter has run around, and the whole
//! state is the counter, the size and the entries: what is free costs nothing when it is frozen,
//! and a thawed table goes on exactly as the old one would have.
//!
//! A table is at most half full, so that on average less than one slot is passed over.

use crate::StreamId;

/// Entries in slots; see the module.
#[derive(Debug)]
pub(super) struct Table<T> {
    slots: Vec<Slot<T>>,
    used: usize,
    /// Entries that do not stand where the size of the table would have them: they came before it
    /// grew.
    displaced: usize,
    counter: u32,
    counter_max: u32,
}

#[derive(Clone, Copy, Debug)]
struct Slot<T> {
    generation: u32,
    entry: Option<T>,
}

impl<T: Copy> Table<T> {
    /// An empty table that holds no memory; generations run from 1 to `counter_max` and around.
    pub(super) const fn new(counter_max: u32) -> Self {
        Self { slots: Vec::new(), used: 0, displaced: 0, counter: 0, counter_max }
    }

    /// Entries.
    pub(super) fn len(&self) -> usize {
        self.used
    }

    /// The next generation, without a slot.
    pub(super) fn number(&mut self) -> u32 {
        loop {
            self.counter = if self.counter >= self.counter_max { 1 } else { self.counter + 1 };
            if self.find(self.counter).is_none() {
                return self.counter;
            }
        }
    }

    /// Puts an entry into a free slot. The caller bounds the number of entries.
    pub(super) fn insert(&mut self, entry: T) -> StreamId {
        if self.slots.len() < (self.used + 1).saturating_mul(2) {
            self.grow();
        }
        loop {
            let generation = self.number();
            let index = generation as usize & self.mask();
            let Some(slot) = self.slots.get_mut(index) else { continue };
            if slot.entry.is_none() {
                *slot = Slot { generation, entry: Some(entry) };
                self.used += 1;
                return stream(index, generation);
            }
        }
    }

    /// The entry of a stream.
    pub(super) fn get(&self, id: StreamId) -> Option<&T> {
        let slot = self.slots.get(id.slot as usize)?;
        if slot.generation == id.generation { slot.entry.as_ref() } else { None }
    }

    /// The entry of a stream, to change.
    pub(super) fn get_mut(&mut self, id: StreamId) -> Option<&mut T> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        if slot.generation == id.generation { slot.entry.as_mut() } else { None }
    }

    /// The stream that was given this generation. A table that has grown keeps its entries where
    /// they are, so smaller sizes are tried too while there are any.
    #[inline]
    pub(super) fn find(&self, generation: u32) -> Option<StreamId> {
        let found = self.find_in(self.slots.len(), generation);
        if found.is_some() || self.displaced == 0 {
            return found;
        }
        let smaller = std::iter::successors(Some(self.slots.len() / 2), |size| Some(size / 2));
        smaller.take_while(|size| *size >= SLOTS_MIN).find_map(|it| self.find_in(it, generation))
    }

    /// As [`Table::find`], where a table of `size` slots would have put it.
    #[inline]
    fn find_in(&self, size: usize, generation: u32) -> Option<StreamId> {
        let index = generation as usize & size.saturating_sub(1);
        let slot = self.slots.get(index)?;
        let is_it = slot.generation == generation && slot.entry.is_some();
        is_it.then(|| stream(index, generation))
    }

    /// Takes a stream out.
    pub(super) fn remove(&mut self, id: StreamId) -> Option<T> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        if slot.generation != id.generation {
            return None;
        }
        let entry = slot.entry.take()?;
        self.used -= 1;
        if self.displaced > 0 && id.generation as usize & self.mask() != id.slot as usize {
            self.displaced -= 1;
        }
        if self.used == 0 && self.slots.len() > SLOTS_KEPT {
            self.slots = Vec::new();
        }
        Some(entry)
    }

    /// All entries in the order of their slots.
    pub(super) fn iter(&self) -> impl Iterator<Item = (StreamId, T)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            slot.entry.map(|entry| (stream(index, slot.generation), entry))
        })
    }

    /// The counter and the number of slots: what a snapshot keeps beside the entries.
    pub(super) fn position(&self) -> (u32, u32) {
        (self.counter, u32::try_from(self.slots.len()).unwrap_or(u32::MAX))
    }

    /// A table from a snapshot. `None` when the parts do not fit each other.
    pub(super) fn from_parts(
        counter_max: u32,
        (counter, slots): (u32, u32),
        entries: impl Iterator<Item = (StreamId, T)>,
    ) -> Option<Self> {
        let size = slots as usize;
        let is_size =
            size == 0 || (size.is_power_of_two() && (SLOTS_MIN..=SLOTS_MAX).contains(&size));
        if !is_size || counter > counter_max {
            return None;
        }
        let mut table = Self::new(counter_max);
        table.counter = counter;
        table.slots = vec![Slot { generation: 0, entry: None }; size];
        for (id, entry) in entries {
            let slot = table.slots.get_mut(id.slot as usize)?;
            if slot.entry.is_some() || id.generation > counter_max {
                return None;
            }
            *slot = Slot { generation: id.generation, entry: Some(entry) };
            table.used += 1;
        }
        table.count_displaced();
        Some(table)
    }

    fn mask(&self) -> usize {
        self.slots.len().saturating_sub(1)
    }

    fn grow(&mut self) {
        let size = (self.slots.len() * 2).max(SLOTS_MIN);
        self.slots.resize(size, Slot { generation: 0, entry: None });
        self.count_displaced();
    }

    fn count_displaced(&mut self) {
        let mask = self.mask();
        let used = self.slots.iter().enumerate().filter(|(_, slot)| slot.entry.is_some());
        self.displaced = used.filter(|(at, it)| it.generation as usize & mask != *at).count();
    }
}

fn stream(index: usize, generation: u32) -> StreamId {
    StreamId { slot: u32::try_from(index).unwrap_or(u32::MAX), generation }
}

/// Slots of the smallest table that is not empty, a power of two: most connections have few
/// requests in flight.
const SLOTS_MIN: usize = 8;
/// Slots of the largest table: twice [`super::limits::STREAMS_MAX`] in flight and as many given up.
const SLOTS_MAX: usize = super::limits::STREAMS_MAX * 4;
/// A table larger than this gives its memory back when it is empty.
const SLOTS_KEPT: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_used_anew_has_another_generation() {
        let mut table = Table::new(u32::MAX);
        let first = table.insert('a');
        assert_eq!(table.remove(first), Some('a'));
        for _ in 0..SLOTS_MIN {
            let id = table.insert('b');
            assert_ne!(id, first);
            assert_eq!(table.get(first), None);
            table.remove(id);
        }
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn entries_are_found_after_the_table_has_grown() {
        let mut table = Table::new(u32::MAX);
        for _ in 0..100 {
            let id = table.insert(0);
            table.remove(id);
        }
        let ids: Vec<_> = (0..1000_u32).map(|it| table.insert(it)).collect();
        for (value, id) in (0_u32..).zip(&ids) {
            assert_eq!(table.get(*id), Some(&value));
            assert_eq!(table.find(id.generation), Some(*id));
        }
        assert!(table.slots.len() <= 2048);
        assert!(table.displaced > 0, "early entries stand where a smaller table put them");
        for id in ids {
            table.remove(id);
        }
        assert_eq!(table.displaced, 0);
        assert_eq!(table.slots.capacity(), 0, "an empty large table gives its memory back");
    }

    #[test]
    fn the_counter_wraps_and_passes_over_what_is_in_use() {
        let mut table = Table::new(20);
        let kept = table.insert('k');
        let mut seen = Vec::new();
        for _ in 0..60 {
            let id = table.insert('x');
            assert_ne!(id.generation, kept.generation);
            assert!((1..=20).contains(&id.generation));
            seen.push(id.generation);
            table.remove(id);
        }
        assert_eq!(table.get(kept), Some(&'k'));
        assert!(seen.contains(&20) && seen.iter().filter(|it| **it == 2).count() > 1);
    }

    #[test]
    fn a_table_from_parts_goes_on_as_the_old_one() {
        let mut old = Table::new(100);
        let ids: Vec<_> = (0..30).map(|it| old.insert(it)).collect();
        for id in ids.iter().step_by(3) {
            old.remove(*id);
        }
        let mut new = Table::from_parts(100, old.position(), old.iter()).unwrap();
        for value in 0..200 {
            let (a, b) = (old.insert(value), new.insert(value));
            assert_eq!(a, b);
            old.remove(a);
            new.remove(b);
        }
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        let id = StreamId { slot: 9, generation: 1 };
        assert!(Table::from_parts(10, (1, 8), [(id, 'x')].into_iter()).is_none());
        assert!(Table::<char>::from_parts(10, (1, 7), std::iter::empty()).is_none());
        assert!(Table::<char>::from_parts(10, (11, 8), std::iter::empty()).is_none());
        assert!(Table::<char>::from_parts(10, (1, 1 << 30), std::iter::empty()).is_none());
    }
}
