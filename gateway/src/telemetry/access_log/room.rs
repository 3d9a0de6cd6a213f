//! A cursor over the room that a record is written into.
//!
//! A record is some forty small writes. Here each is a comparison and a few stores, with the cursor
//! in a register; a growing vector would keep its length in memory and be asked each time.

use std::io::Write as _;
use std::net::SocketAddr;

/// Room for a record, and how many bytes the record has so far. What does not fit is counted and
/// not written, so that whoever gave the room learns how much there should have been.
pub(super) struct Room<'a> {
    bytes: &'a mut [u8],
    used: usize,
}

impl<'a> Room<'a> {
    pub(super) fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, used: 0 }
    }

    /// Bytes that the record has; more than there is room for when it does not fit.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// Appends bytes as they are. Inlined, so that constants cost a few stores each.
    #[inline(always)]
    pub(super) fn put(&mut self, bytes: &[u8]) {
        if let Some(place) = self.bytes.get_mut(self.used..self.used + bytes.len()) {
            place.copy_from_slice(bytes);
        }
        self.used += bytes.len();
    }

    /// Appends what stands between the quotes of a JSON text (RFC 8259 §7). The bytes come from
    /// the network: what is not UTF-8 becomes U+FFFD, control characters and DEL are escaped, so
    /// that a line is one line on every terminal.
    #[inline(always)]
    pub(super) fn escaped(&mut self, value: &[u8]) {
        // By value: a reference to the cursor would keep it in memory.
        self.used = put_escaped(self.bytes, self.used, value);
    }

    /// Appends a decimal number.
    #[inline(always)]
    pub(super) fn number(&mut self, value: u64) {
        if value >= 100_000_000 {
            self.used = put_long_number(self.bytes, self.used, value);
            return;
        }
        let (digits, zeros) = eight_digits(value);
        let kept = u64::from_le_bytes(digits) >> (8 * zeros);
        self.put_first(&kept.to_le_bytes(), digits.len() - zeros);
    }

    /// Appends the first of some bytes. Writes all of them where there is room, which takes one
    /// store whatever their number; what comes next is written over the others.
    #[inline(always)]
    fn put_first<const N: usize>(&mut self, bytes: &[u8; N], count: usize) {
        match self.bytes.get_mut(self.used..).and_then(|it| it.first_chunk_mut()) {
            Some(place) => *place = *bytes,
            None => return self.put(&bytes[..count]),
        }
        self.used += count;
    }

    /// Appends an address.
    #[inline(always)]
    pub(super) fn address(&mut self, address: SocketAddr) {
        self.used = put_address(self.bytes, self.used, address);
    }
}

/// Appends a text, escaped; gives where it ends.
fn put_escaped(bytes: &mut [u8], used: usize, value: &[u8]) -> usize {
    let end = used + value.len();
    let place = bytes.get_mut(used..end);
    if place.is_some_and(|place| copy_plain(place, value)) {
        return end;
    }
    put_with_escapes(bytes, used, value)
}

#[cold]
fn put_with_escapes(bytes: &mut [u8], used: usize, value: &[u8]) -> usize {
    let mut room = Room { bytes, used };
    for chunk in value.utf8_chunks() {
        for run in chunk.valid().as_bytes().chunk_by(|one, other| is_kept(*one) && is_kept(*other))
        {
            match run {
                [byte] if !is_kept(*byte) => escape(&mut room, *byte),
                kept => room.put(kept),
            }
        }
        if !chunk.invalid().is_empty() {
            room.put("\u{fffd}".as_bytes());
        }
    }
    room.used
}

/// Whether a byte of a text stands for itself.
fn is_kept(byte: u8) -> bool {
    !byte.is_ascii_control() && byte != b'"' && byte != b'\\'
}

fn escape(room: &mut Room<'_>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' => room.put(b"\\\""),
        b'\\' => room.put(b"\\\\"),
        b'\n' => room.put(b"\\n"),
        b'\r' => room.put(b"\\r"),
        b'\t' => room.put(b"\\t"),
        other => {
            let digits = [HEX[usize::from(other >> 4)], HEX[usize::from(other & 15)]];
            room.put(b"\\u00");
            room.put(&digits);
        }
    }
}

