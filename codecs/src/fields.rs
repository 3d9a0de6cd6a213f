//! The name–value list in a head or in trailers.

use serde::{Deserialize, Serialize};

/// Fields in the order in which they came, names with the case in which they came.
///
/// All bytes stand in one block, so that a list that is filled again and again allocates nothing
/// after the first time. Names compare without regard to ASCII case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fields {
    block: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    start: u32,
    name_bytes: u32,
    value_bytes: u32,
}

impl Fields {
    /// An empty list; allocates nothing.
    pub const fn new() -> Self {
        Self { block: Vec::new(), entries: Vec::new() }
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets all fields and keeps the memory.
    pub fn clear(&mut self) {
        self.block.clear();
        self.entries.clear();
    }

    /// Appends a field. The caller holds its own limits; a block that would pass 4 GiB drops the
    /// field.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        let (Ok(start), Ok(name_bytes), Ok(value_bytes)) = (
            u32::try_from(self.block.len()),
            u32::try_from(name.len()),
            u32::try_from(value.len()),
        ) else {
            return;
        };
        self.block.extend_from_slice(name);
        self.block.extend_from_slice(value);
        self.entries.push(Entry { start, name_bytes, value_bytes });
    }

    /// The fields in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.entries.iter().map(|entry| self.resolve(*entry))
    }

    /// The value of the first field of that name.
    pub fn find(&self, name: &[u8]) -> Option<&[u8]> {
        self.iter().find(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The values of all fields of that name, in order.
    pub fn all<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.iter().filter(move |(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Takes out every field of that name; says whether there was one.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        let before = self.entries.len();
        let block = &self.block;
        self.entries.retain(|entry| {
            !slice(block, entry.start, entry.name_bytes).eq_ignore_ascii_case(name)
        });
        before != self.entries.len()
    }

    /// Takes out every field of that name and appends one.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        self.remove(name);
        self.push(name, value);
    }

    /// Makes one field of all fields of that name, at the place of the first, their values in order
    /// with `between` between them. Its bytes are copied, as are those of a field that is set.
    pub fn join(&mut self, name: &[u8], between: &[u8]) {
        let Ok(start) = u32::try_from(self.block.len()) else { return };
        let mut first = None;
        for (at, entry) in self.entries.iter().enumerate() {
            if !slice(&self.block, entry.start, entry.name_bytes).eq_ignore_ascii_case(name) {
                continue;
            }
            let value = entry.start.saturating_add(entry.name_bytes);
            match first {
                None => {
                    first = Some((at, entry.name_bytes));
                    repeat(&mut self.block, entry.start, entry.name_bytes);
                }
                Some(_) => self.block.extend_from_slice(between),
            }
            repeat(&mut self.block, value, entry.value_bytes);
        }
        let Some((at, name_bytes)) = first else { return };
        let bytes = self.block.len().saturating_sub(start as usize);
        let Ok(bytes) = u32::try_from(bytes) else { return };
        let joined = Entry { start, name_bytes, value_bytes: bytes.saturating_sub(name_bytes) };
        let (block, mut place) = (&self.block, 0_usize);
        self.entries.retain_mut(|entry| {
            let is_first = place == at;
            place = place.saturating_add(1);
            if is_first {
                *entry = joined;
                return true;
            }
            !slice(block, entry.start, entry.name_bytes).eq_ignore_ascii_case(name)
        });
    }

    /// Bytes of names and values together, those of removed fields included.
    pub fn bytes(&self) -> usize {
        self.block.len()
    }

    /// All names and values, those of removed fields included, one after the other: to look for a
    /// byte that may stand in none of them.
    pub fn block(&self) -> &[u8] {
        &self.block
    }

    fn resolve(&self, entry: Entry) -> (&[u8], &[u8]) {
        (
            slice(&self.block, entry.start, entry.name_bytes),
            slice(&self.block, entry.start.saturating_add(entry.name_bytes), entry.value_bytes),
        )
    }
}

fn slice(block: &[u8], start: u32, bytes: u32) -> &[u8] {
    let start = start as usize;
    block.get(start..start.saturating_add(bytes as usize)).unwrap_or_default()
}

/// Appends a piece of the block to it.
fn repeat(block: &mut Vec<u8>, start: u32, bytes: u32) {
    let start = start as usize;
    let range = start..start.saturating_add(bytes as usize);
    if block.get(range.clone()).is_some() {
        block.extend_from_within(range);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_compare_without_case_and_keep_theirs() {
        let mut fields = Fields::new();
        fields.push(b"X-One", b"1");
        fields.push(b"two", b"2");
        fields.push(b"x-one", b"3");
        assert_eq!(fields.find(b"x-ONE"), Some(&b"1"[..]));
        assert_eq!(fields.all(b"x-one").collect::<Vec<_>>(), [b"1", b"3"]);
        assert!(fields.remove(b"X-ONE"));
        assert_eq!(fields.iter().collect::<Vec<_>>(), [(&b"two"[..], &b"2"[..])]);
    }

    #[test]
    fn fields_of_one_name_are_joined_at_the_place_of_the_first() {
        let mut fields = Fields::new();
        for (name, value) in [("a", "1"), ("C", "x"), ("b", "2"), ("c", ""), ("c", "z"), ("d", "")]
        {
            fields.push(name.as_bytes(), value.as_bytes());
        }
        fields.join(b"none", b"; ");
        assert_eq!(fields.len(), 6);
        fields.join(b"c", b"; ");
        let expected = [("a", "1"), ("C", "x; ; z"), ("b", "2"), ("d", "")];
        let expected = expected.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        assert_eq!(fields.iter().collect::<Vec<_>>(), expected);
    }
}
