//! Whether the first bytes of a connection are HTTP/1.

use crate::protocol::{SNIFF_BYTES_MAX, Sniff};

use super::name::is_token_byte;

/// A method, one space and the first byte of a target; but not the preface of HTTP/2
/// (RFC 9113 §3.4), which looks like a request on purpose.
pub(super) fn sniff(first: &[u8]) -> Sniff {
    let compared = first.len().min(HTTP2_PREFACE.len());
    if first.get(..compared) == HTTP2_PREFACE.get(..compared) {
        return if compared == HTTP2_PREFACE.len() { Sniff::No } else { Sniff::More };
    }
    let method_bytes = first.iter().take_while(|byte| is_token_byte(**byte)).count();
    match (method_bytes, first.get(method_bytes..)) {
        (_, None | Some([])) if first.len() < SNIFF_BYTES_MAX => Sniff::More,
        (_, None | Some([])) | (0, _) => Sniff::No,
        (_, Some([b' '])) if first.len() < SNIFF_BYTES_MAX => Sniff::More,
        (_, Some([b' ', target, ..])) if begins_target(*target) => Sniff::Yes,
        _ => Sniff::No,
    }
}

fn begins_target(byte: u8) -> bool {
    matches!(byte, b'/' | b'*' | b'[') || byte.is_ascii_alphanumeric()
}

const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_known_by_method_and_target() {
        assert_eq!(sniff(b"GET /"), Sniff::Yes);
        assert_eq!(sniff(b"OPTIONS * HTTP/1.1"), Sniff::Yes);
        assert_eq!(sniff(b"CONNECT example.com:443"), Sniff::Yes);
        assert_eq!(sniff(b"PRIVATE /x"), Sniff::Yes);
    }

    #[test]
    fn a_slow_first_byte_leaves_it_open() {
        for prefix in [&b""[..], b"G", b"GET", b"GET ", b"P", b"PRI", b"PRI * HTTP/2."] {
            assert_eq!(sniff(prefix), Sniff::More, "{prefix:?}");
        }
    }

    #[test]
    fn other_protocols_are_not_taken_for_http() {
        let tls = b"\x16\x03\x01\x02\x00\x01";
        let bolt = b"\x01\x01\x00\x01\x01\x00\x00";
        let dubbo = b"\xda\xbb\xc2\x00";
        for first in [&tls[..], bolt, dubbo, b"PRI * HTTP/2.0\r\n", b"GET\r\n", b" GET /", b"\r\n"]
        {
            assert_eq!(sniff(first), Sniff::No, "{first:?}");
        }
        assert_eq!(sniff(&[b'A'; SNIFF_BYTES_MAX]), Sniff::No);
    }
}
