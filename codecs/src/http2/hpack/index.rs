//! Where the encoder's table has a field or a name.

use std::collections::VecDeque;

use super::dynamic_table::DynamicTable;
use super::hash;

/// Numbers of all entries of a table, oldest first: a few dozen of them are compared faster than
/// a map is asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    fields: VecDeque<u32>,
    names: VecDeque<u32>,
}

/// The numbers of a field ([`hash::of`]).
#[derive(Clone, Copy, Debug)]
pub(super) struct Hashes {
    pub(super) name: u32,
    pub(super) field: u32,
}

impl Hashes {
    pub(super) const fn of(name: &[u8], value: &[u8]) -> Self {
        let name = hash::of(name, 0);
        Self { name, field: hash::of(value, name) }
    }
}

impl Index {
    /// That of a table.
    pub(super) fn of(table: &DynamicTable) -> Self {
        let mut index = Self::default();
        let newest_first = (0..).map_while(|it| table.get(it));
        for (name, value) in newest_first {
            let hashes = Hashes::of(name, value);
            index.fields.push_front(hashes.field);
            index.names.push_front(hashes.name);
        }
        index
    }

    /// An entry was put into the table, which has so many now.
    pub(super) fn push(&mut self, hashes: Hashes, len: usize) {
        self.fields.push_back(hashes.field);
        self.names.push_back(hashes.name);
        self.keep(len);
    }

    /// Only so many entries, the newest, are left.
    pub(super) fn keep(&mut self, len: usize) {
        for numbers in [&mut self.fields, &mut self.names] {
            numbers.drain(..numbers.len().saturating_sub(len));
        }
    }

    /// The entry of the table, counted from the newest, that is that field.
    pub(super) fn field(
        &self,
        table: &DynamicTable,
        hash: u32,
        field: (&[u8], &[u8]),
    ) -> Option<u32> {
        find(&self.fields, hash, |it| table.get(it) == Some(field))
    }

    /// An entry of the table, counted from the newest, that has that name.
    pub(super) fn name(&self, table: &DynamicTable, hash: u32, name: &[u8]) -> Option<u32> {
        find(&self.names, hash, |it| table.get(it).is_some_and(|entry| entry.0 == name))
    }
}

/// The place, from the end, of a number that `is_it`.
fn find(numbers: &VecDeque<u32>, number: u32, is_it: impl Fn(u32) -> bool) -> Option<u32> {
    let (older, newer) = numbers.as_slices();
    let mut behind = 0;
    for slice in [newer, older] {
        if has(slice, number) {
            let places = slice.iter().rev().zip(behind..);
            let mut equal = places.filter(|it| *it.0 == number).map(|it| it.1);
            let found = equal.find_map(|it| u32::try_from(it).ok().filter(|it| is_it(*it)));
            if found.is_some() {
                return found;
            }
        }
        behind = slice.len();
    }
    None
}

/// Whether a number is there. Eight are looked at together, which the compiler does with few
/// instructions.
fn has(numbers: &[u32], number: u32) -> bool {
    let (chunks, rest) = numbers.as_chunks::<8>();
    chunks.iter().any(|chunk| chunk.iter().fold(false, |found, it| found | (*it == number)))
        || rest.contains(&number)
}

#[cfg(test)]
mod tests {
    use super::super::dynamic_table::Name;
    use super::*;

    #[test]
    fn every_entry_is_found_where_it_is_while_others_come_and_go() {
        let mut table = DynamicTable::new(1000);
        let mut index = Index::default();
        for number in 0..300_u32 {
            let (name, value) = (format!("name{}", number % 3), number.to_string());
            let field = (name.as_bytes(), value.as_bytes());
            table.insert(Name::Bytes(field.0), field.1);
            let hashes = Hashes::of(field.0, field.1);
            index.push(hashes, table.len());
            assert_eq!(index.field(&table, hashes.field, field), Some(0));
            assert_eq!(index.name(&table, hashes.name, field.0), Some(0));
            for (place, entry) in (0..).map_while(|it| Some((it, table.get(it)?))) {
                let hashes = Hashes::of(entry.0, entry.1);
                assert_eq!(index.field(&table, hashes.field, entry), Some(place));
                assert_eq!(index.field(&table, hashes.field, (entry.0, b"other")), None);
            }
            assert!(index.fields.len() == table.len() && index.names.len() == table.len());
        }
        let again = Index::of(&table);
        assert_eq!((again.fields, again.names), (index.fields, index.names));
    }
}
