//! The bytes of every message and stream: known to both ends from its number alone, different at
//! every offset.

/// Writes the bytes that stand at `offset` in the stream of this number.
pub(crate) fn fill(number: u64, offset: u64, bytes: &mut [u8]) {
    let mut at = offset;
    let mut left = bytes;
    while !left.is_empty() {
        let word = word(number, at / WORD).to_le_bytes();
        let rest = &word[(at % WORD) as usize..];
        let count = rest.len().min(left.len());
        let (now, later) = left.split_at_mut(count);
        now.copy_from_slice(&rest[..count]);
        at += count as u64;
        left = later;
    }
}

/// Appends the bytes that stand at `offset`.
pub(crate) fn append(number: u64, offset: u64, count: usize, to: &mut Vec<u8>) {
    let start = to.len();
    to.resize(start + count, 0);
    fill(number, offset, &mut to[start..]);
}

/// Whether these are the bytes that stand at `offset`.
pub(crate) fn is_at(number: u64, offset: u64, bytes: &[u8]) -> bool {
    let mut expected = [0; 1024];
    let mut at = offset;
    for piece in bytes.chunks(expected.len()) {
        let expected = &mut expected[..piece.len()];
        fill(number, at, expected);
        if piece != expected {
            return false;
        }
        at += piece.len() as u64;
    }
    true
}

const WORD: u64 = 8;

/// SplitMix64: cheap, and without a period that a mistake could hide in.
fn word(number: u64, index: u64) -> u64 {
    let mut mixed = number
        .wrapping_mul(0xd129_0d3a_3f6c_47b5)
        .wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_the_same_however_it_is_cut() {
        let mut whole = Vec::new();
        append(7, 0, 3000, &mut whole);
        for cut in [0, 1, 7, 8, 9, 1024, 2999] {
            let mut pieces = Vec::new();
            append(7, 0, cut, &mut pieces);
            append(7, cut as u64, 3000 - cut, &mut pieces);
            assert_eq!(pieces, whole, "cut at {cut}");
            assert!(is_at(7, cut as u64, &whole[cut..]));
        }
        assert!(!is_at(8, 0, &whole));
        assert!(!is_at(7, 1, &whole));
    }
}
