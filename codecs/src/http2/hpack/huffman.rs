//! The Huffman code of strings (RFC 7541 §5.2 and appendix B).
//!
//! The code is canonical: codes of one length count upwards in the order of their symbols, and
//! every code is followed by that of the next greater length. So the lengths say it all, and the
//! compiler makes the rest of them.
//!
//! A decoder that looks at the next 32 bits as a number finds short codes (two of three symbols,
//! and nearly all that stand in real fields) by their first byte, and the length of the others by
//! comparing with the last code of each length.

use bytes::{BufMut, BytesMut};

use super::Error;

/// Bytes that a string has when it is written in the code.
pub(super) fn encoded_bytes(text: &[u8]) -> usize {
    text.iter().map(|byte| usize::from(length(*byte))).sum::<usize>().div_ceil(8)
}

/// Appends a string in the code; `bytes` is what [`encoded_bytes`] says of it.
pub(super) fn encode(text: &[u8], bytes: usize, out: &mut BytesMut) {
    let start = out.len();
    out.put_bytes(0, bytes);
    let (chunks, rest) = out.get_mut(start..).unwrap_or_default().as_chunks_mut();
    let mut chunks = chunks.iter_mut();
    // Bits that wait to be written stand at the upper end; fewer than 32 before each symbol.
    let (mut waiting, mut count) = (0_u64, 0_u32);
    for byte in text {
        let Code { bits, length } = code(*byte);
        count += u32::from(length);
        waiting |= u64::from(bits) << (u64::BITS - count);
        if count >= u32::BITS {
            if let Some(chunk) = chunks.next() {
                *chunk = upper(waiting).to_be_bytes();
            }
            waiting <<= u32::BITS;
            count -= u32::BITS;
        }
    }
    // RFC 7541 §5.2: what is left of the last byte are the first bits of the end-of-string symbol.
    let last = upper(waiting) | u32::MAX.checked_shr(count).unwrap_or(0);
    for (place, byte) in chunks.next().map_or(rest, |it| it).iter_mut().zip(last.to_be_bytes()) {
        *place = byte;
    }
}

/// Decodes a string and appends it; it has at most 8/5 of the bytes of `input`.
pub(super) fn decode(mut input: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    out.reserve(decoded_bytes_max(input.len()));
    let (mut waiting, mut count) = (0_u64, 0_u32);
    loop {
        while count >= u32::from(SHORT_LENGTH_MAX) {
            let Symbol { byte, length } = short(upper(waiting));
            if length == 0 {
                break;
            }
            out.push(byte);
            waiting <<= length;
            count -= u32::from(length);
        }
        if count < u32::BITS && refill(&mut input, &mut waiting, &mut count) {
            continue;
        }
        // A longer code, or the last bits.
        let Symbol { byte, length } = symbol(upper(waiting)).ok_or(Error::HuffmanEnd)?;
        if u32::from(length) > count {
            return padding(upper(waiting), count);
        }
        out.push(byte);
        waiting <<= length;
        count -= u32::from(length);
    }
}

/// Takes bits off the front of the input and puts them behind those, fewer than 32, that wait at
/// the upper end. Says whether there were any.
fn refill(input: &mut &[u8], waiting: &mut u64, count: &mut u32) -> bool {
    if let Some((chunk, rest)) = input.split_first_chunk() {
        *waiting |= u64::from(u32::from_be_bytes(*chunk)) << (u32::BITS - *count);
        *count += u32::BITS;
        *input = rest;
        return true;
    }
    let Some((byte, rest)) = input.split_first() else { return false };
    *waiting |= u64::from(*byte) << (u64::BITS - u8::BITS - *count);
    *count += u8::BITS;
    *input = rest;
    true
}

/// Bytes that a string of so many encoded bytes has at most: no code is shorter than five bits.
pub(super) const fn decoded_bytes_max(encoded_bytes: usize) -> usize {
    encoded_bytes.saturating_mul(8) / 5
}

/// What is left when no whole code is: less than a byte, and all ones (RFC 7541 §5.2).
fn padding(waiting: u32, count: u32) -> Result<(), Error> {
    if count < u8::BITS && waiting.leading_ones() >= count {
        return Ok(());
    }
    Err(Error::HuffmanPadding)
}

/// A code, in the lower bits.
#[derive(Clone, Copy, Debug)]
struct Code {
    bits: u32,
    length: u8,
}

