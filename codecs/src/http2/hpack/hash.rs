//! Numbers by which fields and names are found.
//!
//! They only say what to compare, so a peer that makes many collide makes its own lookups slow, by
//! no more than its table has entries. The encoder's memory is frozen as such numbers: another
//! function would make it forget, and nothing else.

/// A number for some bytes; `seed` is that of what stands before them, or 0.
pub(super) const fn of(bytes: &[u8], seed: u32) -> u32 {
    let mut hash = mixed(seed as u64, bytes.len() as u64);
    let mut rest = bytes;
    while let Some((chunk, after)) = rest.split_first_chunk::<8>() {
        hash = mixed(hash, u64::from_le_bytes(*chunk));
        rest = after;
    }
    upper(mixed(hash, last_word(bytes)))
}

/// The last eight bytes, or all where there are fewer; what was looked at may be among them.
const fn last_word(bytes: &[u8]) -> u64 {
    if let Some(last) = bytes.last_chunk::<8>() {
        return u64::from_le_bytes(*last);
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        return (u32::from_le_bytes(*first) as u64) << 32 | u32::from_le_bytes(*last) as u64;
    }
    match *bytes {
        [a, b, c] => (a as u64) << 16 | (b as u64) << 8 | c as u64,
        [a, b] => (a as u64) << 8 | b as u64,
        [a] => a as u64,
        _ => 0,
    }
}

const fn mixed(hash: u64, word: u64) -> u64 {
    (hash.rotate_left(23) ^ word).wrapping_mul(MULTIPLIER)
}

const fn upper(hash: u64) -> u32 {
    (hash >> u32::BITS) as u32
}

/// 2^64 divided by the golden ratio, as an odd number: spreads what differs in few bits.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alike_bytes_differ() {
        let mut seen = std::collections::HashSet::new();
        for length in 0..40 {
            assert!(seen.insert(of(&vec![0; length], 0)));
            for at in 0..length {
                let mut bytes = vec![0; length];
                bytes[at] = 1;
                assert!(seen.insert(of(&bytes, 0)), "{length} {at}");
            }
        }
        assert_ne!(of(b"a", 0), of(b"a", 1));
    }
}