/// Copies a text of as many bytes, by words that may overlap. Says whether all bytes are ASCII and
/// stand for themselves.
#[inline(always)]
fn copy_plain(place: &mut [u8], value: &[u8]) -> bool {
    if let (Some(last_place), Some(last)) = (place.last_chunk_mut(), value.last_chunk()) {
        *last_place = *last;
        let mut other = not_plain(u64::from_ne_bytes(*last));
        for (place, word) in place.as_chunks_mut().0.iter_mut().zip(value.as_chunks().0) {
            *place = *word;
            other |= not_plain(u64::from_ne_bytes(*word));
        }
        other == 0
    } else if let (Some([a, b, c, d]), Some([w, x, y, z])) =
        (value.first_chunk(), value.last_chunk())
    {
        if let Some(first_place) = place.first_chunk_mut() {
            *first_place = [*a, *b, *c, *d];
        }
        if let Some(last_place) = place.last_chunk_mut() {
            *last_place = [*w, *x, *y, *z];
        }
        not_plain(u64::from_ne_bytes([*a, *b, *c, *d, *w, *x, *y, *z])) == 0
    } else {
        let bytes = place.iter_mut().zip(value);
        bytes.fold(true, |is_plain, (place, byte)| {
            *place = *byte;
            is_plain & byte.is_ascii() & is_kept(*byte)
        })
    }
}

/// Zero when each of eight bytes is ASCII and stands for itself: no control character, no quote,
/// no backslash, no DEL.
#[inline(always)]
fn not_plain(word: u64) -> u64 {
    const fn all(byte: u8) -> u64 {
        u64::from_ne_bytes([byte; 8])
    }
    // The high bit of a byte is set in what `wrapping_sub` gives if it was less than what was
    // taken off it, which `!word` tells from bytes that had it before; a borrow comes only from a
    // byte that sets it too.
    let below = |word: u64, byte: u8| word.wrapping_sub(all(byte)) & !word;
    let is = |byte: u8| below(word ^ all(byte), 1);
    (word | below(word, 0x20) | is(b'"') | is(b'\\') | is(0x7f)) & all(0x80)
}

/// Appends a number of more than eight digits; gives where it ends.
fn put_long_number(bytes: &mut [u8], used: usize, value: u64) -> usize {
    let mut room = Room { bytes, used };
    room.number(value / 100_000_000);
    room.put(&eight_digits(value).0);
    room.used
}

