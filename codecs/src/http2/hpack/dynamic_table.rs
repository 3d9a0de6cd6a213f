//! The entries that both peers remember, newest first (RFC 7541 §2.3.2 and §4).
//!
//! All bytes stand in one block in the order in which they came, so that an entry is a slice of
//! it. What was evicted stays at its front until it is half of the block: then the rest moves
//! there, which costs no more than what has come since it last did.

use std::collections::VecDeque;
use std::fmt;

use bytes::Bytes;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::TABLE_BYTES_CEILING;

/// What an entry counts beside its name and value (RFC 7541 §4.1).
pub(super) const ENTRY_BYTES: u32 = 32;

/// Entries of a bounded size; see the module.
#[derive(Clone)]
pub(super) struct DynamicTable {
    /// Names and values, those of entries that were evicted at the front.
    block: Vec<u8>,
    /// Oldest first.
    entries: VecDeque<Entry>,
    /// Size of all entries as RFC 7541 §4.1 counts it; at most `bytes_max`.
    bytes: u32,
    bytes_max: u32,
}

#[derive(Clone, Copy)]
struct Entry {
    start: u32,
    name_bytes: u32,
    value_bytes: u32,
}

/// The name of an entry to be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Name<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// That of an entry of this table, counted from the newest (0).
    Entry(u32),
}

impl DynamicTable {
    /// An empty table; allocates nothing. `bytes_max` is at most [`TABLE_BYTES_CEILING`].
    pub(super) fn new(bytes_max: u32) -> Self {
        Self {
            block: Vec::new(),
            entries: VecDeque::new(),
            bytes: 0,
            bytes_max: bytes_max.min(TABLE_BYTES_CEILING),
        }
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The largest size that the entries may have together.
    pub(super) fn bytes_max(&self) -> u32 {
        self.bytes_max
    }

    /// Sets the largest size; evicts what does not fit, and gives memory back (RFC 7541 §4.3).
    pub(super) fn set_bytes_max(&mut self, bytes_max: u32) {
        let bytes_max = bytes_max.min(TABLE_BYTES_CEILING);
        if bytes_max < self.bytes_max {
            self.evict_to(bytes_max);
            self.move_to_front();
            self.block.shrink_to(bytes_max as usize);
            self.entries.shrink_to((bytes_max / ENTRY_BYTES) as usize);
        }
        self.bytes_max = bytes_max;
    }

    /// Name and value of an entry, counted from the newest (0).
    pub(super) fn get(&self, index: u32) -> Option<(&[u8], &[u8])> {
        let entry = self.entry(index)?;
        let bytes = self.block.get(entry.range(entry.bytes())?)?;
        bytes.split_at_checked(entry.name_bytes as usize)
    }

    /// Adds an entry and evicts as many of the oldest as it takes. One that is larger than the
    /// whole table empties it and is not kept (RFC 7541 §4.4).
    pub(super) fn insert(&mut self, name: Name<'_>, value: &[u8]) {
        let name_range = match name {
            Name::Bytes(bytes) => 0..bytes.len(),
            Name::Entry(index) => {
                let entry = self.entry(index);
                entry.and_then(|it| it.range(it.name_bytes)).unwrap_or_default()
            }
        };
        let (Ok(name_bytes), Ok(value_bytes)) =
            (u32::try_from(name_range.len()), u32::try_from(value.len()))
        else {
            return self.evict_to(0);
        };
        let bytes = name_bytes.saturating_add(value_bytes).saturating_add(ENTRY_BYTES);
        if bytes > self.bytes_max {
            return self.evict_to(0);
        }
        // The name may be that of an entry that is evicted now, so this comes before.
        let moved = self.make_room(name_range.len().saturating_add(value.len()));
        let start = self.block.len();
        match name {
            Name::Bytes(bytes) => self.block.extend_from_slice(bytes),
            Name::Entry(_) => {
                let (from, to) = (name_range.start, name_range.end);
                let range = from.saturating_sub(moved)..to.saturating_sub(moved);
                self.block.extend_from_within(range);
            }
        }
        self.block.extend_from_slice(value);
        // The block has less than three times the ceiling of tables.
        let start = u32::try_from(start).unwrap_or(u32::MAX);
        self.entries.push_back(Entry { start, name_bytes, value_bytes });
        self.bytes = self.bytes.saturating_add(bytes);
        self.evict_to(self.bytes_max);
    }

    /// Evicts the oldest entries until the others have no more than this size.
    fn evict_to(&mut self, bytes_max: u32) {
        while self.bytes > bytes_max {
            let Some(entry) = self.entries.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(entry.bytes().saturating_add(ENTRY_BYTES));
        }
        if self.entries.is_empty() {
            self.block.clear();
            self.bytes = 0;
        }
    }

    /// Makes the block take so many bytes more; says how far what is there has moved.
    fn make_room(&mut self, bytes: usize) -> usize {
        if self.block.capacity().saturating_sub(self.block.len()) >= bytes {
            return 0;
        }
        let dead = self.dead_bytes();
        if dead >= self.block.len().saturating_sub(dead) {
            self.move_to_front();
            self.reserve(bytes);
            return dead;
        }
        self.reserve(bytes);
        0
    }

    /// The block doubles, as far as a table of this size can need it.
    fn reserve(&mut self, bytes: usize) {
        let doubled = self.block.len().max(BLOCK_BYTES_MIN).min(self.bytes_max as usize);
        self.block.reserve_exact(bytes.max(doubled));
    }

    fn move_to_front(&mut self) {
        let dead = self.dead_bytes();
        self.block.drain(..dead);
        for entry in &mut self.entries {
            entry.start = entry.start.saturating_sub(u32::try_from(dead).unwrap_or(u32::MAX));
        }
    }

    /// Bytes of evicted entries at the front of the block.
    fn dead_bytes(&self) -> usize {
        self.entries.front().map_or(self.block.len(), |it| it.start as usize)
    }

    fn entry(&self, index: u32) -> Option<Entry> {
        let place = self.entries.len().checked_sub(index as usize)?.checked_sub(1)?;
        self.entries.get(place).copied()
    }
}

impl Entry {
    fn bytes(self) -> u32 {
        self.name_bytes.saturating_add(self.value_bytes)
    }

