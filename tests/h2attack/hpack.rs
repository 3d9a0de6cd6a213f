//! Blocks of fields (RFC 7541), without Huffman codes: what is sent is to be seen in a capture.

use crate::frame::{flag, frame, kind};

/// Fields of the static table that are used (RFC 7541, appendix A).
pub(crate) mod fixed {
    pub(crate) const AUTHORITY: u32 = 1;
    pub(crate) const METHOD_GET: u32 = 2;
    pub(crate) const METHOD_POST: u32 = 3;
    pub(crate) const PATH: u32 = 4;
    pub(crate) const SCHEME_HTTP: u32 = 6;
    pub(crate) const STATUS_200: u8 = 8;
    pub(crate) const CONTENT_LENGTH: u32 = 28;
    pub(crate) const COOKIE: u32 = 32;
    /// The first entry of the dynamic table, which is the newest.
    pub(crate) const NEWEST: u32 = 62;
}

/// Appends an integer whose first byte has a pattern above a prefix of so many bits (§5.1).
pub(crate) fn integer(out: &mut Vec<u8>, pattern: u8, prefix_bits: u32, value: u32) {
    let full = (1u32 << prefix_bits) - 1;
    if value < full {
        out.push(pattern | value as u8);
        return;
    }
    out.push(pattern | full as u8);
    let mut rest = value - full;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Appends a field of either table (§6.1).
pub(crate) fn indexed(out: &mut Vec<u8>, index: u32) {
    integer(out, 0x80, 7, index);
}

/// Appends a field that enters no table (§6.2.2).
pub(crate) fn literal(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.push(0);
    string(out, name);
    string(out, value);
}

/// Appends a field whose name is in a table, and which enters none (§6.2.2).
pub(crate) fn named(out: &mut Vec<u8>, index: u32, value: &[u8]) {
    integer(out, 0, 4, index);
    string(out, value);
}

/// Appends a field that enters the dynamic table (§6.2.1).
pub(crate) fn remembered(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.push(0x40);
    string(out, name);
    string(out, value);
}

fn string(out: &mut Vec<u8>, text: &[u8]) {
    integer(out, 0, 7, text.len() as u32);
    out.extend_from_slice(text);
}

/// The four fields that make a request (RFC 9113 §8.3.1); the method is an entry of the static
/// table.
pub(crate) fn request(method: u32, authority: &str, path: &str) -> Vec<u8> {
    let mut block = Vec::with_capacity(64);
    indexed(&mut block, method);
    indexed(&mut block, fixed::SCHEME_HTTP);
    named(&mut block, fixed::PATH, path.as_bytes());
    named(&mut block, fixed::AUTHORITY, authority.as_bytes());
    block
}

/// Appends a block that fits into one frame.
pub(crate) fn headers(out: &mut Vec<u8>, stream: u32, end: End, block: &[u8]) {
    let flags = match end {
        End::Stream => flag::END_HEADERS | flag::END_STREAM,
        End::Headers => flag::END_HEADERS,
        End::Nothing => flag::NONE,
    };
    frame(out, kind::HEADERS, flags, stream, block);
}

/// What ends with HEADERS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The fields and the request.
    Stream,
    /// The fields; a body follows.
    Headers,
    /// Nothing: CONTINUATION follows.
    Nothing,
}

/// Whether the first field of a block is `:status` 200. We allow no dynamic table, but it may begin
/// with the order to keep none (§6.3).
pub(crate) fn is_ok(block: &[u8]) -> bool {
    let begin = block.iter().position(|it| it & 0xe0 != 0x20).unwrap_or(block.len());
    match &block[begin..] {
        [first, ..] if *first == 0x80 | fixed::STATUS_200 => true,
        // A literal with the name of an entry from `:status` 200 to 500, plain or in Huffman's code.
        [first, rest @ ..]
            if (8..=14).contains(&(first & 0x0f)) && [0, 0x10, 0x40].contains(&(first & 0xf0)) =>
        {
            rest.starts_with(b"\x03200") || rest.starts_with(&[0x82, 0x10, 0x01])
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_those_of_the_rfc() {
        // RFC 7541, appendix C.1.
        let of = |prefix_bits, value| {
            let mut out = Vec::new();
            integer(&mut out, 0, prefix_bits, value);
            out
        };
        assert_eq!(of(5, 10), [10]);
        assert_eq!(of(5, 1337), [31, 154, 10]);
        assert_eq!(of(7, 127), [127, 0]);
    }

    #[test]
    fn a_request_is_that_of_the_rfc() {
        // RFC 7541, appendix C.3.1, but for the order and the dynamic table.
        let block = request(fixed::METHOD_GET, "www.example.com", "/");
        assert_eq!(block, b"\x82\x86\x04\x01/\x01\x0fwww.example.com");
    }

    #[test]
    fn a_field_is_remembered_and_named_again() {
        // RFC 7541, appendix C.2.1.
        let mut block = Vec::new();
        remembered(&mut block, b"custom-key", b"custom-header");
        indexed(&mut block, fixed::NEWEST);
        assert_eq!(block, b"\x40\x0acustom-key\x0dcustom-header\xbe");
    }

    #[test]
    fn the_status_is_found_however_it_is_written() {
        assert!(is_ok(&[0x88, 0x5f]));
        assert!(is_ok(&[0x20, 0x88]));
        assert!(is_ok(b"\x08\x03200"));
        assert!(is_ok(&[0x48, 0x82, 0x10, 0x01]));
        assert!(!is_ok(&[0x8d]) && !is_ok(b"\x08\x03503") && !is_ok(&[]));
    }
}
