//! What request targets are made of: bytes, hosts and ports (RFC 9110 §4.2, §7.2; RFC 3986).

use crate::{Error, Fault, Status};

/// Checks the value of `Host`, or an authority that stands in its place.
///
/// # Errors
/// It is empty, or no host with perhaps a port.
pub(crate) fn check_host(host: &[u8]) -> Result<(), Error> {
    check_authority(host, Port::Optional).map_err(|_| HOST)
}

/// Checks for bytes that readers of targets disagree on: a fragment is never sent (RFC 9112 §3.2.1), a
/// backslash in a path is a slash to some (WHATWG URL), bytes above 0x7f belong to no URI.
///
/// # Errors
/// There is one.
pub(crate) fn check_bytes(target: &[u8], above_ascii: bool) -> Result<(), Error> {
    let mut in_query = false;
    for byte in target {
        match byte {
            b'?' => in_query = true,
            b'#' | b'"' | b'<' | b'>' => return Err(BYTES),
            b'\\' if !in_query => return Err(BYTES),
            0..=b' ' | 0x7f => return Err(BYTES),
            0x80.. if !above_ascii => return Err(BYTES),
            _ => {}
        }
    }
    Ok(())
}

/// Whether an authority is to have a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    /// It may.
    Optional,
    /// It must: CONNECT has no scheme that would say one.
    Required,
}

/// Checks for a host name, IPv4 address or bracketed IPv6 address, and perhaps a port. Narrower than
/// RFC 3986 §3.2.2: no percent-encoding, no sub-delimiters, no user information, no empty port;
/// software that reads those reads them in several ways.
///
/// # Errors
/// It is something else.
pub(crate) fn check_authority(authority: &[u8], port: Port) -> Result<(), Error> {
    let (host, rest) = if let Some(inner) = authority.strip_prefix(b"[") {
        let end = inner.iter().position(|byte| *byte == b']').ok_or(AUTHORITY)?;
        let (address, rest) = inner.split_at_checked(end).ok_or(AUTHORITY)?;
        let is_address = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
        if !address.iter().all(is_address) {
            return Err(AUTHORITY);
        }
        (address, rest.get(1..).unwrap_or_default())
    } else {
        let end = authority.iter().position(|byte| *byte == b':').unwrap_or(authority.len());
        let (name, rest) = authority.split_at_checked(end).ok_or(AUTHORITY)?;
        let is_name =
            |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        if !name.iter().all(is_name) {
            return Err(AUTHORITY);
        }
        (name, rest)
    };
    if host.is_empty() {
        return Err(AUTHORITY);
    }
    match rest.split_first() {
        None if port == Port::Optional => Ok(()),
        Some((b':', digits)) if is_port(digits) => Ok(()),
        _ => Err(AUTHORITY),
    }
}

fn is_port(digits: &[u8]) -> bool {
    let number = digits.iter().try_fold(0_u32, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u32::from(byte.wrapping_sub(b'0')))?;
        number.checked_mul(10)?.checked_add(digit)
    });
    !digits.is_empty() && digits.len() <= 5 && number.is_some_and(|it| it <= 65_535)
}

const BYTES: Error = malformed("target_bytes");
const AUTHORITY: Error = malformed("target_authority");
const HOST: Error = malformed("host_malformed");

const fn malformed(reason: &'static str) -> Error {
    Error::new(Fault::Malformed, Status::BadRequest, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address() {
        for host in ["a", "a.b:80", "1.2.3.4", "[::1]", "[::1]:8080", "a_b", "xn--a:0"] {
            assert_eq!(check_host(host.as_bytes()), Ok(()), "{host}");
        }
        for host in [
            "", ":80", "a:", "a:x", "a:-1", "a:080800", "a:99999", "a/b", "a?b", "a#b", "u@a",
            "a b", "a,b", "a;b", "a%20b", "[::1", "[::1]x", "[g]", "[]", "a:1:2", "::1", "\u{e9}",
        ] {
            assert_eq!(check_host(host.as_bytes()), Err(HOST), "{host}");
        }
    }
}