/// A byte, and the length of its code; the length is 0 where a byte of a code says too little.
#[derive(Clone, Copy, Debug)]
struct Symbol {
    byte: u8,
    length: u8,
}

/// All codes of one length.
#[derive(Clone, Copy, Debug)]
struct Class {
    length: u8,
    /// The first code of that length.
    first: u32,
    /// The greatest number whose upper bits are a code of this length or a shorter one.
    last: u32,
    /// Where the first one's symbol stands among all symbols in the order of their codes.
    place: u16,
}

/// The code of a byte.
#[expect(clippy::indexing_slicing, reason = "a byte is a place in a table of 256")]
fn code(byte: u8) -> Code {
    CODES[usize::from(byte)]
}

/// The length of the code of a byte.
#[expect(clippy::indexing_slicing, reason = "a byte is a place in a table of 256")]
fn length(byte: u8) -> u8 {
    LENGTHS[usize::from(byte)]
}

/// The symbol at the upper end, as far as its first byte tells.
#[expect(clippy::indexing_slicing, reason = "a byte is a place in a table of 256")]
fn short(bits: u32) -> Symbol {
    SHORT[(bits >> 24) as usize]
}

/// The symbol at the upper end; `None` for the end-of-string symbol.
fn symbol(bits: u32) -> Option<Symbol> {
    let short = short(bits);
    if short.length > 0 {
        return Some(short);
    }
    let class = CLASSES.iter().find(|class| bits <= class.last)?;
    let code = bits >> (u32::BITS - u32::from(class.length));
    let place = usize::from(class.place).checked_add(code.checked_sub(class.first)? as usize)?;
    Some(Symbol { byte: *SYMBOLS.get(place)?, length: class.length })
}

fn upper(bits: u64) -> u32 {
    (bits >> u32::BITS) as u32
}

/// Bits of the code of each byte (RFC 7541 appendix B).
static LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, //
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, //
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, //
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, //
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, //
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, //
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, //
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, //
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, //
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, //
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, //
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, //
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, //
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, //
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, //
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, //
];
/// Bits of the end-of-string symbol, all of them ones: the last code of all.
const EOS_LENGTH: u8 = 30;
/// The longest code that its first byte tells.
const SHORT_LENGTH_MAX: u8 = 8;
/// Lengths that occur among the longer codes.
const CLASSES_LEN: usize = 17;

static CODES: [Code; 256] = MADE.codes;
static SHORT: [Symbol; 256] = MADE.short;
static SYMBOLS: [u8; 256] = MADE.symbols;
static CLASSES: [Class; CLASSES_LEN] = MADE.classes;

/// What follows from the lengths.
struct Made {
    codes: [Code; 256],
    /// By the first byte of what is to be decoded.
    short: [Symbol; 256],
    /// Bytes in the order of their codes.
    symbols: [u8; 256],
    /// Longer codes, by their lengths.
    classes: [Class; CLASSES_LEN],
}

const MADE: Made = make();

#[expect(clippy::indexing_slicing, reason = "run by the compiler, which stops at a bad index")]
#[expect(clippy::cast_possible_truncation, reason = "places of 256 symbols")]
const fn make() -> Made {
    let mut made = Made {
        codes: [Code { bits: 0, length: 0 }; 256],
        short: [Symbol { byte: 0, length: 0 }; 256],
        symbols: [0; 256],
        classes: [Class { length: 0, first: 0, last: 0, place: 0 }; CLASSES_LEN],
    };
    let (mut next, mut place, mut class) = (0_u32, 0_usize, 0_usize);
    let mut length = 1;
    while length <= EOS_LENGTH {
        next <<= 1;
        let (first, first_place) = (next, place);
        let mut byte = 0_usize;
        while byte < 256 {
            if LENGTHS[byte] == length {
                made.codes[byte] = Code { bits: next, length };
                made.symbols[place] = byte as u8;
                next += 1;
                place += 1;
            }
            byte += 1;
        }
        if next > first && length <= SHORT_LENGTH_MAX {
            make_short(&mut made, first_place, place);
        } else if next > first {
            let last = (next << (32 - length as u32)).wrapping_sub(1);
            made.classes[class] = Class { length, first, last, place: first_place as u16 };
            class += 1;
        }
        length += 1;
    }
    // The end-of-string symbol takes what is left, and nothing else is left.
    assert!(next == (1 << EOS_LENGTH) - 1 && place == 256 && class == CLASSES_LEN);
    made
}

