//! Request targets (RFC 9112 §3.2) and authorities (RFC 9110 §4.2, §7.2).

use crate::{Error, Fault, Method, Status};

use super::limits::Limits;

/// A request target, split into what a request head names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target<'a> {
    /// The authority that the target names; `None` for a target that names none.
    pub(super) authority: Option<&'a [u8]>,
    /// Whether a slash is to be put before the path: the absolute form may leave it out.
    pub(super) lacks_slash: bool,
    /// Path and query.
    pub(super) path: &'a [u8],
}

/// Reads the target of a request with this method.
///
/// # Errors
/// It is too long, has bytes that no target has, or a form that the method does not take.
pub(super) fn read<'a>(
    method: &Method,
    target: &'a [u8],
    limits: &Limits,
) -> Result<Target<'a>, Error> {
    if target.len() > limits.target_bytes_max as usize {
        return Err(TOO_LONG);
    }
    check_bytes(target, limits.lenient.target_above_ascii)?;
    // RFC 9112 §3.2.3: CONNECT takes the authority form, and nothing else does.
    if *method == Method::Connect {
        check_authority(target, Port::Required)?;
        return Ok(Target { authority: Some(target), lacks_slash: false, path: b"" });
    }
    if target.starts_with(b"/") {
        return Ok(Target { authority: None, lacks_slash: false, path: target });
    }
    // RFC 9112 §3.2.4: the asterisk form is for OPTIONS alone.
    if target == b"*" && *method == Method::Options {
        return Ok(Target { authority: None, lacks_slash: false, path: target });
    }
    absolute(method, target)
}

/// Checks the value of `Host`.
///
/// # Errors
/// It is empty, or no host with perhaps a port.
pub(super) fn check_host(host: &[u8]) -> Result<(), Error> {
    check_authority(host, Port::Optional).map_err(|_| HOST)
}

/// RFC 9112 §3.2.2. Both schemes are taken: behind a load balancer that ends TLS the scheme of the
/// connection says nothing of that of the request.
fn absolute<'a>(method: &Method, target: &'a [u8]) -> Result<Target<'a>, Error> {
    let after = strip_scheme(target, b"http://").or_else(|| strip_scheme(target, b"https://"));
    let after = after.ok_or(FORM)?;
    let split = after.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(after.len());
    let (authority, path) = after.split_at(split);
    check_authority(authority, Port::Optional)?;
    // RFC 9112 §3.2.4: OPTIONS on a target without a path means the server as a whole.
    if path.is_empty() && *method == Method::Options {
        return Ok(Target { authority: Some(authority), lacks_slash: false, path: b"*" });
    }
    Ok(Target { authority: Some(authority), lacks_slash: !path.starts_with(b"/"), path })
}

fn strip_scheme<'a>(target: &'a [u8], scheme: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = target.split_at_checked(scheme.len())?;
    head.eq_ignore_ascii_case(scheme).then_some(rest)
}

/// Bytes that readers of targets disagree on: a fragment is never sent (RFC 9112 §3.2.1), a
/// backslash in a path is a slash to some (WHATWG URL), bytes above 0x7f belong to no URI.
fn check_bytes(target: &[u8], above_ascii: bool) -> Result<(), Error> {
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Port {
    Optional,
    Required,
}

/// A host name, IPv4 address or bracketed IPv6 address, and perhaps a port. Narrower than
/// RFC 3986 §3.2.2: no percent-encoding, no sub-delimiters, no user information, no empty port;
/// software that reads those reads them in several ways.
fn check_authority(authority: &[u8], port: Port) -> Result<(), Error> {
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

const TOO_LONG: Error = Error::new(Fault::Limit, Status::TargetTooLong, "target_too_long");
const BYTES: Error = Error::new(Fault::Malformed, Status::BadRequest, "target_bytes");
const FORM: Error = Error::new(Fault::Malformed, Status::BadRequest, "target_form");
const AUTHORITY: Error = Error::new(Fault::Malformed, Status::BadRequest, "target_authority");
const HOST: Error = Error::new(Fault::Malformed, Status::BadRequest, "host_malformed");

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: Method, target: &str) -> Result<(Option<&str>, bool, &str), &'static str> {
        let text = |bytes| std::str::from_utf8(bytes).unwrap();
        read(&method, target.as_bytes(), &Limits::default())
            .map(|it| (it.authority.map(text), it.lacks_slash, text(it.path)))
            .map_err(|error| error.reason)
    }

    #[test]
    fn each_form_is_for_its_methods() {
        assert_eq!(of(Method::Get, "/a?b"), Ok((None, false, "/a?b")));
        assert_eq!(of(Method::Get, "http://a:1/p?q"), Ok((Some("a:1"), false, "/p?q")));
        assert_eq!(of(Method::Get, "HTTPS://a"), Ok((Some("a"), true, "")));
        assert_eq!(of(Method::Get, "http://a?q"), Ok((Some("a"), true, "?q")));
        assert_eq!(of(Method::Options, "http://a"), Ok((Some("a"), false, "*")));
        assert_eq!(of(Method::Options, "*"), Ok((None, false, "*")));
        assert_eq!(of(Method::Connect, "a:443"), Ok((Some("a:443"), false, "")));
        for (method, target) in [
            (Method::Get, "*"),
            (Method::Get, "a:443"),
            (Method::Get, "a/b"),
            (Method::Get, "ftp://a/"),
            (Method::Options, "a:443"),
        ] {
            assert_eq!(of(method, target), Err("target_form"), "{target}");
        }
        for target in ["/", "*", "http://a:1/", "a", "a:", "a:65536", "u@a:1"] {
            assert_eq!(of(Method::Connect, target), Err("target_authority"), "{target}");
        }
    }

    #[test]
    fn bytes_that_are_read_in_two_ways_are_refused() {
        for target in ["/a#b", "/a\\b", "/\u{e9}", "/\u{7f}", "/a\"", "/<", "\\\\a"] {
            assert_eq!(of(Method::Get, target), Err("target_bytes"), "{target}");
        }
        assert_eq!(of(Method::Get, "/?a\\b"), Ok((None, false, "/?a\\b")));
        assert_eq!(of(Method::Get, "/%2e%2e/%2F"), Ok((None, false, "/%2e%2e/%2F")));
    }

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
