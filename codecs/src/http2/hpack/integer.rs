//! Integers with a prefix (RFC 7541 §5.1).
//!
//! A prefix is what is left of a byte beside the bits that tell the kind of representation. It is
//! given as a mask: `0x7f` is a prefix of seven bits.

use bytes::{BufMut, BytesMut};

use super::Error;

/// Bytes after the prefix at the utmost. 5: as many as 32 bits need.
const CONTINUATION_BYTES_MAX: u32 = 5;

/// Takes an integer off the front.
pub(super) fn read(input: &mut &[u8], mask: u8) -> Result<u32, Error> {
    let first = byte(input)? & mask;
    if first < mask {
        return Ok(u32::from(first));
    }
    let mut value = u64::from(mask);
    for turn in 0..CONTINUATION_BYTES_MAX {
        let byte = byte(input)?;
        value = value.saturating_add(u64::from(byte & 0x7f) << (7 * turn));
        if byte & 0x80 == 0 {
            return u32::try_from(value).map_err(|_| Error::Integer);
        }
    }
    Err(Error::Integer)
}

/// Appends an integer; `kind` are the bits beside the prefix.
pub(super) fn write(out: &mut BytesMut, kind: u8, mask: u8, value: u32) {
    match u8::try_from(value) {
        Ok(small) if small < mask => out.put_u8(kind | small),
        Ok(_) | Err(_) => write_long(out, kind | mask, value.saturating_sub(u32::from(mask))),
    }
}

fn write_long(out: &mut BytesMut, first: u8, mut rest: u32) {
    out.put_u8(first);
    while rest > 0x7f {
        out.put_u8(low_bits(rest) | 0x80);
        rest >>= 7;
    }
    out.put_u8(low_bits(rest));
}

fn low_bits(value: u32) -> u8 {
    (value & 0x7f) as u8
}

fn byte(input: &mut &[u8]) -> Result<u8, Error> {
    let (byte, rest) = input.split_first().ok_or(Error::Truncated)?;
    *input = rest;
    Ok(*byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7541 appendix C.1.
    const EXAMPLES: [(u8, u32, &[u8]); 3] =
        [(0x1f, 10, b"\x0a"), (0x1f, 1337, b"\x1f\x9a\x0a"), (0xff, 42, b"\x2a")];

    #[test]
    fn the_examples_of_the_rfc_are_read_and_written() {
        for (mask, value, bytes) in EXAMPLES {
            assert_eq!(read(&mut &bytes[..], mask), Ok(value));
            let mut out = BytesMut::new();
            write(&mut out, 0, mask, value);
            assert_eq!(out, bytes);
        }
    }

    #[test]
    fn every_prefix_carries_every_size() {
        for bits in 1..=8 {
            let mask = 0xff_u8 >> (8 - bits);
            for power in 0..=32 {
                for value in [(1_u64 << power) - 1, 1 << power, (1 << power) + 1] {
                    let Ok(value) = u32::try_from(value) else { continue };
                    let mut out = BytesMut::new();
                    write(&mut out, !mask, mask, value);
                    assert_eq!(out[0] & !mask, !mask);
                    out.put_u8(b'x');
                    let mut input = &out[..];
                    assert_eq!(read(&mut input, mask), Ok(value));
                    assert_eq!(input, b"x");
                }
            }
        }
    }

    #[test]
    fn what_passes_32_bits_or_five_more_bytes_is_refused() {
        let largest = b"\xff\x80\xfe\xff\xff\x0f";
        assert_eq!(read(&mut &largest[..], 0xff), Ok(u32::MAX));
        for bytes in [
            &b"\xff\x81\xfe\xff\xff\x0f"[..],
            b"\xff\xff\xff\xff\xff\x7f",
            b"\xff\x80\x80\x80\x80\x80\x00",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ] {
            assert_eq!(read(&mut &bytes[..], 0xff), Err(Error::Integer), "{bytes:x?}");
        }
        // Zeros at the end are no fault as long as they are few.
        assert_eq!(read(&mut &b"\x1f\x80\x80\x80\x80\x00"[..], 0x1f), Ok(31));
    }

    #[test]
    fn an_integer_that_is_cut_off_is_refused() {
        for bytes in [&b""[..], b"\x1f", b"\x1f\x80", b"\x1f\xff\xff\xff\xff"] {
            assert_eq!(read(&mut &bytes[..], 0x1f), Err(Error::Truncated), "{bytes:x?}");
        }
    }
}