    /// The first bytes of the entry in the block.
    fn range(self, bytes: u32) -> Option<std::ops::Range<usize>> {
        Some(self.start as usize..self.start.checked_add(bytes)? as usize)
    }
}

/// Tells sizes only: names and values are a user's.
impl fmt::Debug for DynamicTable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DynamicTable")
            .field("len", &self.len())
            .field("bytes", &self.bytes)
            .field("bytes_max", &self.bytes_max)
            .finish_non_exhaustive()
    }
}

/// A table as it is frozen.
#[derive(Serialize, Deserialize)]
struct Frozen<B> {
    bytes_max: u32,
    /// Bytes of name and value of each entry, oldest first.
    entries: Vec<(u32, u32)>,
    /// Names and values in the same order.
    block: B,
}

impl Serialize for DynamicTable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entries = self.entries.iter().map(|it| (it.name_bytes, it.value_bytes)).collect();
        let block = self.block.get(self.dead_bytes()..).unwrap_or_default();
        Frozen { bytes_max: self.bytes_max, entries, block }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for DynamicTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let frozen = Frozen::<Bytes>::deserialize(deserializer)?;
        Self::thaw(&frozen).ok_or_else(|| D::Error::custom("a table that does not add up"))
    }
}

impl DynamicTable {
    fn thaw(frozen: &Frozen<Bytes>) -> Option<Self> {
        if frozen.bytes_max > TABLE_BYTES_CEILING {
            return None;
        }
        let mut table = Self::new(frozen.bytes_max);
        let (mut start, mut bytes) = (0_u32, 0_u32);
        for &(name_bytes, value_bytes) in &frozen.entries {
            let entry = Entry { start, name_bytes, value_bytes };
            let entry_bytes = name_bytes.checked_add(value_bytes)?;
            start = start.checked_add(entry_bytes)?;
            bytes = bytes.checked_add(entry_bytes)?.checked_add(ENTRY_BYTES)?;
            table.entries.push_back(entry);
        }
        if bytes > frozen.bytes_max || start as usize != frozen.block.len() {
            return None;
        }
        table.bytes = bytes;
        table.block = frozen.block.to_vec();
        Some(table)
    }
}

