//! Whether the first bytes of a connection are HTTP/1.

use crate::http::name::is_token_byte;
use crate::protocol::{SNIFF_BYTES_MAX, Sniff};

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
        (_, Some([b' ', target @ ..])) => begins_target(first.starts_with(b"CONNECT "), target),
        _ => Sniff::No,
    }
}

/// Whether this begins a target (RFC 9112 §3.2): `/` or `*`, an authority after CONNECT, or a
/// scheme. So that a broken preface of HTTP/2 is not taken for a broken request.
fn begins_target(is_connect: bool, target: &[u8]) -> Sniff {
    match target {
        [b'/' | b'*', ..] => return Sniff::Yes,
        [b'[' | b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9', ..] if is_connect => return Sniff::Yes,
        [b'a'..=b'z' | b'A'..=b'Z', ..] => {}
        _ => return Sniff::No,
    }
    let is_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    match target.iter().find(|byte| !is_scheme(byte)) {
        Some(b':') => Sniff::Yes,
        Some(_) => Sniff::No,
        None => Sniff::More,
    }
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
        assert_eq!(sniff(b"GET http://a/"), Sniff::Yes);
        assert_eq!(sniff(b"GET htt"), Sniff::More);
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
        for first in [
            &tls[..],
            bolt,
            dubbo,
            b"INVALID PREFACE\r\n\r\n",
            b"PRI * HTTP/2.0\r\n",
            b"GET\r\n",
            b" GET /",
            b"\r\n",
        ] {
            assert_eq!(sniff(first), Sniff::No, "{first:?}");
        }
        assert_eq!(sniff(&[b'A'; SNIFF_BYTES_MAX]), Sniff::No);
    }
}