/// Fills in every byte that begins with a code of these symbols.
#[expect(clippy::indexing_slicing, reason = "run by the compiler, which stops at a bad index")]
const fn make_short(made: &mut Made, mut place: usize, end: usize) {
    while place < end {
        let byte = made.symbols[place];
        let Code { bits, length } = made.codes[byte as usize];
        let spare = SHORT_LENGTH_MAX - length;
        let mut at = (bits as usize) << spare;
        while at < (bits as usize + 1) << spare {
            made.short[at] = Symbol { byte, length };
            at += 1;
        }
        place += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(text: &[u8]) -> Vec<u8> {
        let mut out = BytesMut::new();
        encode(text, encoded_bytes(text), &mut out);
        out.to_vec()
    }

    fn decoded(input: &[u8]) -> Result<Vec<u8>, Error> {
        let mut out = b"before".to_vec();
        decode(input, &mut out)?;
        Ok(out.split_off(6))
    }

    #[test]
    fn codes_are_those_of_the_rfc() {
        // A sample of appendix B: the ends of the shortest, longer and longest lengths.
        for (byte, bits, length) in [
            (b'0', 0x0, 5),
            (b't', 0x9, 5),
            (b' ', 0x14, 6),
            (b':', 0x5c, 7),
            (b'Z', 0xfd, 8),
            (b'?', 0x3fc, 10),
            (0, 0x1ff8, 13),
            (b'{', 0x7ffe, 15),
            (b'\\', 0x7fff0, 19),
            (0x80, 0xfffe6, 20),
            (0xff, 0x3ff_ffee, 26),
            (0xf9, 0xfff_fffe, 28),
            (b'\n', 0x3fff_fffc, 30),
            (0x16, 0x3fff_fffe, 30),
        ] {
            let code = code(byte);
            assert_eq!((code.bits, code.length), (bits, length), "{byte:#x}");
        }
    }

    #[test]
    fn the_examples_of_the_rfc_are_written_and_read() {
        // RFC 7541 appendices C.4 and C.6.
        for (text, bytes) in [
            (&b"www.example.com"[..], &b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"[..]),
            (b"no-cache", b"\xa8\xeb\x10\x64\x9c\xbf"),
            (b"302", b"\x64\x02"),
            (b"private", b"\xae\xc3\x77\x1a\x4b"),
        ] {
            assert_eq!(encoded(text), bytes);
            assert_eq!(decoded(bytes).as_deref(), Ok(text));
        }
    }

    #[test]
    fn every_pair_of_bytes_is_read_as_it_was_written() {
        for first in 0..=u8::MAX {
            for second in 0..=u8::MAX {
                let text = [first, second, b'a', second, first];
                assert_eq!(decoded(&encoded(&text)).as_deref(), Ok(&text[..]));
            }
        }
        assert_eq!(decoded(b"").as_deref(), Ok(&b""[..]));
    }

    #[test]
    fn padding_is_less_than_a_byte_of_ones() {
        // `0` is five zeros; three bits are left.
        assert_eq!(decoded(b"\x07").as_deref(), Ok(&b"0"[..]));
        for wrong in [&b"\x06"[..], b"\x00", b"\x07\xff", b"\xff", b"\x07\xff\xff\xff"] {
            assert_eq!(decoded(wrong), Err(Error::HuffmanPadding), "{wrong:x?}");
        }
        // A code of eight bits that lacks the last one.
        assert_eq!(decoded(b"\x07\xfe"), Err(Error::HuffmanPadding));
    }

    #[test]
    fn the_end_of_a_string_is_not_written() {
        for wrong in [&b"\xff\xff\xff\xff"[..], b"\xff\xff\xff\xfc", b"\x07\xff\xff\xff\xff"] {
            assert_eq!(decoded(wrong), Err(Error::HuffmanEnd), "{wrong:x?}");
        }
        // 29 ones and a zero are a byte, as far as they are there.
        assert_eq!(decoded(b"\xff\xff\xff\xfb").as_deref(), Ok(&[0x16][..]));
    }

    #[test]
    fn nothing_grows_by_more_than_eight_fifths() {
        let text = vec![b'0'; 800];
        let bytes = encoded(&text);
        assert_eq!(bytes.len(), 500);
        assert_eq!(decoded_bytes_max(bytes.len()), 800);
        let mut out = Vec::new();
        decode(&bytes, &mut out).unwrap();
        assert_eq!(out, text);
        assert!(out.capacity() <= 800);
    }
}