/// What a block has at least once it has anything: three or four usual entries.
const BLOCK_BYTES_MIN: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(table: &mut DynamicTable, name: &str, value: &str) {
        table.insert(Name::Bytes(name.as_bytes()), value.as_bytes());
    }

    fn list(table: &DynamicTable) -> Vec<String> {
        let text = |it: &[u8]| String::from_utf8(it.to_vec()).unwrap();
        (0..).map_while(|it| table.get(it)).map(|(n, v)| text(n) + "=" + &text(v)).collect()
    }

    #[test]
    fn the_oldest_are_evicted_to_the_byte() {
        let mut table = DynamicTable::new(3 * 34);
        for name in ["a", "b", "c"] {
            insert(&mut table, name, "1");
        }
        assert_eq!(list(&table), ["c=1", "b=1", "a=1"]);
        insert(&mut table, "d", "");
        assert_eq!(list(&table), ["d=", "c=1", "b=1"]);
        insert(&mut table, "e", "1");
        assert_eq!(list(&table), ["e=1", "d=", "c=1"]);
        insert(&mut table, "f", "12");
        assert_eq!(list(&table), ["f=12", "e=1", "d="]);
        insert(&mut table, "g", "12");
        assert_eq!(list(&table), ["g=12", "f=12"]);
    }

    #[test]
    fn an_entry_as_large_as_the_table_is_kept_and_a_larger_one_empties_it() {
        let mut table = DynamicTable::new(40);
        insert(&mut table, "name", "1234");
        assert_eq!(list(&table), ["name=1234"]);
        insert(&mut table, "name", "12345");
        assert_eq!((list(&table).len(), table.bytes), (0, 0));
    }

    #[test]
    fn a_name_may_be_that_of_the_entry_that_is_evicted() {
        let mut table = DynamicTable::new(40);
        for value in ["1", "2", "3", "4", "5"] {
            match table.len() {
                0 => insert(&mut table, "name", value),
                _ => table.insert(Name::Entry(0), value.as_bytes()),
            }
            assert_eq!(list(&table), [format!("name={value}")]);
        }
    }

    #[test]
    fn a_smaller_size_evicts_and_gives_memory_back() {
        let mut table = DynamicTable::new(4096);
        for value in 0..500 {
            insert(&mut table, "name", &value.to_string());
        }
        table.set_bytes_max(39);
        assert_eq!(list(&table), ["name=499"]);
        assert!(table.block.capacity() <= 39);
        table.set_bytes_max(0);
        assert_eq!(list(&table), [""; 0]);
        assert_eq!((table.block.capacity(), table.entries.capacity()), (0, 0));
        table.set_bytes_max(4096);
        insert(&mut table, "a", "b");
        assert_eq!(list(&table), ["a=b"]);
    }

    #[test]
    fn memory_stays_in_proportion_to_the_size() {
        for bytes_max in [64, 300, 4096, 65536] {
            let mut table = DynamicTable::new(bytes_max);
            for turn in 0..20_000_usize {
                let value = "x".repeat(turn * 7 % (bytes_max as usize - 36));
                if turn % 3 == 0 && table.len() > 0 {
                    let oldest = table.len() as u32 - 1;
                    table.insert(Name::Entry(oldest), value.as_bytes());
                } else {
                    insert(&mut table, "name", &value);
                }
                assert_eq!(table.get(0), Some((&b"name"[..], value.as_bytes())));
            }
            assert!(table.block.capacity() <= 4 * bytes_max as usize, "{bytes_max}");
        }
        let mut table = DynamicTable::new(4096);
        for _ in 0..100_000 {
            insert(&mut table, "", "");
        }
        assert_eq!((table.len(), table.block.capacity()), (128, 0));
        assert!(table.entries.capacity() <= 256);
    }

    #[test]
    fn what_is_frozen_thaws_and_goes_on_alike() {
        let mut table = DynamicTable::new(200);
        for value in 0..50 {
            insert(&mut table, "name", &value.to_string());
            let bytes = postcard::to_stdvec(&table).unwrap();
            let thawed: DynamicTable = postcard::from_bytes(&bytes).unwrap();
            assert_eq!(list(&thawed), list(&table));
            assert_eq!(postcard::to_stdvec(&thawed).unwrap(), bytes);
            table = thawed;
        }
        assert_eq!(table.len(), 5);
        let bytes = postcard::to_stdvec(&table).unwrap();
        assert!(bytes.len() <= 5 * (6 + 2) + 4, "{} bytes", bytes.len());
    }

    #[test]
    fn a_damaged_table_is_refused() {
        let frozen = |bytes_max, entries: &[(u32, u32)], block: &'static [u8]| {
            let entries = entries.to_vec();
            postcard::to_stdvec(&Frozen { bytes_max, entries, block }).unwrap()
        };
        let thaw = |bytes: &[u8]| postcard::from_bytes::<DynamicTable>(bytes).is_ok();
        assert!(thaw(&frozen(34, &[(1, 1)], b"ab")));
        assert!(!thaw(&frozen(33, &[(1, 1)], b"ab")));
        assert!(!thaw(&frozen(100, &[(1, 1)], b"abc")));
        assert!(!thaw(&frozen(100, &[(1, 2)], b"ab")));
        assert!(!thaw(&frozen(100, &[(u32::MAX, u32::MAX)], b"ab")));
        assert!(!thaw(&frozen(u32::MAX, &[], b"")));
        assert!(!thaw(&frozen(100, &[(0, 0); 4], b"")));
    }
}
