//! A writer of flat JSON objects that allocates nothing of its own.

use std::io::Write as _;
use std::net::SocketAddr;

/// One JSON object, written member by member into a buffer.
pub(super) struct Object<'a> {
    out: &'a mut Vec<u8>,
    is_empty: bool,
}

impl<'a> Object<'a> {
    /// Begins an object.
    pub(super) fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, is_empty: true }
    }

    /// Ends the object and the line.
    pub(super) fn end_line(self) {
        self.out.extend_from_slice(b"}\n");
    }

    /// A member that is a text; `name` needs no escaping.
    #[inline(always)]
    pub(super) fn text(&mut self, name: &str, value: &[u8]) {
        self.name(name);
        text(self.out, value);
    }

    /// A member that is a text; left out when it is empty.
    #[inline(always)]
    pub(super) fn text_if_any(&mut self, name: &str, value: &[u8]) {
        if !value.is_empty() {
            self.text(name, value);
        }
    }

    /// A member whose text is ASCII without quotes and backslashes, written by `write`.
    pub(super) fn plain(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
        self.name(name);
        self.out.push(b'"');
        write(self.out);
        self.out.push(b'"');
    }

    /// A member that is a number.
    #[inline(always)]
    pub(super) fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        number(self.out, value);
    }

    /// A member that is an address; left out when there is none.
    pub(super) fn address(&mut self, name: &str, value: Option<SocketAddr>) {
        if let Some(it) = value {
            self.plain(name, |out| address(out, it));
        }
    }

    /// Inlined, so that names are constants and cost a few stores each.
    #[inline(always)]
    fn name(&mut self, name: &str) {
        let is_first = std::mem::take(&mut self.is_empty);
        self.out.extend_from_slice(if is_first { b"\"" } else { b",\"" });
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }
}

/// Appends an address. Those of IPv4 are most of all, and the library takes ten times as long.
pub(super) fn address(out: &mut Vec<u8>, address: SocketAddr) {
    let SocketAddr::V4(address) = address else {
        // Writing to memory does not fail.
        return drop(write!(out, "{address}"));
    };
    let [a, b, c, d] = address.ip().octets();
    number(out, a.into());
    for part in [b, c, d] {
        out.push(b'.');
        number(out, part.into());
    }
    out.push(b':');
    number(out, address.port().into());
}

/// Appends a decimal number.
pub(super) fn number(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends a JSON text (RFC 8259 §7). The bytes come from the network: what is not UTF-8 becomes
/// U+FFFD, control characters and DEL are escaped, so that a line is one line on every terminal.
fn text(out: &mut Vec<u8>, value: &[u8]) {
    out.push(b'"');
    escaped_text(out, value);
    out.push(b'"');
}

/// Appends what stands between the quotes of a JSON text.
pub(super) fn escaped_text(out: &mut Vec<u8>, value: &[u8]) {
    if is_plain(value) {
        return out.extend_from_slice(value);
    }
    for chunk in value.utf8_chunks() {
        escaped(out, chunk.valid());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

/// Whether all bytes are ASCII and stand for themselves. Looks at all of them, which the compiler
/// makes a few wide instructions of.
fn is_plain(value: &[u8]) -> bool {
    value.iter().fold(true, |plain, byte| {
        plain & (byte.wrapping_sub(0x20) < 0x5f) & (*byte != b'"') & (*byte != b'\\')
    })
}

fn escaped(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut plain = 0;
    for (at, byte) in bytes.iter().copied().enumerate() {
        if (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\' || byte >= 0x80 {
            continue;
        }
        out.extend_from_slice(&bytes[plain..at]);
        plain = at + 1;
        escape(out, byte);
    }
    out.extend_from_slice(&bytes[plain..]);
}

fn escape(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        other => {
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(other >> 4)]);
            out.push(HEX[usize::from(other & 15)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_back(value: &[u8]) -> String {
        let mut out = Vec::new();
        text(&mut out, value);
        assert!(!out.iter().any(u8::is_ascii_control), "{out:?}");
        serde_json::from_slice(&out).unwrap_or_else(|error| panic!("{value:?}: {error}"))
    }

    #[test]
    fn every_byte_alone_and_between_letters_is_valid_json() {
        for byte in 0..=255_u8 {
            assert_eq!(read_back(&[byte]), String::from_utf8_lossy(&[byte]));
            let between = [b'a', byte, b'z'];
            assert_eq!(read_back(&between), String::from_utf8_lossy(&between));
        }
    }

    #[test]
    fn every_pair_of_bytes_is_read_as_the_standard_library_reads_it() {
        for first in 0..=255_u8 {
            for second in 0..=255_u8 {
                let pair = [first, second];
                assert_eq!(read_back(&pair), String::from_utf8_lossy(&pair));
            }
        }
    }

    #[test]
    fn text_of_any_script_is_kept_as_it_is() {
        assert_eq!(read_back("/函谷关/ü?q=\"😀\"".as_bytes()), "/函谷关/ü?q=\"😀\"");
    }

    #[test]
    fn addresses_are_written_as_the_standard_library_writes_them() {
        for text in ["127.0.0.1:40000", "0.10.255.9:0", "[::1]:65535", "[2001:db8::7]:80"] {
            let mut out = Vec::new();
            address(&mut out, text.parse().unwrap());
            assert_eq!(out, text.as_bytes());
        }
    }

    #[test]
    fn numbers_are_written_in_full() {
        for value in [0, 7, 10, 999, 1_000, u64::MAX] {
            let mut out = Vec::new();
            number(&mut out, value);
            assert_eq!(out, value.to_string().as_bytes());
        }
    }
}
