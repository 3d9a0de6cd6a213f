//! What the encoder has seen of late without putting it into its table.

use bytes::Bytes;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The last things that were seen, as 16 bits each: one that is taken for another enters the
/// table a little early, which happens once in a thousand times.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    /// In turn; 0 where nothing was seen yet.
    seen: [u16; LEN],
    next: usize,
}

/// How many things are remembered. 64: what some ten requests have that is their own.
const LEN: usize = 64;

impl Memory {
    pub(super) const fn new() -> Self {
        Self { seen: [0; LEN], next: 0 }
    }

    /// Whether that was seen; it is from now on.
    pub(super) fn sees(&mut self, hash: u32) -> bool {
        let short = shortened(hash);
        if self.seen.contains(&short) {
            return true;
        }
        self.push(short);
        false
    }

    fn push(&mut self, short: u16) {
        if let Some(place) = self.seen.get_mut(self.next) {
            *place = short;
        }
        self.next = (self.next + 1) % LEN;
    }

    /// Oldest first.
    fn iter(&self) -> impl Iterator<Item = u16> {
        let (newer, older) = self.seen.split_at_checked(self.next).unwrap_or_default();
        older.iter().chain(newer).copied().filter(|it| *it != 0)
    }
}

fn shortened(hash: u32) -> u16 {
    ((hash >> u16::BITS) as u16).max(1)
}

impl Serialize for Memory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = [0; LEN * 2];
        let mut len = 0;
        for (place, short) in bytes.chunks_exact_mut(2).zip(self.iter()) {
            place.copy_from_slice(&short.to_le_bytes());
            len += 2;
        }
        serializer.serialize_bytes(bytes.get(..len).unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for Memory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Bytes::deserialize(deserializer)?;
        let (pairs, rest) = bytes.as_chunks();
        if pairs.len() > LEN || !rest.is_empty() {
            return Err(D::Error::custom("a memory of another size"));
        }
        let mut memory = Self::new();
        for pair in pairs {
            memory.push(u16::from_le_bytes(*pair));
        }
        Ok(memory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u32) -> u32 {
        number << 16 | 0xabc
    }

    #[test]
    fn the_last_64_are_remembered() {
        let mut memory = Memory::new();
        assert!((1..=64).all(|it| !memory.sees(hash(it))));
        assert!((1..=64).all(|it| memory.sees(hash(it))));
        assert!(!memory.sees(hash(65)));
        assert!(!memory.sees(hash(1)));
        assert!(memory.sees(hash(3)));
        assert!(memory.sees(hash(65)));
        assert!(!Memory::new().sees(0));
    }

    #[test]
    fn a_thawed_memory_goes_on_alike() {
        let mut memory = Memory::new();
        for turn in 0..200_u32 {
            memory.sees(hash(turn * 7 % 150));
            let bytes = postcard::to_stdvec(&memory).unwrap();
            assert!(bytes.len() <= 2 + 2 * LEN);
            let mut thawed: Memory = postcard::from_bytes(&bytes).unwrap();
            assert!(thawed.iter().eq(memory.iter()));
            for number in 0..150 {
                assert_eq!(memory.clone().sees(hash(number)), thawed.clone().sees(hash(number)));
            }
            thawed.sees(hash(200));
            memory.sees(hash(200));
            assert!(thawed.iter().eq(memory.iter()));
        }
    }

    #[test]
    fn a_damaged_memory_is_refused() {
        let thaw = |bytes: &[u8]| {
            let bytes = postcard::to_stdvec(bytes).unwrap();
            postcard::from_bytes::<Memory>(&bytes).is_ok()
        };
        assert!(thaw(&[1; 128]) && thaw(&[0; 128]));
        assert!(!thaw(&[1; 3]) && !thaw(&[1; 130]));
    }
}