/// The eight last digits of a number in ASCII, and how many of them are leading zeros. Halves all
/// parts at once: first into two of four digits, then into four of two, then into eight.
#[inline(always)]
fn eight_digits(value: u64) -> ([u8; 8], usize) {
    let (high, low) = (value / 10_000 % 10_000, value % 10_000);
    let fours = high | low << 32;
    // Divides by 100, exactly for what has four digits.
    let hundreds = ((fours * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let twos = hundreds | (fours - hundreds * 100) << 16;
    // Divides by 10, exactly for what has two digits.
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    let ones = tens | (twos - tens * 10) << 8;
    let zeros = ones.trailing_zeros() as usize / 8;
    ((ones | 0x3030_3030_3030_3030).to_le_bytes(), zeros.min(7))
}

/// Appends an address; gives where it ends. Those of IPv4 are most of all, and the library takes
/// ten times as long.
fn put_address(bytes: &mut [u8], used: usize, address: SocketAddr) -> usize {
    let mut room = Room { bytes, used };
    match address {
        SocketAddr::V4(address) => {
            for octet in address.ip().octets() {
                let (text, bytes) = &OCTETS[usize::from(octet)];
                room.put_first(text, usize::from(*bytes));
            }
            room.used -= 1;
            room.put(b":");
            room.number(address.port().into());
        }
        SocketAddr::V6(_) => {
            let mut text = [0; ADDRESS_BYTES_MAX];
            let mut rest = &mut text[..];
            // No address is longer.
            let _ = write!(rest, "{address}");
            let bytes = ADDRESS_BYTES_MAX - rest.len();
            room.put(&text[..bytes]);
        }
    }
    room.used
}

/// Each octet of an address with the dot behind it, and how many bytes that is.
static OCTETS: [([u8; 4], u8); 256] = {
    let mut octets = [(*b"0.  ", 2); 256];
    let mut value = 1;
    while value < octets.len() {
        let digits = [value / 100, value / 10 % 10, value % 10];
        let mut at = (value < 10) as usize + (value < 100) as usize;
        octets[value] = (*b"   .", 4 - at as u8);
        let mut to = 0;
        while at < digits.len() {
            octets[value].0[to] = b'0' + digits[at] as u8;
            (at, to) = (at + 1, to + 1);
        }
        octets[value].0[to] = b'.';
        value += 1;
    }
    octets
};

/// The longest address: of IPv6, with a scope and a port.
const ADDRESS_BYTES_MAX: usize = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535".len();

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl Fn(&mut Room<'_>)) -> Vec<u8> {
        let mut bytes = [b'_'; 256];
        let mut room = Room::new(&mut bytes);
        write(&mut room);
        let used = room.used();
        // Less room changes nothing but what is written.
        for less in 0..used {
            let mut few = vec![b'_'; less];
            let mut room = Room::new(&mut few);
            write(&mut room);
            assert_eq!(room.used(), used);
        }
        bytes[..used].to_vec()
    }

    fn read_back(value: &[u8]) -> String {
        let inner = written(|room| room.escaped(value));
        assert!(!inner.iter().any(u8::is_ascii_control), "{inner:?}");
        let text = [b"\"", &inner[..], b"\""].concat();
        serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{value:?}: {error}"))
    }

    #[test]
    fn every_byte_alone_and_between_letters_is_valid_json() {
        for byte in 0..=255_u8 {
            assert_eq!(read_back(&[byte]), String::from_utf8_lossy(&[byte]));
            for length in 1..20 {
                for at in 0..length {
                    let mut between = vec![b'a'; length];
                    between[at] = byte;
                    assert_eq!(read_back(&between), String::from_utf8_lossy(&between));
                }
            }
        }
    }

    #[test]
    fn every_pair_of_bytes_is_read_as_the_standard_library_reads_it() {
        for first in 0..=255_u8 {
            for second in 0..=255_u8 {
                let pair = [first, second];
                assert_eq!(read_back(&pair), String::from_utf8_lossy(&pair));
                let word = [b'a', first, second, b'b', b'c', second, first, b'd'];
                assert_eq!(read_back(&word), String::from_utf8_lossy(&word));
            }
        }
    }

    #[test]
    fn text_of_any_script_is_kept_as_it_is() {
        assert_eq!(read_back("/函谷关/ü?q=\"😀\"".as_bytes()), "/函谷关/ü?q=\"😀\"");
    }

    #[test]
    fn addresses_are_written_as_the_standard_library_writes_them() {
        for octet in 0..=255_u8 {
            let address = SocketAddr::from(([octet, 255 - octet, octet, 7], octet.into()));
            assert_eq!(written(|room| room.address(address)), address.to_string().as_bytes());
        }
        for text in [
            "127.0.0.1:40000",
            "0.10.255.9:0",
            "[::1]:65535",
            "[2001:db8::7]:80",
            "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535",
        ] {
            assert_eq!(written(|room| room.address(text.parse().unwrap())), text.as_bytes());
        }
    }

    #[test]
    fn numbers_are_written_in_full() {
        let edges = (0..20).map(|zeros| 10_u64.pow(zeros)).flat_map(|it| [it - 1, it, it + 1]);
        for value in edges.chain(0..100_000).chain([u64::MAX]) {
            assert_eq!(written(|room| room.number(value)), value.to_string().as_bytes());
        }
    }
}
